"""The report of each stream in a run: outcome, counts, lag."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import click

from tap_email_metrics.clock import iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from tap_email_metrics.control import Control

PROGRESS_SECONDS = 30
Outcome = Literal[
    "pending",
    "complete",
    "incomplete",
    "empty",
    "paused",
    "unavailable",
    "failed",
    "terminated",
]
"""How a stream ended; the schema of `email_metrics_runs` says what each one means."""


@dataclass(slots=True)
class StreamReport:
    """The report of one stream in this run.

    Attributes:
        outcome: how the stream ended.
        records: number of records emitted.
        requests: number of requests sent.
        parents: number of lists read.
        parents_left: number of due lists that were not reached.
        failed: ids of parents that could not be read.
        quarantined: ids of parents that failed in five or more runs in a row.
        unfinished: ids of parents whose list was cut by the end of a run.
        unsettled: number of lists whose count and rows did not agree, and of windows
            that could not be read.
        set_aside: number of rows without a record, by reason.
        behind_since: the UTC seconds up to which every open list was read.
        headroom_days: days until the archive takes unread rows.
        cut: the stream paused before its due lists were read.
        refused: the provider refused the credentials or cannot be reached.
        message: why the stream did not complete.
        started: start in UTC seconds.
        ended: end in UTC seconds.
    """

    outcome: Outcome = "pending"
    records: int = 0
    requests: int = 0
    parents: int = 0
    parents_left: int = 0
    failed: list[int | str] = field(default_factory=list)
    quarantined: list[int | str] = field(default_factory=list)
    unfinished: list[int | str] = field(default_factory=list)
    unsettled: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    behind_since: float | None = None
    headroom_days: float | None = None
    cut: bool = False
    refused: bool = False
    message: str = ""
    started: float = 0.0
    ended: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return the stream's part of the run summary."""
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
            "unfinished": self.unfinished,
            "unsettled": self.unsettled,
            "set_aside": dict(sorted(self.set_aside.items())),
            "behind_since": self.behind_since and iso(self.behind_since),
            "headroom_days": self.headroom_days and round(self.headroom_days, 1),
            "message": self.message,
        }
        return result | {key: value for key, value in optional.items() if value}

    def line(self) -> str:
        """Return the log line for the end of the stream."""
        seconds = max(self.ended - self.started, 0.0)
        records = _counted(self.records, "record")
        requests = _counted(self.requests, "request")
        parts = [f"{self.outcome}, {records}, {requests}, {seconds:.1f} s"]
        if self.headroom_days is not None:
            parts.append(f"{self.headroom_days:.1f} days of headroom")
        if self.failed:
            parts.append(f"{_counted(len(self.failed), 'list')} failed")
        if self.quarantined:
            parts.append(f"{len(self.quarantined):,} in quarantine")
        if self.unsettled:
            parts.append(f"{self.unsettled:,} unsettled")
        if self.parents_left:
            parts.append(f"{self.parents_left:,} left")
        return "; ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def connection_test(reports: Sequence[StreamReport]) -> str:
    """Return a line that says how many streams could be read."""
    read = [one for one in reports if one.outcome not in {"failed", "unavailable"}]
    return (
        f"connection test: {len(read)} of {len(reports)} streams can be read "
        f"({_counted(sum(one.requests for one in reports), 'request')})"
    )


def table(reports: Mapping[str, StreamReport]) -> list[tuple[str, str]]:
    """Return an aligned table with a header and one line per stream.

    Beside each line is the stream's outcome.
    """
    rows = [("stream", "outcome", "records", "requests", "seconds")]
    for name, report in reports.items():
        seconds = max(report.ended - report.started, 0.0)
        numbers = (f"{report.records:,}", f"{report.requests:,}", f"{seconds:.1f}")
        rows.append((name, report.outcome, *numbers))
    names, outcomes, *others = (
        max(map(len, column)) for column in zip(*rows, strict=True)
    )
    lines = [
        "  ".join(
            [row[0].ljust(names), row[1].ljust(outcomes)]
            + [cell.rjust(width) for cell, width in zip(row[2:], others, strict=True)]
        )
        for row in rows
    ]
    return [(line, row[1]) for line, row in zip(lines, rows, strict=True)]


SUMMARY = (
    *("event", "run_summary", "streams", "paused", "behind_since", "requests"),
    *("seconds", "reconciliation", "differing"),
    *(one.name for one in fields(StreamReport)),
    *get_args(Outcome),
)
"""Words of the run summary. Other programs read them, so they are never masked."""


class Progress:
    """Shows the progress of a stream: a bar on a terminal, else a line every 30 s."""

    def __init__(
        self, control: Control, stream: str, report: StreamReport, total: int
    ) -> None:
        self._control = control
        self._stream = stream
        self._report = report
        self._total = total
        self._done = 0
        self._said = control.clock.monotonic()
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
        """Log the progress if the last line is old enough."""
        now = self._control.clock.monotonic()
        if self._bar or now - self._said < PROGRESS_SECONDS:
            return
        self._said = now
        self._control.logger.info(
            "%s: %d parents done, %d left, %d records, %d requests",
            self._stream,
            self._done,
            self._total - self._done,
            self._report.records,
            self._report.requests,
        )
