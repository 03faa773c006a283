"""The rows that complete readings of LuxSci leave in a target, without the tap.

The target keeps the last record of each key. A reading of a window stream starts at the
end of the previous one less the look-back (the first: at the start date) and ends
SETTLING seconds before the instant, in whole seconds. Rows with a later date wait for
the next reading. Lists of entities are also read in full every WHOLE_DAYS. The first
reading of a UTC day reads marketing URLs and complaints in full, and the summaries of
each whole day since the last reading and in the look-back.

The clock of a reader may be ahead of the world, as it is behind a real port.
`Reading.now` holds that clock, which decides which dates are requested; the clock of
the world decides which rows are answered.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.luxsci.answer import columns_of, fields_of, renderers
from simulator.luxsci.facts import CHANNELS, ENDPOINTS, KINDS, SUMMARIES, gmt
from simulator.luxsci.store import is_computed
from simulator.luxsci.tables import EVERYTHING, Interval
from simulator.values import (
    clean,
    to_integer,
    to_number,
    to_recipient_domain,
    to_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.luxsci.facts import Kind
    from simulator.luxsci.store import Store

    Convert = Callable[[object], object]
    Record = dict[str, object]
    Key = tuple[object, ...]

PREFIX = "luxsci_"
SETTLING = 300.0
"""Seconds before a reading that are left to the next one."""
START_DAYS = 365.0
WHOLE_DAYS = 7.0
_SLOW = ("delivery_status", "marketing_logs", "marketing_bounces")
"""Kinds with a different look-back."""
_THINGS = (
    "marketing_campaigns",
    "marketing_lists",
    "marketing_contacts",
    "users",
    "jobs",
)
"""Kinds that are also read in full."""
_ACCOUNT_ONLY = ("users", "users_summary", "login_failures")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}")
_NO_DATE = ("", "0000-00-00", "0000-00-00 00:00:00")
RENAMED = {
    "from": "from_address",
    "to": "to_address",
    "user": "user_login",
    "Opens": "opens",
    "Clicks": "clicks",
    "Unsubscribed": "unsubscribed",
}
_RENAMED_IN = {
    ("sent", "to"): "to_addresses",
    ("login_failures", "date"): "failed_at",
    ("suppressions_summary", "count"): "suppressions",
}
ADDRESSES = ("to_address", "msg_to", "email")
"""Columns that hold the address of one recipient."""
_LOGIN = frozenset(
    {
        *("jobs", "delivery_status", "sent", "clicks", "opens", "complaints"),
        *("suppressions", "temporary_failures"),
        *(name for name in SUMMARIES if name != "users_summary"),
        *(name for name in KINDS if name.startswith("marketing_")),
    }
)
"""Kinds with a column for the login."""
IDENTITY: dict[str, tuple[str, ...]] = {
    "delivery_status": ("login", "channel", "sendmail_id", "to_address", "date_sent"),
    "opens": (
        *("login", "channel", "sendmail_id", "to_address", "open_date"),
        *("opener_ip", "user_agent"),
    ),
    "clicks": (
        *("login", "channel", "sendmail_id", "to_address", "click_date"),
        *("url", "clicker_ip"),
    ),
    "complaints": (
        *("login", "sendmail_id", "to_address", "complaint_date"),
        "complaint_source",
    ),
    "suppressions": ("login", "account_id", "domain_id", "user_id", "email"),
    "temporary_failures": ("login", "sendmail_id", "msg_to", "date_temp_failure"),
    "login_failures": ("failed_at", "ip", "user_id", "reason"),
    "marketing_opens": ("login", "log_id", "open_date", "ip_address", "user_agent"),
    "marketing_clicks": (
        *("login", "log_id", "click_date", "ip_address", "user_agent"),
        "url",
    ),
    "marketing_unsubscribes": ("login", "log_id", "email", "unsubscribed_date"),
    "marketing_urls": ("login", "campaign_id", "url"),
}
"""The columns of which an event_id is made, by kind."""
_CHANGING = ("delivery_status", "suppressions")
"""Kinds whose rows are not numbered, because a changed row may come alone."""
KEYS: dict[str, tuple[str, ...]] = {
    f"{PREFIX}{name}": ("account", *key)
    for name, key in {
        "delivery_status": ("event_id",),
        "sent": ("channel", "sendmail_id"),
        "opens": ("event_id",),
        "clicks": ("event_id",),
        "complaints": ("event_id",),
        "suppressions": ("event_id",),
        "temporary_failures": ("event_id",),
        "login_failures": ("event_id",),
        "delivery_status_summary": ("scope", "interval_start"),
        "opens_summary": ("scope", "interval_start"),
        "clicks_summary": ("scope", "interval_start"),
        "complaints_summary": ("scope", "interval_start"),
        "suppressions_summary": ("scope", "interval_start"),
        "marketing_campaigns": ("campaign_id",),
        "marketing_logs": ("log_id",),
        "marketing_opens": ("event_id",),
        "marketing_clicks": ("event_id",),
        "marketing_bounces": ("log_id",),
        "marketing_complaints": ("log_id",),
        "marketing_unsubscribes": ("event_id",),
        "marketing_urls": ("event_id",),
        "marketing_lists": ("list_id",),
        "marketing_contacts": ("contact_id",),
        "users": ("user_id",),
        "users_summary": ("interval_start",),
        "jobs": ("job_id",),
    }.items()
}
"""Streams and their keys."""
STREAMS = tuple(KEYS)


@dataclass(frozen=True)
class Visit:
    """A reading: times of the world and of the reader in UTC seconds."""

    at: float
    now: float


@dataclass(frozen=True)
class Reading:
    """The settings that decide what is read."""

    user: str | None = None
    """The login in user scope, or None for account scope."""
    logins: tuple[str, ...] | None = None
    """Logins whose marketing is read; None: that of the user or of all users."""
    start: float | None = None
    """Start date in UTC seconds; None: START_DAYS before the first reading."""
    lookback_days: float = 2.0
    delivery_lookback_days: float = 30.0
    tracked_headers: bool = False
    detail: bool = False
    now: tuple[float, ...] = ()
    """The clock of the reader at each reading, if it differs from the world."""

    def visits(self, instants: Sequence[float]) -> list[Visit]:
        """Return the readings; ValueError unless `now` fits the instants."""
        pairs = zip(instants, self.now or instants, strict=True)
        return [Visit(at, now) for at, now in pairs]


ACCOUNT_SCOPE = Reading()


@dataclass(frozen=True)
class _Report:
    """A report of one scope, login and channel."""

    kind: Kind
    login: str | None
    channel: str | None


def columns(stream: str) -> list[tuple[str, str | None]]:
    """Return (column, vendor's name) of the columns of a stream, in order."""
    kind = KINDS[stream.removeprefix(PREFIX)]
    return [(renamed(kind.name, one.name), one.name) for one in kind.columns]


def renamed(kind: str, name: str) -> str:
    """Return the column for a name of the vendor."""
    return _RENAMED_IN.get((kind, name)) or RENAMED.get(name, name)


def truth(
    world: Store,
    stream: str,
    instants: Sequence[float],
    account: str | None = None,
    reading: Reading = ACCOUNT_SCOPE,
) -> list[Record]:
    """Return the rows that readings at these instants leave behind, sorted by key.

    Instants are UTC seconds, ascending.
    """
    if account is None:
        account = _account(world, reading)
    reader = _Reader(world, stream, account, reading)
    key = KEYS[stream]
    records = reader.read(reading.visits(instants))
    latest = {tuple(record[part] for part in key): record for record in records}
    return [latest[part] for part in sorted(latest, key=repr)]


def _account(world: Store, reading: Reading) -> str:
    if reading.user is None:
        return str(world.account_id)
    return hashlib.sha256(reading.user.encode()).hexdigest()[:16]


class _Reader:
    def __init__(
        self, world: Store, stream: str, account: str, reading: Reading
    ) -> None:
        self._world = world
        self._stream = stream
        self._kind = KINDS[stream.removeprefix(PREFIX)]
        self._account = account
        self._reading = reading
        custom = world.custom_fields
        self._columns = columns_of(
            self._kind,
            custom,
            tracked_headers=reading.tracked_headers,
            detail=reading.detail,
        )
        self._render = renderers(self._columns, world.policy)

    def read(self, visits: Sequence[Visit]) -> Iterator[Record]:
        """Yield the records of every reading, in order."""
        name = self._kind.name
        for report in self._reports():
            if name in SUMMARIES:
                yield from self._summaries(report, visits)
            elif self._kind.date is None:
                for visit in _daily(visits):
                    yield from self._rows(report, visit.at, EVERYTHING)
            else:
                yield from self._windows(report, visits)

    def _reports(self) -> list[_Report]:
        """Return the reports that the stream is read from."""
        name, user = self._kind.name, self._reading.user
        if name.startswith("marketing_"):
            return [_Report(self._kind, login, None) for login in self._logins()]
        if user is not None and name in _ACCOUNT_ONLY:
            return []
        wanted = [
            one
            for one in ENDPOINTS
            if one.kind == name and one.is_of_account == (user is None)
        ]
        channels = sorted({one.channel for one in wanted}, key=_channel_order)
        return [_Report(self._kind, user, channel) for channel in channels]

    def _logins(self) -> list[str]:
        reading = self._reading
        if reading.logins is not None:
            return list(reading.logins)
        return self._world.logins if reading.user is None else [reading.user]

    # When and what

    def _windows(self, report: _Report, visits: Sequence[Visit]) -> Iterator[Record]:
        """Yield the records of the windows and full lists of each reading."""
        days = self._lookback()
        whole = -math.inf
        end = None
        for visit in visits:
            at = visit.at
            low = self._start(visits) if end is None else end - days * DAY
            end = math.floor(visit.now - SETTLING)
            settled = gmt(end)
            yield from self._rows(report, at, Interval(gmt(low), settled), settled)
            if self._kind.name in _THINGS and visit.now - whole >= WHOLE_DAYS * DAY:
                whole = visit.now
                yield from self._rows(report, at, EVERYTHING, settled)

    def _lookback(self) -> float:
        reading = self._reading
        is_slow = self._kind.name in _SLOW
        return reading.delivery_lookback_days if is_slow else reading.lookback_days

    def _start(self, visits: Sequence[Visit]) -> float:
        start = self._reading.start
        return visits[0].now - START_DAYS * DAY if start is None else start

    def _summaries(self, report: _Report, visits: Sequence[Visit]) -> Iterator[Record]:
        """Yield a row per whole day since the last reading and in the look-back.

        A day is whole after it has had time to settle.
        """
        end = None
        for visit in _daily(visits, SETTLING):
            first = math.ceil(self._start(visits) / DAY)
            if end is not None:
                first = max(first, end - math.ceil(self._reading.lookback_days))
            end = math.floor((visit.now - SETTLING) / DAY)
            for day in range(first, end):
                interval = Interval(gmt(day * DAY), gmt((day + 1) * DAY))
                yield from self._rows(report, visit.at, interval)

    # Records

    def _rows(
        self, report: _Report, at: float, interval: Interval, settled: str | None = None
    ) -> Iterator[Record]:
        """Yield the records of one report at an instant, without later rows."""
        world, name = self._world, self._kind.name
        found: Sequence[Any]
        if is_computed(name):
            found = world.computed(name, at, interval, report.login)
        else:
            found = world.entries(name, report.channel, at, interval, report.login)
        turns: Counter[Key] = Counter()
        for raw in fields_of(world, found, at):
            record = self._record(report, raw, interval)
            date = raw.get(self._kind.date) if self._kind.date else None
            is_late = settled and isinstance(date, str) and date >= settled
            if "event_id" in record:
                self._identify(record, turns)
            if not is_late:
                yield record

    def _record(
        self, report: _Report, raw: dict[str, Any], interval: Interval
    ) -> Record:
        name = self._kind.name
        record: Record = {"account": self._account}
        if name in IDENTITY:
            record["event_id"] = None
        if name in SUMMARIES and name in _LOGIN:
            record["scope"] = "account" if report.login is None else "user"
        if name in _LOGIN:
            record["login"] = report.login
        if self._kind.has_channels:
            record["channel"] = report.channel
        if name in SUMMARIES:
            record["interval_start"] = interval.low[:10]
        rest: dict[str, object] = {}
        record |= self._shaped(raw, rest)
        return {**record, "additional_fields": clean(rest) if rest else None}

    def _shaped(self, raw: dict[str, Any], rest: dict[str, object]) -> Record:
        """Return every column of the stream; values that fit none go into `rest`."""
        known = {column.name for column in self._kind.columns}
        shaped: Record = {}
        for column in self._kind.columns:
            name = renamed(self._kind.name, column.name)
            shaped[name] = None
            if name in ADDRESSES:
                shaped["recipient_domain"] = None
        for column, render in zip(self._columns, self._render, strict=True):
            given = raw.get(column.name)
            sent = render(given) if render else given
            if column.name not in known:
                rest[column.name] = sent
                continue
            value = _CONVERT[column.type](sent)
            name = renamed(self._kind.name, column.name)
            shaped[name] = value
            if name in ADDRESSES:
                shaped["recipient_domain"] = to_recipient_domain(value)
            is_no_date = column.type == "datetime" and sent in _NO_DATE
            if value is None and sent is not None and not is_no_date:
                rest[column.name] = sent
        return shaped

    def _identify(self, record: Record, turns: Counter[Key]) -> None:
        identity = tuple(record[name] for name in IDENTITY[self._kind.name])
        turn = 0 if self._kind.name in _CHANGING else turns[identity]
        turns[identity] += 1
        parts = [self._account, self._stream, *identity, turn]
        text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        record["event_id"] = hashlib.sha256(text.encode()).hexdigest()[:32]


def _daily(visits: Sequence[Visit], settling: float = 0.0) -> list[Visit]:
    """Return the first reading of each UTC day on the clock of the reader.

    A day begins `settling` seconds after midnight.
    """
    first: dict[int, Visit] = {}
    for visit in visits:
        first.setdefault(math.floor((visit.now - settling) / DAY), visit)
    return list(first.values())


def _channel_order(channel: str | None) -> int:
    return CHANNELS.index(channel) if channel else 0


def to_instant(value: object) -> str | None:
    """Return a DATETIME as RFC 3339, or None if it is missing or invalid."""
    if not isinstance(value, str) or not _DATETIME.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return f"{moment.isoformat(timespec='milliseconds')}Z"


_CONVERT: dict[str, Convert] = {
    "integer": to_integer,
    "float": to_number,
    "datetime": to_instant,
    "string": to_string,
}
