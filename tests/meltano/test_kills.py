"""Tap and target killed under the real Meltano, a few times: as `make kill-test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.kill_test import KillTest
from scripts.warehouse import Postgres
from scripts.world import World

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.meltano

KILLS, SEED = 2, 4


def test_postgres_holds_the_truth_after_kills(tmp_path: Path) -> None:
    with (
        Postgres(tmp_path / "postgres") as postgres,
        World(tmp_path, seed=SEED, size=4, campaigns=2, luxsci=5) as world,
    ):
        found = KillTest(tmp_path, world, postgres, SEED).run(KILLS)
    assert found.differences == []
    assert found.kills == KILLS
    assert found.rows > 0
