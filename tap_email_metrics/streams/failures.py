"""Windows that failed in a run, and when to leave their list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_email_metrics.errors import Broken, Denied, Gone, Lost, LostRow

if TYPE_CHECKING:
    from tap_email_metrics.errors import Skippable, Unavailable
    from tap_email_metrics.state.windows import Window

    Failure = Skippable | Unavailable

MOST_UNREAD = 3
"""After so many failed windows, a list of which nothing was read fails."""
MOST_IN_A_ROW = 16
"""After so many failed windows in a row, the rest is left to the next run."""
MOST_FAILURES = 64
"""After so many failed windows, the rest of a list is left to the next run."""
_OF_TRIES = 4
"""A window that failed in every try counts as so many: the tries take minutes."""


@dataclass
class Failures:
    """The failed reads of a stream's lists in one run.

    Attributes:
        errors: the last error of each list.
        lost: the errors that fail the stream at its end, by list.
        read: lists of which a window was read whole.
        left_out: number of failed reads that only a later run repeats, by list.
        most_unread: after so many failed windows, a list fails if nothing of it was
            read.
        unread: what the failed windows of the last round have left, by list.
    """

    errors: dict[str, Failure] = field(default_factory=dict)
    lost: dict[str, Lost | LostRow] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    unread: dict[str, tuple[Window, ...]] = field(default_factory=dict)
    most_unread: int = MOST_UNREAD
    _count: Counter[str] = field(default_factory=Counter)
    _in_a_row: Counter[str] = field(default_factory=Counter)
    _broken: set[str] = field(default_factory=set)

    def add(self, key: str, error: Failure, *, is_new: bool) -> None:
        """Count a failed read of a list.

        Args:
            key: the list.
            error: why it failed.
            is_new: whether something failed that did not fail in the run before.
        """
        self.errors[key] = error
        self._count[key] += _OF_TRIES if isinstance(error, Broken) else 1
        self._in_a_row[key] += 1
        if isinstance(error, Lost | LostRow):
            self.lost[key] = error
        if is_new:
            self._broken.add(key)

    def note_read(self, key: str) -> None:
        """Note that a window of a list was read whole."""
        self.read.add(key)
        self._in_a_row[key] = 0

    def ends(self, key: str) -> bool:
        """Return whether the rest of a list is left to the next run."""
        most = MOST_IN_A_ROW if key in self.read else self.most_unread
        is_over = self._in_a_row[key] >= most or self._count[key] >= MOST_FAILURES
        return is_over or isinstance(self.lost.get(key), Lost)

    def is_whole_list(self, key: str) -> bool:
        """Return whether a list failed: nothing of it was read."""
        return key in self._broken - self.read


def of_window(error: Failure) -> str:
    """Return the message of an error for a window of a list that is readable.

    A refusal advises on access or the path, but both are right.
    """
    refusal = error.__cause__
    if isinstance(refusal, Denied | Gone):
        return f"{refusal}; other times are served, so rows may be kept a limited time"
    return str(error)
