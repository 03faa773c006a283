"""Reading lists of Encompass: order, totals, pages, and changes during a read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.world import World
from tests.support.encompass import DAY, NOW, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ORDERS = ("ascending", "descending", "shuffled", "reshuffled")
OPENS = "encompass_opens"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS,)}


def site_with(
    opens: int,
    *,
    age: float = 1.0,
    order: str = "ascending",
    added: Callable[[int], float] | None = None,
    ids: Callable[[int], int] | None = None,
    **settings: Any,
) -> tuple[Site, int]:
    """Return a site with one message, `age` days old, and a number of opens."""
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW - age * DAY)
    world.encompass.set_order(order)
    for number in range(opens):
        at = added(number) if added else NOW - age * DAY + number + 1
        fields = {"id": ids(number)} if ids else {}
        world.encompass.add_row("opens", message, date_added=at, **fields)
    return Site(world, **settings), message


def when_asked(site: Site, start: int, then: Callable[[], object]) -> Callable[[], int]:
    """Call `then` at each request for opens from `start` on; return a counter."""
    done = []

    def hook(_method: str, path: str, query: Mapping[str, str]) -> None:
        if path.endswith("/opens") and int(query["startAt"]) >= start:
            done.append(then())

    site.world.on_request(hook)
    return lambda: len(done)


def when_asked_first(site: Site, start: int, then: Callable[[], object]) -> None:
    """Call `then` at the first request for opens from `start` on."""
    left = [then]
    when_asked(site, start, lambda: left and left.pop()())


# Late events


@pytest.mark.parametrize("order", ORDERS)
def test_an_open_that_appears_days_after_its_date_is_found_at_the_next_visit(
    order: str,
) -> None:
    site, message = site_with(5, age=20, order=order)
    site.sync()
    late = site.api.add_row(
        "opens", message, date_added=NOW - 6 * DAY, visible_from=NOW + 0.5 * DAY
    )
    site.advance(1)
    assert late in site.sync().ids(OPENS)
    assert not site.differences()


@pytest.mark.parametrize("order", ORDERS)
def test_an_open_months_after_the_send_is_found_within_a_week(order: str) -> None:
    site, message = site_with(5, age=120, order=order)
    site.sync()
    site.advance(7)
    late = site.api.add_row("opens", message)
    assert late in site.sync().ids(OPENS)
    assert not site.differences()


@pytest.mark.parametrize("order", ["shuffled", "reshuffled"])
def test_a_back_dated_row_is_found_at_the_next_visit_by_the_total(order: str) -> None:
    site, message = site_with(60, age=20, order=order)
    site.sync()
    assert site.mark("opens", message).order == "n"
    site.advance(1)
    back_dated = site.api.add_row(
        "opens", message, date_added=NOW - 19 * DAY, visible_from=NOW + 1
    )
    run = site.sync()
    assert back_dated in run.ids(OPENS)
    assert run.reports[OPENS]["outcome"] == "complete"


def test_a_list_with_new_rows_emits_those_and_the_look_back_only() -> None:
    site, message = site_with(60, age=20, order="shuffled")
    site.sync()
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(3)]
    assert sorted(site.sync().ids(OPENS)) == new
    site.advance(1)
    assert sorted(site.sync().ids(OPENS)) == new  # within two days of the last check
    site.advance(2.5)
    site.sync()
    site.advance(1)
    assert site.sync().ids(OPENS) == []


@pytest.mark.parametrize("order", ORDERS)
def test_a_row_that_no_total_reveals_is_found_at_the_next_verification(
    order: str,
) -> None:
    site, message = site_with(40, age=20, order=order)
    site.sync()
    site.advance(1)
    site.api.delete("opens", 7)
    hidden = site.api.add_row(
        "opens", message, id=5_000, date_added=NOW - 19 * DAY, visible_from=NOW
    )
    site.api.add_row("opens", message, id=6_000, date_added=NOW - 19 * DAY)
    site.api.delete("opens", 8)
    site.sync()
    site.advance(9.5)  # 30.5 days after the send
    assert hidden in {*site.sync().ids(OPENS), *site.target_ids("opens")}


def test_rows_without_a_readable_date_are_emitted_at_each_read() -> None:
    site, message = site_with(3, age=20, order="shuffled")
    undated = site.api.add_row("opens", message, dateAdded=None)
    other = site.api.add_row("opens", message, dateAdded="yesterday")
    site.sync()
    site.advance(3)
    assert sorted(site.sync().ids(OPENS)) == [undated, other]


def test_a_row_dated_in_the_minute_of_the_last_check_does_not_hide_a_late_row() -> None:
    """The state keeps whole minutes: it is not taken for a new row."""
    site, message = site_with(3, order="shuffled", lookback_days=0)
    site.api.add_row("opens", message, date_added=NOW - 5)
    site.sync(**ONLY_OPENS)
    assert site.mark("opens", message).checked == NOW - 20
    site.advance(0.1)
    late = site.api.add_row("opens", message, date_added=NOW - DAY / 2)
    assert late in site.sync(**ONLY_OPENS).ids(OPENS)


def test_a_late_row_is_found_by_the_look_back_of_the_next_visit() -> None:
    site, message = site_with(40, age=20, order="shuffled")
    site.sync()
    site.api.add_row(
        "opens", message, id=900, date_added=NOW - DAY, visible_from=NOW + 60
    )
    site.advance(1)
    site.api.delete("opens", 3)  # the total stays the same
    assert site.sync().ids(OPENS) == [900]


def test_the_look_back_starts_at_the_last_check_of_the_list_itself() -> None:
    # New rows of a list that is read weekly are days older than the bookmark of the
    # stream, which follows a list that is read in every run.
    site, slow = site_with(4, age=120, order="shuffled")
    quick = site.api.add_message()
    site.sync()
    late = 0
    for day in range(1, 8):
        site.advance(1)
        site.api.add_row("opens", quick)
        if day == 1:
            late = site.api.add_row("opens", slow)
            site.api.delete("opens", 2)  # the total stays the same
        site.sync()
    assert late in site.target_ids("opens")


# The order of a list


def test_a_quiet_ascending_list_costs_one_request_from_its_known_end() -> None:
    site, message = site_with(1_200)
    site.sync()
    assert site.mark("opens", message).order == "a"
    site.advance(1)
    run = site.sync()
    assert site.starts("opens") == [1_199]
    assert run.ids(OPENS) == []
    assert site.mark("opens", message).rows == 1_200


def test_a_probe_emits_only_the_new_rows_at_the_end() -> None:
    site, message = site_with(1_200)
    site.sync()
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(3)]
    assert site.sync().ids(OPENS) == new
    assert site.starts("opens") == [1_199]
    assert site.mark("opens", message).rows == 1_203
    assert site.mark("opens", message).last_id == new[-1]


def test_a_probe_goes_on_over_pages_of_new_rows() -> None:
    site, message = site_with(10)
    site.sync()
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(2_500)]
    assert site.sync().ids(OPENS) == new
    assert sorted(site.starts("opens")) == [9, 1_009, 2_009]


def test_a_list_is_not_probed_before_its_order_is_known() -> None:
    site, message = site_with(1)
    site.sync()
    site.advance(1)
    site.api.add_row("opens", message)
    site.sync()
    assert site.starts("opens") == [0]
    assert site.mark("opens", message).order == "a"


@pytest.mark.parametrize("order", ["descending", "shuffled", "reshuffled"])
def test_a_list_that_is_no_longer_ascending_is_read_in_full(order: str) -> None:
    site, message = site_with(30)
    site.sync()
    site.advance(1)
    site.api.set_order(order)
    new = [site.api.add_row("opens", message) for _ in range(2)]
    assert set(new) <= set(site.sync().ids(OPENS))
    assert site.starts("opens")[:2] == [29, 0]
    assert not site.differences()
    if order != "descending":
        site.advance(1)
        site.sync()
        assert site.starts("opens") == [0]


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("beside", [0, 1, 4])
def test_a_row_inserted_in_the_middle_is_found(order: str, beside: int) -> None:
    site, message = site_with(30, order=order, ids=lambda n: 10 * n + 10)
    site.sync()
    site.advance(1)
    inside = site.api.add_row("opens", message, id=155, date_added=NOW - 0.5 * DAY)
    new = [site.api.add_row("opens", message) for _ in range(beside)]
    assert {inside, *new} <= set(site.sync().ids(OPENS))
    assert not site.differences()


def test_a_list_is_read_in_full_if_new_rows_after_its_known_end_are_unordered() -> None:
    site, message = site_with(30, ids=lambda n: 10 * n + 10)
    site.sync()
    site.advance(1)
    # A row is removed and another inserted before the known end: end and total agree.
    site.api.delete("opens", 50)
    site.api.add_row("opens", message, id=155)
    new = site.api.add_row("opens", message, id=900)
    site.sync()
    assert site.starts("opens") == [29]
    site.advance(30)
    assert 155 in site.sync().ids(OPENS)
    assert new in site.target_ids("opens")


def test_a_probe_that_does_not_reach_the_total_reads_the_whole_list() -> None:
    site, message = site_with(30, age=20)
    site.sync()
    site.advance(1)
    site.world.faults.add("shift_total", path="/opens$", times=1)
    site.sync()
    assert site.starts("opens")[:2] == [29, 0]
    assert site.mark("opens", message).rows == 30


def test_a_new_row_in_the_place_of_the_known_last_one_is_found() -> None:
    site, message = site_with(30, age=20)
    site.sync()
    site.advance(1)
    site.api.delete("opens", 9)  # the last row moves up, and the total stays the same
    new = site.api.add_row("opens", message)
    assert new in site.sync().ids(OPENS)
    assert site.starts("opens") == [29, 0]


def test_a_descending_list_that_grows_during_a_probe_is_read_in_full() -> None:
    site, message = site_with(200, age=20, order="descending")
    site.sync()
    site.advance(1)
    new = {site.api.add_row("opens", message) for _ in range(120)}
    when_asked_first(site, 50, lambda: new.add(site.api.add_row("opens", message)))
    site.sync()
    assert len(new) == 121
    assert new <= site.target_ids("opens")
    assert site.starts("opens") == [0, 50, 0]


def test_a_descending_list_is_read_from_its_head_to_the_known_head() -> None:
    site, message = site_with(2_600, age=5, order="descending")
    site.sync()
    assert site.mark("opens", message).order == "d"
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(3)]
    assert site.sync().ids(OPENS) == new[::-1]
    assert [e.query["maxResults"] for e in site.asked("opens")] == ["50"]
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(1_200)]
    assert site.sync().ids(OPENS) == new[::-1]
    assert site.starts("opens") == [0, 50, 1_050]
    assert site.mark("opens", message).rows == 2_600 + 3 + 1_200


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_list_that_may_lose_rows_to_the_archive_is_never_probed(order: str) -> None:
    site, message = site_with(30, age=176, order=order, revisit="always")
    site.sync()
    site.advance(1)
    # A new row makes up for an archived one: the total stays the same.
    site.api.delete("opens", 3)
    new = site.api.add_row("opens", message)
    assert new in site.sync().ids(OPENS)
    assert site.starts("opens") == [0]
    assert site.mark("opens", message).rows == 30


# Totals that drift


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_two_rows_that_arrive_between_two_pages_are_not_lost(order: str) -> None:
    site, message = site_with(1_500, order=order)
    when_asked_first(
        site,
        1_000,
        lambda: [site.api.add_row("opens", message) for _ in range(2)],
    )
    run = site.sync()
    site.times.append(site.world.clock.now())
    assert not site.differences()
    assert site.starts("opens") == [0, 1_000, 0, 1_000]
    assert "unsettled" not in run.reports[OPENS]
    assert site.mark("opens", message).rows == 1_502


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_a_list_that_grows_during_every_read_is_read_again_in_the_next_run(
    order: str,
) -> None:
    site, message = site_with(1_500, age=100, order=order)
    grown = when_asked(site, 1_000, lambda: site.api.add_row("opens", message))
    run = site.sync()
    assert grown() == 2
    assert run.reports[OPENS]["unsettled"] == 1
    assert site.mark("opens", message).unsettled
    assert site.mark("opens", message).checked is None
    site.advance(0.01)
    site.sync()
    assert site.starts("opens")[:2] == [0, 1_000]
    site.world._hooks.clear()  # noqa: SLF001
    site.advance(0.01)
    run = site.sync()
    assert "unsettled" not in run.reports[OPENS]
    assert not site.differences()


def test_a_permanently_wrong_total_costs_two_reads_once_and_blocks_nothing() -> None:
    site, message = site_with(1_500, age=100)
    other = site.api.add_message(sent=NOW - 100 * DAY)
    site.api.add_row("opens", other, date_added=NOW - 99 * DAY)
    site.world.faults.add("shift_total", message_id=message, path="/opens$")
    run = site.sync()
    assert run.code == 0
    assert "unsettled" not in run.reports[OPENS]
    assert len(site.asked("opens", message)) <= 6
    assert not site.differences()  # all rows were emitted
    site.advance(0.01)
    site.sync()
    assert site.visited("opens") == []
    site.world.faults.clear()
    site.advance(7)
    site.sync()
    assert site.mark("opens", message).settled
    assert site.mark("opens", message).total is None
    site.advance(0.01)
    site.sync()
    assert site.visited("opens") == []


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_a_row_hidden_by_a_repeated_one_is_found_by_the_second_read(order: str) -> None:
    site, _ = site_with(1_500, order=order)
    site.world.faults.add("repeat_row", path="/opens$", times=1)
    run = site.sync()
    assert not site.differences()
    assert "unsettled" not in run.reports[OPENS]


def test_a_list_is_read_up_to_the_largest_total_of_any_page() -> None:
    site, _ = site_with(3_500)

    def hook(_method: str, _path: str, query: Mapping[str, str]) -> None:
        site.world.faults.clear()
        if query.get("startAt") == "1000":
            site.world.faults.add("shift_total", path="/opens$", by=-2_000)

    site.world.on_request(hook)
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == set(range(1, 3_501))


def test_a_hidden_row_is_reported_once_and_found_when_it_appears(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The list has a known shortfall and is read as rarely as others."""
    site, message = site_with(1_500, age=100)
    site.world.faults.add("repeat_row", path="/opens$")
    said = []
    for _ in range(3):
        caplog.clear()
        run = site.sync(streams=(OPENS,))
        assert "unsettled" not in run.reports[OPENS]
        said.append("still differ from the vendor's count" in caplog.text)
        site.advance(7)
    assert said == [True, False, False]
    assert len(site.asked("opens")) == 2
    site.world.faults.clear()
    site.sync()
    assert site.mark("opens", message).settled
    assert not site.differences()


