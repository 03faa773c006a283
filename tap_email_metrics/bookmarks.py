"""Marks, schedules and state: what was read, and what is due again.

Pure functions and values; the time is an argument, in UTC seconds since the
epoch. This module alone writes bookmarks. The state of a stream is

    {"replication_key": …, "replication_key_value": …, "checked_through": …,
     "marks": {"<parent id>": "<packed mark>"}, "history": [ms, id],
     "swept": day, "gaps": [[from, to]], "backfill": {…}, "digests": …, "start": …,
     "readable": true}

and `_tap` holds what belongs to no stream: `{"version": 1, "last_stream": …}`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

Value = TypeVar("Value")

STATE_VERSION = 1
TAP_KEY = "_tap"
ARCHIVE_DAYS = 180
"""Encompass archives actions older than this."""
ARCHIVE_NEAR_DAYS = 175
"""From this age on a list may lose rows: it is read whole whenever it is due."""
ARCHIVE_FIRST_DAYS = 150
"""From this age on what is unread is read before anything else."""
QUARANTINE_AFTER = 5
"""Failed runs after which a parent is tried once a day only."""

_EPOCH_MINUTE = 24_192_000  # whole minutes up to 2015-12-31T00:00:00Z
_LAST_MINUTE = 4_223_371_680  # the end of the year 9999
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_$"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}

Order = Literal["a", "d", "n"]
"""Ids of a list as the last whole read saw them: ascending, descending, neither."""


def iso(seconds: float) -> str:
    """Return an instant as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> float:
    """Return the UTC seconds of a date or date-time; a naive one is UTC.

    Raises:
        ValueError: the text is neither.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# Marks


def _encode(number: int) -> str:
    digits = ""
    rest = abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, 64)
        digits = _DIGITS[digit] + digits
    return f"-{digits}" if number < 0 else digits


def _decode(text: str) -> int:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not digits:
        raise ValueError("no digits")
    number = 0
    for digit in digits:
        number = number * 64 + _VALUES[digit]
    return sign * number


def _encode_time(seconds: float | None) -> str:
    # A clock or a row from before 1970 is not worth an unreadable mark.
    return (
        "" if seconds is None else _encode(max(0, int(seconds // 60)) - _EPOCH_MINUTE)
    )


def _decode_time(text: str) -> float | None:
    if not text:
        return None
    minute = _decode(text) + _EPOCH_MINUTE
    if not 0 <= minute < _LAST_MINUTE:
        raise ValueError("a time beyond all calendars")
    return minute * 60.0


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one list of one parent is read.

    Attributes:
        rows: distinct rows at the last complete check.
        last_id: id at the end where the list grows: the last row of an ascending
            list, the first of a descending one.
        newest: instant of the newest row seen, never later than the check.
        checked: start of the last complete check, None before the first.
        order: ids as the last whole read saw them.
        verified: verification points passed at the last full verification.
        unsettled: the last read was not whole; due in the next run.
        total: what the API counts where the last read saw fewer: the rest is
            archived, or was seen by the read before only.
        failures: runs in a row in which this list could not be read.
        tried: start of the last of them.
    """

    rows: int = 0
    last_id: int | None = None
    newest: float | None = None
    checked: float | None = None
    order: Order = "n"
    verified: int = 0
    unsettled: bool = False
    total: int | None = None
    failures: int = 0
    tried: float | None = None

    def pack(self) -> str:
        """Return the mark as one short string; times are cut to whole minutes."""
        parts = [
            _encode(self.rows),
            "" if self.last_id is None else _encode(self.last_id),
            _encode_time(self.newest),
            _encode_time(self.checked),
            f"{self.order}{_encode(self.verified)}{'!' if self.unsettled else ''}",
            "" if self.total is None else _encode(self.total),
            _encode(self.failures) if self.failures else "",
            _encode_time(self.tried) if self.failures else "",
        ]
        return ".".join(parts).rstrip(".")

    @classmethod
    def unpack(cls, text: str) -> Mark:
        """Return the mark that `pack` wrote.

        Raises:
            ValueError: the text is no packed mark.
        """
        parts = (text.split(".") + [""] * 8)[: max(8, text.count(".") + 1)]
        try:
            rows, last, newest, checked, flags, total, failures, tried = parts
            mark = cls(
                rows=_decode(rows),
                last_id=_decode(last) if last else None,
                newest=_decode_time(newest),
                checked=_decode_time(checked),
                order=_order(flags[:1]),
                verified=_decode(flags[1:].rstrip("!")),
                unsettled=flags.endswith("!"),
                total=_decode(total) if total else None,
                failures=_decode(failures) if failures else 0,
                tried=_decode_time(tried),
            )
        except KeyError as error:
            raise ValueError(f"unknown digit {error}") from error
        if mark.rows < 0 or mark.failures < 0:
            raise ValueError("a negative count")
        return mark

    @property
    def quarantined(self) -> bool:
        """Whether it failed so often that it is tried once a day only."""
        return self.failures >= QUARANTINE_AFTER

    @property
    def settled(self) -> bool:
        """Whether nothing is owed: read whole, and the last try succeeded."""
        return self.checked is not None and not self.unsettled and not self.failures

    def failed(self, now: float) -> Mark:
        """Return the mark after a try that failed."""
        return replace(self, failures=self.failures + 1, tried=now)


