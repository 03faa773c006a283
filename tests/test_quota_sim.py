"""A backfill over several days' quotas, as `make quota-sim` runs it, but small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.quota_sim import NOW, Simulation, main, simulate
from simulator.clock import ThreadedClock
from simulator.world import World

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.slow

SMALL = ["--campaigns", "10", "--daily-requests", "120", "--daily-reserve", "20"]


def simulation(folder: Path) -> Simulation:
    clock = ThreadedClock(NOW)
    world = World.generate(3, 0, NOW, days_ahead=0, campaigns=10, clock=clock)
    return Simulation(world, folder, daily=120, reserve=20)


def test_a_backfill_takes_three_days_and_matches_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(simulation(tmp_path))
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    days = [line for line in lines if len(line) == 6 and line[0] in "123"]
    assert [day[2:4] for day in days[:2]] == [["100", "0"], ["100", "0"]]
    assert [day[5] for day in days] == ["something", "something", "nothing"]


def test_too_few_days_are_no_success(tmp_path: Path) -> None:
    assert not simulate(simulation(tmp_path), days=1)


def test_a_row_that_differs_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = simulation(tmp_path)
    assert simulate(one)
    capsys.readouterr()
    row = next(iter(one.target.rows["constant_contact_opens"].values()))
    row["first_name"] = "changed"
    assert not simulate(one, days=0)
    [line] = [
        x
        for x in capsys.readouterr().out.splitlines()
        if "_opens " in x and "unique" not in x
    ]
    assert line.split()[-1] == "1"


def test_the_command_says_by_its_code_whether_all_is_well() -> None:
    assert main([*SMALL, "--days", "3"]) == 0
    assert main([*SMALL, "--days", "1"]) == 1
