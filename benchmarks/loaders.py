"""The loaders: commands that load the same opens into a warehouse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks import contestants
from benchmarks.contestants import PEERS, STREAM, python
from benchmarks.measure import FOLDER, ROOT
from tap_email_metrics.records.columns import EXTRACTED_AT
from tests.e2e.warehouses import load as warehouses
from tests.support.project import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from benchmarks.measure import Contestant
    from tests.support.postgres import Postgres

_SHIMS = ROOT / "tests" / "e2e" / "warehouses"
_PEER_OPENS = "opens"
SELECTED = (*contestants.FIELDS, EXTRACTED_AT)
"""The columns of a row of the API, with the time by which dbt tells the newest rows."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A command that loads all opens.

    Attributes:
        name: its name in the tables.
        command: the command; `{url}` stands for the server's URL.
        empty: deletes the rows of earlier runs.
        count: returns the number of rows in the warehouse.
        env: additional environment variables.
    """

    name: str
    command: tuple[str, ...]
    empty: Callable[[], None]
    count: Callable[[], int]
    env: tuple[tuple[str, str], ...] = ()


def plugin(target: str, executable: str) -> Path:
    """Return the path of a program in Meltano's environment for a target."""
    return PLUGINS / ".meltano" / "loaders" / target / "venv" / "bin" / executable


def pipe(tap: Contestant, *target: object) -> tuple[str, ...]:
    """Return the command that pipes a tap into a target."""
    into = shlex.join(map(str, target))
    return ("bash", "-o", "pipefail", "-c", f"{shlex.join(tap.command)} | {into}")


def configured(target: str, **settings: str | bool) -> Path:
    """Write a target's settings, based on those of `meltano.yml`; return the file."""
    project = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    [found] = [one for one in project["plugins"]["loaders"] if one["name"] == target]
    defaults = {s["name"]: s["value"] for s in found["settings"] if "value" in s}
    return written(target, defaults | found.get("config", {}) | settings)


def written(name: str, settings: Mapping[str, Any]) -> Path:
    """Write settings as JSON; return the file."""
    file = FOLDER / f"load-{name.replace(' ', '-')}.json"
    file.write_text(json.dumps(settings))
    return file


