"""Reads an Encompass list: the whole list, or only the rows since the last read.

The reader relies neither on the order of a list nor on a stable `total`: rows come and
are archived between two pages. See `ListReader`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Skippable
from tap_email_metrics.providers.encompass.client import MAX_RESULTS, MOST_ROWS
from tap_email_metrics.providers.encompass.schedule import (
    Mark,
    may_lose_rows,
    verification_points,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.state.marks import is_cut
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable

    from tap_email_metrics.providers.encompass.client import (
        Answer,
        EncompassClient,
        ListPage,
    )
    from tap_email_metrics.providers.encompass.schedule import Order
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.run.workers import FanOut, Prefetch
    from tap_email_metrics.state.plans import Policy, Visit

_HEAD = 50  # rows asked for at the head of a descending list
_SPARE_PAGES = 20
_MOST_PAGES = 20_000
"""Most pages of one list. The largest known send has 171 pages, or 17,000 if a slow
server limits them to ten rows each."""
_MANY = 2 * MAX_RESULTS


@dataclass(slots=True)
class ListScan:
    """The rows that one read of a whole list has seen.

    Attributes:
        ids: ids in order of arrival, including repetitions.
        keyless: number of rows without an integer id.
        newest: the latest `dateAdded`, in epoch ms.
        totals: the totals of the first and the last page; None for a bare array.
        cut: the read was stopped before the end of the list.
        shifted: rows moved between two pages.
    """

    ids: array[int] = field(default_factory=lambda: array("q"))
    keyless: int = 0
    newest: int | None = None
    totals: tuple[int | None, int | None] = (None, None)
    cut: bool = False
    shifted: bool = False

    @property
    def rows(self) -> int:
        """Number of distinct rows."""
        return len(set(self.ids)) + self.keyless

    @property
    def whole(self) -> bool:
        """Whether no row can be missing: each known total equals the number of rows."""
        if self.cut or self.shifted:
            return False
        return {*self.totals} - {None} <= {self.rows}

    @property
    def order(self) -> Order:
        """Order of the ids; "n" for a list of fewer than two rows."""
        if len(self.ids) < 2 or self.keyless:  # noqa: PLR2004
            return "n"
        if ascending(self.ids):
            return "a"
        return "d" if ascending(reversed(self.ids)) else "n"

    @property
    def total(self) -> int | None:
        """The larger of the totals, which may differ behind the last row."""
        return max((total for total in self.totals if total is not None), default=None)

    def same_as(self, other: ListScan) -> bool:
        """Return whether two complete reads saw the same ids and the same totals."""
        return (
            not self.cut
            and not other.cut
            and self.totals == other.totals
            and set(self.ids) == set(other.ids)
            and self.keyless == other.keyless
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
    return None not in known and all(one < two for one, two in pairwise(known))  # type: ignore[operator]


class Pages:
    """The pages of one list, by the index of their first row.

    Args:
        fetch: returns the page at an index.
        fan_out: its idle workers prefetch pages; None for no prefetching.
    """

    def __init__(
        self,
        fetch: Callable[[int], ListPage],
        fan_out: FanOut[Any, Any, Any] | None = None,
    ) -> None:
        self._fetch = fetch
        self._fan_out = fan_out
        self._early: dict[int, Prefetch[ListPage]] = {}

    def __call__(self, start: int) -> ListPage:
        """Return the page at an index, which must be higher than in the last call."""
        self.drop(start)
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
    while not pages or start < largest:
        if pages and start >= ceiling:
            seen.cut = True
            break
        if pages >= _MOST_PAGES or len(seen.ids) > MOST_ROWS:
            raise Skippable(f"{pages} pages of a list, and no end of it")
        page = fetch(start)
        pages += 1
        seen.totals = (page.total if pages == 1 else seen.totals[0], page.total)
        largest = max(largest, page.total or 0)
        ceiling = ceiling or _ceiling(page)
        served = len(page.rows)
        step = served or page.size
        if last is not None:
            page = _after(page, last, seen)
        bare = page.total is None
        before = len(known)
        rows = _note(page, seen, keep, known if bare else ())
        if shrinking or bare:
            known.update(seen.ids[-len(page.rows) :] if page.rows else ())
        last = None
        if bare:
            # A bare array has no total: it ends where nothing new comes.
            largest = start + step + (len(known) > before)
            ceiling = largest + 1
        elif shrinking and served and start + step < largest:
            step, last = _overlap(page, seen, step, fresh=len(known) > before)
        start += step
        if page.full and not bare and not shrinking:
            fetch.ahead(range(start, min(largest, ceiling), step))
            largest = max(largest, start + 1)
        yield rows
    fetch.drop()
    return seen


def _overlap(
    page: ListPage, seen: ListScan, step: int, *, fresh: bool
) -> tuple[int, int | None]:
    """Return the step to the next page, and the id with which that has to start."""
    if not page.rows:
        # Only the overlap was in it, so nothing joins it to the next page.
        seen.shifted = True
        return step, None
    if not fresh:
        return page.size, None
    last = _ids(page)[-1]
    # A page of one row cannot overlap with the next and move on as well.
    if last is None or step == 1:
        seen.shifted = True
        return step, None
    return step - 1, last


def _ceiling(first: ListPage) -> int:
    """Return the index at which a read is given up: its total runs ahead of it."""
    total = first.total or 0
    return total + max(total, _SPARE_PAGES * (len(first.rows) or first.size))


def _after(page: ListPage, last: int, seen: ListScan) -> ListPage:
    """Return a page without its first row, which has to be the last one seen."""
    if _ids(page)[:1] == [last]:
        return replace(page, rows=page.rows[1:])
    seen.shifted = True
    return page


def _note(
    page: ListPage, seen: ListScan, keep: Callable[[Page], Page], known: Collection[int]
) -> Page:
    ids = _ids(page)
    numbers = [row_id for row_id in ids if row_id is not None]
    seen.ids.extend(numbers)
    seen.keyless += len(ids) - len(numbers)
    here = _added(page.rows)
    if here is not None:
        seen.newest = here if seen.newest is None else max(here, seen.newest)
    if not known:
        return keep(page.rows)
    return keep(page.rows.where([row_id not in known for row_id in ids]))


class ListReader:
    """Reads one list of one message: only its new rows if possible, else all of it.

    A probe is a request for the rows after the last known one. Its result counts only
    if the ids were strictly ascending (or descending) in the last whole read, and if
    the known and the new rows add up to the total. Otherwise the whole list is read.

    Args:
        client: sends the requests.
        template: path of the list.
        policy: says whether rows of the list are archived.
        lookback_days: days before the last check whose rows are emitted again.
        dated: rows carry `dateAdded` and never change; otherwise a whole read emits
            every row.
        now: returns the time of the API's clock.
        parse: returns the rows of a response body.
        fan_out: its idle workers prefetch pages; None for no prefetching.
    """

    def __init__(  # noqa: PLR0913 - facts of one list
        self,
        client: EncompassClient,
        template: str,
        policy: Policy,
        lookback_days: int,
        now: Callable[[], float],
        *,
        dated: bool,
        parse: Callable[[bytes], Answer],
        fan_out: FanOut[Any, Any, Any] | None = None,
    ) -> None:
        self._client = client
        self._template = template
        self._parse = parse
        self._policy = policy
        self._lookback = lookback_days * DAY
        self._now = now
        self._dated = dated
        self._fan_out = fan_out
        self._answered = False
        self._seen: ListScan | None = None
        self._complementary = False
        self._prefix: _Prefix | None = None
        self._part: Mark | None = None

    @property
    def part(self) -> Mark | None:
        """The mark that covers the rows yielded so far; None if there is none.

        The next run goes on behind them if this one ends before the list does. That is
        sound only in an ascending list that loses no rows, and if every row is emitted.
        """
        return self._prefix.mark() if self._prefix else self._part

    def read(self, visit: Visit[int, Mark]) -> Generator[Page, None, Mark]:
        """Yield the rows to emit, and return the mark that covers them.

        Raises:
            Skippable: the list cannot be read.
        """
        now = self._now()
        mark = visit.mark
        if mark and self._trusted(visit, mark, now):
            probe = self._ascending if mark.order == "a" else self._descending
            found = yield from probe(visit, mark, now)
            if found:
                return found
        return (yield from self._whole(visit, now))

    def count(self, visit: Visit[int, Mark], mark: Mark) -> Count:
        """Return the count of the list after `read`.

        Args:
            visit: the visit that `read` got.
            mark: the mark that `read` returned.
        """
        total = mark.rows if mark.total is None else mark.total
        old = visit.mark
        known = Count(
            parent=str(visit.parent.id),
            rows=mark.rows,
            api_rows=total,
            verified=True,
            noted=old is not None and old.settled and old.shortfall == mark.shortfall,
        )
        if self._seen is None:
            return known  # a probe counts only if the numbers add up
        first, last = self._seen.totals
        if last is None:
            return replace(known, rows=self._seen.rows, api_rows=None)
        archived = may_lose_rows(visit.parent, self._now(), self._policy)
        if mark.settled:
            if self._complementary:
                return replace(known, rows=total)
            return replace(known, archived=archived)
        moved = first != last or self._seen.cut or self._seen.shifted
        return replace(
            known, rows=self._seen.rows, api_rows=last, moved=moved, noted=False
        )

    def _trusted(self, visit: Visit[int, Mark], mark: Mark, now: float) -> bool:
        if (
            mark.order == "n"
            or mark.rows == 0
            or mark.unsettled
            or may_lose_rows(visit.parent, now, self._policy)
        ):
            return False
        if mark.checked is None:
            return mark.total is None  # the first part of a first read
        if mark.total is not None and mark.order == "d":
            return False  # a row that shows again does not move the head of the list
        return (mark.settled or is_cut(mark)) and not visit.everything

    def _page(
        self, visit: Visit[int, Mark], start: int, size: int = MAX_RESULTS
    ) -> ListPage:
        # A list that failed in the last run gets one try, so that a lasting fault is
        # cheap. After its first response it gets as many tries as any other list.
        failed = visit.mark is not None and visit.mark.failures > 0
        page = self._client.page(
            self._template,
            (visit.parent.id,),
            start,
            size=size,
            tries=1 if failed and not self._answered else TRIES,
            parse=self._parse,
        )
        self._answered = True
        return page

    def _ascending(
        self, visit: Visit[int, Mark], mark: Mark, now: float
    ) -> Generator[Page, None, Mark | None]:
        start = mark.rows - 1
        last = mark.last_id
        found = 0
        newest = mark.newest
        pages = Pages(partial(self._page, visit), self._fan_out)
        for _ in range(_MOST_PAGES):
            page = pages(start)
            ids = _ids(page)
            if start == mark.rows - 1:
                if ids[:1] != [last]:
                    return None
                page, ids = replace(page, rows=page.rows[1:]), ids[1:]
                start += 1
            if page.total is None or not ascending([last, *ids]):
                pages.drop()
                return None
            found += len(ids)
            last = ids[-1] if ids else last
            newest = _newest(newest, _added(page.rows), now)
            start += len(page.rows)
            if page.full:
                pages.ahead(range(start, page.total, page.size))
            reached = replace(
                mark, rows=mark.rows + found, last_id=last, newest=newest, tried=now
            )
            self._part = reached if found and mark.total is None else None
            if page.rows:
                yield page.rows
            if not page.rows or start >= page.total - mark.shortfall:
                break
        self._part = None
        return _grown(reached, mark, page.total, now)

    def _descending(
        self, visit: Visit[int, Mark], mark: Mark, now: float
    ) -> Generator[Page, None, Mark | None]:
        new: list[Page] = []
        ids: list[int | None] = []
        found = 0
        while len(ids) <= found:
            page = self._page(visit, len(ids), MAX_RESULTS if ids else _HEAD)
            ids += _ids(page)
            new.append(page.rows)
            if page.total is None or not page.rows or not ascending(reversed(ids)):
                return None
            found = page.total - mark.shortfall - mark.rows
            if found > _MANY:
                return None  # too many rows to hold in memory until the proof
        if found < 0 or ids[found] != mark.last_id:
            return None
        newest, left = mark.newest, found
        for rows in new:
            if left > 0:
                wanted, left = rows[:left], left - len(rows)
                yield wanted
                newest = _newest(newest, _added(wanted), now)
        reached = replace(mark, rows=mark.rows + found, last_id=ids[0], newest=newest)
        return _grown(reached, mark, page.total, now)

    def _whole(
        self, visit: Visit[int, Mark], now: float
    ) -> Generator[Page, None, Mark]:
        everything = visit.everything or not self._dated
        known = visit.mark.rows if visit.mark else 0
        archived = may_lose_rows(visit.parent, now, self._policy)
        # What a read has emitted that the end of a run cut short is not known.
        everything = everything or bool(visit.mark and is_cut(visit.mark))
        keep = self._news(visit, everything=everything)
        seen = ListScan()
        if everything and not archived:
            self._prefix = _Prefix(visit, seen, now)
        first = yield from self._scan(visit, keep, seen)
        self._prefix = None
        if not everything and first.rows - known > keep.new:
            # The list has new rows with a date before the last check.
            everything = True
            keep = _News(None, None)
            first = yield from self._scan(visit, keep, ListScan())
        mark = self._settled(visit, first, now, everything=everything)
        if first.whole:
            # A list that is empty once is read again before that is believed.
            doubted = not archived and _is_emptied(visit.mark, mark)
            return _unsettled(visit.mark, first, now) if doubted else mark
        if not archived and _is_unchanged(visit.mark, mark, first):
            return mark
        # Rows that the first read missed may have old dates: emit every row.
        second = yield from self._scan(visit, _News(None, None), ListScan())
        # Without an archive, two reads in different orders may add up to the total.
        self._complementary = not archived and second.completes(first)
        # The total may count rows that no read shows, such as archived ones.
        if second.whole or self._complementary or second.same_as(first):
            return self._settled(visit, second, now, everything=everything)
        return _unsettled(visit.mark, second, now)

    def _news(self, visit: Visit[int, Mark], *, everything: bool) -> _News:
        checked = visit.mark.checked if visit.mark else None
        if everything or checked is None:
            return _News(None, None)
        since = int((checked - self._lookback) * 1000)
        return _News(since, int(checked * 1000))

    def _scan(
        self, visit: Visit[int, Mark], keep: _News, seen: ListScan
    ) -> Generator[Page, None, ListScan]:
        fetch = Pages(partial(self._page, visit), self._fan_out)
        shrinking = may_lose_rows(visit.parent, self._now(), self._policy)
        self._seen = yield from scan(fetch, keep, shrinking=shrinking, seen=seen)
        return self._seen

    def _settled(
        self, visit: Visit[int, Mark], seen: ListScan, now: float, *, everything: bool
    ) -> Mark:
        old = visit.mark or Mark()
        points = verification_points(visit.parent.sent, now)
        total = seen.total
        rows = seen.rows
        last = (
            (seen.ids[0] if seen.order == "d" else seen.ids[-1]) if seen.ids else None
        )
        return Mark(
            rows=rows,
            last_id=last,
            newest=_newest(old.newest, seen.newest, now),
            checked=now,
            order=seen.order if total is not None else "n",
            verified=points if everything else min(old.verified, points),
            total=None if total is None or total == rows else total,
        )


class _Prefix:
    """The rows that a whole read has seen so far, while their ids ascend.

    Args:
        visit: the visit that reads the list.
        seen: grows while the list is read.
        now: start of the read.
    """

    def __init__(self, visit: Visit[int, Mark], seen: ListScan, now: float) -> None:
        self._visit = visit
        self._seen = seen
        self._now = now
        self._rows = 0
        self._ascends = True

    def mark(self) -> Mark | None:
        """Return the mark that covers these rows; None if they are no prefix."""
        seen, old = self._seen, self._visit.mark or Mark()
        new = seen.ids[max(0, self._rows - 1) :]
        self._ascends = self._ascends and not seen.keyless and ascending(new)
        self._rows = len(seen.ids)
        total = seen.totals[1]
        if not self._ascends or not new or total is None or self._rows >= total:
            return None
        return Mark(
            rows=self._rows,
            last_id=seen.ids[-1],
            newest=_newest(old.newest, seen.newest, self._now),
            checked=old.checked,
            order="a",
            verified=verification_points(self._visit.parent.sent, self._now),
            failures=old.failures,
            tried=self._now,
        )


def _grown(reached: Mark, old: Mark, total: int | None, now: float) -> Mark | None:
    """Return the mark of a list with new rows at its end; None if one is missing.

    A known shortfall stays as it was: any other is looked into by a whole read.
    """
    if reached.rows + old.shortfall != total:
        return None
    return replace(
        reached,
        checked=now,
        total=total if old.shortfall else None,
        failures=0,
        tried=None,
    )


def _unsettled(mark: Mark | None, seen: ListScan, now: float) -> Mark:
    """Return the mark after a read that does not add up; it keeps what was known."""
    old = mark or Mark()
    return replace(
        old,
        unsettled=True,
        newest=_newest(old.newest, seen.newest, now),
        failures=0,
        tried=now,
    )


def _is_emptied(old: Mark | None, new: Mark) -> bool:
    """Return whether a list with rows is empty for the first time."""
    return old is not None and old.rows > 0 and new.rows == 0 and not old.unsettled


def _is_unchanged(old: Mark | None, new: Mark, seen: ListScan) -> bool:
    """Return whether a read confirms the shortfall that an earlier run found."""
    return (
        old is not None
        and old.settled
        and old.total is not None
        and (old.rows, old.total, old.last_id) == (new.rows, new.total, new.last_id)
        and not seen.cut
        and not seen.shifted
    )


def _ids(page: ListPage) -> list[int | None]:
    return page.rows.integers("id")


class _News:
    """Selects the rows to emit, and counts those dated after the last check.

    Args:
        since: epoch ms; only later rows are emitted. None for all.
        checked: epoch ms of the last check.

    Attributes:
        new: number of rows dated after the last check.
    """

    def __init__(self, since: int | None, checked: int | None) -> None:
        self._since = since
        self._checked = checked
        self.new = 0

    def __call__(self, rows: Page) -> Page:
        since, checked = self._since, self._checked
        if since is None or checked is None:
            return rows
        dates = _dates(rows)
        # A row without a date may be an old one, so it does not count as new.
        self.new += sum(added is not None and added > checked for added in dates)
        return rows.without([added is not None and added <= since for added in dates])


def every_row(rows: Page) -> Page:
    """Return all rows, for a read that keeps every row."""
    return rows


def _dates(rows: Page) -> list[int | None]:
    """Return each `dateAdded` in epoch ms, None where it is unset (0 or less)."""
    times = rows.integers("dateAdded")
    return [ms if ms is not None and ms > 0 else None for ms in times]


def _added(rows: Page) -> int | None:
    """Return the latest `dateAdded` of rows in epoch ms, None if there is none."""
    return max((ms for ms in _dates(rows) if ms is not None), default=None)


def _newest(known: float | None, added: int | None, now: float) -> float | None:
    """Return the later of two times in UTC seconds; a future `added` counts as now."""
    times = [] if known is None else [known]
    if added is not None:
        times.append(min(added / 1000, now))
    return max(times, default=None)