def _order(text: str) -> Order:
    match text:
        case "a" | "d" | "n":
            return text
        case _:
            raise ValueError(f"unknown order {text!r}")


# Parents and the revisit schedule


@dataclass(frozen=True, slots=True)
class Parent:
    """One parent of a fan-out stream, a message, with the times it carries.

    Attributes:
        id: the vendor's id.
        sent: the send, from which verifications count.
        newest: the latest of its times.
        oldest: the earliest of its times: no row of its lists is older.
        listed: whether the API's list of parents still shows it.
    """

    id: int
    sent: float | None = None
    newest: float | None = None
    oldest: float | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide what is due.

    Attributes:
        window: seconds after which a silent list is closed.
        sweep_days: days in which every closed list is read once.
        decaying: the revisit schedule; False reads every open list in every run.
        floor: parents whose times are all earlier are not read.
        ceiling: parents whose times are all later are not read, in a backfill.
        archived: rows of the lists vanish after 180 days.
        verified_only: read at first sight and at verifications alone.
    """

    window: float
    sweep_days: int
    decaying: bool = True
    floor: float = 0.0
    ceiling: float = float("inf")
    archived: bool = True
    verified_only: bool = False

    def covers(self, parent: Parent) -> bool:
        """Return whether a parent never read before is to be read at all."""
        late = parent.oldest is not None and parent.oldest >= self.ceiling
        early = parent.newest is not None and parent.newest < self.floor
        return not late and not early


@dataclass(frozen=True, slots=True)
class Visit:
    """One list to read in this run.

    Attributes:
        mark: what was known of it, None at first sight.
        everything: emit every row, not only those that are new.
        history: it was already closed when first seen.
    """

    parent: Parent
    mark: Mark | None
    everything: bool
    history: bool = False


def age(parent: Parent, mark: Mark | None, now: float) -> float:
    """Return the seconds since anything was last seen to happen to a list."""
    times = [parent.newest, mark.newest if mark else None]
    known = [moment for moment in times if moment is not None]
    return now - max(known) if known else 0.0


def share(parent_id: int) -> float:
    """Return a number in [0, 1) that is stable for an id and even over ids."""
    digest = hashlib.blake2b(str(parent_id).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def revisit_interval(seconds_of_age: float) -> float:
    """Return the longest time between two checks of an open list, in seconds."""
    if seconds_of_age < 7 * DAY:
        return 0.0
    return 1.0 * DAY if seconds_of_age < 30 * DAY else 7.0 * DAY


def verification_points(sent: float | None, now: float) -> int:
    """Return how many verifications of a list have come due since the send.

    At 3, 30 and 170 days, then every 60: each row is verified before it is 180
    days old. They count from the send and not from the age, which every new row
    sets back.
    """
    if sent is None:
        return 0
    days = (now - sent) / DAY
    last = 170
    return sum(days >= point for point in (3, 30, last)) + max(
        0, int((days - last) // 60)
    )


def verification_due(parent: Parent, mark: Mark, now: float) -> bool:
    """Return whether every row has to be emitted again."""
    return verification_points(parent.sent, now) > mark.verified


def due(parent: Parent, mark: Mark | None, now: float, policy: Policy) -> bool:
    """Return whether an open list has to be read in this run."""
    if mark is None:
        return True
    if mark.quarantined and mark.tried is not None:
        return not 0 <= now - mark.tried < 0.9 * DAY
    if not mark.settled or verification_due(parent, mark, now):
        return True
    if policy.verified_only or mark.checked is None:
        return False
    if not policy.decaying:
        return True
    # A check in the future is a clock that went back: look again.
    waited = now - mark.checked
    patience = 0.9 - 0.1 * share(parent.id)
    return waited < 0 or waited >= patience * revisit_interval(age(parent, mark, now))


def may_lose_rows(parent: Parent, now: float, policy: Policy) -> bool:
    """Return whether the archive may have taken rows of a list."""
    oldest = parent.oldest
    return policy.archived and (
        oldest is None or now - oldest > ARCHIVE_NEAR_DAYS * DAY
    )


def unread_since(parent: Parent, mark: Mark | None) -> float | None:
    """Return the instant from which rows of a list may be unread."""
    return mark.checked if mark and mark.checked is not None else parent.sent


@dataclass(slots=True)
class Plan:
    """What a stream reads in this run, in this order.

    Attributes:
        live: open lists, those that have just closed, failed ones and the sweep's.
        history: lists that were closed when first seen, newest first.
        waiting: open lists that are not due.
    """

    live: list[Visit] = field(default_factory=list)
    history: list[Visit] = field(default_factory=list)
    waiting: int = 0


def plan(
    parents: Iterable[Parent], state: StreamState, now: float, policy: Policy
) -> Plan:
    """Return what is due, in the order in which it is read.

    First what the archive is about to take, then what failed, then newest first;
    the sweep and the history come after the open lists.
    """
    result = Plan()
    sweeping = _sweep_buckets(state.swept, now, policy)
    swept: list[Visit] = []
    for parent in _with_unlisted(parents, state.marks):
        mark = state.marks.get(parent.id)
        if not mark and not policy.covers(parent):
            continue
        if age(parent, mark, now) <= policy.window:
            if due(parent, mark, now, policy):
                result.live.append(_visit(parent, mark, now))
            else:
                result.waiting += 1
        elif mark:
            # What has closed is read once more before its mark goes: something may
            # have come since its last check.
            if mark.settled or due(parent, mark, now, policy):
                result.live.append(_visit(parent, mark, now))
        elif state.history is None or history_key(parent) < state.history:
            result.history.append(Visit(parent, None, everything=True, history=True))
        elif int(share(parent.id) * policy.sweep_days) in sweeping:
            swept.append(Visit(parent, None, everything=True))
    result.live.sort(key=lambda visit: _urgency(visit, now, policy))
    result.live.extend(sorted(swept, key=_newest_first))
    result.history.sort(key=_newest_first)
    return result


def _with_unlisted(
    parents: Iterable[Parent], marks: Mapping[int, Mark]
) -> Iterator[Parent]:
    """Yield the parents, and those that only their marks remember.

    A list of parents that shrinks is no deletion: what is open is still read.
    """
    listed = set()
    for parent in parents:
        listed.add(parent.id)
        yield parent
    for parent_id in sorted(marks.keys() - listed):
        mark = marks[parent_id]
        seen = mark.newest if mark.newest is not None else mark.checked
        yield Parent(parent_id, sent=seen, newest=seen, listed=False)


def _visit(parent: Parent, mark: Mark | None, now: float) -> Visit:
    if mark is None or mark.checked is None:
        return Visit(parent, mark, everything=True)
    # After a check in the future, by a clock that was ahead, nothing would look new.
    everything = verification_due(parent, mark, now) or mark.checked > now
    return Visit(parent, mark, everything=everything)


def _urgency(visit: Visit, now: float, policy: Policy) -> tuple[int, float, int]:
    since = unread_since(visit.parent, visit.mark)
    if policy.archived and since is not None:
        days = (now - since) / DAY
        # Just past the limit there may still be rows on their last day.
        if ARCHIVE_FIRST_DAYS <= days <= ARCHIVE_DAYS + 5:
            return (0, since, visit.parent.id)
    failed = visit.mark is not None and visit.mark.failures > 0
    return (1 if failed else 2, *_newest_first(visit))


def _newest_first(visit: Visit) -> tuple[int, int]:
    newest, parent_id = history_key(visit.parent)
    return (-newest, -parent_id)


def history_key(parent: Parent) -> tuple[int, int]:
    """Return the place of a closed parent in the history, newest highest.

    In epoch ms and id: whole numbers, since some targets cannot store a fraction
    in a state.
    """
    return (round((parent.newest or 0.0) * 1000), parent.id)


def _sweep_buckets(swept: int | None, now: float, policy: Policy) -> Collection[int]:
    today = int(now // DAY)
    if swept is None or swept >= today:
        return ()
    first = max(swept + 1, today - policy.sweep_days + 1)
    return {day % policy.sweep_days for day in range(first, today + 1)}


# State


class StreamState:
    """One stream's part of the state: read into values once, written at commits.

    Raises:
        InvalidInput: an entry is damaged; the message names its key.
    """

    def __init__(self, name: str, entry: dict[str, Any]) -> None:
        self._name = name
        self._entry = entry
        packed = self._read("marks", _dict) or {}
        self.marks = {int(key): mark for key, mark in self._unpacked(packed)}
        self._history = self._read("history", _pair)
        self._gaps = self._read("gaps", _intervals) or []
        self._checked_through = self._read("checked_through", from_iso)
        self._swept = self._read("swept", _whole_number)
        self._backfill = self._read("backfill", _dict)
        self._digests = self._read("digests", _base64) or ""
        self._value = entry.get("replication_key_value")

    def _read(self, key: str, convert: Callable[[Any], Value]) -> Value | None:
        value = self._entry.get(key)
        if value is None:
            self._entry.pop(key, None)
            return None
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise damaged(f"bookmarks.{self._name}.{key}") from error

    def _unpacked(self, packed: dict[str, Any]) -> Iterator[tuple[str, Mark]]:
        for key, text in packed.items():
            try:
                yield str(int(key)), Mark.unpack(text)
            except (ValueError, TypeError, AttributeError) as error:
                raise damaged(f"bookmarks.{self._name}.marks.{key}") from error

    @property
    def history(self) -> tuple[int, int] | None:
        """Down to where closed parents are read: ms and id; None: no one."""
        return self._history

    @property
    def readable(self) -> bool:
        """Whether any list of the stream was ever read."""
        return self._entry.get("readable") is True

    @readable.setter
    def readable(self, value: bool) -> None:
        self._entry["readable"] = value

    @property
    def swept(self) -> int | None:
        """Day number of the last completed sweep."""
        return self._swept

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Intervals that the archive took unread, as far as the tap knows."""
        return list(self._gaps)

    @property
    def checked_through(self) -> float | None:
        """Instant up to which every open list was read, at the last run's end."""
        return self._checked_through

    @property
    def digests(self) -> str:
        """Digests of the rows of a list that is read whole in each run."""
        return self._digests

    def set_mark(self, parent_id: int, mark: Mark | None) -> None:
        """Store the mark of a list, or drop it."""
        packed = self._entry.setdefault("marks", {})
        if mark is None:
            self.marks.pop(parent_id, None)
            packed.pop(str(parent_id), None)
        else:
            packed[str(parent_id)] = text = mark.pack()
            self.marks[parent_id] = Mark.unpack(text)

    def set_history(self, key: tuple[int, int]) -> None:
        """Store down to where the history is read."""
        self._history = key
        self._entry["history"] = list(key)

    def set_swept(self, day: int) -> None:
        """Store the day of a completed sweep."""
        self._swept = day
        self._entry["swept"] = day

    def set_digests(self, digests: str) -> None:
        """Store the digests of a list."""
        self._digests = self._entry["digests"] = digests

    def set_checked_through(self, moment: float) -> None:
        """Store up to when every open list was read."""
        self._checked_through = moment
        self._entry["checked_through"] = iso(moment)

    def promote(self, key: str, value: int | None) -> None:
        """Move the bookmark up to the newest replication key emitted, never back."""
        self._entry["replication_key"] = key
        old = self._value if isinstance(self._value, int) else None
        known = [number for number in (old, value) if number is not None]
        if known:
            self._value = self._entry["replication_key_value"] = max(known)

    def acknowledge(self, gap: tuple[float, float]) -> None:
        """Remember an interval that may be gone; one that touches it, as one."""
        start, end = gap
        kept = []
        for old_start, old_end in self._gaps:
            if start <= old_end and end >= old_start:
                start, end = min(start, old_start), max(end, old_end)
            else:
                kept.append((old_start, old_end))
        self._gaps = sorted([*kept, (start, end)])
        self._entry["gaps"] = [[iso(start), iso(end)] for start, end in self._gaps]

    def knows(self, gap: tuple[float, float]) -> bool:
        """Return whether an interval was acknowledged before, to within a day."""
        return any(
            gap[0] >= start - DAY and gap[1] <= end + DAY for start, end in self._gaps
        )

    def begin_at(self, start: float | None) -> bool:
        """Take over the start of what is read; return whether it moved back.

        Then what was left out before is read as if for the first time.
        """
        old = self._read("start", _whole_number)
        new = 0 if start is None else int(start)
        self._entry["start"] = new
        moved = old is not None and new < old
        if moved:
            for key in ("marks", "history", "digests"):
                self._entry.pop(key, None)
            self.marks.clear()
            self._history = None
            self._digests = ""
        return moved

    def backfill(self, start: float, end: float) -> StreamState:
        """Return the state of a side backfill, kept apart from the live marks."""
        interval = [iso(start), iso(end)]
        if not self._backfill or self._backfill.get("interval") != interval:
            self._backfill = self._entry["backfill"] = {"interval": interval}
        return StreamState(f"{self._name}.backfill", self._backfill)


