"""Refused input: one clear line, exit code 2, and no request."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from singer_sdk.configuration import _dict_config

from simulator.server import serve
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.cli import (
    Ended,
    arguments,
    config,
    run,
    run_here,
    small_world,
    write,
)
from tests.support.logs import remove_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.server import SimulatorServer

pytestmark = pytest.mark.slow

CANARY = "canary-4711"
STREAM = "encompass_opens"

OWN = 2
"""Streams that describe the run."""
OFFERED = 7 + 22 + 26 + OWN
"""The number of all streams without the reports by contact, which are off."""


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with serve(small_world()) as running:
        yield running


def refused(
    folder: Path,
    settings: object,
    *options: str | Path,
    env: dict[str, str] | None = None,
) -> str:
    """Return the one error line of a run that is refused."""
    return line_of(run_here(folder, settings, *options, env=env))


def line_of(ended: Ended) -> str:
    assert ended.code == 2, ended.err
    assert ended.out == ""
    (line,) = ended.troubles
    assert ended.err.rstrip().endswith(line)
    assert CANARY not in ended.err
    return line


@pytest.mark.parametrize("start", [run, run_here])
def test_a_process_prints_the_same_refusal_as_a_call_in_this_process(
    tmp_path: Path, server: SimulatorServer, start: Callable[..., Ended]
) -> None:
    """The other tests of refusals therefore start no process."""
    ended = start(tmp_path, config(server, site_url="http://site.example"))
    assert "encompass.site_url must start with https://" in line_of(ended)


@pytest.mark.parametrize(
    ("common", "encompass", "said"),
    [
        ({}, {"site_url": "http://site.example"}, "site_url must start with https://"),
        ({}, {"api_url": "http://api.example"}, "api_url must start with https://"),
        (
            {},
            {"site_url": "site example"},
            "site_url is not a URL: write it as https://",
        ),
        ({}, {"site_url": "https://site example"}, "site_url is not a URL"),
        ({}, {"site_url": "https://site.example:99999"}, "site_url is not a URL"),
        ({}, {"site_url": f"https://me:{CANARY}@site.example"}, "without user"),
        ({}, {"client_secret": None}, "encompass.client_secret is missing"),
        ({}, {"client_secret": ""}, "encompass.client_secret is missing"),
        ({}, {"client_secrt": CANARY}, "client_secrt; did you mean client_secret?"),
        ({}, {"client_id": True}, "encompass.client_id must be of type string"),
        ({}, {"max_concurrency": CANARY}, "max_concurrency must be of type integer"),
        ({}, {"region": CANARY}, "encompass.region must be one of us, ca"),
        ({}, {"max_concurrency": 0}, "max_concurrency must be at least 1"),
        ({"encompass": CANARY}, {}, "encompass must be of type object"),
        ({"strat_date": CANARY}, {}, "strat_date; did you mean start_date?"),
        ({"start_date": "2099-01-01"}, {}, "start_date is in the future"),
        (
            {"start_date": CANARY},
            {},
            "start_date is not a date: write it as 2026-01-31",
        ),
        ({"end_date": "2026-01-01"}, {}, "end_date is for backfills only"),
        ({"backfill": True}, {}, "backfill needs start_date and end_date"),
        ({"pii": {"mode": "hash"}}, {}, "pii.pepper is required"),
        ({"stream_maps": {STREAM: {"x": "f("}}}, {}, "stream_maps: "),
        (
            {
                "stream_maps": {STREAM: {"x": f"f('{CANARY}' + a@x.org"}},
                "stream_map_config": {"salt": CANARY},
            },
            {},
            "f('[secret]' + [address]",
        ),
        ({"stream_maps": {"encompass_open": None}}, {}, f"did you mean {STREAM}?"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path,
    server: SimulatorServer,
    common: dict[str, Any],
    encompass: dict[str, Any],
    said: str,
) -> None:
    assert said in refused(tmp_path, {**config(server, **encompass), **common})


@pytest.mark.parametrize(
    "section",
    [
        None,
        {},
        {"site_url": "", "client_id": "", "client_secret": "", "region": "us"},
    ],
)
def test_a_config_without_a_provider_says_what_to_set(
    tmp_path: Path, section: object
) -> None:
    line = refused(tmp_path, {"encompass": section, "start_date": ""})
    assert "no provider is configured: set encompass.site_url" in line


def test_empty_strings_count_as_missing_settings(
    tmp_path: Path, server: SimulatorServer
) -> None:
    settings = config(server, account="", region="", daily_requests=None)
    common = {"start_date": "", "end_date": "", "pii": {"mode": "", "pepper": ""}}
    ended = run(tmp_path, {**settings, **common})
    assert ended.code == 0, ended.err
    assert ended.troubles == []
    assert {record["record"]["account"] for record in ended.of("RECORD")} == {
        server.world.encompass.client_id
    }


@pytest.mark.parametrize(
    "text", ["{nope", "[1]", '"x"', "", '{"a":' * 9_999 + "1" + "}" * 9_999]
)
def test_a_config_file_that_is_not_an_object_is_refused(
    tmp_path: Path, text: str
) -> None:
    assert "--config: the file is not a JSON object" in refused(tmp_path, text)


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, None, "--config", "absent.json")
    assert "cannot read absent.json: there is no such file" in line


def test_a_secret_is_masked_as_it_is_sent() -> None:
    settings = {"luxsci": {"secret": f"\ufeff{CANARY}\u200b\n"}}
    mask = TapEmailMetrics.masked_log(settings)
    remove_masks()
    assert mask.mask(CANARY) == "[secret]"


@pytest.mark.parametrize("name", ["TAP_EMAIL_METRICS_LOGLEVEL", "LOGLEVEL"])
def test_an_unknown_log_level_is_named(tmp_path: Path, name: str) -> None:
    line = refused(tmp_path, {}, env={name: "verbose"})
    assert f"the variable {name} is not a log level" in line


def test_a_log_configuration_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, {}, env={"SINGER_SDK_LOG_CONFIG": str(tmp_path)})
    assert "SINGER_SDK_LOG_CONFIG names a file that does not configure the log" in line


def test_a_file_of_variables_that_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"TAP_EMAIL_METRICS_LUXSCI_SECRET=caf\xe9\n")
    monkeypatch.setattr(_dict_config, "find_dotenv", lambda: str(path))
    line = refused(tmp_path, None, "--config", "ENV")
    assert "the file .env is not UTF-8 text" in line


@pytest.mark.parametrize("code", ["2>&-", ">&-"])
def test_a_stream_that_was_closed_before_the_run_is_no_traceback(
    tmp_path: Path, server: SimulatorServer, code: str
) -> None:
    """Without stderr the run goes on; without stdout it fails."""
    command = shlex.join(arguments(tmp_path, config(server)))
    done = subprocess.run(  # noqa: S602 - our own command
        f"{command} {code}", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    if code == ">&-":
        assert done.returncode == 1
        assert "Error: stdout could not be written" in done.stderr
    else:
        assert done.returncode == 0
        assert '"type":"STATE"' in done.stdout


def test_a_variable_that_is_not_json_is_named(tmp_path: Path) -> None:
    env = {"TAP_EMAIL_METRICS_ENCOMPASS": CANARY}
    for options in (["--config", "ENV"], ["--config", "ENV", "--discover"]):
        line = refused(tmp_path, None, *options, env=env)
        assert "TAP_EMAIL_METRICS_ENCOMPASS" in line
        assert "is not one JSON object" in line


GENERATION = "2026-09-21T14:13:20Z-a1b2c3"
BAD_STATES = {
    "no JSON": ("{nope", "--state: the file is not JSON"),
    "a list": ([1], "--state: the file is not a JSON object"),
    "another tap": ({"bookmarks": {"issues": {"since": 1}}}, "bookmarks.issues is no"),
    "another shape": ({"users": "2020-01-01"}, "it has no bookmarks"),
    "newer": ({"bookmarks": {"_tap": {"version": 99}}}, "newer tap-email-metrics"),
    "a damaged mark": (
        {"bookmarks": {STREAM: {"marks": {"7": "?!?"}}}},
        "damaged at bookmarks.encompass_opens.marks.7",
    ),
    "damaged marks": (
        {"bookmarks": {STREAM: {"marks": [1]}}},
        "damaged at bookmarks.encompass_opens.marks",
    ),
    "a damaged stream": (
        {"bookmarks": {STREAM: 5}},
        "damaged at bookmarks.encompass_opens",
    ),
    "damaged digests": (
        {"bookmarks": {"encompass_messages": {"digests": "%"}}},
        "damaged at bookmarks.encompass_messages.digests",
    ),
    **{
        f"damaged at {place}": (
            {"bookmarks": {"_tap": {"constant_contact": kept}}},
            f"damaged at bookmarks._tap.constant_contact{place}. Restore",
        )
        for place, kept in {
            "": [1],
            ".campaigns": {"campaigns": CANARY},
            ".campaigns.a1": {"campaigns": {"a1": [1, 2, 3]}},
            ".refused.a1": {"refused": {"a1": "x"}},
            ".all_asked": {"all_asked": "x"},
            ".login": {"login": ["x"]},
        }.items()
    },
    "damaged bookmarks": ({"bookmarks": [1]}, "damaged at bookmarks"),
    "another account": (
        {
            "bookmarks": {
                "_tap": {
                    "version": 2,
                    "generation": GENERATION,
                    GENERATION: {"accounts": {"encompass": "api.example 1234"}},
                },
                STREAM: {"generation": GENERATION, GENERATION: {}},
            }
        },
        "another encompass account: it has api.example 1234",
    ),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_damaged_or_foreign_state_is_refused(
    tmp_path: Path, server: SimulatorServer, name: str
) -> None:
    state, said = BAD_STATES[name]
    path = write(tmp_path, "state.json", state)
    assert said in refused(tmp_path, config(server), "--state", path)


ENTRY = {"tap_stream_id": STREAM, "schema": {"properties": {}}, "metadata": []}
BAD_CATALOGS = {
    "no JSON": ("{nope", "--catalog: the file is not JSON"),
    "a list": ([1], "--catalog: the file is not a JSON object"),
    "no streams": ({}, "--catalog: not a Singer catalog"),
    "a number": ({"streams": 5}, "--catalog: not a Singer catalog"),
    "no schema": (
        {"streams": [{"tap_stream_id": STREAM}]},
        "--catalog: not a Singer catalog",
    ),
    "an unknown stream": (
        {"streams": [{**ENTRY, "tap_stream_id": "encompass_open"}]},
        "'encompass_open' that this tap does not have; did you mean encompass_opens?",
    ),
}


@pytest.mark.parametrize("name", BAD_CATALOGS)
def test_a_damaged_or_foreign_catalog_is_refused(
    tmp_path: Path, server: SimulatorServer, name: str
) -> None:
    catalog, said = BAD_CATALOGS[name]
    path = write(tmp_path, "catalog.json", catalog)
    assert said in refused(tmp_path, config(server), "--catalog", path)


@pytest.mark.parametrize("option", ["--state", "--catalog"])
def test_a_missing_state_or_catalog_is_named(
    tmp_path: Path, server: SimulatorServer, option: str
) -> None:
    line = refused(tmp_path, config(server), option, "absent.json")
    assert "absent.json" in line


# Accepted input


def test_settings_come_from_the_environment(
    tmp_path: Path, server: SimulatorServer
) -> None:
    section = json.dumps(config(server)["encompass"])
    env = {
        "TAP_EMAIL_METRICS_ENCOMPASS": section,
        "TAP_EMAIL_METRICS_START_DATE": "",
    }
    ended = run(tmp_path, None, "--config", "ENV", env=env)
    assert ended.code == 0, ended.err
    assert len(ended.of("RECORD", STREAM)) == 9


def test_version_prints_what_the_sdk_would_print(tmp_path: Path) -> None:
    ended = run(tmp_path, None, "--version")
    assert ended.code == 0
    assert ended.out.startswith("tap-email-metrics v")
    assert ended.out == CliRunner().invoke(TapEmailMetrics.cli, ["--version"]).output


@pytest.mark.parametrize(
    ("module", "option"),
    [
        ("tap_email_metrics.__main__", "--version"),
        ("tap_email_metrics.init", "--help"),
        ("tap_email_metrics.report.command", "--help"),
    ],
)
def test_a_command_that_needs_no_sdk_does_not_import_it(
    module: str, option: str
) -> None:
    script = (
        "import atexit, importlib, sys\n"
        "atexit.register(lambda: print('singer_sdk' in sys.modules))\n"
        "module, *sys.argv[1:] = sys.argv[1:]\n"
        "importlib.import_module(module).main()"
    )
    done = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-c", script, module, option],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_about_lists_settings_and_capabilities(tmp_path: Path) -> None:
    about = json.loads(run_here(tmp_path, None, "--about", "--format=json").out)
    assert "encompass" in about["settings"]["properties"]
    assert "batch" not in about["capabilities"]
    assert (
        "# `tap-email-metrics`"
        in run_here(tmp_path, None, "--about", "--format=markdown").out
    )


def test_discovery_needs_no_settings(tmp_path: Path) -> None:
    ended = run(tmp_path, None, "--discover")
    assert ended.code == 0
    names = {stream["tap_stream_id"] for stream in json.loads(ended.out)["streams"]}
    assert len(names) == OFFERED


def test_discovery_warns_of_wrong_settings(tmp_path: Path) -> None:
    ended = run_here(tmp_path, {"encompass": {"client_id": "1"}}, "--discover")
    assert ended.code == 0
    (line,) = ended.troubles
    assert "encompass.site_url is missing" in line
    assert len(json.loads(ended.out)["streams"]) == OFFERED


def test_the_test_option_reads_a_record_of_each_stream(
    tmp_path: Path, server: SimulatorServer
) -> None:
    ended = run(tmp_path, config(server), "--test")
    assert ended.code == 0, ended.err
    assert len(ended.rows()) == 7
    assert "connection test: 7 of 7 streams can be read (" in ended.err
    assert " records, " not in ended.err.partition("connection test")[0]


def test_the_test_option_names_a_wrong_secret(
    tmp_path: Path, server: SimulatorServer
) -> None:
    ended = run_here(tmp_path, config(server, client_secret=CANARY), "--test")
    assert ended.code == 2
    (line,) = ended.troubles
    assert "check encompass.client_secret" in line
    assert CANARY not in ended.err


def test_the_test_schema_option_writes_schemas_only(
    tmp_path: Path, server: SimulatorServer
) -> None:
    ended = run_here(tmp_path, config(server), "--test=schema")
    assert ended.code == 0
    assert len(ended.messages) == len(ended.of("SCHEMA")) == 7 + OWN
