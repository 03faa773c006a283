"""Windows of time: no gap and no overlap, however the runs that read them end."""

from __future__ import annotations

import itertools
import os
import time
from calendar import timegm
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.luxsci.api import datetime_text
from tap_email_metrics.state.windows import Coverage, Window, merged, touch, without
from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

PROPERTY = settings(deadline=None, max_examples=150)
SMALL = st.builds(lambda a, b: Window(a, a + b), st.integers(0, 40), st.integers(-3, 9))
INSTANTS = st.integers(-2_208_988_800, 4_102_444_800)  # 1900 to 2100
LOOKBACK = 3
# One run: time moves on, and then the steps of the run.
RUNS = st.lists(
    st.tuples(
        st.integers(1, 12),  # seconds since the last run
        st.lists(st.sampled_from(["whole", "split", "unsettled", "stop"]), max_size=8),
        st.one_of(st.none(), st.integers(0, 60)),  # another start date
        st.integers(1, 10),  # width of history windows
    ),
    max_size=12,
)


def seconds(*windows: Window) -> set[int]:
    return {at for window in windows for at in range(window.start, window.end)}


# Plain windows


@PROPERTY
@given(st.lists(SMALL), SMALL)
def test_removing_a_window_leaves_exactly_the_other_seconds(
    windows: list[Window], gone: Window
) -> None:
    all_of_them = merged(windows)
    assert seconds(*all_of_them) == seconds(*windows)
    left = without(windows, gone)
    assert seconds(*left) == seconds(*windows) - seconds(gone)
    for found in (all_of_them, left):
        assert all(a.end < b.start for a, b in itertools.pairwise(found))
        assert all(window.seconds > 0 for window in found)


@PROPERTY
@given(st.lists(SMALL.filter(lambda w: w.seconds > 0)), SMALL)
def test_windows_touch_if_they_share_an_instant(
    windows: list[Window], other: Window
) -> None:
    if other.seconds > 0:
        assert touch(windows, other) == bool(seconds(*windows) & seconds(other))


@PROPERTY
@given(INSTANTS, st.integers(2, 10**9))
def test_two_halves_cover_the_window(start: int, length: int) -> None:
    first, second = Window(start, start + length).halves()
    assert (first.start, first.end, second.end) == (start, second.start, start + length)
    assert 0 <= second.seconds - first.seconds <= 1


def test_a_window_of_one_second_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="no halves"):
        Window(5, 6).halves()


@given(SMALL.filter(lambda w: w.seconds > 0), st.integers(-2, 60))
def test_the_beginning_of_a_window_is_never_empty(window: Window, length: int) -> None:
    first = window.first(length)
    assert first.start == window.start
    assert 1 <= first.seconds <= window.seconds


# How far a list is read: a model that remembers each second


class Model:
    """Reads seconds and remembers in which run each was read in full."""

    def __init__(self) -> None:
        self.now = 10
        self.start = 2
        self.coverage: Coverage | None = None
        self.whole: dict[int, int] = {}
        """By second: the last run that read it and proved the read complete."""

    def run(
        self, step: int, events: list[str], start: int | None, width: int
    ) -> dict[int, int]:
        """Read like a stream; return how often each second was read."""
        self.now += step
        self.start = self.start if start is None else start
        coverage = self.coverage or Coverage.first(self.start, self.now)
        coverage = coverage.until(self.now).from_start(min(self.start, self.now))
        plan = iter(events)
        read: dict[int, int] = {}
        live = coverage.live(self.now, LOOKBACK)
        tried: list[Window] = []
        queue = [live] if live else []
        while queue or (queue := self._next(coverage, tried, width)):
            window = queue.pop(0)
            what = next(plan, "whole")
            if what == "stop":
                break
            if what == "split" and window.seconds > 1:
                queue = [*window.halves(), *queue]
                continue
            coverage = coverage.after(window, whole=what != "unsettled")
            if what == "unsettled":
                tried.append(window)
            for at in seconds(window):
                read[at] = read.get(at, 0) + 1
                if what != "unsettled":
                    self.whole[at] = self.now
                else:
                    self.whole.pop(at, None)
        self.coverage = Coverage.unpack(coverage.pack())
        return read

    def _next(
        self, coverage: Coverage, tried: list[Window], width: int
    ) -> list[Window]:
        left = coverage.todo
        for one in tried:
            left = without(left, one)
        return [left[0].first(width)] if left else []


@PROPERTY
@given(RUNS)
def test_runs_leave_no_gap_and_read_no_second_twice(
    runs: list[tuple[int, list[str], Any, int]],
) -> None:
    model = Model()
    for run in runs:
        read = model.run(*run)
        assert max(read.values(), default=1) == 1  # no second twice in a run
        coverage = model.coverage
        assert coverage is not None
        assert coverage == Coverage.unpack(coverage.pack())
        missing = set(range(model.start, coverage.through)) - model.whole.keys()
        # More may be due if the start moved on and back again.
        assert missing <= seconds(*coverage.todo)
        assert coverage.through <= model.now
        assert coverage.complete_to <= min(missing, default=coverage.through)
        if all(start is None for _, _, start, _ in runs):
            assert missing == seconds(*coverage.todo)
    model.run(1, [], None, 4)  # an undisturbed run has nothing left to read
    assert model.coverage is not None
    assert model.coverage.todo == ()
    assert model.coverage.through == model.now
    assert model.whole.keys() >= set(range(min(model.start, model.now), model.now))