def test_a_probe_with_a_repeated_row_reads_the_whole_list() -> None:
    site, message = site_with(100, age=20)
    site.sync()
    site.advance(1)
    new = site.api.add_row("opens", message)
    site.world.faults.add("repeat_row", path="/opens$", times=1)
    assert new in site.sync().ids(OPENS)
    assert site.mark("opens", message).rows == 101


# Rows that are archived and inserted during a read


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize(("pages", "at"), [(2, 900), (4, 900), (4, 1_900)])
def test_a_row_archived_and_one_inserted_between_pages_hide_no_row(
    order: str, pages: int, at: int
) -> None:
    rows = 1_000 * pages - 400
    site, message = site_with(rows, age=178, order=order)
    when_asked_first(
        site,
        at,
        lambda: (site.api.delete("opens", 1), site.api.add_row("opens", message)),
    )
    run = site.sync()
    site.times.append(site.world.clock.now())
    assert site.target_ids("opens") >= set(range(2, rows + 2))
    assert run.code == 0
    assert len(site.asked("opens")) <= 4 * pages


def test_a_list_that_loses_and_gains_rows_during_every_read_stays_due() -> None:
    site, message = site_with(2_500, age=178)
    gone = iter(range(1, 100))
    when_asked(
        site,
        900,
        lambda: (
            site.api.delete("opens", next(gone)),
            site.api.add_row("opens", message),
        ),
    )
    run = site.sync()
    assert run.reports[OPENS]["unsettled"] == 1
    assert len(site.asked("opens")) <= 10
    site.world._hooks.clear()  # noqa: SLF001
    site.advance(0.01)
    site.sync()
    assert site.mark("opens", message).settled
    last = site.mark("opens", message).last_id
    assert last is not None
    assert last > 2_500
    assert site.target_ids("opens") >= set(range(50, last + 1))


