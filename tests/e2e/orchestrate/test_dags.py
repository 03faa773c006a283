"""The DAG files, read by the real Airflow in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.orchestrate.airflow import AIRFLOW
from tests.support.chat import Chat
from tests.support.pages import DOCS, blocks
from tests.support.project import ROOT

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


SECRETS = """
from orchestrate.dags import secrets
print(sorted(secrets("clinic-news")))
"""


CALLBACKS = """
import json, sys
from types import SimpleNamespace
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
def called(task):
    found = task.on_failure_callback or []
    return found if isinstance(found, list) else [found]
found = {task.task_id: called(task) for dag in bag.dags.values() for task in dag.tasks}
print(json.dumps({
    name: [f"{one.__module__}:{one.__name__}" for one in calls]
    for name, calls in found.items()
}))
failed = SimpleNamespace(dag_id="email_metrics_luxsci", task_id="sync_clinic")
for one in next(iter(found.values())):
    one({"ti": failed, "state": "clinic"})
"""


BACKFILL = """
import json
from airflow.sdk.exceptions import AirflowRescheduleException
from orchestrate import dags

said = json.loads('{said}')
context = {{}}
dags.get_current_context = lambda: context
dags.settings_of = lambda account: {{"_select_filter": ["!constant_contact_contacts"]}}
dags.run = lambda account, state, settings: asked.append(settings) or said
asked = []
try:
    dags.backfill.function("bakery", "2026-01", "manual")
    print(json.dumps(["ended", asked, context.get("state")]))
except AirflowRescheduleException:
    print(json.dumps(["goes on", context["state"]]))
"""


def run(
    tmp_path: Path, script: str, accounts: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in Airflow's environment."""
    dags = tmp_path / "dags"
    dags.mkdir(exist_ok=True)
    if not (dags / "orchestrate").exists():
        (dags / "orchestrate").symlink_to(ROOT / "orchestrate")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    return subprocess.run(  # noqa: S603 - our own installation of Airflow
        [AIRFLOW.with_name("python"), "-c", script, dags],
        env={
            **environment,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "EMAIL_METRICS_ACCOUNTS": str(accounts),
            "PYTHONPATH": str(dags),
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def read(tmp_path: Path, accounts: Path) -> dict[str, Any]:
    done = run(tmp_path, SCRIPT, accounts)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def connected(
    tmp_path: Path, extra: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Read the settings of a connection with this extra."""
    connection = json.dumps({"conn_type": "generic", "extra": extra})
    return run(tmp_path, SECRETS, EXAMPLE, AIRFLOW_CONN_CLINIC=connection)


def test_a_section_in_a_connection_is_refused(
    tmp_path: Path,
) -> None:
    flat = connected(tmp_path, {"luxsci.token": "canary", "luxsci.user": "a"})
    assert flat.stdout.splitlines()[-1] == "['luxsci.token', 'luxsci.user']"
    nested = connected(tmp_path, {"luxsci": {"token": "canary"}, "pii": {}})
    assert nested.returncode == 1
    assert "Connection clinic: luxsci is a section" in nested.stderr
    assert "canary" not in nested.stdout + nested.stderr


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


def test_a_key_shared_by_too_many_runs_is_an_import_error_in_airflow(
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


def backfilled(tmp_path: Path, said: object) -> list[Any]:
    """Return how the task of a backfill ends if its run logs this summary."""
    done = run(tmp_path, BACKFILL.format(said=json.dumps(said)), EXAMPLE)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_paused_backfill_continues_by_itself_and_shows_its_progress(
    tmp_path: Path,
) -> None:
    streams = {"a": {"outcome": "complete"}, "b": {"parents_left": 7}}
    ended, label = backfilled(tmp_path, {"paused": ["b"], "streams": streams})
    assert ended == "goes on"
    assert label == "bakery.2026-01.manual: 1 of 2 streams, 7 lists left"


def test_a_finished_backfill_ends_and_kept_the_accounts_selection(
    tmp_path: Path,
) -> None:
    ended, [asked], label = backfilled(tmp_path, {"paused": [], "streams": {}})
    assert (ended, label) == ("ended", None)
    assert "!constant_contact_contacts" in asked["_select_filter"]
    assert "!constant_contact_links" in asked["_select_filter"]


def test_the_label_of_a_finished_backfill_tells_what_is_missing_for_good(
    tmp_path: Path,
) -> None:
    streams = {"a": {"outcome": "incomplete", "unread": 0, "set_aside": 2}}
    ended, _, label = backfilled(tmp_path, {"paused": [], "streams": streams})
    assert (ended, label) == ("ended", "bakery.2026-01.manual: 2 rows set aside")


def test_a_backfill_without_a_run_summary_fails(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, BACKFILL.format(said="null"), EXAMPLE)
    assert done.returncode == 1
    assert "without a run summary" in done.stderr


def test_a_backfill_that_left_lists_out_fails(tmp_path: Path) -> None:
    said = {"paused": [], "streams": {"a": {"outcome": "incomplete", "unread": 3}}}
    done = run(tmp_path, BACKFILL.format(said=json.dumps(said)), EXAMPLE)
    assert done.returncode == 1
    assert "Lists left out: a: 3." in done.stderr


def test_a_list_of_accounts_whose_key_has_no_account_left_loads(tmp_path: Path) -> None:
    accounts = json.loads(EXAMPLE.read_text())
    accounts["accounts"] = [
        one for one in accounts["accounts"] if one["key"] != "agency_app"
    ]
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(accounts))
    found = read(tmp_path, file)
    assert found["errors"] == []
    assert "email_metrics_constant_contact" not in found["schedules"]


def test_the_recipe_of_the_alerts_page_reports_a_failed_task(tmp_path: Path) -> None:
    quiet = run(tmp_path, CALLBACKS, EXAMPLE)
    tasks = json.loads(quiet.stdout.splitlines()[-1])
    assert set(map(tuple, tasks.values())) == {()}

    [recipe] = [b for b in blocks(DOCS / "alerts.md") if b.language == "python"]
    (tmp_path / "dags" / "alerts.py").write_text(recipe.text)
    with Chat() as chat:
        variables = {
            "EMAIL_METRICS_ON_FAILURE": "alerts:tell",
            "CHAT_WEBHOOK": chat.url,
        }
        told = run(tmp_path, CALLBACKS, EXAMPLE, **variables)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found.keys() == tasks.keys()
    assert set(map(tuple, found.values())) == {("alerts:tell",)}
    assert chat.messages == [
        {"text": "email_metrics_luxsci: sync_clinic failed (clinic)"}
    ]
