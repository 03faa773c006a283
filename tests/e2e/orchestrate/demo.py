"""Read 20 accounts in parallel under Airflow, kill a worker, and compare Postgres.

`python -m tests.e2e.orchestrate.demo` reads the accounts in two rounds, with changes in
between, then deletes two months of two accounts and backfills them. The last line is
JSON. The exit code is 1 if a row differs from the truth, a limit of an API key was
exceeded, a run did not end well, or no worker was killed. Its files are in
`.cache/orchestrate`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
import psycopg

from orchestrate.accounts import SECRETS, Accounts
from orchestrate.runs import interval, months
from tests.e2e.orchestrate.airflow import Airflow, Attempted
from tests.e2e.orchestrate.fleet import SPANS, Fleet, Member
from tests.support.comparison import compare
from tests.support.postgres import Postgres
from tests.support.processes import say
from tests.support.project import CACHE, MELTANO, ROOT, CommandFailedError, Project
from tests.support.world import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.comparison import Row

FOLDER = CACHE / "orchestrate"
SCHEMA = "email_metrics"


@dataclass(frozen=True)
class Shared:
    """An API key of the demo.

    Attributes:
        provider: name of the provider.
        accounts: number of accounts that share the key.
        rate: the vendor's limit of requests per second, or per minute for LuxSci.
        daily: limit of requests per UTC day; 0 for no limit.
        given: its entry in the list of accounts. The rate there is lower than the
            vendor's by one request per run at once, because requests that start evenly
            spaced arrive less evenly on a busy machine.
    """

    provider: str
    accounts: int
    rate: int
    daily: int
    given: dict[str, int]


SHARED = {
    "north": Shared(
        *("constant_contact", 8, 9, 4000),
        {"requests_per_second": 6, "daily_requests": 4000, "at_once": 3},
    ),
    "south": Shared(
        *("constant_contact", 5, 6, 2000),
        {"requests_per_second": 4, "daily_requests": 2000, "at_once": 2},
    ),
    "clinic": Shared(
        *("luxsci", 4, 800, 4000),
        {"requests_per_minute": 600, "daily_requests": 4000, "at_once": 2},
    ),
    **{
        f"alumni{number}": Shared("encompass", 1, 15, 0, {"requests_per_second": 10})
        for number in (1, 2, 3)
    },
}
PARALLELISM = 5
ROUNDS, DAYS_BETWEEN = 2, 5.0
VICTIM, AFTER = "north-1", 20
"""The account whose worker is killed in the first round after so many requests."""
AGAIN = {"south-2": "constant_contact_opens", "alumni1-1": "encompass_clicks"}
"""Accounts and streams whose rows are deleted before the backfill."""
RETRY_SECONDS, LOOK, ROUND_SECONDS = 3, 0.2, 900.0
FINE = frozenset({"complete", "incomplete", "empty"})


@dataclass
class Outcome:
    """The result of the demo.

    Attributes:
        killed: number of attempts that were killed; `tries` counts those of the task.
        rows: number of rows in Postgres; `truth` is the expected number.
        mismatches: a line for each row that differs, run that did not end well, limit
            that was exceeded, and event that did not happen.
        keys: by key, the most requests in a second, minute or day, with the limits.
    """

    accounts: int = 0
    rounds: int = 0
    runs: int = 0
    killed: int = 0
    tries: int = 0
    restored: int = 0
    rows: int = 0
    truth: int = 0
    mismatches: list[str] = field(default_factory=list)
    keys: dict[str, dict[str, int]] = field(default_factory=dict)

    def unshown(self) -> list[str]:
        """Return a line for each event that the demo should show but did not happen."""
        found = [
            f"{key} was not used" for key, u in self.keys.items() if not u["busiest"]
        ]
        if not self.killed:
            found.append("No worker was killed")
        if not self.restored:
            found.append("No row was deleted before the backfill")
        return found

    def line(self) -> str:
        """Return the outcome as JSON."""
        return json.dumps(vars(self) | {"mismatches": len(self.mismatches)})


def main() -> int:
    """Run the demo; return its exit code."""
    # A signal also ends the processes that were started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    wanted = {key: (one.provider, one.accounts) for key, one in SHARED.items()}
    with Postgres(FOLDER / "postgres") as postgres, Fleet(wanted) as fleet:
        try:
            found = Demo(fleet, postgres).run()
        except CommandFailedError as problem:
            sys.exit(str(problem))
    for line in found.mismatches:
        say(line)
    say(found.line())
    return 1 if found.mismatches else 0


class Demo:
    """Accounts, an Airflow that reads them, and the warehouse that it fills.

    Args:
        fleet: the accounts in their first state.
        postgres: an empty server, which also stores the state and Airflow's database.
    """

    def __init__(self, fleet: Fleet, postgres: Postgres) -> None:
        self._fleet = fleet
        self._postgres = postgres
        self._outcome = Outcome(accounts=len(fleet.members), rounds=ROUNDS)
        self._instants: list[float] = []
        self._books = ""
        self._list = FOLDER / "accounts.json"
        self._list.write_text(json.dumps(listed(fleet), indent=2))
        self._accounts = Accounts.read(self._list)
        self._project = Project(
            FOLDER / "project",
            {
                "MELTANO_DATABASE_URI": self._database("meltano", "psycopg"),
                "TARGET_POSTGRES_SQLALCHEMY_URL": postgres.sqlalchemy_url,
                "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMA,
            },
        ).create()

    def run(self) -> Outcome:
        """Run the rounds and the backfill, and compare.

        Raises:
            CommandFailedError: Airflow or Meltano does not run at all.
        """
        # Otherwise many runs would create Meltano's tables at the same time.
        self._project.meltano("state", "list")
        with self._airflow() as airflow:
            pools = FOLDER / "pools.json"
            pools.write_text(json.dumps(self._accounts.pools()))
            airflow.command("pools", "import", str(pools))
            dags = [f"email_metrics_{provider}" for provider in SPANS]
            airflow.has({*dags, "email_metrics_backfill"})
            for number in range(1, ROUNDS + 1):
                self._round(airflow, dags, number)
            self._backfill(airflow)
        self._search()
        self._compare()
        self._measure()
        self._outcome.mismatches += self._outcome.unshown()
        return self._outcome

    def _database(self, name: str, driver: str) -> str:
        """Create a database; return its SQLAlchemy URL."""
        url = self._postgres.sqlalchemy_url
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return url.replace("+psycopg", f"+{driver}").replace("/postgres?", f"/{name}?")

    def _airflow(self) -> Airflow:
        dags, books = FOLDER / "dags", self._database("airflow", "psycopg2")
        self._books = books.replace("+psycopg2", "")
        dags.mkdir()
        (dags / "orchestrate").symlink_to(ROOT / "orchestrate")
        return Airflow(
            FOLDER / "airflow",
            dags,
            books,
            {
                **self._project.environment(),
                **connections(self._fleet),
                "EMAIL_METRICS_ACCOUNTS": str(self._list),
                "EMAIL_METRICS_MELTANO": str(MELTANO),
                "EMAIL_METRICS_PROJECT": str(self._project.folder),
                "EMAIL_METRICS_HOME": str(FOLDER / "home"),
                "EMAIL_METRICS_LOADER": "target-postgres",
                "EMAIL_METRICS_RETRY_SECONDS": str(RETRY_SECONDS),
            },
            PARALLELISM,
        )

    # Rounds

    def _round(self, airflow: Airflow, dags: list[str], number: int) -> None:
        if number > 1:
            for member in self._fleet.members:
                member.move_on(DAYS_BETWEEN)
        self._instants.append(self._fleet.members[0].now())
        started = time.monotonic()
        runs = [(dag, airflow.trigger(dag)) for dag in dags]
        if number == 1:
            self._kill()
        self._settle(airflow, runs)
        say(f"Round {number}: {time.monotonic() - started:.0f} s")

    def _settle(self, airflow: Airflow, runs: list[tuple[str, str]]) -> None:
        """Wait for runs of DAGs, and note the results of their tasks."""
        wait(lambda: all(airflow.has_ended(*run) for run in runs), "the runs to end")
        for run in runs:
            for one in airflow.attempted(*run):
                # Tasks of accounts that a backfill leaves out do not run.
                if not one.task.startswith("parts_") and one.state != "skipped":
                    self._note(one)

    def _note(self, one: Attempted) -> None:
        self._outcome.runs += 1
        self._outcome.tries += one.tries
        said = one.summary["streams"].values() if one.summary else []
        outcomes = Counter(stream["outcome"] for stream in said)
        if one.state != "success" or not outcomes or outcomes.keys() - FINE:
            self._outcome.mismatches.append(
                f"{one.task}[{one.index}] ended as {one.state} after {one.tries} tries:"
                f" {dict(outcomes)}"
            )

    def _kill(self) -> None:
        """Kill the worker that reads the victim, with Meltano, tap and target."""
        [victim] = self._fleet.of([VICTIM])
        wait(lambda: victim.asked >= AFTER, f"{VICTIM} to be read")
        groups = {os.getpgid(process.pid) for process in runners(VICTIM)}
        for group in groups:
            os.killpg(group, signal.SIGKILL)
            self._outcome.killed += 1
        say(f"Killed the worker of {VICTIM} after {victim.asked} requests")
        # Otherwise Meltano would take the run for alive for 6 minutes.
        with psycopg.connect(
            self._project.settings["MELTANO_DATABASE_URI"].replace("+psycopg", "")
        ) as connection:
            connection.execute(
                "UPDATE runs SET last_heartbeat_at = last_heartbeat_at - INTERVAL"
                " '6 minutes' WHERE state = 'RUNNING' AND job_name LIKE %s",
                (f"%:{VICTIM}",),
            )

    # Backfill

    def _backfill(self, airflow: Airflow) -> None:
        """Delete the rows of two months of two accounts, and backfill them."""
        last = datetime.fromtimestamp(self._instants[-1], UTC).strftime("%Y-%m")
        first = datetime.fromtimestamp(self._instants[-1] - 31 * 86_400, UTC).strftime(
            "%Y-%m"
        )
        for account, stream in AGAIN.items():
            column = "created_time" if "constant" in stream else "added_at"
            self._outcome.restored += self._delete(
                stream,
                column,
                account,
                interval(first)["start_date"],
                interval(last)["end_date"],
            )
        started = time.monotonic()
        dag = "email_metrics_backfill"
        run = airflow.trigger(dag, first=first, last=last, accounts=list(AGAIN))
        self._settle(airflow, [(dag, run)])
        say(f"Backfill of {months(first, last)}: {time.monotonic() - started:.0f} s")

    def _delete(
        self, stream: str, column: str, account: str, start: str, end: str
    ) -> int:
        with psycopg.connect(self._postgres.url) as connection:
            return connection.execute(
                f"DELETE FROM {SCHEMA}.{stream} WHERE account = %s"  # noqa: S608 -- ours
                f" AND {column} >= %s AND {column} < %s".encode(),
                (account, start, end),
            ).rowcount

    # The end

    def _compare(self) -> None:
        tables = {stream: self._postgres.rows(SCHEMA, stream) for stream in KEYS}
        self._outcome.rows = sum(map(len, tables.values()))
        held = 0
        for member in self._fleet.members:
            held += self._compare_one(member, tables)
        if held != self._outcome.rows:
            strange = self._outcome.rows - held
            self._outcome.mismatches.append(f"{strange} rows are of no account")

    def _compare_one(self, member: Member, tables: dict[str, list[Row]]) -> int:
        """Note how a member's rows differ from the truth; return their number."""
        ours = {
            stream: [row for row in tables[stream] if row["account"] == member.name]
            for stream in member.streams
        }
        found = compare(
            ours.__getitem__,
            lambda stream: member.truth(stream, self._instants),
            {stream: KEYS[stream] for stream in member.streams},
        )
        for stream, rows in found.items():
            self._outcome.truth += rows.expected
            self._outcome.mismatches += [
                f"{member.name}: {stream}: {line}" for line in rows.differences
            ]
        return sum(map(len, ours.values()))

    def _search(self) -> None:
        """Note where Airflow stored a secret or an address."""
        logs = (FOLDER / "airflow").rglob("*.log")
        kept = {str(file): file.read_text(errors="replace") for file in logs}
        with psycopg.connect(self._books) as connection:
            for table in ("xcom", "rendered_task_instance_fields", "serialized_dag"):
                rows = connection.execute(f"SELECT t::text FROM {table} AS t".encode())  # noqa: S608 -- ours
                kept[table] = "\n".join(str(row) for row in rows)
        secrets = {
            value
            for member in self._fleet.members
            for name, value in member.secrets().items()
            if name.rpartition(".")[2] in SECRETS
        }
        for place, text in kept.items():
            if any(secret in text for secret in secrets):
                self._outcome.mismatches.append(f"A secret is in {place}")
        if "@" in kept["xcom"]:
            self._outcome.mismatches.append("An address is in an XCom")

    def _measure(self) -> None:
        """Note the most requests of each key and the limit of the vendor."""
        for name, key in SHARED.items():
            meter = self._fleet.meters[name]
            used = {"busiest": meter.limits.busiest, "limit": key.rate}
            if key.daily:
                used |= {"day": meter.most_in_a_day, "limit_of_day": key.daily}
            self._outcome.keys[name] = used
            if meter.limits.busiest > key.rate or (
                key.daily and meter.most_in_a_day > key.daily
            ):
                self._outcome.mismatches.append(f"{name} was used too much: {used}")


