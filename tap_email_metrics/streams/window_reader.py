"""Reading one window of a list, and proof that nothing of it was missed.

Rows may arrive, change and leave while a window is paged, in an order that nobody
states. So a window is whole when the count before, the rows received and the count
after agree, and no later page repeats a row of an earlier one.

The count in an answer may be that of its page alone. It proves nothing by itself: the
reader asks for a count besides, or goes on to an empty page.

Two reads of a window with the same rows and the same count settle it, though the two
differ: it is *short*. Such a window counts as read, and is due again at verifications.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Lost, Skippable
from tap_email_metrics.transport.bounds import TooLong

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.windows import Window

LARGEST = 50_000
"""Rows above which a window is split."""
MOST_IN_PAGE = 50_000
"""Rows that a page is asked for."""
_SMALLER = 8
"""After an answer that is too long, a page is asked for that many times fewer rows."""
WINDOW_READS = 3
"""Sizes of window in which an instant is read in one run, at most."""
MOST_PAGES = 2_000
"""A list with more pages than that does not end."""
MOST_ROWS = 2_000_000
"""Nor does one with more rows: each takes 70 bytes here, to be known again."""


class Answer(Protocol):
    """One page of a list, decoded as it comes."""

    @property
    def count(self) -> int | None:
        """Rows in the whole window, as far as the answer has said so by now."""

    @property
    def has_list(self) -> bool:
        """Whether the answer has a list of rows, if only an empty one."""

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows of the page, some at a time."""

    def close(self) -> None:
        """Give the connection back."""


