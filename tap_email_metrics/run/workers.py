"""Ordered, bounded, concurrent reading: the only threads of the tap.

Workers run one generator a task and hand its pages over; the caller receives
them in the order of the tasks. A task that knows what it will ask for has it fetched
ahead by the workers that are free. What waits, or was fetched ahead, is bounded in
bytes, not in tasks: only the first task in line may exceed it, so that it always ends.
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
"""Bytes of bodies that may wait for what comes before them."""
_LOOK = 0.2  # seconds between two looks at the end of the run
_JOIN = 3.0  # seconds that all workers may take to notice the end

Task = TypeVar("Task")
Page = TypeVar("Page")
Result = TypeVar("Result")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Read(Generic[Task, Page]):
    """A page of a task."""

    task: Task
    page: Page


@dataclass(frozen=True, slots=True)
class Done(Generic[Task, Result]):
    """The end of a task: its result, or the error that ended it."""

    task: Task
    result: Result | None
    error: TapError | None = None


@dataclass(slots=True)
class _Lane(Generic[Task, Page, Result]):
    task: Task
    pages: deque[tuple[Page, int]] = field(default_factory=deque)
    ended: bool = False
    result: Result | None = None
    error: BaseException | None = None
    planned: deque[Ahead[Any]] = field(default_factory=deque)
    fetched: set[Ahead[Any]] = field(default_factory=set)
    usual: int = 0

    @property
    def held(self) -> int:
        """Bytes that were fetched ahead, or are being."""
        return sum(early.weight for early in self.fetched)


@dataclass(slots=True, eq=False)
class Ahead(Generic[Value]):
    """What a task will ask for; a worker that is free fetches it before.

    Attributes:
        fetch: sends the request.
        weight: its bytes; an estimate until it was fetched.
    """

    fetch: Callable[[], Value]
    weight: int
    ended: bool = False
    dropped: bool = False
    value: Value | None = None
    error: BaseException | None = None


class FanOut(Generic[Task, Page, Result]):
    """Reads tasks concurrently and returns what they give in order.

    Args:
        work: reads one task: yields its pages, returns its result.
        workers: threads at most.
        received: counts the bytes of what the work fetches.
        stop: set when the run has to end.
        capacity: bytes that may wait to be received.
    """

    def __init__(
        self,
        work: Callable[[Task], Generator[Page, None, Result]],
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
        self._arrived = threading.Condition(lock)  # for the caller
        self._changed = threading.Condition(lock)  # for workers that read a task
        self._free = threading.Condition(lock)  # for the other workers
        self._lanes: deque[_Lane[Task, Page, Result]] = deque()
        self._running = 0
        self._planned = 0
        self._mine = threading.local()
        self._waiting = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._broken: BaseException | None = None
        self._tasks: Iterator[Task] = iter(())
        self._looked = 0.0

    @property
    def waiting(self) -> int:
        """Bytes that wait to be received, or are being fetched ahead."""
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
        # One that waits for an answer notices late; it is a daemon, and what it
        # reads goes nowhere.
        end = time.monotonic() + (_JOIN / 10 if self._stop.is_set() else _JOIN)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def read(
        self, tasks: Iterable[Task], on_wait: Callable[[], None]
    ) -> Iterator[Read[Task, Page] | Done[Task, Result]]:
        """Yield the pages and then the end of each task, in the order of the tasks.

        Args:
            tasks: taken from as workers become free.
            on_wait: called now and then while there is nothing to receive.

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
    ) -> Read[Task, Page] | Done[Task, Result] | None:
        while True:
            if self._stop.is_set():
                raise Terminated("the run is ending")
            with self._changed:
                lane = self._lanes[0] if self._lanes else None
                if lane and lane.pages:
                    page, weight = lane.pages.popleft()
                    self._make_room(weight)
                    return Read(lane.task, page)
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

    def _done(self, lane: _Lane[Task, Page, Result]) -> Done[Task, Result]:
        if isinstance(lane.error, TapError):
            return Done(lane.task, None, lane.error)
        if lane.error is not None:
            raise lane.error
        return Done(lane.task, lane.result)

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
            if isinstance(job, Ahead):
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

    def _end(self, lane: _Lane[Task, Page, Result]) -> None:
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

    def _take(self) -> _Lane[Task, Page, Result] | Ahead[Any] | None:
        """Return what a worker does next, None where nothing can come any more."""
        with self._changed:
            while not self._closed and not self._stop.is_set():
                if early := self._begin_any():
                    return early
                if len(self._lanes) < 4 * self.workers:
                    for task in self._tasks:
                        lane = _Lane[Task, Page, Result](task)
                        self._lanes.append(lane)
                        self._running += 1
                        return lane
                    if not self._running:
                        return None
                self._free.wait(_LOOK)
            return None

    def _run(self, lane: _Lane[Task, Page, Result]) -> Result:
        pages = self._work(lane.task)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                result: Result = end.value
                return result
            self._put(lane, page, self._received.take())

    def _put(self, lane: _Lane[Task, Page, Result], page: Page, weight: int) -> None:
        """Hand a page over when there is room; until then fetch what others wait for.

        Raises:
            Terminated: the run is ending.
        """
        while not self._handed_over(lane, page, weight):
            with self._changed:
                if self._closed:
                    raise Terminated("the run is ending")
                # The first in line is about to be received: it stays here.
                early = None if lane is self._lanes[0] else self._begin_any()
                if early is None and self._full(lane):
                    self._changed.wait(_LOOK)
            if early is not None:
                self._fetch(early)

    def _handed_over(
        self, lane: _Lane[Task, Page, Result], page: Page, weight: int
    ) -> bool:
        with self._changed:
            if self._closed or self._full(lane):
                return False
            lane.pages.append((page, weight))
            self._waiting += weight
            if lane is self._lanes[0]:
                self._arrived.notify()
            return True

    def _full(self, lane: _Lane[Task, Page, Result]) -> bool:
        if lane is self._lanes[0]:
            return len(lane.pages) >= 2  # noqa: PLR2004 - one received, one ready
        return self._waiting >= self._capacity

    def ahead(self, fetch: Callable[[], Value]) -> Ahead[Value]:
        """Have something fetched by a worker that is free: for the work alone.

        It is received or dropped, or forgotten at the end of its task.

        Args:
            fetch: sends the request; it is taken to bring as much as the last.
        """
        lane = self._mine.lane
        lane.usual = lane.usual or self._received.bytes
        early = Ahead(fetch, lane.usual)
        with self._changed:
            lane.planned.append(early)
            self._planned += 1
            self._free.notify()
            self._changed.notify()
        return early

    def receive(self, early: Ahead[Value]) -> Value:
        """Return what was fetched ahead; fetch it now if nobody has.

        Raises:
            Terminated: the run is ending.
            TapError: what the request raised.
        """
        lane = self._mine.lane
        while not early.ended:
            # While another worker waits for it, this one does what it can.
            if (job := self._begin(lane, early)) is not None:
                self._fetch(job)
        with self._changed:
            self._forget(lane, early)
        self._received.add(early.weight)
        if early.error is not None:
            raise early.error
        lane.usual = early.weight
        return cast("Value", early.value)

    def drop(self, early: Ahead[Any]) -> None:
        """Forget what will not be asked for."""
        lane = self._mine.lane
        with self._changed:
            if early in lane.fetched:
                self._forget(lane, early)
            else:
                lane.planned.remove(early)
                self._planned -= 1

    def _forget(self, lane: _Lane[Any, Any, Any], early: Ahead[Any]) -> None:
        lane.fetched.remove(early)
        early.dropped = True
        self._make_room(early.weight)

    def _begin(
        self, lane: _Lane[Any, Any, Any], early: Ahead[Any]
    ) -> Ahead[Any] | None:
        """Return what to fetch until something has ended; None after a wait."""
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

    def _begin_any(self) -> Ahead[Any] | None:
        """Return what may be fetched ahead: of the first in line, if there is room."""
        if not self._planned:
            return None
        lane = next(lane for lane in self._lanes if lane.planned)
        # What others hold must not keep the first in line from being read.
        waiting = lane.held if lane is self._lanes[0] else self._waiting
        early = lane.planned[0]
        if waiting + early.weight > self._capacity:
            return None
        return self._start(lane, early)

    def _start(self, lane: _Lane[Any, Any, Any], early: Ahead[Any]) -> Ahead[Any]:
        lane.planned.remove(early)
        lane.fetched.add(early)
        self._planned -= 1
        self._waiting += early.weight
        return early

    def _fetch(self, early: Ahead[Any]) -> None:
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
    """Return what a function returns that runs in a thread of its own.

    The caller stays free to notice the end of the run.

    Raises:
        Terminated: the run is ending.
        TapError: what the function raised.
    """
    fan_out: FanOut[None, list[None], Result] = FanOut(
        partial(_only, work), workers=1, received=Received(), stop=stop
    )
    with fan_out:
        for event in fan_out.read([None], on_wait):
            if isinstance(event, Done) and event.error is None:
                return cast("Result", event.result)
            if isinstance(event, Done) and event.error is not None:
                raise event.error
    raise Terminated("the run is ending")


def _only(
    work: Callable[[], Result], _task: None
) -> Generator[list[None], None, Result]:
    yield from ()
    return work()
