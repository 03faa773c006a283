"""Reads an Encompass list: the whole list, or only the rows since the last read.

The reader relies neither on the order of a list nor on a stable `total`, because rows
arrive and are archived between two pages. See `ListReader`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Broken, NotUnderstood, Skippable
from tap_email_metrics.providers.encompass.archive import ARCHIVE_DAYS
from tap_email_metrics.providers.encompass.client import MAX_RESULTS
from tap_email_metrics.providers.encompass.scan import (
    MOST_PAGES,
    AroundRows,
    ListScan,
    Pages,
    ascending,
    dated_after,
    dates_of,
    ids_of,
    latest_date,
    may_be_one_row,
    scan,
)
from tap_email_metrics.providers.encompass.schedule import (
    Mark,
    MessagePolicy,
    age,
    may_lose_rows,
    verification_points,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.state.marks import is_cut
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tap_email_metrics.providers.encompass.client import (
        EncompassClient,
        ListPage,
        ParsedPage,
    )
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.run.workers import FanOut
    from tap_email_metrics.state.plans import Visit

_HEAD = 50  # rows asked for at the head of a descending list
_MANY = 2 * MAX_RESULTS
_OLD_DAYS = 2 * ARCHIVE_DAYS
"""Days without activity, after which the hidden rows of a list are taken as archived.
Only a row that came half a year after all others could still be readable."""


class ListReader:
    """Reads one list of one message: only its new rows if possible, else all of it.

    A probe is a request for the rows after the last known one. Its result counts only
    if the ids were strictly ascending (or descending) in the last whole read, and if
    the known and the new rows add up to the total. Otherwise the whole list is read.
    A whole read leaves out single rows that make each page fail.

    Args:
        client: sends the requests.
        template: path of the list.
        policy: decides whether rows of the list may be archived.
        lookback_days: days before the last check whose rows are emitted again.
        dated: rows carry `dateAdded` and never change; otherwise a whole read emits
            every row.
        now: returns the time of the API's clock.
        parse: returns the rows of a response body.
        fan_out: its idle workers prefetch pages; None for no prefetching.

    Attributes:
        unreadable: the last error of a row that the last read of the list left out.
    """

    def __init__(  # noqa: PLR0913 - facts of one list
        self,
        client: EncompassClient,
        template: str,
        policy: MessagePolicy,
        lookback_days: int,
        now: Callable[[], float],
        *,
        dated: bool,
        parse: Callable[[bytes], ParsedPage],
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
        self._is_doubtful = False
        self.unreadable: Skippable | None = None
        self._seen: ListScan | None = None
        self._complementary = False
        self._prefix: _Prefix | None = None
        self._part: Mark | None = None

    @property
    def part(self) -> Mark | None:
        """The mark that covers the rows yielded so far; None if there is none.

        If this run ends before the list does, the next run goes on after these rows.
        That is sound only in an ascending list that loses no rows, and only if every
        row is emitted.
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
            found = yield from self._probe(visit, mark, now)
            if found:
                return found
        return (yield from self._whole(visit, now))

    def _probe(
        self, visit: Visit[int, Mark], mark: Mark, now: float
    ) -> Generator[Page, None, Mark | None]:
        """Yield the new rows; return None if the whole list has to be read."""
        probe = self._ascending if mark.order == "a" else self._descending
        try:
            return (yield from probe(visit, mark, now))
        except Skippable as error:
            if not (self._reads_around(visit) and _is_due_to_row(error)):
                raise
            self._is_doubtful = True
            self._answered = False
            self._part = None
            return None

    def _reads_around(self, visit: Visit[int, Mark]) -> bool:
        """Return whether to look for single rows that make the pages of a list fail.

        If there are none, this takes three requests more. So it is done once, when the
        list begins to fail, and then once a day.
        """
        mark = visit.mark
        return mark is None or not mark.failures or mark.quarantined

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
            return known  # a probe gives a mark only if the numbers add up
        first, last = self._seen.totals
        known = replace(known, set_aside=self._seen.unread)
        if last is None:
            return replace(known, rows=self._seen.served, api_rows=None)
        archived = may_lose_rows(visit.parent, self._now(), self._policy)
        if mark.settled:
            if self._complementary:
                return replace(known, rows=total)
            rows = mark.rows + self._seen.keyless
            return replace(known, rows=rows, archived=archived)
        moved = first != last or self._seen.cut or self._seen.shifted
        return replace(
            known,
            rows=self._seen.served,
            api_rows=last,
            moved=moved,
            verified=not archived,
            noted=False,
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
            return False  # a row that reappears does not move the head of the list
        return (mark.settled or is_cut(mark)) and not visit.everything

    def _page(
        self,
        visit: Visit[int, Mark],
        start: int,
        size: int = MAX_RESULTS,
        tries: int = TRIES,
    ) -> ListPage:
        # A list that failed in the last run gets one try, so that a lasting fault is
        # cheap. After its first response it gets as many tries as any other list.
        failed = visit.mark is not None and visit.mark.failures > 0
        page = self._client.page(
            self._template,
            (visit.parent.id,),
            start,
            size=size,
            tries=1 if (failed or self._is_doubtful) and not self._answered else tries,
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
        newest, ahead = mark.newest, mark.ahead
        pages = Pages(partial(self._page, visit), self._fan_out)
        for _ in range(MOST_PAGES):
            page = pages(start)
            ids = ids_of(page)
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
            newest = _newest(newest, latest_date(page.rows), now)
            ahead += len(dated_after(page.rows, _minute(now)))
            start += len(page.rows)
            if page.full and not page.shrunk:
                pages.ahead(range(start, page.total, page.size))
            reached = replace(
                mark,
                rows=mark.rows + found,
                last_id=last,
                newest=newest,
                ahead=ahead,
                tried=now,
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
            ids += ids_of(page)
            new.append(page.rows)
            if page.total is None or not page.rows or not ascending(reversed(ids)):
                return None
            found = page.total - mark.shortfall - mark.rows
            if found > _MANY:
                return None  # too many rows to hold until they are proved complete
        if found < 0 or ids[found] != mark.last_id:
            return None
        newest, ahead, left = mark.newest, mark.ahead, found
        for rows in new:
            if left > 0:
                wanted, left = rows[:left], left - len(rows)
                yield wanted
                newest = _newest(newest, latest_date(wanted), now)
                ahead += len(dated_after(wanted, _minute(now)))
        reached = replace(
            mark,
            rows=mark.rows + found,
            last_id=ids[0],
            newest=newest,
            ahead=ahead,
        )
        return _grown(reached, mark, page.total, now)

    def _whole(
        self, visit: Visit[int, Mark], now: float
    ) -> Generator[Page, None, Mark]:
        everything = visit.everything or not self._dated
        known, ahead = (visit.mark.rows, visit.mark.ahead) if visit.mark else (0, 0)
        archived = may_lose_rows(visit.parent, now, self._policy)
        # If the end of a run cut the last read, it is unknown which rows were emitted.
        everything = everything or bool(visit.mark and is_cut(visit.mark))
        keep = self._news(visit, everything=everything)
        seen = _new_scan(now)
        if everything and not archived:
            self._prefix = _Prefix(visit, seen, now)
        first = yield from self._scan(visit, keep, seen)
        self._prefix = None
        more = first.rows - known > len(keep.new) - ahead
        if not everything and (more or _hides_fewer_rows(visit.mark, first)):
            # The list has new rows with a date before the last check.
            everything = True
            keep = _News(None, None)
            first = yield from self._scan(visit, keep, _new_scan(now))
        mark = self._settled(visit, first, now, everything=everything)
        if first.whole:
            doubted = not archived and _has_lost_rows(visit.mark, mark)
            return _unsettled(visit.mark, first, now) if doubted else mark
        if not archived and _is_unchanged(visit.mark, mark, first):
            return mark
        # Rows that the first read missed may have old dates: emit every row.
        second = yield from self._scan(visit, _News(None, None), _new_scan(now))
        # Unless rows are archived, two reads in different orders may together have
        # every row.
        self._complementary = not archived and second.completes(first)
        mark = self._settled(visit, second, now, everything=everything)
        if second.whole or self._complementary:
            return mark
        # The total may count rows that no read shows, such as archived ones.
        doubted = (
            _may_hide_unread_rows(visit, mark, len(keep.new) - ahead)
            if archived
            else _has_lost_rows(visit.mark, mark)
        )
        if second.same_as(first) and not doubted:
            return mark
        return _unsettled(visit.mark, second, now)

    def _news(self, visit: Visit[int, Mark], *, everything: bool) -> _News:
        checked = visit.mark.checked if visit.mark else None
        if everything or checked is None:
            return _News(None, None)
        since = int((checked - self._lookback) * 1000)
        return _News(since, _minute(checked))

    def _scan(
        self, visit: Visit[int, Mark], keep: _News, seen: ListScan
    ) -> Generator[Page, None, ListScan]:
        fetch = partial(self._page, visit)
        around = (
            AroundRows(fetch, _is_due_to_row) if self._reads_around(visit) else None
        )
        pages = Pages(fetch, self._fan_out, around)
        shrinking = may_lose_rows(visit.parent, self._now(), self._policy)
        self._seen = yield from scan(pages, keep, shrinking=shrinking, seen=seen)
        self.unreadable = around.error if around else None
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
            ahead=len(seen.ahead),
        )


def _is_due_to_row(error: Skippable) -> bool:
    """Return whether a page may fail because of one of its rows.

    With another 4xx the API refuses the whole list.
    """
    return isinstance(error, Broken | NotUnderstood) and may_be_one_row(error)


def _minute(moment: float) -> int:
    """Return epoch ms of the minute of an instant: the state keeps whole minutes."""
    return int(moment // 60) * 60_000


def _new_scan(now: float) -> ListScan:
    return ListScan(after=_minute(now))


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
        """Return the mark for these rows, None if a read cannot continue after them."""
        seen, old = self._seen, self._visit.mark or Mark()
        new = seen.ids[max(0, self._rows - 1) :]
        self._ascends = self._ascends and not seen.keyless and ascending(new)
        self._rows = len(seen.ids)
        total = seen.totals[1]
        if not self._ascends or not new or total is None or self._rows >= total:
            return None
        if seen.unread:
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
            ahead=len(seen.ahead),
        )


def _grown(reached: Mark, old: Mark, total: int | None, now: float) -> Mark | None:
    """Return the mark of a list with new rows at its end; None if one is missing.

    A known shortfall stays. Any other shortfall needs a whole read.
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


def _may_hide_unread_rows(visit: Visit[int, Mark], new: Mark, shown: int) -> bool:
    """Return whether a list counts rows that it hides, and that no run has read.

    They may be in the archive. The list is read once more, in the next run, before that
    is believed: a row that the list hides for a while can be read until it is archived.

    Args:
        visit: the visit of the list.
        new: the mark after two equal reads.
        shown: number of new rows that the reads have shown.
    """
    old = visit.mark or Mark()
    if old.unsettled or new.shortfall <= max(old.shortfall, 0):
        return False
    is_old = age(visit.parent, new, new.checked or 0.0) > _OLD_DAYS * DAY
    grown = new.rows + new.shortfall - old.rows - old.shortfall
    return not is_old and grown > shown


def _hides_fewer_rows(old: Mark | None, seen: ListScan) -> bool:
    """Return whether a list shows rows that it hid at the last check.

    If other rows have left it, their number does not tell.
    """
    hidden = 0 if seen.total is None else max(0, seen.total - seen.rows)
    return old is not None and old.shortfall > hidden


def _has_lost_rows(old: Mark | None, new: Mark) -> bool:
    """Return whether a list has lost rows, of which no archive knows.

    The list is empty, though rows of it were read or counted before, or the rows are
    counted still. Both are read once more, in the next run, before they are believed.
    """
    if old is None or old.unsettled:
        return False
    if new.rows == 0 and new.total is None:
        return old.rows > 0 or old.total is not None
    return new.rows < old.rows and new.total is not None


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


class _News:
    """Selects the rows to emit, and notes those dated after the last check.

    Args:
        since: epoch ms; only later rows are emitted. None for all.
        checked: epoch ms of the minute of the last check.

    Attributes:
        new: ids of the rows dated after the last check.
    """

    def __init__(self, since: int | None, checked: int | None) -> None:
        self._since = since
        self._checked = checked
        self.new: set[int] = set()

    def __call__(self, rows: Page) -> Page:
        since, checked = self._since, self._checked
        if since is None or checked is None:
            return rows
        # A row without a date may be an old one, so it does not count as new.
        self.new |= dated_after(rows, checked)
        old = [added is not None and added <= since for added in dates_of(rows)]
        return rows.without(old)


def _newest(known: float | None, added: int | None, now: float) -> float | None:
    """Return the later of two times in UTC seconds; a future `added` counts as now."""
    times = [] if known is None else [known]
    if added is not None:
        times.append(min(added / 1000, now))
    return max(times, default=None)