def checked_through(
    parents: Iterable[Parent],
    marks: Mapping[int, Mark],
    now: float,
    policy: Policy,
) -> float:
    """Return the oldest last complete check among open lists; now if none is open.

    Quarantined lists are left out (they are reported by id). One never read
    counts from its send if that is under 180 days ago.
    """
    oldest = now
    for parent in _with_unlisted(parents, marks):
        mark = marks.get(parent.id)
        if not mark and not policy.covers(parent):
            continue
        if age(parent, mark, now) > policy.window or (mark and mark.quarantined):
            continue
        if policy.verified_only and not due(parent, mark, now, policy):
            continue  # read as far as it is meant to be
        if mark and mark.checked is not None:
            oldest = min(oldest, mark.checked)
        elif parent.sent is not None and now - parent.sent < ARCHIVE_DAYS * DAY:
            oldest = min(oldest, parent.sent)
    return oldest


def headroom_days(through: float, now: float) -> float:
    """Return the days until the archive takes what was not read."""
    return ARCHIVE_DAYS - (now - through) / DAY


def archive_gap(through: float, now: float) -> tuple[float, float] | None:
    """Return the interval whose actions may be gone unread, or None."""
    limit = now - ARCHIVE_DAYS * DAY
    return (through, limit) if through < limit else None


