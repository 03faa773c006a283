"""The dbt project as a package of another project, and with its oldest allowed dbt."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import yaml

from simulator.truth import truth
from simulator.world import World
from tests.e2e.transform.test_transform import (
    NOW,
    STEPS,
    first_load,
    marts,
    run_dbt,
)
from tests.support.project import ROOT
from tests.support.world import KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.transform.expected import Row

pytestmark = pytest.mark.meltano

PROJECT = {
    "name": "theirs",
    "version": "1.0.0",
    "config-version": 2,
    "profile": "email_metrics",
    "vars": {"email_metrics": {"providers": ["luxsci"], "silent_months": 6}},
}


def load(folder: Path) -> None:
    """Write a small load with rows of all streams."""
    world = World.generate(
        *(7, 2, NOW), days_ahead=5, campaigns=2, luxsci=10, largest=50
    )
    rows = {stream: truth(world, stream, [NOW]) for stream in KEYS}
    first_load(rows).write(folder / "load")


def build(folder: Path, tool: str, *steps: list[str], **more: str) -> None:
    """Run dbt on the load and dump the marts."""
    done: list[dict[str, Any]] = [{"load": str(folder / "load")}]
    done += [{"dbt": step} for step in steps]
    done.append({"dump": str(folder / "marts")})
    done = [{"database": str(folder / "one.duckdb"), **step} for step in done]
    (folder / "steps.json").write_text(json.dumps(done))
    run_dbt(folder, tool, STEPS, folder / "steps.json", DBT_TARGET="duckdb", **more)


def test_another_project_can_use_it_as_a_package(tmp_path: Path) -> None:
    """The other project installs it from git and sets its own variables."""
    load(tmp_path)
    published = tmp_path / "published"
    shutil.copytree(ROOT / "transform", published / "transform")
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "."],
        ["commit", "--quiet", "--message", "Everything"],
    ):
        subprocess.run(  # noqa: S603 - git
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command],  # noqa: S607
            cwd=published,
            check=True,
        )
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    package = {"git": published.as_uri(), "subdirectory": "transform"}
    package["revision"] = "main"
    (theirs / "dbt_project.yml").write_text(yaml.safe_dump(PROJECT))
    (theirs / "packages.yml").write_text(yaml.safe_dump({"packages": [package]}))
    build(
        tmp_path,
        "dbt",
        ["deps"],
        ["build", "--exclude", "tag:alert", "test_type:unit"],
        DBT_PROJECT_DIR=str(theirs),
    )

    found: dict[str, list[Row]] = marts(tmp_path / "marts")
    assert {row["provider"] for row in found["email_events"]} == {"luxsci"}
    silent = {row["stop_reason"] for row in found["email_recipient_health"]}
    assert silent <= {None, "complained", "suppressed", "unsubscribed", "silent"} | {
        "hard bounce"
    }
    assert found["email_message_rates"]


@pytest.mark.nightly
def test_the_oldest_allowed_dbt_builds_everything(tmp_path: Path) -> None:
    load(tmp_path)
    project = yaml.safe_load((ROOT / "transform" / "dbt_project.yml").read_text())
    pins = (ROOT / "constraints" / "dbt-lowest.in").read_text()
    [oldest] = re.findall(r"^dbt-core==(.*)$", pins, re.MULTILINE)
    assert project["require-dbt-version"][0] == f">={oldest}"

    history = ["--vars", json.dumps({"history": True})]
    build(tmp_path, "dbt-lowest", ["build", *history, "--exclude", "tag:alert"])

    found = marts(tmp_path / "marts")
    providers = {row["provider"] for row in found["email_message_rates"]}
    assert providers == {"encompass", "constant_contact", "luxsci"}
    with duckdb.connect(str(tmp_path / "one.duckdb"), read_only=True) as connection:
        kept = connection.execute(
            "select count(*), count(dbt_valid_to)"
            " from email_marts_history.constant_contact_contacts_history"
        ).fetchone()
    assert kept
    assert kept[0] > 0 == kept[1]
