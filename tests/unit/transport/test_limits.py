"""Limits: requests per second, requests at once, and requests per day."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import DAY
from tap_email_metrics.control import Control, Stop
from tap_email_metrics.errors import Exhausted, InvalidInput, Terminated
from tap_email_metrics.transport.files import state_directory
from tap_email_metrics.transport.ledger import BLOCK, Ledger, fingerprint
from tap_email_metrics.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
PRINT = "0123456789abcdef"
GIVE_UP = 20.0
"""Real seconds after which a test that hangs fails instead."""


class OwnClock:
    """A clock for one thread: a sleep moves it and runs the `moves` that come due."""

    def __init__(self, at: float = NOON) -> None:
        self.at = at
        self.sleeps: list[float] = []
        self.moves: list[tuple[float, Callable[[], None]]] = []
        self.step: float | None = None

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.at += seconds if self.step is None else min(seconds, self.step)
        while self.moves and self.moves[0][0] <= self.at:
            self.moves.pop(0)[1]()


class CommonClock:
    """A clock for several threads: it jumps to the first wake-up when all sleep.

    Each sleep lasts longer by the next value of `late`, as on a busy machine.
    """

    def __init__(self, threads: int, late: list[float], at: float = NOON) -> None:
        self._at = at
        self._threads = threads
        self._late = late
        self._count = 0
        self._wake_ups: list[float] = []
        self._changed = threading.Condition()

    def now(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        with self._changed:
            return self._at

    def sleep(self, seconds: float) -> None:
        with self._changed:
            wake_up = self._at + seconds + self._late[self._count % len(self._late)]
            self._count += 1
            self._wake_ups.append(wake_up)
            self._jump()
            awake = self._changed.wait_for(lambda: self._at >= wake_up, GIVE_UP)
            assert awake
            self._wake_ups.remove(wake_up)

    def leave(self) -> None:
        with self._changed:
            self._threads -= 1
            self._jump()

    def _jump(self) -> None:
        if self._wake_ups and len(self._wake_ups) >= self._threads:
            self._at = max(self._at, min(self._wake_ups))
            self._changed.notify_all()


class Crowd:
    """Threads that send one request after another and note when each started."""

    def __init__(
        self, limits: Limits, clock: CommonClock, latencies: list[float]
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.latencies = latencies
        self.starts: list[float] = []

    def send(self, requests: int) -> None:
        try:
            for number in range(requests):
                with self.limits.request():
                    self.starts.append(self.clock.monotonic())
                    self.clock.sleep(self.latencies[number % len(self.latencies)])
        finally:
            self.clock.leave()


def most_within(starts: list[float], seconds: float) -> int:
    ordered = sorted(starts)
    return max(
        sum(first <= other < first + seconds for other in ordered) for first in ordered
    )


def make(  # noqa: PLR0913 - the keywords of Limits, with defaults
    clock: OwnClock | CommonClock,
    *,
    per_second: float | None = None,
    at_once: int = 1,
    ledger: Ledger | None = None,
    deadline: float | None = None,
    stop: Stop | None = None,
) -> Limits:
    control = Control(clock, logging.getLogger("tap-email-metrics"))
    control.stop, control.deadline = stop or Stop(), deadline
    return Limits(
        clock=clock,
        check=control.check,
        requests_per_second=per_second,
        max_concurrency=at_once,
        ledger=ledger,
    )


def go_on() -> None:
    """Let everything wait: the run has no end."""


def send(limits: Limits, requests: int = 1) -> None:
    for _ in range(requests):
        with limits.request():
            pass


def until_refused(ledger: Ledger) -> int:
    taken = 0
    try:
        while True:
            ledger.take()
            taken += 1
    except Exhausted:
        return taken


def send_until_refused(limits: Limits) -> int:
    sent = 0
    try:
        while True:
            send(limits)
            sent += 1
    except Exhausted:
        return sent


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + GIVE_UP
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- rate


@settings(max_examples=60, deadline=None)
@given(
    threads=st.integers(1, 6),
    rate=st.integers(1, 30),
    latencies=st.lists(st.floats(0, 2), min_size=1, max_size=5),
    late=st.lists(st.just(0.0) | st.floats(0, 0.3), min_size=1, max_size=7),
    origin=st.sampled_from([0.0, 12_345.678, NOON]),
)
def test_no_sliding_second_holds_more_than_the_rate(
    threads: int,
    rate: int,
    latencies: list[float],
    late: list[float],
    origin: float,
) -> None:
    clock = CommonClock(threads, late, origin)
    limits = make(clock, per_second=rate, at_once=threads)
    crowd = Crowd(limits, clock, latencies)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(crowd.send, 12) for _ in range(threads)]:
            done.result()
    assert len(crowd.starts) == limits.sent == threads * 12
    assert most_within(crowd.starts, 1) <= rate
    assert all(b - a >= 1 / rate for a, b in pairwise(sorted(crowd.starts)))


@pytest.mark.parametrize("at", [0.0, 1.0e6, NOON])
@pytest.mark.parametrize("per_minute", [7, 60, 90, 1000])
def test_no_sliding_minute_holds_more_than_the_rate(at: float, per_minute: int) -> None:
    clock = OwnClock(at)
    limits = make(clock, per_second=per_minute / 60)
    starts = []
    for _ in range(2 * per_minute + 2):
        with limits.request() as slot:
            starts.append(slot.started)
    assert starts[0] == at
    assert all(b - a >= 60 for a, b in zip(starts, starts[per_minute:], strict=False))
    # The rate is used in full.
    assert starts[-1] - at < (2 * per_minute + 1) * 60 / per_minute * 1.001


def test_idle_time_does_not_allow_a_burst() -> None:
    clock = OwnClock()
    limits = make(clock, per_second=2)
    send(limits)
    clock.at += 3600
    send(limits, 3)
    assert clock.at == pytest.approx(NOON + 3601, abs=0.01)


def test_without_a_rate_nothing_sleeps() -> None:
    clock = OwnClock()
    send(make(clock), 1000)
    assert clock.sleeps == []


def test_requests_are_numbered_in_their_order() -> None:
    limits = make(OwnClock(), per_second=4)
    with limits.request() as first:
        pass
    with limits.request() as second:
        pass
    assert (first.number, second.number, limits.sent) == (1, 2, 2)
    assert second.started - first.started == pytest.approx(0.25, abs=0.001)


def test_no_more_requests_start_than_allow_permits() -> None:
    limits = make(OwnClock())
    send(limits, 2)
    limits.allow(5)
    send(limits, 3)
    with pytest.raises(Exhausted, match="the 5 requests that were allowed are spent"):
        send(limits)
    assert limits.sent == 5
    limits.allow(6)
    send(limits)


def test_a_sleep_that_ends_early_is_resumed() -> None:
    clock = OwnClock()
    clock.step = 0.01
    limits = make(clock, per_second=4)
    send(limits, 2)
    assert clock.at >= NOON + 0.25


def test_a_hold_also_delays_requests_that_already_wait() -> None:
    clock = OwnClock()
    limits = make(clock, per_second=1)
    send(limits)
    clock.moves = [(NOON + 0.5, lambda: limits.hold(30))]
    send(limits)
    assert clock.at == pytest.approx(NOON + 30.5, abs=0.001)
    assert max(clock.sleeps) <= 0.5


def test_a_shorter_hold_does_not_shorten_a_longer_one() -> None:
    clock = OwnClock()
    limits = make(clock)
    limits.hold(20)
    limits.hold(1)
    limits.hold(-5)
    send(limits)
    assert clock.at == pytest.approx(NOON + 20, abs=0.001)


def test_a_hold_shorter_than_the_spacing_does_not_shorten_the_spacing() -> None:
    clock = OwnClock()
    limits = make(clock, per_second=1)
    send(limits)
    limits.hold(0.1)
    send(limits)
    assert clock.at >= NOON + 1


# --- headroom


def intervals(clock: OwnClock, limits: Limits, count: int) -> list[float]:
    """Return the seconds between `count` starts."""
    starts = []
    for _ in range(count + 1):
        with limits.request() as slot:
            starts.append(slot.started)
    assert clock.at == starts[-1]
    return [later - earlier for earlier, later in pairwise(starts)]


def with_headroom(clock: OwnClock) -> Limits:
    return Limits(
        clock=clock,
        check=go_on,
        requests_per_second=4,
        max_concurrency=1,
        headroom=0.02,
    )


def test_headroom_keeps_arrivals_within_the_rate_despite_jitter() -> None:
    clock = OwnClock()
    found = intervals(clock, with_headroom(clock), 40)
    slowest = max(sum(found[start : start + 4]) for start in range(36))
    # The first of five requests may travel 20 ms longer than the last.
    assert min(sum(found[start : start + 4]) for start in range(36)) >= 1.02
    assert slowest < 1.021  # 98 % of the rate


def test_a_burst_of_429s_widens_the_spacing_once() -> None:
    clock = OwnClock()
    limits = with_headroom(clock)
    for _ in range(4):  # requests in flight together get a 429 for the same burst
        limits.hold(2)
    send(limits)
    assert intervals(clock, limits, 1)[0] == pytest.approx(1.03 / 4, abs=0.001)
    limits.hold(2)
    send(limits)
    assert intervals(clock, limits, 1)[0] == pytest.approx(1.045 / 4, abs=0.001)
    found = intervals(clock, limits, 3000)
    assert found[500] == pytest.approx(1.045 / 4, abs=0.001)
    assert found[1500] == pytest.approx(1.03 / 4, abs=0.001)
    assert found[-1] == pytest.approx(1.02 / 4, abs=0.001)


def test_the_spacing_has_an_upper_bound() -> None:
    clock = OwnClock()
    limits = with_headroom(clock)
    for _ in range(99):
        limits.hold(1)
        clock.at += 2
    assert intervals(clock, limits, 1)[0] == pytest.approx(1.0, abs=0.001)


def test_without_headroom_throttling_changes_no_spacing() -> None:
    clock = OwnClock()
    limits = make(clock, per_second=4)
    limits.hold(2)
    assert intervals(clock, limits, 1)[0] == pytest.approx(0.25, abs=0.001)


# --- stop and deadline


def test_a_stop_ends_a_long_hold_within_half_a_second() -> None:
    clock, stop = OwnClock(), Stop()
    limits = make(clock, stop=stop)
    limits.hold(3600)
    clock.moves = [(NOON + 2, stop.set)]
    with pytest.raises(Terminated):
        send(limits)
    assert clock.at <= NOON + 2.5
    assert limits.sent == 0


def test_nothing_starts_once_stopped() -> None:
    stop = Stop()
    stop.set()
    limits = make(OwnClock(), stop=stop)
    with pytest.raises(Terminated):
        send(limits)


def test_a_stop_ends_threads_that_wait_for_a_free_place() -> None:
    stop = Stop()
    limits = make(OwnClock(), stop=stop)
    with ThreadPoolExecutor(3) as pool, limits.request():
        waiting = [pool.submit(send, limits) for _ in range(3)]
        stop.set()
        began = time.monotonic()
        for waiter in waiting:
            with pytest.raises(Terminated):
                waiter.result(GIVE_UP)
        assert time.monotonic() - began < 0.5
    assert limits.sent == 1


def test_after_the_deadline_nothing_starts_but_a_request_in_flight_goes_on() -> None:
    clock = OwnClock()
    limits = make(clock, deadline=NOON + 10)
    with limits.request():
        clock.at = NOON + 10
    with pytest.raises(Exhausted, match="max_run_minutes is spent"):
        send(limits)
    assert limits.sent == 1


def test_the_deadline_ends_a_hold() -> None:
    clock = OwnClock()
    limits = make(clock, deadline=NOON + 10)
    limits.hold(3600)
    with pytest.raises(Exhausted, match="max_run_minutes"):
        send(limits)
    assert clock.at <= NOON + 10.5


def test_the_deadline_ends_threads_that_wait_for_a_free_place() -> None:
    clock = OwnClock()
    limits = make(clock, deadline=NOON + 10)
    with ThreadPoolExecutor(1) as pool, limits.request():
        waiter = pool.submit(send, limits)
        clock.at = NOON + 10
        with pytest.raises(Exhausted, match="max_run_minutes"):
            waiter.result(GIVE_UP)


# --- concurrency


class Visitors:
    """Threads that stay inside a request until released; counts those inside."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()
        self.out = threading.Event()

    def visit(self) -> None:
        with self.limits.request():
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            assert self.out.wait(GIVE_UP)
            with self.lock:
                self.inside -= 1


