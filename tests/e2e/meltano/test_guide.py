"""The page on the first sync, followed from an empty folder for two warehouses."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from uv import find_uv_bin

from scripts.generate import PACKAGE
from tests.support.pages import GUIDE, blocks, runnable
from tests.support.postgres import Postgres
from tests.support.project import CACHE, ROOT, Project
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.meltano, pytest.mark.timeout(1800)]

[PSQL] = Path(sysconfig.get_path("purelib")).glob("*/pginstall/bin/psql")
WAREHOUSES = {"Postgres", "DuckDB"}
SECRET = "web-services-guid"
#: Constraints of each environment that Meltano makes on the page.
CONSTRAINTS = {
    "extractor tap-email-metrics": "../constraints",
    "loader target-postgres": "target-postgres",
    "loader target-duckdb": "target-duckdb",
    "utility dbt-postgres": "dbt",
    "utility dbt-duckdb": "dbt",
}


@dataclass
class Reader:
    """A reader of the page with one shell.

    Attributes:
        folder: working directory of the shell.
        environment: environment of the shell.
        own: replacements of the example values on the page.
        said: output of the blocks, by heading.
        logged: stderr of the blocks, by heading.
    """

    folder: Path
    environment: Mapping[str, str]
    own: Mapping[str, str]
    said: dict[str, str] = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)

    def follow(self, warehouse: str) -> None:
        """Run every block of the page except those of other warehouses.

        A transcript with times is written to `.cache/guide`.
        """
        transcript = CACHE / "guide" / f"{warehouse}.txt"
        transcript.parent.mkdir(parents=True, exist_ok=True)
        with transcript.open("w", encoding="utf-8") as file:
            for block in blocks(GUIDE):
                about = block.heading.partition(":")[0]
                if block.language != "sh" or about in WAREHOUSES - {warehouse}:
                    continue
                began = time.monotonic()
                said, logged = self.run(block.text)
                seconds = time.monotonic() - began
                file.write(f"{block.text}# {seconds:.0f} s\n{said}{logged}\n")
                for kept, new in ((self.said, said), (self.logged, logged)):
                    kept[block.heading] = kept.get(block.heading, "") + new

    def run(self, text: str) -> tuple[str, str]:
        """Run a block; return what it printed, and what it logged."""
        for example, own in self.own.items():
            text = text.replace(example, own)
        where = self.folder / ".shell"
        done = subprocess.run(  # noqa: S603 - our own page
            ["/bin/bash", "-euo", "pipefail", "-c", f"{text}\npwd > '{where}'"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr[-3000:]}"
        assert self.own[SECRET] not in done.stdout + done.stderr
        self.folder = Path(where.read_text().strip())
        where.unlink()
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    # The doctor compares the two clocks.
    with World(folder, seed=3, size=4, days_behind=0) as one:
        yield one


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package of this checkout as an index would offer it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True)  # noqa: S603 - our own
    [built] = folder.glob("*.whl")
    return built


def reader(folder: Path, world: World, wheel: Path, own: Mapping[str, str]) -> Reader:
    """Return a reader in an empty folder beside a checkout."""
    (folder / "tap-email-metrics").symlink_to(ROOT)
    section = json.loads(world.config.read_text())["encompass"]
    tools = folder / ".tools"
    paths = (tools / "bin", Path(find_uv_bin()).parent, PSQL.parent)
    environment = {
        **Project(folder, world.environment).environment(),
        "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]]),
        "UV_TOOL_DIR": str(tools),
        "UV_TOOL_BIN_DIR": str(tools / "bin"),
    }
    return Reader(
        folder,
        environment,
        {
            # The same versions as in the other tests.
            f"uv tool install {PACKAGE}": pinned(
                ROOT / "constraints.txt", f"uv tool install {wheel}"
            ),
            f"uv tool install '{PACKAGE}[report]'": pinned(
                ROOT / "constraints.txt", f"uv tool install '{wheel}[report]'"
            ),
            "uv tool install 'meltano": pinned(
                ROOT / "constraints" / "meltano.txt", "uv tool install 'meltano"
            ),
            "https://www.alumni.example.edu": section["site_url"],
            "CLIENT_ID=1234": f"CLIENT_ID={section['client_id']}",
            SECRET: section["client_secret"],
            **own,
        },
    )


def pinned(constraints: Path, command: str) -> str:
    return f"UV_CONSTRAINT={constraints} {command}"


def installing(world: World, *plugins: str) -> dict[str, str]:
    """Return commands that install plugins one by one, each with its constraints.

    They also direct the tap to the simulator.
    """
    folder = ROOT / "constraints"
    commands = [
        pinned(folder / f"{CONSTRAINTS[one]}.txt", f"meltano install {one}")
        for one in plugins
    ]
    url = f"meltano config set tap-email-metrics encompass.api_url {world.url}\n"
    return {"meltano install\n": "\n".join([*commands, url])}


def count(world: World) -> int:
    return len(world.truth("encompass_messages", [world.now()]))


def held_to_the_file(project: Path) -> None:
    """Check that the plugins are unchanged though Meltano has rewritten its file."""
    plugins = yaml.safe_load((project / "meltano.yml").read_text())["plugins"]
    tap, doctor = plugins["extractors"]
    assert tap["config"]["start_date"] == "2020-01-01"
    assert "!encompass_messages.pre_header" in tap["select"]
    assert doctor["capabilities"] == ["about"]


def test_the_guide_loads_postgres_and_builds_marts(
    tmp_path: Path, world: World, wheel: Path
) -> None:
    with Postgres(tmp_path / "postgres") as postgres, postgres.listening() as port:
        server = postgres.dbt_settings
        user, name = server["DBT_POSTGRES_USER"], server["DBT_POSTGRES_DBNAME"]
        own = {
            "HOST=db.example.edu": "HOST=127.0.0.1",
            "PORT=5432": f"PORT={port}",
            "USER=loader": f"USER={user}",
            "DATABASE=warehouse": f"DATABASE={name}",
            "host=db.example.edu": f"host=127.0.0.1 port={port}",
            "user=loader": f"user={user}",
            "dbname=warehouse": f"dbname={name}",
            "loader@db.example.edu/warehouse": f"{user}@127.0.0.1:{port}/{name}",
            **installing(
                world,
                "extractor tap-email-metrics",
                "loader target-postgres",
                "utility dbt-postgres",
            ),
        }
        before = count(world)
        one = reader(tmp_path, world, wheel, own)
        one.follow("Postgres")
        said = one.said["Postgres: the run"]
        assert any(f" {rows} | " in said for rows in range(before, count(world) + 1))
        assert '"client_secret": "*****"' in one.said["Look before you read"]
        log = one.logged["Postgres: the run"]
        assert "encompass_opens: complete" in log
        assert "METRIC" not in log
        assert len(log.splitlines()) < 60
        messages = postgres.rows("email_marts", "email_messages")
        assert before <= len(messages) <= count(world)
        assert (
            "pre_header" not in postgres.rows("email_metrics", "encompass_messages")[0]
        )
    held_to_the_file(tmp_path / "email-metrics")
    assert (ROOT / "output" / "email-report.html").exists()


@pytest.mark.nightly
def test_the_guide_loads_duckdb_and_builds_marts(
    tmp_path: Path, world: World, wheel: Path
) -> None:
    own = installing(
        world,
        "extractor tap-email-metrics",
        "loader target-duckdb",
        "utility dbt-duckdb",
    )
    before = count(world)
    one = reader(tmp_path, world, wheel, own)
    one.follow("DuckDB")
    for block in runnable()["marts.md", "The report"]:
        one.run(block.text)
    assert (one.folder / "report.html").exists()
    said = one.said["DuckDB: the run"]
    assert any(f"{rows} " in said for rows in range(before, count(world) + 1))
    held_to_the_file(tmp_path / "email-metrics")
    assert (ROOT / "output" / "email-report.html").exists()
