"""The streams about the run itself: reconciliation, and one row per stream.

- `Reconciliation` is first in the order, so that its SCHEMA is written before all
  records. Its own records are written between the records of other streams: each one
  follows the rows of its list and precedes the STATE that covers them.
- `Runs` is last: one row per stream of the run, whatever its outcome.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import asdict
from singer_sdk.helpers.conform import TypeConformanceLevel
from typing_extensions import override

from tap_email_metrics.clock import iso
from tap_email_metrics.errors import Fatal
from tap_email_metrics.records.builder import RecordBuilder
from tap_email_metrics.records.privacy import redact
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.values import to_instant
from tap_email_metrics.streams.base import unforeseen
from tap_email_metrics.streams.quiet import QuietStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from singer_sdk import Tap

    from tap_email_metrics.run.reconciliation import Count
    from tap_email_metrics.run.report import StreamReport
    from tap_email_metrics.run.run import Run


class RunStream(QuietStream):
    """A stream about the run. It sends no request and has no state."""

    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: Tap, run: Run) -> None:
        self._packaged = load_schema(self.name)
        super().__init__(tap, schema=run.privacy.apply_to_schema(self._packaged))
        self.run = run
        self._builders: dict[str, RecordBuilder] = {}
        self._failed = False

    @abc.abstractmethod
    def records(self) -> Iterable[dict[str, Any]]:
        """Return the records to write when it is the stream's turn."""

    @override
    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:
        return self.records()

    def record(self, provider: str, stream: str, **columns: object) -> dict[str, Any]:
        """Return a record about a stream of this run."""
        run = self.run
        if provider not in self._builders:
            self._builders[provider] = RecordBuilder(
                self._packaged,
                key=self.primary_keys,
                selected=None,
                account=run.account(provider),
                privacy=run.privacy,
            )
        whose = {"run": run.id, "provider": provider, "stream": stream}
        return asdict(self._builders[provider].record(**whose, **columns))

    def write(self, record: dict[str, Any]) -> None:
        """Write a record. An error, such as one of a stream map, ends this stream."""
        try:
            self._write_record_message(record)
        except Exception as error:  # noqa: BLE001 - the other streams go on
            self._failed = True
            self.run.fail(self.name, Fatal(unforeseen(error)))

    @override
    def _sync_records(
        self, context: Any = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Write the records as the SDK does, but no state."""
        with self.get_record_counter() as counter, self.get_sync_timer():
            for number, record in enumerate(self.records()):
                if number == self.ABORT_AT_RECORD_COUNT or self._failed:
                    break  # `--test` reads no more records
                if write_messages:
                    self.write(record)
                counter.increment()
                yield record
        # No STATE follows, which would flush the records.
        self.run.output.flush()

    @override
    def finalize_state_progress_markers(self, state: Any = None) -> None:
        """Do nothing: the stream has no state."""


class Reconciliation(RunStream):
    """One row per list that was read to its end in this run."""

    name = "email_metrics_reconciliation"
    primary_keys: ClassVar[tuple[str, ...]] = (
        "account",
        "run",
        "provider",
        "stream",
        "parent",
    )
    _written = 0

    def __init__(self, tap: Tap, run: Run) -> None:
        super().__init__(tap, run)
        run.tell = self.tell

    @override
    def records(self) -> Iterable[dict[str, Any]]:
        """Return no record: `tell` writes them earlier."""
        return ()

    def tell(self, provider: str, stream: str, count: Count, at: float) -> None:
        """Write the record of a list. Its rows must have been written before.

        Args:
            provider: name of the provider.
            stream: name of the stream.
            count: the counts of the list.
            at: when the list was read, in UTC seconds.
        """
        # `--test` reads no more records.
        if not self.selected or self._written == self.ABORT_AT_RECORD_COUNT:
            return
        if self._failed:
            return
        self._written += 1
        checked_at = to_instant(int(at * 1000))
        columns = count.columns() | {"checked_at": checked_at}
        self.write(self.record(provider, stream, **columns))


class Runs(RunStream):
    """One row per stream of this run, unless every provider refused the credentials."""

    name = "email_metrics_runs"
    primary_keys: ClassVar[tuple[str, ...]] = ("account", "run", "provider", "stream")

    @override
    def records(self) -> Iterable[dict[str, Any]]:
        """Yield the records, after all other streams have ended."""
        run = self.run
        if run.was_refused:
            # `meltano config test` would take a record for success.
            return
        for name, report in [*run.reports.items()]:
            if name.startswith("email_metrics_"):
                continue  # a stream of this module, which has a report if it failed
            provider = run.provider_of(name)
            columns = _columns(report) | {
                "backfill": run.settings.backfill,
                "quota_left": run.quota_left(provider),
            }
            yield self.record(provider, name, **columns)


RUN_STREAMS: tuple[type[RunStream], ...] = (Reconciliation, Runs)


def _columns(report: StreamReport) -> dict[str, object]:
    behind, headroom = report.behind_since, report.headroom_days
    return {
        "outcome": report.outcome,
        "records": report.records,
        "requests": report.requests,
        "parents": report.parents,
        "parents_left": report.parents_left,
        "failed": len(report.failed),
        "quarantined": len(report.quarantined),
        "unsettled": report.unsettled,
        "set_aside": report.set_aside.total(),
        "behind_since": None if behind is None else iso(behind),
        "headroom_days": None if headroom is None else round(headroom, 1),
        "seconds": round(report.ended - report.started, 1),
        "started_at": to_instant(int(report.started * 1000)),
        "finished_at": to_instant(int(report.ended * 1000)),
        "message": redact(report.message) or None,
    }
