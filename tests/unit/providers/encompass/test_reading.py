"""Reading one list: properties against a model list that changes between requests."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Broken
from tap_email_metrics.providers.encompass.client import (
    MAX_RESULTS,
    ListPage,
    parse_loose,
    plain_page,
)
from tap_email_metrics.providers.encompass.reading import ListReader
from tap_email_metrics.providers.encompass.scan import (
    AroundRows,
    ListScan,
    Pages,
    ascending,
    every_row,
    scan,
)
from tap_email_metrics.providers.encompass.schedule import Mark, MessagePolicy
from tap_email_metrics.state.plans import Parent, Visit
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tap_email_metrics.providers.encompass.client import EncompassClient
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row

NOW = 1_790_000_000.0
POLICY = MessagePolicy(window=365.0 * DAY, sweep_days=90)
PROPERTY = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True)
class Change:
    """A change of a list between two requests.

    Attributes:
        removed: positions of rows to remove, as fractions of the length.
        appended: number of new rows at the end.
        prepended: number of new rows at the head.
        inserted: positions of new rows, as fractions of the length.
    """

    removed: tuple[float, ...] = ()
    appended: int = 0
    prepended: int = 0
    inserted: tuple[float, ...] = ()


QUIET = Change()
places = st.lists(st.floats(0, 1), max_size=3).map(tuple)
few = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
appends = st.builds(Change, appended=few)
prepends = st.builds(Change, prepended=few)
growth = st.builds(Change, appended=few, prepended=few, inserted=places)
archive = st.builds(
    Change, removed=places, appended=few, prepended=few, inserted=places
)


@dataclass
class Shelf:
    """A list and the server that returns its pages.

    Attributes:
        ids: ids of the rows in the order of the list.
        changes: changes to apply, one after each request.
        sizes: page size limits of the server, used in turn.
        counted: rows that are gone but still counted in the total.
        bare: answer with an array without a total.
        tells: report the page size limit.
        drifts: growth of the total from request to request.
        full: a page with as many rows as requested counts as full.
    """

    ids: list[int]
    changes: list[Change] = field(default_factory=list)
    sizes: Sequence[int] = (MAX_RESULTS,)
    counted: int = 0
    bare: bool = False
    tells: bool = False
    drifts: int = 0
    full: bool = False
    now: float = NOW
    requests: int = 0
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    added: dict[int, float] = field(default_factory=dict)
    stayed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.added = dict.fromkeys(self.ids, self.now - DAY)
        self.mark()

    def mark(self) -> None:
        """Track from now on which rows stay in the list."""
        self.stayed = set(self.ids)
        self.requests = 0

    def row(self, number: int) -> Row:
        return {"id": number, "dateAdded": int(self.added[number] * 1000)}

    def fetch(self, start: int, size: int = MAX_RESULTS) -> ListPage:
        limit = min(size, self.sizes[self.requests % len(self.sizes)])
        rows = [self.row(number) for number in self.ids[start : start + limit]]
        total = None if self.bare else len(self.ids) + self.counted
        is_full = self.full and len(rows) == size
        covered = limit if self.tells else size
        page = ListPage(plain_page(rows), total, covered, is_full)
        self.counted += self.drifts
        if self.requests < len(self.changes):
            self.apply(self.changes[self.requests])
        self.requests += 1
        assert self.requests < 5000, "it does not end"
        return page

    def apply(self, change: Change) -> None:
        self.now += 60
        gone = {int(part * (len(self.ids) - 1)) for part in change.removed if self.ids}
        self.ids = [number for n, number in enumerate(self.ids) if n not in gone]
        self.stayed &= set(self.ids)
        for _ in range(change.prepended):
            self.ids.insert(0, self.new())
        for part in change.inserted:
            self.ids.insert(int(part * len(self.ids)), self.new())
        self.ids += [self.new() for _ in range(change.appended)]

    def new(self) -> int:
        """Return an unused id above all others."""
        number = max(self.added, default=0) + 1
        self.added[number] = self.now
        return number

    def page(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[int],
        start: int,
        *,
        size: int = MAX_RESULTS,
        tries: int = TRIES,
        parse: object,
    ) -> ListPage:
        assert parse is parse_loose
        assert (template, ids) == ("/v2/messages/{}/opens", (7,))
        self.asked.append((start, size, tries))
        return self.fetch(start, size)


@st.composite
def shelves(
    draw: st.DrawFn,
    changes: st.SearchStrategy[Change],
    *,
    order: str = "",
    smallest: int = 1,
) -> Shelf:
    """Draw a list of up to 25 rows in small pages."""
    ids = list(range(1, 1 + draw(st.integers(0, 25))))
    order = order or draw(st.sampled_from("adn"))
    if order != "a":
        ids.reverse()
    if order == "n":
        random.Random(draw(st.integers(0, 99))).shuffle(ids)  # noqa: S311
    sizes = draw(st.lists(st.integers(smallest, 6), min_size=1, max_size=4))
    shelf = Shelf(ids, draw(st.lists(changes, max_size=8)), sizes)
    return replace(shelf, tells=draw(st.booleans()))


def finish(pages: Generator[Page, None, ListScan]) -> tuple[list[int], ListScan]:
    """Return the ids of all pages, and the finished scan."""
    found: list[int] = []
    while True:
        try:
            page = next(pages)
        except StopIteration as end:
            return found, end.value
        found += [cast("int", row["id"]) for row in page.made().records]


def read_all(
    fetch: Callable[[int], ListPage], *, shrinking: bool = False
) -> tuple[list[int], ListScan]:
    return finish(scan(Pages(fetch), every_row, shrinking=shrinking))


# A scan over a list


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("shrinking", [True, False])
@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 5, MAX_RESULTS])
def test_a_scan_leaves_out_only_the_rows_that_fail_each_page(
    limit: int, *, tells: bool, shrinking: bool, counted: bool
) -> None:
    """Whether the total counts them or not; at most two are side by side."""
    shelf = Shelf([*range(7)], sizes=(limit,), tells=tells)
    for bad in {frozenset(pair) for pair in product(range(7), repeat=2)}:
        shelf.mark()
        shelf.counted = 0 if counted else -len(bad)

        def fetch(
            start: int,
            size: int = MAX_RESULTS,
            _: int = 1,
            *,
            bad: frozenset[int] = bad,
        ) -> ListPage:
            shelf.requests += 1
            if bad & {*range(start, start + min(size, limit))}:
                raise Broken("500")
            return shelf.fetch(start, size)

        pages = Pages(fetch, around=AroundRows(fetch))
        found, seen = finish(scan(pages, every_row, shrinking=shrinking))
        assert {*found} == {*range(7)} - bad
        assert not seen.whole or not seen.unread
        assert seen.unread == len(bad) or (not counted and seen.unread < len(bad))
        assert shelf.requests < 150


@given(shelves(st.just(QUIET)), st.booleans())
@PROPERTY
def test_a_quiet_list_is_read_in_full_and_in_order(
    shelf: Shelf,
    shrinking: bool,  # noqa: FBT001
) -> None:
    # A page of one row cannot hold the overlap that reveals a shift.
    assume(not shrinking or min(shelf.sizes) > 1)
    found, seen = read_all(shelf.fetch, shrinking=shrinking)
    assert found == shelf.ids == list(seen.ids)
    assert seen.whole
    assert seen.rows == len(shelf.ids)
    assert seen.totals == (len(shelf.ids), len(shelf.ids))
    if shelf.ids:
        assert seen.newest == int((NOW - DAY) * 1000)


@given(shelves(growth))
@PROPERTY
def test_a_complete_read_of_a_growing_list_has_each_row_that_stayed(
    shelf: Shelf,
) -> None:
    found, seen = read_all(shelf.fetch)
    if seen.whole:
        assert shelf.stayed <= set(found)
        assert len(set(found)) == seen.rows
    assert len(found) == len(seen.ids)


@given(shelves(archive, smallest=2))
@PROPERTY
def test_a_complete_read_of_a_shrinking_list_has_each_row_that_stayed(
    shelf: Shelf,
) -> None:
    found, seen = read_all(shelf.fetch, shrinking=True)
    if seen.whole:
        assert shelf.stayed <= set(found)


@given(shelves(archive))
@example(Shelf([1, 2, 3], [Change(removed=(0.0,), appended=1)], sizes=(1,)))
@example(
    Shelf([1, 2, 3], [QUIET, Change(removed=(0.0,), inserted=(1.0,))], sizes=(2, 1))
)
@PROPERTY
def test_a_complete_read_in_pages_of_one_row_has_each_row_that_stayed(
    shelf: Shelf,
) -> None:
    found, seen = read_all(shelf.fetch, shrinking=True)
    if seen.whole:
        assert shelf.stayed <= set(found)


@given(shelves(appends, order="a", smallest=2))
@PROPERTY
def test_rows_appended_during_a_read_hide_no_other_row(shelf: Shelf) -> None:
    found, _ = read_all(shelf.fetch)
    assert shelf.stayed <= set(found)


pages = st.lists(
    st.tuples(
        st.lists(st.none() | st.integers(0, 30), max_size=5),
        st.none() | st.integers(0, 60),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=6,
)


@given(pages, st.booleans())
@PROPERTY
def test_a_read_ends_whatever_the_server_answers(
    answers: list[tuple[list[int | None], int | None, int]],
    shrinking: bool,  # noqa: FBT001
) -> None:
    """Here totals, rows and sizes are arbitrary and repeat for ever."""
    asked: list[int] = []

    def fetch(start: int) -> ListPage:
        ids, total, size = answers[len(asked) % len(answers)]
        asked.append(start)
        assert len(asked) < 1000
        return ListPage(plain_page([{"id": number} for number in ids]), total, size)

    found, seen = read_all(fetch, shrinking=shrinking)
    assert len(asked) <= 20 + 4 * 100 + 2
    assert asked == sorted(set(asked))
    if seen.whole and seen.totals[1] is not None:
        assert len(set(seen.ids)) + seen.keyless == seen.totals[1]
    # Rows of a bare array that come again are not emitted again.
    assert len(found) <= len(seen.ids) + seen.keyless
    assert set(seen.ids) <= set(found)


@given(st.integers(0, 30), st.integers(1, 7))
@PROPERTY
def test_a_bare_array_ends_at_a_page_without_new_rows(rows: int, size: int) -> None:
    shelf = Shelf(list(range(rows)), sizes=(size,), bare=True)
    found, seen = read_all(shelf.fetch)
    assert found == shelf.ids
    assert seen.whole
    assert shelf.requests <= rows // size + 2


@given(st.integers(0, 30))
@PROPERTY
def test_a_bare_array_without_paging_costs_two_requests(rows: int) -> None:
    asked = []

    def fetch(start: int) -> ListPage:
        asked.append(start)
        return ListPage(
            plain_page([{"id": number} for number in range(rows)]), None, MAX_RESULTS
        )

    found, seen = read_all(fetch)
    assert found == list(range(rows))
    assert seen.whole
    assert seen.rows == rows
    assert len(asked) == (2 if rows else 1)


def test_empty_pages_below_the_total_do_not_end_a_read() -> None:
    """The first pages are empty if archived rows are still counted."""

    def fetch(start: int) -> ListPage:
        rows: list[Row] = [{"id": n} for n in range(start, start + 10) if n >= 50]
        rows = rows[: max(0, 60 - start)]
        return ListPage(plain_page(rows), 60, 10)

    for shrinking in (False, True):
        found, seen = read_all(fetch, shrinking=shrinking)
        assert found == list(range(50, 60))
        assert not seen.whole
        assert not seen.cut


def test_a_list_is_read_to_the_end_though_pages_become_smaller() -> None:
    """The client asks for fewer rows when far pages time out."""
    shelf = Shelf(list(range(5000)), sizes=(1000, *[62] * 100))
    found, seen = read_all(shelf.fetch)
    assert found == shelf.ids
    assert seen.whole


def test_a_list_is_read_to_the_end_though_early_pages_hold_few_rows() -> None:
    """Archived rows keep their positions, so pages of old rows hold few rows."""
    kept = {n for n in range(20_000) if n >= 15_000 or n % 100 == 0}
    asked: list[int] = []

    def fetch(start: int) -> ListPage:
        asked.append(start)
        rows: list[Row] = [{"id": n} for n in range(start, start + 1000) if n in kept]
        return ListPage(plain_page(rows), 20_000, 1000)

    found, seen = read_all(fetch, shrinking=True)
    assert not seen.cut
    assert set(found) == kept
    # The scan skips positions it has seen; it does not step row by row.
    assert len(asked) < 100


def test_a_read_ends_though_the_total_always_runs_ahead() -> None:
    asked = []

    def fetch(start: int) -> ListPage:
        asked.append(start)
        assert len(asked) < 5000, "the read does not end"
        rows: list[Row] = [{"id": n} for n in range(start, start + 10)]
        return ListPage(plain_page(rows), start + 20, 10)

    _, seen = read_all(fetch)
    assert not seen.whole


def test_a_total_that_is_too_low_on_one_page_hides_no_row() -> None:
    totals = [9, 4, 9, 9, 9]

    def fetch(start: int) -> ListPage:
        rows: list[Row] = [{"id": n} for n in range(start, min(9, start + 2))]
        return ListPage(plain_page(rows), totals[start // 2], 2)

    found, seen = read_all(fetch)
    assert found == list(range(9))
    assert seen.whole


@pytest.mark.parametrize(
    ("first", "last", "whole"), [(3, 3, True), (4, 3, False), (3, 4, False)]
)
def test_a_scan_is_complete_only_if_both_totals_equal_its_rows(
    first: int,
    last: int,
    whole: bool,  # noqa: FBT001
) -> None:
    seen = ListScan(totals=(first, last))
    seen.ids.extend([1, 2, 3, 3])
    assert seen.whole is whole
    assert not replace(seen, cut=True).whole
    assert not replace(seen, shifted=True).whole


def test_a_shift_is_noticed_though_the_total_stays_the_same() -> None:
    change = Change(removed=(0.0,), appended=1)
    shelf = Shelf(list(range(1, 13)), [change], sizes=(4,))
    found, seen = read_all(shelf.fetch, shrinking=True)
    assert seen.shifted
    assert not seen.whole
    assert len(set(found)) == 13
    shelf = Shelf(list(range(1, 13)), [change], sizes=(4,))
    found, seen = read_all(shelf.fetch)
    assert 5 not in found


def test_rows_of_the_overlap_are_emitted_once() -> None:
    shelf = Shelf(list(range(1, 13)), sizes=(4,))
    found, seen = read_all(shelf.fetch, shrinking=True)
    assert found == shelf.ids
    assert seen.whole


def only_six(rows: Page) -> Page:
    return rows.where([number == 6 for number in rows.integers("id")])


def test_rows_that_are_filtered_out_still_count() -> None:
    shelf = Shelf(list(range(1, 13)), sizes=(4,))
    found, seen = finish(scan(Pages(shelf.fetch), only_six, shrinking=False))
    assert found == [6]
    assert seen.rows == 12


def test_rows_without_an_id_are_counted_and_make_a_list_unordered() -> None:
    rows: list[Row] = [{"id": 1}, {"x": 1}, {"id": "x"}, {"id": 2}, {"id": 2}]
    found, seen = read_seen(rows, total=4)
    assert (seen.keyless, seen.served, seen.rows, seen.order) == (2, 4, 2, "n")
    assert seen.whole
    assert len(found) == 5


def read_seen(rows: list[Row], total: int) -> tuple[list[Row], ListScan]:
    found: list[Row] = []
    reading = scan(
        Pages(lambda _: ListPage(plain_page(rows), total, 1000)),
        every_row,
        shrinking=False,
    )
    while True:
        try:
            found += next(reading).made().records
        except StopIteration as end:
            return found, end.value


@given(st.lists(st.integers(1, 9), max_size=6))
@PROPERTY
def test_the_order_of_a_list_is_found_from_its_ids(ids: list[int]) -> None:
    _, seen = read_seen([{"id": number} for number in ids], len(ids))
    strictly = len(set(ids)) == len(ids) > 1
    expected = "n"
    if strictly and ids == sorted(ids):
        expected = "a"
    if strictly and ids == sorted(ids, reverse=True):
        expected = "d"
    assert seen.order == expected


def test_ascending_means_strictly_rising_and_without_a_missing_id() -> None:
    assert ascending([])
    assert ascending([5])
    assert ascending([1, 2, 9])
    assert not ascending([1, 1])
    assert not ascending([2, 1])
    assert not ascending([1, None])


# A reader and its marks


def parent(days: float = 5.0) -> Parent[int]:
    at = NOW - days * DAY
    return Parent(7, sent=at, newest=at, oldest=at)


def reader(shelf: Shelf, lookback: int = 2, *, dated: bool = True) -> ListReader:
    return ListReader(
        cast("EncompassClient", shelf),
        "/v2/messages/{}/opens",
        POLICY,
        lookback,
        lambda: shelf.now,
        dated=dated,
        parse=parse_loose,
    )


def read(  # noqa: PLR0913 - facts of one visit
    shelf: Shelf,
    mark: Mark | None = None,
    *,
    everything: bool | None = None,
    days: float = 5.0,
    dated: bool = True,
    lookback: int = 2,
) -> tuple[list[int], Mark]:
    """Make one visit; return the emitted ids and the mark."""
    shelf.mark()
    shelf.asked.clear()
    everything = mark is None if everything is None else everything
    visit = Visit(parent(days), mark, everything=everything)
    reading = reader(shelf, lookback, dated=dated).read(visit)
    found: list[int] = []
    while True:
        try:
            page = next(reading)
        except StopIteration as end:
            return found, end.value
        found += [cast("int", row["id"]) for row in page.made().records]


@given(shelves(growth))
@PROPERTY
def test_a_settled_first_read_missed_nothing(shelf: Shelf) -> None:
    found, mark = read(shelf)
    if mark.settled:
        assert shelf.stayed <= set(found)


@given(shelves(archive, smallest=2), st.sampled_from([0, 0, 3]))
@settings(PROPERTY, max_examples=250)
def test_a_settled_read_of_a_shrinking_list_missed_nothing(
    shelf: Shelf, counted: int
) -> None:
    shelf.counted, shelf.tells = counted, True
    found, mark = read(shelf, days=200)
    if mark.settled:
        assert shelf.stayed <= set(found)


def test_two_reads_that_skipped_the_same_rows_do_not_settle_a_list() -> None:
    """The server limits pages to two rows without saying so, and a row is prepended."""
    changes = [
        Change(prepended=1),
        Change(removed=(0.0,), appended=1),
        Change(removed=(1.0,), prepended=1),
    ]
    shelf = Shelf([1, 2, 3, 4], changes, sizes=(2,), counted=2)
    found, mark = read(shelf, days=200)
    if mark.settled:
        assert shelf.stayed <= set(found)


def test_rows_that_vanish_between_two_reads_do_not_settle_a_list() -> None:
    """Vanished rows of the first read do not stand for rows that both reads missed."""
    changes = [
        Change(removed=(0.8,), prepended=1),
        QUIET,
        Change(removed=(0.25, 0.85, 0.21, 0.6), appended=4),
    ]
    shelf = Shelf([1, 2, 3, 4, 5], changes, sizes=(2,), counted=2)
    found, mark = read(shelf, days=200)
    if mark.settled:
        assert shelf.stayed <= set(found)


@given(shelves(st.just(QUIET), order="a"), st.lists(growth, min_size=1, max_size=6))
@settings(PROPERTY, max_examples=100)
def test_no_row_is_missed_over_many_visits(shelf: Shelf, changes: list[Change]) -> None:
    """The list grows at any place, between visits and during them."""
    every, mark = read(shelf)
    seen = set(every)
    for change in changes:
        for _ in range(3):
            shelf.now += DAY
            shelf.apply(change)
        shelf.changes = [change] if change.appended == 1 else []
        found, mark = read(shelf, mark, everything=False, lookback=0)
        seen |= set(found)
        if mark.settled:
            assert shelf.stayed <= seen


@given(
    shelves(st.just(QUIET), order="a", smallest=2),
    st.integers(0, 8),
    st.lists(appends, max_size=4),
)
@PROPERTY
def test_a_probe_emits_all_rows_after_the_mark(
    shelf: Shelf, new: int, during: list[Change]
) -> None:
    """The list grows only at its end, also during the read."""
    known, mark = read(shelf)
    assume(mark.order == "a")
    shelf.apply(Change(appended=new))
    shelf.changes = during
    beyond = shelf.ids[len(known) :]
    now = shelf.now
    found, after = read(shelf, mark, everything=False)
    assert set(beyond) <= set(found)
    assert found == sorted(set(found))
    assert not set(found) & set(known)
    assert after.settled
    assert after.rows == len(known) + len(found)
    assert after.last_id == (found or known)[-1]
    assert shelf.asked[0][0] == len(known) - 1
    assert (after.order, after.checked, after.total) == ("a", now, None)
    if not new and not any(change.appended for change in during):
        assert len(shelf.asked) == 1
        assert after == replace(mark, checked=now)


@given(st.integers(2, 25), st.integers(0, 120), st.lists(prepends, max_size=4))
@PROPERTY
def test_a_descending_probe_emits_all_rows_before_the_known_head(
    rows: int, new: int, during: list[Change]
) -> None:
    """The list grows only at its head, also during the read."""
    shelf = Shelf(list(range(rows, 0, -1)))
    known, mark = read(shelf)
    assert (mark.order, mark.last_id) == ("d", rows)
    shelf.apply(Change(prepended=new))
    head = shelf.ids[: len(shelf.ids) - rows]
    shelf.changes = during
    found, after = read(shelf, mark, everything=False)
    if after.settled:
        assert set(head) <= set(found)
    quiet = not any(change.prepended for change in during)
    if quiet:
        assert found == head
        assert after.settled
        assert after.rows == rows + new
        assert after.last_id == (head or known)[0]
        assert len(shelf.asked) == (1 if new < 50 else 2)
        assert shelf.asked[0][:2] == (0, 50)


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Draw an ascending list, the list after edits, and the error of its total."""
    first = sorted(draw(st.sets(st.integers(10, 40), min_size=2, max_size=8)))
    end = draw(st.lists(st.integers(5, 60), max_size=5))
    now = [*first, *(sorted(end) if draw(st.booleans()) else end)]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(now)))
        now[at : at + draw(st.integers(0, 1))] = draw(st.lists(ids, max_size=1))
    return first, now, draw(st.sampled_from([0, 0, 0, -2, -1, 1, 2]))


