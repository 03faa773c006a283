"""Ordered, bounded, concurrent reading: order, bounds, errors, and the end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tap_email_metrics.errors import Fatal, Gone, Skippable, Terminated
from tap_email_metrics.run.workers import FanOut, PageRead, TaskDone, in_background
from tap_email_metrics.transport.client import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Page = list[int]
Events = list[PageRead[int, Page] | TaskDone[int, str]]

GIVE_UP = 20.0
"""Real seconds after which a test that hangs fails instead."""
PROPERTY = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("reader-")]


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    yield
    for thread in readers():
        thread.join(GIVE_UP)
    assert readers() == []


class Patience:
    """A callback for waiting that fails the test if the wait is too long."""

    def __init__(self, seconds: float = GIVE_UP) -> None:
        self.until = time.monotonic() + seconds

    def __call__(self) -> None:
        assert time.monotonic() < self.until, "nothing came, and no end"


def reading(
    work: Callable[[int], Generator[Page, None, str]],
    *,
    workers: int = 3,
    capacity: int = 100,
    stop: threading.Event | None = None,
) -> FanOut[int, Page, str]:
    received = Received()
    return FanOut(
        partial(weighed, work, received),
        workers=workers,
        received=received,
        stop=stop or threading.Event(),
        capacity=capacity,
    )


def weighed(
    work: Callable[[int], Generator[Page, None, str]], received: Received, task: int
) -> Generator[Page, None, str]:
    """Count each row of a page as one byte."""
    pages = work(task)
    while True:
        try:
            page = next(pages)
        except StopIteration as end:
            return str(end.value)
        received.add(len(page))
        yield page


def collect(fan_out: FanOut[int, Page, str], tasks: Iterable[int]) -> Events:
    with fan_out:
        return list(fan_out.read(tasks, Patience()))


def receive(
    fan_out: FanOut[int, Page, str],
    tasks: Iterable[int],
    received: Events,
    then: Callable[[], object] = bool,
    seconds: float = GIVE_UP,
) -> None:
    """Append events to `received` until an error is raised."""
    with fan_out:
        for event in fan_out.read(tasks, Patience(seconds)):
            received.append(event)
            then()


def two_pages(task: int) -> Generator[Page, None, str]:
    yield [task]
    yield [task, task]
    return f"result {task}"


def whole(task: int) -> Events:
    """Return the events of `two_pages`."""
    pages = [PageRead(task, [task]), PageRead(task, [task, task])]
    return [*pages, TaskDone(task, f"result {task}")]


@dataclass
class Turns:
    """Lets running tasks go on in a given order.

    Of the running tasks the first in that order goes on; the others wait until it
    has ended.
    """

    order: dict[int, int]
    running: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def work(self, task: int) -> Generator[Page, None, str]:
        with self.changed:
            self.running.add(task)
            self.changed.notify_all()
        for number in range(task % 3):
            self.wait(task)
            yield [task] * (number + 1)
        self.wait(task)
        with self.changed:
            self.running.discard(task)
            self.changed.notify_all()
        return str(task)

    def wait(self, task: int) -> None:
        with self.changed:
            mine = self.changed.wait_for(
                lambda: min(self.running, key=self.order.__getitem__) == task, GIVE_UP
            )
            assert mine


@given(st.permutations(range(12)), st.integers(1, 6))
@PROPERTY
def test_events_come_in_the_order_of_tasks_whichever_ends_first(
    order: list[int], workers: int
) -> None:
    turns = Turns({task: place for place, task in enumerate(order)})
    # Enough capacity for all: the last task need not wait for the first.
    events = collect(reading(turns.work, workers=workers, capacity=1000), range(12))
    expected: Events = []
    for task in range(12):
        expected += [PageRead(task, [task] * (n + 1)) for n in range(task % 3)]
        expected.append(TaskDone(task, str(task)))
    assert events == expected


def test_workers_read_at_the_same_time() -> None:
    barrier = threading.Barrier(4)

    def work(task: int) -> Generator[Page, None, str]:
        barrier.wait(GIVE_UP)
        yield [task]
        return ""

    events = collect(reading(work, workers=4), range(8))
    assert [event.task for event in events if isinstance(event, TaskDone)] == [
        *range(8)
    ]


def test_without_tasks_there_are_no_events() -> None:
    assert collect(reading(two_pages), []) == []


def test_a_task_without_pages_ends_with_its_result() -> None:
    def work(task: int) -> Generator[Page, None, str]:
        yield from ()
        return str(task)

    assert collect(reading(work), [5]) == [TaskDone(5, "5")]


def test_many_pages_come_through_a_small_capacity() -> None:
    def work(task: int) -> Generator[Page, None, str]:
        for number in range(300):
            yield [task, number]
        return ""

    events = collect(reading(work, workers=3, capacity=4), range(4))
    pages = [event.page for event in events if isinstance(event, PageRead)]
    assert pages == [[task, number] for task in range(4) for number in range(300)]


def test_a_page_larger_than_the_capacity_comes_through() -> None:
    def work(task: int) -> Generator[Page, None, str]:
        yield [task] * 50
        return ""

    events = collect(reading(work, capacity=1), range(6))
    assert [len(event.page) for event in events if isinstance(event, PageRead)] == [
        50
    ] * 6


# Bounds


class Meter:
    """Counts rows that were yielded and not yet received, and tasks that began."""

    def __init__(self, pages: int, rows: int) -> None:
        self.pages = pages
        self.rows = rows
        self.lock = threading.Condition(threading.RLock())
        self.made: dict[int, int] = {}
        self.got: dict[int, int] = {}
        self.began = 0
        self.most = 0
        self.ahead = 0
        self.finished = 0

    def work(self, task: int) -> Generator[Page, None, str]:
        with self.lock:
            self.began += 1
            self.ahead = max(self.ahead, self.began - self.finished)
        for _ in range(self.pages):
            with self.lock:
                self.made[task] = self.made.get(task, 0) + 1
                head = min(set(self.made) - self.ended())
                others = sum(
                    (count - self.got.get(number, 0)) * self.rows
                    for number, count in self.made.items()
                    if number != head
                )
                self.most = max(self.most, others)
                self.lock.notify_all()
            yield [task] * self.rows
        return ""

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.lock:
            assert self.lock.wait_for(condition, GIVE_UP)

    def waiting(self, task: int) -> int:
        with self.lock:
            return self.made.get(task, 0) - self.got.get(task, 0)

    def ended(self) -> set[int]:
        return {task for task, count in self.got.items() if count == self.pages}

    def receive(self, event: PageRead[int, Page] | TaskDone[int, str]) -> None:
        with self.lock:
            if isinstance(event, PageRead):
                self.got[event.task] = self.got.get(event.task, 0) + 1
            else:
                self.finished += 1


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("capacity", [0, 10, 40])
def test_pages_that_wait_stay_within_the_capacity(workers: int, capacity: int) -> None:
    meter = Meter(pages=9, rows=5)
    fan_out = reading(meter.work, workers=workers, capacity=capacity)
    with fan_out:
        for event in fan_out.read(range(60), Patience()):
            meter.receive(event)
    assert meter.finished == 60
    # Each worker may hold one more page, and one lane was the head until just now.
    assert meter.most <= capacity + (workers + 3) * meter.rows
    assert meter.ahead <= 4 * workers + 1


def test_workers_wait_for_a_slow_receiver() -> None:
    """The head may hold two pages, all lanes the capacity, each worker one more."""
    meter = Meter(pages=30, rows=1)
    fan_out = reading(meter.work, workers=2, capacity=10)
    with fan_out:
        events = fan_out.read(range(2), Patience())
        for _ in range(30):
            meter.receive(next(events))
            meter.wait_for(lambda: meter.waiting(1) >= 9)
            meter.wait_for(lambda: meter.waiting(0) >= 3 or meter.made[0] == 30)
            assert meter.waiting(1) <= 11
            assert meter.waiting(0) <= 3


def test_a_later_task_does_not_run_far_ahead_of_the_first() -> None:
    """The number of lanes is bounded even if they hold nothing."""
    release = threading.Event()
    began: list[int] = []
    enough = threading.Event()

    def work(task: int) -> Generator[Page, None, str]:
        began.append(task)
        if len(began) == 8:
            enough.set()
        if task == 0:
            assert release.wait(GIVE_UP)
        yield from ()
        return str(task)

    def look() -> None:
        # The second worker has run through all but the first task's lane.
        if enough.is_set():
            release.set()

    fan_out = reading(work, workers=2)
    with fan_out:
        for event in fan_out.read(range(100), look):
            if event.task == 0:
                assert max(began) <= 4 * 2
    assert sorted(began) == [*range(100)]


# Errors


@given(st.lists(st.sampled_from([None, Skippable("no"), Gone("gone"), Fatal("end")])))
@PROPERTY
def test_an_error_comes_after_the_pages_of_its_task(
    faults: list[Skippable | Fatal | None],
) -> None:
    def work(task: int) -> Generator[Page, None, str]:
        yield [task]
        if fault := faults[task]:
            raise fault
        return "fine"

    expected: Events = []
    for task, fault in enumerate(faults):
        end = TaskDone(task, None, fault) if fault else TaskDone(task, "fine")
        expected += [PageRead(task, [task]), end]
    assert collect(reading(work), range(len(faults))) == expected


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), KeyboardInterrupt()])
def test_an_unexpected_error_is_raised_in_the_caller(error: BaseException) -> None:
    def work(task: int) -> Generator[Page, None, str]:
        yield [task]
        if task == 2:
            raise error
        return ""

    received: Events = []
    with pytest.raises(type(error)) as caught:
        receive(reading(work), range(9), received)
    assert caught.value is error
    assert [event.task for event in received] == [0, 0, 1, 1, 2]


def test_an_error_while_choosing_the_next_task_is_raised_in_the_caller() -> None:
    """For example when the budget cannot be read."""

    def tasks() -> Iterator[int]:
        yield 0
        raise Fatal("the budget cannot be read")

    received: Events = []
    with pytest.raises(Fatal, match="budget"):
        receive(reading(two_pages), tasks(), received, seconds=3)
    assert received == whole(0)


# The end


def test_a_stop_ends_the_reading() -> None:
    stop = threading.Event()
    received: Events = []

    def stop_at_30() -> None:
        if len(received) == 30:
            stop.set()

    with pytest.raises(Terminated):
        receive(reading(two_pages, stop=stop), range(10**9), received, stop_at_30)
    assert len(received) == 30
    assert received == [event for task in range(10) for event in whole(task)]


def test_a_stop_does_not_wait_for_an_answer() -> None:
    stop = threading.Event()
    answer = threading.Event()
    asked = threading.Event()

    def work(task: int) -> Generator[Page, None, str]:
        asked.set()
        assert answer.wait(GIVE_UP)
        yield [task]
        return ""

    def look() -> None:
        if asked.is_set():
            stop.set()

    with pytest.raises(Terminated), reading(work, stop=stop) as fan_out:
        list(fan_out.read(range(9), look))
    assert readers()
    answer.set()


def test_a_stop_before_the_start_reads_nothing() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Terminated), reading(two_pages, stop=stop) as fan_out:
        next(iter(fan_out.read(range(9), Patience())))


def test_leaving_the_loop_early_ends_all_threads() -> None:
    def work(task: int) -> Generator[Page, None, str]:
        while True:
            yield [task]

    with reading(work, capacity=5) as fan_out:
        for event in fan_out.read(range(9), Patience()):
            assert event.task == 0
            break
    assert readers() == []


def test_an_error_of_the_caller_ends_all_threads() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        receive(reading(two_pages), range(10**9), [], fail)
    assert readers() == []


def test_the_callback_is_called_while_waiting() -> None:
    release = threading.Event()
    looks: list[None] = []

    def work(task: int) -> Generator[Page, None, str]:
        assert release.wait(GIVE_UP)
        yield [task]
        return ""

    def look() -> None:
        looks.append(None)
        release.set()

    with reading(work) as fan_out:
        list(fan_out.read([1], look))
    assert looks


# One function in a thread


def test_in_background_returns_the_result() -> None:
    def where() -> str:
        return threading.current_thread().name

    assert in_background(where, threading.Event(), Patience()) == "reader-0"
    assert in_background(lambda: None, threading.Event(), Patience()) is None


@pytest.mark.parametrize("error", [Gone("gone"), Fatal("end"), ZeroDivisionError()])
def test_in_background_raises_the_error(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_background(fail, threading.Event(), Patience())
    assert caught.value is error


def test_in_background_ends_with_the_run() -> None:
    stop = threading.Event()
    answer = threading.Event()
    with pytest.raises(Terminated):
        in_background(lambda: answer.wait(GIVE_UP), stop, stop.set)
    answer.set()
