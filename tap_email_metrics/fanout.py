"""Ordered, bounded, concurrent reading: the only threads of the tap.

Workers run one generator a task and hand its pages over; the caller receives
them in the order of the tasks. What waits to be received is bounded in weight,
not in tasks: only the first task in line may exceed it, so that it always ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, cast

from tap_email_metrics.errors import TapError, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

_LOOK = 0.2  # seconds between two looks at the end of the run
_JOIN = 3.0  # seconds that all workers may take to notice the end

Task = TypeVar("Task")
Page = TypeVar("Page", bound="Weighed")
Result = TypeVar("Result")


class Weighed(Protocol):
    """A page that knows how much it holds."""

    def __len__(self) -> int:
        """Return the number of rows."""


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
    pages: deque[Page] = field(default_factory=deque)
    ended: bool = False
    result: Result | None = None
    error: BaseException | None = None


class FanOut(Generic[Task, Page, Result]):
    """Reads tasks concurrently and returns what they give in order.

    Args:
        work: reads one task: yields its pages, returns its result.
        workers: threads at most.
        capacity: rows that may wait to be received.
        stop: set when the run has to end.
    """

    def __init__(
        self,
        work: Callable[[Task], Generator[Page, None, Result]],
        *,
        workers: int,
        capacity: int,
        stop: threading.Event,
    ) -> None:
        self._work = work
        self._workers = workers
        self._capacity = capacity
        self._stop = stop
        self._changed = threading.Condition()
        self._lanes: deque[_Lane[Task, Page, Result]] = deque()
        self._waiting = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._broken: BaseException | None = None
        self._tasks: Iterator[Task] = iter(())

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
        self._active = self._workers
        for number in range(self._workers):
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
                    page = lane.pages.popleft()
                    self._waiting -= len(page)
                    self._changed.notify_all()
                    return Read(lane.task, page)
                if lane and lane.ended:
                    self._lanes.popleft()
                    self._changed.notify_all()
                    return self._done(lane)
                if lane is None and not self._active:
                    if self._broken:
                        raise self._broken
                    return None
                self._changed.wait(_LOOK)
            on_wait()

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
            self._changed.notify_all()

    def _work_on(self) -> None:
        while (lane := self._take()) is not None:
            try:
                lane.result = self._run(lane)
            except BaseException as error:  # noqa: BLE001 - raised where it is received
                lane.error = error
            with self._changed:
                lane.ended = True
                self._changed.notify_all()

    def _take(self) -> _Lane[Task, Page, Result] | None:
        with self._changed:
            while not self._closed and len(self._lanes) >= 4 * self._workers:
                self._changed.wait(_LOOK)
            if self._closed or self._stop.is_set():
                return None
            for task in self._tasks:
                lane = _Lane[Task, Page, Result](task)
                self._lanes.append(lane)
                return lane
            return None

    def _run(self, lane: _Lane[Task, Page, Result]) -> Result:
        pages = self._work(lane.task)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                result: Result = end.value
                return result
            self._put(lane, page)

    def _put(self, lane: _Lane[Task, Page, Result], page: Page) -> None:
        with self._changed:
            while self._full(lane) and not self._closed:
                self._changed.wait(_LOOK)
            if self._closed:
                raise Terminated("the run is ending")
            lane.pages.append(page)
            self._waiting += len(page)
            self._changed.notify_all()

    def _full(self, lane: _Lane[Task, Page, Result]) -> bool:
        if lane is self._lanes[0]:
            return len(lane.pages) >= 2  # noqa: PLR2004 - one received, one ready
        return self._waiting >= self._capacity


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
        partial(_only, work), workers=1, capacity=0, stop=stop
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
