"""Encompass: marks, the revisit schedule and plans, tested by properties."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.encompass.archive import (
    ARCHIVE_DAYS,
    ARCHIVE_FIRST_DAYS,
    archive_gap,
    headroom_days,
)
from tap_email_metrics.providers.encompass.schedule import (
    NUMBERED,
    Mark,
    MessagePolicy,
    MessageSchedule,
    age,
    due,
    may_lose_rows,
    revisit_interval,
    stable_fraction,
    unread_since,
    verification_due,
    verification_points,
)
from tap_email_metrics.state.marks import QUARANTINE_AFTER
from tap_email_metrics.state.plans import Parent, Plan, Visit, history_key
from tap_email_metrics.state.streams import StreamState
from tests.support.marks import instants, marks

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
NAME = "encompass_opens"
plan = MessageSchedule().plan
checked_through = MessageSchedule().checked_through
POLICY = MessagePolicy(window=365.0 * DAY, sweep_days=90)
LONGEST_MARK = 45
"""Characters of a mark: five lists with their keys fit into 250 bytes per message."""

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ids = st.integers(1, 10**9)


@st.composite
def parents(draw: st.DrawFn, parent_id: int | None = None) -> Parent[int]:
    if draw(st.integers(0, 19)) == 0:
        return Parent(parent_id or draw(ids))
    times = draw(st.lists(instants, min_size=1, max_size=3))
    return Parent(
        parent_id or draw(ids), sent=times[0], newest=max(times), oldest=min(times)
    )


def settled(days_ago: float = 0.0, now: float = NOW, **facts: Any) -> Mark:
    """A settled mark whose last check was `days_ago` days before now."""
    values = {"rows": 3, "last_id": 3, "order": "a", "verified": 99}
    return Mark(**{**values, "checked": now - days_ago * DAY, **facts})


def sent(days_ago: float, parent_id: int = 1, now: float = NOW) -> Parent[int]:
    """A parent whose times are all the time of its send."""
    at = now - days_ago * DAY
    return Parent(parent_id, sent=at, newest=at, oldest=at)


def fresh(**entry: Any) -> StreamState[int, Mark]:
    return StreamState(NAME, entry, NUMBERED)


# Marks


def minute(seconds: float | None) -> float | None:
    return None if seconds is None else seconds // 60 * 60


@given(marks)
@PROPERTY
def test_packing_a_mark_loses_only_seconds(mark: Mark) -> None:
    again = Mark.unpack(mark.pack())
    for name in ("rows", "last_id", "order", "verified", "unsettled", "total"):
        assert getattr(again, name) == getattr(mark, name), name
    assert again.failures == mark.failures
    assert again.newest == minute(mark.newest)
    assert again.checked == minute(mark.checked)
    assert again.tried == minute(mark.tried)


@given(marks)
@PROPERTY
def test_packing_a_mark_twice_changes_nothing(mark: Mark) -> None:
    assert Mark.unpack(mark.pack()).pack() == mark.pack()


@given(marks)
@PROPERTY
def test_a_packed_mark_is_short_and_needs_no_escapes(mark: Mark) -> None:
    ordinary = abs(mark.last_id or 0) < 10**12
    limit = LONGEST_MARK if ordinary else LONGEST_MARK + 5
    assert len(mark.pack()) <= limit
    assert json.dumps(mark.pack()) == f'"{mark.pack()}"'


def test_the_marks_of_a_message_take_at_most_250_bytes() -> None:
    mark = settled(1.5, rows=170_000, last_id=987_654_321, newest=NOW, ahead=99)
    entry = json.dumps({"123456789": mark.pack()})
    assert 5 * len(entry) <= 250


@given(st.text())
@example("")
@example("a")
@example("0....")
@example("0...a")
@example("-...a0")
@example("-1...a0")
@example("1...x0")
@example("1...a0.....")
@example("1...a0...-1")
@example("1.é..a0")
@PROPERTY
def test_any_text_is_a_value_error_or_a_usable_mark(text: str) -> None:
    try:
        mark = Mark.unpack(text)
    except ValueError:
        return
    assert Mark.unpack(mark.pack()) == mark


@given(st.text("019AZaz_$-.!nd", max_size=40))
@PROPERTY
def test_text_in_the_form_of_a_mark_is_a_value_error_or_a_usable_mark(
    text: str,
) -> None:
    try:
        mark = Mark.unpack(text)
    except ValueError:
        return
    assert Mark.unpack(mark.pack()) == mark


@pytest.mark.parametrize("text", ["-1....a0", "1....a0..-1", "1....a0....-1"])
def test_a_mark_with_a_negative_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        Mark.unpack(text)


@given(marks, st.data())
@PROPERTY
def test_a_truncated_mark_raises_nothing_but_a_value_error(
    mark: Mark, data: st.DataObject
) -> None:
    packed = mark.pack()
    text = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        Mark.unpack(text)
    except ValueError:
        return


@pytest.mark.parametrize("place", [2, 3, 7])
@pytest.mark.parametrize("digits", ["$" * 200, "$" * 12, "-" + "$" * 12])
def test_a_time_out_of_range_is_refused(place: int, digits: str) -> None:
    parts = ["1", "1", "0", "0", "a0", "", "1", "0"]
    parts[place] = digits
    with pytest.raises(ValueError, match=r".*"):
        Mark.unpack(".".join(parts))


def test_a_time_before_1970_is_stored_as_1970() -> None:
    mark = Mark(newest=-1e10, checked=NOW)
    assert Mark.unpack(mark.pack()).newest == 0
    assert Mark.unpack(mark.pack()).checked == minute(NOW)


def test_enough_failures_put_a_list_in_quarantine() -> None:
    mark = settled()
    for number in range(QUARANTINE_AFTER):
        assert not mark.quarantined
        mark = mark.failed(NOW + number)
        assert not mark.settled
    assert mark.quarantined
    assert mark.tried == NOW + QUARANTINE_AFTER - 1
    assert (mark.rows, mark.checked) == (3, NOW)


# The schedule


@given(ids)
@PROPERTY
def test_stable_fraction_is_stable_and_between_0_and_1(parent_id: int) -> None:
    assert 0 <= stable_fraction(parent_id) < 1
    assert stable_fraction(parent_id) == stable_fraction(parent_id)


def test_stable_fraction_is_the_same_in_every_version() -> None:
    found = [round(stable_fraction(number), 6) for number in (1, 2, 3)]
    assert found == [0.986636, 0.963982, 0.22454]


@pytest.mark.parametrize("step", [1, 2, 64, 90, 1000])
def test_stable_fraction_is_spread_evenly_over_ids(step: int) -> None:
    counts = [0] * 10
    for number in range(5000):
        counts[int(stable_fraction(number * step) * 10)] += 1
    assert min(counts) > 400
    assert max(counts) < 600


@pytest.mark.parametrize(
    ("days", "interval"),
    [(-1, 0), (0, 0), (6.9, 0), (7, 1), (29.9, 1), (30, 7), (364, 7)],
)
def test_the_revisit_interval_grows_with_the_age_of_a_list(
    days: float, interval: int
) -> None:
    assert revisit_interval(days * DAY) == interval * DAY


@given(ids, st.floats(0, 365), st.floats(0, 365))
@PROPERTY
def test_no_list_waits_longer_than_its_interval(
    parent_id: int, days: float, waited: float
) -> None:
    assume(waited <= days)
    parent, mark = sent(days, parent_id), settled(waited)
    interval = revisit_interval(age(parent, mark, NOW))
    is_due = due(parent, mark, NOW, POLICY)
    if waited * DAY >= 0.9 * interval:
        assert is_due
    if waited * DAY < 0.79 * interval:
        assert not is_due
    always = MessagePolicy(window=POLICY.window, sweep_days=90, decaying=False)
    assert due(parent, mark, NOW, always)


@pytest.mark.parametrize(("days", "runs"), [(10, 1), (100, 7)])
def test_daily_runs_a_few_minutes_early_or_late_keep_the_interval(
    days: int, runs: int
) -> None:
    """Lists of a daily interval are visited in each run, weekly ones once in seven."""
    for parent_id in range(200):
        mark = settled(0)
        parent = sent(days, parent_id)
        late = [600 if day % 2 else -600 for day in range(runs)]
        visits = [
            due(parent, mark, NOW + (day + 1) * DAY + shift, POLICY)
            for day, shift in enumerate(late)
        ]
        assert visits[-1]
        assert not any(visits[: runs - 2])


@given(parents(), marks, st.booleans(), st.booleans())
@PROPERTY
def test_a_list_that_is_unsettled_or_unverified_is_always_due(
    parent: Parent[int],
    mark: Mark,
    decaying: bool,  # noqa: FBT001
    verified_only: bool,  # noqa: FBT001
) -> None:
    policy = MessagePolicy(
        window=POLICY.window,
        sweep_days=90,
        decaying=decaying,
        verified_only=verified_only,
    )
    assert due(parent, None, NOW, policy)
    owing = not mark.settled or verification_due(parent, mark, NOW)
    if owing and not mark.quarantined:
        assert due(parent, mark, NOW, policy)
    if mark.quarantined:
        lately = mark.tried is not None and NOW - mark.tried < 0.9 * DAY
        assert due(parent, mark, NOW, policy) is not lately


@given(parents(), st.floats(1, 1e9), st.integers(0, 9))
@PROPERTY
def test_setting_the_clock_back_makes_every_list_due(
    parent: Parent[int], seconds: float, failures: int
) -> None:
    mark = settled(failures=failures, tried=NOW if failures else None)
    assert due(parent, mark, NOW - seconds, POLICY)


def test_links_are_due_at_verifications_only() -> None:
    links = MessagePolicy(
        window=POLICY.window, sweep_days=90, decaying=False, verified_only=True
    )
    assert not due(sent(10), settled(5, verified=1), NOW, links)
    assert due(sent(30), settled(9, verified=1), NOW, links)
    assert due(sent(10), settled(9, verified=1, unsettled=True), NOW, links)


@given(instants, st.lists(st.floats(-10, 2000), min_size=2, max_size=20))
@PROPERTY
def test_the_number_of_verification_points_never_falls(
    send: float, days: list[float]
) -> None:
    counts = [verification_points(send, send + day * DAY) for day in sorted(days)]
    assert all(one <= two for one, two in pairwise(counts))
    assert verification_points(None, send) == 0


def test_a_postponed_send_is_verified_by_its_new_date() -> None:
    """Otherwise links of a draft would wait until 170 days after the send."""
    drafted, checked, sent = NOW - 80 * DAY, NOW - 40 * DAY, NOW - 30 * DAY
    mark = Mark(rows=1, last_id=1, checked=checked, verified=2)
    assert verification_points(drafted, checked) == 2
    for days, is_due in ((1, False), (3.1, True)):
        parent = Parent(7, sent=sent, newest=sent, oldest=drafted)
        assert verification_due(parent, mark, sent + days * DAY) is is_due
    kept = Parent(7, sent=drafted, newest=drafted, oldest=drafted)
    assert not verification_due(kept, mark, NOW)


def test_verifications_are_due_3_30_170_and_every_60_days_from_230_after_the_send() -> (
    None
):
    found = [
        day
        for day in range(1000)
        if verification_points(0, day * DAY) > verification_points(0, (day - 1) * DAY)
    ]
    assert found == [3, 30, 170, *range(230, 1000, 60)]


@given(st.floats(0, 1), st.integers(0, 900), st.floats(0, 1))
@PROPERTY
def test_each_row_is_verified_before_it_is_archived(
    hour: float, day: int, moment: float
) -> None:
    """There is one visit a day; the row may be added at any time after the send."""
    added = (day + moment) * DAY
    parent = Parent(1, sent=0.0, newest=0.0, oldest=0.0)
    verified = 0
    ages = []
    for visit in range(day + 200):
        now = (visit + hour) * DAY
        mark = settled(1, now=now, verified=verified)
        if verification_due(parent, mark, now):
            assert due(parent, mark, now, POLICY)
            verified = verification_points(parent.sent, now)
            ages += [(now - added) / DAY] if now >= added else []
    assert min(ages) < ARCHIVE_DAYS


def test_lists_can_lose_rows_only_near_the_archive_age() -> None:
    assert not may_lose_rows(sent(175), NOW, POLICY)
    assert may_lose_rows(sent(175.1), NOW, POLICY)
    assert may_lose_rows(Parent(1), NOW, POLICY)
    kept = MessagePolicy(window=POLICY.window, sweep_days=90, archived=False)
    assert not may_lose_rows(sent(999), NOW, kept)


def test_age_counts_from_the_send_or_the_newest_row() -> None:
    assert age(sent(9), None, NOW) == 9 * DAY
    assert age(sent(9), settled(newest=NOW - 2 * DAY), NOW) == 2 * DAY
    assert age(sent(1), settled(newest=NOW - 2 * DAY), NOW) == DAY
    assert age(Parent(1), settled(newest=None), NOW) == 0


# Plans


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Parent[int]], StreamState[int, Mark]]:
    """Draw parents and a state with marks of some of them and of unlisted parents."""
    known = draw(st.lists(st.integers(1, 500), unique=True, max_size=25))
    every = [draw(parents(number)) for number in known]
    state = fresh()
    for parent in every:
        if draw(st.booleans()):
            state.set_mark(parent.id, draw(marks))
    if draw(st.booleans()):
        places = [history_key(parent) for parent in every]
        somewhere = st.tuples(st.integers(0, int(NOW * 1000)), ids)
        state.set_history(draw(st.sampled_from(places) if places else somewhere))
    if draw(st.booleans()):
        state.set_swept(int(NOW // DAY) - draw(st.integers(0, 100)))
    listed = [parent for parent in every if draw(st.integers(0, 9))]
    return listed, state


def planned(made: Plan[int, Mark]) -> list[int]:
    return [visit.parent.id for visit in (*made.live, *made.swept, *made.history)]


policies = st.builds(
    MessagePolicy,
    window=st.sampled_from([30.0 * DAY, 365.0 * DAY]),
    sweep_days=st.integers(1, 90),
    decaying=st.booleans(),
    floor=st.sampled_from([0.0, NOW - 700 * DAY]),
    archived=st.booleans(),
)


@given(worlds(), policies)
@PROPERTY
def test_each_open_list_that_is_due_is_planned_once(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    made = plan(listed, state, NOW, policy)
    found = planned(made)
    assert len(set(found)) == len(found)
    waiting = 0
    for parent in listed:
        mark = state.marks.get(parent.id)
        before = parent.newest is not None and parent.newest < policy.floor
        if (before and not mark) or age(parent, mark, NOW) > policy.window:
            continue
        is_due = due(parent, mark, NOW, policy)
        waiting += not is_due
        assert (parent.id in {visit.parent.id for visit in made.live}) is is_due
    unlisted = state.marks.keys() - {parent.id for parent in listed}
    assert waiting <= made.waiting <= waiting + len(unlisted)


@given(worlds(), policies)
@PROPERTY
def test_a_closed_list_is_read_once_more_before_its_mark_is_deleted(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    live = {visit.parent.id for visit in plan(listed, state, NOW, policy).live}
    known = {parent.id: parent for parent in listed}
    for number, mark in state.marks.items():
        parent = known.get(number) or Parent(number, newest=mark.newest or mark.checked)
        if age(parent, mark, NOW) > policy.window:
            waits = mark.quarantined and not due(parent, mark, NOW, policy)
            assert (number in live) is not waits


@given(worlds(), policies)
@PROPERTY
def test_a_list_without_a_usable_mark_emits_every_row(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    made = plan(listed, state, NOW, policy)
    for visit in (*made.live, *made.swept, *made.history):
        mark = visit.mark
        assert mark == (None if visit.history else state.marks.get(visit.parent.id))
        everything = (
            mark is None
            or mark.checked is None
            or mark.checked > NOW
            or verification_due(visit.parent, mark, NOW)
        )
        assert visit.everything is everything
    assert all(visit.history for visit in made.history)
    assert not any(visit.history for visit in (*made.live, *made.swept))


@given(worlds(), policies)
@PROPERTY
def test_history_is_newest_first_and_below_the_watermark(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    made = plan(listed, state, NOW, policy)
    keys = [history_key(visit.parent) for visit in made.history]
    assert keys == sorted(keys, reverse=True)
    if state.history is not None:
        assert all(key < state.history for key in keys)
    for parent in listed:
        mark = state.marks.get(parent.id)
        above = state.history is not None and history_key(parent) >= state.history
        floored = parent.newest is not None and parent.newest < policy.floor
        fits = not mark and not above and not floored
        first = fits and age(parent, None, NOW) > policy.window
        assert (history_key(parent) in keys) is first


@given(worlds(), policies)
@PROPERTY
def test_live_lists_are_planned_by_urgency(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    made = plan(listed, state, NOW, policy)
    places = [place(visit, policy) for visit in (*made.live, *made.swept)]
    assert places == sorted(places)


def place(visit: Visit[int, Mark], policy: MessagePolicy) -> tuple[float, ...]:
    """Lists near the archive come first, oldest first; then others; then the sweep."""
    parent, mark = visit.parent, visit.mark
    newest_first = [-part for part in history_key(parent)]
    if visit.sweep is not None:
        return (3, visit.sweep, *newest_first)
    since = unread_since(parent, mark)
    if policy.archived and since is not None:
        days = (NOW - since) / DAY
        if ARCHIVE_FIRST_DAYS <= days <= ARCHIVE_DAYS + 5:
            return (0, since)
    tried, checked = (mark.tried, mark.checked) if mark else (None, None)
    waits = tried is not None and 0 <= NOW - tried < 2 * DAY
    return (2 if waits else 1, max(tried or 0, checked or 0), *newest_first)


def test_lists_of_every_kind_are_planned_in_this_order() -> None:
    state = fresh()
    state.set_mark(2, settled(20).failed(NOW - DAY))
    state.set_mark(3, settled(160))
    state.set_mark(4, settled(8))
    state.set_mark(7, settled(170))
    listed = [
        *(sent(1, 1), sent(90, 2), sent(200, 3), sent(80, 4), sent(100, 5)),
        *(sent(155, 6), sent(300, 7), sent(400, 8), sent(500, 9)),
    ]
    made = plan(listed, state, NOW, POLICY)
    assert [visit.parent.id for visit in made.live] == [7, 3, 6, 1, 5, 4, 2]
    assert [visit.parent.id for visit in made.history] == [8, 9]


def test_a_message_that_is_no_longer_listed_is_read_while_it_has_a_mark() -> None:
    state = fresh()
    state.set_mark(5, settled(9, newest=NOW - 9 * DAY))
    state.set_mark(6, Mark().failed(NOW))
    state.set_mark(7, settled(500, newest=NOW - 500 * DAY))
    made = plan([], state, NOW, POLICY)
    assert sorted(visit.parent.id for visit in made.live) == [5, 6, 7]
    assert not any(visit.parent.listed for visit in made.live)


def test_a_list_that_has_just_closed_is_read_once_more() -> None:
    state = fresh()
    state.set_history((0, 0))
    state.set_mark(1, settled(0.1, newest=NOW - 370 * DAY))
    assert planned(plan([sent(370, 1)], state, NOW, POLICY)) == [1]
    state.set_mark(1, None)
    assert planned(plan([sent(370, 1)], state, NOW, POLICY)) == []


def test_a_check_in_the_future_makes_the_next_visit_emit_every_row() -> None:
    state = fresh()
    state.set_mark(1, settled(-3))
    [visit] = plan([sent(20, 1)], state, NOW, POLICY).live
    assert visit.everything


def test_a_backfill_plans_the_messages_of_its_interval() -> None:
    policy = MessagePolicy(
        window=float("-inf"),
        sweep_days=9,
        floor=NOW - 100 * DAY,
        ceiling=NOW - 50 * DAY,
    )
    listed = [sent(99, 1), sent(51, 2), sent(50, 3), sent(101, 4), Parent(5)]
    assert planned(plan(listed, fresh(), NOW, policy)) == [2, 1, 5]


def test_messages_before_the_start_date_are_read_only_if_they_have_a_mark() -> None:
    policy = MessagePolicy(window=30.0 * DAY, sweep_days=9, floor=NOW - 100 * DAY)
    state = fresh()
    state.set_mark(2, settled(500, unsettled=True))
    made = plan([sent(99, 1), sent(101, 2), sent(101, 3)], state, NOW, policy)
    assert planned(made) == [2, 1]


# The sweep


@given(st.integers(1, 30), st.lists(st.integers(0, 12), min_size=30, max_size=60))
@PROPERTY
def test_the_sweep_reaches_every_closed_list(sweep: int, gaps: list[int]) -> None:
    """`gaps` are the days between runs; 0 is a second run on the same day."""
    policy = MessagePolicy(window=30.0 * DAY, sweep_days=sweep)
    listed = [sent(100 + number, number) for number in range(1, 40)]
    today = int(NOW // DAY)
    state = fresh()
    state.set_history((0, 0))
    state.set_swept(today)
    last = dict.fromkeys(range(1, 40), today)
    for gap in gaps:
        previous, today = today, today + gap
        made = plan(listed, state, (today + 0.5) * DAY, policy)
        for visit in made.swept:
            assert visit.everything
            assert last[visit.parent.id] < today
            last[visit.parent.id] = today
        state.set_swept(today)
        for day in last.values():
            assert previous - day < sweep


def test_a_sweep_that_did_not_complete_is_repeated() -> None:
    policy = MessagePolicy(window=30.0 * DAY, sweep_days=3)
    listed = [sent(100, number) for number in range(1, 60)]
    state = fresh()
    state.set_history((0, 0))
    state.set_swept(int(NOW // DAY) - 1)
    one = planned(plan(listed, state, NOW, policy))
    assert one
    assert planned(plan(listed, state, NOW + 3600, policy)) == one
    later = planned(plan(listed, state, NOW + DAY, policy))
    assert set(one) < set(later)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 12))
@PROPERTY
def test_a_sweep_larger_than_a_day_goes_on_where_it_was_cut(
    days: int, budget: int, outage: int
) -> None:
    """A sweep larger than the budget of a day reaches every list once per round."""
    policy = MessagePolicy(window=30.0 * DAY, sweep_days=days)
    listed = [sent(100 + number / 7, number) for number in range(1, 40)]
    today = int(NOW // DAY)
    entry: dict[str, Any] = {}
    state = StreamState(NAME, entry, NUMBERED)
    state.set_history((0, 0))
    state.set_swept(today - 1 - outage)
    read: list[int] = []
    while len(read) < len(listed):
        visits = plan(listed, state, (today + 0.5) * DAY, policy).swept
        for visit in visits[:budget]:
            assert visit.sweep is not None
            state.set_swept(visit.sweep - 1, history_key(visit.parent))
            read.append(visit.parent.id)
        if len(visits) <= budget:
            state.set_swept(today)
        entry = json.loads(json.dumps(entry))
        state = StreamState(NAME, entry, NUMBERED)
        today += 1
        assert today < NOW // DAY + days + 2 + len(listed) / budget
    assert len(set(read[: len(listed)])) == len(listed)


def test_nothing_is_swept_before_the_first_sweep_day_is_set() -> None:
    state = fresh()
    state.set_history((0, 0))
    made = plan([sent(400, n) for n in range(1, 99)], state, NOW, POLICY)
    assert planned(made) == []


# How far all lists are read


@given(worlds(), policies)
@PROPERTY
def test_checked_through_is_the_oldest_check_of_an_open_list(
    world: tuple[list[Parent[int]], StreamState[int, Mark]], policy: MessagePolicy
) -> None:
    listed, state = world
    through = checked_through(listed, state.marks, NOW, policy)
    assert through <= NOW
    checks = {NOW}
    for parent in listed:
        mark = state.marks.get(parent.id)
        floored = parent.newest is not None and parent.newest < policy.floor
        unread = mark is not None and mark.checked is not None
        if age(parent, mark, NOW) > policy.window and not unread:
            continue
        if (floored and not mark) or (mark and mark.quarantined):
            continue
        if mark and mark.checked is not None:
            assert through <= mark.checked
            checks.add(mark.checked)
        elif parent.sent is not None:
            # What is older than that is in the archive.
            unread_since = max(parent.sent, NOW - ARCHIVE_DAYS * DAY)
            assert through <= unread_since
            checks.add(unread_since)
    unlisted = state.marks.keys() - {parent.id for parent in listed}
    if not unlisted:
        assert through in checks


def test_a_long_time_without_sends_is_not_a_gap() -> None:
    state = fresh()
    state.set_mark(1, settled(0.5))
    through = checked_through([sent(300, 1)], state.marks, NOW, POLICY)
    assert headroom_days(through, NOW) == pytest.approx(179.5, abs=0.001)
    assert archive_gap(through, NOW) is None


def test_an_outage_longer_than_the_archive_age_is_a_gap() -> None:
    state = fresh()
    state.set_mark(1, settled(200))
    through = checked_through([sent(300, 1)], state.marks, NOW, POLICY)
    assert headroom_days(through, NOW) == pytest.approx(-20, abs=0.001)
    gap = archive_gap(through, NOW)
    assert gap is not None
    assert gap[0] == minute(NOW - 200 * DAY)
    assert gap[1] == NOW - 180 * DAY


def test_a_list_in_quarantine_does_not_hold_back_checked_through() -> None:
    state = fresh()
    state.set_mark(1, settled(200, failures=QUARANTINE_AFTER, tried=NOW))
    assert checked_through([sent(300, 1)], state.marks, NOW, POLICY) == NOW
    state.set_mark(1, settled(200, failures=QUARANTINE_AFTER - 1, tried=NOW))
    assert checked_through([sent(300, 1)], state.marks, NOW, POLICY) < NOW - 199 * DAY


@pytest.mark.parametrize(("days", "counted"), [(10, 10), (179, 179), (181, 180)])
def test_a_list_never_read_counts_from_its_send_or_the_archive_limit(
    days: int, counted: int
) -> None:
    through = checked_through([sent(days)], {}, NOW, POLICY)
    assert through == NOW - counted * DAY


@given(instants, instants)
@PROPERTY
def test_there_is_a_gap_exactly_if_the_headroom_is_negative(
    through: float, now: float
) -> None:
    gap = archive_gap(through, now)
    days = headroom_days(through, now)
    assume(abs(days) > 1e-6)
    assert (gap is not None) is (days < 0)
    if gap:
        assert gap[1] - gap[0] == pytest.approx(-days * DAY, abs=1)
