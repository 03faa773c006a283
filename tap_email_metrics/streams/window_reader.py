"""Reading one window of a list, and proof that nothing of it was missed.

Rows may arrive, change and leave while a window is paged, in an order that nobody
states. So a window is whole when the count before, the rows received and the count
after agree, and no later page repeats a row of an earlier one.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Fatal, Skippable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.windows import Window

LARGEST = 50_000
"""Rows above which a window is split."""
WINDOW_READS = 3
"""Reads of an instant in one run, at most."""
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

    def open(self, window: Window | None, first_row: int) -> Answer:
        """Return the page that begins at a row; without a window, of all rows.

        Raises:
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
        whole: whether it was proved that nothing is missing.
        rows: how many came.
        outside: how many of them lie outside the window by their own date.
        twins: how many cannot be told from another one.
        counts: how many rows the API said there were, before and after.
        days: rows by the UTC day of their own date, its beginning in UTC seconds.
    """

    window: Window | None
    whole: bool
    rows: int
    outside: int
    twins: int
    counts: tuple[int | None, int | None] = (None, None)
    days: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Look:
    """What one read of a window has seen so far."""

    before: int | None = None
    after: int | None = None
    received: int = 0
    outside: int = 0
    twins: int = 0
    ended: bool = False
    has_list: bool = False
    too_large: bool = False
    again: int = 0
    digest: int = 0
    held: list[Page] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    equals: dict[int, int] = field(default_factory=dict)
    days: Counter[int] = field(default_factory=Counter)

    @property
    def is_unproved(self) -> bool:
        """Whether another read of the same window may prove it whole."""
        return self.agrees or self.before is None

    @property
    def agrees(self) -> bool:
        """Whether the counts and the rows do."""
        if self.before is None and self.after is None:
            # The empty list at the end is all there is to go by.
            return self.ended and self.has_list
        if self.before is None:
            # What left meanwhile may have moved others to a page that was read.
            return self.received == self.after == 0
        return self.received == self.before and self.after in {None, self.received}

    def part(self, window: Window | None, *, whole: bool) -> Part:
        """Return the end of the window that was read."""
        return Part(
            window,
            whole,
            self.received,
            self.outside,
            self.twins,
            (self.before, self.after),
            self.days,
        )


class WindowReader:
    """Reads windows of one list.

    Args:
        source: the list.
        maker: makes rows of what it answers.
        counts_equals: whether rows that are equal are told apart by their number.
    """

    def __init__(
        self,
        source: WindowList,
        maker: PageMaker,
        *,
        counts_equals: bool,
    ) -> None:
        self._source = source
        self._maker = maker
        self._counts_equals = counts_equals
        self._asks_first = False

    def read(self, window: Window | None) -> Generator[Page | Part, None, None]:
        """Yield the rows of a window, and an end for it or for each of its parts."""
        yield from self._read(window, tries=WINDOW_READS, known=None)

    def _read(
        self, window: Window | None, *, tries: int, known: int | None
    ) -> Generator[Page | Part, None, None]:
        look = _Look()
        if self._asks_first:
            look.before = self._source.count(window)
        yield from self._look(window, look)
        whole = look.agrees and (not look.again or look.digest == known)
        # The count in an answer may be that of its page alone, or may be missing.
        self._asks_first = self._asks_first or not whole
        if whole:
            yield from look.held
        if look.too_large and window is not None:
            self._check_counts(window, look)
            for half in window.halves():
                yield from self._read(half, tries=tries, known=None)
        elif whole or tries == 1:
            yield look.part(window, whole=whole)
        elif window is None or window.seconds == 1 or look.is_unproved:
            yield from self._read(window, tries=tries - 1, known=look.digest)
        else:
            for half in window.halves():
                yield from self._read(half, tries=tries - 1, known=None)

    def _check_counts(self, window: Window, look: _Look) -> None:
        """Return if the halves of a window hold about what the whole one does.

        Raises:
            Skippable: they do not: splitting would go on down to the second.
        """
        whole = look.before or look.after or 0
        halves = [self._source.count(half) or 0 for half in window.halves()]
        if sum(halves) > whole + whole // 2:
            raise Skippable("the counts of a list do not depend on the time asked for")

    def _look(self, window: Window | None, look: _Look) -> Generator[Page, None, None]:
        """Yield the rows of all pages, unless there are too many."""
        for _ in range(MOST_PAGES):
            before = look.received
            with closing(self._source.open(window, before)) as answer:
                look.before = answer.count if look.before is None else look.before
                look.too_large = _splits(window, look.before)
                if look.too_large:
                    return
                yield from self._page(window, look, answer)
                look.before = answer.count if look.before is None else look.before
                look.has_list = answer.has_list
            look.ended = look.received == before
            if look.received > MOST_ROWS:
                raise Fatal(f"a list of more than {MOST_ROWS} rows: it does not end")
            if look.ended or (look.before is not None and look.received >= look.before):
                look.after = self._source.count(window)
                look.too_large = _splits(window, look.after)
                return
        raise Fatal(f"a list of more than {MOST_PAGES} pages: it does not end")

    def _page(
        self, window: Window | None, look: _Look, answer: Answer
    ) -> Generator[Page, None, None]:
        here: set[int] = set()
        for raw in answer.rows():
            rows = self._maker.page(raw)
            numbers = [*map(hash, rows.identities)]
            again = [number in look.known for number in numbers]
            equals = [self._note(look, here, number) for number in numbers]
            self._note_dates(window, look, rows)
            look.received += len(rows)
            rows = rows.numbered(equals)
            # The same row may have moved to this page: it is one more than before
            # only if the whole window says so.
            doubtful = [bool(n) and a for n, a in zip(equals, again, strict=True)]
            if any(doubtful):
                look.held.append(rows.where(doubtful))
                rows = rows.where([not one for one in doubtful])
            yield rows
        look.known |= here
        if look.again > LARGEST:
            raise Skippable("the pages of a list repeat each other")

    def _note(self, look: _Look, here: set[int], number: int) -> int:
        """Take a row in; return how many equal ones came before it."""
        look.digest = (look.digest + number) % 2**64
        if number not in look.known and number not in here:
            here.add(number)
            return 0
        look.again += number in look.known
        look.equals[number] = look.equals.get(number, 0) + 1
        if self._counts_equals:
            return look.equals[number]
        look.twins += 1
        return 0

    def _note_dates(self, window: Window | None, look: _Look, rows: Page) -> None:
        if window is None:
            return
        seconds = [at // 1000 for at in rows.times if at is not None]
        look.outside += sum(not window.start <= at < window.end for at in seconds)
        # A row without a record is not read: a day that counts it does not agree.
        made = [at // 1000 for at in rows.made().times if at is not None]
        look.days.update(second // DAY * DAY for second in made)


def _splits(window: Window | None, count: int | None) -> bool:
    """Return whether a window has more rows than are read at once."""
    return (
        window is not None
        and window.seconds > 1
        and count is not None
        and count > LARGEST
    )
