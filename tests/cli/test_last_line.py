"""The last line on stderr says why a command failed.

`meltano config test` shows only that line.
"""

from __future__ import annotations

import errno
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from simulator.server import serve
from tap_email_metrics import doctor, init
from tap_email_metrics.command import Command, Refused, end
from tap_email_metrics.providers.constant_contact import login
from tap_email_metrics.settings.environment import merged
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.cli import config, run, small_world, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import click

    from simulator.server import SimulatorServer

CANARY = "canary-4711"
STREAM = "encompass_opens"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with serve(small_world()) as running:
        yield running


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("MELTANO_PROJECT_ROOT", raising=False)


def failed(
    command: click.Command,
    *options: str | Path,
    code: int,
    env: Mapping[str, str] | None = None,
) -> str:
    """Return the last line of a command and check its exit code."""
    done = CliRunner().invoke(command, [*map(str, options)], env=env)
    assert done.exit_code == code, done.output
    *_, line = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert CANARY not in line
    return line


def tap(*options: str | Path, code: int, env: Mapping[str, str] | None = None) -> str:
    return failed(TapEmailMetrics.get_singer_command(), *options, code=code, env=env)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (
            {"encompass": {"client_secret": CANARY}},
            2,
            "check encompass.client_secret",
        ),
        ({"stream_maps": {"encompass_open": None}}, 2, f"did you mean {STREAM}?"),
        ({"max_lag_days": 1e-9}, 1, "further behind than max_lag_days (1e-09): "),
    ],
    ids=str,
)
def test_the_tap_says_why_it_failed(
    tmp_path: Path,
    server: SimulatorServer,
    changes: dict[str, Any],
    code: int,
    said: str,
) -> None:
    ended = run(tmp_path, merged(config(server), changes))
    assert ended.code == code
    *_, line = ended.err.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    assert CANARY not in line


def test_the_doctor_says_why_a_run_would_fail(
    tmp_path: Path, server: SimulatorServer
) -> None:
    file = write(tmp_path, "c.json", config(server, client_secret=CANARY))
    line = failed(doctor.main, "--config", file, code=2)
    assert line.startswith("Error: encompass: ")
    assert "check encompass.client_secret" in line
    assert "no such file" in failed(doctor.main, "--config", "absent", code=2)


def test_the_login_says_what_is_missing(tmp_path: Path) -> None:
    assert "no settings" in failed(login.main, code=2)
    (deep := tmp_path / "d.json").write_text("[" * 5_000)
    assert "no settings" in failed(login.main, "--config", deep, code=2)
    file = write(tmp_path, "c.json", {"constant_contact": {"client": CANARY}})
    assert "client; did you mean" in failed(login.main, "--config", file, code=2)


def test_init_says_why_it_cannot_write_a_project(tmp_path: Path) -> None:
    options = ("--provider", "encompass", "--warehouse", "postgres")
    write(tmp_path, "meltano.yml", "")
    assert "exists" in failed(init.main, tmp_path, *options, code=1)
    assert "keyboard" in failed(init.main, tmp_path, code=1)


def test_a_full_disk_is_named_by_each_command() -> None:
    line = failed(Command("x", callback=write_to_a_full_disk), code=1)
    assert line == "Error: the output cannot be written: no space is left"


def write_to_a_full_disk() -> None:
    raise OSError(errno.ENOSPC, CANARY)


