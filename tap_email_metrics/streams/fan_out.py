"""Fan-out streams: many parents, each with a list of its own."""

from __future__ import annotations

import abc
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import (
    Denied,
    Fatal,
    Gone,
    HistoryLeft,
    Skippable,
    TapError,
    Unavailable,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.report import Progress
from tap_email_metrics.run.workers import FanOut, PageRead, TaskDone
from tap_email_metrics.state.marks import Id, SomeMark
from tap_email_metrics.state.plans import history_key
from tap_email_metrics.state.streams import StreamState
from tap_email_metrics.streams.base import EmailMetricsStream

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
"""Parents in a row that may fail before the stream gives up."""


class FanOutStream(EmailMetricsStream, Generic[Id, SomeMark]):
    """A stream with one list per parent; each run reads the lists that are due.

    Attributes:
        marks: the format of its marks.
        parent_noun: the name of a parent in messages.
        fan_out: the workers that run `read`, and that fetch pages ahead for it.
    """

    marks: ClassVar[MarkFormat[Any, Any]]
    parent_noun: ClassVar[str]
    fan_out: FanOut[Visit[Id, SomeMark], Page | Count, SomeMark]

    @property
    @abc.abstractmethod
    def schedule(self) -> RevisitSchedule[Id, SomeMark]:
        """Decides which lists are due."""

    @abc.abstractmethod
    def read(
        self, visit: Visit[Id, SomeMark], policy: Policy
    ) -> Generator[Page | Count, None, SomeMark]:
        """Yield the rows of a parent to emit; return the mark that covers them.

        After a list that was read to its end, yields a `Count` that compares its rows
        with the vendor's numbers.
        """

    def parents(self) -> Sequence[Parent[Id]]:
        """Return the parents whose lists the stream reads."""
        return self.api.parents()

    def prepare(self, plan: Plan[Id, SomeMark]) -> None:
        """Take notice of the plan before its first list is read."""

    def explained(self, error: TapError) -> TapError:
        """Return a more precise error for a failed parent; it may end the stream."""
        return error

    def after(self, parent: Parent[Id]) -> None:
        """Commit what else has changed with a parent that was read."""

    @property
    def policy(self) -> Policy:
        """The settings that decide which lists are due."""
        return self.api.policy

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the lists that are due, one page at a time."""
        settings = self.run.settings
        parents = self.parents()
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
            self._begin(state)
        fresh = self._ignores_marks() and not settings.backfill
        known = StreamState(self.name, {}, self.marks) if fresh else state
        plan = self.schedule.plan(parents, known, now, policy)
        self.prepare(plan)
        for parent_id in plan.closed:
            state.set_mark(parent_id, None)
        self.report.parents_left = len(plan.live) + len(plan.history)
        try:
            yield from self._visit_all(plan.live, state, policy)
            # Parents that are missing from an incomplete list were not read.
            whole = self.api.parents_whole
            if not settings.backfill and whole:
                state.set_swept(int(now // DAY))
            yield from self._visit_all(self._in_share(plan.history), state, policy)
            if not self.report.parents_left and whole:
                state.set_history((round(policy.floor * 1000), self.marks.lowest))
        finally:
            self._note_state(state, parents, now, policy)
        self._conclude(state, others=bool(plan.waiting))

    def _begin(self, state: StreamState[Id, SomeMark]) -> None:
        if state.begin_at(self.run.settings.start):
            self.logger.warning(
                "%s: start_date has moved back: everything is read again", self.name
            )

    def _in_share(
        self, history: Iterable[Visit[Id, SomeMark]]
    ) -> Iterator[Visit[Id, SomeMark]]:
        """Yield lists of the history until this stream's share of the run is spent."""
        budget = self.budget()
        for visit in history:
            if budget.is_spent:
                return
            yield visit

    def _visit_all(
        self,
        visits: Iterable[Visit[Id, SomeMark]],
        state: StreamState[Id, SomeMark],
        policy: Policy,
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        interval = self.interval()
        # With a limit on records, as in `--test`, no list is read ahead.
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.api.max_concurrency
        fan_out: FanOut[Visit[Id, SomeMark], Page | Count, SomeMark] = FanOut(
            partial(self.read, policy=policy),
            workers=ahead,
            received=self.api.client.received,
            stop=self.run.stop,
        )
        self.fan_out = fan_out
        self.maker()  # creates what all threads share, before they start
        failures = 0
        with (
            fan_out,
            Progress(
                self.run.control, self.name, self.report, self.report.parents_left
            ) as bar,
        ):
            for event in fan_out.read(visits, partial(self._look, bar)):
                if isinstance(event, PageRead):
                    if isinstance(event.page, Count):
                        self.reconcile(event.page)
                    else:
                        yield self.records_of(self.within(event.page, interval))
                    bar.tick()
                    continue
                failures = self._finish(event, state, policy, failures)
                bar.done()
                yield ()

    def _look(self, bar: Progress) -> None:
        bar.tick()
        self.run.idle()

    def _finish(
        self,
        done: TaskDone[Visit[Id, SomeMark], SomeMark],
        state: StreamState[Id, SomeMark],
        policy: Policy,
        failures: int,
    ) -> int:
        """Commit the result of a parent; return the number of failures in a row."""
        parent = done.task.parent
        noun = self.parent_noun
        # Failures add up even where the catalog asks to ignore the marks.
        old = state.marks.get(parent.id)
        error = done.error and self.explained(done.error)
        self.report.parents_left -= 1
        self._count_requests()
        if error is None and done.result is not None:
            mark = done.result
            self.report.parents += 1
            self.report.unsettled += mark.unsettled
            over = self.schedule.is_over(parent, mark, self.api.now(), policy)
            state.set_mark(parent.id, None if over and mark.settled else mark)
            self.after(parent)
            state.readable = True
            failures = 0
        elif isinstance(error, Gone) and not parent.listed:
            self.logger.info("%s: %s %s is gone", self.name, noun, parent.id)
            state.set_mark(parent.id, None)
        elif isinstance(error, Skippable):
            self.logger.warning(
                "%s: %s %s was left out: %s", self.name, noun, parent.id, error
            )
            mark = (old or self.marks.first).failed(self.api.now())
            state.set_mark(parent.id, mark)
            self.report.failed.append(parent.id)
            self._refused += isinstance(done.error, (Gone, Denied))
            # A list that failed in earlier runs, too, tells nothing about the others.
            failures += 0 if old and old.failures and state.readable else 1
        elif error is not None:
            self.report.parents_left += 1
            raise error
        if done.task.history:
            state.set_history(history_key(parent))
        if failures >= FAILURES_IN_A_ROW:
            self._give_up(
                state,
                f"{failures} {noun}s in a row could not be read; the last: {error}",
            )
        return failures

    def _give_up(self, state: StreamState[Id, SomeMark], reason: str) -> NoReturn:
        """End the stream: none of its lists can be read.

        Raises:
            Unavailable: all lists were refused or missing, in every run so far.
            Fatal: at least one list could be read before.
        """
        if self._refused == len(self.report.failed) and not state.readable:
            raise Unavailable(
                f"the account has no access to it, or it is not there: {reason}"
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
        report.quarantined = sorted(
            parent_id for parent_id, mark in state.marks.items() if mark.quarantined
        )
        if self.run.settings.backfill:
            return
        through = self.schedule.checked_through(parents, state.marks, now, policy)
        state.set_checked_through(through)
        report.behind_since = through
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
