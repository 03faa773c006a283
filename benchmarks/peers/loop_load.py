"""The bare loop into Postgres: copies the rows, then inserts them by key."""

from __future__ import annotations

import json
import sys

import psycopg
import requests
from loop import rows

_COLUMNS = (
    "message_id",
    "id",
    "recipientId",
    "timestamp",
    "dateAdded",
    "ipAddress",
    "userAgent",
)
_CREATE = """
create schema {schema};
create table {schema}.opens (
    "message_id" bigint, "id" bigint, "recipientId" bigint, "timestamp" bigint,
    "dateAdded" bigint, "ipAddress" text, "userAgent" text,
    primary key ("message_id", "id")
);
create temporary table loaded (like {schema}.opens)
"""
_UPSERT = """
insert into {schema}.opens select * from loaded
on conflict ("message_id", "id") do update set
    "recipientId" = excluded."recipientId", "timestamp" = excluded."timestamp",
    "dateAdded" = excluded."dateAdded", "ipAddress" = excluded."ipAddress",
    "userAgent" = excluded."userAgent"
"""


def main() -> None:
    """Load all opens."""
    given = json.loads(sys.argv[1])
    base, schema = given["api_url"], given["schema"]
    session = requests.Session()
    with psycopg.connect(given["database"]) as database:
        database.execute(_CREATE.format(schema=schema))
        with database.cursor().copy("copy loaded from stdin") as copy:
            for message in rows(session, f"{base}/v2/messages"):
                for row in rows(session, f"{base}/v2/messages/{message['id']}/opens"):
                    row["message_id"] = message["id"]
                    copy.write_row([row[name] for name in _COLUMNS])
        database.execute(_UPSERT.format(schema=schema))


if __name__ == "__main__":
    main()
