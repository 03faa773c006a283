"""A small backfill over several daily quotas, as in `make quota-sim`."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import pytest

from simulator.clock import ThreadedClock
from simulator.world import World
from tests.runs.constant_contact.quota_sim import NOW, Simulation, main, simulate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

DAYS = 4
"""The order of threads decides whether the rest of two days fits into the third."""
SMALL = ["--campaigns", "10", "--daily-requests", "100"]


def simulation(folder: Path) -> Simulation:
    clock = ThreadedClock(NOW)
    world = World.generate(3, 0, NOW, days_ahead=0, campaigns=10, clock=clock)
    return Simulation(world, folder, daily=100)


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, str]:
    """Return a successful simulation and its output."""
    one, said = simulation(tmp_path_factory.mktemp("quota")), io.StringIO()
    with redirect_stdout(said):
        assert simulate(one, DAYS)
    return one, said.getvalue()


def test_a_backfill_takes_several_days_and_matches_the_truth(
    backfilled: tuple[Simulation, str],
) -> None:
    lines = [line.split() for line in backfilled[1].splitlines()]
    days = [line for line in lines if len(line) == 6 and line[0] in "1234"]
    assert [day[2:4] for day in days[:2]] == [["100", "0"], ["100", "0"]]
    assert [day[5] for day in days[:2]] == ["something", "something"]
    assert days[-1][5] == "nothing"


def test_a_row_that_differs_fails_the_simulation(
    backfilled: tuple[Simulation, str], capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = backfilled
    row = next(iter(one.target.rows["constant_contact_opens"].values()))
    row["first_name"] = "changed"
    assert not simulate(one, days=0)
    [line] = [
        x
        for x in capsys.readouterr().out.splitlines()
        if "_opens " in x and "unique" not in x
    ]
    assert line.split()[-1] == "1"


def test_the_exit_code_of_the_command_tells_success() -> None:
    assert main([*SMALL, "--days", "1"]) == 1
    enough = ["--campaigns", "2", "--daily-requests", "500"]
    assert main([*enough, "--days", "1"]) == 0
