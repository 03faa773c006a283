"""A ledger that cannot be used: one error line, a run summary, and exit code 1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from simulator.server import serve
from tests.support.cli import config, run, small_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def damage(file: Path) -> None:
    file.write_text("{")


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def count_in_2028(file: Path) -> None:
    day = {"version": 1, "day": "2028-01-01", "used": 500, "spent": False}
    file.write_text(json.dumps(day))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage, "is damaged, or of a newer version: delete it"),
        (make_a_folder, "is not a file, but a folder or a device"),
        (count_in_2028, "if it is right, delete"),
    ],
)
def test_an_unusable_ledger_is_one_error_line_and_a_run_summary(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with serve(small_world()) as server:
        settings = config(server, daily_requests=500)
        assert run(tmp_path, settings, env=env).code == 0
        (file,) = (tmp_path / "tap-email-metrics").glob("ledger-*.json")
        harm(file)
        ended = run(tmp_path, settings, env=env)
    assert ended.code == 1
    (line,) = ended.troubles
    assert said in line
    outcomes = {one["outcome"] for one in ended.summary["streams"].values()}
    assert outcomes == {"failed"}
    assert ended.of("RECORD", "email_metrics_runs")
