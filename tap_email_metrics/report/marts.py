"""Reads the marts, in Postgres or DuckDB."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import psycopg
from psycopg.conninfo import conninfo_to_dict

from tap_email_metrics.records.privacy import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]
Rows = dict[str, list[Row]]


class MartsError(Exception):
    """The marts cannot be read: the text is for the user."""


class Cursor(Protocol):
    """What both drivers have."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None:
        """The columns of the last query, each with its name first."""

    def execute(self, query: Any, /) -> object:  # noqa: ANN401 - each has a type of its own
        """Run a query."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return its rows."""


@dataclass(frozen=True)
class Marts:
    """Where the marts are.

    Attributes:
        database: a URL of Postgres, or a file of DuckDB.
        schema: the schema of the marts; dbt keeps their views in <schema>_staging.
    """

    database: str
    schema: str

    def read(self, queries: Mapping[str, str]) -> Rows:
        """Return the rows of each query, all from one moment.

        Raises:
            MartsError: the database is not there, or holds no marts.
        """
        if not re.fullmatch(r"\w+", self.schema):
            raise MartsError(f"{self.schema} is no name of a schema.")
        read = self._postgres if is_postgres(self.database) else self._duckdb
        try:
            return read(queries)
        except (psycopg.ProgrammingError, duckdb.ProgrammingError) as problem:
            raise MartsError(
                f"{problem}\nThe marts are read from schema {self.schema}, views from "
                f"{self.schema}_staging. Build them with dbt first, all models, or "
                "name their schema (SCHEMA)."
            ) from problem
        except (psycopg.Error, duckdb.Error) as problem:
            raise MartsError(f"The database cannot be read: {problem}") from problem

    def _postgres(self, queries: Mapping[str, str]) -> Rows:
        with psycopg.connect(self.database) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.cursor() as cursor:
                cursor.execute(
                    "select set_config('search_path', %s, false)", [self._path]
                )
                return {name: found(cursor, query) for name, query in queries.items()}

    def _duckdb(self, queries: Mapping[str, str]) -> Rows:
        with (
            duckdb.connect(self.database, read_only=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"set search_path = '{self._path}'")
            cursor.begin()
            return {name: found(cursor, query) for name, query in queries.items()}

    @property
    def _path(self) -> str:
        return f'"{self.schema}","{self.schema}_staging"'


def is_postgres(database: str) -> bool:
    """Return whether it is Postgres, or else DuckDB.

    Raises:
        MartsError: it is neither. It is not repeated: it may hold a password.
    """
    if not re.match(r"postgres(ql)?://", database):
        if not Path(database).is_file():
            raise MartsError(
                "The database has to be the URL of a Postgres, as in make report "
                "DATABASE=postgresql://reader@db.example.org/email, or a file of "
                "DuckDB that is there."
            )
        return False
    try:
        conninfo_to_dict(database)
    except psycopg.ProgrammingError:
        raise MartsError(
            "The URL of the database is none that Postgres takes. Set the password in "
            "PGPASSWORD, where it needs no percent signs."
        ) from None
    return True


def found(cursor: Cursor, query: str) -> list[Row]:
    """Return the rows of a query as JSON has them, without an address in any text."""
    cursor.execute(query)
    names = [column[0] for column in cursor.description or ()]
    return [
        {name: plain(value) for name, value in zip(names, row, strict=True)}
        for row in cursor.fetchall()
    ]


def plain(value: object) -> float | str | None:
    """Return a value as a number or a text of one line; a time to the minute.

    Of what vendors write, a page cannot hold all characters, and a chart even fewer.
    """
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = redact(str(value))
    return "".join(one if one.isprintable() else " " for one in text)
