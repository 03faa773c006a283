"""Windows that failed in a run: how to read them again, when to leave a list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_email_metrics.errors import Lost, LostRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.errors import Skippable
    from tap_email_metrics.state.windows import Window

MOST_FAILURES = 3
"""After so many failed windows, a list of which nothing was read fails."""
MOST_FAILURES_OF_READ = 16
"""After so many failed windows, the rest of a list is left to the next run."""
MOST_FAILED = 32
"""A list with so many failed windows is not read in narrower ones."""


@dataclass
class Failures:
    """The failed reads of a stream's lists in one run.

    Attributes:
        narrowest: seconds; a window that fails is not read in shorter parts than this.
        errors: the last error of each list.
        lost: the errors that fail the stream at its end, by list.
        read: lists of which a window was read whole.
        left_out: number of failed reads that only a later run repeats, by list.
        halves: halves of the windows that failed in the last round, by list.
    """

    narrowest: int
    errors: dict[str, Skippable] = field(default_factory=dict)
    lost: dict[str, Lost | LostRow] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    halves: dict[str, list[Window]] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)
    _broken: set[str] = field(default_factory=set)

    def add(self, key: str, error: Skippable, *, is_new: bool) -> None:
        """Count a failed read of a list.

        Args:
            key: the list.
            error: why it failed.
            is_new: whether something failed that did not fail in the run before.
        """
        self.errors[key] = error
        self._count[key] += 1
        if isinstance(error, Lost | LostRow):
            self.lost[key] = error
        if is_new:
            self._broken.add(key)

    def ends(self, key: str) -> bool:
        """Return whether the rest of a list is left to the next run."""
        most = MOST_FAILURES_OF_READ if key in self.read else MOST_FAILURES
        return self._count[key] >= most or isinstance(self.lost.get(key), Lost)

    def is_whole_list(self, key: str) -> bool:
        """Return whether a list failed: nothing of it was read."""
        return key in self._broken - self.read

    def length(self, width: int) -> int:
        """Return the length of the next part, if possible a multiple of `narrowest`."""
        return width // self.narrowest * self.narrowest or width

    def split(self, key: str, windows: Iterable[Window], known: int) -> list[Window]:
        """Return the parts in which to read failed windows; keep the halves.

        Args:
            key: the list.
            windows: the unread parts of the window that failed.
            known: number of failed windows of the list.
        """
        rest, halves = [], []
        for left in windows:
            if left.seconds > self.narrowest and known < MOST_FAILED:
                half = left.first(max(self.narrowest, self.length(left.seconds // 2)))
                halves += [half, left._replace(start=half.end)]
            else:
                rest.append(left)
        self.halves[key] = halves
        return [*halves, *rest]
