"""Colours, which are used only on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

from simulator.server import serve
from tests.support.cli import COMMAND, arguments, config, run, small_world

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ESCAPE = "\x1b["
GREEN, YELLOW, RED = (f"{ESCAPE}{number}m" for number in (32, 33, 31))


def shown(command: list[str], env: Mapping[str, str] | None = None) -> str:
    """Return what a command writes to stdout and stderr, if both are a terminal."""
    screen, terminal = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "NO_COLOR": "", **(env or {})},
    ):
        os.close(terminal)
        parts = []
        try:
            while part := os.read(screen, 65_536):
                parts.append(part)
        except OSError:  # the command has ended
            pass
    os.close(screen)
    return b"".join(parts).decode()


@pytest.mark.slow
def test_a_run_colours_its_outcomes_and_warnings_on_a_terminal(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        server.world.faults.add("status", status=404, path="/bounces$")
        lines = shown(arguments(tmp_path, config(server))).splitlines()
    logged = [line for line in lines if "| INFO " in line and "{" not in line]
    for outcome, colour in (("complete", GREEN), ("unavailable", YELLOW)):
        told = [line for line in logged if f" {outcome}" in line]
        # For each stream: the line at its end, and its line in the table.
        assert len(told) >= 2
        assert all(line.startswith(colour) for line in told)
    warnings = [line for line in lines if "| WARNING " in line]
    assert warnings
    # A bar may stand before the first one in its line.
    assert all(YELLOW in line for line in warnings)


@pytest.mark.slow
def test_a_run_without_a_terminal_has_no_colours(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        server.world.faults.add("status", status=404, path="/bounces$")
        done = run(tmp_path, config(server))
    assert ESCAPE not in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "error"),
    [({}, f"{RED}Error:{ESCAPE}0m "), ({"NO_COLOR": "1"}, "Error: ")],
)
def test_errors_are_red_unless_the_user_wants_no_colour(
    variables: dict[str, str], error: str
) -> None:
    told = shown([f"{COMMAND}-doctor"], variables)
    assert f"{error}no provider is configured" in told
    assert (ESCAPE in told) == (not variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "heading"),
    [({}, f"{GREEN}encompass: well{ESCAPE}0m"), ({"NO_COLOR": "1"}, "encompass: well")],
)
def test_the_doctor_shows_well_accounts_in_green(
    tmp_path: Path, variables: dict[str, str], heading: str
) -> None:
    with serve(small_world(days_ago=0)) as server:
        _, *options = arguments(tmp_path, config(server))
        told = shown([f"{COMMAND}-doctor", *options], variables)
    assert told.startswith(heading)
    assert (ESCAPE in told) == (not variables)
