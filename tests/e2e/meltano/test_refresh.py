"""States that the real Meltano keeps, merges and copies."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comparison import by_key
from tests.support.project import Finished, Project
from tests.support.world import KEYS, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.meltano

PACE = {"TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": "200"}
STREAMS = [stream for stream in KEYS if stream.startswith("encompass_")]


@dataclass(frozen=True)
class Pipeline:
    """A world, the Meltano project, and a folder for rows as JSON lines."""

    world: World
    rows: Path
    project: Project

    def run(self, *options: str, into: str = "rows", **settings: Any) -> Finished:
        """Run tap and target once with further settings of the tap."""
        self.rows.joinpath(into).mkdir(parents=True, exist_ok=True)
        more = {
            f"TAP_EMAIL_METRICS_{name.upper()}": str(value)
            for name, value in settings.items()
        }
        destination = {"TARGET_JSONL_DESTINATION_PATH": str(self.rows / into)}
        project = replace(
            self.project, settings={**self.project.settings, **destination, **more}
        )
        return project.meltano("run", *options, "tap-email-metrics", "target-jsonl")

    def missing(self, into: str) -> dict[str, int]:
        """Return the number of missing rows of the truth by stream."""
        found = {}
        for stream in STREAMS:
            file = self.rows / into / f"{stream}.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            have = by_key(map(json.loads, lines), KEYS[stream])
            wanted = by_key(self.world.truth(stream, [self.world.now()]), KEYS[stream])
            if lost := wanted.keys() - have.keys():
                found[stream] = len(lost)
        return found


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("refresh")
    with World(folder, seed=5, size=12, largest=40) as world:
        settings = {**world.settings, **PACE}
        project = Project(folder / "project", settings).create()
        pipeline = Pipeline(world, folder / "rows", project)
        pipeline.run()
        assert pipeline.missing("rows") == {}
        yield pipeline


@pytest.mark.parametrize("requests", [5, 40])
def test_a_full_refresh_that_paused_is_completed_by_later_runs(
    pipeline: Pipeline, requests: int, tmp_path: Path
) -> None:
    """Meltano merges the state of a full refresh into the old one."""
    into = tmp_path.name
    # A separate ledger, so that requests of earlier runs do not count.
    ledger = {"XDG_STATE_HOME": str(tmp_path)}
    paused = replace(
        pipeline,
        project=replace(
            pipeline.project, settings={**pipeline.project.settings, **ledger}
        ),
    )
    done = paused.run("--full-refresh", into=into, encompass_daily_requests=requests)
    assert done.run_summary()["paused"]
    assert pipeline.missing(into)

    pipeline.run(into=into)

    assert pipeline.missing(into) == {}


def test_an_earlier_start_date_is_read_though_states_are_merged(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """`--merge-state` keeps old marks, which the tap must not use."""
    into = tmp_path.name
    suffix = "--state-id-suffix=merged"
    pipeline.run(suffix, into=into, start_date="2026-01-01")
    for _ in range(2):
        pipeline.run(suffix, "--merge-state", into=into)
    assert pipeline.missing(into) == {}


def test_the_state_of_another_account_is_refused(pipeline: Pipeline) -> None:
    """`meltano state copy` from dev to prod, which reads another account."""
    meltano = pipeline.project.meltano
    state = "tap-email-metrics-to-target-jsonl"
    meltano("state", "copy", "--force", f"dev:{state}", f"prod:{state}")
    other = {"TAP_EMAIL_METRICS_ENCOMPASS_CLIENT_ID": "other"}
    project = replace(pipeline.project, settings={**pipeline.project.settings, **other})
    done = project.try_meltano(
        "--environment=prod", "run", "tap-email-metrics", "target-jsonl"
    )
    assert done.code != 0
    assert "another encompass account" in done.output + done.log
    assert "--full-refresh" in done.output + done.log
