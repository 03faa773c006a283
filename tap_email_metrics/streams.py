"""The shapes of stream: a concrete stream is a few facts on one of them.

- `ListStream`: a list that is read whole in each run; rows that changed are emitted.
- `FanOutStream`: many parents, each with a list of its own; those that are due are
  read concurrently and emitted in order.

Both are top-level streams of the SDK: its own parents and children write a SCHEMA,
a state partition and a whole STATE for each parent. `_sync_records` and
`_write_state_message` are private in the SDK and overridden here alone, which is
why its minor version is pinned.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from singer_sdk import Stream, metrics
from typing_extensions import override

from tap_email_metrics import bookmarks
from tap_email_metrics.bookmarks import Mark, Policy, StreamState, Visit
from tap_email_metrics.catalog import load_schema
from tap_email_metrics.clock import DAY
from tap_email_metrics.codec import RowCodec, to_integer
from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Exhausted,
    Fatal,
    Gone,
    HistoryLeft,
    InvalidInput,
    Skippable,
    Terminated,
    Unavailable,
)
from tap_email_metrics.fanout import Done, FanOut, Read
from tap_email_metrics.run import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.providers import Session
    from tap_email_metrics.run import Run, StreamReport
    from tap_email_metrics.tap import TapEmailMetrics

Row = dict[str, object]

ROWS_IN_FLIGHT = 20_000
"""Rows that may be read ahead of what is written."""
FAILURES_IN_A_ROW = 10
"""Parents that fail one after the other before the stream is given up."""
_BUCKETS = 256
_DIGEST = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """Epoch milliseconds [start, end) of the replication key to emit.

    Attributes:
        start: None for no limit.
        end: None for no limit.
    """

    start: int | None
    end: int | None

    def holds(self, value: int | None) -> bool:
        """Return whether a row belongs; one without a readable time always does."""
        if value is None:
            return True
        return (self.start is None or value >= self.start) and (
            self.end is None or value < self.end
        )


class EmailMetricsStream(Stream):
    """What all shapes share: one pass over rows, one place for how it ends."""

    provider: ClassVar[str]

    def __init__(self, tap: TapEmailMetrics) -> None:
        self._packaged = load_schema(self.name)
        super().__init__(tap, schema=tap.privacy.apply_to_schema(self._packaged))
        self._metrics_tap = tap
        key = self.replication_key
        source = self._packaged["properties"][key]["x-source"] if key else None
        self._key_source: str | None = source
        self._newest_key: int | None = None
        self._requests_before = 0
        self._refused = 0

    @property
    def session(self) -> Session:
        """The provider's session of this run."""
        return self._metrics_tap.session(self.provider)

    @property
    def run(self) -> Run:
        """The run that this stream is part of."""
        return self._metrics_tap.run

    @property
    def report(self) -> StreamReport:
        """What this stream did so far in this run."""
        return self.run.report(self.name)

    @property
    def bookmark(self) -> StreamState:
        """This stream's part of the state."""
        return self._metrics_tap.stream_state(self.name)

    @abc.abstractmethod
    def batches(self) -> Iterator[Iterable[Mapping[str, object]]]:
        """Yield records to emit; a batch is written when the next is asked for.

        What covers a batch is committed to the state only after that.

        Raises:
            TapError: how the stream ends, by its kind.
        """

    @override
    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:
        """Yield the records of all batches."""
        for batch in self.batches():
            yield from (dict(record) for record in batch)

    @override
    def _write_state_message(self) -> None:
        self._metrics_tap.write_state()

    @override
    def _sync_records(
        self, context: Any = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        report = self.report
        self._requests_before = self._metrics_tap.requests_sent(self.provider)
        with (
            self.get_record_counter() as counter,
            metrics.http_request_counter(self.name, endpoint="") as requests,
            self.get_sync_timer(),
        ):
            for record in self._ending_well():
                if report.records == self.ABORT_AT_RECORD_COUNT:
                    break  # `--test` wants no more
                if write_messages:
                    self._write_record_message(record)
                report.records += 1
                counter.increment()
                yield record
            self._count_requests()
            requests.increment(report.requests)
        if write_messages:
            self._metrics_tap.write_state()

    def _count_requests(self) -> None:
        sent = self._metrics_tap.requests_sent(self.provider)
        self.report.requests = sent - self._requests_before

    def _ending_well(self) -> Iterator[dict[str, Any]]:
        """Yield the records; turn what ends the stream early into its outcome."""
        report = self.report
        try:
            self.run.stop.check()
            for batch in self.batches():
                for record in batch:
                    yield dict(record)
                self._metrics_tap.write_state_in_time()
            self._warn_of_fields()
        except Exhausted as error:
            report.outcome, report.message = "paused", str(error)
            report.cut = not isinstance(error, HistoryLeft)
            self.run.complain(self.name, "paused", error)
        except Terminated as error:
            report.outcome, report.message = "terminated", str(error)
        except Unavailable as error:
            report.outcome, report.message = "unavailable", str(error)
            self.run.complain(self.name, "left out", error)
        except (Fatal, Skippable, InvalidInput) as error:
            report.outcome, report.message = "failed", str(error)
            report.refused = isinstance(error, AuthenticationFailed)
            self.run.complain(self.name, "failed", error)
        else:
            if report.outcome == "pending":
                report.outcome = "complete" if report.records else "empty"

    @cached_property
    def codec(self) -> RowCodec:
        """What turns rows into records of the selected fields."""
        selected = [
            field
            for field in self._packaged["properties"]
            if self.mask[("properties", field)]
        ]
        return RowCodec(
            self._packaged,
            key=self.primary_keys,
            selected=selected,
            account=self.session.account,
            privacy=self._metrics_tap.privacy,
        )

    def _ignores_marks(self) -> bool:
        """Return whether the catalog asks to read everything anew.

        A stream without a replication key is FULL_TABLE by itself.
        """
        keyed = isinstance(type(self).replication_key, str)
        return keyed and self.replication_method == "FULL_TABLE"

    def interval(self) -> Interval:
        """Return the interval of the replication key that the settings ask for."""
        settings = self._metrics_tap.settings
        end = settings.end if settings.backfill else None
        return Interval(
            None if settings.start is None else int(settings.start * 1000),
            None if end is None else int(end * 1000),
        )

    def key_value(self, row: Row) -> int | None:
        """Return the replication key of a row, in epoch ms."""
        return to_integer(row.get(self._key_source)) if self._key_source else None

    def note_key(self, value: int | None) -> None:
        """Remember the newest replication key emitted, never later than now."""
        if value is not None:
            capped = min(value, int(self.run.started * 1000))
            self._newest_key = max(capped, self._newest_key or capped)

    def _warn_of_fields(self) -> None:
        """Say once a field what did not fit its column."""
        codec = self.codec
        for field in sorted(codec.uncoercible):
            self.logger.warning(
                "%s: values of %s do not fit their type; they are kept in "
                "additional_fields",
                self.name,
                field,
            )
        for field in sorted(codec.unknown):
            self.logger.info(
                "%s: the API sends a field %s that is not in the schema; it is kept "
                "in additional_fields",
                self.name,
                field,
            )
        if codec.rejected:
            self.logger.warning(
                "%s: %d rows without a usable id were left out",
                self.name,
                codec.rejected,
            )


class ListStream(EmailMetricsStream):
    """A list that is read whole in each run.

    It has no update stamp, so state keeps a digest for each of 256 buckets of ids;
    the rows of a bucket whose digest moved are emitted. That costs a fixed 2 KB,
    whatever the number of rows, and a few rows around one that changed.
    """

    @abc.abstractmethod
    def rows(self) -> Sequence[Row]:
        """Return all rows of the list."""

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object]]]:
        """Yield the records that are new or changed."""
        interval = self.interval()
        rows = [row for row in self.rows() if interval.holds(self.key_value(row))]
        backfill = self._metrics_tap.settings.backfill
        digests = _bucket_digests(rows)
        known = self._known_digests()
        changed = [
            row for row in rows if backfill or not _same(known, digests, _bucket(row))
        ]
        yield list(self._records(changed))
        if not backfill:
            self.bookmark.set_digests(base64.b64encode(b"".join(digests)).decode())
            if self.replication_key:
                self.bookmark.promote(self.replication_key, self._newest_key)
            if self.session.parents_whole:
                self.bookmark.set_checked_through(self.session.now())
            else:
                self.report.unsettled += 1

    def _records(self, rows: Iterable[Row]) -> Iterator[Mapping[str, object]]:
        for row in rows:
            record = self.codec.record(row)
            if record is not None:
                self.note_key(self.key_value(row))
                yield record

    def _known_digests(self) -> bytes:
        if self._ignores_marks():
            return b""
        return base64.b64decode(self.bookmark.digests)