def at_once(limits: Limits) -> int:
    """Return how many requests may be in flight now."""
    return limits._gate.limit  # noqa: SLF001 - seen from outside only by waiting


@pytest.mark.parametrize(("slow_downs", "limit"), [(0, 8), (1, 4), (2, 2), (9, 1)])
def test_never_more_requests_in_flight_than_allowed(
    slow_downs: int, limit: int
) -> None:
    limits = make(OwnClock(), at_once=8)
    for _ in range(slow_downs):
        limits.slow_down()
    assert at_once(limits) == limit
    visitors = Visitors(limits)
    with ThreadPoolExecutor(12) as pool:
        visits = [pool.submit(visitors.visit) for _ in range(12)]
        wait_until(lambda: visitors.inside == limit)
        time.sleep(0.005)
        assert visitors.inside == limit
        visitors.out.set()
        for visit in visits:
            visit.result(GIVE_UP)
    assert visitors.most <= limit
    assert limits.sent == 12


def test_a_growing_limit_lets_a_waiting_request_start() -> None:
    limits = make(OwnClock(), at_once=2)
    limits.slow_down()
    visitors = Visitors(limits)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(visitors.visit)
        wait_until(lambda: visitors.inside == 1)
        limits.speed_up()
        wait_until(lambda: visitors.inside == 2)
        visitors.out.set()


