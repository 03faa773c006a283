"""Canaries are planted in every field, header and error of each API."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from singer_sdk.logging import StructuredFormatter

from simulator.server import serve
from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.records.columns import EXTRA
from tests.support.canaries import (
    SIGNS,
    Links,
    Planter,
    columns,
    leaks,
    unmarked_words,
)
from tests.support.cli import arguments, config, small_world
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.messages import Reply, Request
    from tap_email_metrics.tap import TapEmailMetrics

pytestmark = pytest.mark.slow

PROVIDER_NAMES = tuple(provider.name for provider in PROVIDERS)
PEPPER = "pepper-of-zebulon"
WORDS = {
    *("bounce_code", "campaign_type", "categoryName", "choices", "classYear"),
    *("company_logo", "complaint_source", "country_code", "create_source"),
    *("current_status", "device_type", "disposition", "email_address.confirm_status"),
    *("email_address.opt_in_source", "email_address.opt_out_source"),
    *("email_address.permission_to_send", "header1", "header2", "header3", "link_tag"),
    *("list_action", "list_memberships", "message_type", "metadata"),
    *("organization_name", "role", "send_status", "state_code", "status", "tag_source"),
    *("taggings", "tls_info", "tracking_activity_type", "tracking_code", "type"),
    *("update_source",),
}
"""Fields of text that are not ids and have no mark, by the vendor's name: each holds
words of the vendor or describes a group."""


class Logs:
    """The log of all levels in two formats, and the lines of the tap before
    masking."""

    def __init__(self) -> None:
        self.shown = [io.StringIO(), io.StringIO()]
        self.own = io.StringIO()
        self._own = logging.StreamHandler(self.own)
        plain, structured = map(logging.StreamHandler, self.shown)
        structured.setFormatter(StructuredFormatter())
        self.handlers = [plain, structured]

    def unmasked(self) -> None:
        """Collect the lines of the tap before a mask changes them."""
        # The mask of the next tap of a test is on this handler, too.
        logging.root.removeHandler(self._own)
        self._own.filters[:] = [_is_own]
        logging.root.handlers.insert(0, self._own)

    @property
    def texts(self) -> list[str]:
        """All lines."""
        return [stream.getvalue() for stream in (self.own, *self.shown)]

    def remove(self) -> None:
        for handler in (*self.handlers, self._own):
            logging.root.removeHandler(handler)


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.startswith(("tap-email-metrics", "tap_email_metrics"))


@pytest.fixture
def logs() -> Iterator[Logs]:
    logs, level = Logs(), logging.root.level
    # Pytest would collect and mask the same lines again.
    others = {handler: handler.level for handler in logging.root.handlers}
    for handler in others:
        handler.setLevel(logging.CRITICAL + 1)
    for handler in logs.handlers:
        logging.root.addHandler(handler)
    logging.root.setLevel(1)
    yield logs
    logs.remove()
    logging.root.setLevel(level)
    for handler, usual in others.items():
        handler.setLevel(usual)


class _Planted:
    """A site whose API answers with canaries; its tap masks as the command does."""

    logs: Logs
    provider: ClassVar[str]

    def tap(self, **options: Any) -> TapEmailMetrics:
        options.setdefault("transport", Links(self.world))  # type: ignore[attr-defined]
        tap: TapEmailMetrics = super().tap(**options)  # type: ignore[misc]
        tap.control.hide = tap.masked_log(tap.config).add  # as the command
        self.logs.unmasked()
        return tap


class _Encompass(_Planted, Site):
    def __init__(self) -> None:
        super().__init__(World.generate(3, 4, NOW), max_concurrency=1)


class _ConstantContact(_Planted, Account):
    def __init__(self) -> None:
        world = World(NOW)
        api = world.constant_contact
        for kind in ("contact_lists", "contact_tags", "contact_custom_fields"):
            api.add_item(kind, created=NOW - 90 * DAY)
        api.add_item("segments", created=NOW - 90 * DAY)
        people = [api.add_contact(created=NOW - 60 * DAY) for _ in range(3)]
        sent = api.add_campaign(sent=NOW - 3 * DAY, recipients=people, links=1)
        for kind in ("opens", "clicks", "forwards", "optouts", "bounces"):
            api.add_event(kind, sent, people[0], created=NOW - DAY)
        super().__init__(world, contact_reports=True, max_concurrency=1)


class _LuxSci(_Planted, Clinic):
    def __init__(self) -> None:
        world = World(NOW)
        api, at = world.luxsci, NOW - DAY
        api.set_policy(rows="objects")
        login = api.add_user(created=at)
        for channel in ("smtp", "webmail"):
            message = api.add_message(sent=at, channel=channel, login=login)
            api.add_open(message, at=at + 60)
            api.add_click(message, at=at + 60)
        message = api.add_message(sent=at, login=login)
        api.add_complaint(message, at=at + 60)
        api.add_temporary_failure(message, at=at + 60)
        api.add_suppression(login=login, at=at)
        api.add_login_failure(login=login, at=at)
        api.add_job(login=login, created=at)
        people = [api.add_contact(login, api.add_list(login, created=at), created=at)]
        campaign = api.add_campaign(login, created=at)
        for log in api.send_campaign(campaign, people, at=at):
            api.dispose(log, "hard_bounce", at=at + 60)
            for kind in ("opens", "clicks", "complaints", "unsubscribes"):
                api.log_event(f"marketing_{kind}", log, at=at + 60)
        super().__init__(world, detail=True, tracked_headers=True, max_concurrency=1)
        self.common["start_date"] = iso(NOW - 3 * DAY)


SITES: dict[str, Any] = {
    "encompass": _Encompass,
    "constant_contact": _ConstantContact,
    "luxsci": _LuxSci,
}
providers = pytest.mark.parametrize("provider", PROVIDER_NAMES)


def planted(
    provider: str, logs: Logs, *, faults: int = 0, extras: bool = True
) -> tuple[Any, Planter]:
    site = SITES[provider]()
    site.logs = logs
    planter = Planter(site.world, provider, faults=faults, extras=extras)
    secret = ("client_secret", "refresh_token", "token", "secret", "password")
    planter.secrets |= {site.settings[n] for n in secret if n in site.settings}
    return site, planter


def mapped(site: Any) -> dict[str, Any]:
    """Return stream maps with almost no effect, so that the SDK writes the records."""
    return {name: {"mapped": "'1'"} for name in site.tap().streams}


def every(site: Any, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a catalog in which all but some columns are selected."""
    catalog: dict[str, Any] = site.tap().catalog_dict
    for entry in catalog["streams"]:
        left_out = {*but, *(columns(entry["tap_stream_id"]) if but else ())}
        for item in entry["metadata"]:
            *_, last = item["breadcrumb"] or ("",)
            item["metadata"]["selected"] = last not in left_out
    return catalog


