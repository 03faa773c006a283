"""List streams: small lists that are read whole in each run."""

from __future__ import annotations

import abc
import base64
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.streams.base import EmailMetricsStream
from tap_email_metrics.streams.digests import bucket_digests, bucket_of, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.pages import Record
    from tap_email_metrics.records.values import Row


class ListStream(EmailMetricsStream):
    """A list that is read whole in each run; rows that changed are emitted.

    The rows have no update time, so the state keeps a digest for each of 256 buckets of
    ids. If the digest of a bucket changes, all rows of that bucket are emitted. This
    takes 2 KB of state for any number of rows, and emits a few rows without changes.

    Attributes:
        id_field: the vendor's name of the field that identifies a row.
    """

    id_field: ClassVar[str] = "id"

    @abc.abstractmethod
    def rows(self) -> Sequence[Row]:
        """Return all rows of the list."""

    def count(self, rows: int) -> Count:
        """Return the count to reconcile, given the number of rows that were read."""
        return Count(parent="all", rows=rows)

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records that are new or changed."""
        interval = self.interval()
        every = self.rows()
        times = self.builder.times(every)
        rows = [row for row, at in zip(every, times, strict=True) if interval.holds(at)]
        backfill = self.run.settings.backfill
        buckets = [bucket_of(row.get(self.id_field)) for row in rows]
        digests = bucket_digests(rows, buckets)
        known = self._known_digests()
        # A row without a usable id was never emitted: it is counted in each run.
        keyless = self.builder.keyless(rows)
        changed = [
            row
            for row, bucket, unusable in zip(rows, buckets, keyless, strict=True)
            if backfill or unusable or not same(known, digests, bucket)
        ]
        yield self.records_of(self.maker().page(changed))
        self.reconcile(self.count(len(every)))
        if not backfill:
            self.promote(self.bookmark)
            self.report.unsettled += not self.api.parents_whole
            # Rows that no request can read may be so for ever: they are counted, and
            # hold back no other row.
            if self.api.parents_whole or self.api.unreadable:
                packed = base64.b64encode(b"".join(digests)).decode()
                self.bookmark.set_digests(packed)
                self.bookmark.set_checked_through(self.api.now())
            else:
                self.report.behind_since = self.bookmark.checked_through

    def _known_digests(self) -> bytes:
        if self._ignores_marks():
            return b""
        return base64.b64decode(self.bookmark.digests)
