"""The real Meltano with the `meltano.yml` of this repository and real targets."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tap_email_metrics.records.columns import EXTRACTED_AT
from tests.support.comparison import Row, by_key, compare
from tests.support.postgres import Postgres
from tests.support.project import Project
from tests.support.world import KEYS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.meltano

STREAMS = sorted(KEYS)
PACE = {
    "TAP_EMAIL_METRICS_ENCOMPASS_REVISIT": "always",
    "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": "200",
}


@dataclass(frozen=True)
class Pipeline:
    """A world, a warehouse, and the Meltano project between them."""

    world: World
    postgres: Postgres
    project: Project

    def truth(self, stream: str) -> list[dict[str, Any]]:
        return self.world.truth(stream, [self.world.now()])

    def differences(self, schema: str) -> dict[str, tuple[str, ...]]:
        """Return the differences between a schema and the truth by stream."""
        return self.differences_of(lambda stream: self.postgres.rows(schema, stream))

    def differences_of(
        self, held: Callable[[str], Iterable[Row]]
    ) -> dict[str, tuple[str, ...]]:
        """Return the differences between a target's rows and the truth by stream."""
        found = compare(held, self.truth, KEYS)
        assert all(comparison.held for comparison in found.values())
        return {s: c.differences for s, c in found.items() if c.differences}

    def sync(self, target: str, settings: Mapping[str, str]) -> None:
        """Run tap and target once with further settings."""
        project = replace(self.project, settings={**self.project.settings, **settings})
        project.meltano("run", "tap-email-metrics", target)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    with (
        Postgres(folder / "postgres") as postgres,
        World(folder, seed=5, size=12, campaigns=12, luxsci=50, largest=120) as world,
    ):
        url = {"TARGET_POSTGRES_SQLALCHEMY_URL": postgres.sqlalchemy_url}
        settings = {**world.settings, **PACE, **url}
        yield Pipeline(world, postgres, Project(folder / "project", settings).create())


def test_a_run_fills_postgres_and_stores_the_state(pipeline: Pipeline) -> None:
    done = pipeline.project.meltano("run", "tap-email-metrics", "target-postgres")

    summary = done.run_summary()["streams"]
    assert sorted(summary) == STREAMS
    assert {said["outcome"] for said in summary.values()} <= {"complete", "empty"}
    # The schema is that of the environment dev.
    assert pipeline.differences("email_metrics_dev") == {}

    name = "dev:tap-email-metrics-to-target-postgres"
    assert name in pipeline.project.meltano("state", "list").output.split()
    state = json.loads(pipeline.project.meltano("state", "get", name).output)
    assert sorted(set(state["singer_state"]["bookmarks"]) & set(STREAMS)) == STREAMS


def test_a_second_run_continues_from_the_state(pipeline: Pipeline) -> None:
    done = pipeline.project.meltano("run", "tap-email-metrics", "target-postgres")

    summary = done.run_summary()["streams"]
    assert summary["encompass_messages"]["records"] == 0
    assert summary["encompass_bounces"]["records"] < len(
        pipeline.truth("encompass_bounces")
    )
    assert pipeline.differences("email_metrics_dev") == {}


def test_the_schedules_of_meltano_yml_run(pipeline: Pipeline) -> None:
    listed = pipeline.project.meltano("schedule", "list", "--format=json").output
    schedules = {s["name"]: s for s in json.loads(listed)["schedules"]["job"]}
    assert {name: s["cron_interval"] for name, s in schedules.items()} == {
        "constant-contact-hourly": "0 * * * *",
        "encompass-hourly": "0 * * * *",
        "luxsci-daily": "0 0 * * *",
    }

    for name in schedules:
        pipeline.project.meltano("--environment=prod", "schedule", "run", name)

    assert pipeline.differences("email_metrics") == {}
    states = pipeline.project.meltano("--environment=prod", "state", "list").output
    for name in ("encompass", "constant-contact", "luxsci"):
        assert f"prod:tap-email-metrics--{name}-to-target-postgres" in states.split()


def test_target_jsonl_writes_the_truth(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.sync("target-jsonl", {"TARGET_JSONL_DESTINATION_PATH": str(tmp_path)})

    def held(stream: str) -> Iterable[Row]:
        lines = (tmp_path / f"{stream}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert all(row.pop(EXTRACTED_AT) for row in rows)
        return by_key(rows, KEYS[stream]).values()

    assert pipeline.differences_of(held) == {}


def test_config_test_on_a_large_account_reads_a_fraction(tmp_path: Path) -> None:
    """Meltano reads one record, then terminates the tap and waits for its end."""
    with World(tmp_path, seed=1, size=300) as world:
        messages = len(world.truth("encompass_messages", [world.now()]))
        project = Project(tmp_path / "project", world.settings).create()

        done = project.meltano("config", "test", "tap-email-metrics")

        assert "Plugin configuration is valid" in done.output + done.log
        # A complete run takes at least six times as many requests.
        assert sum(world.served().values()) < messages
        assert working_in(project.folder) == []


def test_config_test_names_a_wrong_secret(pipeline: Pipeline, tmp_path: Path) -> None:
    wrong = {"TAP_EMAIL_METRICS_ENCOMPASS_CLIENT_SECRET": "nobody's"}
    # Meltano would accept the first record of another provider.
    other = ("TAP_EMAIL_METRICS_CONSTANT_CONTACT_", "TAP_EMAIL_METRICS_LUXSCI_")
    given = pipeline.project.settings.items()
    settings = {k: v for k, v in given if not k.startswith(other)} | wrong
    project = Project(tmp_path / "project", settings).create()

    done = project.try_meltano("config", "test", "tap-email-metrics")

    assert done.code != 0
    assert "nobody's" not in done.output + done.log
    assert working_in(project.folder) == []


def working_in(folder: Path) -> list[list[str]]:
    """Return the command lines of the processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(process.cmdline())
    return found