class IntoPostgres:
    """Makes loaders into a Postgres; each loads into a schema of its own."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def tap(
        self, name: str, fields: Collection[str] | None, **settings: str | bool
    ) -> Loader:
        """Return this tap into target-postgres, with these additional settings."""
        schema = _identifier(name)
        file = configured("target-postgres", **self._place(schema), **settings).rename(
            FOLDER / f"load-{schema}.json"
        )
        program = plugin("target-postgres", "target-postgres")
        tap = contestants.tap(f"load-{schema}", fields=fields)
        return self._loader(name, pipe(tap, program, "--config", file), STREAM)

    def naive(self, name: str) -> Loader:
        """Return a plain SDK tap into target-postgres with its default settings."""
        file = written(name, self._place(_identifier(name)))
        program = plugin("target-postgres", "target-postgres")
        command = pipe(contestants.naive(), program, "--config", file)
        return self._loader(name, command, _PEER_OPENS)

    def pipelinewise(self, name: str) -> Loader:
        """Return this tap into pipelinewise-target-postgres with its defaults."""
        place = conninfo_to_dict(self._postgres.url)
        settings = {
            "host": place["host"],
            "port": 5432,
            "user": place["user"],
            "password": "none",
            "dbname": place["dbname"],
            "default_target_schema": _identifier(name),
        }
        program = FOLDER / "pipelinewise" / "bin" / "target-postgres"
        tap = contestants.tap(f"load-{_identifier(name)}")
        command = pipe(tap, program, "--config", written(name, settings))
        return self._loader(name, command, STREAM)

    def dlt(self, name: str, file_format: str) -> Loader:
        """Return dlt, which merges by key, with load files of this format."""
        place = conninfo_to_dict(self._postgres.url)
        given = {
            "api_url": "{url}",
            "folder": str(FOLDER / "dlt-pipelines"),
            "database": f"postgresql://{place['user']}:none@localhost/{place['dbname']}"
            f"?host={place['host']}",
            "schema": _identifier(name),
            "format": file_format,
        }
        command = (python("dlt"), str(PEERS / "dlt_load.py"), json.dumps(given))
        env = (("RUNTIME__DLTHUB_TELEMETRY", "false"),)
        return self._loader(name, command, _PEER_OPENS, env)

    def loop(self, name: str) -> Loader:
        """Return the bare loop of requests, orjson and COPY."""
        given = {
            "api_url": "{url}",
            "database": self._postgres.url,
            "schema": _identifier(name),
        }
        command = (python("loop"), str(PEERS / "loop_load.py"), json.dumps(given))
        return self._loader(name, command, _PEER_OPENS)

    def _place(self, schema: str) -> dict[str, str]:
        url = self._postgres.sqlalchemy_url
        return {"sqlalchemy_url": url, "default_target_schema": schema}

    def _loader(
        self,
        name: str,
        command: tuple[str, ...],
        table: str,
        env: tuple[tuple[str, str], ...] = (),
    ) -> Loader:
        url, schema = self._postgres.url, _identifier(name)

        def empty() -> None:
            for one in (schema, f"{schema}_staging"):  # dlt uses both
                drop = sql.SQL("drop schema if exists {} cascade")
                with psycopg.connect(url) as database:
                    database.execute(drop.format(sql.Identifier(one)))

        def count() -> int:
            query = sql.SQL("select count(*) from {}")
            with psycopg.connect(url) as database:
                found = database.execute(query.format(sql.Identifier(schema, table)))
                [number] = found.fetchone() or (0,)
                return int(number)

        return Loader(name, command, empty, count, env)


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def jsonl() -> Loader:
    """Return this tap into target-jsonl."""
    folder = FOLDER / "load-jsonl"

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

    def count() -> int:
        with (folder / f"{STREAM}.jsonl").open("rb") as lines:
            return sum(1 for _ in lines)

    file = configured("target-jsonl", destination_path=str(folder))
    program = plugin("target-jsonl", "target-jsonl")
    tap = contestants.tap("load-jsonl", fields=SELECTED)
    return Loader(
        "tap, target-jsonl", pipe(tap, program, "--config", file), empty, count
    )


def duckdb() -> Loader:
    """Return this tap into target-duckdb."""
    database = FOLDER / "load.duckdb"
    query = f"select count(*) from email_metrics.{STREAM}"  # noqa: S608 - our own

    def empty() -> None:
        database.unlink(missing_ok=True)

    def count() -> int:
        code = (
            "import duckdb, sys; "
            "print(duckdb.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
        )
        interpreter = plugin("target-duckdb", "python")
        return int(_output(interpreter, "-c", code, database, query))

    file = configured("target-duckdb", path=str(database))
    program = plugin("target-duckdb", "target-duckdb")
    tap = contestants.tap("load-duckdb", fields=SELECTED)
    return Loader(
        "tap, target-duckdb", pipe(tap, program, "--config", file), empty, count
    )


def emulated(name: str, stack: ExitStack) -> Loader:
    """Start the emulator of Snowflake or BigQuery; return this tap into it."""
    target = f"target-{name}"
    warehouses.FOLDER.mkdir(parents=True, exist_ok=True)
    [warehouse] = warehouses.warehouses(stack, [name])
    prefix = f"TARGET_{name.upper()}_"
    settings = {
        key.removeprefix(prefix).lower(): value
        for key, value in warehouse.settings.items()
        if key.startswith(prefix)
    }
    schema = {"snowflake": "EMAIL_METRICS_DEV", "bigquery": "email_metrics_dev"}[name]
    settings["default_target_schema" if name == "snowflake" else "dataset"] = schema
    env = {k: v for k, v in warehouse.settings.items() if not k.startswith(prefix)}
    place = env.get("FAKESNOW_PORT") or env["BIGQUERY_EMULATOR_HOST"].rsplit(":", 1)[1]
    file = configured(target, **settings)
    tap = contestants.tap(f"load-{name}", fields=SELECTED)
    shim = _SHIMS / f"{name}_target.py"
    command = pipe(tap, plugin(target, "python"), shim, "--config", file)

    def count() -> int:
        interpreter, program = plugin(target, "python"), _SHIMS / "rows.py"
        told = _output(interpreter, program, name, schema, place, STREAM)
        return len(json.loads(told)[2])

    return Loader(f"tap, {target}", command, _nothing, count, tuple(env.items()))


def _nothing() -> None:
    """Delete nothing: each round replaces the rows of the last by their keys."""


def _output(*command: object) -> bytes:
    done = subprocess.run(  # noqa: S603 - our own
        [str(word) for word in command], stdout=subprocess.PIPE, check=True
    )
    return done.stdout
