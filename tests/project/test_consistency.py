"""Facts that are stated in several places agree, and modules keep to their limits."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_email_metrics.providers import PROVIDERS, config_schema
from tap_email_metrics.providers.encompass.streams import MessageStream
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.streams.about_run import RUN_STREAMS
from tap_email_metrics.streams.base import EmailMetricsStream
from tap_email_metrics.streams.fan_out import FanOutStream
from tap_email_metrics.streams.lists import ListStream
from tap_email_metrics.streams.windows import WindowStream
from tests.support.schemas import schema_names

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TAP = sorted((ROOT / "tap_email_metrics").rglob("*.py"))
SIMULATOR = sorted((ROOT / "simulator").rglob("*.py"))
CODE = TAP + SIMULATOR
STREAMS: list[Any] = [stream for provider in PROVIDERS for stream in provider.streams]
NAMES = [str(stream.name) for stream in STREAMS]
OWN = [str(stream.name) for stream in RUN_STREAMS]  # type: ignore[misc]
MOST_LINES = 720

#: Modules that read real time, with the reason why no clock can be passed in.
CLOCKS = {
    # The clock that is passed to all others.
    "clock.py": {"time.time", "time.monotonic", "time.sleep"},
    # The time that threads, which no clock moves, may take to notice the end.
    "workers.py": {"time.monotonic"},
    # Other processes and servers use real time, whatever the clock of the run says.
    "files.py": {"time.sleep"},
    "sockets.py": {"time.monotonic"},
    # The last resort against a blocked stdout after the run.
    "writer.py": {"time.monotonic"},
}

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
each_module = pytest.mark.parametrize(
    "path", CODE, ids=[str(path.relative_to(ROOT)) for path in CODE]
)


def below(base: type) -> Iterator[type]:
    """Yield the direct and indirect subclasses of a class."""
    kinds: list[type] = base.__subclasses__()
    for kind in kinds:
        yield kind
        yield from below(kind)


def imports(path: Path) -> set[str]:
    """Return the modules that a module imports, and the names it takes from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(path: Path) -> set[str]:
    """Return the dotted names in a module, for example `time.sleep`."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


# Streams


def test_every_stream_is_listed_and_has_a_schema() -> None:
    classes = {
        kind
        for kind in below(EmailMetricsStream)
        # A stream defines a name; a base class of streams does not.
        if isinstance(vars(kind).get("name"), str)
        and kind.__module__.startswith("tap_email_metrics.")
    }
    assert classes == set(STREAMS)
    assert len(set(NAMES)) == len(NAMES)
    assert {*NAMES, *OWN} == set(schema_names())


def test_base_classes_are_not_listed_as_streams() -> None:
    shapes = (EmailMetricsStream, ListStream, FanOutStream, WindowStream, MessageStream)
    for shape in shapes:
        assert shape not in STREAMS


@each_stream
def test_a_stream_has_a_known_provider_and_a_key_of_required_columns(
    stream: Any,
) -> None:
    [provider] = [p for p in PROVIDERS if stream in p.streams]
    assert stream.provider == provider.name
    assert stream.name.startswith(f"{provider.name}_")
    columns = load_schema(stream.name)["properties"]
    assert stream.primary_keys[0] == "account"
    for key in stream.primary_keys:
        kind = columns[key]["type"]
        assert "null" not in ([kind] if isinstance(kind, str) else kind), key
        assert "x-pii" not in columns[key], key
    if isinstance(stream.replication_key, str):
        column = columns[stream.replication_key]
        if stream.replication_key in stream.primary_keys:
            # One row per day: the day comes from the request and is never null.
            assert column["type"] == "string"
            assert column["format"] == "date"
            assert "x-source" not in column
        else:
            assert "integer" in column["type"] or column.get("format") == "date-time"
            assert "x-source" in column
        assert "x-derived" not in column
    endpoint = re.search(r"GET (/[a-z]\S+)`", stream.__doc__ or "")
    assert endpoint, "the docstring names the endpoint"
    if issubclass(stream, MessageStream):
        assert endpoint
        assert endpoint[1] == stream.path.replace("{}", "{id}")


def test_of_the_encompass_streams_only_links_has_no_replication_key() -> None:
    without = [s.name for s in STREAMS if not isinstance(s.replication_key, str)]
    of_messages = [name for name in without if name.startswith("encompass_")]
    assert of_messages == ["encompass_links"]


@pytest.mark.parametrize("stream", RUN_STREAMS)
def test_a_stream_about_the_run_has_a_key_of_required_text_columns(stream: Any) -> None:
    columns = load_schema(stream.name)["properties"]
    assert stream.primary_keys[:4] == ("account", "run", "provider", "stream")
    for key in stream.primary_keys:
        assert columns[key]["type"] == "string"
        assert "x-pii" not in columns[key]
    assert not {"x-source", "x-derived"} & {m for c in columns.values() for m in c}


def test_meltano_selects_every_stream() -> None:
    plugins = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]
    patterns = [
        pattern.partition(".")[0]
        for plugin in plugins["extractors"]
        for pattern in plugin.get("select", [])
    ]
    for name in [*NAMES, *OWN]:
        assert any(Path(name).match(pattern) for pattern in patterns), name


# Modules


@each_module
def test_a_module_is_short_enough_to_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES


@pytest.mark.parametrize("path", TAP, ids=[p.stem for p in TAP])
def test_the_tap_does_not_mention_the_simulator(path: Path) -> None:
    names = {name.partition(".")[0] for name in imports(path)}
    assert not names & {"simulator", "tests", "scripts", "benchmarks"}
    text = path.read_text(encoding="utf-8").lower()
    assert "simulator" not in text
    assert "_sim/" not in text


@pytest.mark.parametrize("path", SIMULATOR, ids=[p.stem for p in SIMULATOR])
def test_the_simulator_does_not_import_the_tap(path: Path) -> None:
    names = {name.partition(".")[0] for name in imports(path)}
    assert not names & {"tap_email_metrics", "tests", "scripts", "singer_sdk"}


@pytest.mark.parametrize("path", TAP, ids=[p.stem for p in TAP])
def test_modules_take_their_clock_as_an_argument(path: Path) -> None:
    real = calls(path) & {
        *("time.time", "time.monotonic", "time.sleep", "time.perf_counter"),
        *("time.time_ns", "time.localtime", "datetime.now", "datetime.utcnow"),
        *("datetime.today", "date.today"),
    }
    assert real <= CLOCKS.get(path.name, set())
    names = imports(path)
    assert not {name for name in names if name.startswith("time.")}


def test_threads_are_started_in_one_module() -> None:
    starting = [path.name for path in TAP if "threading.Thread" in calls(path)]
    assert starting == ["workers.py"]


@pytest.mark.parametrize("path", TAP, ids=[p.stem for p in TAP])
def test_no_module_catches_every_exception(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            caught = ast.unparse(node.type)
            if caught == "Exception":
                # An unexpected error ends its stream and is reported.
                assert path.parent.name == "streams"
                assert path.name in {"base.py", "about_run.py"}
            if caught == "BaseException":
                # A worker passes any exception on to the caller.
                assert path.name == "workers.py"


def test_a_provider_is_named_after_its_settings_and_folder() -> None:
    properties = config_schema(PROVIDERS)["properties"]
    for provider in PROVIDERS:
        assert (ROOT / "tap_email_metrics" / "providers" / provider.name).is_dir()
        assert set(provider.settings.credentials) <= set(
            properties[provider.name]["properties"]
        )


# The code map


def test_the_code_map_names_every_folder_and_module() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code_map = text[text.index("## The code map") : text.index("## Where things go")]
    parts = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "tap_email_metrics").iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    tests = {f"tests/{path.parent.name}" for path in ROOT.glob("tests/*/__init__.py")}
    parts -= {"__init__.py", "__pycache__/"}
    missing = [part for part in parts | tests if f"`{part}`" not in code_map]
    assert missing == []


def test_files_that_contributing_md_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.findall(r"`((?:tests|simulator|transform|scripts)/[\w/]+\.\w+)`", text)
    assert found
    assert [path for path in found if not (ROOT / path).is_file()] == []


def test_names_of_dbt_unit_tests_fit_into_postgres() -> None:
    """dbt makes a relation of the name of a unit test."""
    names = [
        test["name"]
        for path in (ROOT / "transform" / "models").rglob("*.yml")
        for test in yaml.safe_load(path.read_text()).get("unit_tests", ())
    ]
    assert names
    assert [name for name in names if len(name) > 63] == []
