"""The contents of a LuxSci account, the rights of its integration, and its reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.limits import Limits
from simulator.luxsci.auth import Authority
from simulator.luxsci.facts import CHANNELS, KINDS, SUMMARIES
from simulator.luxsci.policy import Policy
from simulator.luxsci.summaries import summarise, urls
from simulator.luxsci.tables import EVERYTHING, Entry, Interval, Table

if TYPE_CHECKING:
    import threading

    from simulator.clock import SimClock

MINUTE = 60.0


class Store:
    """The rows of one account, its integration and its limits."""

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        self.account_id = 4711
        self.token = "tk-3f9a51c07be2"  # noqa: S105 -- made up
        self.secret = "s3cr3t-of-the-integration-0f1e2d"  # noqa: S105 -- likewise
        self.passwords: dict[str, str] = {}
        """Passwords by login."""
        self.custom_fields: tuple[str, ...] = ("favorite_color", "member_no")
        """Code words that have a column in detail reports."""
        self.policy = Policy()
        self.seed = seed
        self.ticker = clock.now
        """The clock of the limit per minute: the real one behind a port."""
        self.present = clock.now
        """The clock with which the `date` of an auth request is compared. Behind a port
        it is the real one, because the world is in the past."""
        self.limits = Limits(clock.now, MINUTE)
        self.auth = Authority(self, clock.now)
        self._clock = clock
        self._lock = lock
        self._tables: dict[tuple[str, str | None], Table] = {}
        for kind in KINDS.values():
            for channel in CHANNELS if kind.has_channels else (None,):
                self._tables[kind.name, channel] = Table(kind)
        self._of: dict[int, Table] = {}

    @property
    def used_today(self) -> int:
        """Requests counted since 00:00 UTC."""
        return self.limits.used_today

    @property
    def throttled(self) -> int:
        """Requests refused by the limit per minute."""
        return self.limits.throttled

    @property
    def logins(self) -> list[str]:
        """The logins of the users in the order in which they were added."""
        return list(self.passwords)

    def set_policy(self, **changes: object) -> None:
        """Change fields of the policy; TypeError for an unknown one."""
        with self._lock:
            for name in ("denied", "absent"):
                if name in changes:
                    changes[name] = frozenset(changes[name])  # type: ignore[call-overload]
            self.policy = replace(self.policy, **changes)  # type: ignore[arg-type]

    def revoke(self) -> None:
        """Refuse every auth code issued so far."""
        with self._lock:
            self.auth.revoke_all()

    # Reading

    def table(self, kind: str, channel: str | None = None) -> Table:
        """Return the rows of a kind, by default those of SMTP."""
        if channel is None and KINDS[kind].has_channels:
            channel = CHANNELS[0]
        return self._tables[kind, channel]

    def entry(self, serial: int) -> Entry:
        """Return a row by its handle."""
        return self._of[serial].entries[serial]

    def entries(
        self,
        kind: str,
        channel: str | None,
        at: float,
        interval: Interval = EVERYTHING,
        login: str | None = None,
    ) -> list[Entry]:
        """Return the rows of a report at `at` in its order."""
        table = self.table(kind, channel)
        column = self.policy.column(table.kind)
        found = table.shown(at, column, interval, login)
        if self.policy.rows_order == "insertion":
            found.sort(key=_serial)
        elif self.policy.rows_order == "descending":
            found.reverse()
        return found

    def computed(
        self, kind: str, at: float, interval: Interval, login: str | None
    ) -> list[dict[str, object]]:
        """Return the rows of a report that is computed from other rows."""
        if kind == "marketing_urls":
            clicks = self.entries("marketing_clicks", None, at, login=login)
            return urls(entry.row.fields(at) for entry in clicks)
        source = SUMMARIES[kind]
        whole = EVERYTHING if source == "users" else interval
        rows = [e.row.fields(at) for e in self.entries(source, None, at, whole, login)]
        return [summarise(kind, rows, at, interval, self.policy.user_limit)]


def is_computed(kind: str) -> bool:
    """Return whether a report is computed from other rows."""
    return kind in SUMMARIES or kind == "marketing_urls"


def _serial(entry: Entry) -> int:
    return entry.serial