class WindowList(Protocol):
    """A list that is asked for by windows.

    Attributes:
        key: names it in the state, and in messages: nothing personal.
        columns: what its records have from the request.
    """

    @property
    def key(self) -> str:
        """Return what names it."""

    @property
    def columns(self) -> Mapping[str, object]:
        """Return the columns that no row carries."""

    def open(self, window: Window | None, first_row: int, most: int) -> Answer:
        """Return the page that begins at a row; without a window, of all rows.

        Args:
            window: of time.
            first_row: the number of its first row, from 0.
            most: rows that it may have.

        Raises:
            TooLong: the answer is too long, and none of its rows came.
            TapError: it cannot be read.
        """

    def count(self, window: Window | None) -> int | None:
        """Return how many rows there are; None where the answer does not say.

        Raises:
            TapError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Part:
    """The end of a window, or of a part of one.

    Attributes:
        window: what was read; None for all there is.
        whole: whether it was proved that nothing is missing, or it is short.
        rows: how many came.
        outside: how many of them lie outside the window by their own date.
        twins: how many cannot be told from another one.
        counts: how many rows the API said there were, before and after.
        days: rows by the UTC day of their own date, its beginning in UTC seconds.
        set_aside: how many rows have no record.
        short: rows that the API counts and does not serve, as two reads have settled;
            negative where it counts too few.
    """

    window: Window | None
    whole: bool
    rows: int
    outside: int
    twins: int
    counts: tuple[int | None, int | None] = (None, None)
    days: Mapping[int, int] = field(default_factory=dict)
    set_aside: int = 0
    short: int = 0


@dataclass(slots=True)
class _Tally:
    """What the rows of a page, or of several, have shown.

    Attributes:
        received: how many came.
        outside: how many of them lie outside the window by their own date.
        twins: how many cannot be told from another one.
        again: how many repeat a row of an earlier page.
        set_aside: how many have no record.
        digest: of all rows, in any order.
        days: rows by the UTC day of their own date.
    """

    received: int = 0
    outside: int = 0
    twins: int = 0
    again: int = 0
    set_aside: int = 0
    digest: int = 0
    days: Counter[int] = field(default_factory=Counter)

    def add(self, page: _Tally) -> None:
        """Add the rows of a page."""
        self.received += page.received
        self.outside += page.outside
        self.twins += page.twins
        self.again += page.again
        self.set_aside += page.set_aside
        self.digest = (self.digest + page.digest) % 2**64
        self.days.update(page.days)


@dataclass(slots=True)
class _Look:
    """What one read of a window has seen so far.

    Attributes:
        before: the count before the first row.
        after: the count after the last one.
        pages: how many were read.
        most_pages: how many may be. After a count that differs from the rows, about as
            many again: a list that grows with each request would not end.
        ended: a page brought nothing new.
        has_list: the last answer had a list.
        too_large: the window has more rows than are read at once.
    """

    before: int | None = None
    after: int | None = None
    pages: int = 0
    most_pages: int = MOST_PAGES
    ended: bool = False
    has_list: bool = False
    too_large: bool = False
    rows: _Tally = field(default_factory=_Tally)
    held: list[Page] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    equals: Counter[int] = field(default_factory=Counter)

    @property
    def received(self) -> int:
        """Rows that came so far."""
        return self.rows.received

    @property
    def is_unproved(self) -> bool:
        """Whether another read of the same window may prove it whole."""
        return self.agrees or self.before is None

    @property
    def agrees(self) -> bool:
        """Whether the counts and the rows do."""
        if self.after is None and not (self.ended and self.has_list):
            return False
        if self.before is None:
            # Without any count the empty page at the end is all there is to go by.
            # Else what left meanwhile may have moved others to a page that was read.
            return self.after is None or self.received == self.after == 0
        return self.received == self.before and self.after in {None, self.received}

    @property
    def is_steady(self) -> bool:
        """Whether it was read to its end, and nothing moved meanwhile."""
        return (
            self.ended and self.has_list and not self.rows.again
        ) and self.after is not None

    @property
    def difference(self) -> int:
        """Rows that the API counts and did not serve."""
        return (self.after or 0) - self.received

    def repeats(self, other: _Look) -> bool:
        """Return whether another read had the same rows and the same count."""
        return (
            self.rows.digest == other.rows.digest
            and self.received == other.received
            and self.after == other.after
        )

    def part(self, window: Window | None, *, whole: bool, short: int = 0) -> Part:
        """Return the end of the window that was read."""
        rows = self.rows
        return Part(
            window,
            whole,
            rows.received,
            rows.outside,
            rows.twins,
            (self.before, self.after),
            rows.days,
            rows.set_aside,
            short,
        )


class WindowReader:
    """Reads windows of one list.

    Args:
        source: the list.
        maker: makes rows of what it answers.
        counts_equals: whether rows that are equal are told apart by their number.
        newest: UTC seconds before which the list has shown a row; None if it never
            has. An empty answer about a time before that is doubted.
        short: rows that the list counts and does not serve, as settled before.
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
        self._most = MOST_IN_PAGE

    def read(self, window: Window | None) -> Generator[Page | Part, None, None]:
        """Yield the rows of a window, and an end for it or for each of its parts."""
        yield from self._read(window, tries=WINDOW_READS, last=None)

    def _read(
        self, window: Window | None, *, tries: int, last: _Look | None
    ) -> Generator[Page | Part, None, None]:
        look = _Look()
        if self._asks_first:
            look.before = self._count(window)
        yield from self._look(window, look)
        if look.too_large and window is not None:
            self._check_counts(window, look)
            for half in window.halves():
                yield from self._read(half, tries=tries, last=None)
            return
        proved = last is not None and look.rows.digest == last.rows.digest
        whole = look.agrees and (not look.rows.again or proved)
        short = 0 if whole else self._shortfall(look, last)
        # The count in an answer may be that of its page alone, or may be missing.
        is_own = not look.is_steady or look.before is None
        self._asks_first = self._asks_first or (not whole and not short and is_own)
        if whole or short:
            yield from look.held
            yield look.part(window, whole=True, short=short)
        elif last is None:
            # The same window once more: most disturbances pass.
            yield from self._read(window, tries=tries, last=look)
        elif tries == 1:
            yield look.part(window, whole=False)
        elif window is None or window.seconds == 1 or look.is_unproved:
            yield from self._read(window, tries=tries - 1, last=look)
        else:
            for half in window.halves():
                yield from self._read(half, tries=tries - 1, last=None)

    def _shortfall(self, look: _Look, last: _Look | None) -> int:
        """Return by how much the count of a window differs for good; 0: it may not."""
        if not look.is_steady or not look.difference:
            return 0
        is_known = look.difference == self._short and look.before == look.after
        if is_known or (last is not None and last.is_steady and look.repeats(last)):
            self._short = look.difference
            return look.difference
        return 0

    def _check_counts(self, window: Window, look: _Look) -> None:
        """Return if the halves of a window hold about what the whole one does.

        Raises:
            Skippable: they do not: splitting would go on down to the second.
        """
        whole = look.before or look.after or 0
        halves = [self._count(half) or 0 for half in window.halves()]
        if sum(halves) > whole + whole // 2:
            raise Skippable("the counts of a list do not depend on the time asked for")

    def _look(self, window: Window | None, look: _Look) -> Generator[Page, None, None]:
        """Yield the rows of all pages, unless there are too many.

        Raises:
            Lost: the list has no end, or a single row is too long.
        """
        while look.pages < look.most_pages:
            try:
                yield from self._next_page(window, look)
            except TooLong as error:
                self._ask_for_fewer(error)
                continue
            look.pages += 1
            if look.too_large or self._is_over(window, look):
                return
            if look.received > MOST_ROWS:
                raise Lost(f"a list of more than {MOST_ROWS} rows: it does not end")
        if look.most_pages == MOST_PAGES:
            raise Lost(f"a list of more than {MOST_PAGES} pages: it does not end")

    def _ask_for_fewer(self, error: TooLong) -> None:
        """Make the pages smaller.

        Raises:
            Lost: the answer is one row.
        """
        if self._most == 1:
            raise Lost(f"a row is too long: {error}") from error
        self._most = max(1, self._most // _SMALLER)

    def _next_page(
        self, window: Window | None, look: _Look
    ) -> Generator[Page, None, None]:
        received = look.received
        with closing(self._source.open(window, received, self._most)) as answer:
            self._note_count(look, answer)
            look.too_large = _splits(window, look.before)
            if look.too_large:
                return
            yield from self._page(window, look, answer)
            self._note_count(look, answer)
            look.has_list = answer.has_list
            look.ended = look.received == received
            if look.ended:
                look.after = self._last_count(window, look, answer)

    def _note_count(self, look: _Look, answer: Answer) -> None:
        if look.before is None and not self._asks_first:
            look.before = answer.count

    def _last_count(
        self, window: Window | None, look: _Look, answer: Answer
    ) -> int | None:
        """Return the count in the page at the end, if it is that of the whole window.

        A page without rows that counts some does not count its own.
        """
        is_doubtful = self._newest is not None and (
            window is None or window.start < self._newest
        )
        if look.received or not answer.has_list or is_doubtful:
            return answer.count or None
        return answer.count

    def _is_over(self, window: Window | None, look: _Look) -> bool:
        """Return whether no further page is needed; ask for the count after it."""
        if look.ended:
            if look.after is None:
                look.after = self._count_after(window, look)
            return True
        if look.before is None or look.received < look.before or look.after is not None:
            return False
        look.after = self._count_after(window, look)
        if look.after is None or look.after == look.received:
            return look.after is not None
        look.most_pages = min(MOST_PAGES, 2 * look.pages + 1)
        # More than were counted before: that count was of the page alone, or rows
        # arrived. Count first, then read.
        return look.after > look.received and not self._asks_first

    def _count_after(self, window: Window | None, look: _Look) -> int | None:
        count = self._count(window)
        # Rows came: it counts those of its own answer, which has none.
        if count == 0 and look.received:
            count = None
        look.too_large = _splits(window, count)
        return count

    def _count(self, window: Window | None) -> int | None:
        try:
            return self._source.count(window)
        except TooLong:
            return None

    def _page(
        self, window: Window | None, look: _Look, answer: Answer
    ) -> Generator[Page, None, None]:
        here: set[int] = set()
        page = _Tally()
        equals: Counter[int] = Counter()
        held: list[Page] = []
        is_enough = look.before is None or look.received >= look.before
        for raw in answer.rows():
            rows = self._maker.page(raw)
            numbers = [*map(hash, rows.identities)]
            again = [number in look.known for number in numbers]
            before = [
                self._note(look, page, equals, here, number) for number in numbers
            ]
            self._note_dates(window, page, rows)
            page.received += len(rows)
            page.set_aside += rows.made().set_aside.total()
            rows = rows.numbered(before)
            # The same row may have moved to this page: it is one more than before
            # only if the whole window says so.
            doubtful = [bool(n) and a for n, a in zip(before, again, strict=True)]
            if any(doubtful):
                held.append(rows.where(doubtful))
                rows = rows.where([not one for one in doubtful])
            yield rows
        if page.received and page.again == page.received and is_enough:
            # Nothing new, and nothing is missing: the server ignores `first_row`.
            return
        look.rows.add(page)
        look.held += held
        look.equals += equals
        look.known |= here
        if page.received:
            newest = max(page.days, default=0) + DAY
            self._newest = max(newest, self._newest or newest)
        if look.rows.again > LARGEST:
            raise Skippable("the pages of a list repeat each other")

    def _note(
        self,
        look: _Look,
        page: _Tally,
        equals: Counter[int],
        here: set[int],
        number: int,
    ) -> int:
        """Take a row in; return how many equal ones came before it."""
        page.digest = (page.digest + number) % 2**64
        if number not in look.known and number not in here:
            here.add(number)
            return 0
        page.again += number in look.known
        equals[number] += 1
        if self._counts_equals:
            return look.equals[number] + equals[number]
        page.twins += 1
        return 0

    def _note_dates(self, window: Window | None, page: _Tally, rows: Page) -> None:
        seconds = [at // 1000 for at in rows.times if at is not None]
        # A row without a record is not read: a day that counts it does not agree.
        made = [at // 1000 for at in rows.made().times if at is not None]
        page.days.update(second // DAY * DAY for second in made)
        if window is not None:
            outside = (not window.start <= at < window.end for at in seconds)
            page.outside += sum(outside)


def _splits(window: Window | None, count: int | None) -> bool:
    """Return whether a window has more rows than are read at once."""
    return (
        window is not None
        and window.seconds > 1
        and count is not None
        and count > LARGEST
    )
