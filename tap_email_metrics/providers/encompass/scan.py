"""Reads a whole Encompass list, page by page, and notes its ids and totals.

Neither the order of a list nor its `total` can be relied on: rows arrive and are
archived between two pages. `reading.py` decides what a scan proves.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import partial
from operator import lt
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import EARLIEST
from tap_email_metrics.errors import Denied, Skippable, Throttled, TimedOut
from tap_email_metrics.providers.encompass.client import (
    MAX_RESULTS,
    MIN_RESULTS,
    MOST_ROWS,
)
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence

    from tap_email_metrics.providers.encompass.client import ListPage
    from tap_email_metrics.providers.encompass.schedule import Order
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.run.workers import FanOut, Prefetch

_EARLIEST = EARLIEST * 1000
_SPARE_PAGES = 20
_MOST_ADJACENT = 2
"""Most rows side by side that are left out. If the next one fails as well, the cause is
not a single row."""
_MOST_UNREAD = 10
"""Most rows of a list that are left out; each takes some 20 requests."""
_TRIES_OF_A_PART = 2
MOST_PAGES = 20_000
"""Most pages of one list. The largest known send has 171 pages, or 17,000 if a slow
server limits them to ten rows each."""


@dataclass(slots=True)
class ListScan:
    """The rows that one read of a whole list has seen.

    Attributes:
        ids: ids in order of arrival, including repetitions.
        keyless: number of rows without an integer id.
        newest: the latest `dateAdded`, in epoch ms.
        after: epoch ms of the minute in which the read began, None if unknown.
        ahead: ids of the rows dated after that.
        totals: the totals of the first and the last page, None for a bare array.
        cut: the read was stopped before the end of the list.
        shifted: rows moved between two pages.
        unread: number of rows that no request can read.
    """

    ids: array[int] = field(default_factory=lambda: array("q"))
    keyless: int = 0
    newest: int | None = None
    after: int | None = None
    ahead: set[int] = field(default_factory=set)
    totals: tuple[int | None, int | None] = (None, None)
    cut: bool = False
    shifted: bool = False
    unread: int = 0

    @property
    def rows(self) -> int:
        """Number of distinct rows with an id: only they can be told apart later."""
        return len(set(self.ids))

    @property
    def served(self) -> int:
        """Number of distinct rows, where each row without an id counts as one."""
        return self.rows + self.keyless

    @property
    def whole(self) -> bool:
        """Whether no row can be missing: each known total equals the number of rows."""
        if self.cut or self.shifted or self.unread:
            return False
        return {*self.totals} - {None} <= {self.served}

    @property
    def order(self) -> Order:
        """Order of the ids; "n" for fewer than two, or if a row has no known id."""
        if len(self.ids) < 2 or self.keyless or self.unread:  # noqa: PLR2004
            return "n"
        if ascending(self.ids):
            return "a"
        return "d" if ascending(reversed(self.ids)) else "n"

    @property
    def total(self) -> int | None:
        """The larger of the two totals, None for a bare array."""
        return max((total for total in self.totals if total is not None), default=None)

    def same_as(self, other: ListScan) -> bool:
        """Return whether two complete reads saw the same ids and the same totals."""
        return (
            not self.cut
            and not other.cut
            and self.totals == other.totals
            and set(self.ids) == set(other.ids)
            and self.keyless == other.keyless
            and self.unread == other.unread
        )

    def completes(self, other: ListScan) -> bool:
        """Return whether two reads with a single total together saw every row.

        This happens if the order differs from request to request.
        """
        seen = len({*self.ids, *other.ids}) + max(self.keyless, other.keyless)
        return {*self.totals, *other.totals} == {seen}


def ascending(ids: Iterable[int | None]) -> bool:
    """Return whether there are no missing ids and each is above the one before."""
    known = list(ids)
    return None not in known and all(map(lt, known, known[1:]))  # type: ignore[arg-type]


def may_be_one_row(error: Skippable) -> bool:
    """Return whether a page may fail because of one of its rows.

    After a timeout, fewer rows were asked for before. A refusal concerns every page.
    """
    return not isinstance(error, Denied) and not isinstance(
        error.__cause__, TimedOut | Throttled
    )


class Pages:
    """The pages of one list, by the index of their first row.

    Args:
        fetch: returns the page at an index.
        fan_out: its idle workers prefetch pages; None for no prefetching.
        around: fetches what can be read of a page that failed; None if such a page
            fails the list.
    """

    def __init__(
        self,
        fetch: Callable[[int], ListPage],
        fan_out: FanOut[Any, Any, Any] | None = None,
        around: AroundRows | None = None,
    ) -> None:
        self._fetch = fetch
        self._fan_out = fan_out
        self._around = around
        self._early: dict[int, Prefetch[ListPage]] = {}

    def __call__(self, start: int) -> ListPage:
        """Return the page at an index, which must be higher than in the last call."""
        self.drop(start)
        if self._around is None:
            return self._page(start)
        if self._around.reads(start):
            return self._around(start)
        try:
            return self._page(start)
        except Skippable as error:
            self.drop()
            return self._around(start, error)

    def _page(self, start: int) -> ListPage:
        early = self._early.pop(start, None)
        if early is None or self._fan_out is None:
            return self._fetch(start)
        return self._fan_out.receive(early)

    def ahead(self, starts: range) -> None:
        """Prefetch the pages at the first of these indices.

        Call it only for pages that are certainly needed: each prefetch is a request.
        """
        if self._fan_out is None or self._fan_out.workers == 1:
            return
        for start in starts[: 2 * self._fan_out.workers]:
            if start not in self._early:
                call = partial(self._fetch, start)
                self._early[start] = self._fan_out.ahead(call)

    def drop(self, start: int | None = None) -> None:
        """Discard prefetched pages before an index; all of them for None."""
        for at in [at for at in self._early if start is None or at < start]:
            early = self._early.pop(at)
            if self._fan_out is not None:
                self._fan_out.drop(early)


class AroundRows:
    """Fetches the pages of a list, without the rows that make each page fail.

    After a page failed, its first row is fetched alone, then half of the others, and so
    on down to a single row. If that fails as well, but a row after it can be read, the
    row is left out. This takes about 20 requests for a row in a page of 1,000, and
    three if no row can be read.

    If a page failed although each of its rows can be read, the next pages have half as
    many rows.

    Args:
        fetch: returns a page, given the index of its first row, the number of rows to
            ask for, and the number of tries.
        is_due_to_row: returns whether a page may fail because of one of its rows.

    Attributes:
        error: the last error of a row that was left out.
    """

    def __init__(
        self,
        fetch: Callable[[int, int, int], ListPage],
        is_due_to_row: Callable[[Skippable], bool] = may_be_one_row,
    ) -> None:
        self._fetch = fetch
        self._is_due_to_row = is_due_to_row
        self._most = MAX_RESULTS
        self._failing = 0  # up to this index, a page fails
        self._is_unexplained = False  # no row was left out since a page failed
        self._left_out = 0
        self.error: Skippable | None = None

    def reads(self, start: int) -> bool:
        """Return whether to ask this object for the page at an index."""
        return start < self._failing or self._most < MAX_RESULTS

    def __call__(self, start: int, error: Skippable | None = None) -> ListPage:
        """Return the page at an index, or at the next one that can be read.

        Args:
            start: the index.
            error: why a page of the usual size failed there, None if none was asked
                for.

        Raises:
            Skippable: the page fails, and the cause is not a single row.
        """
        if error is None and start < self._failing:
            return self._part(start, max(1, (self._failing - start) // 2))
        if error is None:
            try:
                return replace(self._fetch(start, self._most, TRIES), shrunk=True)
            except Skippable as found:
                error = found
        if self._is_unexplained:
            self._most //= 2
        if not self._is_due_to_row(error) or self._most < MIN_RESULTS:
            raise error
        self._is_unexplained = True
        self._failing = start + self._most
        return self._part(start, 1, error)

    def _part(self, start: int, size: int, error: Skippable | None = None) -> ListPage:
        """Return a part of the page that fails at an index.

        Args:
            start: the index.
            size: number of rows to ask for at first.
            error: why the page failed; None if a part of it was read before.
        """
        tries = 1 if error else _TRIES_OF_A_PART
        skipped = 0
        while True:
            try:
                page = self._fetch(start + skipped, size, tries)
            except Skippable as found:
                error = error or found
                most = min(_MOST_ADJACENT, _MOST_UNREAD - self._left_out)
                if not self._is_due_to_row(found) or skipped >= most:
                    raise error from None
                if size > 1:
                    self._failing = start + size
                    size //= 2
                    continue
                skipped += 1
                self.error = found
            else:
                if skipped:
                    self._left_out += skipped
                    self._is_unexplained = False
                    self._failing = start + skipped
                return replace(page, shrunk=True, skipped=skipped)


def scan(
    fetch: Pages,
    keep: Callable[[Page], Page],
    *,
    shrinking: bool,
    seen: ListScan | None = None,
) -> Generator[Page, None, ListScan]:
    """Read a list from index 0 to its end; yield the rows to keep, page by page.

    The next page starts after the rows received, because a server may send fewer rows
    than asked for. An empty page below the total is not the end: its rows may be
    archived, and the next page starts one page size further. The list ends at the
    largest total seen, unless the page there is full: the total may be too low.

    A read also ends, as cut, at a page that a server shows again and again.

    Args:
        fetch: returns the page at a start index.
        keep: returns the rows to emit of the rows of a page.
        shrinking: rows may be archived during the read, or may have been archived
            while the total still counts them. If one row goes while another comes, the
            total stays the same. Therefore each page begins with the last row of the
            page before; if it does not, the list has shifted. After a page without any
            new row, the next one starts a whole page further.
        seen: filled while the list is read; it is also returned.

    Raises:
        Skippable: the list does not end.
    """
    seen = seen or ListScan()
    start = largest = ceiling = pages = 0
    known: set[int] = set()
    last: int | None = None
    former: list[int | None] = []
    # A total need not count the rows that no request can read.
    while not pages or start < largest + seen.unread:
        if pages and start >= ceiling:
            seen.cut = True
            break
        if pages >= MOST_PAGES or len(seen.ids) > MOST_ROWS:
            raise Skippable(f"a list of more than {pages} pages: it does not end")
        page = fetch(start)
        pages += 1
        seen.unread += page.skipped
        seen.totals = (page.total if pages == 1 else seen.totals[0], page.total)
        if _is_stuck(page, former, seen):
            seen.cut = True
            break
        former = ids_of(page)
        largest = max(largest, page.total or 0)
        ceiling = ceiling or _ceiling(page)
        served = len(page.rows)
        step = page.skipped + (served or page.size)
        page = _after(page, last, seen)
        bare = page.total is None
        before = len(known)
        place = len(seen.ids)
        rows = _note(page, seen, keep, known if bare else ())
        if shrinking or bare:
            known.update(seen.ids[-len(page.rows) :] if page.rows else ())
        last = None
        if bare:
            # A bare array has no total: it ends where nothing new comes. Another page
            # of the list may have one, though.
            largest = max(largest, start + step + (len(known) > before))
            ceiling = max(ceiling, largest + 1)
        elif shrinking and served and (start + step < largest or page.full):
            largest = max(largest, start + step)
            step, last = _overlap(page, seen, step, fresh=len(known) > before)
        start += step
        if page.full and not bare and not shrinking:
            if not page.shrunk:
                fetch.ahead(range(start, min(largest, ceiling), step))
            largest = max(largest, start + (not _repeats(page, seen, place)))
        yield rows
    fetch.drop()
    return seen


def _is_stuck(page: ListPage, former: Sequence[int | None], seen: ListScan) -> bool:
    """Return whether a full page below the total is the one before again.

    A server that ignores the start never shows the rows that follow. If instead a page
    of rows was inserted before it, the next read shows them.

    Args:
        page: the page, as it was received.
        former: the ids of the page before.
        seen: the rows up to the end of the page before.
    """
    ids = ids_of(page)
    if not page.full or len(ids) < 2 or None in ids:  # noqa: PLR2004 - a single row
        return False
    return ids == former and len(seen.ids) < (page.total or 0)


def _repeats(page: ListPage, seen: ListScan, place: int) -> bool:
    """Return whether a page beyond the total is the first one or the last again.

    A server that ignores the start always answers with the same page.

    Args:
        page: the page, as it was received.
        seen: the rows up to the end of the page.
        place: number of ids that were seen before the page.
    """
    new = seen.ids[place:]
    if place < (page.total or 0) or len(new) != len(page.rows):
        return False
    return new in (seen.ids[: len(new)], seen.ids[place - len(new) : place])


def _overlap(
    page: ListPage, seen: ListScan, step: int, *, fresh: bool
) -> tuple[int, int | None]:
    """Return the step to the next page, and the id that it has to begin with."""
    if not page.rows:
        # The page had the overlap only, so nothing connects it to the next page.
        seen.shifted = True
        return step, None
    if not fresh:
        return page.size, None
    last = ids_of(page)[-1]
    # A page of one row cannot overlap with the next and move on as well.
    if last is None or step == 1:
        seen.shifted = True
        return step, None
    return step - 1, last


def _ceiling(first: ListPage) -> int:
    """Return the index at which a read ends, even if the total keeps growing."""
    total = first.total or 0
    return total + max(total, _SPARE_PAGES * (len(first.rows) or first.size))


def _after(page: ListPage, last: int | None, seen: ListScan) -> ListPage:
    """Return a page without its first row, which must be the last row seen.

    Args:
        page: the page, as it was received.
        last: id of the last row seen, None if the page does not overlap.
        seen: notes a shift.
    """
    if last is None:
        return page
    if ids_of(page)[:1] == [last]:
        return replace(page, rows=page.rows[1:])
    seen.shifted = True
    return page


def _note(
    page: ListPage, seen: ListScan, keep: Callable[[Page], Page], known: Collection[int]
) -> Page:
    ids = ids_of(page)
    numbers = [row_id for row_id in ids if row_id is not None]
    seen.ids.extend(numbers)
    seen.keyless += len(ids) - len(numbers)
    here = latest_date(page.rows)
    if here is not None:
        seen.newest = here if seen.newest is None else max(here, seen.newest)
        if seen.after is not None and here > seen.after:
            seen.ahead |= dated_after(page.rows, seen.after)
    if not known:
        return keep(page.rows)
    return keep(page.rows.where([row_id not in known for row_id in ids]))


def ids_of(page: ListPage) -> list[int | None]:
    """Return the id of each row, None where it is not an integer."""
    return page.rows.integers("id")


def every_row(rows: Page) -> Page:
    """Return all rows, for a read that keeps every row."""
    return rows


def dates_of(rows: Page) -> list[int | None]:
    """Return each `dateAdded` in epoch ms, None where it is unset or in seconds."""
    times = rows.integers("dateAdded")
    return [ms if ms is not None and ms >= _EARLIEST else None for ms in times]


def dated_after(rows: Page, moment: int) -> set[int]:
    """Return the ids of the rows with a `dateAdded` after an instant in epoch ms.

    A row without an id has no record, and is not among the rows that were read.
    """
    pairs = zip(rows.integers("id"), dates_of(rows), strict=True)
    return {
        row_id
        for row_id, added in pairs
        if row_id is not None and added is not None and added > moment
    }


def latest_date(rows: Page) -> int | None:
    """Return the latest `dateAdded` of rows in epoch ms, None if there is none."""
    return max([ms for ms in dates_of(rows) if ms is not None], default=None)
