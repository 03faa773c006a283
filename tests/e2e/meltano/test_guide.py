"""The guide's commands, as they stand there, with the real Meltano."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import GUIDE, blocks
from tests.support.postgres import Postgres
from tests.support.project import MELTANO, ROOT, Project
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.meltano

[PSQL] = Path(sysconfig.get_path("purelib")).glob("*/pginstall/bin/psql")


@dataclass(frozen=True)
class Guide:
    """A reader of the guide.

    Attributes:
        folder: the reader's project.
        world: what its source is.
        postgres: what its Postgres is.
        environment: the environment of its shell.
        own: what it writes in place of the guide's examples.
    """

    folder: Path
    world: World
    postgres: Postgres
    environment: Mapping[str, str]
    own: Mapping[str, str]

    def follow(self, *headings: str) -> str:
        """Run all blocks below these headings that can be run; return what they say."""
        said = ""
        for heading in headings:
            found = [b for b in blocks(GUIDE) if b.heading == heading]
            runnable = [b for b in found if b.language == "sh" and not b.reason]
            assert runnable, heading
            for block in runnable:
                said += self.run(block.text)
        return said

    def run(self, text: str, typed: str = "") -> str:
        for example, own in self.own.items():
            text = text.replace(example, own)
        done = subprocess.run(  # noqa: S603 - our own page
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr[-3000:]}"
        assert self.own["web-services-guid"] not in done.stdout + done.stderr
        return done.stdout

    @property
    def messages(self) -> int:
        return len(self.world.truth("encompass_messages", [self.world.now()]))


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    folder = tmp_path_factory.mktemp("guide")
    (folder / "tap-email-metrics").symlink_to(ROOT)
    with (
        Postgres(folder / "postgres") as postgres,
        World(folder, seed=3, size=4) as world,
    ):
        project = Project(folder / "email-metrics", world.environment).create()
        # The guide makes its own.
        (project.folder / "meltano.yml").unlink()
        reader = Guide(
            project.folder,
            world,
            postgres,
            environment(project, world),
            in_place_of_examples(world, postgres),
        )
        said = reader.follow("1. Meltano", "2. The source")
        assert '"client_secret": "*****"' in said
        yield reader


def environment(project: Project, world: World) -> dict[str, str]:
    """Return what a reader of the guide has, and the way to the simulator."""
    paths = (MELTANO.parent, PSQL.parent, *os.environ["PATH"].split(os.pathsep))
    return {
        **project.environment(),
        "PATH": os.pathsep.join(map(str, paths)),
        "TAP_EMAIL_METRICS_ENCOMPASS_API_URL": world.url,
        "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": "200",
    }


def in_place_of_examples(world: World, postgres: Postgres) -> dict[str, str]:
    section = json.loads(world.config.read_text())["encompass"]
    url = postgres.sqlalchemy_url
    example = "loader:password@db.example.edu:5432/warehouse"
    own = {
        # Meltano installs anew what comes from elsewhere than what it has installed.
        r"s/pip_url: -e \./pip_url: tap-email-metrics/": (
            rf"s|pip_url: -e \.|pip_url: -e {ROOT}|"
        ),
        "https://www.alumni.example.edu": section["site_url"],
        "CLIENT_ID=1234": f"CLIENT_ID={section['client_id']}",
        "web-services-guid": section["client_secret"],
        f"postgresql+psycopg://{example}": url,
        f"postgresql://{example}": url.replace("+psycopg", ""),
    }
    text = GUIDE.read_text(encoding="utf-8")
    assert all(one in text for one in own)
    return own


def test_postgres(guide: Guide) -> None:
    # The world's clock goes on while commands run.
    before = guide.messages
    said = guide.follow("Postgres")
    counts = range(before, guide.messages + 1)
    assert any(f" {count} | " in said for count in counts)
    assert guide.postgres.rows("email_metrics", "encompass_messages") == []

    before = guide.messages
    said = guide.follow("4. The schedule")
    assert "encompass-hourly" in said
    assert "prod:tap-email-metrics--encompass-to-target-postgres" in said
    rows = guide.postgres.rows("email_metrics", "encompass_messages")
    assert before <= len(rows) <= guide.messages


def test_duckdb(guide: Guide) -> None:
    before = guide.messages
    said = guide.follow("DuckDB")
    assert any(f"{count} " in said for count in range(before, guide.messages + 1))
    said = guide.follow("4. The schedule")
    assert "prod:tap-email-metrics--encompass-to-target-duckdb" in said


def test_snowflake(guide: Guide) -> None:
    said = guide.follow("Snowflake")
    assert "-----BEGIN PUBLIC KEY-----" in said
    assert '"default_target_schema": "EMAIL_METRICS_DEV"' in said
    assert '"private_key_path": "snowflake.p8"' in said


def test_bigquery(guide: Guide) -> None:
    said = guide.follow("BigQuery")
    assert '"dataset": "email_metrics_dev"' in said
    assert '"credentials_path": "bigquery.json"' in said


def test_the_readme_sets_what_is_needed(guide: Guide) -> None:
    [block] = [b for b in blocks(ROOT / "README.md") if b.heading == "With Meltano"][:1]
    settings = [c for c in block.commands if c.startswith("meltano config set ")]
    assert len(settings) == 3
    guide.run("\n".join(settings), typed="what only I know\n")
    assert "'what only I know'" in (guide.folder / ".env").read_text()
    written = (guide.folder / "meltano.yml").read_text()
    assert "site_url: https://alumni.example.edu" in written
    assert "what only I know" not in written
