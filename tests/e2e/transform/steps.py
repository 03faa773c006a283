"""Loads DuckDB files, runs dbt on them and dumps marts, in one process of dbt's.

`steps.py STEPS` reads a JSON list of {"database": path, "do": …} with
"load": a folder with tables.json, {table: {column: type}}, and <table>.jsonl to append;
"dbt": arguments, which must succeed; "dump": a folder for a <mart>.json of each mart;
"sql": statements; "test": a file for {test: rows that fail it} of the tests of events.
"""

import json
import os
import sys
from pathlib import Path

import duckdb
from dbt.cli.main import dbtRunner

MARTS = (
    *("email_messages", "email_events", "email_message_daily"),
    *("email_engagement", "email_archive_headroom", "email_freshness"),
)


def load(database: str, folder: Path) -> None:
    with duckdb.connect(database) as connection:
        connection.execute("create schema if not exists email_metrics")
        for table, columns in json.loads((folder / "tables.json").read_text()).items():
            shape = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            name = f"email_metrics.{table}"
            connection.execute(f"create table if not exists {name} ({shape})")
            rows = folder / f"{table}.jsonl"
            connection.execute(f"copy {name} from '{rows}' (format json)")


def dbt(database: str, *arguments: str) -> None:
    os.environ["DBT_DUCKDB_PATH"] = database
    done = dbtRunner().invoke(list(arguments))
    if not done.success:
        sys.exit(f"dbt {' '.join(arguments)}: {done.exception or 'a model or test'}")


def dump(database: str, folder: Path) -> None:
    folder.mkdir()
    with duckdb.connect(database) as connection:
        for mart in MARTS:
            found = connection.execute(f"select * from email_marts.{mart}")  # noqa: S608
            names = [column[0] for column in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            (folder / f"{mart}.json").write_text(json.dumps(rows, default=str))


def change(database: str, *statements: str) -> None:
    with duckdb.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)


def test(database: str, file: Path) -> None:
    os.environ["DBT_DUCKDB_PATH"] = database
    events = ["email_events", "email_message_daily"]
    results = dbtRunner().invoke(["test", "--select", *events]).result
    found = {one.node.name: one.failures for one in results if one.failures != 0}
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
            test(step["database"], Path(step["test"]))
        else:
            dump(step["database"], Path(step["dump"]))


if __name__ == "__main__":
    main()
