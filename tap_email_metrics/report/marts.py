"""Reads the marts from Postgres or DuckDB."""

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

MartRow = dict[str, Any]
MartRows = dict[str, list[MartRow]]


class MartsError(Exception):
    """The marts cannot be read; the message is for the user."""


class Cursor(Protocol):
    """The part of a database cursor that psycopg and DuckDB share."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None:
        """The columns of the last query; each column's name comes first."""

    def execute(self, query: Any, /) -> object:  # noqa: ANN401 - the drivers' types differ
        """Run a query."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return the rows of the last query."""


@dataclass(frozen=True)
class Marts:
    """A database with the marts.

    Attributes:
        database: a Postgres URL, or the path of a DuckDB file.
        schema: the schema of the marts; dbt keeps its views in <schema>_staging.
    """

    database: str
    schema: str

    def read(self, queries: Mapping[str, str]) -> MartRows:
        """Return the rows of each query, by its name, all from one transaction.

        Raises:
            MartsError: the database cannot be reached, or holds no marts.
        """
        if not re.fullmatch(r"\w+", self.schema):
            raise MartsError(f"{self.schema} is not a schema name.")
        read = self._postgres if is_postgres(self.database) else self._duckdb
        try:
            return read(queries)
        except (psycopg.ProgrammingError, duckdb.ProgrammingError) as problem:
            raise MartsError(
                f"{problem}\nThe report reads the schemas {self.schema} and "
                f"{self.schema}_staging. Build them with dbt first, all models, or "
                "name the schema that holds them (SCHEMA)."
            ) from problem
        except (psycopg.Error, duckdb.Error) as problem:
            raise MartsError(f"The database cannot be read: {problem}") from problem

    def _postgres(self, queries: Mapping[str, str]) -> MartRows:
        with psycopg.connect(self.database) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.cursor() as cursor:
                cursor.execute(
                    "select set_config('search_path', %s, false)", [self._path]
                )
                return {name: found(cursor, query) for name, query in queries.items()}

    def _duckdb(self, queries: Mapping[str, str]) -> MartRows:
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
    """Return True for a Postgres URL, False for an existing DuckDB file.

    Raises:
        MartsError: it is neither. The message leaves `database` out, because it may
            hold a password.
    """
    if not re.match(r"postgres(ql)?://", database):
        if not _is_file(database):
            raise MartsError(
                "The database must be the URL of a Postgres, as in make report "
                "DATABASE=postgresql://reader@db.example.org/email, or an existing "
                "DuckDB file."
            )
        return False
    try:
        conninfo_to_dict(database)
        is_valid = not _splits_password(database)
    except psycopg.ProgrammingError:
        is_valid = False
    if not is_valid:
        raise MartsError(
            "The URL of the database is not a valid Postgres URL. Set the password in "
            "PGPASSWORD, where it needs no percent encoding."
        )
    return True


def _is_file(database: str) -> bool:
    try:
        return Path(database).is_file()
    except OSError:  # the text is too long for a path
        return False


def _splits_password(url: str) -> bool:
    """Return whether a Postgres URL has a password with a slash or an at sign.

    Postgres would take a part of it for the host, and name that part in its error.
    """
    login, _, _ = url.partition("://")[2].rpartition("@")
    return ":" in login and any(sign in login for sign in "/@")


def found(cursor: Cursor, query: str) -> list[MartRow]:
    """Return the rows of a query with values as `plain` makes them."""
    cursor.execute(query)
    names = [column[0] for column in cursor.description or ()]
    return [
        {name: plain(value) for name, value in zip(names, row, strict=True)}
        for row in cursor.fetchall()
    ]


def plain(value: object) -> float | str | None:
    """Return a value as a number or one line of text; a time is cut to the minute.

    Email addresses are removed. Characters that cannot be printed become spaces,
    because HTML and SVG cannot hold all of them.
    """
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = redact(str(value))
    return "".join(sign if sign.isprintable() else " " for sign in text)
