"""Constant Contact: the marks of campaign reports, and when reports are read again."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.state.marks import MarkFormat, Tries
from tap_email_metrics.state.packing import (
    decode_optional,
    decode_time,
    encode_optional,
    encode_time,
    join_parts,
    split_parts,
    whole_minute,
)
from tap_email_metrics.state.plans import (
    Parent,
    Plan,
    Policy,
    RevisitSchedule,
    Visit,
    history_key,
    in_turn,
    newest_first,
    with_unlisted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tap_email_metrics.state.streams import StreamState

CURSOR = "cursor"
"""State key of the instant after which a stream asks for changes."""
COUNTER_TRIES = 3
"""Reads in a row that look for rows that a counter announces but no list has."""
MISSING_DAYS = 2
"""The tap looks for such rows for at least this many days."""
MISSING_PAUSE = 0.25 * DAY
"""Seconds between two reads that look for such rows, after `COUNTER_TRIES`."""
FULL_READ_DAYS = 30
"""Days after which an open campaign's report is read in full again."""


def short_id(campaign_id: str) -> str:
    """Return a campaign id in the form of the state: 23 characters for a UUID."""
    if campaign_id.startswith("~"):
        return f"~{campaign_id}"
    try:
        packed = uuid.UUID(campaign_id)
    except ValueError:
        return campaign_id
    if str(packed) != campaign_id:
        return campaign_id
    return "~" + base64.urlsafe_b64encode(packed.bytes).decode().rstrip("=")


def long_id(key: str) -> str:
    """Return the campaign id that `short_id` shortened.

    Raises:
        ValueError: the key is not a shortened id.
    """
    if not key.startswith("~"):
        return key
    if key.startswith("~~"):
        return key[1:]
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(key[1:] + "==")))


