"""Fills and asks a DuckDB file, with the version of DuckDB that dbt uses.

`duck.py load FILE FOLDER` reads FOLDER/tables.json, {table: {column: type}}, and appends
the rows of FOLDER/<table>.jsonl; `duck.py ask FILE` answers SQL from stdin in JSON.
"""

import json
import sys
from pathlib import Path

import duckdb  # type: ignore[import-not-found]


def load(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute("create schema if not exists email_metrics")
    for table, columns in json.loads((folder / "tables.json").read_text()).items():
        shape = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(
            f"create table if not exists email_metrics.{table} ({shape})"
        )
        connection.execute(
            f"copy email_metrics.{table} from '{folder / table}.jsonl' (format json)"
        )


def main() -> None:
    do, file, *rest = sys.argv[1:]
    with duckdb.connect(file) as connection:
        if do == "load":
            load(connection, Path(rest[0]))
        else:
            found = connection.execute(sys.stdin.read())
            names = [column[0] for column in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            sys.stdout.write(json.dumps(rows, default=str))


if __name__ == "__main__":
    main()
