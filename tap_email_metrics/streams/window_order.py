"""The order in which one run reads the windows of a list, and their lengths.

Windows are read oldest first, and grow while they have few rows. Once one has failed,
the rest is read newest first, because an API may keep rows for a limited time. Windows
then grow slowly, because an API may refuse long ones. Only beside another window that
failed they grow fast, as an API may refuse everything there.

After the rest, a window that failed is read in halves, down to `narrowest`, if a window
beside it could be read: first the half on that side. If both halves can be read though
the whole could not, no window is longer than them from then on.

Windows that failed in earlier runs come last. A run tries each of them once or twice:
if it is short, as a whole, and then at one place, which is another one in each hour.
If that can be read, the rest of the window is read like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_email_metrics.state.windows import Window, inside, outside, without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SLOWLY = 2
"""After a failure, windows grow after so many of one length."""
_GOLDEN = 0.618034
"""Multiples of this number, less their whole part, are spread evenly."""
_HOUR = 3_600


class WindowOrder:
    """The windows of one list that are left to read in a run.

    Call `next`, and then `read` or `failed` with its result.

    Args:
        windows: all of them.
        known: windows that failed in earlier runs, in the order in which to try them.
        read: windows of the list that this run has read.
        width: length of the first window, in seconds.
        next_width: returns the length of the next window from the length of a window
            and the number of its rows.
        narrowest: seconds; a window that fails is not read in shorter parts.
        short: seconds; longer windows of `known` are not tried as a whole.
        now: the current time in UTC seconds.
        newest_first: whether to begin with the newest window.

    Attributes:
        width: length of the next window, in seconds.
    """

    def __init__(  # noqa: PLR0913 - the rules of a stream and the state of a list
        self,
        windows: Iterable[Window],
        known: Iterable[Window],
        *,
        read: Iterable[Window],
        width: int,
        next_width: Callable[[int, int], int],
        narrowest: int,
        short: int,
        now: float,
        newest_first: bool,
    ) -> None:
        windows = tuple(windows)
        known = inside(known, windows)
        self.width = width
        self._next_width = next_width
        self._narrowest = narrowest
        self._now = now
        self._newest_first = newest_first
        self._left = [*without(windows, *known)]
        self._halves: list[Window] = []
        self._failed: list[Window] = []
        self._known = [(w, w if w.seconds <= short else self._place(w)) for w in known]
        self._again: Window | None = None
        self._lost: Window | None = None
        self._read = [*read]
        self._half: Window | None = None
        self._longest: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether no window is left."""
        return not (self._left or self._halves or self._known or self._readable())

    def next(self) -> Window:
        """Return the window to read next. Call it only if `is_over` is false."""
        self._again = None
        if not (self._halves or self._left) and (found := self._readable()):
            self._failed.remove(found[-1])
            self._divide(found[-1])
        if self._halves:
            return self._halves[-1]
        if not self._left:
            self._again, part = self._known.pop(0)
            return part
        length = self._in_whole_parts(self.width)
        if self._newest_first:
            return self._left[-1].last(length)
        return self._left[0].first(length)

    def read(self, window: Window, rows: int) -> None:
        """Note that a window was read, with this number of rows."""
        is_half = window in self._halves
        self._drop(window)
        self._read.append(window)
        if self._again:
            self._left = [*outside([self._again], window)]
        length = max(self.width, window.seconds)
        self.width = self._next_width(length, rows)
        if self._newest_first:
            most = length if len(self._read) % _SLOWLY else 2 * length
            self.width = min(self.width, most)
        self._note_half(window if is_half else None)
        self.width = min(self.width, self._longest or self.width)

    def failed(self, window: Window, unread: Iterable[Window]) -> tuple[Window, ...]:
        """Note that a window failed.

        Args:
            window: the window.
            unread: the parts of it that were not read.

        Returns:
            The parts that wait until all others were tried.
        """
        unread = tuple(unread)
        is_half = window in self._halves
        self._drop(window)
        self._half = None
        if self._again:
            if window == self._again:
                long = [part for part in unread if part.seconds > self._narrowest]
                self._known[:0] = [(part, self._place(part)) for part in long]
            return unread
        self._newest_first = True
        waiting: list[Window] = []
        for part in unread:
            is_beside = self._lost is not None and _adjoins(part, self._lost)
            if is_half and not is_beside and part.seconds > self._narrowest:
                self._halve(part)
                continue
            if is_beside:
                self.width = max(self.width, 2 * part.seconds)
            self._lost = part
            waiting.append(part)
        self._failed += waiting
        return tuple(waiting)

    def _readable(self) -> list[Window]:
        """Return the failed windows whose halves may be readable, in order of time."""
        return sorted(
            one
            for one in self._failed
            if one.seconds > self._narrowest
            and (not self._read or any(_adjoins(one, read) for read in self._read))
        )

    def _drop(self, window: Window) -> None:
        self._left = [*outside(self._left, window)]
        self._halves = [*outside(self._halves, window)]

    def _note_half(self, half: Window | None) -> None:
        """Note that a half was read. If both were, longer windows may be refused."""
        before, self._half = self._half, half
        if half and before and _adjoins(half, before):
            longer, shorter = sorted((half.seconds, before.seconds), reverse=True)
            if longer - shorter <= self._narrowest and longer > self._narrowest:
                self._longest = longer
                self._left = sorted([*self._left, *self._halves])
                self._halves = []

    def _divide(self, window: Window) -> None:
        """Let the parts of a window that failed be next."""
        if self._longest and window.seconds > self._longest:
            self._left.append(window)
            self.width = self._longest
        else:
            self._halve(window)

    def _halve(self, window: Window) -> None:
        """Let the halves of a window be next; the older one is of narrowest parts."""
        half = max(self._narrowest, self._in_whole_parts(window.seconds // 2))
        older = window.first(half)
        newer = window._replace(start=older.end)
        is_after = any(read.end == window.start for read in self._read)
        is_before = any(read.start == window.end for read in self._read)
        is_upward = is_after and not is_before
        self._halves += [newer, older] if is_upward else [older, newer]

    def _in_whole_parts(self, seconds: int) -> int:
        return seconds // self._narrowest * self._narrowest or seconds

    def _place(self, window: Window) -> Window:
        """Return a narrowest part of a window, in each hour another one."""
        parts = -(-window.seconds // self._narrowest)
        place = int(parts * (self._now // _HOUR * _GOLDEN % 1))
        start = window.start + place * self._narrowest
        return Window(start, window.end).first(self._narrowest)


def _adjoins(window: Window, other: Window) -> bool:
    """Return whether one window begins where the other ends."""
    return window.end == other.start or other.end == window.start
