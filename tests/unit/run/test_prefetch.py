"""Pages fetched ahead: all at once, in order, each once, within bounds."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.errors import Fatal, Skippable, Terminated
from tap_email_metrics.run.workers import FanOut, PageRead, TaskDone
from tap_email_metrics.transport.client import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

GIVE_UP = 20.0
Page = list[tuple[int, int]]
Events = list[PageRead[int, Page] | TaskDone[int, str]]


@dataclass
class Server:
    """A server of lists of pages that counts requests and unread bytes.

    Attributes:
        pages: number of pages in each list.
        weight: bytes of a page; some pages have up to `uneven - 1` bytes more.
        together: how many requests for later pages must be in flight at once.
        failing: number of the page that fails, and its error.
    """

    pages: int
    weight: int = 1
    uneven: int = 1
    together: int = 0
    failing: tuple[int, Exception] | None = None
    workers: int = 3
    capacity: int = 1000
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.received = Received()
        self.lock = threading.Lock()
        self.asked: list[tuple[int, int]] = []
        self.unseen = self.most = 0
        self.barrier = threading.Barrier(self.together or 1)
        self.fan_out: FanOut[int, Page, str] = FanOut(
            self.work,
            workers=self.workers,
            received=self.received,
            stop=self.stop,
            capacity=self.capacity,
        )

    def fetch(self, task: int, number: int) -> Page:
        with self.lock:
            self.asked.append((task, number))
        if self.together and number:
            self.barrier.wait(GIVE_UP)
        if self.failing and self.failing[0] == number:
            raise self.failing[1]
        self.received.add(self.weight + number % self.uneven)
        with self.lock:
            self.unseen += self.weight
            self.most = max(self.most, self.unseen)
        return [(task, number)]

    def work(self, task: int) -> Generator[Page, None, str]:
        first = self.fetch(task, 0)
        later = [
            self.fan_out.ahead(partial(self.fetch, task, number))
            for number in range(1, self.pages)
        ]
        yield first
        for one in later:
            yield self.fan_out.receive(one)
        return str(task)

    def read(self, tasks: int, then: Callable[[], object] = bool) -> Events:
        events: Events = []
        until = time.monotonic() + GIVE_UP
        with self.fan_out:
            for event in self.fan_out.read(range(tasks), partial(in_time, until)):
                events.append(event)
                if isinstance(event, PageRead):
                    with self.lock:
                        self.unseen -= self.weight
                then()
        return events


def in_time(until: float) -> None:
    assert time.monotonic() < until, "no page came, and no end"


def whole(tasks: int, pages: int) -> list[Any]:
    events: list[Any] = []
    for task in range(tasks):
        events += [PageRead(task, [(task, number)]) for number in range(pages)]
        events.append(TaskDone(task, str(task)))
    return events


@given(
    tasks=st.integers(0, 6),
    pages=st.integers(1, 9),
    workers=st.integers(1, 5),
    capacity=st.integers(0, 12),
)
@settings(deadline=None, max_examples=60)
def test_pages_come_in_order_and_each_is_requested_once(
    tasks: int, pages: int, workers: int, capacity: int
) -> None:
    server = Server(pages=pages, workers=workers, capacity=capacity)
    assert server.read(tasks) == whole(tasks, pages)
    assert sorted(server.asked) == [(t, n) for t in range(tasks) for n in range(pages)]


def test_the_later_pages_of_one_list_are_fetched_by_all_workers() -> None:
    # Each request for a later page is answered once five of them are there.
    server = Server(pages=11, together=5, workers=5)
    assert server.read(1) == whole(1, 11)


def test_a_worker_fetches_other_pages_while_it_waits_for_its_own() -> None:
    # Two lists, two workers: neither may be idle until its own page has come.
    server = Server(pages=7, together=2, workers=2)
    assert server.read(2) == whole(2, 7)


@pytest.mark.parametrize("workers", [2, 4])
def test_pages_fetched_ahead_stay_within_the_capacity_in_bytes(workers: int) -> None:
    server = Server(pages=40, weight=10, workers=workers, capacity=60)
    assert server.read(6) == whole(6, 40)
    # The first list may use the capacity alone; each worker holds one more page.
    assert server.most <= 2 * 60 + (workers + 3) * 10


def test_the_first_list_is_read_although_later_lists_fill_the_capacity() -> None:
    server = Server(pages=4, workers=3, weight=10, capacity=25)
    full, two = threading.Event(), threading.Barrier(2)
    fetch = server.fetch

    def in_turn(task: int, number: int) -> Page:
        if task == 0 and number == 0:
            assert full.wait(GIVE_UP)
        if task == 0 and number in {1, 2}:
            two.wait(GIVE_UP)
        page = fetch(task, number)
        if server.fan_out.waiting >= 20:
            full.set()
        return page

    server.fetch = in_turn  # type: ignore[method-assign]
    assert server.read(3) == whole(3, 4)


def test_an_error_takes_the_place_of_its_page_and_the_next_list_goes_on() -> None:
    error = Skippable("not this one")
    server = Server(pages=6, failing=(3, error))
    events = server.read(2)
    one = [PageRead(0, [(0, n)]) for n in range(3)]
    other = [PageRead(1, [(1, n)]) for n in range(3)]
    assert events == [*one, TaskDone(0, None, error), *other, TaskDone(1, None, error)]


def test_a_failed_list_gives_its_capacity_back() -> None:
    server = Server(
        pages=9, weight=10, uneven=4, capacity=30, failing=(1, Skippable("no"))
    )
    events = server.read(30)
    assert sum(isinstance(event, TaskDone) for event in events) == 30
    assert server.fan_out.waiting == 0


def test_a_page_that_arrives_after_its_list_failed_takes_no_capacity() -> None:
    server = Server(pages=3, weight=10, uneven=4, failing=(1, Skippable("no")))
    began, over = threading.Event(), threading.Event()
    fetch = server.fetch

    def in_turn(task: int, number: int) -> Page:
        if number == 1:
            assert began.wait(GIVE_UP)
        if number == 2:
            began.set()
            assert over.wait(GIVE_UP)
        return fetch(task, number)

    server.fetch = in_turn  # type: ignore[method-assign]
    events: Events = []
    with server.fan_out:
        for event in server.fan_out.read(
            [0], partial(in_time, time.monotonic() + GIVE_UP)
        ):
            events.append(event)
            if isinstance(event, TaskDone):
                over.set()
    assert server.asked == [(0, 0), (0, 1), (0, 2)]
    assert server.fan_out.waiting == 0


def test_an_unexpected_error_is_raised_in_the_caller() -> None:
    server = Server(pages=6, failing=(2, ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        server.read(3)


def test_the_end_of_the_run_ends_threads_that_wait_for_a_page() -> None:
    server = Server(pages=6)
    with pytest.raises(Terminated):
        server.read(3, server.stop.set)
    for thread in threading.enumerate():
        if thread.name.startswith("reader-"):
            thread.join(GIVE_UP)
            assert not thread.is_alive()


def test_a_dropped_page_is_not_requested_and_takes_no_capacity() -> None:
    server = Server(pages=1, workers=1)

    def work(task: int) -> Generator[Page, None, str]:
        later = [server.fan_out.ahead(partial(server.fetch, task, n)) for n in (1, 2)]
        server.fan_out.drop(later[0])
        yield server.fan_out.receive(later[1])
        return str(task)

    server.work = work  # type: ignore[method-assign]
    server.__post_init__()
    server.read(2)
    assert server.asked == [(0, 2), (1, 2)]
    assert server.fan_out.waiting == 0


def test_a_fatal_error_of_a_page_ends_its_list_with_that_error() -> None:
    error = Fatal("no more")
    server = Server(pages=3, failing=(1, error))
    assert TaskDone(0, None, error) in server.read(1)
