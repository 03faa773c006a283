"""An Airflow with its own database that listens on this machine only.

It consists of three processes: the API server, the scheduler with a LocalExecutor that
runs tasks in parallel, and the DAG processor. It is controlled through its API.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import requests

from tests.support.processes import stop
from tests.support.project import CACHE, CommandFailedError, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

AIRFLOW = CACHE / "airflow" / "bin" / "airflow"
READY_SECONDS, LOOK = 240.0, 0.5
TIMEOUT = 60
MANY = 1000
"""The most task instances of a run."""
ENDED = frozenset({"success", "failed"})


@dataclass(frozen=True)
class Attempted:
    """A task instance that ended.

    Attributes:
        tries: number of tries.
        summary: the run summary that it pushed, or None.
    """

    task: str
    index: int
    state: str
    tries: int
    summary: dict[str, Any] | None


class Airflow:
    """Runs the DAGs of a folder until the end of the block.

    Args:
        folder: folder for its home and logs.
        dags: folder with the DAG files.
        database: SQLAlchemy URL of an empty database.
        environment: environment of all its processes and so of every task.
        parallelism: the most tasks at a time in all pools.

    Attributes:
        program: the command `airflow`.
    """

    def __init__(
        self,
        folder: Path,
        dags: Path,
        database: str,
        environment: Mapping[str, str],
        parallelism: int,
    ) -> None:
        self.program = AIRFLOW
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            **environment,
            **settings(folder, dags, database, self.url, parallelism),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._session = requests.Session()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        try:
            self.command("db", "migrate")
            port = ("--host", "127.0.0.1", "--port", str(self._port))
            self._start("api-server", *port, "--workers", "1")
            self._start("dag-processor", "--num-runs", "1")
            self._start("scheduler", "--skip-serve-logs")
            self._log_in()
        except BaseException:
            stop(*self._processes.values())
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()
        stop(*self._processes.values())

    def command(self, *arguments: str) -> None:
        """Run a command of Airflow that must succeed."""
        done = subprocess.run(  # noqa: S603 - our own installation of Airflow
            [self.program, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}"
            raise CommandFailedError(f"airflow {' '.join(arguments)}:\n{said}")

    def has(self, dags: set[str]) -> None:
        """Wait until these DAGs are known.

        Raises:
            CommandFailedError: they do not become known, or a process has ended.
        """
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            found = {dag["dag_id"] for dag in self._ask("GET", "dags")["dags"]}
            if dags <= found:
                return
            self._wait()
        raise CommandFailedError(f"Airflow knows {sorted(found)}, not {sorted(dags)}.")

    def trigger(self, dag: str, **parameters: object) -> str:
        """Start a run of a DAG; return its id."""
        body = {"logical_date": None, "conf": parameters}
        return str(self._ask("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def has_ended(self, dag: str, run: str) -> bool:
        """Return whether a run has ended, successfully or not."""
        return self._ask("GET", f"dags/{dag}/dagRuns/{run}")["state"] in ENDED

    def attempted(self, dag: str, run: str) -> list[Attempted]:
        """Return the task instances of a run; each mapped instance is one."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances"
        found = self._ask("GET", f"{path}?limit={MANY}")["task_instances"]
        return [
            Attempted(
                one["task_id"],
                one["map_index"],
                one["state"],
                one["try_number"],
                self._summary(path, one),
            )
            for one in found
        ]

    def _summary(self, path: str, one: dict[str, Any]) -> dict[str, Any] | None:
        entries = f"{path}/{one['task_id']}/xcomEntries"
        listed = self._ask("GET", f"{entries}?map_index={one['map_index']}")
        if "run_summary" not in {entry["key"] for entry in listed["xcom_entries"]}:
            return None
        where = f"{entries}/run_summary?map_index={one['map_index']}&deserialize=true"
        value: dict[str, Any] = self._ask("GET", where)["value"]
        return value

    def _start(self, *arguments: str) -> None:
        with self._log(arguments[0]).open("wb") as log:
            self._processes[arguments[0]] = subprocess.Popen(  # noqa: S603 - likewise
                [self.program, *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _wait(self) -> None:
        """Wait a little while processes start.

        Raises:
            CommandFailedError: a process has ended.
        """
        for name, process in self._processes.items():
            # The DAG processor ends successfully after reading each file once.
            if process.poll():
                raise CommandFailedError(
                    f"airflow {name} ended with {process.returncode}; see"
                    f" {self._log(name)}."
                )
        time.sleep(LOOK)

    def _log_in(self) -> None:
        """Wait for the API server and get a token.

        Raises:
            CommandFailedError: the server does not answer.
        """
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            with suppress(requests.ConnectionError):
                answer = self._session.get(f"{self.url}/auth/token", timeout=TIMEOUT)
                answer.raise_for_status()
                token = answer.json()["access_token"]
                self._session.headers["Authorization"] = f"Bearer {token}"
                return
            self._wait()
        raise CommandFailedError(f"Airflow does not start; see {self._folder}.")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._session.request(
            method, f"{self.url}/api/v2/{path}", json=body, timeout=TIMEOUT
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def settings(
    folder: Path, dags: Path, database: str, url: str, parallelism: int
) -> dict[str, str]:
    """Return Airflow's settings as environment variables."""
    found = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(parallelism),
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": str(parallelism),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "API__BASE_URL": url,
        "API__SECRET_KEY": secrets.token_hex(),
        "API_AUTH__JWT_SECRET": secrets.token_hex(),
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        "AIRFLOW_HOME": str(folder),
        **{f"AIRFLOW__{name}": value for name, value in found.items()},
    }
