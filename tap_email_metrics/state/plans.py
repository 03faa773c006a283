"""Parents, and the plan of which of their lists one run reads.

Pure functions and values. All times are UTC seconds since the epoch, and the current
time is an argument.
"""

from __future__ import annotations

import abc
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from tap_email_metrics.clock import DAY
from tap_email_metrics.state.marks import Id, SomeMark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.state.marks import AnyMark
    from tap_email_metrics.state.streams import StreamState


PATIENCE = 2 * DAY
"""Seconds for which an unsettled list waits behind the other lists. Then it takes its
normal turn, so that lists that are due in every run cannot keep it waiting."""


@dataclass(frozen=True, slots=True)
class Parent(Generic[Id]):
    """One parent of a fan-out stream, such as a message, with the times it carries.

    Attributes:
        id: the vendor's id.
        sent: the send, from which verifications count.
        newest: the latest of its times.
        oldest: the earliest of its times: no row of its lists is older.
        listed: whether the parent is still in the API's list of parents.
    """

    id: Id
    sent: float | None = None
    newest: float | None = None
    oldest: float | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide which lists are due.

    Attributes:
        window: seconds without activity after which a list is closed.
        floor: parents whose times are all earlier are not read.
        ceiling: parents whose times are all later are not read; for backfills.
    """

    window: float
    floor: float = 0.0
    ceiling: float = float("inf")

    def covers(self, parent: Parent[Id]) -> bool:
        """Return whether a parent that was never read has to be read at all."""
        late = parent.oldest is not None and parent.oldest >= self.ceiling
        early = parent.newest is not None and parent.newest < self.floor
        return not late and not early


@dataclass(frozen=True, slots=True)
class Visit(Generic[Id, SomeMark]):
    """One list to read in this run.

    Attributes:
        parent: the list belongs to it.
        mark: what earlier runs know of the list, None at first sight.
        everything: emit every row, not only the new ones.
        history: the list was already closed when it was first seen.
        sweep: number of the day whose sweep reads the closed list, None otherwise.
    """

    parent: Parent[Id]
    mark: SomeMark | None
    everything: bool
    history: bool = False
    sweep: int | None = None


@dataclass(slots=True)
class Plan(Generic[Id, SomeMark]):
    """The lists that a stream reads in this run, in reading order.

    Attributes:
        live: open lists that are due, lists that have just closed, and failed lists.
        swept: closed lists whose turn has come, by day of the sweep, each day newest
            first.
        history: lists that were closed when they were first seen, newest first.
        closed: parents that are closed and fully read: their marks can be deleted.
        waiting: number of open lists that are not due.
    """

    live: list[Visit[Id, SomeMark]] = field(default_factory=list)
    swept: list[Visit[Id, SomeMark]] = field(default_factory=list)
    history: list[Visit[Id, SomeMark]] = field(default_factory=list)
    closed: list[Id] = field(default_factory=list)
    waiting: int = 0


SomePolicy = TypeVar("SomePolicy", bound=Policy)


class RevisitSchedule(abc.ABC, Generic[Id, SomeMark, SomePolicy]):
    """Decides when the lists of a stream are read again, and when they are closed."""

    @abc.abstractmethod
    def plan(
        self,
        parents: Iterable[Parent[Id]],
        state: StreamState[Id, SomeMark],
        now: float,
        policy: SomePolicy,
    ) -> Plan[Id, SomeMark]:
        """Return the lists that are due, in reading order."""

    @abc.abstractmethod
    def is_over(
        self, parent: Parent[Id], mark: SomeMark, now: float, policy: SomePolicy
    ) -> bool:
        """Return whether a list that was just read is closed.

        The mark of a closed list is deleted once the list is settled.
        """

    @abc.abstractmethod
    def checked_through(
        self,
        parents: Iterable[Parent[Id]],
        marks: Mapping[Id, SomeMark],
        now: float,
        policy: SomePolicy,
    ) -> float:
        """Return the instant up to which every open list was read."""


def history_key(parent: Parent[Id]) -> tuple[int, Id]:
    """Return the position of a closed parent in the history; the newest is highest.

    The position is epoch milliseconds and id: whole numbers, because some targets
    cannot store a fraction in a state.
    """
    return (round((parent.newest or 0.0) * 1000), parent.id)


def newest_first(
    visits: Iterable[Visit[Id, SomeMark]],
) -> list[Visit[Id, SomeMark]]:
    """Return visits in the order of the history: each key is below the one before.

    A run that stops here continues below the last key. Equal times must therefore not
    put a higher id after a lower one.
    """
    return sorted(visits, key=lambda visit: history_key(visit.parent), reverse=True)


def in_turn(
    visits: Iterable[Visit[Id, SomeMark]], now: float
) -> list[Visit[Id, SomeMark]]:
    """Return visits in the order in which every list gets its turn.

    The list that was read longest ago comes first, and a list that was never read
    before all others; among equals the newest. Lists that failed or did not settle
    wait behind the others, for `PATIENCE` at most.
    """
    return sorted(newest_first(visits), key=lambda visit: _turn(visit.mark, now))


def _turn(mark: AnyMark | None, now: float) -> tuple[bool, float]:
    if mark is None:
        return False, 0.0
    tried = mark.tried
    waits = tried is not None and 0 <= now - tried < PATIENCE
    return waits, max(tried or 0.0, mark.checked or 0.0)


class InOrder(Generic[Id, SomeMark]):
    """Finds how many visits are done from the beginning of the plan without a gap.

    Lists are done out of order. The state may only advance past a list if no list
    before it is left.

    Args:
        visits: the visits in the order of the plan.
    """

    def __init__(self, visits: Iterable[Visit[Id, SomeMark]]) -> None:
        self._left: deque[Visit[Id, SomeMark]] = deque(visits)
        self._done: set[Id] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every visit is done."""
        return not self._left

    def after(self, visit: Visit[Id, SomeMark]) -> Visit[Id, SomeMark] | None:
        """Note that a visit is done; return the last one without a gap before it.

        Returns None if there is no new one.
        """
        self._done.add(visit.parent.id)
        last = None
        while self._left and self._left[0].parent.id in self._done:
            last = self._left.popleft()
            self._done.remove(last.parent.id)
        return last


def spread(
    visits: Sequence[Visit[Id, SomeMark]], count: int
) -> list[Visit[Id, SomeMark]]:
    """Return a number of visits, evenly spread over the ages of their parents."""
    by_age = newest_first(visits)
    if len(by_age) <= count:
        return by_age
    return [by_age[place * (len(by_age) - 1) // (count - 1)] for place in range(count)]


def with_unlisted(
    parents: Iterable[Parent[Id]], marks: Mapping[Id, SomeMark]
) -> Iterator[Parent[Id]]:
    """Yield the parents, then the parents that only their marks remember.

    A parent that is missing from the API's list may still exist, so it is read as long
    as it is open.
    """
    listed = set()
    for parent in parents:
        listed.add(parent.id)
        yield parent
    for parent_id in sorted(marks.keys() - listed):
        seen = marks[parent_id].last_seen
        yield Parent(parent_id, sent=seen, newest=seen, listed=False)