# Archived rows that the total still counts


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_archived_rows_in_the_total_are_kept_as_a_shortfall(
    order: str,
) -> None:
    site, message = site_with(
        1_500,
        age=200,
        order=order,
        added=lambda n: NOW - (190 if n < 1_200 else 20) * DAY + n,
        revisit="always",
    )
    site.api.set_policy(archived_in_total=True)
    assert site.sync().reports[OPENS]["unsettled"] == 1  # no run has read the others
    run = site.sync()
    mark = site.mark("opens", message)
    assert (mark.rows, mark.total, mark.unsettled) == (300, 1_500, False)
    assert "unsettled" not in run.reports[OPENS]
    assert len(run.ids(OPENS)) >= 300
    assert not site.differences()
    if order != "shuffled":
        assert len(site.asked("opens")) <= 12
    site.advance(1)
    new = site.api.add_row("opens", message)
    assert new in site.sync().ids(OPENS)
    assert site.mark("opens", message).total == 1_501
    assert site.mark("opens", message).rows == 301


def test_empty_pages_below_the_total_do_not_end_a_list() -> None:
    site, message = site_with(
        5_500, age=200, added=lambda n: NOW - (190 if n < 5_450 else 20) * DAY + n
    )
    site.api.set_policy(archived_in_total=True)
    site.sync()
    assert not site.differences()
    assert site.starts("opens")[:6] == [0, 1_000, 2_000, 3_000, 4_000, 5_000]
    assert len(site.asked("opens")) <= 40
    site.sync()
    assert site.mark("opens", message).rows == 50


