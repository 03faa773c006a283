"""The parts of the benchmark read the same rows; nothing is timed here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks import contestants, measure
from benchmarks.load import Loaded, load, report
from benchmarks.loaders import Loader
from benchmarks.measure import World, run, serving
from tests.runs.encompass.requests_saved import count_requests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr(contestants, "FOLDER", tmp_path)
    monkeypatch.setattr("benchmarks.load.FOLDER", tmp_path)
    # The packages of the bare loops are installed here, too.
    monkeypatch.setattr(contestants, "python", lambda _: sys.executable)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows",
    [*(pytest.param(n, marks=pytest.mark.nightly) for n in (0, 7, 1000)), 2003],
)
def test_tap_naive_tap_and_download_read_every_row(rows: int) -> None:
    with serving(World(parents=3, rows=rows)) as server:
        pages = max(1, -(-rows // 1000))
        for one in (
            contestants.tap(),
            contestants.tap("all", fields=None),
            contestants.naive(),
            contestants.download(),
        ):
            ran = run(one, server)
            assert ran.records == 3 * rows
            tap = one.name in {"tap", "all"}
            # The tap requests a page after a full page even if the total is reached.
            behind = 3 * (tap and rows > 0 and rows % 1000 == 0)
            assert ran.requests == 1 + 3 * pages + behind + tap


def test_a_benchmarked_reader_that_loses_a_row_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "_count", lambda *_: 5)
    with (
        serving(World(parents=2, rows=3)) as server,
        pytest.raises(RuntimeError, match="5 of 6 records"),
    ):
        run(contestants.download(), server)


@pytest.mark.parametrize("held", [5, 7])
def test_a_benchmarked_loader_that_loses_or_doubles_a_row_is_refused(held: int) -> None:
    loader = Loader("one", ("true",), empty=lambda: None, count=lambda: held)
    with (
        serving(World(parents=2, rows=3)) as server,
        pytest.raises(RuntimeError, match=f"{held} of 6 rows"),
    ):
        load(loader, server, psutil.Process())


def test_the_load_report_compares_with_the_faster_dlt() -> None:
    costs = {
        "tap, target-postgres": 6.0,
        "tap, target-postgres, _sdc_ columns": 7.5,
        "dlt, insert_values": 4.0,
        "dlt, csv": 3.0,
        "SDK tap, target-postgres": 24.0,
        "bare loop": 1.5,
    }
    runs = {
        name: [Loaded(cpu + 1, cpu + 1, 0.0), Loaded(cpu, 2 * cpu, 0.0)]
        for name, cpu in costs.items()
    }
    found = report(runs, dict.fromkeys(costs, 1.0), 100)
    assert found["cpu_ratio_dlt"] == 2.0
    assert found["wall_ratio_dlt"] == 1.75
    assert found["sdc_cpu_ratio_dlt"] == 2.5
    assert found["cpu_ratio_naive"] == 0.25
    assert found["cpu_ratio_floor"] == 4.0


@pytest.mark.slow
def test_quiet_syncs_take_few_requests() -> None:
    counted = count_requests(20)
    assert counted["encompass_quiet_share"] < 0.05
    assert counted["encompass_10_new_opens_more_than_quiet"] <= 2
