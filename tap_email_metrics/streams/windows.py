"""The shape of stream that reads windows: lists that are asked for by time."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import Fatal, HistoryLeft, Skippable, Unavailable
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.report import Progress
from tap_email_metrics.run.workers import FanOut, Read
from tap_email_metrics.state.windows import Reach, Window, touch, without
from tap_email_metrics.streams.base import EmailMetricsStream
from tap_email_metrics.streams.window_reader import Part, WindowList, WindowReader

if TYPE_CHECKING:
    from collections.abc import (
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from tap_email_metrics.errors import TapError
    from tap_email_metrics.records.pages import Record
    from tap_email_metrics.records.rows import Rows
    from tap_email_metrics.run.workers import Done
    from tap_email_metrics.state.streams import StreamState

SETTLE = 300
"""Seconds that a row may take to show: windows end that long before now."""
SMALL = 10_000
"""Rows up to which the next window of the history is twice as long."""
LARGE = 50_000
"""Rows above which it is half as long."""
VERIFY_DAYS = 7
"""Days after which rows are emitted again that did not change."""
IN_FLIGHT = 2**19
"""Bytes that may wait for what comes before them: an answer may hold 24 MB."""


@dataclass(frozen=True, slots=True)
class Due:
    """One window of a list that is to be read in this run.

    Attributes:
        window: None for all rows, without dates.
        since: epoch ms; rows whose own date is before are not emitted. None: all are.
        live: it is read in each run, the newest part of the list.
        wide: it reaches back as far as a row can come, whatever the list goes by.
    """

    source: WindowList
    window: Window | None
    since: int | None = None
    live: bool = False
    wide: bool = False

    def is_unchanged(self, value: int | None) -> bool:
        """Return whether a row, by its own date, was emitted before."""
        return None not in {self.since, value} and value < self.since  # type: ignore[operator]


class WindowStream(EmailMetricsStream):
    """One or more lists that are read by windows of time, each to its proved end.

    Attributes:
        full_days: UTC days after which the lists are read in full, without dates;
            0 for never. Without a replication key they are read in no other way.
        changes_only: rows of the look-back are emitted where they changed.
    """

    full_days: ClassVar[int] = 0
    changes_only: ClassVar[bool] = False

    @abc.abstractmethod
    def lists(self) -> Sequence[WindowList]:
        """Return what is read."""

    @property
    @abc.abstractmethod
    def first_start(self) -> int:
        """Return where a list begins that is read for the first time."""

    @property
    @abc.abstractmethod
    def first_width(self) -> int:
        """Return the seconds of the first window of the history."""

    @property
    @abc.abstractmethod
    def lookback(self) -> int:
        """Return the seconds of each list that every run reads again."""

    @property
    @abc.abstractmethod
    def lateness(self) -> int:
        """Return the seconds by which a row may show after its own date."""

    @property
    @abc.abstractmethod
    def wide_lookback(self) -> int:
        """Return the same, where the lists go by another date than the row's own."""

    def horizon(self) -> int:
        """Return up to when rows are asked for: they must have had time to show."""
        return int(self.api.now()) - SETTLE

    def next_width(self, seconds: int, rows: int) -> int:
        """Return the length of the next window of the history.

        Args:
            seconds: of the last one.
            rows: that it had.
        """
        if rows < SMALL:
            return seconds * 2
        return seconds // 2 if rows > LARGE else seconds

    def is_read(self, reach: Reach) -> bool:
        """Return whether a list was read up to now, as one just read in full is."""
        return reach.complete_to >= self._end

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the live windows, then of the history."""
        self._sources = {source.key: source for source in self.lists()}
        self._state = self._state_of_run()
        self._end = self.horizon()
        self._reaches = {key: self._reach(key) for key in self._sources}
        self._read_rows = dict.fromkeys(self._sources, 0)
        self._unsettled: dict[str, list[Window]] = {}
        self._denied: dict[str, Unavailable] = {}
        self._readers = {key: self._reader(s) for key, s in self._sources.items()}
        try:
            if self.run.settings.backfill:
                yield from self._backfill()
            else:
                yield from self._round(self._due_in_full())
                yield from self._round(self._due_live())
            yield from self._history()
        finally:
            self._note_state()
        self._conclude()

    # What is due

    def _state_of_run(self) -> StreamState[Any, Any]:
        settings = self.run.settings
        if settings.backfill and settings.start is not None and settings.end:
            return self.bookmark.backfill(settings.start, settings.end)
        if self._ignores_marks():
            self.bookmark.forget_reaches()
        return self.bookmark

    def _reach(self, key: str) -> Reach:
        """Return how far a list is read, with the start that the settings ask for."""
        settings = self.run.settings
        known = self._state.reaches.get(key)
        if settings.backfill and settings.start is not None and settings.end:
            start, end = int(settings.start), min(int(settings.end), self._end)
            return known.extended(end) if known else Reach.first(start, end)
        if known is None:
            return Reach.first(self.first_start, self._end)
        known = known.until(self._end)
        if settings.start is None:
            return known
        return known.from_start(min(self.first_start, self._end))

    def _due_in_full(self) -> list[Due]:
        if not self.full_days:
            return []
        now = self.api.now()
        return [
            Due(source, None)
            for key, source in self._sources.items()
            if self._reaches[key].verification_due(now, self.full_days)
        ]

    def _due_live(self) -> list[Due]:
        if not self.dated_by:
            return []
        due = []
        now = self.api.now()
        for key, source in self._sources.items():
            reach = self._reaches[key]
            # Once in a while in any case: no row may ever have told what the list
            # goes by. At first the history reads all of it.
            again = reach.verification_due(now, VERIFY_DAYS)
            wide = reach.wide or (again and reach.seen is not None)
            lookback = self.wide_lookback if wide else self.lookback
            window = reach.live(self._end, lookback)
            # One just read in full has nothing new, and nothing left.
            if window and key not in self._denied and not self.is_read(reach):
                since = self._since(reach, window)
                due.append(Due(source, window, since, live=True, wide=wide))
        return due

    def _since(self, reach: Reach, window: Window) -> int | None:
        """Return from when on rows of the live window have to have changed."""
        if not self.changes_only or reach.seen is None:
            return None
        if touch(reach.todo, window):
            return None
        if reach.verification_due(self.api.now(), VERIFY_DAYS):
            return None
        # What it was read up to: later rows may have been left to this run.
        return (min(reach.seen, reach.through) - self.lateness) * 1000

    # Reading

    def _backfill(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        if not self.dated_by:
            yield from self._round([Due(s, None) for s in self._sources.values()])

    def _history(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of what is left, oldest first, a window a list in turn.

        Raises:
            HistoryLeft: this stream's share of the run is spent.
        """
        if not self.dated_by:
            return
        left = {key: self._left(key) for key in self._sources}
        widths = dict.fromkeys(left, self.first_width)
        budget = self.budget()
        while left := {k: w for k, w in left.items() if w and not self._is_lost(k)}:
            if budget.is_spent:
                oldest = min(windows[0].start for windows in left.values())
                raise HistoryLeft(
                    f"the history from {iso(oldest)} on is left to read; the next "
                    "run goes on there"
                )
            due = [
                Due(self._sources[key], windows[0].first(widths[key]))
                for key, windows in left.items()
            ]
            self._read_rows = dict.fromkeys(self._sources, 0)
            yield from self._round(due)
            for one in due:
                key = one.source.key
                if one.window:
                    left[key] = without(left[key], one.window)
                widths[key] = self.next_width(widths[key], self._read_rows[key])

    def _left(self, key: str) -> tuple[Window, ...]:
        """Return what was not tried yet in this run."""
        left = self._reaches[key].todo
        for tried in self._unsettled.get(key, ()):
            left = without(left, tried)
        return left

    def _is_lost(self, key: str) -> bool:
        return key in self._denied or key in self.report.failed

    def _round(
        self, due: Sequence[Due]
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of windows of different lists."""
        self.report.parents_left = len(due)
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.api.max_concurrency
        fan_out: FanOut[Due, Rows | Part, None] = FanOut(
            self.read,
            workers=max(1, min(ahead, len(due))),
            received=self.api.client.received,
            stop=self.run.stop,
            capacity=IN_FLIGHT,
        )
        with (
            fan_out,
            Progress(self.run.control, self.name, self.report, len(due)) as bar,
        ):
            for event in fan_out.read(due, self.run.idle):
                if not isinstance(event, Read):
                    self._finish(event)
                    bar.done()
                elif isinstance(event.page, Part):
                    self._commit(event.task, event.page)
                    yield ()
                else:
                    yield self._records(event.task, event.page)
                    bar.tick()

    def read(self, due: Due) -> Generator[Rows | Part, None, None]:
        """Yield the rows of a window, and an end for it or for each of its parts."""
        yield from self._readers[due.source.key].read(due.window)

    def _reader(self, source: WindowList) -> WindowReader:
        maker = self.maker(None, **source.columns)
        return WindowReader(source, maker, counts_equals=self._counts_equals)

    @property
    def _counts_equals(self) -> bool:
        """Whether equal events are told apart by their number.

        Not where an event can change its place among the windows: it may then come
        alone, and would take another's number.
        """
        identity = self._packaged["properties"].get("event_id", {}).get("x-identity")
        return bool(identity) and self.dated_by in {None, *identity}

    def _records(self, due: Due, rows: Rows) -> Sequence[Mapping[str, object] | Record]:
        if due.since is not None:
            rows = rows.where([not due.is_unchanged(at) for at in rows.times])
        return self.records_of(self.within(rows, self.interval()))

    # What it means

    def _commit(self, due: Due, part: Part) -> None:
        """Take over that a window was read, its rows being written."""
        key, report = due.source.key, self.report
        self._count_requests()
        self._read_rows[key] += part.rows
        # By now the API has told its clock: what is ahead of that was not read.
        end = min(self._end, self.horizon())
        reach = self._reaches[key].until(end)
        if not part.whole:
            tried = [part.window] if part.window else []
            self._unsettled.setdefault(key, []).extend(tried)
            report.unsettled += 1
        if part.twins and part.whole:
            self.logger.warning(
                "%s: %s: %d rows cannot be told from another one; the last of each "
                "counts",
                self.name,
                key,
                part.twins,
            )
        if part.outside and not reach.wide:
            self._widen(key)
            reach = replace(reach, wide=True)
        if part.window is not None:
            reach = reach.after(part.window.until(end), whole=part.whole)
        elif part.whole:
            now = int(self.api.now())
            reach = replace(reach, verified=now, through=end, todo=())
        self._keep(key, reach)
        self._state.readable = True
        self.compare(due.source, part)

    def compare(self, source: WindowList, part: Part) -> None:
        """Tell of a window that was read to its end, its rows being written."""
        before, after = part.counts
        self.reconcile(
            Count(
                parent=f"{self.owner(source)} {time_of(part.window)}",
                rows=part.rows,
                api_rows=before if after is None else after,
                moved=not part.whole and before != after,
                verified=True,
                login=source.columns.get("login"),
            )
        )

    def owner(self, source: WindowList) -> str:
        """Return what tells a list apart in a table."""
        return source.key

    def _widen(self, key: str) -> None:
        if self.wide_lookback > self.lookback:
            self.logger.warning(
                "%s: %s: the API goes by another date than %s: from now on %d days "
                "are read again in each run",
                self.name,
                key,
                self.dated_by,
                self.wide_lookback // DAY,
            )

    def _finish(self, done: Done[Due, None]) -> None:
        """Note how the reading of a window ended."""
        key, error = done.task.source.key, done.error
        self.report.parents_left -= 1
        self._count_requests()
        if error is None:
            self.report.parents += 1
            self._note_look(done.task)
        elif isinstance(error, Unavailable):
            self._denied[key] = error
        elif isinstance(error, Skippable):
            self.logger.warning("%s: %s was left out: %s", self.name, key, error)
            self.report.failed.append(key)
        else:
            raise error

    def _note_look(self, due: Due) -> None:
        """Remember a live window that was read whole, with all its parts."""
        key = due.source.key
        if not due.live or key in self._unsettled:
            return
        now = int(self.api.now())
        is_first = self._reaches[key].seen is None
        reach = replace(self._reaches[key], seen=now)
        if (due.wide or is_first) and due.since is None and not self.full_days:
            reach = replace(reach, verified=now)
        self._keep(key, reach)

    def _keep(self, key: str, reach: Reach) -> None:
        self._reaches[key] = reach
        self._state.set_reach(key, reach)

    def _note_state(self) -> None:
        if self.run.settings.backfill or not self._reaches:
            return
        found = self._reaches.items()
        behind = [reach.complete_to for key, reach in found if key not in self._denied]
        if behind:
            self.bookmark.set_checked_through(min(behind))
            self.report.behind_since = min(behind)
        self.promote(self.bookmark)

    def _conclude(self) -> None:
        """Say what did not succeed.

        Raises:
            Unavailable: no list may be read, or is there, and none ever was.
            Fatal: no list could be read.
        """
        lost = self._denied.keys() | set(self.report.failed)
        error: TapError | None = next(iter(self._denied.values()), None)
        if lost >= self._sources.keys() and self._sources:
            if error is None:
                raise Fatal("none of its lists could be read")
            if self._state.readable:
                raise Fatal(f"it could be read before: {error}")
            raise error
        for key, refused in self._denied.items():
            self.logger.warning("%s: %s was left out: %s", self.name, key, refused)


def time_of(window: Window | None) -> str:
    """Return the time of a window as one word, of all there is for None."""
    return f"{iso(window.start)}/{iso(window.end)}" if window else "all"
