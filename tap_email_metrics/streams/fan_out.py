"""Fan-out streams: one list per parent.

No parent stops, delays or hides the others for long. If the budget allows, each due
list is read within two runs. Every `FAILURES_IN_A_ROW + SAMPLE` parents whose lists
fail in every run can delay it by one more run. If no list can be read, a run asks for
`FAILURES_IN_A_ROW + SAMPLE` lists, and for those that its workers have already begun.
"""

from __future__ import annotations

import abc
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import (
    Broken,
    Denied,
    Exhausted,
    Fatal,
    Gone,
    HistoryLeft,
    Skippable,
    TapError,
    Terminated,
    Unavailable,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.report import Progress
from tap_email_metrics.run.workers import FanOut, TaskDone
from tap_email_metrics.state.marks import Id, SomeMark, is_cut
from tap_email_metrics.state.plans import InOrder, history_key, spread
from tap_email_metrics.state.streams import StreamState
from tap_email_metrics.streams.base import Budget, EmailMetricsStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.pages import Page, Record
    from tap_email_metrics.state.marks import MarkFormat
    from tap_email_metrics.state.plans import (
        Parent,
        Plan,
        Policy,
        RevisitSchedule,
        Visit,
    )

FAILURES_IN_A_ROW = 10
"""After this many failures in a row the stream reads a sample of the other lists."""
SAMPLE = 10
"""Lists in the sample, spread over the ages of the remaining parents."""


@dataclass(frozen=True, slots=True)
class Part(Generic[SomeMark]):
    """The mark that covers the rows of a list that were yielded so far."""

    mark: SomeMark


@dataclass(slots=True)
class Trust:
    """Decides whether a stream goes on after lists failed.

    Attributes:
        read: a list could be read in this run, or could be read before and is not due.
        failures: number of lists that failed since the last success.
        broken: number of these that failed after several tries, not by a refusal.
    """

    read: bool = False
    failures: int = 0
    broken: int = 0

    def succeed(self) -> None:
        """Count a success."""
        self.read = True
        self.failures = self.broken = 0

    def fail(self, error: TapError) -> None:
        """Count a failure."""
        self.failures += 1
        self.broken += isinstance(error, Broken)

    @property
    def is_lost(self) -> bool:
        """Whether the stream itself seems to fail, rather than some of its lists.

        Refusals do not count once a list could be read: each costs one request only.
        """
        return self.failures >= FAILURES_IN_A_ROW and not (
            self.read and not self.broken
        )


class _Reading(Generic[Id, SomeMark]):
    """The progress of a stream through its plan in one run.

    Args:
        plan: the lists to read.
        state: the stream's state, which changes with each list that is done.
        policy: the settings that made the plan.
        today: number of the current day.

    Attributes:
        left: lists that were not begun, in the order of the plan.
        shared: parents of the history, which are limited by the stream's budget.
        history: progress through the history.
        swept: progress through the sweep.
        trust: decides whether to try the other lists.
        error: the error of the last list that failed.
        cut: the error that ends the reading, None while requests are allowed.
        budget: the stream's share of the run, set when it begins the history.
    """

    def __init__(
        self,
        plan: Plan[Id, SomeMark],
        state: StreamState[Id, SomeMark],
        policy: Policy,
        today: int,
    ) -> None:
        self.state: StreamState[Id, SomeMark] = state
        self.policy = policy
        self.today = today
        self.left: deque[Visit[Id, SomeMark]] = deque(plan.live)
        self.left.extend(plan.swept)
        self.left.extend(plan.history)
        self.shared: set[Id] = {visit.parent.id for visit in plan.history}
        self.history: InOrder[Id, SomeMark] = InOrder(
            visit for visit in plan.history if visit.history
        )
        self.swept: InOrder[Id, SomeMark] = InOrder(plan.swept)
        self.trust = Trust(read=state.readable and plan.waiting > 0)
        self.error: TapError | None = None
        self.cut: Exhausted | None = None
        self.budget: Budget | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether lists are left, and may be read in this run."""
        is_spent = self.budget is not None and self.budget.is_spent
        return bool(self.left) and self.cut is None and not is_spent

    def sample(self) -> list[Visit[Id, SomeMark]]:
        """Return some of the remaining lists, spread over all ages, as begun."""
        chosen = spread(self.left, SAMPLE)
        taken = {visit.parent.id for visit in chosen}
        left = [visit for visit in self.left if visit.parent.id not in taken]
        self.left = deque(left)
        return chosen


class FanOutStream(EmailMetricsStream, Generic[Id, SomeMark]):
    """A stream with one list per parent; each run reads the lists that are due.

    Attributes:
        marks: the format of its marks.
        parent_noun: the name of a parent in messages.
        fan_out: the workers that run `read`, and that fetch pages ahead for it.
    """

    marks: ClassVar[MarkFormat[Any, Any]]
    parent_noun: ClassVar[str]
    fan_out: FanOut[Visit[Id, SomeMark], Page | Count | Part[SomeMark], SomeMark]

    @property
    @abc.abstractmethod
    def schedule(self) -> RevisitSchedule[Id, SomeMark, Any]:
        """Decides which lists are due."""

    @abc.abstractmethod
    def read(
        self, visit: Visit[Id, SomeMark], policy: Policy
    ) -> Generator[Page | Count | Part[SomeMark], None, SomeMark]:
        """Yield the rows of a parent to emit; return the mark that covers them.

        After the end of a list, yield a `Count` of its rows. If the next run could go
        on in the middle of the list, yield a `Part` after the rows that it covers.
        Also yield a page without rows: a list that yields nothing counts as not begun.
        """

    def parents(self) -> Sequence[Parent[Id]]:
        """Return the parents whose lists the stream reads."""
        return self.api.parents()

    def lacks_parents(
        self,
        state: StreamState[Id, SomeMark],  # noqa: ARG002 - for subclasses
        parents: Sequence[Parent[Id]],  # noqa: ARG002 - likewise
    ) -> bool:
        """Return whether the list of parents lacks some that a mark still knows.

        The lists of these may miss rows, so `checked_through` stays where it was.
        """
        return False

    def nameless(self) -> int:
        """Return how many parents were listed without a usable id."""
        return self.api.nameless

    def _note_nameless(self) -> None:
        """Count the parents without an id: their lists cannot be asked for."""
        noun = self.parent_noun
        self.set_aside(f"{noun} without an id", self.nameless())
        self.set_aside(f"{noun} that cannot be read", self.api.unreadable)

    def prepare(self, plan: Plan[Id, SomeMark]) -> None:
        """Prepare for a plan before its first list is read."""

    def explained(self, error: TapError) -> TapError:
        """Return a more precise error for a failed parent; it may end the stream."""
        return error

    def after(self, parent: Parent[Id], mark: SomeMark) -> None:
        """Commit other state of a parent after its list was read."""

    @override
    def note_through(self, through: float) -> None:
        self.report.behind_since = through

    @property
    def policy(self) -> Policy:
        """The settings that decide which lists are due."""
        return self.api.policy

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the lists that are due, one page at a time."""
        settings = self.run.settings
        parents = self.parents()
        self._note_nameless()
        now = self.api.now()
        state: StreamState[Id, SomeMark] = self.bookmark
        policy = self.policy
        if settings.backfill and settings.start is not None:
            state = state.backfill(settings.start, settings.end or now)
            floor = settings.start - policy.window
            policy = replace(
                policy,
                window=float("-inf"),
                floor=floor,
                ceiling=settings.end or now,
            )
        else:
            self.begin()
            if parents:
                # Those that no request can read may be so for ever.
                whole = self.api.parents_whole or self.api.unreadable > 0
                state.note_parents(whole=whole)
        fresh = self._ignores_marks() and not settings.backfill
        known = StreamState(self.name, {}, self.marks) if fresh else state
        plan = self.schedule.plan(parents, known, now, policy)
        self.prepare(plan)
        for parent_id in plan.closed:
            state.set_mark(parent_id, None)
        reading = _Reading(plan, state, policy, int(now // DAY))
        self.report.parents_left = len(reading.left)
        try:
            # An empty list of parents is not believed: it may be full in the next run.
            if parents and not plan.swept:
                self._note_sweep(reading, None)
            yield from self._visit_all(reading)
            if parents and not self.report.parents_left and self.api.parents_whole:
                state.set_history((round(policy.floor * 1000), self.marks.lowest))
        finally:
            self._note_state(state, parents, now, policy)
        if reading.cut:
            raise reading.cut
        self._conclude(state, others=bool(plan.waiting))

    def _visit_all(
        self, reading: _Reading[Id, SomeMark]
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of all lists, in the order of the plan."""
        self.maker()  # creates what all threads share, before they start
        with Progress(
            self.run.control, self.name, self.report, self.report.parents_left
        ) as bar:
            while reading.is_under_way:
                yield from self._visit(reading, self._until_lost(reading), bar)
                if not reading.is_under_way or not reading.trust.is_lost:
                    continue
                yield from self._visit(reading, reading.sample(), bar)
                if reading.is_under_way and reading.trust.is_lost:
                    self._give_up(
                        reading.state,
                        f"{reading.trust.failures} {self.parent_noun}s in a row could "
                        f"not be read; the last: {reading.error}",
                    )

    def _until_lost(
        self, reading: _Reading[Id, SomeMark]
    ) -> Iterator[Visit[Id, SomeMark]]:
        """Yield lists until too many failed or the budget of the run is spent.

        The history ends when this stream's share of the run is spent.
        """
        while reading.left and not reading.cut and not reading.trust.is_lost:
            if reading.left[0].parent.id in reading.shared:
                reading.budget = reading.budget or self.budget()
                if reading.budget.is_spent:
                    return
            yield reading.left.popleft()

    def _visit(
        self,
        reading: _Reading[Id, SomeMark],
        visits: Iterable[Visit[Id, SomeMark]],
        bar: Progress,
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        interval = self.interval()
        # With a limit on records, as in `--test`, no list is read ahead.
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.api.max_concurrency
        fan_out: FanOut[
            Visit[Id, SomeMark], Page | Count | Part[SomeMark], SomeMark
        ] = FanOut(
            partial(self.read, policy=reading.policy),
            workers=ahead,
            received=self.api.client.received,
            stop=self.run.stop,
        )
        self.fan_out = fan_out
        begun: Visit[Id, SomeMark] | None = None
        with fan_out:
            try:
                for event in fan_out.read(visits, partial(self._look, bar)):
                    if isinstance(event, TaskDone):
                        self._finish(event, reading, is_begun=begun is not None)
                        begun = None
                        bar.done()
                        yield ()
                        continue
                    begun = event.task
                    if isinstance(event.page, Part):
                        reading.state.set_mark(begun.parent.id, event.page.mark)
                    elif isinstance(event.page, Count):
                        self.reconcile(event.page, of=begun.parent.id)
                    else:
                        page = self.within(event.page, interval)
                        yield self.records_of(page, of=begun.parent.id)
                    bar.tick()
            except Terminated:
                if begun:
                    self._interrupt(begun, reading)
                raise

    def _look(self, bar: Progress) -> None:
        bar.tick()
        self.run.idle()

    def _finish(
        self,
        done: TaskDone[Visit[Id, SomeMark], SomeMark],
        reading: _Reading[Id, SomeMark],
        *,
        is_begun: bool,
    ) -> None:
        """Commit the result of a parent."""
        visit, state = done.task, reading.state
        parent = visit.parent
        noun = self.parent_noun
        error = done.error and self.explained(done.error)
        self._count_requests()
        if error is None and done.result is not None:
            mark = done.result
            self.report.parents += 1
            self.report.unsettled += mark.unsettled
            over = self.schedule.is_over(parent, mark, self.api.now(), reading.policy)
            # A parent that an incomplete list of parents lacks is not closed.
            known = parent.listed or self.api.parents_whole
            is_closed = over and known and mark.settled
            state.set_mark(parent.id, None if is_closed else mark)
            self.after(parent, mark)
            state.readable = True
            reading.trust.succeed()
        elif isinstance(error, Gone) and not parent.listed and self.api.parents_whole:
            self.logger.info("%s: %s %s is gone", self.name, noun, parent.id)
            state.set_mark(parent.id, None)
        elif isinstance(error, Skippable):
            self.logger.warning(
                "%s: %s %s was left out: %s", self.name, noun, parent.id, error
            )
            # Failures add up even where the catalog asks to ignore the marks.
            old = state.marks.get(parent.id) or self.marks.first
            state.set_mark(parent.id, old.failed(self.api.now()))
            self.report.failed.append(parent.id)
            self._refused += isinstance(done.error, (Gone, Denied))
            reading.error = error
            # A list that failed in earlier runs says nothing about the other lists.
            if not (old.failures and state.readable):
                reading.trust.fail(error)
        elif isinstance(error, Exhausted):
            # The stream ends after the lists of the other workers are committed.
            reading.cut = reading.cut or error
            if is_begun:
                self._interrupt(visit, reading)
            return
        elif error is not None:
            raise error
        self.report.parents_left -= 1
        self._move_on(visit, reading)

    def _interrupt(
        self, visit: Visit[Id, SomeMark], reading: _Reading[Id, SomeMark]
    ) -> None:
        """Mark a list as cut by the end of the run; it waits behind the others."""
        state, parent_id = reading.state, visit.parent.id
        old = state.marks.get(parent_id) or self.marks.first
        if is_cut(old) and old == visit.mark:
            self.logger.warning(
                "%s: the end of a run has cut the list of %s %s again, and its order "
                "does not let the next run go on there: it has to fit into one run. "
                "Raise daily_requests or max_run_minutes",
                self.name,
                self.parent_noun,
                parent_id,
            )
        state.set_mark(parent_id, old.interrupted(self.api.now()))
        self._move_on(visit, reading)

    def _move_on(
        self, visit: Visit[Id, SomeMark], reading: _Reading[Id, SomeMark]
    ) -> None:
        """Advance the sweep and the history past the lists that are done."""
        if visit.history:
            last = reading.history.after(visit)
            if last:
                reading.state.set_history(history_key(last.parent))
        elif visit.sweep is not None:
            self._note_sweep(reading, reading.swept.after(visit))

    def _note_sweep(
        self, reading: _Reading[Id, SomeMark], last: Visit[Id, SomeMark] | None
    ) -> None:
        if self.run.settings.backfill:
            return
        if reading.swept.is_complete:
            reading.state.set_swept(reading.today)
        elif last and last.sweep is not None:
            reading.state.set_swept(last.sweep - 1, history_key(last.parent))

    def _give_up(self, state: StreamState[Id, SomeMark], reason: str) -> NoReturn:
        """End the stream, because none of its lists can be read.

        Raises:
            Unavailable: all lists were refused or missing, in every run so far.
            Fatal: at least one list could be read before.
        """
        if self._refused == len(self.report.failed) and not state.readable:
            raise Unavailable(
                f"the account has no access to it, or it does not exist: {reason}"
            )
        raise Fatal(reason)

    def _note_state(
        self,
        state: StreamState[Id, SomeMark],
        parents: Sequence[Parent[Id]],
        now: float,
        policy: Policy,
    ) -> None:
        report = self.report
        marks = state.marks.items()
        report.quarantined = sorted(key for key, mark in marks if mark.quarantined)
        report.unfinished = sorted(key for key, mark in marks if is_cut(mark))
        if self.run.settings.backfill:
            # No later run says that they lack rows, so lists that wait count as well.
            doubted = [one for _, one in marks if one.unsettled and not one.failures]
            report.unsettled = len(doubted)
            return
        through = self.schedule.checked_through(parents, state.marks, now, policy)
        if state.checked_through is not None and self.lacks_parents(state, parents):
            through = min(through, state.checked_through)
        state.set_checked_through(through)
        self.note_through(through)
        self.promote(state)

    def _conclude(self, state: StreamState[Id, SomeMark], *, others: bool) -> None:
        """Report the failures of the stream.

        Args:
            state: the stream's state.
            others: some open lists were not due; they could be read before.

        Raises:
            Unavailable, Fatal: none of the lists could be read.
            HistoryLeft: the next run has to go on with the history.
        """
        report = self.report
        # A single failed list says nothing about a stream that could be read before.
        others = others or (state.readable and len(report.failed) == 1)
        if report.failed and not report.parents and not others:
            failed = f"none of {len(report.failed)} {self.parent_noun}s"
            self._give_up(state, f"{failed} could be read")
        if report.quarantined:
            self.logger.warning(
                "%s: %ss in quarantine (tried daily): %s",
                self.name,
                self.parent_noun,
                report.quarantined,
            )
        if report.parents_left:
            raise HistoryLeft(
                f"{report.parents_left} {self.parent_noun}s are left to read; the next "
                "run goes on there"
            )