def ways(site: Any, way: str) -> None:
    if way == "mapped":
        site.common["stream_maps"] = mapped(site)


def test_every_text_column_without_a_mark_is_listed() -> None:
    """A new text column must be an id, have a mark, or be listed above."""
    assert unmarked_words() == WORDS


@providers
def test_every_column_gets_a_canary(provider: str, logs: Logs) -> None:
    site, _ = planted(provider, logs)
    run = site.sync(catalog=every(site))
    assert {r["outcome"] for r in run.reports.values()} <= {"complete", "empty"}
    missing = {
        (stream, name)
        for stream in run.reports
        for name in columns(stream)
        if not any(SIGNS.search(str(r[name])) for r in run.records(stream))
    }
    assert missing == set()
    assert not [s for s in run.reports if not run.records(s)]


@providers
@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("hash", "tables"),
        ("hash", "mapped"),
        ("domain", "rows"),
        ("domain", "mapped"),
        ("drop", "tables"),
        ("drop", "mapped"),
    ],
)
def test_records_hold_no_canary(provider: str, mode: str, way: str, logs: Logs) -> None:
    site, planter = planted(provider, logs, extras=way != "tables")
    plain_catalog = every(site)
    site.common["pii"] = {"mode": mode, "pepper": PEPPER}
    ways(site, way)
    run = site.sync(catalog=plain_catalog)
    assert any(m["type"] == "RECORD" for m in run.messages)
    assert leaks(map(json.dumps, run.messages), planter.secrets) == []
    assert leaks([*logs.texts, json.dumps(run.reports)], planter.secrets) == []
    assert PEPPER not in "".join(logs.texts)


