"""Reads a report of a campaign: newest first, down to the rows of earlier runs.

Tracking rows have no ids. Lists lag behind the counters that announce their rows. The
link to the next page is an offset, so rows may shift between two pages. `EventList` and
`EventReader` handle all of this.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import NotUnderstood
from tap_email_metrics.providers.constant_contact.client import NoWayOn, Trail
from tap_email_metrics.providers.constant_contact.schedule import (
    CounterMark,
)
from tap_email_metrics.streams.digests import HashCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from tap_email_metrics.providers.constant_contact.client import LinkedPage
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.state.plans import Visit

logger = logging.getLogger("tap-email-metrics")

MOST_RESTARTS = 3
"""Times that a list is read again because it has shifted."""


class EventList:
    """One tracking list of one activity, newest first, read only as far as needed.

    Args:
        fetch: returns the page of a link, the first page for None.
        since: epoch ms of the newest known row; later rows count as new.
        once: the field whose distinct values the campaign's counter counts; None if it
            counts rows.
        has_twins: two rows of the list may be equal. In other lists, equal rows mean
            that the list has shifted, and the rows of all tries count together.

    Attributes:
        found: number of rows read.
        new: number of yielded rows later than `since`.
        newest: the latest time of a row, in epoch ms.
        misunderstood: number of rows without a record, or with a doubtful event id.
        shifting: the list shifted in every try, so that rows may be missing.
        is_listed: the last answer had a list.
        in_order: the pages read so far are newest first.
    """

    def __init__(
        self,
        fetch: Callable[[str | None], LinkedPage[Page]],
        since: int | None,
        once: str | None = None,
        *,
        has_twins: bool = True,
    ) -> None:
        self._fetch = fetch
        self._since = None if since is None else _latest(since)
        self._once = once
        self.has_twins = has_twins
        self._restarts = 0
        self.shifting = False
        self.is_listed = self.in_order = True
        self._values: set[int] = set()
        self._ever = HashCounts()
        self._begin()

    def _begin(self) -> None:
        self.new = self.misunderstood = 0
        if self.has_twins or not self._restarts:
            self.found = 0
            self._values.clear()
        self.newest: int | None = None
        self._held: Page | None = None
        # Hashes save memory: 250,000 rows take 4 MB, in a Counter 20 MB.
        self._counts = HashCounts()
        self._pages: set[int] = set()
        self._trail = Trail()
        self._page: LinkedPage[Page] | None = None
        self._last: tuple[str | None, list[int]] | None = None

    @property
    def ended(self) -> bool:
        """Whether the list was read to its end."""
        return self._page is not None and self._page.is_last

    @property
    def distinct(self) -> int | None:
        """Number of distinct values of `once`; None if the counter counts rows."""
        return None if self._once is None else len(self._values)

    def down_to(self, cut: int | None) -> Generator[Page, None, None]:
        """Yield the events that were not yielded yet, down to those before a time.

        The list ends with the first page whose last event is before that time. If the
        list has to be read again, its events are yielded again.

        Args:
            cut: the time in epoch ms; None for the whole list.

        Raises:
            NoWayOn: the list says that more events follow, but not where.
            Skippable: the list cannot be read.
        """
        while True:
            if self._held:
                end = _place_of(cut, self._held)
                ready, self._held = self._held[:end], self._held[end:]
                if ready:
                    self._count_new(ready)
                    yield ready
            if self.ended or self._held:
                return
            self._advance()

    def _advance(self) -> None:
        """Read one more page; start over if the list has shifted."""
        href = self._trail.follow(self._page) if self._page else None
        page = self._fetch(href)
        self.is_listed = page.is_listed
        names = [*map(hash, page.rows.identities)]
        if not self.shifting and self._has_shifted(names):
            self._restarts += 1
            self.shifting = self._restarts >= MOST_RESTARTS
            self._begin()
            return
        # In a list that keeps shifting, equal rows are most likely the same row.
        new = [not (self.shifting and name in self._counts) for name in names]
        equals = [
            self._counts.add(n) for n, here in zip(names, new, strict=True) if here
        ]
        self._hold(page.rows.where(new).numbered(equals))
        if not self.has_twins:
            self.found += sum(not self._ever.add(name) for name in names)
        self._last = (href, names)
        self._pages.add(hash((*names,)))
        self._page = page

    def _hold(self, rows: Page) -> None:
        self._held = rows
        self.misunderstood += rows.misunderstood
        if self.has_twins:
            self.found += len(rows)
        if self._once is not None:
            # The hash of the text, because the value may have any type.
            values = (one for one in rows.values(self._once) if one is not None)
            self._values.update(hash(str(one)) for one in values)
        times = [at for at in rows.times if at is not None]
        self.in_order &= all(one >= two for one, two in pairwise(times))
        known = [] if self.newest is None else [self.newest]
        self.newest = max([*known, *times], default=None)

    def _count_new(self, rows: Page) -> None:
        # A row that is not yielded must not count as found.
        if self._since is not None:
            self.new += sum(at > self._since for at in rows.times if at is not None)

    def _has_shifted(self, names: Sequence[int]) -> bool:
        """Return whether rows come again because the list has shifted.

        Raises:
            NotUnderstood: a whole page comes again, though the list has not shifted.
        """
        if self._is_repeated(names):
            if self._stands_still():
                raise NotUnderstood(
                    "Constant Contact: the link to the next page leads to a page that "
                    "was read before"
                )
            return True
        is_again = any(name in self._counts for name in names)
        if self.has_twins:
            return is_again and not self._stands_still()
        return is_again or len({*names}) < len(names)

    def _is_repeated(self, names: Sequence[int]) -> bool:
        """Return whether a page equals an earlier one.

        Pages of nothing but twins of one row may be equal.
        """
        return len({*names}) > 1 and hash((*names,)) in self._pages

    def _stands_still(self) -> bool:
        """Return whether the previous page has not changed.

        If so, the list has not shifted, and rows that equal earlier ones are new rows.
        """
        if self._last is None:
            return False
        href, names = self._last
        return [*map(hash, self._fetch(href).rows.identities)] == names


def doubt_strays(
    rows: Page, parent: str, parent_id: str, needed: Iterable[str]
) -> None:
    """Count the ids of events that lack a time or another needed field as doubtful.

    So are those of events that belong to another list than the one asked for.

    Args:
        rows: events with the fields of `parent` and `needed`.
        parent: the vendor's field of the activity or contact that has the list.
        parent_id: its id in the request.
        needed: the vendor's fields that every event has.
    """
    owners = rows.values(parent)
    others = zip(*map(rows.values, needed), strict=True)
    rows.doubt(
        [
            owner != parent_id or at is None or None in values
            for owner, at, values in zip(owners, rows.times, others, strict=True)
        ]
    )


def _latest(at: int) -> int:
    """Return the latest instant that a time may stand for, both in epoch ms.

    A time without seconds, or without their fraction, may have been cut. Shown whole
    in the next run, the same row would be later than itself.
    """
    unit = next((unit for unit in (60_000, 1000) if at % unit == 0), 1)
    return at + unit - 1


def _place_of(cut: int | None, rows: Page) -> int:
    """Return the index behind the last row that is not before a time.

    Rows that are out of order may follow an older one.
    """
    end = len(rows)
    if cut is None:
        return end
    times = rows.times
    while end and (at := times[end - 1]) is not None and at < cut:
        end -= 1
    return end


class EventReader:
    """Reads one report of one campaign, for all its activities.

    Args:
        name: name of the stream, for messages.
        lists: one unread list per activity.
        counter: the campaign's counter before the read, None if it is unknown.
        lookback_days: days before the newest known row that are read again.
        now: start of the read, in UTC seconds.
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
    ) -> Generator[Page, None, CounterMark]:
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
        """Rows of all lists; None if a list was not read to its end."""
        if not all(events.ended for events in self._lists):
            return None
        return sum(events.found for events in self._lists)

    @property
    def distinct(self) -> int | None:
        """Distinct values that the counter counts; None if it counts rows."""
        found = [n for events in self._lists if (n := events.distinct) is not None]
        return sum(found) if found else None

    def _down_to(self, cut: int | None) -> Generator[Page, None, None]:
        for events in self._lists:
            try:
                yield from events.down_to(cut)
            except NoWayOn:
                if not self._has_all:
                    raise

    @property
    def _has_all(self) -> bool:
        """Whether as many rows were read as the counter announces."""
        counts_rows = self.distinct is None and self._counter is not None
        return counts_rows and self._found >= (self._counter or 0)

    def _misses(self, mark: CounterMark) -> bool:
        """Return whether new rows may be missing, as far as order and counter tell."""
        if not all(events.in_order for events in self._lists):
            return True
        if mark.newest is None or mark.counter is None or self._counter is None:
            return True
        new = sum(events.new for events in self._lists)
        return new < self._counter - mark.counter

    @property
    def unresolved(self) -> bool:
        """Whether a list shifted in every try, so that rows may be missing."""
        shifting = [events for events in self._lists if events.shifting]
        if any(events.has_twins for events in shifting):
            return True
        return bool(shifting) and self._found < (self._counter or float("inf"))

    @property
    def _found(self) -> int:
        """The number to compare with the counter: rows or contacts."""
        contacts = self.distinct
        rows = sum(events.found for events in self._lists)
        return rows if contacts is None else contacts

    def _expected(self, mark: CounterMark) -> int:
        """Return how many rows, or contacts, the lists should show at least.

        An unknown counter is not 0: the last known counter replaces it. Without one, a
        report that had rows before should have one at least.
        """
        for counter in (self._counter, mark.counter):
            if counter is not None:
                return counter
        return int(mark.newest is not None)

    def _mark(
        self, visit: Visit[str, CounterMark], mark: CounterMark, *, whole: bool
    ) -> CounterMark:
        counter, found = self._counter, self._found
        expected = self._expected(mark)
        missing = max(0, expected - found) if whole else mark.missing
        is_known = missing == mark.missing and counter in {None, mark.counter}
        # Nothing else says whether a list that is absent would be empty, and an event
        # that is not understood has another id once it is.
        absent = counter is None and not all(one.is_listed for one in self._lists)
        unclear = absent or any(one.misunderstood for one in self._lists)
        if self.unresolved or unclear or (whole and missing and not is_known):
            doubted = mark.doubted(self._now)
            if doubted:
                return doubted
            if not unclear:
                logger.warning(
                    "%s: campaign %s counts %d, but its lists show %d after %d tries",
                    self._name,
                    visit.parent.id,
                    expected,
                    found,
                    mark.tries + 1,
                )
        times = [mark.newest, *(events.newest for events in self._lists)]
        return CounterMark(
            counter=counter,
            newest=max((at for at in times if at is not None), default=None),
            checked=self._now,
            verified=self._now if whole else mark.verified,
            missing=missing,
        )