def test_the_limit_grows_by_one_after_as_many_successes_as_the_limit() -> None:
    limits = make(OwnClock(), at_once=4)
    limits.slow_down()
    limits.slow_down()
    seen = []
    for _ in range(12):
        limits.speed_up()
        seen.append(at_once(limits))
    assert seen == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_a_failure_resets_the_count_of_successes() -> None:
    limits = make(OwnClock(), at_once=8)
    limits.slow_down()
    for _ in range(3):
        limits.speed_up()
    limits.slow_down()
    limits.speed_up()
    assert at_once(limits) == 2
    limits.speed_up()
    assert at_once(limits) == 3


def test_a_failed_request_or_start_does_not_block_later_requests(
    tmp_path: Path,
) -> None:
    clock = OwnClock()
    limits = make(clock, ledger=Ledger(tmp_path, PRINT, 1, clock, go_on))
    with pytest.raises(OSError, match="cut"), limits.request():
        raise OSError("cut")
    for _ in range(2):
        with pytest.raises(Exhausted, match="daily_requests"):
            send(limits)
    clock.at += DAY
    send(limits)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(rate: float) -> None:
    with pytest.raises(InvalidInput, match="requests_per_second"):
        make(OwnClock(), per_second=rate)


def test_a_concurrency_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="max_concurrency"):
        make(OwnClock(), at_once=0)