def _long_place(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no id")
    return long_id(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterMark(Tries):
    """How far one report of one campaign was read.

    Attributes:
        counter: the campaign's counter at the last complete read; None before the
            first, and if it was not known.
        newest: `created_time` of the newest row read, in epoch ms.
        tries: reads in a row that found fewer rows than the counter announced.
        checked: start of the last complete read, in UTC seconds.
        verified: start of the last read of all rows, in UTC seconds.
        failures: runs in a row in which the report could not be read.
        tried: time of the last read, in UTC seconds, if it did not settle the report.
        missing_since: start of the first of `tries`, in UTC seconds.
        missing: rows that the counter announces and the last read of all rows did not
            show; they were looked for in vain.
    """

    counter: int | None = None
    newest: int | None = None
    tries: int = 0
    verified: float | None = None
    missing_since: float | None = None
    missing: int = 0

    def pack(self) -> str:
        """Return the mark as one short string."""
        return join_parts(
            encode_optional(self.counter),
            encode_optional(self.newest),
            encode_time(self.checked),
            encode_time(self.verified),
            encode_optional(self.tries or None),
            encode_optional(self.failures or None),
            encode_time(self.tried),
            encode_time(self.missing_since),
            encode_optional(self.missing or None),
        )

    @classmethod
    def unpack(cls, text: str) -> CounterMark:
        """Return the mark that `pack` wrote.

        Raises:
            ValueError: the text is not a packed mark.
        """
        parts = split_parts(text, 9)
        counter, newest, checked, verified, tries, failures, tried, *more = parts
        since, missing = more
        return cls(
            counter=decode_optional(counter),
            newest=decode_optional(newest),
            checked=decode_time(checked),
            verified=decode_time(verified),
            tries=decode_optional(tries) or 0,
            failures=decode_optional(failures) or 0,
            tried=decode_time(tried),
            missing_since=decode_time(since),
            missing=decode_optional(missing) or 0,
        )

    def in_whole_minutes(self) -> CounterMark:
        """Return the mark as `pack` keeps it: its times are cut to whole minutes."""
        return replace(
            self,
            checked=whole_minute(self.checked),
            verified=whole_minute(self.verified),
            tried=whole_minute(self.tried),
            missing_since=whole_minute(self.missing_since),
        )

    @property
    def last_seen(self) -> float | None:
        """Last known activity in UTC seconds, for a campaign that is not listed."""
        return self.checked

    @property
    def unsettled(self) -> bool:
        """Whether the last read found fewer rows than the counter announced."""
        return self.tries > 0

    @property
    def settled(self) -> bool:
        """Whether the report was read completely and the last try succeeded."""
        return (
            self.checked is not None
            and self.tried is None
            and not self.tries
            and not self.failures
        )

    def doubted(self, now: float) -> CounterMark | None:
        """Return the mark after a read that may lack rows; None after enough of them.

        Args:
            now: start of the read, in UTC seconds.
        """
        first = self.missing_since or now
        is_over = now - first >= MISSING_DAYS * DAY
        if self.tries >= COUNTER_TRIES and is_over:
            return None
        return replace(
            self,
            tries=self.tries + 1,
            missing_since=first,
            failures=0,
            tried=now,
        )

    def verification_due(self, now: float) -> bool:
        """Return whether every row has to be read again."""
        # A time in the future comes from a wrong clock.
        return (
            self.verified is None or not 0 <= now - self.verified < FULL_READ_DAYS * DAY
        )

    def due(self, counter: int | None, now: float, *, moved: bool = False) -> bool:
        """Return whether the report has to be read.

        Args:
            counter: the campaign's counter now, None if it is not known: the report is
                read once a day then.
            now: UTC seconds.
            moved: the campaign may have changed since the last run.
        """
        if self.quarantined and self.tried is not None:
            return not 0 <= now - self.tried < 0.9 * DAY
        if self.tries >= COUNTER_TRIES and self.tried is not None:
            return not 0 <= now - self.tried < 0.9 * MISSING_PAUSE
        if not self.settled:
            return True
        if counter is None:
            return moved or self.next_day(now)
        return counter != self.counter

    def next_day(self, now: float) -> bool:
        """Return whether the last complete read was on an earlier UTC day."""
        return self.checked is None or self.checked // DAY != now // DAY


BY_CAMPAIGN: MarkFormat[str, CounterMark] = MarkFormat(
    CounterMark(), CounterMark.unpack, long_id, short_id, _long_place, short_id, ""
)
"""Marks of streams whose parents are campaigns."""


def _never(_campaign_id: str) -> bool:
    return False


class CampaignSchedule(RevisitSchedule[str, CounterMark, Policy]):
    """Reads a report when its counter has changed, and in full once a month.

    Args:
        counter: returns the number that gates the report of a campaign, None if it is
            unknown.
        moved: returns whether a campaign may have changed since the last run.
        forgotten: returns whether a campaign is missing from the lists of campaigns for
            so long that it counts as removed.
        once_a_day: the report is read at most once a UTC day.
    """

    def __init__(
        self,
        counter: Callable[[str], int | None],
        moved: Callable[[str], bool] = _never,
        forgotten: Callable[[str], bool] = _never,
        *,
        once_a_day: bool = False,
    ) -> None:
        self._counter = counter
        self._moved = moved
        self._forgotten = forgotten
        self._once_a_day = once_a_day

    @override
    def plan(
        self,
        parents: Iterable[Parent[str]],
        state: StreamState[str, CounterMark],
        now: float,
        policy: Policy,
    ) -> Plan[str, CounterMark]:
        """Return the reports that are due, in reading order.

        The report that was read longest ago comes first, one that failed behind the
        others. The history has the campaigns that were never read: a first sync may
        take longer than a day, so they get a share of the run.
        """
        plan: Plan[str, CounterMark] = Plan()
        for parent in with_unlisted(parents, state.marks):
            mark = state.marks.get(parent.id)
            is_open = not _is_closed(parent, now, policy)
            if mark is not None and mark.settled and self._forgotten(parent.id):
                plan.closed.append(parent.id)
            elif mark is not None:
                self._plan_known(plan, parent, mark, now, policy)
            elif not policy.covers(parent):
                continue
            elif is_open:
                plan.history.append(Visit(parent, None, everything=True))
            elif state.history is None or history_key(parent) < state.history:
                plan.history.append(Visit(parent, None, everything=True, history=True))
        plan.live = in_turn(plan.live, now)
        plan.history = newest_first(plan.history)
        return plan

    def _plan_known(
        self,
        plan: Plan[str, CounterMark],
        parent: Parent[str],
        mark: CounterMark,
        now: float,
        policy: Policy,
    ) -> None:
        is_open = not _is_closed(parent, now, policy)
        # A campaign that has just closed is read once more.
        closes = not is_open and not _is_closed(parent, mark.verified or 0.0, policy)
        verify = closes or (is_open and mark.verification_due(now))
        if (verify and mark.settled) or self._is_due(parent, mark, now):
            if self._once_a_day and not mark.next_day(now):
                plan.waiting += 1
                return
            # A closed campaign is read in full once more before its mark is deleted.
            everything = verify or mark.counter is None or not is_open
            plan.live.append(Visit(parent, mark, everything=everything))
        elif is_open:
            plan.waiting += 1
        elif mark.settled:
            plan.closed.append(parent.id)

    def _is_due(self, parent: Parent[str], mark: CounterMark, now: float) -> bool:
        counter, moved = self._counter(parent.id), self._moved(parent.id)
        return mark.due(counter, now, moved=moved)

    @override
    def is_over(
        self, parent: Parent[str], mark: CounterMark, now: float, policy: Policy
    ) -> bool:
        return _is_closed(parent, now, policy)

    @override
    def checked_through(
        self,
        parents: Iterable[Parent[str]],
        marks: Mapping[str, CounterMark],
        now: float,
        policy: Policy,
    ) -> float:
        """Return the oldest instant up to which an open campaign was read.

        A report whose counter is known and did not move is read up to now. Reports in
        quarantine do not count: they are reported by id.
        """
        oldest = now
        for parent in parents:
            mark = marks.get(parent.id)
            if _is_closed(parent, now, policy) or not policy.covers(parent):
                continue
            if mark is None:
                oldest = min(oldest, parent.sent or now)
            elif not mark.quarantined and (
                not mark.settled
                or self._counter(parent.id) is None
                or self._is_due(parent, mark, now)
            ):
                oldest = min(oldest, mark.checked or parent.sent or now)
        return oldest


class ChangeSchedule(CampaignSchedule):
    """Reads the campaigns that changed since the last run; no campaign ever closes.

    Args:
        updated: epoch ms of the last change of each campaign that changed, None if it
            is not known.
    """

    def __init__(self, updated: Mapping[str, int | None]) -> None:
        super().__init__(updated.get)
        self._updated = updated

    @override
    def plan(
        self,
        parents: Iterable[Parent[str]],
        state: StreamState[str, CounterMark],
        now: float,
        policy: Policy,
    ) -> Plan[str, CounterMark]:
        plan: Plan[str, CounterMark] = Plan()
        for parent in parents:
            mark = state.marks.get(parent.id)
            visit = Visit(parent, mark, everything=True)
            # At an unknown time, the campaign may have changed since it was read.
            if mark and not mark.due(self._updated[parent.id], now, moved=True):
                plan.waiting += 1
            elif mark and mark.failures:
                plan.live.append(visit)
            else:
                # Thousands may change at once, so they get only a share of the run.
                plan.history.append(visit)
        self._plan_unlisted(plan, state, now)
        plan.history = newest_first(plan.history)
        return plan

    def _plan_unlisted(
        self,
        plan: Plan[str, CounterMark],
        state: StreamState[str, CounterMark],
        now: float,
    ) -> None:
        """Add the campaigns that have a mark but did not change."""
        for campaign_id in sorted(state.marks.keys() - self._updated.keys()):
            mark = state.marks[campaign_id]
            if mark.settled:
                plan.closed.append(campaign_id)
            elif mark.due(None, now):
                # A campaign that did not change is there, though it may answer 404
                # for once.
                parent = Parent(campaign_id, listed=not mark.quarantined)
                plan.live.append(Visit(parent, mark, everything=True))

    @override
    def is_over(
        self, parent: Parent[str], mark: CounterMark, now: float, policy: Policy
    ) -> bool:
        return parent.id not in self._updated


def _is_closed(parent: Parent[str], at: float, policy: Policy) -> bool:
    """Return whether the window of a campaign had passed at a time."""
    return parent.newest is not None and at - parent.newest > policy.window
