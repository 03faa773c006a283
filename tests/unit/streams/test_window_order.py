"""The order of windows: what an API refuses holds back nothing that it serves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tap_email_metrics.state.windows import MOST_FAILED, Coverage, Window, inside
from tap_email_metrics.streams.window_order import WindowOrder

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3_600
DAY = 24
LIVE = Window(0, 10_000)
"""What comes after the history, from its end on: it is read before."""
LENGTHS = st.integers(1, 500)
PROPERTY = settings(deadline=None, max_examples=40)


class Run:
    """One run over the hours from 0 to an end; its windows are in hours.

    Attributes:
        coverage: of the list, in hours.
        read: the windows that were read.
        failed: the windows that failed.
    """

    def __init__(
        self, coverage: Coverage, fails: Callable[[Window], bool], hour: int = 0
    ) -> None:
        self.read: list[Window] = []
        self.failed: list[Window] = []
        order = WindowOrder(
            coverage.todo,
            coverage.troubled,
            read=[LIVE._replace(start=coverage.through)],
            width=coverage.width or DAY,
            next_width=lambda width, _rows: width * 2,
            narrowest=1,
            short=DAY,
            now=hour * HOUR,
            newest_first=False,
        )
        while not order.is_over:
            window = order.next()
            if fails(window):
                self.failed.append(window)
                waiting = order.failed(window, [window])
                coverage = coverage.after_failure(waiting)
            else:
                self.read.append(window)
                order.read(window, 1)
                coverage = coverage.after(window, whole=True)
        self.coverage = Coverage.unpack(coverage.pack())


def hours(*windows: Window) -> list[int]:
    return sorted(at for window in windows for at in range(*window))


@PROPERTY
@given(st.integers(2 * DAY, 5_000), st.data())
def test_all_but_one_refused_stretch_is_read_in_one_run(
    length: int, data: st.DataObject
) -> None:
    """It is at the beginning if the API keeps rows for some time only."""
    start = data.draw(st.just(0) | st.integers(DAY, length))
    refused = Window(start, data.draw(st.integers(start, length)))
    # The list is read at all: its oldest or its newest day is served.
    assume(start or refused.end <= length - DAY)
    run = Run(Coverage.first(0, length), lambda one: bool(inside([one], [refused])))
    assert hours(*run.read) == sorted({*range(length)} - {*hours(refused)})
    assert len(run.failed) <= 6 * math.log2(length + 1) + 4
    assert len(run.coverage.failed) <= 1
    later = Run(run.coverage, lambda one: bool(inside([one], [refused])), 1)
    assert later.read == []
    assert len(later.failed) <= 2


@PROPERTY
@given(LENGTHS, st.integers(1, 100))
def test_a_list_that_refuses_long_windows_is_read_in_one_run(
    length: int, longest: int
) -> None:
    run = Run(Coverage.first(0, length), lambda one: one.seconds > longest)
    assert hours(*run.read) == [*range(length)]
    assert len(run.failed) <= len(run.read) + 2 * math.log2(length + 1) + 4


@PROPERTY
@given(LENGTHS, st.data())
def test_single_hours_that_fail_cost_no_other_hour_for_long(
    length: int, data: st.DataObject
) -> None:
    """No hour is read twice, and once they can be read, all hours are complete."""
    bad = data.draw(st.sets(st.integers(0, length - 1), max_size=5))
    coverage = Coverage.first(0, length)
    read: list[int] = []
    for number in range(12):
        run = Run(
            coverage, lambda one: any(one.start <= at < one.end for at in bad), number
        )
        read += hours(*run.read)
        coverage = run.coverage
        assert hours(*coverage.todo) == sorted({*range(length)} - {*read})
    assert sorted(read) == [at for at in range(length) if at not in bad]
    healed = Run(coverage, lambda _one: False)
    assert sorted(read + hours(*healed.read)) == [*range(length)]
    assert healed.coverage.todo == ()


@settings(PROPERTY, max_examples=10)
@given(st.sets(st.integers(0, 400), min_size=MOST_FAILED, max_size=60))
def test_the_state_is_bounded_however_many_hours_fail(bad: set[int]) -> None:
    """Beyond a number of windows, what lies between two of them is read again."""
    coverage = Coverage.first(0, 401)
    for number in range(3):
        run = Run(
            coverage, lambda one: any(one.start <= at < one.end for at in bad), number
        )
        coverage = run.coverage
        # A window may have been read in its middle after the last one failed.
        assert len(coverage.failed) <= 2 * MOST_FAILED
        assert len(coverage.todo) <= 2 * MOST_FAILED
        assert {*bad} <= {*hours(*coverage.todo)}
    assert Run(coverage, lambda _one: False).coverage.todo == ()


def test_a_long_window_that_failed_is_tried_at_another_place_in_each_run() -> None:
    window = Window(0, 1_000)
    coverage = Coverage.first(0, 1_000).after_failure([window])
    places = set()
    for number in range(20):
        [place] = Run(coverage, lambda _one: True, number).failed
        assert place.seconds == 1
        places.add(place.start // 100)
    assert places == {*range(10)}
