"""Print the tables of a warehouse, one line of JSON per table: name, types, rows.

It runs in the environment of the target that wrote the tables, as
`rows.py <warehouse> <schema> <place> <table>…`; the place is a file or a port.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Table = tuple[dict[str, str], list[dict[str, Any]]]


def duckdb(schema: str, place: str, table: str) -> Table:
    """Return a table of a DuckDB file."""
    import duckdb  # noqa: PLC0415 - each environment has one of these

    database = duckdb.connect(place, read_only=True)
    columns = database.execute(f"describe {schema}.{table}").fetchall()
    cursor = database.execute(f"select * from {schema}.{table}")  # noqa: S608
    return of_cursor(cursor, {column[0]: column[1] for column in columns})


def snowflake(schema: str, place: str, table: str) -> Table:
    """Return a table of fakesnow at a port."""
    from snowflake import connector  # noqa: PLC0415

    if place not in CONNECTIONS:
        CONNECTIONS[place] = connector.connect(
            account="fakesnow",
            user="loader",
            password="password",
            database="EMAIL",
            host="127.0.0.1",
            port=int(place),
            protocol="http",
        )
    cursor = CONNECTIONS[place].cursor()
    cursor.execute(f"describe table EMAIL.{schema}.{table.upper()}")
    types = {row[0].lower(): row[1] for row in cursor.fetchall()}
    # As text, because fakesnow returns a null timestamp as one of 1970.
    columns = ", ".join(
        f'to_varchar("{n.upper()}") as {n}' if t in TIMES else f'"{n.upper()}"'
        for n, t in types.items()
    )
    cursor.execute(f"select {columns} from EMAIL.{schema}.{table.upper()}")  # noqa: S608
    return of_cursor(cursor, types)


def bigquery(schema: str, place: str, table: str) -> Table:
    """Return a table of bqemulator at a port."""
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud import bigquery  # noqa: PLC0415

    client = bigquery.Client(
        project="project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{place}"},
    )
    found = client.get_table(f"project.{schema}.{table}")
    query = f"select * from `project.{schema}.{table}`"  # noqa: S608
    rows = [dict(row) for row in client.query(query).result()]
    mode = {"REPEATED": "ARRAY OF "}
    return {f.name: mode.get(f.mode, "") + f.field_type for f in found.schema}, rows


TIMES = ("TIMESTAMP_NTZ(9)",)
CONNECTIONS: dict[str, Any] = {}
READERS: dict[str, Callable[[str, str, str], Table]] = {
    "duckdb": duckdb,
    "snowflake": snowflake,
    "bigquery": bigquery,
}


def of_cursor(cursor: Any, types: dict[str, str]) -> Table:
    """Return the result of a database cursor, with column names in lower case."""
    names = [column[0].lower() for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return types, rows


def plain(value: object, kind: str) -> object:
    """Return a value in its JSON form."""
    if isinstance(value, str) and kind in {"JSON", "VARIANT"}:
        return json.loads(value)
    if isinstance(value, str) and kind in TIMES:
        value = datetime.fromisoformat(value)
    if isinstance(value, list) and kind == "ARRAY OF JSON":
        return [plain(item, "JSON") for item in value]
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def main(warehouse: str, schema: str, place: str, tables: Iterable[str]) -> None:
    """Print the tables."""
    for table in tables:
        types, rows = READERS[warehouse](schema, place, table)
        own = {name: t for name, t in types.items() if name[:4] != "_sdc"}
        found = [{n: plain(row[n], t) for n, t in own.items()} for row in rows]
        sys.stdout.write(json.dumps([table, own, found]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
