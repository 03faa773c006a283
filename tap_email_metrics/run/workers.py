"""Concurrent reading in order, with bounded memory: the only threads of the tap.

Each worker runs the generator of one task at a time. The caller receives the pages in
the order of the tasks. A task that knows its next requests can have idle workers
prefetch them. Pages that wait and prefetched pages are limited in bytes. Only the first
task in line may exceed the limit, so that it can always finish.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from tap_email_metrics.errors import TapError, Terminated
from tap_email_metrics.transport.client import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

CAPACITY = 8 * 2**20
"""Bytes of response bodies that may wait for their turn."""
_LOOK = 0.2  # seconds between two checks whether the run has to end
_JOIN = 3.0  # seconds that all workers together have to end

SomeTask = TypeVar("SomeTask")
SomePage = TypeVar("SomePage")
Result = TypeVar("Result")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class PageRead(Generic[SomeTask, SomePage]):
    """A page of a task."""

    task: SomeTask
    page: SomePage


@dataclass(frozen=True, slots=True)
class TaskDone(Generic[SomeTask, Result]):
    """The end of a task: its result, or the error that ended it."""

    task: SomeTask
    result: Result | None
    error: TapError | None = None


@dataclass(slots=True)
class _Lane(Generic[SomeTask, SomePage, Result]):
    task: SomeTask
    pages: deque[tuple[SomePage, int]] = field(default_factory=deque)
    ended: bool = False
    result: Result | None = None
    error: BaseException | None = None
    planned: deque[Prefetch[Any]] = field(default_factory=deque)
    fetched: set[Prefetch[Any]] = field(default_factory=set)
    usual: int = 0

    @property
    def held(self) -> int:
        """Bytes of prefetched pages, including those in flight."""
        return sum(early.weight for early in self.fetched)


@dataclass(slots=True, eq=False)
class Prefetch(Generic[Value]):
    """A request of a task that an idle worker may send before the task needs it.

    Attributes:
        fetch: sends the request.
        weight: bytes of the response; an estimate until it has arrived.
    """

    fetch: Callable[[], Value]
    weight: int
    ended: bool = False
    dropped: bool = False
    value: Value | None = None
    error: BaseException | None = None


class FanOut(Generic[SomeTask, SomePage, Result]):
    """Reads tasks concurrently and returns their pages and results in order.

    Args:
        work: reads one task: yields its pages and returns its result.
        workers: the largest number of threads.
        received: counts the bytes that `work` fetches.
        stop: set when the run has to end.
        capacity: bytes that may wait to be received.
    """

    def __init__(
        self,
        work: Callable[[SomeTask], Generator[SomePage, None, Result]],
        *,
        workers: int,
        received: Received,
        stop: threading.Event,
        capacity: int = CAPACITY,
    ) -> None:
        self._work = work
        self.workers = workers
        self._received = received
        self._capacity = capacity
        self._stop = stop
        lock = threading.RLock()
        self._arrived = threading.Condition(lock)  # wakes the caller
        self._changed = threading.Condition(lock)  # wakes workers that read a task
        self._free = threading.Condition(lock)  # wakes idle workers
        self._lanes: deque[_Lane[SomeTask, SomePage, Result]] = deque()
        self._running = 0
        self._planned = 0
        self._mine = threading.local()
        self._waiting = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._broken: BaseException | None = None
        self._tasks: Iterator[SomeTask] = iter(())
        self._looked = 0.0

    @property
    def waiting(self) -> int:
        """Bytes that wait to be received or are being prefetched."""
        with self._changed:
            return self._waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._free.notify_all()
        # A thread blocked on a response may outlive this join. It is a daemon, and its
        # result is dropped.
        end = time.monotonic() + (_JOIN / 10 if self._stop.is_set() else _JOIN)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def read(
        self, tasks: Iterable[SomeTask], on_wait: Callable[[], None]
    ) -> Iterator[PageRead[SomeTask, SomePage] | TaskDone[SomeTask, Result]]:
        """Yield the pages of each task and then its end, in the order of the tasks.

        Args:
            tasks: the next one is taken when a worker is free.
            on_wait: called several times a second while no page is ready.

        Raises:
            Terminated: the run is ending.
        """
        self._tasks = iter(tasks)
        self._active = self.workers
        for number in range(self.workers):
            thread = threading.Thread(
                target=self._worker, name=f"reader-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        while (event := self._next(on_wait)) is not None:
            yield event

    def _next(
        self, on_wait: Callable[[], None]
    ) -> PageRead[SomeTask, SomePage] | TaskDone[SomeTask, Result] | None:
        while True:
            if self._stop.is_set():
                raise Terminated("the run is ending")
            with self._changed:
                lane = self._lanes[0] if self._lanes else None
                if lane and lane.pages:
                    page, weight = lane.pages.popleft()
                    self._make_room(weight)
                    return PageRead(lane.task, page)
                if lane and lane.ended:
                    self._lanes.popleft()
                    self._make_room(0)
                    return self._done(lane)
                if lane is None and not self._active:
                    if self._broken:
                        raise self._broken
                    return None
                self._arrived.wait(_LOOK)
            if time.monotonic() - self._looked >= _LOOK:
                self._looked = time.monotonic()
                on_wait()

    def _make_room(self, weight: int) -> None:
        self._waiting -= weight
        self._changed.notify_all()
        self._free.notify()

    def _done(
        self, lane: _Lane[SomeTask, SomePage, Result]
    ) -> TaskDone[SomeTask, Result]:
        if isinstance(lane.error, TapError):
            return TaskDone(lane.task, None, lane.error)
        if lane.error is not None:
            raise lane.error
        return TaskDone(lane.task, lane.result)

    def _worker(self) -> None:
        try:
            self._work_on()
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            self._broken = error
        with self._changed:
            self._active -= 1
            self._arrived.notify()

    def _work_on(self) -> None:
        while (job := self._take()) is not None:
            if isinstance(job, Prefetch):
                self._fetch(job)
                continue
            self._mine.lane = job
            try:
                job.result = self._run(job)
            except BaseException as error:  # noqa: BLE001 - raised where it is received
                job.error = error
            self._received.take()
            with self._changed:
                self._end(job)

    def _end(self, lane: _Lane[SomeTask, SomePage, Result]) -> None:
        self._planned -= len(lane.planned)
        lane.planned.clear()
        for early in list(lane.fetched):
            self._forget(lane, early)
        lane.ended = True
        self._running -= 1
        if lane is self._lanes[0]:
            self._arrived.notify()
        if not self._running:
            self._free.notify_all()

    def _take(self) -> _Lane[SomeTask, SomePage, Result] | Prefetch[Any] | None:
        """Return the next job of a worker, None if there will be no more."""
        with self._changed:
            while not self._closed and not self._stop.is_set():
                if early := self._begin_any():
                    return early
                if len(self._lanes) < 4 * self.workers:
                    for task in self._tasks:
                        lane = _Lane[SomeTask, SomePage, Result](task)
                        self._lanes.append(lane)
                        self._running += 1
                        return lane
                    if not self._running:
                        return None
                self._free.wait(_LOOK)
            return None

    def _run(self, lane: _Lane[SomeTask, SomePage, Result]) -> Result:
        pages = self._work(lane.task)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                result: Result = end.value
                return result
            self._put(lane, page, self._received.take())

    def _put(
        self, lane: _Lane[SomeTask, SomePage, Result], page: SomePage, weight: int
    ) -> None:
        """Hand a page over when there is room; until then prefetch for other tasks.

        Raises:
            Terminated: the run is ending.
        """
        while not self._handed_over(lane, page, weight):
            with self._changed:
                if self._closed:
                    raise Terminated("the run is ending")
                # The caller waits for the first task in line, so it must not stop here.
                early = None if lane is self._lanes[0] else self._begin_any()
                if early is None and self._full(lane):
                    self._changed.wait(_LOOK)
            if early is not None:
                self._fetch(early)

    def _handed_over(
        self, lane: _Lane[SomeTask, SomePage, Result], page: SomePage, weight: int
    ) -> bool:
        with self._changed:
            if self._closed or self._full(lane):
                return False
            lane.pages.append((page, weight))
            self._waiting += weight
            if lane is self._lanes[0]:
                self._arrived.notify()
            return True

    def _full(self, lane: _Lane[SomeTask, SomePage, Result]) -> bool:
        if lane is self._lanes[0]:
            return len(lane.pages) >= 2  # noqa: PLR2004 - one in use, one ready
        return self._waiting >= self._capacity

    def ahead(self, fetch: Callable[[], Value]) -> Prefetch[Value]:
        """Let an idle worker send a request. Only `work` may call this.

        The result is received or dropped; at the end of the task it is discarded.

        Args:
            fetch: sends the request. The size of the response is estimated by the one
                before.
        """
        lane = self._mine.lane
        lane.usual = lane.usual or self._received.bytes
        early = Prefetch(fetch, lane.usual)
        with self._changed:
            lane.planned.append(early)
            self._planned += 1
            self._free.notify()
            self._changed.notify()
        return early

    def receive(self, early: Prefetch[Value]) -> Value:
        """Return a prefetched result; send the request now if no worker has.

        Raises:
            Terminated: the run is ending.
            TapError: the request failed.
        """
        lane = self._mine.lane
        while not early.ended:
            # While another worker waits for this response, prefetch others.
            if (job := self._begin(lane, early)) is not None:
                self._fetch(job)
        with self._changed:
            self._forget(lane, early)
        self._received.add(early.weight)
        if early.error is not None:
            raise early.error
        lane.usual = early.weight
        return cast("Value", early.value)

    def drop(self, early: Prefetch[Any]) -> None:
        """Discard a prefetch whose result is not needed."""
        lane = self._mine.lane
        with self._changed:
            if early in lane.fetched:
                self._forget(lane, early)
            else:
                lane.planned.remove(early)
                self._planned -= 1

    def _forget(self, lane: _Lane[Any, Any, Any], early: Prefetch[Any]) -> None:
        lane.fetched.remove(early)
        early.dropped = True
        self._make_room(early.weight)

    def _begin(
        self, lane: _Lane[Any, Any, Any], early: Prefetch[Any]
    ) -> Prefetch[Any] | None:
        """Return a request to send while waiting for a prefetch; None after a wait."""
        with self._changed:
            if self._closed:
                raise Terminated("the run is ending")
            if early in lane.planned:
                return self._start(lane, early)
            if early.ended:
                return None
            other = self._begin_any()
            if other is None:
                self._changed.wait(_LOOK)
            return other

    def _begin_any(self) -> Prefetch[Any] | None:
        """Return the next request to prefetch, if there is room for its response."""
        if not self._planned:
            return None
        lane = next(lane for lane in self._lanes if lane.planned)
        # Pages of later tasks must not keep the first task in line waiting.
        waiting = lane.held if lane is self._lanes[0] else self._waiting
        early = lane.planned[0]
        if waiting + early.weight > self._capacity:
            return None
        return self._start(lane, early)

    def _start(self, lane: _Lane[Any, Any, Any], early: Prefetch[Any]) -> Prefetch[Any]:
        lane.planned.remove(early)
        lane.fetched.add(early)
        self._planned -= 1
        self._waiting += early.weight
        return early

    def _fetch(self, early: Prefetch[Any]) -> None:
        mine = self._received.take()
        try:
            early.value = early.fetch()
        except BaseException as error:  # noqa: BLE001 - raised where it is received
            early.error = error
        weight = self._received.take()
        self._received.add(mine)
        with self._changed:
            if not early.dropped:
                self._waiting += weight - early.weight
            early.weight = weight
            early.ended = True
            self._changed.notify_all()


def in_background(
    work: Callable[[], Result], stop: threading.Event, on_wait: Callable[[], None]
) -> Result:
    """Run a function in another thread and return its result.

    The calling thread stays free to notice the end of the run.

    Raises:
        Terminated: the run is ending.
        TapError: the function raised it.
    """
    fan_out: FanOut[None, list[None], Result] = FanOut(
        partial(_only, work), workers=1, received=Received(), stop=stop
    )
    with fan_out:
        for event in fan_out.read([None], on_wait):
            if isinstance(event, TaskDone) and event.error is None:
                return cast("Result", event.result)
            if isinstance(event, TaskDone) and event.error is not None:
                raise event.error
    raise Terminated("the run is ending")


def _only(
    work: Callable[[], Result], _task: None
) -> Generator[list[None], None, Result]:
    yield from ()
    return work()
