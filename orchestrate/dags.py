"""The Airflow DAGs: one per provider reads its accounts, one backfills months.

Each API key has a mapped task of its own, because a task has one pool, and the slots of
that pool limit how many runs use the key at once. Mapped arguments and XComs hold names
and numbers only. README.md lists the environment variables.
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
    remarks,
    selection,
    state_of,
    summary,
    worker,
)
from orchestrate.shares import RATES

ACCOUNTS = Accounts.read(Path(os.environ["EMAIL_METRICS_ACCOUNTS"]))
#: More than 5 minutes, because Meltano takes a killed run to be alive for that long.
RETRY_SECONDS = float(os.environ.get("EMAIL_METRICS_RETRY_SECONDS", "360"))
RETRYING = {"retries": 3, "retry_delay": timedelta(seconds=RETRY_SECONDS)}
#: Seconds until a paused backfill goes on. It pauses when its daily share is spent.
AGAIN_SECONDS = float(os.environ.get("EMAIL_METRICS_AGAIN_SECONDS", "3600"))
#: A function as `module:function`; it gets the context of a task after its last retry.
ON_FAILURE = os.environ.get("EMAIL_METRICS_ON_FAILURE")
OF_ALL_TASKS = (
    {"on_failure_callback": pkgutil.resolve_name(ON_FAILURE)} if ON_FAILURE else {}
)
MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"


@task(map_index_template="{{ state }}", **RETRYING)
def sync(account: str) -> None:
    """Read the new rows of one account."""
    run(account, state_of(account), settings_of(account))


@task(map_index_template="{{ state }}", **RETRYING)
def backfill(account: str, month: str, run_id: str) -> None:
    """Read one month of one account again, without touching its live bookmarks.

    If the daily share is spent, the task pauses without a slot of the pool and runs
    again later, until the month is done. Its label shows the progress, and at the end
    what is missing for good.

    Raises:
        RunFailedError: some lists could not be read whole. A retry tries them again.
    """
    # A retry continues from this state; another run of the DAG starts the month anew.
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
        raise RunFailedError(f"The month is incomplete. Lists left out: {lists}.")
    if told := remarks(said):
        get_current_context()["state"] = f"{state}: {told}"


@task
def parts(key: str, params: dict[str, Any], run_id: str) -> list[dict[str, str]]:
    """Return the arguments of `backfill`: each month of each chosen account."""
    return [
        {"account": account, "month": month, "run_id": run_id}
        for month in months(params["first"], params["last"])
        for account in ACCOUNTS.chosen(key, params["accounts"])
    ]


def run(account: str, state: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Run Meltano for an account and push the run summary, also if the run fails.

    Returns:
        The run summary, None if the run wrote none.
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
    """Set the account's daily requests to its grant; return whether any are left."""
    key = ACCOUNTS.keys[ACCOUNTS.account(account).key]
    name = plain(f"{key.provider}.daily_requests")
    if key.daily is None or key.runs_a_day > 1:
        return True
    file = place.home / "keys" / f"{key.name}.json"
    limit, today = key.daily - key.reserve, datetime.now(UTC).date()
    settings[name] = granted(file, today, account, settings[name], limit)
    return bool(settings[name])


def nothing_left(account: str) -> dict[str, Any]:
    """Return the summary of a run that did not start, because its grant is 0."""
    print(f"{account}: other accounts were granted all of the key's requests today")  # noqa: T201 -- a task's log is what it prints
    return {"paused": ["all streams"], "streams": {}}


def settings_of(account: str) -> dict[str, Any]:
    """Return the settings of an account's runs, with its secrets and shares."""
    return merged(secrets(account), ACCOUNTS.settings(account))


def secrets(account: str) -> dict[str, Any]:
    """Return the settings in an account's connections, and mask secrets in the log.

    Raises:
        ListError: the account is no longer in the list, or a connection has sections
            or settings of another provider. Nothing would read or mask them.
    """
    found: dict[str, Any] = {}
    listed = ACCOUNTS.account(account)
    provider = ACCOUNTS.keys[listed.key].provider
    for name in listed.connections:
        extra = Connection.get(name).extra_dejson
        found |= flat(extra, f"Connection {name}", provider)
    for name, value in found.items():
        if is_secret(name):
            mask_secret(value)
    return found


def of_provider(provider: str) -> DAG:
    """Return the DAG that reads the accounts of a provider."""
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
    """Return the DAG that backfills: one run per account and month."""
    month = {"type": "string", "pattern": MONTH}
    names = {"type": "array", "items": {"type": "string"}}
    with DAG(
        "email_metrics_backfill",
        schedule=None,
        catchup=False,
        params={
            "first": Param(**month, description="First month, as 2026-01"),
            "last": Param(**month, description="Last month, as 2026-03"),
            "accounts": Param([], **names, description="Names; all if empty"),
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
