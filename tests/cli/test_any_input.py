"""Any JSON as input: an error is one line that says what to do, never a traceback."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from singer_sdk.plugin_base import _ConfigInput

from simulator.adapter import SimulatorAdapter
from simulator.world import World
from tap_email_metrics.command import Refused
from tap_email_metrics.providers import PROVIDERS, config_schema
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, MemoryWriter, Site
from tests.support.logs import remove_masks
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "canary-4711"
MANY = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["properties", "id", "true", "2026-01-01", "[]", ""])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> list[Path]:
    """Return the paths of a value and of all values in it."""
    found = [path]
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            found += places(part, (*path, key))
    return found


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """Draw a copy of a value with up to three parts removed, replaced or added."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        if not (inside := places(value)[1:]):
            break
        *parents, last = draw(st.sampled_from(inside))
        inner = value
        for key in parents:
            inner = inner[key]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            inner[last] = draw(JSON)
        elif how == "remove":
            del inner[last]
        elif isinstance(inner, dict):
            inner[draw(st.text(max_size=6))] = draw(JSON)
        else:
            inner.append(copy.deepcopy(inner[last]))
    return value


WORLD = World.generate(2, 2, NOW, campaigns=1, luxsci=1)
SITE = Site(WORLD)
STREAMS = ("encompass_opens", "encompass_messages", "email_metrics_runs")


def catalog() -> dict[str, Any]:
    whole = SITE.tap().catalog_dict["streams"]
    return {"streams": [one for one in whole if one["tap_stream_id"] in STREAMS]}


CATALOG = catalog()
CONFIG: dict[str, Any] = {
    "start_date": "2026-01-01",
    "max_run_minutes": 5,
    "pii": {"mode": "hash", "pepper": SECRET * 2},
    "stream_maps": {"encompass_opens": {"x": "1", "__alias__": "o"}, "__else__": None},
    "encompass": {**SITE.settings, "sweep_days": 4, "account": "a"},
    "constant_contact": {"client_id": "a", "refresh_token": SECRET},
    "luxsci": {"token": SECRET, "secret": SECRET, "account_id": "1", "logins": ["a"]},
}


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


PARTS_OF_CONSTANT_CONTACT = (
    *("opens", "links", "snapshots", "campaign_stats", "campaigns"),
    *("campaign_activities", "contacts", "contact_lists", "contact_activity_summary"),
)
"""One stream of each kind."""


@dataclass(frozen=True)
class Whole:
    """The settings of a provider and the state after a run of some streams."""

    config: dict[str, Any]
    state: dict[str, Any]
    streams: tuple[str, ...]

    @classmethod
    def of(cls, site: Site, *streams: str, **settings: Any) -> Whole:
        site.settings |= settings
        site.common["start_date"] = "2026-09-14"
        names = tuple(f"{site.provider}_{name}" for name in streams)
        return cls(site.config(), site.sync(streams=names).state, names)

    def tap(self, state: Any) -> TapEmailMetrics:
        tap = command(self.config, state=state)
        for name, stream in tap.streams.items():
            stream.selected = name in self.streams
        return tap


@pytest.fixture(scope="module")
def wholes(_folder: None) -> dict[str, Whole]:
    """Return settings and state by provider, with entries of every kind of stream."""
    return {
        "encompass": Whole.of(Site(WORLD), "messages", "opens", "links"),
        "constant_contact": Whole.of(
            Account(WORLD), *PARTS_OF_CONSTANT_CONTACT, contact_reports=True
        ),
        "luxsci": Whole.of(Clinic(WORLD), "opens", "opens_summary", "users"),
    }


def ends_well(make: Callable[[], TapEmailMetrics]) -> None:
    """Check that a tap is made and ends well, or is refused in one line.

    A state must be refused before any stream is read, not later.
    """
    try:
        tap = make()
        tap.execute()
    except Refused as error:
        line = error.message
    else:
        said = {report.message for report in tap.run.reports.values()}
        assert not [one for one in said if "damaged" in one or "report it" in one]
        return
    finally:
        remove_masks()  # or each tap would add one more
    assert line
    assert "\n" not in line
    assert SECRET not in line


def command(config: Any, **options: Any) -> TapEmailMetrics:
    return TapEmailMetrics.from_command_line(
        _ConfigInput(config),
        clock=SITE.world.clock,
        transport=SimulatorAdapter(WORLD),
        message_writer=MemoryWriter(),
        **options,
    )


@given(changed(CATALOG) | JSON.filter(lambda value: value is not None))
@MANY
def test_no_catalog_ends_in_a_traceback(value: Any) -> None:
    ends_well(lambda: command(SITE.config(), catalog=value))


@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
@given(data=st.data())
@settings(MANY, max_examples=20)
def test_no_state_ends_in_a_traceback(
    wholes: dict[str, Whole], provider: str, data: st.DataObject
) -> None:
    whole = wholes[provider]
    value = data.draw(changed(whole.state))
    ends_well(lambda: whole.tap(json.loads(json.dumps(value))))


@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
def test_a_state_is_refused_for_a_damaged_key_of_any_stream(
    wholes: dict[str, Whole], provider: str
) -> None:
    """It is refused before anything is read, and the line names the key."""
    whole = wholes[provider]
    bookmarks = whole.state["bookmarks"]
    generation = bookmarks["_tap"]["generation"]
    names = [name for name in bookmarks if name != "_tap"]
    for name in names:
        broken = copy.deepcopy(whole.state)
        broken["bookmarks"][name][generation]["start"] = "yesterday"
        with pytest.raises(Refused) as refused:
            whole.tap(broken)
        assert f"damaged at bookmarks.{name}.{generation}.start" in str(refused.value)


@given(changed(CONFIG))
@MANY
def test_no_settings_end_in_a_traceback(value: Any) -> None:
    def make() -> TapEmailMetrics:
        tap = command(value)
        for stream in tap.streams.values():
            stream.selected = False
        return tap

    ends_well(make)


@given(st.sampled_from(list(config_schema(PROVIDERS)["properties"])), st.text())
@MANY
def test_no_variable_ends_in_a_traceback(name: str, text: str) -> None:
    environ = {f"TAP_EMAIL_METRICS_{name.upper()}": text.replace("\0", "")}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environ.items():
            patch.setenv(variable, value)
        try:
            found = TapEmailMetrics._environment()  # noqa: SLF001 - the command's
        except Refused:
            return
    assert set(found) <= {name}