@PROPERTY
@given(RUNS, st.integers(0, 4))
def test_every_run_without_a_failure_reads_the_look_back(
    runs: list[tuple[int, list[str], Any, int]], back: int
) -> None:
    model = Model()
    for run in runs:
        model.run(*run)
    model.run(1, [], 0, 5)
    before = model.now
    model.run(back + 1, [], 0, 5)
    recent = range(max(0, before - LOOKBACK), model.now)
    assert all(model.whole[at] == model.now for at in recent)


def test_a_start_in_the_future_marks_nothing_as_read() -> None:
    coverage = Coverage.first(900, 100)
    assert (coverage.start, coverage.through, coverage.todo) == (100, 100, ())
    later = coverage.until(500).from_start(min(900, 500))
    assert later.live(500, 3) is None
    back = later.until(600).from_start(50)
    assert back.todo == (Window(50, 500),)
    assert back.live(600, 3) == Window(497, 600)


def test_a_later_start_drops_what_was_left_to_read_before_it() -> None:
    coverage = Coverage(
        start=100, through=1000, todo=(Window(100, 400), Window(500, 900))
    )
    assert coverage.from_start(600).todo == (Window(600, 900),)
    assert coverage.from_start(600).start == 600
    assert coverage.from_start(950).todo == ()


def test_a_mark_in_the_future_is_set_back_to_now() -> None:
    ahead = replace(Coverage.first(0, 900), todo=(Window(100, 900),))
    back = ahead.until(300)
    assert (back.through, back.todo) == (300, (Window(100, 300),))


def test_a_window_after_a_gap_does_not_move_the_mark() -> None:
    coverage = replace(Coverage.first(0, 100), todo=())
    assert coverage.after(Window(150, 200), whole=True).through == 100
    assert coverage.after(Window(100, 200), whole=True).through == 200


def test_verification_is_due_by_utc_days() -> None:
    coverage = Coverage.first(0, 100)
    assert coverage.verification_due(5, 7)
    done = replace(coverage, verified=3 * DAY + 80_000)
    assert not done.verification_due(9 * DAY + 86_399, 7)
    assert done.verification_due(10 * DAY, 7)
    assert done.verification_due(DAY, 7)  # the clock was ahead
    assert not done.verification_due(3 * DAY + 86_399, 1)
    assert done.verification_due(4 * DAY, 1)


# Pack and unpack

REACHES = st.builds(
    Coverage,
    start=INSTANTS,
    through=INSTANTS,
    todo=st.lists(
        st.builds(lambda a, b: Window(a, a + b), INSTANTS, st.integers(1, 10**8))
    ).map(merged),
    seen=st.none() | INSTANTS,
    verified=st.none() | INSTANTS,
    wide=st.booleans(),
    newest=st.none() | INSTANTS,
    width=st.none() | st.integers(1, 10**8),
    shortfall=st.integers(-9, 9),
    short=st.lists(
        st.builds(lambda a, b: Window(a, a + b), INSTANTS, st.integers(1, 10**8))
    ).map(merged),
)


@PROPERTY
@given(REACHES)
def test_coverage_is_the_same_after_packing(coverage: Coverage) -> None:
    assert Coverage.unpack(coverage.pack()) == coverage