def test_a_list_of_only_archived_rows_settles_after_two_runs() -> None:
    site, message = site_with(2_500, age=200, added=lambda _: NOW - 190 * DAY)
    site.api.set_policy(archived_in_total=True)
    site.sync()
    assert site.starts("opens") == [0, 1_000, 2_000] * 2
    site.sync()
    mark = site.mark("opens", message)
    assert (mark.rows, mark.total, mark.settled) == (0, 2_500, True)


@pytest.mark.parametrize("alive", [5, 30])
def test_a_few_rows_scattered_among_many_archived_ones_cost_bounded_requests(
    alive: int,
) -> None:
    site, _ = site_with(
        1_500,
        age=200,
        order="shuffled",
        added=lambda n: NOW - (190 if n % (1_500 // alive) else 20) * DAY + n,
    )
    site.api.set_policy(archived_in_total=True)
    site.sync()
    assert not site.differences()
    print(f"{alive} rows of 1,500 left: {len(site.asked('opens'))} requests")  # noqa: T201
    assert len(site.asked("opens")) <= 2 * 1_500


def test_a_young_list_below_its_total_is_not_reported_as_archived() -> None:
    site, message = site_with(50, age=20)
    site.world.faults.add("shift_total", path="/opens$")
    run = site.sync()
    assert site.mark("opens", message).shortfall == 1
    rows = run.records("email_metrics_reconciliation")
    found = [r for r in rows if r["stream"] == OPENS]
    assert [r["verdict"] for r in found] == ["differs"]


# Sizes and shapes


def test_rows_that_come_to_an_empty_list_are_read() -> None:
    site, message = site_with(0, age=3.5)
    assert site.sync().ids(OPENS) == []
    site.advance(1)
    new = [site.api.add_row("opens", message) for _ in range(5)]
    assert site.sync().ids(OPENS) == new
    assert not site.differences()


def test_old_rows_that_come_to_an_empty_list_are_read() -> None:
    site, message = site_with(0, age=15)
    site.sync()
    site.advance(1)
    old = [
        site.api.add_row("opens", message, date_added=NOW - 10 * DAY, visible_from=NOW)
        for _ in range(5)
    ]
    assert site.sync().ids(OPENS) == old


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("age", [5, 178])
def test_a_list_in_pages_of_at_most_100_rows_is_read_to_the_end(
    order: str, age: float
) -> None:
    site, message = site_with(1_050, age=age, order=order, revisit="always")
    site.api.set_policy(max_page=100)
    site.sync()
    assert not site.differences()
    assert len(site.asked("opens")) == 11
    site.advance(1)
    new = {site.api.add_row("opens", message) for _ in range(250)}
    assert new <= set(site.sync().ids(OPENS))
    assert not site.differences()


def test_a_list_whose_later_pages_time_out_is_read_to_the_end() -> None:
    site, message = site_with(8_000)

    def hook(_method: str, path: str, query: Mapping[str, str]) -> None:
        site.world.faults.clear()
        if path.endswith("/opens") and int(query["startAt"]) >= 1_000:
            site.world.faults.add("max_rows", rows=100, path="/opens$")

    site.world.on_request(hook)
    run = site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == set(range(1, 8_001))
    assert "unsettled" not in run.reports[OPENS]
    assert site.mark("opens", message).rows == 8_000


@pytest.mark.parametrize("envelope", [False, True])
@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("links", [0, 1, 3, 1_000, 2_300])
def test_links_are_read_as_an_array_or_an_envelope_with_or_without_pages(
    links: int,
    envelope: bool,  # noqa: FBT001
    paged: bool,  # noqa: FBT001
) -> None:
    site, message = site_with(0)
    site.api.set_policy(links_envelope=envelope, links_paged=paged)
    for _ in range(links):
        site.api.add_row("links", message)
    site.sync()
    assert not site.differences()
    assert len(site.asked("links")) <= links // 1_000 + 2


def test_a_paged_bare_array_of_small_pages_is_read_to_the_end() -> None:
    site, message = site_with(0)
    site.api.set_policy(links_paged=True, max_page=7)
    for _ in range(40):
        site.api.add_row("links", message)
    site.sync()
    assert not site.differences()


def test_links_are_read_at_first_sight_and_at_verifications_only() -> None:
    site, message = site_with(0, age=0)
    site.api.add_row("links", message)
    days = []
    for day in range(40):
        site.sync(streams=("encompass_links",))
        days += [day] * bool(site.visited("links"))
        site.advance(1)
    assert days == [0, 3, 30]


def test_the_read_of_a_list_that_grows_as_fast_as_it_is_read_ends() -> None:
    site, message = site_with(30)
    site.api.set_policy(max_page=10)

    def grow() -> None:
        if len(site.asked("opens")) < 400:
            for _ in range(10):
                site.api.add_row("opens", message)

    when_asked(site, 0, grow)
    run = site.sync(**ONLY_OPENS)
    assert run.code == 0
    assert len(site.asked("opens")) < 400
    assert site.mark("opens", message).unsettled


@pytest.mark.parametrize("seed", range(3))
def test_a_list_in_another_order_at_each_request_settles_after_every_row_was_seen(
    seed: int,
) -> None:
    world = World(NOW, seed=seed)
    message = world.encompass.add_message(sent=NOW - 100 * DAY)
    for _ in range(106):
        world.encompass.add_row("opens", message, date_added=NOW - 99 * DAY)
    world.encompass.set_order("reshuffled")
    world.encompass.set_policy(max_page=100)
    site = Site(world)
    for _ in range(8):
        site.sync(**ONLY_OPENS)
        if site.mark("opens", message).settled:
            break
        site.advance(0.01)
    assert site.mark("opens", message).settled
    assert site.target_ids("opens") == set(range(1, 107))
