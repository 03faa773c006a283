"""Airflow's DAGs: each provider's accounts are read on a schedule, or backfilled.

A mapped task for each API key, as a task has one pool: its slots are how many runs may
use the key at once. What is mapped, and what is told as an XCom, are names and numbers.
Where the accounts, the project and the plugins are, the environment says: README.md.
"""

from __future__ import annotations

import os
import pkgutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Connection, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowRescheduleException
from airflow.sdk.log import mask_secret

from orchestrate.accounts import Accounts, flat, is_secret
from orchestrate.grants import granted
from orchestrate.runs import (
    Place,
    RunFailedError,
    interval,
    left_out,
    merged,
    months,
    output,
    plain,
    progress,
    selection,
    state_of,
    summary,
    worker,
)
from orchestrate.shares import RATES

ACCOUNTS = Accounts.read(Path(os.environ["EMAIL_METRICS_ACCOUNTS"]))
#: Longer than the 5 minutes for which Meltano takes a run to be alive that is not.
RETRY_SECONDS = float(os.environ.get("EMAIL_METRICS_RETRY_SECONDS", "360"))
RETRYING = {"retries": 3, "retry_delay": timedelta(seconds=RETRY_SECONDS)}
#: A backfill that paused goes on after this time; a day's share may be spent till then.
AGAIN_SECONDS = float(os.environ.get("EMAIL_METRICS_AGAIN_SECONDS", "3600"))
#: Called with the context of a task that has failed for good, as `module:function`.
ON_FAILURE = os.environ.get("EMAIL_METRICS_ON_FAILURE")
OF_ALL_TASKS = (
    {"on_failure_callback": pkgutil.resolve_name(ON_FAILURE)} if ON_FAILURE else {}
)
MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"


@task(map_index_template="{{ state }}", **RETRYING)
def sync(account: str) -> None:
    """Read what is new of one account."""
    run(account, state_of(account), settings_of(account))


@task(map_index_template="{{ state }}", **RETRYING)
def backfill(account: str, month: str, run_id: str) -> None:
    """Read one month of one account again, beside its live bookmarks.

    A run that paused, as a day's share is spent, is followed by another until the month
    is done; the label of the task says how far it is, and the pool's slot is free
    meanwhile.

    Raises:
        RunFailedError: some lists could not be read. A retry tries them again.
    """
    # A retry goes on where it was; another run of the DAG reads the month anew.
    state = state_of(account, month, run_id)
    settings = settings_of(account)
    more = merged(interval(month), selection(settings, os.environ))
    said = run(account, state, {**settings, **more})
    if said is None:
        raise RunFailedError("The run ended without a run summary.")
    if said["paused"]:
        get_current_context()["state"] = f"{state}: {progress(said)}"
        raise AirflowRescheduleException(
            datetime.now(UTC) + timedelta(seconds=AGAIN_SECONDS)
        )
    if lists := left_out(said):
        raise RunFailedError(f"The month is not whole. Lists left out: {lists}.")


@task
def parts(key: str, params: dict[str, Any], run_id: str) -> list[dict[str, str]]:
    """Return the accounts of a key and the months that are to be read of each."""
    return [
        {"account": account, "month": month, "run_id": run_id}
        for month in months(params["first"], params["last"])
        for account in ACCOUNTS.chosen(key, params["accounts"])
    ]


def run(account: str, state: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Run Meltano for an account; push the run summary also where it fails.

    Returns:
        The run summary; None where nothing was run, or said.
    """
    context = get_current_context()
    context["state"] = state
    place = worker()
    if not within_the_day(place, account, settings):
        return nothing_left(account)
    place.prepare(state)
    environment = place.environment(os.environ, account, state, settings)
    found = None
    for line in output(place.command(state), place.project, environment):
        print(line)  # noqa: T201 -- a task's log is what it prints
        if said := summary(line):
            found = said
            context["ti"].xcom_push("run_summary", said)
    return found


def within_the_day(place: Place, account: str, settings: dict[str, Any]) -> bool:
    """Put what the account is granted of the day into settings; return if it is any."""
    key = ACCOUNTS.keys[ACCOUNTS.accounts[account].key]
    name = plain(f"{key.provider}.daily_requests")
    if key.daily is None or key.runs_a_day > 1:
        return True
    file = place.home / "keys" / f"{key.name}.json"
    limit, today = key.daily - key.reserve, datetime.now(UTC).date()
    settings[name] = granted(file, today, account, settings[name], limit)
    return bool(settings[name])


def nothing_left(account: str) -> dict[str, Any]:
    """Return what stands for the summary of a run that was granted nothing."""
    print(f"{account}: others were granted the whole day of its key before")  # noqa: T201 -- likewise
    return {"paused": ["all streams"], "streams": {}}


def settings_of(account: str) -> dict[str, Any]:
    """Return the settings of an account's runs, its secrets and shares among them."""
    return merged(secrets(account), ACCOUNTS.settings(account))


def secrets(account: str) -> dict[str, Any]:
    """Return the settings in an account's connections; the log hides them from now.

    Raises:
        ListError: a connection nests them, which nothing would read or hide, or has
            some of another provider.
    """
    found: dict[str, Any] = {}
    provider = ACCOUNTS.keys[ACCOUNTS.accounts[account].key].provider
    for name in ACCOUNTS.accounts[account].connections:
        extra = Connection.get(name).extra_dejson
        found |= flat(extra, f"Connection {name}", provider)
    for name, value in found.items():
        if is_secret(name):
            mask_secret(value)
    return found


def of_provider(provider: str) -> DAG:
    """Return the DAG that reads a provider's accounts."""
    with DAG(
        f"email_metrics_{provider}",
        schedule=ACCOUNTS.schedules.get(provider),
        catchup=False,
        max_active_runs=1,
        default_args=OF_ALL_TASKS,
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
        default_args=OF_ALL_TASKS,
        tags=["email_metrics"],
    ) as found:
        for provider in RATES:
            for key in ACCOUNTS.keys_of(provider):
                chosen = parts.override(task_id=f"parts_{key.name}")(key.name)
                part = backfill.override(task_id=f"backfill_{key.name}", pool=key.pool)
                part.expand_kwargs(chosen)
    return found


DAGS = [of_provider(one) for one in RATES if ACCOUNTS.keys_of(one)] + [of_months()]
