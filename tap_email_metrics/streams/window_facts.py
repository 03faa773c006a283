"""What a provider says of a stream that is read by windows of time."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from tap_email_metrics.streams.base import EmailMetricsStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.state.windows import Coverage
    from tap_email_metrics.streams.window_reader import WindowList

SETTLE = 300
"""Seconds until the API shows a new row: windows end that long before now."""
SMALL = 10_000
"""Below this number of rows, the next window of the history is twice as long."""
EMPTY_FACTOR = 8
"""After a window without rows, the next one of the history is that much longer."""
LARGE = 50_000
"""Above this number of rows, the next window is half as long."""


class WindowFacts(EmailMetricsStream):
    """A stream of lists that are read by windows of time, without the reading.

    Attributes:
        full_days: UTC days after which the lists are read in full, without dates;
            0 for never. Lists without a replication key are always read in full.
        changes_only: rows of the look-back are emitted only if they changed.
        any_length: one request can ask for any length of time.
        narrowest: seconds; a window that fails is not read in shorter parts than this.
    """

    full_days: ClassVar[int] = 0
    changes_only: ClassVar[bool] = False
    any_length: ClassVar[bool] = True
    narrowest: ClassVar[int] = 3_600

    @abc.abstractmethod
    def lists(self) -> Sequence[WindowList]:
        """Return the lists of the stream."""

    @property
    @abc.abstractmethod
    def first_start(self) -> int:
        """Start of a list that was never read, in UTC seconds."""

    @property
    @abc.abstractmethod
    def first_width(self) -> int:
        """Length of the first window of the history, in seconds."""

    @property
    @abc.abstractmethod
    def lookback(self) -> int:
        """Seconds of each list that every run reads again."""

    @property
    @abc.abstractmethod
    def lateness(self) -> int:
        """Seconds by which a row may appear after its own date."""

    @property
    @abc.abstractmethod
    def wide_lookback(self) -> int:
        """The look-back for lists that filter by another date than the row's own."""

    @property
    def backfill_lead(self) -> int:
        """Seconds that a backfill reads before its start.

        A list may filter by the date of the send, so that an event of the interval is
        found before it.
        """
        return self.wide_lookback

    def rests(self, source: WindowList, coverage: Coverage) -> bool:  # noqa: ARG002 - some do
        """Return whether a list is left out of this run, because it is quiet."""
        return False

    def horizon(self) -> int:
        """Return the end of the data to read: later rows may not be visible yet.

        It is by the clock that is behind, this machine's or the API's.
        """
        return min(int(self.run.control.clock.now()), int(self.api.now())) - SETTLE

    def _latest(self) -> int:
        """Return the latest time up to which a list can have been read.

        It is by the clock that is ahead, this machine's or the API's: if one of them is
        wrong for a run, that takes back nothing that was read.
        """
        return max(int(self.run.control.clock.now()), int(self.api.now())) - SETTLE

    def next_width(self, seconds: int, rows: int) -> int:
        """Return the length of the next window of the history, in seconds.

        Args:
            seconds: length of the last window.
            rows: number of rows in it.
        """
        if rows == 0:
            return seconds * EMPTY_FACTOR
        if rows < SMALL:
            return seconds * 2
        return seconds // 2 if rows > LARGE else seconds
