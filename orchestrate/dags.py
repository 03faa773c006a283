"""Airflow's DAGs: each provider's accounts are read on a schedule, or backfilled.

A mapped task for each API key, as a task has one pool: its slots are how many runs may
use the key at once. What is mapped, and what is told as an XCom, are names and numbers.
Where the accounts, the project and the plugins are, the environment says: README.md.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Connection, Param, get_current_context, task
from airflow.sdk.log import mask_secret

from orchestrate.accounts import SECRETS, Accounts, flat
from orchestrate.runs import interval, months, output, state_of, summary, worker
from orchestrate.shares import RATES

ACCOUNTS = Accounts.read(Path(os.environ["EMAIL_METRICS_ACCOUNTS"]))
#: Longer than the 5 minutes for which Meltano takes a run to be alive that is not.
RETRY_SECONDS = float(os.environ.get("EMAIL_METRICS_RETRY_SECONDS", "360"))
RETRYING = {"retries": 3, "retry_delay": timedelta(seconds=RETRY_SECONDS)}
MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"


@task(map_index_template="{{ state }}", **RETRYING)
def sync(account: str) -> None:
    """Read what is new of one account."""
    run(account, state_of(account), {})


@task(map_index_template="{{ state }}", **RETRYING)
def backfill(account: str, month: str, run_id: str) -> None:
    """Read one month of one account again, beside its live bookmarks."""
    # A retry goes on where it was; another run of the DAG reads the month anew.
    run(account, state_of(account, month, run_id), interval(month))


@task
def parts(key: str, params: dict[str, Any], run_id: str) -> list[dict[str, str]]:
    """Return the accounts of a key and the months that are to be read of each."""
    return [
        {"account": account, "month": month, "run_id": run_id}
        for month in months(params["first"], params["last"])
        for account in ACCOUNTS.chosen(key, params["accounts"])
    ]


def run(account: str, state: str, more: dict[str, Any]) -> None:
    """Run Meltano for an account; push the run summary also where it fails."""
    context = get_current_context()
    context["state"] = state
    settings = secrets(account) | ACCOUNTS.settings(account) | more
    place = worker()
    place.prepare(state)
    environment = place.environment(os.environ, account, state, settings)
    for line in output(place.command(state), place.project, environment):
        print(line)  # noqa: T201 -- a task's log is what it prints
        if said := summary(line):
            context["ti"].xcom_push("run_summary", said)


def secrets(account: str) -> dict[str, Any]:
    """Return the settings in an account's connections; the log hides them from now.

    Raises:
        ListError: a connection nests them: nothing would read or hide those.
    """
    found: dict[str, Any] = {}
    for name in ACCOUNTS.accounts[account].connections:
        found |= flat(Connection.get(name).extra_dejson, f"Connection {name}")
    for name, value in found.items():
        if name.rpartition(".")[2] in SECRETS:
            mask_secret(value)
    return found


def of_provider(provider: str) -> DAG:
    """Return the DAG that reads a provider's accounts."""
    with DAG(
        f"email_metrics_{provider}",
        schedule=ACCOUNTS.schedules.get(provider),
        catchup=False,
        max_active_runs=1,
        tags=["email_metrics"],
    ) as found:
        for key in ACCOUNTS.keys_of(provider):
            of_key = sync.override(task_id=f"sync_{key.name}", pool=key.pool)
            of_key.expand(account=ACCOUNTS.of(key.name))
    return found


def of_months() -> DAG:
    """Return the DAG that reads months again: a run for each account and month."""
    month = {"type": "string", "pattern": MONTH}
    names = {"type": "array", "items": {"type": "string"}}
    with DAG(
        "email_metrics_backfill",
        schedule=None,
        catchup=False,
        params={
            "first": Param(**month, description="First month, as 2026-01"),
            "last": Param(**month, description="Last month, as 2026-03"),
            "accounts": Param([], **names, description="Names; none: all"),
        },
        tags=["email_metrics"],
    ) as found:
        for provider in RATES:
            for key in ACCOUNTS.keys_of(provider):
                chosen = parts.override(task_id=f"parts_{key.name}")(key.name)
                part = backfill.override(task_id=f"backfill_{key.name}", pool=key.pool)
                part.expand_kwargs(chosen)
    return found


DAGS = [of_provider(one) for one in RATES if ACCOUNTS.keys_of(one)] + [of_months()]