# --- ledger


@pytest.fixture
def clock() -> OwnClock:
    return OwnClock()


def stored(directory: Path) -> dict[str, object]:
    content = (directory / f"ledger-{PRINT}.json").read_text()
    fields: dict[str, object] = json.loads(content)
    return fields


def test_the_ledger_file_holds_the_requests_used(
    tmp_path: Path, clock: OwnClock
) -> None:
    directory = tmp_path / "state" / "tap"
    ledger = Ledger(directory, PRINT, 1000, clock, go_on)
    assert ledger.take() == date(2026, 11, 22)
    assert stored(directory)["used"] == BLOCK
    ledger.close()
    ledger.close()
    content = (directory / f"ledger-{PRINT}.json").read_text()
    assert content == '{"version":1,"day":"2026-11-22","used":1,"spent":false}'
    assert ledger.left() == 1000 - 1


def test_only_the_user_may_read_the_ledger(tmp_path: Path, clock: OwnClock) -> None:
    directory = tmp_path / "state"
    Ledger(directory, PRINT, 1000, clock, go_on).take()
    assert directory.stat().st_mode & 0o777 == 0o700
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == [
        f"ledger-{PRINT}.json",
        f"ledger-{PRINT}.json.lock",
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_an_existing_directory_keeps_its_mode(tmp_path: Path, clock: OwnClock) -> None:
    tmp_path.chmod(0o755)
    Ledger(tmp_path, PRINT, 1000, clock, go_on).take()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    budget=st.integers(1, 260),
    turns=st.lists(st.integers(0, 3), max_size=60),
)
def test_ledgers_that_share_a_budget_use_it_up_and_no_more(
    tmp_path_factory: pytest.TempPathFactory,
    budget: int,
    turns: list[int],
) -> None:
    directory = tmp_path_factory.mktemp("ledger")
    sharers = [Ledger(directory, PRINT, budget, OwnClock(), go_on) for _ in range(3)]
    taken = 0
    for turn in turns:
        if turn == 3:
            sharers[0].close()
            continue
        try:
            sharers[turn].take()
        except Exhausted:
            continue
        taken += 1
    assert taken <= budget
    assert taken + sum(until_refused(sharer) for sharer in sharers) == budget


