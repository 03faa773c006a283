"""How a report of a campaign is read: newest first, down to what is known.

Tracking rows have no id and no order but their times, lists lag behind the counters
that announce their rows, and a link to the next page hides an offset: `EventList`
and `EventReader` trust none of it without a check.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY
from tap_email_metrics.codec import to_milliseconds
from tap_email_metrics.digests import Tally
from tap_email_metrics.providers.constant_contact.client import Trail
from tap_email_metrics.providers.constant_contact.marks import TRIES, CounterMark

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tap_email_metrics.bookmarks import Visit
    from tap_email_metrics.providers.constant_contact.client import Page, Row

logger = logging.getLogger("tap-email-metrics")

RESTARTS = 3
"""How often a list that shifts while it is read is read again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a tracking list.

    Attributes:
        row: as the vendor gives it.
        occurrence: how many rows equal in identity came before it in its list.
        at: `created_time` in epoch ms, None where it is unreadable.
    """

    row: Row
    occurrence: int
    at: int | None


class EventList:
    """One tracking list of one activity, newest first; read as far as is asked.

    Args:
        fetch: returns the page behind a link, the first for None.
        identity: what tells a row apart, but for its occurrence.
        since: epoch ms; rows later than that are counted as new.
        once: the field of which the campaign's counter counts each value once; None: it
            counts the rows.

    Attributes:
        found: rows read.
        new: those of them later than `since`.
        newest: the latest time of a row read, in epoch ms.
        shifting: it moved in all tries: rows may be missing.
    """

    def __init__(
        self,
        fetch: Callable[[str | None], Page],
        identity: Callable[[object], tuple[object, ...]],
        since: int | None,
        once: str | None = None,
    ) -> None:
        self._fetch = fetch
        self._identity = identity
        self._since = since
        self._once = once
        self._restarts = 0
        self.shifting = False
        self._begin()

    def _begin(self) -> None:
        self.found = self.new = 0
        self.newest: int | None = None
        self._held: list[Event] = []
        # Hashes: a list may have a million rows. 250,000 take 4 MB (a Counter: 20).
        self._counts = Tally()
        self._values: set[int] = set()
        self._href: str | None = None
        self._trail = Trail()
        self._last: tuple[str | None, list[int]] | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether it was read to its end."""
        return self._ended

    @property
    def distinct(self) -> int | None:
        """Values that the counter counts once; None where it counts the rows."""
        return None if self._once is None else len(self._values)

    def down_to(self, cut: int | None) -> Generator[list[Event], None, None]:
        """Yield the events that were not yielded yet, down to a row before the cut.

        Where the list has to be read again they are yielded again.

        Args:
            cut: epoch ms; None: to the end of the list.
        """
        while True:
            if ready := self._ready(cut):
                yield ready
            if self._ended or self._held:
                return
            self._advance()

    def _ready(self, cut: int | None) -> list[Event]:
        """Return what is held, down to the first row strictly before the cut."""
        end = len(self._held)
        if cut is not None:
            times = enumerate(event.at for event in self._held)
            old = (n for n, at in times if at is not None and at < cut)
            end = next(old, end)
        ready, self._held = self._held[:end], self._held[end:]
        return ready

    def _advance(self) -> None:
        """Read one more page; begin anew if the list shifted under it."""
        href = self._href
        page = self._fetch(href)
        names = [hash(self._identity(row)) for row in page.rows]
        repeated = any(name in self._counts for name in names)
        if repeated and not self.shifting and not self._stands_still():
            self._restarts += 1
            self.shifting = self._restarts >= RESTARTS
            self._begin()
            return
        # In a list that never stands still they are most likely the same rows.
        earlier = {n for n in names if self.shifting and n in self._counts}
        for row, name in zip(page.rows, names, strict=True):
            if name not in earlier:
                self._add(row, name)
        self._last = (href, names)
        self._href = self._trail.follow(page)
        self._ended = self._href is None

    def _add(self, row: Row, name: int) -> None:
        at = to_milliseconds(row.get("created_time"))
        self._held.append(Event(row, self._counts.add(name), at))
        self.found += 1
        if self._once is not None:
            # A hash again; of the text, as it may be anything.
            self._values.add(hash(str(row.get(self._once))))
        if at is not None:
            self.new += self._since is not None and at > self._since
            self.newest = at if self.newest is None else max(self.newest, at)

    def _stands_still(self) -> bool:
        """Return whether the page before this one is still what it was.

        Only then are rows that equal its rows genuine: nothing has shifted.
        """
        if self._last is None:
            return False
        href, names = self._last
        again = [hash(self._identity(row)) for row in self._fetch(href).rows]
        return again == names


class EventReader:
    """Reads one report of one campaign, in all its activities.

    Args:
        name: of the stream, for messages.
        lists: one for each activity, not read yet.
        counter: what the campaign's counter was before; None: unknown.
        lookback_days: days before the newest row known that are read again.
        now: start of the reading, in UTC seconds.
    """

    def __init__(
        self,
        name: str,
        lists: Sequence[EventList],
        counter: int | None,
        lookback_days: float,
        now: float,
    ) -> None:
        self._name = name
        self._lists = lists
        self._counter = counter
        self._lookback = round(lookback_days * DAY * 1000)
        self._now = now

    def read(
        self, visit: Visit[str, CounterMark]
    ) -> Generator[list[Event], None, CounterMark]:
        """Yield events; return the mark that covers them."""
        mark = visit.mark or CounterMark()
        whole = True
        if not visit.everything and mark.counter is not None:
            cut = None if mark.newest is None else mark.newest - self._lookback
            yield from self._down_to(cut)
            whole = cut is None or self._misses(mark)
        if whole:
            yield from self._down_to(None)
        return self._mark(visit, mark, whole=whole)

    @property
    def rows(self) -> int | None:
        """Rows of all lists; None where one was not read to its end."""
        if not all(events.ended for events in self._lists):
            return None
        return sum(events.found for events in self._lists)

    @property
    def distinct(self) -> int | None:
        """What the counter counts of all lists, where that is not the rows."""
        found = [n for events in self._lists if (n := events.distinct) is not None]
        return sum(found) if found else None

    def _down_to(self, cut: int | None) -> Generator[list[Event], None, None]:
        for events in self._lists:
            yield from events.down_to(cut)

    def _misses(self, mark: CounterMark) -> bool:
        """Return whether fewer rows are new than the counter announces."""
        if mark.newest is None or mark.counter is None or self._counter is None:
            return True
        new = sum(events.new for events in self._lists)
        return new < self._counter - mark.counter

    def _mark(
        self, visit: Visit[str, CounterMark], mark: CounterMark, *, whole: bool
    ) -> CounterMark:
        found = sum(events.found for events in self._lists)
        shifting = any(events.shifting for events in self._lists)
        missing = whole and found < (self._counter or 0)
        if missing or shifting:
            if mark.tries < TRIES:
                return replace(mark, tries=mark.tries + 1, failures=0, tried=None)
            logger.warning(
                "%s: campaign %s counts %d, but its lists show %d rows after %d tries",
                self._name,
                visit.parent.id,
                self._counter or 0,
                found,
                TRIES,
            )
        times = [mark.newest, *(events.newest for events in self._lists)]
        counter = mark.counter if self._counter is None else self._counter
        return CounterMark(
            counter=counter or 0,
            newest=max((at for at in times if at is not None), default=None),
            checked=self._now,
            verified=self._now if whole else mark.verified,
        )