GOOD: dict[str, Any] = {
    "start": "2026-01-01T00:00:00Z",
    "through": "2026-09-01T00:00:00Z",
    "todo": [["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]],
}
BAD: dict[str, list[Any]] = {
    "start": [None, 5, "", "soon", [], "10000-01-01"],
    "seen": [None, 5, "x"],
    "verified": [False, {}, "2026-13-01"],
    "todo": [
        *("x", {}, 7, None, [7], ["ab"], [[]], [["2026-01-01T00:00:00Z"]]),
        [["2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"]],
        [["2026-02-01", "2026-03-01"], ["2026-01-01", "2026-01-05"]],
        [["2026-01-01", "2026-01-01"]],
        [["2026-01-01", "2026-01-05"], ["2026-01-04", "2026-01-09"]],
    ],
}
DAMAGED: list[Any] = [
    *([], "x", 7, None, {}, {"start": GOOD["start"]}, {"through": GOOD["start"]}),
    *({**GOOD, key: value} for key, values in BAD.items() for value in values),
]


@pytest.mark.parametrize("packed", DAMAGED, ids=repr)
def test_damaged_state_is_refused_by_name(packed: Any) -> None:
    if packed is not None:
        with pytest.raises((ValueError, TypeError, KeyError)):
            Coverage.unpack(packed)
    with pytest.raises(InvalidInput, match=r"bookmarks\.luxsci_sent\.lists"):
        loaded({"smtp": packed})


@pytest.mark.parametrize("lists", [[], "x", 7])
def test_damaged_lists_are_refused_by_name(lists: Any) -> None:
    with pytest.raises(InvalidInput, match=r"bookmarks\.luxsci_sent\.lists"):
        loaded(lists)


def test_a_short_window_is_read_again_at_growing_intervals() -> None:
    """Daily for a week, then after 1, 2, 4, ... weeks, until it is complete."""
    window = Window(100, 200)
    coverage = replace(Coverage.first(0, 900), todo=())
    assert not coverage.short_due(0)
    coverage = coverage.after_short(window, 0, short=True)
    assert coverage.short == (window,)
    assert not coverage.short_due(DAY - 1)
    days = []
    for day in range(1, 60):
        if coverage.short_due(day * DAY):
            days.append(day)
            coverage = coverage.after_short(window, day * DAY, short=True, again=True)
    assert days == [1, 2, 3, 4, 5, 6, 7, 14, 28, 56]
    assert coverage.after_short(window, 60 * DAY, short=False, again=True).short == ()
    anew = coverage.after_short(Window(300, 400), 60 * DAY, short=True)
    assert (anew.short_read, anew.short_reads) == (60 * DAY, 0)


def test_only_a_read_of_short_windows_delays_their_next_read() -> None:
    """The live window is read in every run and may touch a short window."""
    coverage = replace(Coverage.first(0, 900), todo=()).after_short(
        Window(0, 9), 0, short=True
    )
    coverage = coverage.after_short(Window(5, 20), DAY, short=True)
    assert coverage.short_due(DAY)
    read = coverage.after_short(Window(0, 20), DAY, short=True, again=True)
    assert not read.short_due(DAY)


def test_a_quiet_list_is_not_read_until_its_hour_of_the_next_day() -> None:

    seen = replace(Coverage.first(0, 900), seen=10 * DAY)
    assert not Coverage.first(0, 900).is_quiet(10 * DAY)
    assert seen.is_quiet(10 * DAY)
    assert not replace(seen, newest=4 * DAY).is_quiet(10 * DAY)
    assert replace(seen, newest=3 * DAY).is_quiet(10 * DAY)
    assert seen.rests(10 * DAY + 3599, 3600)
    assert not seen.rests(10 * DAY + 3600, 3600)
    assert not seen.rests(9 * DAY, 3600)  # the clock was ahead


def test_a_valid_state_loads() -> None:
    loaded({"smtp": GOOD})


def loaded(lists: Any) -> TapEmailMetrics:
    config = {"luxsci": {"token": "t", "secret": "s", "account_id": "4711"}}
    state = {"bookmarks": {"luxsci_sent": {"lists": lists}}}
    return TapEmailMetrics(config=config, state=state)


# Calendars


@pytest.fixture(
    params=["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati"]
)
def _zone(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if old is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = old
    time.tzset()


EDGES = [
    *("2024-02-28 23:59:59", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
    *("2026-02-28 23:59:59", "2026-03-01 00:00:00", "2026-12-31 23:59:59"),
    *("2026-03-08 06:59:59", "2026-03-08 07:00:00"),  # summer time in New York
    *("2026-11-01 05:30:00", "2026-11-01 06:00:00", "2026-11-01 06:30:00"),
    *("2026-04-04 14:59:59", "2026-04-04 15:00:00", "2026-10-03 15:30:00"),
    *("2000-02-29 12:00:00", "1999-12-31 23:59:59", "2100-02-28 23:59:59"),
    "0999-01-01 00:00:00",
]


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize("text", EDGES)
def test_the_time_zone_of_the_machine_changes_nothing(text: str) -> None:
    year, *rest = (int(text[a:b]) for a, b in ((0, 4), (5, 7), (8, 10)))
    clock = [int(part) for part in text[11:].split(":")]
    at = timegm((year, *rest, *clock))
    assert datetime_text(at) == text
    if year >= 1000:
        assert iso(at) == f"{text.replace(' ', 'T')}Z"
        coverage = Coverage(at, at + DAY, (Window(at, at + 1),), at, at, wide=True)
        assert coverage.pack()["todo"] == [[iso(at), iso(at + 1)]]
        assert Coverage.unpack(coverage.pack()) == coverage


@pytest.mark.usefixtures("_zone")
def test_every_day_has_24_hours_in_any_time_zone() -> None:
    year = Window(*(timegm((y, 1, 1, 0, 0, 0)) for y in (2024, 2025)))
    left: tuple[Window, ...] = (year,)
    days: list[Window] = []
    while left:
        days.append(left[0].first(DAY))
        left = without(left, days[-1])
    assert len(days) == 366
    assert merged(days) == (year,)
    starts = [datetime.fromtimestamp(day.start, UTC) for day in days]
    assert {(s.hour, s.minute) for s in starts} == {(0, 0)}
    assert sum(s.day == 1 for s in starts) == 12
