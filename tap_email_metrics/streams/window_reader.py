"""Reads the windows of a list and proves that no row is missing.

Rows may arrive, change and disappear while the pages of a window are read, and the
vendor documents no order. A window is *whole* if the count before, the number of rows
received and the count after agree, and if no page repeats a row of an earlier page.

In a list without numbered rows no two rows are equal: a row that comes twice took the
place of another row, or the count counts it twice. Only its distinct rows count there.

The count in a response may be the count of its page only, so it proves nothing alone.
The reader also asks for a count, or goes on to an empty page.

A page that begins with all rows of an earlier page is not understood: the API ignored
the requested first row. Such a page proves nothing, and its repetitions are no events.

If an API limits its counts and its rows to the same number, all of these agree. So if
the number may be such a limit, the counts of two parts of the window have to agree with
it, too. Otherwise the window is read in halves.

If two reads of a window have the same rows and the same count, but the count differs
from the number of rows, the window is *short*. A short window counts as read, and is
read again at verifications.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Lost, LostRow, Skippable, Unavailable
from tap_email_metrics.state.windows import Window
from tap_email_metrics.transport.bounds import TooLong

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.pages import Page

LARGEST_WINDOW = 50_000
"""A window with more rows than this is split."""
MOST_IN_PAGE = 50_000
"""Rows to ask for in one page."""
_SMALLER = 8
"""If a response is too long, the number of rows to ask for is divided by this."""
WINDOW_READS = 3
"""Most window sizes that one run tries for the same instant."""
ROUND = 50
"""A number of rows that is a multiple of this may be a limit of the API."""
MOST_PAGES = 2_000
"""A list with more pages than this is taken to be endless."""
_ALWAYS = Window(0, 2**32)
"""More than any time of a row."""
MOST_ROWS = 2_000_000
"""A list with more rows than this is taken to be endless: each takes 70 bytes here."""


class WindowPage(Protocol):
    """One page of a window, decoded while it arrives."""

    @property
    def count(self) -> int | None:
        """Number of rows in the whole window, None if it was not read so far."""

    @property
    def has_list(self) -> bool:
        """Whether the response has a list of rows, even an empty one."""

    def rows(self) -> Iterator[Sequence[object]]:
        """Yield the rows of the page in batches."""

    def close(self) -> None:
        """Release the connection."""


class WindowList(Protocol):
    """A list that the API serves by windows of time."""

    @property
    def key(self) -> str:
        """Name of the list in the state and in messages, without personal data."""

    @property
    def columns(self) -> Mapping[str, object]:
        """Values of the columns that come from the request, not from a row."""

    def open(self, window: Window | None, first_row: int, most: int) -> WindowPage:
        """Return one page.

        Args:
            window: the time of the rows; None for all rows.
            first_row: index of the page's first row, from 0.
            most: the largest number of rows in the page.

        Raises:
            TooLong: the body exceeds the size limit before its first row.
            TapError: the page cannot be read.
        """

    def count(self, window: Window | None) -> int | None:
        """Return the number of rows in a window, None if the response does not say.

        Raises:
            TapError: the count cannot be read.
        """


@dataclass(frozen=True, slots=True)
class WindowPart:
    """The result of a window, or of a part of a window that was split.

    Attributes:
        window: the time that was read; None for all rows.
        whole: whether the window is proved whole, or is short.
        rows: number of rows received.
        outside: number of rows whose own date lies outside the window.
        twins: number of rows equal to an earlier one, if equal rows get no number.
        counts: the API's counts before and after the rows.
        days: number of rows per UTC day of their own date; a day is the UTC seconds
            of its start.
        set_aside: number of rows without a record.
        misunderstood: the same and those with a doubtful event id.
        short: number of rows that the API counts but does not serve, confirmed by two
            reads; negative if it serves more rows than it counts.
    """

    window: Window | None
    whole: bool
    rows: int
    outside: int
    twins: int
    counts: tuple[int | None, int | None] = (None, None)
    days: Mapping[int, int] = field(default_factory=dict)
    set_aside: int = 0
    misunderstood: int = 0
    short: int = 0


@dataclass(slots=True)
class _RowTally:
    """Counts of the rows of one or more pages.

    Attributes:
        received: number of rows.
        outside: number of rows whose own date lies outside the window.
        twins: number of rows equal to an earlier one, if equal rows get no number.
        again: number of rows that repeat a row of an earlier page.
        set_aside: number of rows without a record.
        misunderstood: the same and those with a doubtful event id.
        digest: sum of the rows' hashes; it does not depend on their order.
        days: number of rows per UTC day of their own date.
        oldest: the earliest of their own dates, in UTC seconds.
    """

    received: int = 0
    outside: int = 0
    twins: int = 0
    again: int = 0
    set_aside: int = 0
    misunderstood: int = 0
    digest: int = 0
    days: Counter[int] = field(default_factory=Counter)
    oldest: float = math.inf

    def add(self, page: _RowTally) -> None:
        """Add the rows of a page."""
        self.received += page.received
        self.outside += page.outside
        self.twins += page.twins
        self.again += page.again
        self.set_aside += page.set_aside
        self.misunderstood += page.misunderstood
        self.digest = (self.digest + page.digest) % 2**64
        self.days.update(page.days)
        self.oldest = min(self.oldest, page.oldest)


@dataclass(slots=True)
class _Attempt:
    """One attempt to read a window.

    Attributes:
        before: the count before the first row.
        after: the count after the last row.
        pages: number of pages read.
        most_pages: number of pages after which the attempt ends. If the count after
            the rows differs, about as many pages again are allowed: a list that grows
            with each request would never end.
        ended: a page had no new row.
        has_list: the last page had a list of rows.
        too_large: the window has to be split.
        rows: counts of the rows read.
        held: rows that may be repetitions; they are emitted if the window is whole.
        known: hashes of the distinct rows.
        equals: number of further rows with the same hash.
        pages_seen: number of rows and digest of each page.
        repeats_page: a page began with all rows of an earlier page.
        asks_beyond: the page after all rows has to be empty, too: rows came twice, or
            a page was full.
    """

    before: int | None = None
    after: int | None = None
    pages: int = 0
    most_pages: int = MOST_PAGES
    ended: bool = False
    has_list: bool = False
    too_large: bool = False
    rows: _RowTally = field(default_factory=_RowTally)
    held: list[Page] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    equals: Counter[int] = field(default_factory=Counter)
    pages_seen: set[tuple[int, int]] = field(default_factory=set)
    repeats_page: bool = False
    asks_beyond: bool = False

    @property
    def received(self) -> int:
        """Number of rows received so far."""
        return self.rows.received

    @property
    def distinct(self) -> int:
        """Number of rows received so far, without those that may not come twice."""
        return self.rows.received - self.rows.twins

    @property
    def is_unproved(self) -> bool:
        """Whether another attempt at the same window may prove it whole."""
        return self.agrees or self.before is None

    @property
    def agrees(self) -> bool:
        """Whether the counts and the number of rows agree."""
        if self.repeats_page:
            return False
        if self.after is None and not (self.ended and self.has_list):
            return False
        if self.before is None:
            # Without counts, the empty page at the end is the only evidence. With a
            # count only after the rows, a row that disappeared may have moved others
            # to a page that was read before.
            if self.after is None:
                return not self.rows.twins
            return self.received == self.after == 0
        return self.distinct == self.before and self.after in {None, self.distinct}

    @property
    def is_steady(self) -> bool:
        """Whether the window was read to its end, and no row moved during the read."""
        # In a list without numbered rows, a row that comes again may be a lasting twin.
        moved = self.rows.again and not self.rows.twins
        is_known = self.after is not None or self.rows.twins > 0
        return (
            (self.ended and self.has_list)
            and is_known
            and not (moved or self.repeats_page)
        )

    @property
    def difference(self) -> int:
        """Number of rows that the API counts but did not serve."""
        return (self.received if self.after is None else self.after) - self.distinct

    def repeats(self, other: _Attempt) -> bool:
        """Return whether another attempt had the same rows and the same count."""
        return (
            self.rows.digest == other.rows.digest
            and self.received == other.received
            and self.after == other.after
        )

    def part(self, window: Window | None, *, whole: bool, short: int = 0) -> WindowPart:
        """Return the result of the window."""
        rows = self.rows
        return WindowPart(
            window,
            whole,
            rows.received,
            rows.outside,
            rows.twins,
            (self.before, self.after),
            rows.days,
            rows.set_aside,
            rows.misunderstood,
            short,
        )


class WindowReader:
    """Reads windows of one list.

    Args:
        source: the list.
        maker: makes pages of rows from the decoded rows.
        counts_equals: whether equal rows are numbered, so that each gets a record.
        newest: UTC seconds after the newest row that the list has ever shown, None if
            it has shown none. An empty response for a time before it is doubted.
        short: the shortfall of the list that earlier reads confirmed.
    """

    def __init__(
        self,
        source: WindowList,
        maker: PageMaker,
        *,
        counts_equals: bool,
        newest: int | None = None,
        short: int = 0,
    ) -> None:
        self._source = source
        self._maker = maker
        self._counts_equals = counts_equals
        self._newest = newest
        self._short = short
        self._asks_first = False
        self._is_uncounted = False
        self._most = MOST_IN_PAGE

    def read(self, window: Window | None) -> Generator[Page | WindowPart, None, None]:
        """Yield the rows of a window, and a `WindowPart` for each part of it."""
        yield from self._read(window, tries=WINDOW_READS, last=None)

    def _read(
        self, window: Window | None, *, tries: int, last: _Attempt | None
    ) -> Generator[Page | WindowPart, None, None]:
        attempt = _Attempt()
        if self._asks_first:
            attempt.before = self._count(window)
        yield from self._read_pages(window, attempt)
        if attempt.too_large and window is not None:
            self._check_counts(window, attempt)
            yield from self._read_halves(window, tries)
            return
        proved = last is not None and attempt.rows.digest == last.rows.digest
        whole = attempt.agrees and (not attempt.rows.again or proved)
        if whole and self._is_limited(window, attempt):
            yield from self._read_halves(window, tries)
            return
        short = 0 if whole else self._shortfall(attempt, last)
        # The count in a response may be missing, or count its page only.
        is_own = not attempt.is_steady or attempt.before is None
        self._asks_first = self._asks_first or (not whole and not short and is_own)
        if whole or short:
            yield from attempt.held
            yield attempt.part(window, whole=True, short=short)
        elif last is None:
            # Try the same window again: most disturbances are short.
            yield from self._read(window, tries=tries, last=attempt)
        elif tries == 1 or (attempt.repeats_page and last.repeats_page):
            yield attempt.part(window, whole=False)
        elif window is None or window.seconds == 1 or attempt.is_unproved:
            yield from self._read(window, tries=tries - 1, last=attempt)
        else:
            yield from self._read_halves(window, tries - 1)

    def _read_halves(
        self, window: Window | None, tries: int
    ) -> Generator[Page | WindowPart, None, None]:
        """Yield the rows of a window, which is read in halves.

        Raises:
            Skippable: the list has no window.
        """
        if window is None:
            raise Skippable("the API counts more rows in parts of a list than in all")
        for half in window.halves():
            yield from self._read(half, tries=tries, last=None)

    def _is_limited(self, window: Window | None, attempt: _Attempt) -> bool:
        """Return whether the API limits the count of a window like its rows.

        The parts of the window up to its oldest row and after it then have more rows
        than the window. If each has as many, the API ignores the requested time.
        """
        rows, oldest = attempt.received, attempt.rows.oldest
        if not rows or rows % ROUND or oldest == math.inf:
            return False
        start, end = window or _ALWAYS
        middle = int(oldest) + 1
        if not start < middle < end:
            return False
        parts = Window(start, middle), Window(middle, end)
        counts = [self._count_if_counted(part) or 0 for part in parts]
        return sum(counts) > rows and min(counts) < rows

    def _shortfall(self, attempt: _Attempt, last: _Attempt | None) -> int:
        """Return the confirmed difference between count and rows, 0 if unconfirmed."""
        if not attempt.is_steady or not attempt.difference:
            return 0
        is_known = attempt.difference == self._short and attempt.before == attempt.after
        if is_known or (last is not None and last.is_steady and attempt.repeats(last)):
            self._short = attempt.difference
            return attempt.difference
        return 0

    def _check_counts(self, window: Window, attempt: _Attempt) -> None:
        """Check that the halves of a window have about as many rows as the window.

        Raises:
            Skippable: they have more, so the API ignores the window. Splitting would
                go on down to windows of one second.
        """
        whole = attempt.before or attempt.after or 0
        halves = [self._count_if_counted(half) or 0 for half in window.halves()]
        if sum(halves) > whole + whole // 2:
            raise Skippable("the counts of a list ignore the requested time")

    def _read_pages(
        self, window: Window | None, attempt: _Attempt
    ) -> Generator[Page, None, None]:
        """Yield the rows of all pages; stop early if the window has to be split.

        Raises:
            Lost: the list does not end.
            LostRow: a single row is too long.
        """
        while attempt.pages < attempt.most_pages:
            try:
                yield from self._next_page(window, attempt)
            except TooLong as error:
                self._ask_for_fewer(error)
                continue
            attempt.pages += 1
            if attempt.too_large or self._is_over(window, attempt):
                return
            if attempt.received > MOST_ROWS:
                raise Lost(f"a list of more than {MOST_ROWS} rows: it does not end")
        if attempt.most_pages == MOST_PAGES:
            raise Lost(f"a list of more than {MOST_PAGES} pages: it does not end")

    def _ask_for_fewer(self, error: TooLong) -> None:
        """Ask for fewer rows from the next page on.

        Raises:
            LostRow: the page that was too long had one row.
        """
        if self._most == 1:
            raise LostRow(f"a row is too long: {error}") from error
        self._most = max(1, self._most // _SMALLER)

    def _next_page(
        self, window: Window | None, attempt: _Attempt
    ) -> Generator[Page, None, None]:
        received = attempt.received
        with closing(self._source.open(window, received, self._most)) as answer:
            self._note_count(attempt, answer)
            attempt.too_large = _splits(window, attempt.before)
            if attempt.too_large:
                return
            yield from self._page(window, attempt, answer)
            self._note_count(attempt, answer)
            attempt.has_list = answer.has_list
            attempt.ended = attempt.received == received
            if attempt.received - received == self._most:
                # The count may be limited like the page.
                attempt.asks_beyond = True
            if attempt.before == 0 and attempt.received:
                # It is the number of rows in the response itself, or always 0.
                attempt.before = None
            if attempt.ended and not attempt.repeats_page:
                attempt.after = self._last_count(window, attempt, answer)

    def _note_count(self, attempt: _Attempt, answer: WindowPage) -> None:
        if attempt.before is None and not self._asks_first:
            attempt.before = answer.count

    def _last_count(
        self, window: Window | None, attempt: _Attempt, answer: WindowPage
    ) -> int | None:
        """Return the count in the last page, None if it may count that page only.

        The last page has no rows. A count of 0 in it counts the whole window only if
        no row was received, the response has a list, and the list has never shown a
        row after the start of the window.
        """
        is_doubtful = self._newest is not None and (
            window is None or window.start < self._newest
        )
        if attempt.received or not answer.has_list or is_doubtful:
            return answer.count or None
        return answer.count

    def _is_over(self, window: Window | None, attempt: _Attempt) -> bool:
        """Return whether no more pages are needed; ask for the count after the rows."""
        if attempt.repeats_page:
            return True
        if attempt.ended:
            if attempt.after is None:
                attempt.after = self._count_after(window, attempt)
            return True
        if (
            attempt.before is None
            or attempt.received < attempt.before
            or attempt.after is not None
            or (attempt.asks_beyond and attempt.received == attempt.before)
        ):
            return False
        attempt.after = self._count_after(window, attempt)
        if attempt.after is None or attempt.after == attempt.received:
            return attempt.after is not None
        attempt.most_pages = min(MOST_PAGES, 2 * attempt.pages + 1)
        # The count before was smaller: it counted its page only, or rows arrived.
        # The next attempt asks for the count first.
        return attempt.after > attempt.received and not self._asks_first

    def _count_after(self, window: Window | None, attempt: _Attempt) -> int | None:
        ask = self._count_if_counted if attempt.received else self._count
        count = ask(window)
        # Rows were received, so 0 is the number of rows in the response itself.
        if count == 0 and attempt.received:
            count = None
        attempt.too_large = _splits(window, count)
        return count

    def _count(self, window: Window | None) -> int | None:
        """Return the number of rows in a window, None if the API does not say."""
        if self._is_uncounted:
            return None
        try:
            return self._source.count(window)
        except TooLong:
            return None

    def _count_if_counted(self, window: Window | None) -> int | None:
        """Return the same for a list that has shown rows.

        If its counts are refused, it is read to an empty page.
        """
        try:
            return self._count(window)
        except (Skippable, Unavailable):
            self._is_uncounted = True
            return None

    def _page(
        self, window: Window | None, attempt: _Attempt, answer: WindowPage
    ) -> Generator[Page, None, None]:
        here: set[int] = set()
        page = _RowTally()
        equals: Counter[int] = Counter()
        held: list[Page] = []
        for raw in answer.rows():
            rows = self._maker.page(raw)
            numbers = [*map(hash, rows.identities)]
            again = [number in attempt.known for number in numbers]
            before = [
                self._note(attempt, page, equals, here, number) for number in numbers
            ]
            if not self._counts_equals:
                self._note_twins(attempt, page, rows, before)
                before = [0] * len(before)
            self._note_dates(window, page, rows)
            made = rows.made()
            page.set_aside += made.set_aside.total()
            page.misunderstood += made.set_aside.total() + made.unreadable
            rows = rows.numbered(before)
            # A repeated row may be another event, or the same row on a later page.
            # The counts of the whole window decide.
            doubtful = [bool(n) and a for n, a in zip(before, again, strict=True)]
            if any(doubtful):
                held.append(rows.where(doubtful))
                rows = rows.where([not one for one in doubtful])
            yield rows
        if attempt.repeats_page:
            return
        attempt.pages_seen.add((page.received, page.digest))
        attempt.rows.add(page)
        attempt.held += held
        attempt.equals += equals
        attempt.known |= here
        if page.received:
            newest = max(page.days, default=0) + DAY
            self._newest = max(newest, self._newest or newest)
        if attempt.rows.again > LARGEST_WINDOW:
            raise Skippable("the pages of a list repeat each other")

    def _note(
        self,
        attempt: _Attempt,
        page: _RowTally,
        equals: Counter[int],
        here: set[int],
        number: int,
    ) -> int:
        """Count a row; return the number of equal rows before it."""
        page.received += 1
        page.digest = (page.digest + number) % 2**64
        if number not in attempt.known and number not in here:
            here.add(number)
            return 0
        page.again += number in attempt.known
        if (page.received, page.digest) in attempt.pages_seen:
            # Pages of one row may have two equal events: the page after all rows tells.
            is_unclear = page.received == 1 and attempt.before is not None
            attempt.asks_beyond = attempt.asks_beyond or is_unclear
            attempt.repeats_page = attempt.repeats_page or not is_unclear
        equals[number] += 1
        return attempt.equals[number] + equals[number]

    def _note_twins(
        self, attempt: _Attempt, page: _RowTally, rows: Page, before: Sequence[int]
    ) -> None:
        """Count the rows with an equal row before them, in a list without numbers.

        Rows without a record may look equal, but nothing shows that they are.
        """
        pairs = zip(before, rows.set_aside, strict=True)
        twins = sum(bool(equal) and reason is None for equal, reason in pairs)
        page.twins += twins
        attempt.asks_beyond = attempt.asks_beyond or twins > 0

    def _note_dates(self, window: Window | None, page: _RowTally, rows: Page) -> None:
        seconds = [at // 1000 for at in rows.times if at is not None]
        # A row without a record does not count as read, so that its day differs.
        made = [at // 1000 for at in rows.made().times if at is not None]
        page.days.update(second // DAY * DAY for second in made)
        page.oldest = min([page.oldest, *made])
        if window is not None:
            outside = (not window.start <= at < window.end for at in seconds)
            page.outside += sum(outside)


def _splits(window: Window | None, count: int | None) -> bool:
    """Return whether a window has too many rows and can be split."""
    return (
        window is not None
        and window.seconds > 1
        and count is not None
        and count > LARGEST_WINDOW
    )
