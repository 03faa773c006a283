"""Window streams: lists that the tap asks for by windows of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import (
    Exhausted,
    Fatal,
    HistoryLeft,
    Skippable,
    Unavailable,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.report import Progress
from tap_email_metrics.run.workers import FanOut, PageRead
from tap_email_metrics.state.windows import (
    Coverage,
    Window,
    inside,
    merged,
    touch,
    without,
)
from tap_email_metrics.streams.failures import Failures, of_window
from tap_email_metrics.streams.window_facts import WindowFacts
from tap_email_metrics.streams.window_order import WindowOrder
from tap_email_metrics.streams.window_reader import WindowList, WindowPart, WindowReader

if TYPE_CHECKING:
    from collections.abc import (
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from tap_email_metrics.errors import TapError
    from tap_email_metrics.records.pages import Page, Record
    from tap_email_metrics.run.workers import TaskDone
    from tap_email_metrics.state.streams import StreamState
    from tap_email_metrics.streams.base import Budget
    from tap_email_metrics.streams.failures import Failure

REEMIT_DAYS = 7
"""Days after which rows of the look-back that did not change are emitted again."""
IN_FLIGHT = 2**19
"""Bytes that may wait for their turn. Small, as one response may hold 24 MB."""


@dataclass(frozen=True, slots=True)
class Due:
    """One window of a list to read in this run.

    Attributes:
        source: the list.
        window: None for all rows, without dates.
        since: epoch ms; rows with an earlier date are not emitted. None for all.
        live: the newest part of the list, which every run reads.
        wide: the window uses the wide look-back, for a list that filters by another
            date than the row's own.
        again: the window, or the whole list, is read again because it was settled
            with a shortfall.
        aged: the part of the look-back that is left out because the API has refused
            rows of that age.
    """

    source: WindowList
    window: Window | None
    since: int | None = None
    live: bool = False
    wide: bool = False
    again: bool = False
    aged: Window | None = None

    def is_unchanged(self, value: int | None) -> bool:
        """Return whether a row, according to its date, was emitted before."""
        return None not in {self.since, value} and value < self.since  # type: ignore[operator]


class WindowStream(WindowFacts):
    """One or more lists that are read by windows of time."""

    def is_read(self, coverage: Coverage) -> bool:
        """Return whether a list was read up to the end of this run's data."""
        return coverage.complete_to >= self._end

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the live windows, then of the history."""
        self._sources = {source.key: source for source in self.lists()}
        self._state = self._state_of_run()
        self._end = self.horizon()
        latest = self._latest()
        # What earlier runs read stays read, even if the API's clock is behind it.
        self._known = {
            key: min(coverage.through, latest)
            for key, coverage in self._state.coverages.items()
        }
        self._coverages = {key: self._coverage(key) for key in self._sources}
        self._read_rows = dict.fromkeys(self._sources, 0)
        self._as_before = dict(self._coverages)
        self._tried: dict[str, list[Window]] = {key: [] for key in self._sources}
        self._denied: dict[str, Unavailable] = {}
        self._failures = Failures()
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._whole: dict[str, list[Window]] = {key: [] for key in self._sources}
        self._readers = {key: self._reader(s) for key, s in self._sources.items()}
        try:
            if self.run.settings.backfill:
                yield from self._backfill()
            else:
                yield from self._round(self._due_in_full())
                yield from self._live()
                yield from self._round(self._due_short())
            yield from self._history()
        finally:
            self._note_failures()
            self._note_state()
        self._conclude()

    # Due windows

    def _state_of_run(self) -> StreamState[Any, Any]:
        settings = self.run.settings
        if settings.backfill and settings.start is not None and settings.end:
            return self.bookmark.backfill(settings.start, settings.end)
        if self._ignores_marks():
            self.bookmark.forget_coverages()
        return self.bookmark

    def _coverage(self, key: str) -> Coverage:
        """Return the coverage of a list, with the start that the settings ask for."""
        settings = self.run.settings
        known = self._state.coverages.get(key)
        if settings.backfill and settings.start is not None and settings.end:
            start = int(settings.start) - self.backfill_lead
            end = min(int(settings.end), self._end)
            return known.extended(end) if known else Coverage.first(start, end)
        if known is None:
            return Coverage.first(self.first_start, self._end)
        latest = self._latest()
        known = known.until(latest)
        if settings.start is None:
            return known
        return known.from_start(min(self.first_start, latest))

    def _due_in_full(self) -> list[Due]:
        if not self.full_days:
            return []
        now = self.api.now()
        coverages = self._coverages.items()
        due = [k for k, c in coverages if c.verification_due(now, self.full_days)]
        # What a run leaves out, because it ends early, is first in the next one.
        due.sort(key=lambda key: self._coverages[key].verified or 0)
        return [Due(self._sources[key], None) for key in due]

    def _due_live(self) -> list[Due]:
        if not self.dated_by:
            return []
        due = []
        now = self.api.now()
        for key, source in self._sources.items():
            coverage = self._coverages[key]
            # Use the wide look-back from time to time in any case, because no row may
            # have shown yet which date the list filters by. A list that was never read
            # does not need it: the history reads all of it.
            again = coverage.verification_due(now, REEMIT_DAYS)
            wide = coverage.wide or (again and coverage.seen is not None)
            window = coverage.live(self._end, self._lookback(coverage, wide=wide))
            never = coverage.newest is None and not coverage.todo
            if self.any_length and again and never:
                # The list has never had a row, so one request for all of it is enough.
                window = Window(coverage.start, self._end)
            # A list that was just read in full needs no live window.
            if (
                window
                and window.seconds > 0
                and coverage.cut is None
                and key not in self._denied
                and not self.is_read(coverage)
                and not self.rests(source, coverage)
            ):
                if aged := coverage.aged(window):
                    window = window._replace(start=aged.end)
                since = self._since(coverage, window)
                due.append(Due(source, window, since, live=True, wide=wide, aged=aged))
        return sorted(due, key=lambda one: self._coverages[one.source.key].seen or 0)

    def _lookback(self, coverage: Coverage, *, wide: bool) -> int:
        if wide:
            return self.wide_lookback
        # The history reads the rest of a new list. Its first window is short, because
        # a refusal of it counts for the whole list.
        return self.lookback if coverage.seen is not None else self.lateness

    def _due_short(self) -> list[Due]:
        """Return the short windows that are due to be read again.

        A list that is also read in full is read in full again: a window of time leaves
        out undated rows.
        """
        now = self.api.now()
        due = []
        for key, coverage in self._coverages.items():
            if not self._is_lost(key) and coverage.short_due(now):
                source = self._sources[key]
                windows = (None,) if self.full_days else coverage.short
                due += [Due(source, window, again=True) for window in windows]
        return due

    def _since(self, coverage: Coverage, window: Window) -> int | None:
        """Return the epoch ms from which on rows of the live window are emitted."""
        if not self.changes_only or coverage.seen is None:
            return None
        now = self.api.now()
        # Rows of a short window were counted and not served: they were never emitted.
        short = coverage.short if coverage.short_due(now) else ()
        if touch((*coverage.todo, *short), window):
            return None
        if coverage.verification_due(now, REEMIT_DAYS):
            return None
        # The last run may have left rows after `through` to this run.
        return (min(coverage.seen, coverage.through) - self.lateness) * 1000

    # Reading

    def _live(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the live windows.

        A window that is larger than what is left of a day would be read from its start
        in each run. So what the end of a run has cut is read in parts by the next ones.
        A window that failed, or has a part that failed before, is read in parts, too.
        """
        due = []
        for one in self._due_live():
            key = one.source.key
            if one.window and touch(self._coverages[key].troubled, one.window):
                self._cut(one)
                self._keep_width(key, one.window.seconds)
            else:
                due.append(one)
        try:
            yield from self._round(due)
        except Exhausted:
            for one in due:
                if one.source.key in self._begun - self._ended:
                    self._cut(one)
            raise
        cut = [key for key in self._sources if self._coverages[key].cut is not None]
        for key in cut:
            self._keep(key, self._coverages[key].extended(self._end))
        yield from self._in_parts({key: self._coverages[key].cut_todo for key in cut})
        for key in cut:
            coverage = self._coverages[key]
            self._tried[key] += coverage.cut_todo
            if not without(coverage.cut_todo, *coverage.troubled):
                self._note_parts(key)

    def _cut(self, due: Due) -> None:
        """Leave a live window, except for what was read of it, to be read in parts."""
        if due.window:
            key = due.source.key
            window = due.window.until(min(self._end, self.horizon()))
            coverage = self._coverages[key]
            self._keep(key, coverage.after_cut(window, self._whole[key]))

    def _note_parts(self, key: str) -> None:
        """Remember that all parts of a live window that was cut are read."""
        coverage, now = self._coverages[key], int(self.api.now())
        wide = self._end - (coverage.cut or 0) >= self.wide_lookback
        verified = now if wide and not self.full_days else coverage.verified
        self._keep(key, replace(coverage, cut=None, seen=now, verified=verified))

    def _backfill(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of lists without dates, which a backfill reads once."""
        if not self.dated_by:
            left = [
                Due(source, None)
                for key, source in self._sources.items()
                if self._coverages[key].verified is None
            ]
            yield from self._round(left)

    def _history(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the history, one window per list in turn.

        Raises:
            HistoryLeft: this stream's share of the run is spent.
        """
        if not self.dated_by:
            return
        self._failures.most_unread += 1
        left = {key: self._left(key) for key in self._sources}
        yield from self._in_parts(left, self.budget())

    def _in_parts(
        self, left: Mapping[str, tuple[Window, ...]], budget: Budget | None = None
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of windows, one window per list in turn.

        Args:
            left: the windows of each list.
            budget: ends the reading once it is spent; None: the run's end does.

        Raises:
            HistoryLeft: the budget is spent.
        """
        is_history = budget is not None
        orders = {k: self._order(k, w, is_history=is_history) for k, w in left.items()}
        while orders := {
            k: o for k, o in orders.items() if not (o.is_over or self._is_lost(k))
        }:
            if budget and budget.is_spent:
                oldest = min(self._coverages[key].complete_to for key in orders)
                raise HistoryLeft(
                    f"the history from {iso(oldest)} on is left to read; the next "
                    "run goes on there"
                )
            windows = {key: order.next() for key, order in orders.items()}
            self._read_rows = dict.fromkeys(self._sources, 0)
            self._failures.unread.clear()
            for key, order in orders.items():
                # If this run ends meanwhile, the next one takes a smaller step.
                self._keep_width(key, max(1, order.width // 2))
            yield from self._round([Due(self._sources[k], windows[k]) for k in windows])
            for key, window in windows.items():
                self._note_order(key, orders[key], window)

    def _order(
        self, key: str, windows: tuple[Window, ...], *, is_history: bool
    ) -> WindowOrder:
        """Return the order in which to read windows of a list."""
        coverage, before = self._coverages[key], self._as_before[key]
        # A list that rests is not asked for what it refused.
        rests = self.rests(self._sources[key], before)
        known = coverage.troubled
        has_failed = key in self._failures.errors
        # The history of a list whose newest windows failed may be readable.
        is_readable = not is_history or key in self._failures.read
        return WindowOrder(
            without(windows, *known) if rests else windows,
            known,
            read=self._whole[key],
            width=coverage.width or self.first_width,
            next_width=self.next_width,
            narrowest=self.narrowest,
            short=self.first_width,
            now=self.api.now(),
            newest_first=has_failed and is_readable,
        )

    def _note_order(self, key: str, order: WindowOrder, window: Window) -> None:
        """Note the result of a window that an order asked for."""
        unread = self._failures.unread.get(key)
        if unread is None:
            order.read(window, self._read_rows[key])
        elif waiting := order.failed(window, unread):
            self._keep(key, self._coverages[key].after_failure(waiting))
        self._keep_width(key, order.width)

    def _keep_width(self, key: str, width: int) -> None:
        """Keep the length of the next window, as long as there is one."""
        coverage = self._coverages[key]
        longest = max((window.seconds for window in coverage.todo), default=0)
        kept = min(width, longest) or None
        if kept != coverage.width:
            self._keep(key, replace(coverage, width=kept))

    def _left(self, key: str) -> tuple[Window, ...]:
        """Return the windows of the history that this run has not tried yet."""
        return without(self._coverages[key].todo, *self._tried[key])

    def _is_lost(self, key: str) -> bool:
        """Return whether a list is left out of the rest of this run."""
        return self._failures.ends(key) or key in self._denied

    def _round(
        self, due: Sequence[Due]
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of one window of each of several lists."""
        self.report.parents_left = len(due)
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.api.max_concurrency
        fan_out: FanOut[Due, Page | WindowPart, None] = FanOut(
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
                if not isinstance(event, PageRead):
                    self._finish(event)
                    bar.done()
                elif isinstance(event.page, WindowPart):
                    self._commit(event.task, event.page)
                    yield ()
                else:
                    yield self._records(event.task, event.page)
                    bar.tick()

    def read(self, due: Due) -> Generator[Page | WindowPart, None, None]:
        """Yield the rows of a window, and a `WindowPart` after each part of it."""
        yield from self._readers[due.source.key].read(due.window)

    def _reader(self, source: WindowList) -> WindowReader:
        maker = self.maker(None, **source.columns)
        coverage = self._coverages[source.key]
        return WindowReader(
            source,
            maker,
            counts_equals=self._counts_equals,
            newest=coverage.newest,
            short=coverage.shortfall,
        )

    @property
    def _counts_equals(self) -> bool:
        """Whether equal events get different numbers.

        They do not if an event can move to another window: there it would be numbered
        without the others, and would take the number of another event.
        """
        identity = self._packaged["properties"].get("event_id", {}).get("x-identity")
        return bool(identity) and self.dated_by in {None, *identity}

    def _records(self, due: Due, rows: Page) -> Sequence[Mapping[str, object] | Record]:
        self._begun.add(due.source.key)
        if due.since is not None:
            rows = rows.without([due.is_unchanged(at) for at in rows.times])
        return self.records_of(self.within(rows, self.interval()), of=due.source.key)

    # Commits

    def _commit(self, due: Due, part: WindowPart) -> None:
        """Commit a part of a window after its rows were written."""
        key, report = due.source.key, self.report
        self._count_requests()
        self._read_rows[key] += part.rows
        # The API's clock is known by now: times after it cannot have been read.
        end = min(self._end, self.horizon())
        coverage = self._coverages[key].until(max(end, self._known.get(key, end)))
        # If no row has a record, the response was not understood.
        whole = part.whole and (not part.rows or part.set_aside < part.rows)
        if not whole:
            self._tried[key] += [part.window] if part.window else []
            report.unsettled += 1
        else:
            self._failures.note_read(key)
        if part.twins and whole:
            self.logger.warning(
                "%s: %s: %d rows equal an earlier row; the target keeps the last one",
                self.name,
                key,
                part.twins,
            )
        if part.outside and not coverage.wide:
            self._widen(key)
            coverage = replace(coverage, wide=True)
        now = int(self.api.now())
        # A row may be understood when the API answers it again.
        short = bool(part.short or part.misunderstood)
        if part.window is not None:
            window = part.window.until(end)
            coverage = coverage.after(window, whole=whole)
            if whole:
                self._whole[key].append(window)
                self._warn_of_shortfall(key, coverage, part)
                # A window stays short until all its rows are emitted.
                if short or (due.since is None and not self.full_days):
                    coverage = coverage.after_short(
                        window, now, short=short, again=due.again
                    )
                if part.short:
                    coverage = replace(coverage, shortfall=part.short)
        elif whole:
            through = max(coverage.through, end)
            coverage = replace(coverage, verified=now, through=through, todo=())
            self._warn_of_shortfall(key, coverage, part)
            coverage = replace(coverage, shortfall=part.short).after_short(
                Window(coverage.start, through), now, short=short, again=True
            )
        if part.days:
            coverage = self._with_rows(coverage, due, part.window)
            newest = min(max(part.days), end) + DAY
            newest = max(newest, coverage.newest or newest)
            coverage = replace(coverage, newest=newest)
        self._keep(key, coverage)
        self._state.readable = True
        self.compare(due.source, part)

    def _with_rows(
        self, coverage: Coverage, due: Due, window: Window | None
    ) -> Coverage:
        """Return the coverage of a list that has shown rows in a window.

        If earlier runs found the list empty, that may have been an error of the API:
        the time before its first rows is read again.
        """
        before = self._as_before[due.source.key]
        was_empty = before.seen is not None and (due.live or not before.todo)
        if coverage.newest is None and was_empty and window:
            return coverage.due_before(window.start)
        return coverage

    def compare(self, source: WindowList, part: WindowPart) -> None:
        """Reconcile a part of a window after its rows were written."""
        before, after = part.counts
        self.reconcile(
            Count(
                parent=f"{self.owner(source)} {time_of(part.window)}",
                rows=part.rows - part.twins,
                api_rows=before if after is None else after,
                moved=not part.whole and before != after,
                verified=True,
                login=source.columns.get("login"),
            ),
            of=source.key,
        )

    def owner(self, source: WindowList) -> str:
        """Return the name of a list in the reconciliation table."""
        return source.key

    def _warn_of_shortfall(
        self, key: str, coverage: Coverage, part: WindowPart
    ) -> None:
        """Warn once if the count and the rows of a list differ in every read."""
        if part.short and part.short != coverage.shortfall:
            self.logger.warning(
                "%s: %s: the API counts %d rows and serves %d in every read: the "
                "window counts as read, and is read again at verifications",
                self.name,
                key,
                part.rows - part.twins + part.short,
                part.rows - part.twins,
            )

    def _widen(self, key: str) -> None:
        if self.run.settings.backfill:
            self.logger.warning(
                "%s: %s: the API filters by another date than %s: events of this "
                "interval are not found if their email was sent more than %d days "
                "before it",
                self.name,
                key,
                self.dated_by,
                self.backfill_lead // DAY,
            )
        elif self.wide_lookback > self.lookback:
            self.logger.warning(
                "%s: %s: the API filters by another date than %s: from now on each run "
                "reads %d days again",
                self.name,
                key,
                self.dated_by,
                self.wide_lookback // DAY,
            )

    def _finish(self, done: TaskDone[Due, None]) -> None:
        """Note the result of a window."""
        key, error = done.task.source.key, done.error
        self.report.parents_left -= 1
        self._count_requests()
        if done.task.aged and (
            error is None or isinstance(error, Skippable | Unavailable)
        ):
            self._keep(key, self._coverages[key].after_failure([done.task.aged]))
        if error is None:
            self._ended.add(key)
            self.report.parents += 1
            self._note_look(done.task)
        elif isinstance(error, Unavailable) and self._is_of_list(done.task):
            self._denied[key] = error
        elif isinstance(error, Skippable | Unavailable):
            self._note_failure(done.task, error)
        else:
            raise error

    def _is_of_list(self, due: Due) -> bool:
        """Return whether the refusal of a window is one of its whole list.

        An API may refuse windows by their age or length. So the refusal counts for the
        window, unless it is the first one that was ever requested.
        """
        never = self._as_before[due.source.key].seen is None
        return due.window is None or (due.live and never)

    def _note_failure(self, due: Due, error: Failure) -> None:
        """Note that a window could not be read. Parts of it may be readable."""
        key = due.source.key
        self._ended.add(key)
        known = self._as_before[key].troubled
        is_new = due.window is None or bool(without([due.window], *known))
        self._failures.add(key, error, is_new=is_new)
        if due.window is None or due.again:
            self._failures.left_out[key] += 1
            return
        self.logger.info("%s: %s %s: %s", self.name, key, time_of(due.window), error)
        if due.live:
            self._cut(due)
        self._tried[key].append(due.window)
        self._failures.unread[key] = without([due.window], *self._whole[key])

    def _note_look(self, due: Due) -> None:
        """Note that a live window was read completely."""
        key = due.source.key
        if not due.live or self._tried[key]:
            return
        now = int(self.api.now())
        is_first = self._coverages[key].seen is None
        coverage = replace(self._coverages[key], seen=now)
        if (due.wide or is_first) and due.since is None and not self.full_days:
            coverage = replace(coverage, verified=now)
        self._keep(key, coverage)

    def _keep(self, key: str, coverage: Coverage) -> None:
        self._coverages[key] = coverage
        self._state.set_coverage(key, coverage)

    def _note_failures(self) -> None:
        """Report the windows and lists that failed.

        A list fails if nothing of it was read, and not only what had failed before. It
        is then as it was before, but the next run asks for shorter windows.
        """
        for key in self._sources:
            coverage, before = self._coverages[key], self._as_before[key]
            error = self._failures.errors.get(key)
            if error is None:
                # This run has not tried them: the list rests, or the run ends early.
                left = without(coverage.troubled, *self._tried[key])
                self.report.unsettled += len(left)
            elif not self._failures.is_whole_list(key):
                self._note_unread(key, error)
            else:
                lengths = [w.seconds for w in self._tried[key]] or [self.first_width]
                width = max(self.narrowest, min(lengths) // 2)
                self._keep(key, replace(before, width=width))
                if isinstance(error, Unavailable):
                    self._denied[key] = error
                    continue
                self.logger.warning("%s: %s was left out: %s", self.name, key, error)
                self.report.failed.append(key)

    def _note_unread(self, key: str, error: Failure) -> None:
        """Report the windows of a list that failed in this run or before."""
        coverage = self._coverages[key]
        failed = (*coverage.troubled, *self._tried[key])
        left = len(merged(inside(failed, coverage.todo))) + self._failures.left_out[key]
        if left:
            self.report.unsettled += left
            text = f"windows that cannot be read: {left}: {of_window(error)}"
            self.logger.warning("%s: %s: %s", self.name, key, text)

    def _note_state(self) -> None:
        if self.run.settings.backfill or not self._coverages:
            return
        found = self._coverages.items()
        # A denied list counts as behind only if it could be read before.
        behind = [
            coverage.complete_to
            for key, coverage in found
            if key not in self._denied or coverage.seen is not None
        ]
        if behind:
            self.bookmark.set_checked_through(min(behind))
            self.report.behind_since = min(behind)
        self.promote(self.bookmark)

    def _conclude(self) -> None:
        """Report the lists that could not be read.

        Raises:
            Unavailable: all lists were refused or missing, in every run so far.
            Fatal: no list could be read, or one of them never can.
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
            if self._coverages[key].seen is not None:
                self.report.failed.append(key)  # it could be read before
        for key, never in self._failures.lost.items():
            raise Fatal(f"{key}: {never}")


def time_of(window: Window | None) -> str:
    """Return a window as one word, "all" for None."""
    return f"{iso(window.start)}/{iso(window.end)}" if window else "all"