def damaged(key: str) -> InvalidInput:
    """Return the error for a state entry that cannot be understood."""
    return InvalidInput(
        f"The state is damaged at {key}. Restore the last good state (for Meltano: "
        "'meltano state get' and 'meltano state set'), or remove that key to read "
        "its data again."
    )


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _whole_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def _pair(value: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever JSON holds
    first, second = value
    return _whole_number(first), _whole_number(second)


def _intervals(value: Any) -> list[tuple[float, float]]:  # noqa: ANN401 - likewise
    if not isinstance(value, list):
        raise TypeError("no list")
    return [(from_iso(start), from_iso(end)) for start, end in value]


def _base64(value: str) -> str:
    base64.b64decode(value, validate=True)
    return value


def validate_state(state: Mapping[str, Any], prefixes: Collection[str]) -> None:
    """Check that a state is this tap's and of a version that it understands.

    Raises:
        InvalidInput: it is not, with the key and what to do.
    """
    bookmarks = state.get("bookmarks", {})
    if not isinstance(bookmarks, dict):
        raise damaged("bookmarks")
    tap = bookmarks.get(TAP_KEY, {})
    if not isinstance(tap, dict):
        raise damaged(f"bookmarks.{TAP_KEY}")
    version = tap.get("version", STATE_VERSION)
    if not isinstance(version, int) or isinstance(version, bool):
        raise damaged(f"bookmarks.{TAP_KEY}.version")
    if version > STATE_VERSION:
        raise InvalidInput(
            f"The state was written by a newer tap-email-metrics (bookmarks.{TAP_KEY}"
            f".version is {version}, this one knows {STATE_VERSION}). Upgrade the "
            "tap, or start from an older state."
        )
    for name, entry in bookmarks.items():
        if name != TAP_KEY and not name.startswith(tuple(prefixes)):
            raise InvalidInput(
                f"The state is not this tap's: bookmarks.{name} is no stream of "
                "tap-email-metrics. Pass the state that this tap wrote, or none."
            )
        if not isinstance(entry, dict):
            raise damaged(f"bookmarks.{name}")
        if "partitions" in entry:
            raise damaged(f"bookmarks.{name}.partitions")
