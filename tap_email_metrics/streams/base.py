"""The base of all streams that read from a provider.

There are three kinds: `ListStream` reads a whole list in each run, `FanOutStream` reads
one list per parent, and `WindowStream` reads lists by windows of time.

All are top-level streams of the SDK: its own parents and children write a SCHEMA,
a state partition and a whole STATE for each parent. `_sync_records` and
`_write_state_message` are private in the SDK and overridden only here, which is
why its minor version is pinned.
"""

from __future__ import annotations

import abc
import re
import traceback
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from msgspec.structs import asdict
from singer_sdk import metrics
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import CustomStreamMap, SameRecordTransform
from typing_extensions import override

from tap_email_metrics.clock import EARLIEST
from tap_email_metrics.errors import (
    AuthenticationFailed,
    Exhausted,
    Fatal,
    HistoryLeft,
    InvalidInput,
    Skippable,
    TapError,
    Terminated,
    Unavailable,
)
from tap_email_metrics.records.builder import PageMaker, RecordBuilder
from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.pages import IDENTITY_UNREADABLE, Record
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.values import to_instant
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.streams.quiet import QuietStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from singer_sdk import Tap
    from singer_sdk.singerlib import MetadataMapping

    from tap_email_metrics.records.builder import Envelope
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.run.api import Api
    from tap_email_metrics.run.report import Outcome, StreamReport
    from tap_email_metrics.run.run import Run
    from tap_email_metrics.state.marks import MarkFormat
    from tap_email_metrics.state.streams import Keys, StreamState

Emitted = TypeVar("Emitted")

_AT_ONCE = 1000
"""Records that are encoded together."""
_FIELD = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_TOP_LEVEL = len(("properties", "column"))


@dataclass(frozen=True, slots=True)
class Interval:
    """The interval of the replication key to emit, in epoch milliseconds.

    Attributes:
        start: the first instant; None for no limit.
        end: the instant after the last; None for no limit.
    """

    start: int | None
    end: int | None

    def holds(self, value: int | None) -> bool:
        """Return whether a time is in the interval; an unset or unreadable one is."""
        if value is None or value < EARLIEST * 1000:
            return True
        return (self.start is None or value >= self.start) and (
            self.end is None or value < self.end
        )


class Budget:
    """A stream's equal share of the requests and the time that are left of the run.

    It limits work without a natural end, such as a long history or a report per
    contact, which would otherwise leave nothing to the streams after it.
    """

    def __init__(self, run: Run, provider: str) -> None:
        self._run = run
        self._provider = provider
        self._requests = run.history_share(provider)
        self._sent = run.requests_sent(provider)
        now, deadline = run.clock.now(), run.control.deadline
        self._end: float | None = None
        if deadline is not None:
            left = max(1, run.streams_left(provider))
            self._end = now + (deadline - now) / left

    @property
    def is_spent(self) -> bool:
        """Whether the stream has used its share."""
        if self._end is not None and self._run.clock.now() >= self._end:
            return True
        sent = self._run.requests_sent(self._provider) - self._sent
        return self._requests is not None and sent >= self._requests


