"""What one run shares: its clock, its end, and what it reports."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from logging import ERROR, WARNING
from typing import TYPE_CHECKING, Any, Literal, Self

import click

from tap_email_metrics.clock import iso
from tap_email_metrics.control import Stop
from tap_email_metrics.errors import Exhausted, Unavailable
from tap_email_metrics.records.values import to_instant
from tap_email_metrics.run.reconciliation import Verdicts

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from types import TracebackType

    from tap_email_metrics.clock import Clock
    from tap_email_metrics.errors import TapError

PROGRESS_SECONDS = 30
Outcome = Literal[
    "pending", "complete", "empty", "paused", "unavailable", "failed", "terminated"
]


@dataclass(slots=True)
class StreamReport:
    """What one stream did in this run.

    Attributes:
        outcome: how it ended.
        records: records emitted.
        requests: requests sent for it.
        parents: lists read; `parents_left`: due lists that were not reached.
        failed: ids of parents that could not be read.
        quarantined: ids of parents that failed five runs or more.
        unsettled: lists whose count and rows did not agree.
        behind_since: the oldest instant up to which an open list is read.
        headroom_days: days until the archive takes what was not read.
        cut: it paused before its due lists were read.
        refused: the provider refused the credentials or cannot be reached.
        message: why it did not complete.
        started: when it began, in UTC seconds.
        ended: when it ended; likewise.
    """

    outcome: Outcome = "pending"
    records: int = 0
    requests: int = 0
    parents: int = 0
    parents_left: int = 0
    failed: list[int | str] = field(default_factory=list)
    quarantined: list[int | str] = field(default_factory=list)
    unsettled: int = 0
    behind_since: float | None = None
    headroom_days: float | None = None
    cut: bool = False
    refused: bool = False
    message: str = ""
    started: float = 0.0
    ended: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return what the run summary says of the stream."""
        result: dict[str, Any] = {
            "outcome": self.outcome,
            "records": self.records,
            "requests": self.requests,
        }
        optional = {
            "parents": self.parents,
            "parents_left": self.parents_left,
            "failed": self.failed,
            "quarantined": self.quarantined,
            "unsettled": self.unsettled,
            "behind_since": self.behind_since and iso(self.behind_since),
            "headroom_days": self.headroom_days and round(self.headroom_days, 1),
            "message": self.message,
        }
        return result | {key: value for key, value in optional.items() if value}


class Run:
    """One run of the tap, shared by its providers and streams.

    Attributes:
        clock: the time of this machine.
        stop: set when the run has to end.
        deadline: instant at which it pauses, or None.
        idle: called now and then while the run waits.
        hide: called with secrets that were just issued; masks them in the log.
        reports: what each stream did.
        verdicts: how the lists that were read compare with what the API counts.
    """

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self.clock = clock
        self.logger = logger
        self.stop = Stop()
        self.started = clock.now()
        self.deadline: float | None = None
        self.idle: Callable[[], None] = _nothing
        self.hide: Callable[..., None] = _nothing
        self.reports: dict[str, StreamReport] = {}
        self.verdicts = Verdicts()
        self._said: set[str] = set()

    @property
    def id(self) -> str:
        """What names the run in tables: the instant at which it began, in UTC.

        Keys hold the account and the stream besides, so that only two runs of one
        account within a millisecond could share it: those race for the state, too.
        """
        return to_instant(int(self.started * 1000))

    def complain(self, stream: str, what: str, error: TapError) -> None:
        """Log why a stream did not complete, once for a reason that several share."""
        if str(error) not in self._said:
            self._said.add(str(error))
            # What the account never had, or a spent budget, is no fault of this run.
            no_fault = isinstance(error, (Unavailable, Exhausted))
            level = WARNING if no_fault else ERROR
            self.logger.log(level, "%s: %s: %s", stream, what, error)

    def report(self, stream: str) -> StreamReport:
        """Return the report of a stream."""
        if stream not in self.reports:
            self.reports[stream] = StreamReport()
        return self.reports[stream]

    @property
    def was_refused(self) -> bool:
        """Whether no provider accepted the credentials: nothing was read."""
        reports = self.reports.values()
        return bool(reports) and all(r.refused and not r.records for r in reports)

    def summary(self) -> str:
        """Return the run summary: one line of JSON."""
        behind = [
            report.behind_since
            for report in self.reports.values()
            if report.behind_since is not None
        ]
        paused = [
            name
            for name, report in self.reports.items()
            if report.outcome in {"paused", "terminated"}
        ]
        return json.dumps(
            {
                "event": "run_summary",
                "streams": {
                    name: report.summary() for name, report in self.reports.items()
                },
                "paused": paused,
                "behind_since": iso(min(behind)) if behind else None,
                "requests": sum(report.requests for report in self.reports.values()),
                "seconds": round(self.clock.now() - self.started, 1),
                **self.verdicts.summary(),
            }
        )


def _nothing(*_secrets: str) -> None:
    """Do nothing: nobody listens."""


class Progress:
    """Parents done and left: a live bar on a terminal, else a line every 30 s."""

    def __init__(self, run: Run, stream: str, total: int) -> None:
        self._run = run
        self._stream = stream
        self._total = total
        self._done = 0
        self._said = run.clock.monotonic()
        self._bar = (
            click.progressbar(length=total, label=stream, file=sys.stderr)
            if sys.stderr.isatty() and total
            else None
        )

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.__exit__(kind, error, trace)

    def done(self) -> None:
        """Count one parent."""
        self._done += 1
        if self._bar:
            self._bar.update(1)
        self.tick()

    def tick(self) -> None:
        """Say where the stream is, if it is time to."""
        now = self._run.clock.monotonic()
        if self._bar or now - self._said < PROGRESS_SECONDS:
            return
        self._said = now
        self._run.logger.info(
            "%s: %d parents done, %d left, %d records, %d requests",
            self._stream,
            self._done,
            self._total - self._done,
            self._run.report(self._stream).records,
            self._run.report(self._stream).requests,
        )
