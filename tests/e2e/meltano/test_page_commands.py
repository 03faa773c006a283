"""Commands of the documentation that need Meltano, run as written; not the guide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.pages import GUIDE, blocks, runnable
from tests.support.postgres import Postgres
from tests.support.project import MELTANO, Project
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.meltano

#: Blocks of commands with Meltano, by page and heading.
BLOCKS = {
    place: text
    for place, found in runnable().items()
    if (text := "\n".join(one.text for one in found if "meltano" in one.text))
}
ELSEWHERE = {("alerts.md", "Mail from cron")}
"""Blocks that `tests/cli/test_alerts.py` runs."""
SCHEMA = "email_metrics"
CLOUDS = (("warehouses.md", "Snowflake"), ("warehouses.md", "BigQuery"))
README = ("README.md", "One provider into one warehouse")


@dataclass(frozen=True)
class Reader:
    """A reader of the documentation with a project that loads Postgres.

    Attributes:
        own: replacements of the example values in the pages.
    """

    folder: Path
    world: World
    postgres: Postgres
    environment: Mapping[str, str]
    own: Mapping[str, str]

    def run(self, page: str, heading: str, typed: str = "") -> str:
        """Run the blocks below a heading; return their output."""
        return self.shell(BLOCKS[page, heading], typed)

    def shell(self, text: str, typed: str = "") -> str:
        for example, own in self.own.items():
            text = text.replace(example, own)
        done = subprocess.run(  # noqa: S603 - our own pages
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("pages")
    with (
        Postgres(folder / "postgres") as postgres,
        # The doctor compares the two clocks.
        World(folder, seed=3, size=4, days_behind=0) as world,
    ):
        section = json.loads(world.config.read_text())["encompass"]
        project = Project(
            folder / "project",
            {
                **world.environment,
                "TARGET_POSTGRES_SQLALCHEMY_URL": postgres.sqlalchemy_url,
                "TAP_EMAIL_METRICS_ENCOMPASS_API_URL": world.url,
                "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": "200",
            },
        ).create()
        # As in a project that `tap-email-metrics-init` has made.
        definition = project.folder / "meltano.yml"
        text = definition.read_text()
        assert text.count("default_environment: dev\n") == 1
        definition.write_text(
            text.replace("default_environment: dev", "default_environment: prod")
        )
        paths = (MELTANO.parent, Path(sys.executable).parent, os.environ["PATH"])
        one = Reader(
            project.folder,
            world,
            postgres,
            {
                **project.environment(),
                "PATH": os.pathsep.join(map(str, paths)),
            },
            {
                "https://www.alumni.example.edu": section["site_url"],
                "client_id 1234": f"client_id {section['client_id']}",
            },
        )
        # Everything else needs the credentials.
        secret = section["client_secret"]
        said = one.run("encompass.md", "Authorise", typed=secret)
        assert secret not in said
        yield one


def test_every_block_of_commands_has_a_test() -> None:
    assert set(BLOCKS) - ELSEWHERE == {
        *CLOUDS,
        README,
        ("backfill.md", "Backfill"),
        ("backfill.md", "Before you start"),
        ("encompass.md", "Authorise"),
        ("operations.md", "Alerts"),
        ("operations.md", "Before a run: the doctor"),
        ("selection.md", "Stream maps"),
        ("selection.md", "With Meltano"),
        ("state.md", "Look at the state, and move it"),
        ("state.md", "Read one stream again"),
    }


def test_the_commands_of_the_readme_are_commands_of_the_guide() -> None:
    guide = [command for block in blocks(GUIDE) for command in block.commands]
    for block in runnable()[README]:
        for command in block.commands:
            # The guide also adds dbt.
            assert command in [one.removesuffix(" --dbt") for one in guide], command


def test_a_secret_is_written_to_the_env_file_only(reader: Reader) -> None:
    secret = json.loads(reader.world.config.read_text())["encompass"]["client_secret"]
    assert secret in (reader.folder / ".env").read_text()
    assert secret not in (reader.folder / "meltano.yml").read_text()


@pytest.mark.parametrize(
    "place",
    [
        ("backfill.md", "Before you start"),
        ("operations.md", "Before a run: the doctor"),
    ],
)
def test_the_doctor_works_after_meltano_rewrote_its_file(
    reader: Reader, place: tuple[str, str]
) -> None:
    assert "next run: " in reader.run(*place)


def test_the_selection_page_deselects_streams_and_maps_columns(reader: Reader) -> None:
    reader.run("selection.md", "With Meltano")
    reader.run("selection.md", "Stream maps")
    reader.shell("meltano run tap-email-metrics target-postgres")
    assert reader.postgres.rows(SCHEMA, "encompass_links") == []
    assert "pre_header" not in reader.postgres.rows(SCHEMA, "encompass_messages")[0]
    opens = reader.postgres.rows(SCHEMA, "encompass_opens")
    assert {row["opened_on"] for row in opens} == {
        row["occurred_at"][:10] for row in opens
    }


def test_the_state_page_reads_one_stream_again(reader: Reader) -> None:
    before = reader.postgres.rows(SCHEMA, "encompass_opens")
    assert before
    with psycopg.connect(reader.postgres.url) as connection:
        connection.execute("truncate email_metrics.encompass_opens")
        connection.execute("truncate email_metrics.encompass_messages")
    reader.run("state.md", "Read one stream again")
    again = reader.postgres.rows(SCHEMA, "encompass_opens")
    assert {row["id"] for row in again} >= {row["id"] for row in before}
    assert reader.postgres.rows(SCHEMA, "encompass_messages") == []


def test_the_state_page_copies_a_state(reader: Reader) -> None:
    said = reader.run("state.md", "Look at the state, and move it")
    assert "prod:tap-email-metrics-to-target-postgres" in said
    kept = json.loads((reader.folder / "state.json").read_text())
    assert {"encompass_opens", "encompass_messages"} <= set(
        kept["singer_state"]["bookmarks"]
    )
    assert "staging:tap-email-metrics-to-target-postgres" in reader.shell(
        "meltano state list"
    )


def test_the_backfill_page_runs_a_backfill_that_is_marked_as_one(
    reader: Reader,
) -> None:
    reader.run("backfill.md", "Backfill")
    runs = reader.postgres.rows(SCHEMA, "email_metrics_runs")
    assert True in {row["backfill"] for row in runs}
    assert {False, None} & {row["backfill"] for row in runs}


def test_the_operations_page_sets_max_lag_days(reader: Reader) -> None:
    reader.run("operations.md", "Alerts")
    assert "max_lag_days: 8" in (reader.folder / "meltano.yml").read_text()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (CLOUDS[0], '"private_key_path": "snowflake.p8"'),
        (CLOUDS[1], '"credentials_path": "bigquery.json"'),
    ],
)
def test_the_warehouse_pages_make_a_project(
    reader: Reader, place: tuple[str, str], expected: str
) -> None:
    assert expected in reader.run(*place)
