"""Load databases, run dbt on them and dump marts, all in one process.

`steps.py STEPS` reads a JSON list of steps. The "database" of a step is a DuckDB file,
or the name of a database if DBT_TARGET is postgres. A step does one of these:

- "load": append a folder with tables.json, {table: {column: type}}, and <table>.jsonl;
- "dbt": run dbt with arguments, which must succeed;
- "dump": write a <mart>.json of each mart to a folder;
- "sql": run statements;
- "test": run the tests that "select" names, and write those that fail to a file as
  {test: [status, number of failing rows]}.
"""

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
from dbt.cli.main import dbtRunner

MARTS = (
    *("email_messages", "email_events", "email_message_daily"),
    *("email_message_recipients", "email_message_rates", "email_links"),
    *("email_domains", "email_recipient_health", "email_list_daily"),
    *("email_hours", "email_sync_cost"),
    *("email_engagement", "email_archive_headroom", "email_freshness"),
)
ON_POSTGRES = os.environ.get("DBT_TARGET") == "postgres"
USER = ("host", "user")
NAMES = {"varchar": "text", "double": "double precision", "json": "jsonb"}


def connect(database: str) -> Any:
    """Return a connection to a database, which is created first in Postgres."""
    if not ON_POSTGRES:
        return duckdb.connect(database)
    import psycopg2  # noqa: PLC0415 - only the environment of dbt-postgres has it

    where = {name: os.environ[f"DBT_POSTGRES_{name.upper()}"] for name in USER}
    with closing(psycopg2.connect(dbname="postgres", **where)) as server:
        server.autocommit = True
        cursor = server.cursor()
        cursor.execute("select 1 from pg_database where datname = %s", [database])
        if not cursor.fetchone():
            cursor.execute(f'create database "{database}"')
    connection = psycopg2.connect(dbname=database, **where)
    connection.autocommit = True
    return connection


def load(database: str, folder: Path) -> None:
    with closing(connect(database)) as connection:
        cursor = connection.cursor()
        cursor.execute("create schema if not exists email_metrics")
        for table, columns in json.loads((folder / "tables.json").read_text()).items():
            kinds = NAMES if ON_POSTGRES else {}
            shape = ", ".join(
                f'"{name}" {kinds.get(kind, kind)}' for name, kind in columns.items()
            )
            name = f"email_metrics.{table}"
            cursor.execute(f"create table if not exists {name} ({shape})")
            rows = folder / f"{table}.jsonl"
            if ON_POSTGRES:
                insert(cursor, name, columns, rows.read_text().splitlines())
            else:
                cursor.execute(f"copy {name} from '{rows}' (format json)")


def insert(cursor: Any, table: str, columns: dict[str, str], lines: list[str]) -> None:
    """Append rows to a table of Postgres, which parses the JSON itself."""
    names = ", ".join(f'"{name}"' for name in columns)
    cursor.execute(
        f"insert into {table} ({names}) select {names} from"  # noqa: S608 - our own names
        f" jsonb_populate_recordset(null::{table}, %s::jsonb)",
        [f"[{','.join(lines)}]"],
    )


def dbt(database: str, *arguments: str) -> None:
    point(database)
    done = dbtRunner().invoke(list(arguments))
    if not done.success:
        sys.exit(f"dbt {' '.join(arguments)}: {done.exception or 'a model or test'}")


def point(database: str) -> None:
    """Point dbt to this database."""
    os.environ["DBT_POSTGRES_DBNAME" if ON_POSTGRES else "DBT_DUCKDB_PATH"] = database


def dump(database: str, folder: Path) -> None:
    folder.mkdir()
    with closing(connect(database)) as connection:
        cursor = connection.cursor()
        for mart in MARTS:
            cursor.execute(f"select * from email_marts.{mart}")  # noqa: S608
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            (folder / f"{mart}.json").write_text(json.dumps(rows, default=plain))


def plain(value: object) -> object:
    """Return a decimal as a number and any other value as text."""
    return float(value) if type(value).__name__ == "Decimal" else str(value)


def change(database: str, *statements: str) -> None:
    with closing(connect(database)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)


def test(database: str, file: Path, select: list[str]) -> None:
    point(database)
    results = dbtRunner().invoke(["test", "--select", *select]).result
    found = {
        one.node.name: [one.status, one.failures]
        for one in results
        if one.failures != 0
    }
    file.write_text(json.dumps(found))


def main() -> None:
    for step in json.loads(Path(sys.argv[1]).read_text()):
        if "load" in step:
            load(step["database"], Path(step["load"]))
        elif "dbt" in step:
            dbt(step["database"], *step["dbt"])
        elif "sql" in step:
            change(step["database"], *step["sql"])
        elif "test" in step:
            test(step["database"], Path(step["test"]), step["select"])
        else:
            dump(step["database"], Path(step["dump"]))


if __name__ == "__main__":
    main()
