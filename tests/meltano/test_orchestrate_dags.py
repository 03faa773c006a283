"""Airflow itself reads the DAG files, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from scripts.airflow import AIRFLOW
from scripts.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.meltano

EXAMPLE = ROOT / "orchestrate" / "accounts.example.json"
SCRIPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": list(bag.import_errors.values()),
    "schedules": {dag.dag_id: dag.schedule for dag in bag.dags.values()},
    "tasks": {
        f"{dag.dag_id}.{task.task_id}": [task.pool, task.is_mapped]
        for dag in bag.dags.values() for task in dag.tasks
    },
}))
"""


def read(tmp_path: Path, accounts: Path) -> dict[str, Any]:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "orchestrate").symlink_to(ROOT / "orchestrate")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    done = subprocess.run(  # noqa: S603 - our own installation of Airflow
        [AIRFLOW.with_name("python"), "-c", SCRIPT, dags],
        env={
            **environment,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "EMAIL_METRICS_ACCOUNTS": str(accounts),
            "PYTHONPATH": str(dags),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_provider_has_a_dag_and_each_key_a_mapped_task(tmp_path: Path) -> None:
    found = read(tmp_path, EXAMPLE)
    assert found["errors"] == []
    assert found["schedules"] == {
        "email_metrics_encompass": "@hourly",
        "email_metrics_constant_contact": "@hourly",
        "email_metrics_luxsci": "@daily",
        "email_metrics_backfill": None,
    }
    keys = {
        "agency_app": "constant_contact",
        "clinic": "luxsci",
        "law_school": "encompass",
    }
    wanted: dict[str, list[Any]] = {}
    for key, provider in keys.items():
        pool = f"email_metrics_{key}"
        wanted[f"email_metrics_{provider}.sync_{key}"] = [pool, True]
        wanted[f"email_metrics_backfill.backfill_{key}"] = [pool, True]
        wanted[f"email_metrics_backfill.parts_{key}"] = ["default_pool", False]
    assert found["tasks"] == wanted


def test_a_key_that_is_shared_by_too_many_is_said_where_airflow_shows_it(
    tmp_path: Path,
) -> None:
    accounts = json.loads(EXAMPLE.read_text())
    accounts["keys"]["agency_app"]["at_once"] = 5
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(accounts))
    found = read(tmp_path, file)
    assert found["tasks"] == {}
    [error] = found["errors"]
    assert "Set its at_once to 2 or less" in error