def test_a_spent_budget_names_the_setting_and_the_reset_time(
    tmp_path: Path, clock: OwnClock
) -> None:
    limits = make(clock, ledger=Ledger(tmp_path, PRINT, 4, clock, go_on))
    send(limits, 4)
    with pytest.raises(Exhausted) as refused:
        send(limits)
    assert str(refused.value) == (
        "the budget of 2026-11-22 is spent: 4 requests (daily_requests 4);"
        " it resets at 00:00 UTC on 2026-11-23"
    )
    assert clock.sleeps == []


def test_the_ledger_starts_at_zero_on_a_new_utc_day(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    ledger.take()
    clock.at += DAY / 2 - 1
    assert ledger.take() == date(2026, 11, 22)
    clock.at += 1
    assert ledger.take() == date(2026, 11, 23)
    ledger.close()
    assert stored(tmp_path) == {
        "version": 1,
        "day": "2026-11-23",
        "used": 1,
        "spent": False,
    }


def test_unused_requests_are_given_back_to_their_own_day_only(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger, other = (Ledger(tmp_path, PRINT, 200, clock, go_on) for _ in range(2))
    yesterday = ledger.take()
    clock.at += DAY
    other.take()
    other.give_back(yesterday)
    ledger.close()
    assert stored(tmp_path)["used"] == BLOCK
    other.close()
    assert stored(tmp_path)["used"] == 1


def test_an_idle_run_withholds_few_requests_from_the_others(
    tmp_path: Path, clock: OwnClock
) -> None:
    idle, other = (Ledger(tmp_path, PRINT, 20, clock, go_on) for _ in range(2))
    idle.take()
    assert until_refused(other) == 18


def test_a_permit_taken_before_midnight_is_not_used_after_it(
    tmp_path: Path, clock: OwnClock
) -> None:
    clock.at = NOON + DAY / 2 - 1
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    limits = make(clock, ledger=ledger)
    limits.hold(5)
    send(limits)
    ledger.close()
    assert (stored(tmp_path)["day"], stored(tmp_path)["used"]) == ("2026-11-23", 1)
    assert limits.sent == 1


def test_a_request_that_never_started_is_not_counted(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    limits = make(clock, ledger=ledger, deadline=NOON + 1)
    send(limits)
    limits.hold(60)
    with pytest.raises(Exhausted, match="max_run_minutes"):
        send(limits)
    ledger.close()
    assert stored(tmp_path)["used"] == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_setting_the_clock_back_does_not_add_requests(
    tmp_path: Path, clock: OwnClock, *, restarted: bool
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    for _ in range(8):
        ledger.take()
    clock.at -= DAY
    if restarted:
        ledger.close()
        ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    assert until_refused(ledger) == 192
    assert stored(tmp_path)["day"] == "2026-11-22"
    with pytest.raises(Exhausted, match=r"clock says 2026-11-21.*delete .*ledger-"):
        ledger.take()


def test_a_ledger_file_deleted_during_the_run_does_no_harm(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    ledger.take()
    (tmp_path / f"ledger-{PRINT}.json").unlink()
    ledger.close()
    ledger.take()
    assert stored(tmp_path)["used"] == BLOCK


def test_a_spent_day_stops_all_runs_until_the_next_day(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    limits = make(clock, ledger=ledger)
    send(limits, 3)
    limits.spend_day()
    other = Ledger(tmp_path, PRINT, 200, clock, go_on)
    for refusing in (ledger, other):
        with pytest.raises(
            Exhausted, match=r"API says .*daily_requests 200.*00:00 UTC on 2026-11-23"
        ):
            refusing.take()
    assert (stored(tmp_path)["spent"], stored(tmp_path)["used"]) == (True, 3)
    assert other.left() == 0
    clock.at += DAY
    send(limits)
    assert other.left() > 0


def test_an_answer_after_midnight_spends_the_day_before(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    limits = make(clock, ledger=ledger)
    with limits.request():
        clock.at += DAY
        limits.spend_day()
    assert ledger.left() > 0
    send(limits)


def test_giving_requests_back_does_not_reopen_a_spent_day(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger, other = (Ledger(tmp_path, PRINT, 200, clock, go_on) for _ in range(2))
    ledger.take()
    other.take()
    other.spend()
    ledger.close()
    assert stored(tmp_path) == {
        "version": 1,
        "day": "2026-11-22",
        "used": 2,
        "spent": True,
    }


def test_without_a_ledger_a_spent_day_stops_nothing(clock: OwnClock) -> None:
    limits = make(clock)
    limits.spend_day()
    send(limits)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version":1,"day":"2026-11-22","used":1,"spent":"\xff"}',
        b'{"version":2,"day":"2026-11-22","used":1,"spent":false}',
        b'{"version":1,"day":"2026-11-32","used":1,"spent":false}',
        b'{"version":1,"day":"2026-11-22","used":-1,"spent":false}',
        b'{"version":1,"day":"2026-11-22","used":true,"spent":false}',
        b'{"version":1,"day":"2026-11-22","used":1,"spent":null}',
        b'{"version":1,"day":"2026-11-22","used":1}',
        b'{"version":1,"day":"2026-11-22","used":1,"spent":false,"more":1}',
        b'{"version":1,"day":"2026-11-22","used":1,"spent":false}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_ledger_stops_the_tap_and_is_kept(
    tmp_path: Path, clock: OwnClock, content: bytes
) -> None:
    file = tmp_path / f"ledger-{PRINT}.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="delete it") as refused:
        Ledger(tmp_path, PRINT, 200, clock, go_on).take()
    assert str(file) in str(refused.value)
    assert file.read_bytes() == content


def test_a_directory_that_cannot_be_made_names_the_variable_to_set(
    tmp_path: Path, clock: OwnClock
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(InvalidInput, match="XDG_STATE_HOME") as refused:
        Ledger(blocked / "state", PRINT, 200, clock, go_on).take()
    assert str(blocked) in str(refused.value)


class YieldingClock(OwnClock):
    """A clock that lets another thread run at each call of `now`."""

    def now(self) -> float:
        time.sleep(0.00001)
        return self.at


def test_threads_share_one_ledger(tmp_path: Path) -> None:
    clock = YieldingClock()
    limits = make(clock, at_once=6, ledger=Ledger(tmp_path, PRINT, 150, clock, go_on))
    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send_until_refused, limits) for _ in range(6)]
    assert sum(future.result() for future in sent) == limits.sent == 150


def test_a_damaged_ledger_has_no_requests_left_and_can_be_closed(
    tmp_path: Path, clock: OwnClock
) -> None:
    ledger = Ledger(tmp_path, PRINT, 200, clock, go_on)
    ledger.take()
    (tmp_path / f"ledger-{PRINT}.json").write_text("{")
    assert ledger.left() == 0
    ledger.close()
    with pytest.raises(InvalidInput, match="delete it"):
        ledger.take()


@pytest.mark.parametrize(
    ("day", "kind"), [("2026-11-23", Exhausted), ("2026-11-24", InvalidInput)]
)
def test_a_ledger_of_a_future_day_is_refused_with_the_way_out(
    tmp_path: Path, clock: OwnClock, day: str, kind: type[Exception]
) -> None:
    left = {"version": 1, "day": day, "used": 200, "spent": False}
    (tmp_path / f"ledger-{PRINT}.json").write_text(json.dumps(left))
    with pytest.raises(kind, match="clock says 2026-11-22: if it is right, delete"):
        Ledger(tmp_path, PRINT, 200, clock, go_on).take()


@pytest.fixture
def held_lock(tmp_path: Path) -> Iterator[None]:
    """Hold the lock of the ledger, as a stopped process does."""
    with (tmp_path / f"ledger-{PRINT}.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("held_lock")
def test_waiting_for_a_lock_that_is_never_released_ends_with_the_run(
    tmp_path: Path, clock: OwnClock
) -> None:
    control = Control(clock, logging.getLogger("tap-email-metrics"))
    ledger = Ledger(tmp_path, PRINT, 200, clock, control.check)
    control.deadline = clock.at
    with pytest.raises(Exhausted, match="max_run_minutes"):
        ledger.take()
    control.stop.set()
    with pytest.raises(Terminated):
        ledger.take()
    assert ledger.left() == 0


@pytest.mark.usefixtures("held_lock")
def test_a_lock_is_awaited_while_the_run_goes_on(
    tmp_path: Path, clock: OwnClock
) -> None:
    looks = []

    def give_back() -> None:
        looks.append(1)
        if len(looks) == 3:
            # A lock belongs to what opened the file: replacing it frees the name.
            (tmp_path / f"ledger-{PRINT}.json.lock").unlink()
            raise Terminated("seen")

    ledger = Ledger(tmp_path, PRINT, 200, clock, give_back)
    with pytest.raises(Terminated, match="seen"):
        ledger.take()
    assert len(looks) == 3
    assert ledger.take() == date(2026, 11, 22)


# --- processes

TAKER = f"""
import sys
from pathlib import Path
from tap_email_metrics.control import Control, Stop
from tap_email_metrics.errors import Exhausted
from tap_email_metrics.transport.ledger import Ledger

class Noon:
    def now(self):
        return {NOON}

ledger = Ledger(Path(sys.argv[1]), "{PRINT}", int(sys.argv[2]), Noon(), int)
ledger.take()
print("ready", flush=True)
sys.stdin.readline()
taken = 1
try:
    while True:
        ledger.take()
        taken += 1
except Exhausted:
    ledger.close()
    print(taken, flush=True)
"""


@pytest.fixture
def takers(
    tmp_path: Path,
) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield lambda budget: _taker(tmp_path, budget, started)
    for process in started:
        with process:
            process.kill()


def _taker(
    directory: Path, budget: int, started: list[subprocess.Popen[str]]
) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603 - this interpreter, the text above
        [sys.executable, "-c", TAKER, str(directory), str(budget)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def test_processes_that_share_a_budget_use_it_up_and_no_more(
    tmp_path: Path, takers: Callable[[int], subprocess.Popen[str]]
) -> None:
    budget = 700
    processes = [takers(budget) for _ in range(3)]
    for process in processes:
        assert pipe(process.stdout).readline() == "ready\n"
    for process in processes:
        pipe(process.stdin).write("\n")
        pipe(process.stdin).flush()
    taken = [int(pipe(process.stdout).readline()) for process in processes]
    assert sum(taken) == budget == stored(tmp_path)["used"]


def test_a_killed_process_loses_only_its_own_block_of_requests(
    tmp_path: Path, clock: OwnClock, takers: Callable[[int], subprocess.Popen[str]]
) -> None:
    process = takers(300)
    assert pipe(process.stdout).readline() == "ready\n"
    process.kill()
    process.wait(GIVE_UP)
    ledger = Ledger(tmp_path, PRINT, 300, clock, go_on)
    assert ledger.left() == 300 - BLOCK
    assert until_refused(ledger) == 300 - BLOCK


def test_the_temporary_file_of_a_killed_process_is_removed(
    tmp_path: Path, clock: OwnClock
) -> None:
    left = tmp_path / f"ledger-{PRINT}.json.tmp"
    left.write_text('{"version":1,"da')
    Ledger(tmp_path, PRINT, 200, clock, go_on).take()
    assert not left.exists()
    assert stored(tmp_path)["used"] == BLOCK


# --- names


def test_the_fingerprint_is_stable_and_not_a_plain_hash() -> None:
    expected = hashlib.sha256(b"tap-email-metrics ledger\x00" + b"k\xc3\xa9y")
    assert fingerprint("kéy") == expected.hexdigest()[:16]
    assert fingerprint("kéy") != hashlib.sha256("kéy".encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_STATE_HOME": "/var/state"}, "/var/state/tap-email-metrics"),
        ({"XDG_STATE_HOME": "not/absolute"}, "/h/.local/state/tap-email-metrics"),
        ({"XDG_STATE_HOME": ""}, "/h/.local/state/tap-email-metrics"),
        ({}, "/h/.local/state/tap-email-metrics"),
    ],
)
def test_the_state_directory_follows_the_environment(
    environment: dict[str, str], expected: str
) -> None:
    assert state_directory(environment, Path("/h")) == Path(expected)
