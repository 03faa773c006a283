"""Marks of Constant Contact: how far a report of a campaign is read."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.encompass.schedule import (
    QUARANTINE_AFTER,
    Parent,
    Plan,
    Visit,
    history_key,
)
from tap_email_metrics.state.packing import (
    decode_number,
    decode_time,
    encode_number,
    encode_time,
)
from tap_email_metrics.state.streams import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tap_email_metrics.providers.encompass.schedule import Policy
    from tap_email_metrics.state.streams import StreamState

TRIES = 3
VERIFY_DAYS = 30


def short_id(campaign_id: str) -> str:
    """Return a campaign id as the state keeps it: a UUID in 22 characters."""
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
        ValueError: it is none.
    """
    if not key.startswith("~"):
        return key
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(key[1:] + "==")))


def _long_place(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no id")
    return long_id(value)


@dataclass(frozen=True, slots=True)
class CounterMark:
    """How far one report of one campaign is read.

    Attributes:
        counter: the campaign's counter whose rows are all read; None before the
            first time.
        newest: `created_time` of the newest row read, in epoch ms.
        tries: reads in a row that did not find the rows that the counter announced.
        checked: start of the last descent that was complete, in seconds.
        verified: start of the last read of all rows, in seconds.
        failures: runs in a row in which it could not be read.
        tried: start of the last of them.
    """

    counter: int | None = None
    newest: int | None = None
    tries: int = 0
    checked: float | None = None
    verified: float | None = None
    failures: int = 0
    tried: float | None = None

    def pack(self) -> str:
        """Return the mark as one short string."""
        parts = [
            "" if self.counter is None else encode_number(self.counter),
            "" if self.newest is None else encode_number(self.newest),
            encode_time(self.checked),
            encode_time(self.verified),
            encode_number(self.tries) if self.tries else "",
            encode_number(self.failures) if self.failures else "",
            encode_time(self.tried) if self.failures else "",
        ]
        return ".".join(parts).rstrip(".")

    @classmethod
    def unpack(cls, text: str) -> CounterMark:
        """Return the mark that `pack` wrote.

        Raises:
            ValueError: the text is no packed mark.
        """
        parts = (text.split(".") + [""] * 7)[: max(7, text.count(".") + 1)]
        try:
            counter, newest, checked, verified, tries, failures, tried = parts
            return cls(
                counter=decode_number(counter) if counter else None,
                newest=decode_number(newest) if newest else None,
                checked=decode_time(checked),
                verified=decode_time(verified),
                tries=decode_number(tries) if tries else 0,
                failures=decode_number(failures) if failures else 0,
                tried=decode_time(tried),
            )
        except KeyError as error:
            raise ValueError(f"unknown digit {error}") from error

    @property
    def quarantined(self) -> bool:
        """Whether it failed so often that it is tried once a day only."""
        return self.failures >= QUARANTINE_AFTER

    @property
    def unsettled(self) -> bool:
        """Whether announced rows were not found yet."""
        return self.tries > 0

    @property
    def settled(self) -> bool:
        """Whether nothing is owed."""
        return self.counter is not None and not self.tries and not self.failures

    def failed(self, now: float) -> CounterMark:
        """Return the mark after a try that failed."""
        return replace(self, failures=self.failures + 1, tried=now)

    def verification_due(self, now: float) -> bool:
        """Return whether every row has to be read again."""
        return self.verified is None or now - self.verified >= VERIFY_DAYS * DAY

    def due(self, counter: int | None, now: float) -> bool:
        """Return whether the report has to be read, its counter being what it is."""
        if self.quarantined and self.tried is not None:
            return not 0 <= now - self.tried < 0.9 * DAY
        return not self.settled or (counter is not None and counter != self.counter)

    def next_day(self, now: float) -> bool:
        """Return whether its last complete reading was on an earlier UTC day."""
        return self.checked is None or self.checked // DAY != now // DAY


KIND: Kind[str, CounterMark] = Kind(
    CounterMark.unpack, long_id, short_id, _long_place, short_id, ""
)
"""Of streams whose parents are campaigns."""


def plan(
    parents: Iterable[Parent[str]],
    state: StreamState[str, CounterMark],
    counter: Callable[[str], int | None],
    now: float,
    policy: Policy,
) -> Plan[str, CounterMark]:
    """Return what is due, in the order in which it is read.

    First what failed, then newest first; then what was never read, newest first, too:
    a first sync may be larger than a day, and is shared out.

    Args:
        parents: campaigns that were sent.
        state: of the stream.
        counter: what gates the stream, by campaign; None where it is not known.
        now: UTC seconds.
        policy: the window, and what is too old to be read.
    """
    result: Plan[str, CounterMark] = Plan()
    for parent in _with_unlisted(parents, state.marks):
        mark = state.marks.get(parent.id)
        is_open = now - (parent.newest or 0.0) <= policy.window
        if mark is not None:
            _plan_known(result, parent, mark, counter(parent.id), now, is_open=is_open)
        elif not policy.covers(parent):
            continue
        elif is_open:
            result.history.append(Visit(parent, None, everything=True))
        elif state.history is None or history_key(parent) < state.history:
            result.history.append(Visit(parent, None, everything=True, history=True))
    result.live.sort(key=_urgency)
    result.history.sort(key=_urgency)
    return result


def _plan_known(  # noqa: PLR0913 - a step of `plan`
    result: Plan[str, CounterMark],
    parent: Parent[str],
    mark: CounterMark,
    counter: int | None,
    now: float,
    *,
    is_open: bool,
) -> None:
    verify = is_open and mark.settled and mark.verification_due(now)
    if verify or mark.due(counter, now):
        # A closed campaign is read once more and then forgotten: completely.
        everything = verify or mark.counter is None or not is_open
        result.live.append(Visit(parent, mark, everything=everything))
    elif is_open:
        result.waiting += 1
    elif mark.settled:
        result.closed.append(parent.id)


def _with_unlisted(
    parents: Iterable[Parent[str]], marks: Mapping[str, CounterMark]
) -> Iterator[Parent[str]]:
    """Yield the parents, and those that only their marks remember."""
    listed = set()
    for parent in parents:
        listed.add(parent.id)
        yield parent
    for parent_id in sorted(marks.keys() - listed):
        mark = marks[parent_id]
        seen = mark.checked or 0.0
        yield Parent(parent_id, sent=seen, newest=seen, listed=False)


def _urgency(visit: Visit[str, CounterMark]) -> tuple[bool, float, str]:
    failed = visit.mark is not None and visit.mark.failures > 0
    return (not failed, -(visit.parent.newest or 0.0), visit.parent.id)


def checked_through(
    parents: Iterable[Parent[str]],
    marks: Mapping[str, CounterMark],
    counter: Callable[[str], int | None],
    now: float,
    policy: Policy,
) -> float:
    """Return the oldest instant up to which an open campaign was read.

    One whose counter did not move is read up to now; quarantined ones are left out.
    """
    oldest = now
    for parent in parents:
        newest = parent.newest or 0.0
        mark = marks.get(parent.id)
        if now - newest > policy.window or not policy.covers(parent):
            continue
        if mark is None:
            oldest = min(oldest, parent.sent or now)
        elif not mark.quarantined and mark.due(counter(parent.id), now):
            oldest = min(oldest, mark.checked or parent.sent or now)
    return oldest