class EmailMetricsStream(QuietStream):
    """Base of the streams: writes the batches of records and maps errors to outcomes.

    Attributes:
        run: the run that this stream is part of.
        provider: name of the provider.
        marks: format of its marks; None for a stream that keeps no marks.
        state_keys: its own keys in the state, each with the function that converts it.
        envelope: the object around the rows of a page, if pages are decoded straight
            into records.
        reader_fields: vendor fields that the reader needs next to the record.
        dated_by: the replication key, even if the catalog names none.
    """

    # The builder conforms records already; the SDK's own way fails for lists of objects
    # whose fields are not listed.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE
    provider: ClassVar[str]
    marks: ClassVar[MarkFormat[Any, Any] | None] = None
    state_keys: ClassVar[Keys] = {}
    envelope: ClassVar[Envelope | None] = None
    reader_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tap: Tap, run: Run) -> None:
        self._packaged = load_schema(self.name)
        super().__init__(tap, schema=run.privacy.apply_to_schema(self._packaged))
        self.run = run
        # Before a catalog is applied: one that names no key leaves rows their dates.
        self.dated_by: str | None = self.replication_key
        key = self.dated_by
        kinds = self._packaged["properties"][key]["type"] if key else ()
        self._key_is_number = "integer" in kinds
        self._newest_key: int | None = None
        self._requests_before = 0
        self._refused = 0
        self._set_aside = Counter[object]()

    @property
    def api(self) -> Api[Any]:
        """The provider's API, shared by its streams."""
        return self.run.api(self.provider)

    @property
    def report(self) -> StreamReport:
        """This stream's report in this run."""
        return self.run.report(self.name)

    @property
    def bookmark(self) -> StreamState[Any, Any]:
        """This stream's part of the state."""
        return self.run.stream_state(self.name)

    @property
    def headroom_days(self) -> float | None:
        """Days until the vendor archives what the state says is unread; None: never."""
        return None

    def reconcile(self, count: Count, stream: str = "", of: object = None) -> None:
        """Reconcile a list that was read to its end. Its rows must have been written.

        Args:
            count: the counts of the list.
            stream: the stream of the list; this stream if empty.
            of: the list, as in `records_of`; its set-aside rows are added.
        """
        set_aside = count.set_aside + self._set_aside.pop(of, 0)
        now = self.api.now()
        self.run.reconcile(
            self.provider, stream or self.name, replace(count, set_aside=set_aside), now
        )

    def set_aside(self, reason: str, rows: int, of: object = None) -> None:
        """Count rows that the API served and that have no record or a doubtful id.

        Args:
            reason: why; the run summary shows it.
            rows: how many, 0 for none.
            of: the list, as `records_of` is told.
        """
        if rows:
            self.report.set_aside[reason] += rows
            self._set_aside[of] += rows

    def _reconcile_rest(self) -> None:
        """Tell of the rows without a record that no count of a list includes."""
        rest = self._set_aside.total()
        if rest:
            self._set_aside.clear()
            lost = self.report.set_aside.total()
            lost -= self.report.set_aside[IDENTITY_UNREADABLE]
            read = self.report.records + lost
            count = Count(parent="all", rows=read, set_aside=rest)
            now = self.run.now(self.provider)
            self.run.reconcile(self.provider, self.name, count, now)

    def budget(self) -> Budget:
        """Return this stream's share of the rest of the run."""
        return Budget(self.run, self.provider)

    @abc.abstractmethod
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield batches of records.

        A batch has been written when the next one is requested. Only then commit to
        the state what covers it.

        Raises:
            TapError: its class decides the outcome of the stream.
        """

    @property
    @override
    def is_timestamp_replication_key(self) -> bool:
        """Whether the replication key is a date, even if the catalog does not say."""
        return bool(self.replication_key) and not self._key_is_number

    @override
    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:
        """Yield the records of all batches."""
        for batch in self.batches():
            yield from map(_as_dict, batch)

    @override
    def _write_state_message(self) -> None:
        self.run.write_state_of_records()

    @override
    def _sync_records(
        self, context: Any = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        report = self.report
        report.started = self.run.clock.now()
        self._requests_before = self.run.requests_sent(self.provider)
        with (
            self.get_record_counter() as counter,
            metrics.http_request_counter(self.name, endpoint="") as requests,
            self.get_sync_timer(),
        ):
            try:
                if write_messages and self.fast:
                    for _ in self._ending_well(self._write_batches(counter)):
                        pass
                else:
                    yield from self._one_by_one(counter, write_messages=write_messages)
            except TapError as error:
                self.run.fail(self.name, error)
            except Exception as error:  # noqa: BLE001 - the other streams go on
                self.run.fail(self.name, Fatal(unforeseen(error)))
            self._count_requests()
            requests.increment(report.requests)
        self._warn_of_set_aside()
        self._reconcile_rest()
        self._note_end()
        report.ended = self.run.clock.now()
        if self.ABORT_AT_RECORD_COUNT is None:
            self.run.log_end(self.name)
        if write_messages:
            self.run.write_state_of_records()

    def _one_by_one(
        self, counter: metrics.Counter, *, write_messages: bool
    ) -> Iterator[dict[str, Any]]:
        """Write each record as the SDK does, and yield it."""
        report = self.report
        with closing(self._ending_well(self._records_of_batches())) as records:
            for record in records:
                if report.records == self.ABORT_AT_RECORD_COUNT:
                    break  # `--test` reads no more records
                if write_messages:
                    self._write_record_message(record)
                report.records += 1
                counter.increment()
                yield record

    def _records_of_batches(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            yield from map(_as_dict, batch)
            self.run.write_state_in_time()

    def _write_batches(self, counter: metrics.Counter) -> Iterator[None]:
        """Write records page by page; yield after each batch."""
        for batch in self.batches():
            rest = iter(batch)
            while self._write_some(rest, counter):
                pass
            self.run.write_state_in_time()
            yield

    def _write_some(
        self,
        rest: Iterator[Mapping[str, object] | Record],
        counter: metrics.Counter,
    ) -> int:
        """Write up to a page of records; return their number."""
        records = list(islice(rest, _AT_ONCE))
        if records:
            now = self.run.clock.now()
            self.run.output.write_records(self.name, records, now)
            self.state_manager.is_flushed = False
            self.report.records += len(records)
            counter.increment(len(records))
        return len(records)

    @cached_property
    def fast(self) -> bool:
        """Whether records are written a page at a time, without the SDK's own steps."""
        reason = self._why_not_fast()
        if reason:
            self.logger.debug(
                "%s: records are written one by one: %s", self.name, reason
            )
        else:
            self.logger.debug("%s: records are written a page at a time", self.name)
        return not reason

    def _why_not_fast(self) -> str:
        """Return the feature that needs the SDK's own steps, empty if none does."""
        maps = self.stream_maps
        plain = [type(one) is SameRecordTransform for one in maps] == [True]
        if not plain or maps[0].stream_alias != self.name:
            return "stream maps"
        if maps[0].flattening_enabled:
            return "flattening"
        if self.ABORT_AT_RECORD_COUNT is not None:
            return "a limit on records"
        if any(not self.mask[("properties", name)] for name in self.primary_keys):
            return "a part of the key is not selected"
        if any(len(path) > _TOP_LEVEL and not here for path, here in self.mask.items()):
            return "a part of a column is not selected"
        return ""

    def _count_requests(self) -> None:
        sent = self.run.requests_sent(self.provider)
        self.report.requests = sent - self._requests_before

    def _ending_well(
        self, emitted: Iterator[Emitted]
    ) -> Generator[Emitted, None, None]:
        """Yield the items; turn the error that ends the stream into its outcome."""
        report = self.report
        try:
            self.run.stop.check()
            yield from emitted
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
                report.outcome = self._good_end()

    def note_through(self, through: float) -> None:
        """Report the UTC seconds up to which every list of the stream was read."""
        self.report.behind_since = through

    def _good_end(self) -> Outcome:
        """Return the outcome of a stream that no error has ended."""
        report = self.report
        lacking = self.api.lacking
        if lacking:
            report.message = "; ".join(filter(None, (report.message, lacking)))
        if lacking or report.set_aside.total() or report.failed or report.unsettled:
            return "incomplete"
        return "complete" if report.records else "empty"

    @property
    @override
    def metadata(self) -> MetadataMapping:
        """The selection; without a catalog the time of extraction is left out.

        Most targets add one of their own. Meltano selects it by the rule `*.*`.
        """
        found = super().metadata
        if self._tap_input_catalog is None:
            found["properties", EXTRACTED_AT].selected_by_default = False
        return found

    @cached_property
    def builder(self) -> RecordBuilder:
        """Builds the records of the selected columns."""
        selected = [
            field
            for field in self._packaged["properties"]
            if self.mask[("properties", field)]
        ]
        return RecordBuilder(
            self._packaged,
            key=self.primary_keys,
            selected=selected,
            account=self.api.account,
            privacy=self.run.privacy,
            replication_key=self.dated_by,
            reader_fields=self.reader_fields,
            envelope=self.envelope,
        )

    def maker(self, at: int | None = None, **request: object) -> PageMaker:
        """Return the maker of the pages of a list.

        Args:
            at: epoch ms of all rows, if the rows do not have it.
            request: values of the columns that come from the request, by name.
        """
        request[EXTRACTED_AT] = to_instant(int(self.run.clock.now() * 1000))
        return PageMaker(self.builder, request, at)

    def within(self, page: Page, interval: Interval) -> Page:
        """Return the rows in an interval of the replication key."""
        if not self.dated_by or interval == Interval(None, None):
            return page
        return page.where([interval.holds(at) for at in page.times])

    def records_of(self, page: Page, of: object = None) -> Sequence[Any]:
        """Return the records of a page, and note their newest replication key.

        All rows to emit must pass through this method, because it counts the rows
        without a record.

        Args:
            page: the rows to emit.
            of: the list of the rows, if the stream has several.
        """
        made = page.made()
        for reason, rows in made.set_aside.items():
            self.set_aside(reason, rows, of)
        self.set_aside(IDENTITY_UNREADABLE, made.unreadable, of)
        self.note_key(max([at for at in made.times if at is not None], default=None))
        return made.records

    def _ignores_marks(self) -> bool:
        """Return whether the catalog asks for a full read.

        A stream without a replication key is FULL_TABLE by itself.
        """
        keyed = isinstance(type(self).replication_key, str)
        return keyed and self.replication_method == "FULL_TABLE"

    def begin(self) -> None:
        """Drop what earlier runs have read if `start_date` has moved back.

        A backfill leaves the bookmark as it is.
        """
        settings = self.run.settings
        if not settings.backfill and self.bookmark.begin_at(settings.start):
            self.logger.warning(
                "%s: start_date has moved back: everything is read again", self.name
            )

    def interval(self) -> Interval:
        """Return the interval of the replication key that the settings ask for."""
        settings = self.run.settings
        end = settings.end if settings.backfill else None
        return Interval(
            None if settings.start is None else int(settings.start * 1000),
            None if end is None else int(end * 1000),
        )

    def promote(self, state: StreamState[Any, Any]) -> None:
        """Move the bookmark up to the newest replication key emitted."""
        if not self.replication_key:
            return
        newest = self._newest_key
        if newest is None or self._key_is_number:
            state.promote(self.replication_key, newest)
        else:
            state.promote(self.replication_key, to_instant(newest))

    def note_key(self, value: int | None) -> None:
        """Remember the newest replication key emitted, never later than now."""
        if value is not None:
            capped = min(value, int(self.run.started * 1000))
            self._newest_key = max(capped, self._newest_key or capped)

    def _warn_of_fields(self) -> None:
        """Warn once per field whose values did not fit its column."""
        for field in _nameable(self.builder.uncoercible):
            self.logger.warning(
                "%s: values of %s do not fit their type; they are kept in "
                "additional_fields",
                self.name,
                field,
            )
        for field in _nameable(self.builder.unknown):
            self.logger.info(
                "%s: the API sends a field %s that is not in the schema; it is kept "
                "in additional_fields",
                self.name,
                field,
            )

    def _warn_of_set_aside(self) -> None:
        """Warn once per reason about rows without a record, or with a doubtful id."""
        for reason, rows in sorted(self.report.set_aside.items()):
            doubtful = reason == IDENTITY_UNREADABLE
            what = "with a doubtful event id" if doubtful else "without a record"
            self.logger.warning("%s: rows %s: %d: %s", self.name, what, rows, reason)

    def _note_end(self) -> None:
        """Note in the state that all that was due was read; else report the lag."""
        report = self.report
        if self.run.settings.backfill:
            return
        came_to_end = report.outcome in {"complete", "incomplete", "empty"}
        # A stream that pauses in its history was up to date before.
        if came_to_end or (report.outcome == "paused" and not report.cut):
            self.bookmark.set_read_all_due(report.started)
        through = self.bookmark.checked_through
        if through and not came_to_end and report.behind_since is None:
            self.note_through(through)


def _nameable(fields: Iterable[str]) -> list[str]:
    """Return field names for a log, with a placeholder for those that may be data."""
    return sorted({f if _FIELD.fullmatch(f) else "(no usual name)" for f in fields})


def unforeseen(error: Exception) -> str:
    """Return a message for an unexpected error, without its text.

    The text may quote a value.
    """
    kind, place = type(error).__name__, ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code is CustomStreamMap._eval.__code__:  # noqa: SLF001
            column = frame.f_locals.get("property_name") or "__filter__"
            return f"its stream map fails for {column} ({kind}): mend stream_maps"
        module = frame.f_globals.get("__name__", "?")
        if module.startswith("tap_email_metrics"):
            place = f" in {module}, line {line}"
    return f"an error that the tap does not know ({kind}{place}): please report it"


def _as_dict(record: Mapping[str, object] | Record) -> dict[str, Any]:
    return asdict(record) if isinstance(record, Record) else dict(record)