def _bucket(row: Row) -> int:
    row_id = to_integer(row.get("id"))
    return 0 if row_id is None else row_id % _BUCKETS


def _same(known: bytes, digests: list[bytes], bucket: int) -> bool:
    start = bucket * _DIGEST
    return known[start : start + _DIGEST] == digests[bucket]


def _bucket_digests(rows: Iterable[Row]) -> list[bytes]:
    """Return a digest a bucket that does not depend on the order of its rows."""
    sums = [0] * _BUCKETS
    for row in {json.dumps(row, sort_keys=True): row for row in rows}.items():
        digest = hashlib.blake2b(row[0].encode(errors="replace"), digest_size=_DIGEST)
        sums[_bucket(row[1])] ^= int.from_bytes(digest.digest())
    return [number.to_bytes(_DIGEST) for number in sums]


class FanOutStream(EmailMetricsStream):
    """Many parents, each with its own list; reads those that are due.

    Attributes:
        archived: rows vanish after 180 days.
        verified_only: read at first sight and at verifications alone.
        parent_field: the column that holds the parent's id.
    """

    archived: ClassVar[bool] = True
    verified_only: ClassVar[bool] = False
    parent_field: ClassVar[str]

    @abc.abstractmethod
    def read(self, visit: Visit, policy: Policy) -> Generator[list[Row], None, Mark]:
        """Yield the rows of a parent to emit; return the mark that covers them."""

    @property
    def policy(self) -> Policy:
        """What is due when, for this stream."""
        return replace(
            self.session.policy,
            archived=self.archived,
            verified_only=self.verified_only,
        )

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object]]]:
        """Yield the records of the parents that are due, one page at a time."""
        settings = self._metrics_tap.settings
        parents = self.session.parents()
        now = self.session.now()
        state = self.bookmark
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
        known = StreamState(self.name, {}) if fresh else state
        plan = bookmarks.plan(parents, known, now, policy)
        self.report.parents_left = len(plan.live) + len(plan.history)
        try:
            yield from self._visit_all(plan.live, state, policy)
            # Parents that a list did not show may not be taken for read.
            whole = self.session.parents_whole
            if not settings.backfill and whole:
                state.set_swept(int(now // DAY))
            yield from self._visit_all(self._share(plan.history), state, policy)
            if not self.report.parents_left and whole:
                state.set_history((round(policy.floor * 1000), 0))
        finally:
            self._note_state(state, parents, now, policy)
        self._conclude(state, others=bool(plan.waiting))

    def _begin(self, state: StreamState) -> None:
        if state.begin_at(self._metrics_tap.settings.start):
            self.logger.warning(
                "%s: start_date has moved back: everything is read again", self.name
            )

    def _share(self, history: Iterable[Visit]) -> Iterator[Visit]:
        """Yield history while this stream's share of the run's time lasts.

        Otherwise a long history would starve the streams that come after.
        """
        run = self.run
        end = None
        if run.deadline is not None:
            left = max(1, self._metrics_tap.streams_left(self.provider))
            end = run.clock.now() + (run.deadline - run.clock.now()) / left
        budget = self._metrics_tap.history_share(self.provider)
        sent = self._metrics_tap.requests_sent(self.provider)
        for visit in history:
            if end is not None and run.clock.now() >= end:
                return
            spent = self._metrics_tap.requests_sent(self.provider) - sent
            if budget is not None and spent >= budget:
                return
            yield visit

    def _visit_all(
        self, visits: Iterable[Visit], state: StreamState, policy: Policy
    ) -> Iterator[Iterable[Mapping[str, object]]]:
        interval = self.interval()
        # With a limit on records, as in `--test`, nothing is read ahead.
        ahead = 1 if self.ABORT_AT_RECORD_COUNT else self.session.max_concurrency
        fan_out: FanOut[Visit, list[Row], Mark] = FanOut(
            partial(self.read, policy=policy),
            workers=ahead,
            capacity=ROWS_IN_FLIGHT,
            stop=self.run.stop,
        )
        failures = 0
        with fan_out, Progress(self.run, self.name, self.report.parents_left) as bar:
            for event in fan_out.read(visits, partial(self._look, bar)):
                if isinstance(event, Read):
                    yield self._records(interval, event)
                    bar.tick()
                    continue
                failures = self._finish(event, state, policy, failures)
                bar.done()
                yield ()

    def _look(self, bar: Progress) -> None:
        bar.tick()
        self.run.idle()

    def _records(
        self, interval: Interval, event: Read[Visit, list[Row]]
    ) -> Iterator[Mapping[str, object]]:
        path = {self.parent_field: event.task.parent.id}
        for row in event.page:
            value = self.key_value(row)
            if interval.holds(value):
                record = self.codec.record(row, **path)
                if record is not None:
                    self.note_key(value)
                    yield record

    def _finish(
        self,
        done: Done[Visit, Mark],
        state: StreamState,
        policy: Policy,
        failures: int,
    ) -> int:
        """Commit what a parent's end means; return the failures in a row."""
        parent = done.task.parent
        # Also where the catalog has the marks ignored: failures count on.
        old = state.marks.get(parent.id)
        self.report.parents_left -= 1
        self._count_requests()
        if done.error is None and done.result is not None:
            mark = done.result
            self.report.parents += 1
            state.readable = True
            self.report.unsettled += mark.unsettled
            now = self.session.now()
            closed = bookmarks.age(parent, mark, now) > policy.window
            state.set_mark(parent.id, None if closed and mark.settled else mark)
            failures = 0
        elif isinstance(done.error, Gone) and not parent.listed:
            self.logger.info("%s: message %d is gone", self.name, parent.id)
            state.set_mark(parent.id, None)
        elif isinstance(done.error, Skippable):
            self.logger.warning(
                "%s: message %d was left out: %s", self.name, parent.id, done.error
            )
            state.set_mark(parent.id, (old or Mark()).failed(self.session.now()))
            self.report.failed.append(parent.id)
            self._refused += isinstance(done.error, (Gone, Denied))
            # One that failed before says nothing about the others, if any was read.
            failures += 0 if old and old.failures and state.readable else 1
        elif done.error is not None:
            self.report.parents_left += 1
            raise done.error
        if done.task.history:
            state.set_history(bookmarks.history_key(parent))
        if failures >= FAILURES_IN_A_ROW:
            self._give_up(
                state,
                f"{failures} messages in a row could not be read; "
                f"the last: {done.error}",
            )
        return failures

    def _give_up(self, state: StreamState, reason: str) -> NoReturn:
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
        state: StreamState,
        parents: Sequence[bookmarks.Parent],
        now: float,
        policy: Policy,
    ) -> None:
        report = self.report
        report.quarantined = sorted(
            parent_id for parent_id, mark in state.marks.items() if mark.quarantined
        )
        if self._metrics_tap.settings.backfill:
            return
        through = bookmarks.checked_through(parents, state.marks, now, policy)
        state.set_checked_through(through)
        report.behind_since = through
        if self.replication_key:
            state.promote(self.replication_key, self._newest_key)

    def _conclude(self, state: StreamState, *, others: bool) -> None:
        """Say what did not succeed.

        Args:
            state: of the stream.
            others: there are open lists that were not due: they were readable.
        """
        report = self.report
        if report.failed and not report.parents and not others:
            self._give_up(state, f"none of {len(report.failed)} messages could be read")
        if report.quarantined:
            self.logger.warning(
                "%s: messages in quarantine (tried daily): %s",
                self.name,
                report.quarantined,
            )
        if report.parents_left:
            raise HistoryLeft(
                f"{report.parents_left} closed messages are left to read for the "
                "first time; the next run goes on there"
            )