@providers
@pytest.mark.parametrize("way", ["tables", "mapped"])
def test_deselected_columns_leak_no_canary(provider: str, way: str, logs: Logs) -> None:
    site, planter = planted(provider, logs, extras=way != "tables")
    # The SDK maps only selected streams.
    catalog = every(site, but=(EXTRA,))
    ways(site, way)
    run = site.sync(catalog=catalog)
    assert any(m["type"] == "RECORD" for m in run.messages)
    assert leaks(map(json.dumps, run.messages), planter.secrets) == []


@providers
@pytest.mark.parametrize(("mode", "faults"), [("plain", 3), ("hash", 2)])
def test_logs_state_and_file_names_hold_no_canary(
    provider: str, mode: str, faults: int, logs: Logs, tmp_path: Path
) -> None:
    site, planter = planted(provider, logs, faults=faults)
    os.environ["XDG_STATE_HOME"] = str(tmp_path)  # as the harness of LuxSci does
    site.common["pii"] = {"mode": mode, "pepper": PEPPER}
    catalog = every(site)
    for _ in range(3):
        run = site.sync(catalog=catalog)
        said = [*logs.texts, json.dumps(run.reports), *map(json.dumps, run.states)]
        assert leaks(said, planter.secrets) == []
        if mode != "plain":
            assert leaks(map(json.dumps, run.messages)) == []
        site.advance(1)
    names = [name for parts in os.walk(tmp_path) for name in (*parts[1], *parts[2])]
    assert leaks(names, planter.secrets) == []
    assert len(planter.kinds) == 17
    assert PEPPER not in "".join(said)


@providers
@pytest.mark.parametrize("number", range(0, 17, 2))
def test_a_refused_token_request_is_not_quoted(
    provider: str, number: int, logs: Logs
) -> None:
    site, planter = planted(provider, logs)

    def spoil(request: Request, reply: Reply) -> None:
        if request.method == "POST":
            planter.secrets.update(_words(request.body.decode()))
            planter.spoil(request, reply, number)

    site.world.on_reply(spoil)
    run = site.sync()
    said = [*logs.texts, *map(json.dumps, (run.reports, run.states))]
    assert leaks(said, planter.secrets) == []


def _words(body: str) -> set[str]:
    """Return the parts of a token request that are long enough for a secret."""
    return set(re.findall(r"[\w-]{20,}", body)) - {"client_credentials"}


@pytest.mark.parametrize("content", [b'{"seed": "Zebulon', b"\xffZebulon", b"[7]"])
def test_a_damaged_token_store_is_not_quoted(content: bytes, logs: Logs) -> None:
    site, planter = planted("constant_contact", logs)
    store = Path(site.settings["token_store"])
    store.write_bytes(content)
    run = site.sync()
    assert run.code != 0
    assert leaks([*logs.texts, json.dumps(run.reports)], planter.secrets) == []


@pytest.mark.parametrize(
    "maps",
    [
        {},
        # An unexpected error of a library quotes the row.
        {"encompass_recipients": {"number": "int(first_name)"}},
        {"encompass_recipients": {"__filter__": "first_name"}},
    ],
)
def test_the_command_logs_no_canary_at_any_level(
    maps: dict[str, Any], tmp_path: Path
) -> None:
    world = small_world()
    planter = Planter(world, "encompass", faults=0, extras=True)
    with serve(world) as server:
        settings = config(server) | {"stream_maps": maps}
        done = subprocess.run(  # noqa: S603 - our own tap
            [sys.executable, "-X", "faulthandler", *arguments(tmp_path, settings)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "TAP_EMAIL_METRICS_LOGLEVEL": "DEBUG"},
        )
    assert "DEBUG" in done.stderr
    assert "urllib3" in done.stderr
    planter.secrets.add(settings["encompass"]["client_secret"])
    assert leaks([done.stderr], planter.secrets) == []
    fails = "number" in str(maps)
    assert (done.returncode == 1) == fails
    assert ("ValueError" in done.stderr) == fails
