"""The shape of stream that fans out: many parents, each with a list of its own."""

from __future__ import annotations

import abc
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, NoReturn

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
from tap_email_metrics.providers.encompass.schedule import (
    Id,
    Parent,
    Plan,
    Policy,
    SomeMark,
    Visit,
    history_key,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.report import Progress
from tap_email_metrics.run.workers import Done, FanOut, Read
from tap_email_metrics.state.streams import StreamState
from tap_email_metrics.streams.base import EmailMetricsStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.pages import Record
    from tap_email_metrics.records.rows import Rows

FAILURES_IN_A_ROW = 10
"""Parents that fail one after the other before the stream is given up."""


class FanOutStream(EmailMetricsStream, Generic[Id, SomeMark]):
    """Many parents, each with its own list; reads those that are due.

    Attributes:
        parent_noun: what a parent is called in messages.
        fan_out: runs `read`, and fetches ahead for it.
    """

    parent_noun: ClassVar[str]
    fan_out: FanOut[Visit[Id, SomeMark], Rows | Count, SomeMark]

    @abc.abstractmethod
    def read(
        self, visit: Visit[Id, SomeMark], policy: Policy
    ) -> Generator[Rows | Count, None, SomeMark]:
        """Yield the rows of a parent to emit; return the mark that covers them.

        At the end of a list of which all was read comes what was counted in it.
        """

    @abc.abstractmethod
    def plan(
        self,
        parents: Sequence[Parent[Id]],
        state: StreamState[Id, SomeMark],
        now: float,
        policy: Policy,
    ) -> Plan[Id, SomeMark]:
        """Return what is due, in the order in which it is read."""

    @abc.abstractmethod
    def is_over(
        self, parent: Parent[Id], mark: SomeMark, now: float, policy: Policy
    ) -> bool:
        """Return whether a parent that was just read needs no mark any more."""

    @abc.abstractmethod
    def checked_through(
        self,
        parents: Sequence[Parent[Id]],
        state: StreamState[Id, SomeMark],
        now: float,
        policy: Policy,
    ) -> float:
        """Return the instant up to which all that is open was read."""

    @abc.abstractmethod
    def first_mark(self) -> SomeMark:
        """Return the mark of what was never read."""

    def parents(self) -> Sequence[Parent[Id]]:
        """Return what the stream fans out over."""
        return self.api.parents()

    def explained(self, error: TapError) -> TapError:
        """Return what an error of one parent means; it may end the stream."""
        return error

    def after(self, parent: Parent[Id]) -> None:
        """Commit what else a parent that was read has changed."""

    @property
    def policy(self) -> Policy:
        """What is due when, for this stream."""
        return self.api.policy

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the parents that are due, one page at a time."""
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
        known = StreamState(self.name, {}, state.kind) if fresh else state
        plan = self.plan(parents, known, now, policy)
        for parent_id in plan.closed:
            state.set_mark(parent_id, None)
        self.report.parents_left = len(plan.live) + len(plan.history)
        try:
            yield from self._visit_all(plan.live, state, policy)
            # Parents that a list did not show may not be taken for read.
            whole = self.api.parents_whole
            if not settings.backfill and whole:
                state.set_swept(int(now // DAY))
            yield from self._visit_all(self._in_share(plan.history), state, policy)
            if not self.report.parents_left and whole:
                state.set_history((round(policy.floor * 1000), state.kind.lowest))
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
        """Yield history while this stream's share of the run lasts."""
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
        # With a limit on records, as in `--test`, nothing is read ahead.
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.api.max_concurrency
        fan_out: FanOut[Visit[Id, SomeMark], Rows | Count, SomeMark] = FanOut(
            partial(self.read, policy=policy),
            workers=ahead,
            received=self.api.client.received,
            stop=self.run.stop,
        )
        self.fan_out = fan_out
        self.maker()  # before there are threads: they share what it is made of
        failures = 0
        with (
            fan_out,
            Progress(
                self.run.control, self.name, self.report, self.report.parents_left
            ) as bar,
        ):
            for event in fan_out.read(visits, partial(self._look, bar)):
                if isinstance(event, Read):
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
        done: Done[Visit[Id, SomeMark], SomeMark],
        state: StreamState[Id, SomeMark],
        policy: Policy,
        failures: int,
    ) -> int:
        """Commit what a parent's end means; return the failures in a row."""
        parent = done.task.parent
        noun = self.parent_noun
        # Also where the catalog has the marks ignored: failures count on.
        old = state.marks.get(parent.id)
        error = done.error and self.explained(done.error)
        self.report.parents_left -= 1
        self._count_requests()
        if error is None and done.result is not None:
            mark = done.result
            self.report.parents += 1
            self.report.unsettled += mark.unsettled
            over = self.is_over(parent, mark, self.api.now(), policy)
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
            mark = (old or self.first_mark()).failed(self.api.now())
            state.set_mark(parent.id, mark)
            self.report.failed.append(parent.id)
            self._refused += isinstance(done.error, (Gone, Denied))
            # One that failed before says nothing about the others, if any was read.
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
        """End the stream: nothing of it can be read.

        Raises:
            Unavailable: it was refused, or not there, and always has been.
            Fatal: it could be read before.
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
        through = self.checked_through(parents, state, now, policy)
        state.set_checked_through(through)
        report.behind_since = through
        self.promote(state)

    def _conclude(self, state: StreamState[Id, SomeMark], *, others: bool) -> None:
        """Say what did not succeed.

        Args:
            state: of the stream.
            others: there are open lists that were not due: they were readable.
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
