"""fakesnow, extended by the user's stage, which target-snowflake needs.

A PUT to `@~` goes to a named stage. MERGE from staged files reads them into a table
first. REMOVE and DROP FILE FORMAT do nothing. fakesnow does everything else.
"""

from __future__ import annotations

import re
import sys
from typing import Any
from uuid import uuid4

import uvicorn
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.server import app, shared_fs
from fakesnow.transforms import stage

OWN = "EMAIL.PUBLIC.OWN"
PUT = re.compile(r"put ('.*') '@~/(.*)'")
MERGE = re.compile(
    r"using \(select (.*) from '@~/(.*)'\(file_format => .*?\) (QUALIFY .*)\) s on"
)
IGNORED = re.compile(r"remove |drop file format ")
plain = FakeSnowflakeCursor.execute


def execute(
    self: FakeSnowflakeCursor, command: str, *args: Any, **kwargs: Any
) -> FakeSnowflakeCursor:
    """Run a statement, rewritten if it names the user's stage."""
    if IGNORED.match(command):
        return plain(self, "SELECT 'done' AS status", server=True)
    if put := PUT.match(command):
        to = [f"@{OWN}/{put[2]}"]
        return plain(self, f"PUT {put[1]} ?", binding_params=to, server=True)
    if merge := MERGE.search(command):
        typed = read_staged(self, *merge.groups())
        before, after = command[: merge.start()], command[merge.end() :]
        source = f"(select * from {typed})"  # noqa: S608 - a name of our own
        command = f"{before}using {source} s on{after}"
    return plain(self, command, *args, **kwargs)


def read_staged(
    cursor: FakeSnowflakeCursor, columns: str, path: str, latest: str
) -> str:
    """Create a table of the staged files in order; return its name."""
    cursor._duck_conn.execute(  # noqa: SLF001 - there is no other way to its files
        "CREATE OR REPLACE TEMP TABLE STAGED AS SELECT json AS C1, "
        "row_number() OVER () AS SEQ FROM read_ndjson_objects(?)",
        [f"{stage.internal_dir(OWN, path)}/*"],
    )
    plain(cursor, "USE SCHEMA EMAIL.PUBLIC", server=True)
    typed = f"EMAIL.PUBLIC.TYPED_{uuid4().hex}"
    chosen = f"SELECT {columns.replace('$1:', 'C1:')} FROM TEMP.MAIN.STAGED"  # noqa: S608
    latest = latest.replace("SEQ8()", "SEQ")
    plain(cursor, f"CREATE TABLE {typed} AS {chosen} {latest}", server=True)
    return typed


FakeSnowflakeCursor.execute = execute

if __name__ == "__main__":
    shared_fs.connect("EMAIL", "PUBLIC").cursor().execute(f"CREATE STAGE {OWN}")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