def test_an_unexpected_exception_is_named_without_its_text(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        try:
            raise KeyError(CANARY)  # noqa: TRY301 - the hook wants a traceback
        except KeyError:
            Command("x").excepthook(*sys.exc_info())
    *_, line = capsys.readouterr().err.splitlines()
    assert line == "Error: unexpected KeyError: please report the lines above"


def test_an_unexpected_exception_in_a_thread_is_named_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", threading.excepthook)
    Command("x").make_context("x", [])
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("Error: unexpected KeyError")
    assert CANARY not in said


def test_a_message_of_several_lines_becomes_one() -> None:
    with pytest.raises(Refused, match=r"^a b$"):
        end(2, "a\nb")
    with pytest.raises(SystemExit) as caught:
        end(143, "not said")
    assert caught.value.code == 143


# Input that must be read before anything is logged


def test_variables_come_before_a_file(tmp_path: Path, server: SimulatorServer) -> None:
    """Otherwise addresses could be written in plain text."""
    file = write(tmp_path, "c.json", config(server))
    env = {
        "TAP_EMAIL_METRICS_PII_MODE": "hash",
        "TAP_EMAIL_METRICS_ENCOMPASS_REGION": "ca",
    }
    line = tap("--config", file, "--config", "ENV", code=2, env=env)
    assert "pii.pepper" in line


def test_sections_of_several_files_are_merged(
    tmp_path: Path, server: SimulatorServer
) -> None:
    """Otherwise a file with the pepper would switch the mode back to plain."""
    first = write(tmp_path, "a.json", config(server) | {"pii": {"mode": "hash"}})
    second = write(tmp_path, "b.json", {"pii": {"pepper": "short"}})
    line = tap("--config", first, "--config", second, code=2)
    assert "pii.pepper must have at least 16 characters" in line


def test_a_misspelt_variable_is_refused(server: SimulatorServer) -> None:
    section = json.dumps(config(server)["encompass"])
    env = {
        "TAP_EMAIL_METRICS_ENCOMPASS": section,
        "TAP_EMAIL_METRICS_PII_MODUS": CANARY,
    }
    line = tap("--config", "ENV", code=2, env=env)
    assert "did you mean TAP_EMAIL_METRICS_PII_MODE?" in line


def test_under_meltano_a_misspelt_variable_logs_a_warning(
    tmp_path: Path, server: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Under Meltano the environment also has variables of other programs."""
    file = write(tmp_path, "c.json", config(server))
    env = {"MELTANO_PROJECT_ROOT": "/", "TAP_EMAIL_METRICS_PII_MODUS": CANARY}
    command = TapEmailMetrics.get_singer_command()
    options = ["--config", str(file), "--test=schema"]
    done = CliRunner().invoke(command, options, env=env)
    assert done.exit_code == 0, done.output
    (line,) = [text for text in caplog.messages if "is not a setting" in text]
    assert "did you mean TAP_EMAIL_METRICS_PII_MODE?" in line
    assert CANARY not in line


def test_variables_that_are_not_read_are_named(
    tmp_path: Path, server: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a mode has no effect: addresses are written in plain text."""
    file = str(write(tmp_path, "c.json", config(server)))
    env = {"TAP_EMAIL_METRICS_PII_MODE": "plain", "TAP_EMAIL_METRICS_BACKFILL": ""}
    said = ["not read without --config ENV: TAP_EMAIL_METRICS_PII_MODE"]
    assert about_variables(caplog, env, "--config", file) == said
    assert not about_variables(caplog, env, "--config", file, "--config", "ENV")
    meltanos = env | {"MELTANO_PROJECT_ROOT": "/"}
    assert not about_variables(caplog, meltanos, "--config", file)


def about_variables(
    caplog: pytest.LogCaptureFixture, env: dict[str, str], *options: str
) -> list[str]:
    caplog.clear()
    command = TapEmailMetrics.get_singer_command()
    done = CliRunner().invoke(command, [*options, "--test=schema"], env=env)
    assert done.exit_code == 0, done.output
    return [line for line in caplog.messages if "--config ENV" in line]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("option", ["--catalog", "--state"])
def test_a_file_may_begin_with_a_byte_order_mark(
    tmp_path: Path, server: SimulatorServer, encoding: str, option: str
) -> None:
    """Programs on Windows write one."""
    settings = write(tmp_path, "c.json", config(server))
    file = tmp_path / "input.json"
    streams = {"streams": [{"tap_stream_id": STREAM, "schema": 5}]}
    state: dict[str, Any] = {"bookmarks": {"issues": {}}}
    value = streams if option == "--catalog" else state
    file.write_bytes(json.dumps(value).encode(encoding))
    line = tap("--config", settings, option, file, code=2)
    assert "Expected `object`, got `int`" in line or "bookmarks.issues" in line
