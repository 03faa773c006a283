"""The clock for threads: time passes only while all threads wait."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from simulator.clock import SimClock, ThreadedClock

if TYPE_CHECKING:
    from collections.abc import Callable


def together(clock: ThreadedClock, *works: Callable[[], None]) -> None:
    """Run functions in threads that start together."""
    start = threading.Barrier(len(works))
    threads = [
        threading.Thread(target=begin, args=(clock, start, work), daemon=True)
        for work in works
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def begin(
    clock: ThreadedClock, start: threading.Barrier, work: Callable[[], None]
) -> None:
    clock.now()
    start.wait()
    work()


class Sleeper:
    """Sleeps a number of times and keeps the times at which it woke up."""

    def __init__(self, clock: SimClock, seconds: float, times: int) -> None:
        self.clock = clock
        self.seconds = seconds
        self.times = times
        self.woke: list[float] = []

    def __call__(self) -> None:
        for _ in range(self.times):
            self.clock.sleep(self.seconds)
            self.woke.append(self.clock.monotonic())


def test_sleeps_of_several_threads_overlap() -> None:
    clock = ThreadedClock(1000.0)
    one, other = Sleeper(clock, 2.0, 6), Sleeper(clock, 3.0, 4)
    together(clock, one, other)
    assert one.woke == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert other.woke == [3.0, 6.0, 9.0, 12.0]
    assert clock.now() == 1012.0


def test_time_stands_still_while_any_thread_works() -> None:
    clock = ThreadedClock(0.0)
    seen: list[float] = []

    def work() -> None:
        end = time.monotonic() + 0.7  # longer than the clock waits for a plain lock
        while time.monotonic() < end:
            seen.append(clock.monotonic())

    together(clock, Sleeper(clock, 1.0, 1), work)
    assert len(seen) > 10
    assert set(seen) == {0.0}


def test_a_thread_that_was_notified_does_not_count_as_waiting() -> None:
    clock = ThreadedClock(0.0)
    changed = threading.Condition()
    ready: list[bool] = []
    times: list[float] = []

    def wait() -> None:
        with changed:
            while not ready:
                changed.wait()
            times.append(clock.monotonic())
        clock.sleep(0.5)
        times.append(clock.monotonic())

    def notify() -> None:
        clock.sleep(1.0)
        with changed:
            ready.append(True)
            changed.notify_all()
        clock.sleep(1.0)
        times.append(clock.monotonic())

    together(clock, wait, notify)
    assert times == [1.0, 1.5, 2.0]


def test_time_passes_while_a_thread_waits_for_a_lock_or_a_thread() -> None:
    clock = ThreadedClock(0.0)
    lock = threading.Lock()
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            clock.sleep(5.0)

    def want() -> None:
        held.wait()
        with lock:
            pass

    def join() -> None:
        sleeper = threading.Thread(target=clock.sleep, args=(7.0,))
        sleeper.start()
        sleeper.join()

    together(clock, hold, want, join)
    assert clock.monotonic() == 7.0


def test_the_clock_can_be_advanced_and_set() -> None:
    clock = ThreadedClock(0.0)
    clock.advance(3.0)
    clock.set(10.0)
    clock.sleep(-1.0)
    clock.sleep(2.0)
    assert (clock.now(), clock.monotonic()) == (12.0, 12.0)
