"""The real tap, without the work that is the same in each run of an account.

A simulated day starts the tap anew, as a schedule does. Preparing the packaged schemas
and the settings takes longer than the rest of a quiet day, so it is done once per
account.
"""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import msgspec
from typing_extensions import override

from tap_email_metrics.errors import TapError, Terminated
from tap_email_metrics.records.privacy import Privacy
from tap_email_metrics.run import workers
from tap_email_metrics.run.workers import FanOut, PageRead, Prefetch, TaskDone
from tap_email_metrics.streams import fan_out, windows
from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from singer_sdk.mapper import PluginMapper
    from singer_sdk.singerlib import Catalog, SelectionMask

Task = TypeVar("Task")
Page = TypeVar("Page")
Result = TypeVar("Result")
Value = TypeVar("Value")
_SELDOM = (20_000, 20, 50)


@dataclass
class Discovery:
    """The parts of a started tap that no run changes."""

    catalog: Catalog | None = None
    mapper: PluginMapper | None = None
    masks: dict[str, SelectionMask] = field(default_factory=dict)


class KnownTap(TapEmailMetrics):
    """The tap of an account, which starts with the discovery of an earlier start.

    Args:
        discovery: discovery of the first start.
        options: options of the tap.
    """

    def __init__(self, discovery: Discovery, **options: Any) -> None:
        self._discovery = discovery
        super().__init__(**options)

    @override
    def setup_mapper(self) -> None:
        known = self._discovery
        if known.catalog is None:
            super().setup_mapper()
            known.catalog, known.mapper = self.catalog, self.mapper
            known.masks = {name: one.mask for name, one in self.streams.items()}
            return
        self._catalog, self._mapper = known.catalog, known.mapper
        for name, stream in self.streams.items():
            stream._metadata = known.catalog[name].metadata  # noqa: SLF001 -- the SDK's
            stream._mask = known.masks[name]  # noqa: SLF001 -- likewise


class InlineFanOut(FanOut[Task, Page, Result]):
    """Reads with one worker in the thread of the caller.

    It gives the same results as a thread in the same order, without the cost of
    switching between threads. Several workers are still threads.
    """

    @override
    def read(
        self, tasks: Iterable[Task], on_wait: Callable[[], None]
    ) -> Iterator[PageRead[Task, Page] | TaskDone[Task, Result]]:
        if self.workers > 1:
            yield from super().read(tasks, on_wait)
            return
        for task in tasks:
            if self._stop.is_set():
                raise Terminated("the run is ending")
            try:
                result = yield from self._pages_of(task)
            except TapError as error:
                yield TaskDone(task, None, error)
            else:
                yield TaskDone(task, result)
            self._received.take()

    def _pages_of(self, task: Task) -> Generator[PageRead[Task, Page], None, Result]:
        pages = self._work(task)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield PageRead(task, page)

    @override
    def ahead(self, fetch: Callable[[], Value]) -> Prefetch[Value]:
        if self.workers > 1:
            return super().ahead(fetch)
        return Prefetch(fetch, 0)

    @override
    def receive(self, early: Prefetch[Value]) -> Value:
        return super().receive(early) if self.workers > 1 else early.fetch()

    @override
    def drop(self, early: Prefetch[Any]) -> None:
        if self.workers > 1:
            super().drop(early)


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """Make runs cheap until the end of the block, without changing their results.

    One reader needs no thread. A schema is prepared once, because no run changes it.
    Nothing waits for the disk. Garbage is collected rarely, because a collection looks
    at all modules and worlds again.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    with (
        patch.object(Privacy, "apply_to_schema", _applied_once()),
        patch.object(workers, "FanOut", InlineFanOut),
        patch.object(fan_out, "FanOut", InlineFanOut),
        patch.object(windows, "FanOut", InlineFanOut),
        patch.object(os, "fsync", _nothing),
    ):
        try:
            yield
        finally:
            gc.set_threshold(*usual)


def _applied_once() -> Callable[[Privacy, dict[str, Any]], dict[str, Any]]:
    """Return a cached `Privacy.apply_to_schema`: a schema is the same in each run."""
    apply = Privacy.apply_to_schema
    known: dict[tuple[str, int], dict[str, Any]] = {}

    def applied(privacy: Privacy, schema: dict[str, Any]) -> dict[str, Any]:
        place = privacy.mode, id(schema)
        if place not in known:
            known[place] = apply(privacy, schema)
        return known[place]

    return applied


def _nothing(_descriptor: int) -> None:
    """Do nothing: no day ends in a power failure."""


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as another process would load it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
    return found