ids = st.integers(0, 60)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["a", "d"])
@given(edits())
@settings(PROPERTY, max_examples=400)
def test_a_probe_is_trusted_only_if_its_rows_and_the_total_add_up(
    order: str, edit: tuple[list[int], list[int], int]
) -> None:
    """A probe does not see rows before its start, so everything it sees must fit."""
    first, now, wrong = edit
    if order == "d":
        first, now = first[::-1], now[::-1]
    _, mark = read(Shelf(first))
    assert mark.order == order
    shelf = Shelf(now)
    shelf.counted = max(wrong, -len(now))
    found, after = read(shelf, mark, everything=False)
    if any((start, size) == (0, MAX_RESULTS) for start, size, _ in shelf.asked):
        return
    total = len(now) + shelf.counted
    assert after.rows == total == len(first) + len(found)
    assert after.settled
    if order == "a":
        chain = [first[-1], *found]
        assert now[len(first) - 1 :] == chain
        assert chain == sorted(set(chain))
        assert after.last_id == chain[-1]
    else:
        chain = [*found, first[0]]
        assert now[: len(chain)] == chain
        assert chain == sorted(set(chain), reverse=True)
        assert after.last_id == chain[0]


@pytest.mark.parametrize(
    ("now", "counted"),
    [
        ([1, 2, 3, 4, 9, 8], 0),
        ([1, 2, 3, 4, 4], 0),
        ([1, 2, 3, 4, 2], 0),
        ([1, 2, 3, 4, 5], 1),
        ([1, 2, 3, 4, 5], -1),
        ([1, 2, 3, 4], -1),
        ([1, 2, 3, 5], 0),
        ([1, 2, 3, 0, 4], 0),
        ([1, 2, 3], 0),
        ([1, 2, 3], 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["a", "d"])
def test_a_list_that_does_not_fit_its_mark_is_read_in_full(
    order: str, now: list[int], counted: int
) -> None:
    first = [1, 2, 3, 4]
    if order == "d":
        first, now = first[::-1], now[::-1]
    _, mark = read(Shelf(first))
    assert mark.order == order
    shelf = Shelf(now)
    shelf.counted = counted
    read(shelf, mark, everything=False)
    assert (0, MAX_RESULTS) in {(start, size) for start, size, _ in shelf.asked}


@pytest.mark.parametrize(
    "change",
    [
        {"order": "n"},
        {"unsettled": True},
        {"failures": 1, "tried": NOW},
        {"rows": 0, "last_id": None},
    ],
    ids=str,
)
def test_a_list_whose_mark_is_not_trusted_is_read_in_full(
    change: dict[str, object],
) -> None:
    shelf = Shelf(list(range(1, 13)))
    _, mark = read(shelf)
    assert mark.order == "a"
    read(shelf, replace(mark, **change), everything=False)  # type: ignore[arg-type]
    assert shelf.asked[0][0] == 0


@pytest.mark.parametrize(("days", "start"), [(174, 11), (176, 0)])
def test_a_list_that_may_lose_rows_is_never_probed(days: float, start: int) -> None:
    shelf = Shelf(list(range(1, 13)))
    _, mark = read(shelf, days=days)
    read(shelf, mark, everything=False, days=days)
    assert shelf.asked[0][0] == start


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
def test_a_bare_array_is_always_read_from_its_start(order: int) -> None:
    """Without a total nothing shows that a probe has found all new rows."""
    shelf = Shelf([1, 2, 3, 4][::order], bare=True)
    _, mark = read(shelf)
    assert mark.settled
    read(shelf, mark, everything=False)
    assert [(start, size) for start, size, _ in shelf.asked] == [
        (0, MAX_RESULTS),
        (4, MAX_RESULTS),
    ]


def test_a_verification_reads_the_whole_list_and_emits_every_row() -> None:
    shelf = Shelf(list(range(1, 13)))
    _, mark = read(shelf, days=40)
    assert mark.verified == 2
    found, mark = read(shelf, replace(mark, verified=0), everything=True, days=40)
    assert found == shelf.ids
    assert mark.verified == 2


def test_a_visit_that_does_not_emit_every_row_is_not_a_verification() -> None:
    shelf = Shelf([3, 1, 2])
    _, mark = read(shelf, days=2)
    assert mark.verified == 0
    shelf.now += 9 * DAY
    _, mark = read(shelf, mark, everything=False)
    assert mark.verified == 0


def test_a_list_that_failed_before_gets_one_try_per_page() -> None:
    shelf = Shelf(list(range(1, 4)))
    _, mark = read(shelf)
    assert {tries for _, _, tries in shelf.asked} == {TRIES}
    read(shelf, mark.failed(NOW), everything=False)
    assert {tries for _, _, tries in shelf.asked} == {1}


def test_a_full_read_emits_the_rows_since_the_look_back() -> None:
    shelf = Shelf([5, 9, 7, 8])
    _, mark = read(shelf)
    checked = mark.checked or 0
    days = {5: -3.0, 9: -1.0, 7: 1.0, 8: -2.0}
    shelf.added = {number: checked + n * DAY for number, n in days.items()}
    shelf.now += 2 * DAY
    found, _ = read(shelf, mark, everything=False)
    assert found == [9, 7]
    found, _ = read(shelf, mark, everything=False, dated=False)
    assert found == shelf.ids


@pytest.mark.parametrize("days", [5, 1], ids=["alone", "beside the look-back"])
def test_a_new_row_with_an_old_date_is_found_by_the_count(days: int) -> None:
    """Rows of the look-back are known: they do not explain that the list grew."""
    shelf = Shelf([5, 9, 7, 8])
    shelf.added = dict.fromkeys(shelf.ids, NOW - days * DAY)
    _, mark = read(shelf)
    shelf.ids.insert(2, 4)
    shelf.added[4] = NOW - 50 * DAY
    shelf.now += 9 * DAY
    found, after = read(shelf, mark, everything=False)
    assert 4 in found
    assert after.settled
    assert after.rows == 5


def add_late(shelf: Shelf) -> int:
    """Add a row dated long before the look-back, which makes the list unordered."""
    late = shelf.new()
    shelf.added[late] = NOW - 50 * DAY
    shelf.ids.insert(len(shelf.ids) // 2, late)
    return late


def test_rows_that_came_during_a_read_do_not_hide_a_late_one() -> None:
    shelf = Shelf([5, 9, 7, 8], [QUIET, Change(appended=2)], [1])
    _, mark = read(shelf)
    assert (mark.rows, mark.settled) == (6, True)
    shelf.changes = []
    late = add_late(shelf)
    found, mark = read(shelf, mark)
    assert late in found
    assert mark.rows == 7


@pytest.mark.parametrize("ids", [[5, 9, 7, 8], [5, 7, 8, 9], [9, 8, 7, 5]])
def test_a_row_dated_in_the_future_never_hides_a_late_one(ids: list[int]) -> None:
    shelf = Shelf(ids)
    _, mark = read(shelf)
    end = 0 if mark.order == "d" else len(ids)
    for days in (1, 2):
        shelf.now += DAY
        shelf.ids.insert(end, shelf.new())
        shelf.added[max(shelf.ids)] = NOW + 99 * days * DAY
        end += end > 0
        _, mark = read(shelf, mark)
    late = add_late(shelf)
    found, mark = read(shelf, mark)
    assert late in found
    assert (mark.rows, mark.settled) == (7, True)


def test_a_new_row_that_comes_twice_does_not_hide_a_late_one() -> None:
    shelf = Shelf([5, 9, 7, 8])
    _, mark = read(shelf)
    shelf.now += DAY
    late = add_late(shelf)
    new = shelf.new()
    shelf.ids += [new, new]
    shelf.counted = -1
    found, mark = read(shelf, mark)
    assert late in found
    assert (mark.rows, mark.settled) == (6, True)


def test_a_row_of_the_minute_of_the_check_costs_no_second_read() -> None:
    shelf = Shelf([5, 9, 7, 8])
    shelf.now = NOW + 30
    shelf.added[7] = NOW + 20
    _, mark = read(shelf)
    shelf.now += 10
    shelf.ids.insert(1, shelf.new())
    found, _ = read(shelf, mark.in_whole_minutes())
    assert max(shelf.ids) in found
    assert len(shelf.asked) == 1


def test_two_runs_settle_an_old_list_below_its_total() -> None:
    """The list hides rows that no run has read: one run is not believed."""
    shelf = Shelf(list(range(1, 13)), counted=5)
    found, once = read(shelf, days=200)
    assert set(found) == set(shelf.ids)
    assert (once.rows, once.checked, once.unsettled) == (0, None, True)
    _, twice = read(shelf, once, days=200)
    assert (twice.rows, twice.total, twice.settled) == (12, 17, True)
    shelf.mark()
    _, again = read(shelf, twice, days=200, everything=False)
    assert (again.rows, again.total, again.settled) == (12, 17, True)


def test_a_row_that_an_old_list_hides_for_a_run_is_read_in_the_next() -> None:
    shelf = Shelf(list(range(1, 12)), counted=1)
    _, mark = read(shelf, days=200)
    shelf.counted = 0
    hidden = shelf.new()
    shelf.ids.append(hidden)
    found, mark = read(shelf, mark, days=200)
    assert hidden in found
    assert (mark.rows, mark.total, mark.settled) == (12, None, True)


def test_rows_that_were_read_before_are_archived_at_once() -> None:
    shelf = Shelf(list(range(1, 13)))
    _, mark = read(shelf, days=170)
    del shelf.ids[:5]
    shelf.counted = 5
    _, mark = read(shelf, mark, days=180)
    assert (mark.rows, mark.total, mark.settled) == (7, 12, True)
    new = shelf.new()
    shelf.counted = 6  # a row that no run has read
    _, once = read(shelf, mark, days=181)
    assert once.unsettled
    shelf.ids.append(new)
    shelf.counted = 5
    found, twice = read(shelf, once, days=181)
    assert new in found
    assert (twice.rows, twice.total, twice.settled) == (8, 13, True)


def test_an_old_list_that_shows_no_row_is_archived_after_two_runs() -> None:
    shelf = Shelf([], counted=5)
    _, once = read(shelf, days=200)
    assert once.unsettled
    _, twice = read(shelf, once, days=201)
    assert (twice.rows, twice.total, twice.settled) == (0, 5, True)


def test_a_list_without_activity_for_360_days_is_archived_at_once() -> None:
    shelf = Shelf([], counted=5)
    _, mark = read(shelf, days=361)
    assert (mark.rows, mark.total, mark.settled) == (0, 5, True)


@pytest.mark.parametrize("counted", [-1, 1, 5])
def test_two_reads_of_the_same_rows_and_total_settle_a_list(counted: int) -> None:
    """A total that stays wrong costs two reads once and then one probe per visit."""
    shelf = Shelf(list(range(1, 13)), counted=counted)
    found, mark = read(shelf, days=100)
    assert set(found) == set(shelf.ids)
    assert mark.settled
    assert (mark.rows, mark.total, mark.shortfall) == (12, 12 + counted, counted)
    shelf.mark()
    shelf.asked.clear()
    shelf.ids += [shelf.new(), shelf.new()]
    found, mark = read(shelf, mark, everything=False)
    assert found == shelf.ids[12:]
    assert len(shelf.asked) <= 2
    assert (mark.rows, mark.total, mark.settled) == (14, 14 + counted, True)


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
@pytest.mark.parametrize("place", [0, 6, 11])
def test_a_hidden_row_is_found_when_it_appears_despite_a_known_shortfall(
    order: int, place: int
) -> None:
    """The total stays the same while the hidden row comes into the list."""
    shelf = Shelf(list(range(1, 13))[::order])
    hidden = shelf.ids.pop(place)
    shelf.counted = 1
    _, mark = read(shelf)
    assert mark.shortfall == 1
    shelf.ids.insert(place, hidden)
    shelf.counted = 0
    _, mark = read(shelf, mark, everything=False)
    assert (mark.rows, mark.total, mark.settled) == (12, None, True)


def test_a_hidden_row_is_emitted_when_it_appears_while_another_leaves() -> None:
    shelf = Shelf(list(range(1, 13)))
    hidden = shelf.ids.pop(3)
    shelf.counted = 1
    _, mark = read(shelf)
    shelf.ids[5:6] = [hidden]
    shelf.ids.sort()
    shelf.counted = 0
    found, mark = read(shelf, mark, everything=False, lookback=0)
    assert hidden in found
    assert (mark.rows, mark.total, mark.settled) == (11, None, True)


def test_an_empty_answer_is_believed_only_after_a_second_read() -> None:
    """An empty answer once does not mean that the list has lost its rows."""
    shelf = Shelf(list(range(1, 13)))
    _, mark = read(shelf)
    rows, shelf.ids = shelf.ids, []
    _, once = read(shelf, mark, everything=False)
    assert once.unsettled
    assert (once.rows, once.checked) == (12, mark.checked)
    _, twice = read(shelf, once, everything=False)
    assert (twice.rows, twice.settled) == (0, True)
    shelf.ids = rows
    _, again = read(shelf, once, everything=False)
    assert (again.rows, again.settled) == (12, True)


def test_a_first_read_that_was_cut_continues_after_its_last_row() -> None:
    """An ascending list larger than a run is not read from its start again."""
    shelf = Shelf(list(range(1, 13)))
    cut = Mark(rows=5, last_id=5, order="a", tried=NOW - 60)
    found, mark = read(shelf, cut)
    assert found == [6, 7, 8, 9, 10, 11, 12]
    assert (mark.rows, mark.settled, mark.tried) == (12, True, None)
    # If the rows before the cut have changed, the whole list is read.
    shelf.ids.remove(3)
    found, mark = read(shelf, cut)
    assert set(found) >= set(shelf.ids)
    assert (mark.rows, mark.settled) == (11, True)


def test_a_full_page_is_followed_by_another_though_the_total_is_reached() -> None:
    """The total is one too low: the row after it is not lost."""
    shelf = Shelf(list(range(1, MAX_RESULTS + 2)), counted=-1)
    shelf.full = True
    found, mark = read(shelf)
    assert set(found) == set(shelf.ids)
    assert mark.rows == MAX_RESULTS + 1


def test_an_unsettled_read_keeps_the_facts_of_the_mark() -> None:
    shelf = Shelf([5, 9, 7, 8])
    _, mark = read(shelf)
    shelf.counted = shelf.drifts = 1
    shelf.now += DAY
    _, after = read(shelf, mark.failed(NOW), everything=False)
    assert after == replace(
        mark, unsettled=True, newest=after.newest, tried=after.tried
    )
    shelf.counted = shelf.drifts = 0
    _, last = read(shelf, after, everything=False)
    assert last.settled
    assert last.checked == shelf.now


def test_two_reads_in_changing_order_add_up_if_they_saw_every_row() -> None:
    """Both reads have the same total, and together they saw every row."""
    orders = [[1, 2, 3, 4], [1, 2, 1, 3], [4, 3, 2, 1], [2, 1, 3, 4]]
    asked: list[int] = []

    def fetch(start: int) -> ListPage:
        ids = orders[len(asked)]
        asked.append(start)
        return ListPage(
            plain_page([{"id": number} for number in ids[start : start + 2]]), 4, 2
        )

    one, two = read_all(fetch)[1], read_all(fetch)[1]
    assert not one.whole
    assert two.completes(one)
    assert one.completes(two)
    assert not one.completes(one)


def test_two_reads_that_together_saw_every_row_settle_a_list() -> None:
    class Shuffled(Shelf):
        def fetch(self, start: int, size: int = MAX_RESULTS) -> ListPage:
            self.ids = [[1, 2, 3, 4], [1, 2, 1, 3], [4, 3, 2, 1], [2, 1, 3, 4]][
                self.requests
            ]
            return super().fetch(start, size)

    found, mark = read(Shuffled([1, 2, 3, 4], sizes=(2,)))
    assert set(found) == {1, 2, 3, 4}
    assert mark.settled
    assert mark.order == "n"


def test_two_reads_are_equal_if_their_totals_and_ids_are() -> None:
    one = ListScan(totals=(5, 5))
    one.ids.extend([1, 2, 3])
    two = ListScan(totals=(5, 5))
    two.ids.extend([3, 2, 1, 1])
    assert one.same_as(two)
    assert not one.same_as(replace(two, cut=True))
    assert not replace(one, cut=True).same_as(two)
    for moved in ((5, 4), (4, 5), (4, 4)):
        assert not one.same_as(replace(two, totals=moved))
    assert not one.same_as(replace(two, keyless=1))
    two.ids.append(4)
    assert not one.same_as(two)


def test_the_newest_row_is_never_in_the_future() -> None:
    shelf = Shelf([1, 2])
    shelf.added[2] = NOW + 99 * DAY
    _, mark = read(shelf)
    assert mark.newest == NOW
    shelf.ids.append(3)
    shelf.added[3] = NOW + 99 * DAY
    shelf.now += 5
    _, mark = read(shelf, mark, everything=False)
    assert mark.newest == NOW + 5


def test_rows_with_an_unreadable_date_are_always_emitted() -> None:
    class Undated(Shelf):
        def row(self, number: int) -> Row:
            return {"id": number, "dateAdded": "yesterday"}

    shelf = Undated([5, 9, 7])
    _, mark = read(shelf)
    assert mark.newest is None
    found, _ = read(shelf, mark, everything=False)
    assert found == shelf.ids
