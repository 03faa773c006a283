"""The base of building a LuxSci account: rows of any report, users and jobs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.luxsci.facts import KINDS
from simulator.luxsci.store import Store
from simulator.luxsci.tables import Entry
from simulator.rows import Row

if TYPE_CHECKING:
    import threading

    from simulator.clock import SimClock

Fields = dict[str, Any]
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0"
"""A plausible user agent."""


class Builder(Store):
    """An account to which rows can be added; handles identify rows."""

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        super().__init__(clock, lock, seed)
        self._issued: Counter[str] = Counter()
        self._serial = 0
        self._by_id: dict[tuple[str, int], int] = {}
        """Handles by kind and number of the vendor: logs, jobs, users and so on."""

    def add_row(  # noqa: PLR0913
        self,
        kind: str,
        *,
        channel: str | None = None,
        login: str | None = None,
        visible_from: float | None = None,
        custom: Fields | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> int:
        """Add a row to a report without effects on others, and return its handle.

        `fields` and `more` are columns of the vendor; columns not given are null.
        KeyError for an unknown kind.
        """
        with self._lock:
            table = self.table(kind, channel)
            at = self._clock.now() if visible_from is None else visible_from
            self._serial += 1
            shown = table.spelt({**(fields or {}), **more})
            row = Row(self._serial, at, (at, at, at), shown)
            table.add(Entry(self._serial, row, login, custom or {}))
            self._of[self._serial] = table
            return self._serial

    def correct(
        self,
        row: int,
        *,
        at: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> None:
        """Change columns of a row from `at` on; no date changes by itself."""
        with self._lock:
            at = self._clock.now() if at is None else at
            self._of[row].correct(row, at, {**(fields or {}), **more})

    def delete(self, row: int, *, at: float | None = None) -> None:
        """Remove a row from its report."""
        with self._lock:
            entry = self.entry(row)
            entry.row.deleted_at = self._clock.now() if at is None else at

    def fields(self, row: int, at: float | None = None) -> Fields:
        """Return the columns of a row at `at`."""
        at = self._clock.now() if at is None else at
        return self.entry(row).row.fields(at)

    # Users and jobs

    def add_user(
        self,
        login: str | None = None,
        *,
        password: str = "pw-of-a-user",  # noqa: S107 -- made up
        created: float | None = None,
        **fields: object,
    ) -> str:
        """Add a user, who can authenticate at once, and return the login."""
        with self._lock:
            created = self._clock.now() if created is None else created
            user_id = self._number("users")
            login = login or f"user{user_id}@clinic.example"
            shown = {
                "user_id": user_id,
                "domain_id": 31,
                "login": login,
                "created": created,
                "modified": created,
                "name": f"User {user_id}",
                **fields,
            }
            row = self.add_row("users", visible_from=created, fields=shown)
            self._by_id["users", user_id] = row
            self.passwords[login] = password
            return login

    def update_user(
        self, login: str, *, at: float | None = None, **fields: object
    ) -> None:
        """Change the row of a user and, unless given, its `modified`."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._by_id["users", self.user_id(login)]
            self.correct(row, at=at, fields={"modified": at, **fields})

    def user_id(self, login: str | None) -> int:
        """Return the number of a user, or 0 for no user."""
        if login is None:
            return 0
        return self.logins.index(login) + 1

    def add_job(
        self,
        *,
        login: str | None = None,
        created: float | None = None,
        **fields: object,
    ) -> int:
        """Add a job of a user or of the account; return its id."""
        with self._lock:
            created = self._clock.now() if created is None else created
            job_id = self._number("jobs")
            shown = {
                "job_id": job_id,
                "filename": f"report-{job_id}.csv",
                "created": created,
                "updated": created,
                "status": "submitted",
                "uid": self.user_id(login),
                "current_jobs": 1,
                "max_jobs": 5,
                **fields,
            }
            row = self.add_row("jobs", login=login, visible_from=created, fields=shown)
            self._by_id["jobs", job_id] = row
            return job_id

    def update_job(
        self, job_id: int, *, at: float | None = None, **fields: object
    ) -> None:
        """Change the row of a job and, unless given, its `updated`."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._by_id["jobs", job_id]
            self.correct(row, at=at, fields={"updated": at, **fields})

    # Inside

    def _someone(self, at: float) -> str:
        """Return the login of the first user, who is added if there is none."""
        if not self.passwords:
            self.add_user(created=at - DAY)
        return self.logins[0]

    def _address(self) -> str:
        return f"patient{self._number('addresses')}@example.org"

    def _number(self, kind: str) -> int:
        self._issued[kind] += 1
        return self._issued[kind]


def only(kind: str, fields: Fields) -> Fields:
    """Return the fields that a kind of report has."""
    names = {column.name for column in KINDS[kind].columns}
    return {name: value for name, value in fields.items() if name in names}