def listed(fleet: Fleet) -> dict[str, Any]:
    """Return the list of accounts, which names connections and holds no secret."""
    return {
        "keys": {
            key: {"provider": one.provider, **one.given} for key, one in SHARED.items()
        },
        "accounts": [
            {
                "name": member.name,
                "key": member.key,
                "connections": [member.name],
                "settings": member.settings(),
            }
            for member in fleet.members
        ],
    }


def connections(fleet: Fleet) -> dict[str, str]:
    """Return the connections of the accounts as environment variables for Airflow."""
    return {
        f"AIRFLOW_CONN_{member.name.upper()}": json.dumps(
            {"conn_type": "generic", "extra": member.secrets()}
        )
        for member in fleet.members
    }


def runners(account: str) -> list[psutil.Process]:
    """Return the processes of an account's run without those of Airflow."""
    home = str(FOLDER / "home" / "runs" / account)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("MELTANO_SYS_DIR_ROOT") == home:
                found.append(process)
    return found


def wait(until: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises:
        CommandFailedError: the condition did not become true in time.
    """
    limit = time.monotonic() + ROUND_SECONDS
    while not until():
        if time.monotonic() > limit:
            raise CommandFailedError(f"Waited in vain for {what}.")
        time.sleep(LOOK)


if __name__ == "__main__":
    sys.exit(main())
