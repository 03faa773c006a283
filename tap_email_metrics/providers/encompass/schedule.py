"""Marks and schedules: what was read, and what is due again.

Pure functions and values; the time is an argument, in UTC seconds since the
epoch. How they are kept from run to run is in `state.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal, Protocol, Self

from typing_extensions import TypeVar

from tap_email_metrics.clock import DAY
from tap_email_metrics.state.packing import (
    decode_number,
    decode_time,
    encode_number,
    encode_time,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from tap_email_metrics.state.streams import StreamState

ARCHIVE_DAYS = 180
"""Encompass archives actions older than this."""
ARCHIVE_NEAR_DAYS = 175
"""From this age on a list may lose rows: it is read whole whenever it is due."""
ARCHIVE_FIRST_DAYS = 150
"""From this age on what is unread is read before anything else."""
QUARANTINE_AFTER = 5
"""Failed runs after which a parent is tried once a day only."""

Order = Literal["a", "d", "n"]
"""Ids of a list as the last whole read saw them: ascending, descending, neither."""


# Marks


class AnyMark(Protocol):
    """What shared code asks of a provider's marks."""

    @property
    def checked(self) -> float | None:
        """Start of the last complete check, None before the first."""

    @property
    def failures(self) -> int:
        """Runs in a row in which the list could not be read."""

    @property
    def quarantined(self) -> bool:
        """Whether it failed so often that it is tried once a day only."""

    @property
    def unsettled(self) -> bool:
        """Whether the last read did not find all there is."""

    @property
    def settled(self) -> bool:
        """Whether nothing is owed."""

    def failed(self, now: float) -> Self:
        """Return the mark after a try that failed."""

    def pack(self) -> str:
        """Return the mark as one short string."""


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
            encode_number(self.rows),
            "" if self.last_id is None else encode_number(self.last_id),
            encode_time(self.newest),
            encode_time(self.checked),
            self.order + encode_number(self.verified) + "!" * self.unsettled,
            "" if self.total is None else encode_number(self.total),
            encode_number(self.failures) if self.failures else "",
            encode_time(self.tried) if self.failures else "",
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
                rows=decode_number(rows),
                last_id=decode_number(last) if last else None,
                newest=decode_time(newest),
                checked=decode_time(checked),
                order=_order(flags[:1]),
                verified=decode_number(flags[1:].rstrip("!")),
                unsettled=flags.endswith("!"),
                total=decode_number(total) if total else None,
                failures=decode_number(failures) if failures else 0,
                tried=decode_time(tried),
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


Id = TypeVar("Id", int, str, default=int)
"""Of a parent: Encompass numbers its messages, Constant Contact names campaigns."""
SomeMark = TypeVar("SomeMark", bound=AnyMark, default=Mark)


# Parents and the revisit schedule


@dataclass(frozen=True, slots=True)
class Parent(Generic[Id]):
    """One parent of a fan-out stream, a message say, with the times it carries.

    Attributes:
        id: the vendor's id.
        sent: the send, from which verifications count.
        newest: the latest of its times.
        oldest: the earliest of its times: no row of its lists is older.
        listed: whether the API's list of parents still shows it.
    """

    id: Id
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

    def covers(self, parent: Parent[Id]) -> bool:
        """Return whether a parent never read before is to be read at all."""
        late = parent.oldest is not None and parent.oldest >= self.ceiling
        early = parent.newest is not None and parent.newest < self.floor
        return not late and not early


@dataclass(frozen=True, slots=True)
class Visit(Generic[Id, SomeMark]):
    """One list to read in this run.

    Attributes:
        mark: what was known of it, None at first sight.
        everything: emit every row, not only those that are new.
        history: it was already closed when first seen.
    """

    parent: Parent[Id]
    mark: SomeMark | None
    everything: bool
    history: bool = False


def age(parent: Parent, mark: Mark | None, now: float) -> float:
    """Return the seconds since anything was last seen to happen to a list."""
    times = [parent.newest, mark.newest if mark else None]
    known = [moment for moment in times if moment is not None]
    return now - max(known) if known else 0.0


def share(parent_id: object) -> float:
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
class Plan(Generic[Id, SomeMark]):
    """What a stream reads in this run, in this order.

    Attributes:
        live: open lists, those that have just closed, failed ones and the sweep's.
        history: lists that were closed when first seen, newest first.
        closed: parents whose marks may go: closed, and known to owe nothing.
        waiting: open lists that are not due.
    """

    live: list[Visit[Id, SomeMark]] = field(default_factory=list)
    history: list[Visit[Id, SomeMark]] = field(default_factory=list)
    closed: list[Id] = field(default_factory=list)
    waiting: int = 0


def plan(
    parents: Iterable[Parent], state: StreamState, now: float, policy: Policy
) -> Plan:
    """Return what is due, in the order in which it is read.

    First what the archive is about to take, then what failed, then newest first;
    the sweep and the history come after the open lists.
    """
    result: Plan = Plan()
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


def history_key(parent: Parent[Id]) -> tuple[int, Id]:
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
