"""fakesnow with the tables of a load: `snowflake_server.py PORT FOLDER`.

The folder has tables.json, {table: {column: type}}, and a <table>.jsonl of each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import uvicorn
from fakesnow.server import app, shared_fs

TYPES = {
    "varchar": "varchar",
    "bigint": "number(38, 0)",
    "double": "float",
    "timestamp": "timestamp_ntz",
    "boolean": "boolean",
    "date": "date",
    "json": "variant",
}
SCHEMA = "EMAIL.EMAIL_METRICS"


def load(folder: Path) -> None:
    """Make the tables, as Snowflake names and types them, and fill them."""
    cursor = shared_fs.connect(*SCHEMA.split(".")).cursor()
    for table, columns in json.loads((folder / "tables.json").read_text()).items():
        name = f"{SCHEMA}.{table.upper()}"
        shape = [f'"{one.upper()}" {TYPES[kind]}' for one, kind in columns.items()]
        cursor.execute(f"create table {name} ({', '.join(shape)})")
        rows = folder / f"{table}.jsonl"
        if rows.stat().st_size:
            # Its own database is DuckDB: rows go past its SQL, which others test.
            cursor._duck_conn.execute(  # noqa: SLF001 - there is no other way in
                f"insert into {name} select * from read_json("  # noqa: S608 - our own names
                f"'{rows}', format = 'nd', columns = {columns})"
            )


if __name__ == "__main__":
    load(Path(sys.argv[2]))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
