"""Load every stream with each real target and compare its warehouse with the truth.

Postgres and DuckDB are real; fakesnow stands for Snowflake and bqemulator for BigQuery,
with the shims in this folder. Each is loaded twice, with changes in between.
Rows are compared by key and column, and column types with those of the schemas. The
last line is a JSON object; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from scripts.demo import move_on
from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.schemas import load_schema
from tests.support.comparison import Row, compare
from tests.support.postgres import Postgres
from tests.support.processes import say, stop
from tests.support.project import (
    CACHE,
    PLUGINS,
    ROOT,
    CommandFailedError,
    Project,
    free_port,
)
from tests.support.world import KEYS, PACE, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

FOLDER = CACHE / "warehouses"
SHIMS = ROOT / "tests" / "e2e" / "warehouses"
SEED, SIZE, CAMPAIGNS, EMAILS, LARGEST = 5, 12, 12, 50, 120
STARTING = 60.0
"""Seconds within which a server must start."""
#: Column types of each warehouse, by the type in the schemas.
TYPES: dict[str, dict[str, str]] = {
    "postgres": {
        "string": "text",
        "integer": "bigint",
        "number": "numeric",
        "boolean": "boolean",
        "date": "date",
        "date-time": "timestamp without time zone",
        "object": "jsonb",
        "array of string": "ARRAY",
        "array of object": "ARRAY",
    },
    "duckdb": {
        "string": "VARCHAR",
        "integer": "HUGEINT",
        "number": "DOUBLE",
        "boolean": "BOOLEAN",
        "date": "VARCHAR",
        "date-time": "TIMESTAMP",
        "object": "JSON",
        "array of string": "JSON",
        "array of object": "JSON",
    },
    "snowflake": {
        "string": "VARCHAR(16777216)",
        "integer": "NUMBER(38,0)",
        "number": "FLOAT",
        "boolean": "BOOLEAN",
        "date": "DATE",
        "date-time": "TIMESTAMP_NTZ(9)",
        "object": "VARIANT",
        "array of string": "VARIANT",
        "array of object": "VARIANT",
    },
    "bigquery": {
        "string": "STRING",
        "integer": "INTEGER",
        "number": "FLOAT",
        "boolean": "BOOLEAN",
        "date": "DATE",
        "date-time": "TIMESTAMP",
        "object": "JSON",
        "array of string": "ARRAY OF STRING",
        "array of object": "ARRAY OF JSON",
    },
}
#: By table: the types of its columns, and its rows.
Tables = dict[str, tuple[dict[str, str], list[Row]]]


def as_it_is(_: str, row: Row) -> Row:
    """Return a row of the truth unchanged."""
    return row


def without_empty_text(_: str, row: Row) -> Row:
    """Return a row of the truth as target-duckdb loads it: empty text becomes null."""
    return {name: None if value == "" else value for name, value in row.items()}


@dataclass(frozen=True)
class Warehouse:
    """A warehouse under test.

    Attributes:
        settings: settings of its target, as environment variables of Meltano.
        tables: function that returns its tables.
        expected: function that converts a row of the truth to what it can store.
        loads: times of the world at which it was loaded.
    """

    name: str
    settings: Mapping[str, str]
    tables: Callable[[], Tables]
    expected: Callable[[str, Row], Row] = as_it_is
    loads: list[float] = field(default_factory=list)

    @property
    def target(self) -> str:
        """The name of the plugin of its target."""
        return f"target-{self.name}"


class Server:
    """A process that listens on a port until the end of the block."""

    def __init__(self, port: int, log: Path, *command: object) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + STARTING
        while not listens(port):
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                sys.exit(f"It did not start: {command}; see {log}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop(self._process)


def listens(port: int) -> bool:
    """Return whether a server listens on a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def read(loader: str, schema: str, place: object) -> Callable[[], Tables]:
    """Return a function that reads a warehouse in the environment of its target."""
    python = PLUGINS / ".meltano" / "loaders" / f"target-{loader}" / "venv/bin/python"

    def tables() -> Tables:
        arguments = [SHIMS / "rows.py", loader, schema, place, *KEYS]
        command = [str(python), *map(str, arguments)]
        done = subprocess.run(  # noqa: S603 - our own
            command, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CommandFailedError(done.stderr[-2000:])
        lines = map(json.loads, done.stdout.splitlines())
        return {table: (types, rows) for table, types, rows in lines}

    return tables


def postgres(stack: ExitStack) -> Warehouse:
    """Start Postgres."""
    server = stack.enter_context(Postgres(FOLDER / "postgres"))
    schema = "email_metrics_dev"
    return Warehouse(
        "postgres",
        {"TARGET_POSTGRES_SQLALCHEMY_URL": server.sqlalchemy_url},
        lambda: {
            stream: (
                server.types(schema, stream),
                server.rows(schema, stream, timed=True),
            )
            for stream in KEYS
        },
    )


def duckdb(_: ExitStack) -> Warehouse:
    """Return a DuckDB file."""
    file = FOLDER / "warehouse.duckdb"
    settings = {"TARGET_DUCKDB_PATH": str(file)}
    tables = read("duckdb", "email_metrics", file)
    return Warehouse("duckdb", settings, tables, without_empty_text)


def snowflake(stack: ExitStack) -> Warehouse:
    """Start fakesnow."""
    port, python = free_port(), CACHE / "fakesnow" / "bin" / "python"
    log = FOLDER / "fakesnow.log"
    stack.enter_context(Server(port, log, python, SHIMS / "snowflake_server.py", port))
    settings = {
        "FAKESNOW_PORT": str(port),
        "TARGET_SNOWFLAKE_ACCOUNT": "fakesnow",
        "TARGET_SNOWFLAKE_USER": "loader",
        "TARGET_SNOWFLAKE_PASSWORD": "password",
        "TARGET_SNOWFLAKE_DATABASE": "EMAIL",
    }
    tables = read("snowflake", "EMAIL_METRICS_DEV", port)
    return Warehouse("snowflake", settings, tables)


def bigquery(stack: ExitStack) -> Warehouse:
    """Start bqemulator."""
    port, python = free_port(), CACHE / "bqemulator" / "bin" / "python"
    command = [python, SHIMS / "bigquery_server.py", "start", "--log-level", "warning"]
    command += ["--rest-port", port, "--grpc-port", free_port()]
    stack.enter_context(Server(port, FOLDER / "bqemulator.log", *command))
    settings = {
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "TARGET_BIGQUERY_PROJECT": "project",
        "TARGET_BIGQUERY_CREDENTIALS_JSON": "{}",
    }
    tables = read("bigquery", "email_metrics_dev", port)
    return Warehouse("bigquery", settings, tables, without_null_lists)


#: Functions that start a warehouse, by name.
STARTS: Mapping[str, Callable[[ExitStack], Warehouse]] = {
    "postgres": postgres,
    "duckdb": duckdb,
    "snowflake": snowflake,
    "bigquery": bigquery,
}


def warehouses(stack: ExitStack, names: Iterable[str]) -> list[Warehouse]:
    """Start the named warehouses."""
    return [STARTS[name](stack) for name in names]


def without_null_lists(stream: str, row: Row) -> Row:
    """Return a row of the truth as BigQuery stores it: a list is never null."""
    columns = load_schema(stream)["properties"]
    lists = [name for name, facts in columns.items() if "array" in facts["type"]]
    return row | {name: [] for name in lists if row[name] is None}


def kind(facts: Mapping[str, Any]) -> str:
    """Return the key in TYPES for a property of a schema."""
    [main] = (
        {facts["type"]}
        if isinstance(facts["type"], str)
        else {one for one in facts["type"] if one != "null"}
    )
    if main == "array":
        return f"array of {kind(facts['items'])}"
    return str(facts.get("format", main))


def wrong_types(warehouse: str, tables: Tables) -> list[str]:
    """Return a line for each column with a wrong type."""
    found = []
    for stream in KEYS:
        types, properties = tables[stream][0], load_schema(stream)["properties"]
        for name in sorted(types.keys() | properties):
            facts = properties.get(name)
            wanted = TYPES[warehouse][kind(facts)] if facts else "absent"
            if types.get(name, "absent") != wanted:
                found.append(f"{stream}.{name}: {types.get(name)}, not {wanted}")
    return found


def held(warehouse: Warehouse, world: World) -> dict[str, Any]:
    """Compare a warehouse with the truth; print the differences, return the counts."""
    tables = warehouse.tables()
    times = {
        stream: [row.pop(EXTRACTED_AT, None) for row in rows]
        for stream, (_, rows) in tables.items()
    }
    found = compare(
        lambda stream: tables[stream][1],
        lambda stream: [
            warehouse.expected(stream, row)
            for row in world.truth(stream, warehouse.loads)
        ],
        KEYS,
    )
    lines = [f"{s}: {line}" for s, one in found.items() for line in one.differences]
    lines += [f"{s}: no rows" for s, one in found.items() if not one.held]
    lines += [f"{s}: rows without {EXTRACTED_AT}" for s in times if None in times[s]]
    lines += wrong_types(warehouse.name, tables)
    for line in lines:
        say(f"{warehouse.name}: {line}")
    return {
        "rows": sum(one.held for one in found.values()),
        "truth": sum(one.expected for one in found.values()),
        "mismatches": len(lines),
    }


def load(warehouse: Warehouse, world: World, project: Project) -> None:
    """Run tap and target once."""
    started, at = time.monotonic(), world.now()
    project.meltano("run", "tap-email-metrics", warehouse.target)
    warehouse.loads.append(at)
    say(f"{warehouse.target}: {time.monotonic() - started:.0f} s")


def chosen(arguments: Sequence[str] | None) -> list[str]:
    """Return the names of the warehouses on a command line, all if there are none."""
    parser = argparse.ArgumentParser(prog="warehouses", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(STARTS)}; none: all")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in STARTS]:
        known = ", ".join(STARTS)
        parser.error(f"there is no {', '.join(unknown)}: the names are {known}")
    return [name for name in STARTS if name in names or not names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the warehouses; return the exit code."""
    names = chosen(arguments)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with ExitStack() as stack:
        world = stack.enter_context(
            World(
                FOLDER,
                seed=SEED,
                size=SIZE,
                campaigns=CAMPAIGNS,
                luxsci=EMAILS,
                largest=LARGEST,
            )
        )
        every = warehouses(stack, names)
        project = create(world, every)
        try:
            for warehouse in every:
                load(warehouse, world, project)
            move_on(world)
            for warehouse in every:
                load(warehouse, world, project)
            found = {one.name: held(one, world) for one in every}
        except CommandFailedError as problem:
            sys.exit(str(problem))
    say(json.dumps(found))
    return int(any(one["mismatches"] for one in found.values()))


def create(world: World, every: list[Warehouse]) -> Project:
    """Return the Meltano project that loads the world into the warehouses."""
    settings = {
        **world.settings,
        "TAP_EMAIL_METRICS_ENCOMPASS_REVISIT": "always",
        "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": str(PACE),
    }
    for warehouse in every:
        settings |= warehouse.settings
    shims = {
        f"target-{name}": SHIMS / f"{name}_target.py"
        for name in ("snowflake", "bigquery")
    }
    return Project(FOLDER / "project", settings, shims).create()


if __name__ == "__main__":
    sys.exit(main())
