"""Windows of time, and the part of a list that was read in windows.

Pure functions and values. All times are whole UTC seconds since the epoch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_email_metrics.clock import DAY, from_iso, iso

if TYPE_CHECKING:
    from collections.abc import Iterable


DAYS_PER_WEEK = 7
QUIET = 7 * DAY
"""A list without a row for this many seconds is quiet."""
_MOST_DOUBLINGS = 5
MOST_FAILED = 32
"""Failed windows that are kept apart. The closest ones are joined beyond that."""


class Window(NamedTuple):
    """The times from `start` up to `end`, without `end` itself."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return self.end - self.start

    def halves(self) -> tuple[Window, Window]:
        """Return the two halves of the window.

        Raises:
            ValueError: the window is only one second long.
        """
        middle = self.start + self.seconds // 2
        if not self.start < middle < self.end:
            raise ValueError("one second has no halves")
        return Window(self.start, middle), Window(middle, self.end)

    def first(self, seconds: float) -> Window:
        """Return the first part of the window, at most that many seconds long."""
        return self.until(self.start + max(1, int(seconds)))

    def last(self, seconds: float) -> Window:
        """Return the last part of the window, at most that many seconds long."""
        return Window(max(self.start, self.end - max(1, int(seconds))), self.end)

    def until(self, end: int) -> Window:
        """Return the part of the window before a time; it may be empty."""
        return Window(self.start, min(self.end, end))


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Return windows in order; join those that touch and drop empty ones."""
    kept: list[Window] = []
    for window in sorted(w for w in windows if w.seconds > 0):
        if kept and window.start <= kept[-1].end:
            kept[-1] = Window(kept[-1].start, max(kept[-1].end, window.end))
        else:
            kept.append(window)
    return tuple(kept)


def without(windows: Iterable[Window], *gone: Window) -> tuple[Window, ...]:
    """Return the parts of windows that lie outside other windows."""
    left = merged(windows)
    for other in gone:
        left = merged(outside(left, other))
    return left


def outside(windows: Iterable[Window], gone: Window) -> tuple[Window, ...]:
    """Return the parts of windows outside another window, in the order of windows."""
    parts = (
        part
        for one in windows
        for part in (
            Window(one.start, min(one.end, gone.start)),
            Window(max(one.start, gone.end), one.end),
        )
    )
    return tuple(part for part in parts if part.seconds > 0)


def inside(windows: Iterable[Window], others: Iterable[Window]) -> tuple[Window, ...]:
    """Return the parts of windows inside other windows, in the order of windows."""
    others = tuple(others)
    parts = (
        Window(max(one.start, other.start), min(one.end, other.end))
        for one in windows
        for other in others
    )
    return tuple(part for part in parts if part.seconds > 0)


def touch(windows: Iterable[Window], other: Window) -> bool:
    """Return whether any of the windows overlaps another window."""
    return any(w.start < other.end and other.start < w.end for w in windows)


def joined(windows: Iterable[Window], new: Window) -> tuple[Window, ...]:
    """Return windows and, as the last one, a new one with those that it touches."""
    windows = tuple(windows)
    apart = [w for w in windows if w.end < new.start or new.end < w.start]
    near = [w for w in windows if w not in apart]
    return (*apart, *merged([*near, new]))


def no_more_than(windows: Iterable[Window], most: int) -> tuple[Window, ...]:
    """Return windows; if there are too many, those close together become one."""
    windows = tuple(windows)
    while len(windows) > most:
        pairs = itertools.pairwise(sorted(windows))
        first, second = min(pairs, key=lambda pair: pair[1].start - pair[0].end)
        windows = joined(windows, Window(first.start, second.end))
    return windows


@dataclass(frozen=True, slots=True)
class Coverage:
    """The part of one list that was read.

    Attributes:
        start: the tap asks for no row before this time.
        through: everything up to this time was read, except for `todo`.
        todo: windows that are not read yet, or that were incomplete when they were.
        failed: windows whose last read failed or was incomplete, in the order in which
            to read them; neighbours are joined. What is left of them in `todo` is read
            after the rest of it, so that it holds back no other window.
        seen: when the live window was last read completely, None before the first
            time.
        verified: when all rows were last emitted, or the list was last read without
            dates.
        wide: the API has sent rows whose own date lies outside the requested window.
        newest: no row is known whose own date is this or later; None before the first
            row.
        width: length of the next window of the history in seconds; None: as it begins.
        shortfall: rows that the API counts in a window and does not serve.
        short: windows that were settled though some of their rows have no record, or
            are counted and not served.
        short_read: when those were last read.
        cut: start of the live window whose last read failed, or was cut by the end of a
            run; it is read in parts from there on. None: it was read.
        short_reads: how often they were read since one of them was new.
    """

    start: int
    through: int
    todo: tuple[Window, ...] = ()
    seen: int | None = None
    verified: int | None = None
    wide: bool = False
    newest: int | None = None
    width: int | None = None
    shortfall: int = 0
    short: tuple[Window, ...] = ()
    short_read: int | None = None
    short_reads: int = 0
    cut: int | None = None
    failed: tuple[Window, ...] = ()

    @classmethod
    def first(cls, start: int, end: int) -> Coverage:
        """Return the coverage of a list that was never read."""
        start = min(start, end)
        return cls(start, end, merged([Window(start, end)]))

    def until(self, end: int) -> Coverage:
        """Return the coverage up to a time; anything later is from a wrong clock."""
        todo = merged(window.until(end) for window in self.todo)
        newest = None if self.newest is None else min(self.newest, end + DAY)
        return replace(self, through=min(self.through, end), todo=todo, newest=newest)

    def extended(self, end: int) -> Coverage:
        """Return the coverage with everything up to a time added to `todo`."""
        new = Window(self.through, max(self.through, end))
        return replace(self, through=new.end, todo=merged([*self.todo, new]))

    def from_start(self, start: int) -> Coverage:
        """Return the coverage with another start; an earlier start adds to `todo`."""
        if start < self.start:
            new = Window(start, min(self.start, self.through))
            return replace(self, start=start, todo=merged([*self.todo, new]))
        earlier = Window(self.start, start)
        through = max(self.through, start)
        return replace(
            self,
            start=start,
            through=through,
            todo=without(self.todo, earlier),
            short=without(self.short, earlier),
        )

    def after_cut(self, window: Window, read: Iterable[Window]) -> Coverage:
        """Return the coverage after a read of the live window was cut, or failed.

        Args:
            window: the live window.
            read: the parts of it that were read whole.
        """
        read = tuple(read)
        todo = without([*self.extended(window.end).todo, window], *read)
        through = max(self.through, window.end)
        half = max((w.seconds // 2 for w in without([window], *read)), default=0) or 1
        width = min(self.width or half, half)
        return replace(self, todo=todo, through=through, width=width, cut=window.start)

    def due_before(self, start: int) -> Coverage:
        """Return the coverage with everything before a time added to `todo`."""
        new = Window(self.start, start)
        return replace(self, todo=merged([*self.todo, new]))

    @property
    def cut_todo(self) -> tuple[Window, ...]:
        """The windows that are left of a live window that was cut."""
        if self.cut is None:
            return ()
        return merged(Window(max(w.start, self.cut), w.end) for w in self.todo)

    def live(self, end: int, lookback: int) -> Window | None:
        """Return the window that every run reads, None if it is empty."""
        start = max(self.start, min(self.through, end) - lookback)
        return Window(start, end) if start < end else None

    def aged(self, live: Window) -> Window | None:
        """Return the first part of a live window, if the API refuses it by its age.

        An API may keep rows for a limited time. What it refused at the start of the
        last live window has grown since then by the time that has passed. None if that
        includes rows that were never read.
        """
        passed = max(0, live.end - self.through)
        ends = (w.end + passed for w in self.troubled if w.start <= live.start)
        end = max(ends, default=live.start)
        return Window(live.start, end) if live.start < end < self.through else None

    def after(self, window: Window, *, whole: bool) -> Coverage:
        """Return the coverage after a read of a window; it stays due if not whole."""
        todo, failed = without(self.todo, window), outside(self.failed, window)
        follows = window.start <= self.through
        through = max(self.through, window.end) if follows else self.through
        coverage = replace(self, todo=todo, through=through, failed=failed)
        return coverage if whole else coverage.after_failure([window])

    def after_failure(self, windows: Iterable[Window]) -> Coverage:
        """Return the coverage after windows failed.

        If too many windows have failed, what lies between two of them is due again.
        """
        failed = reduce(joined, windows, self.troubled)
        failed = no_more_than(failed, MOST_FAILED)
        return replace(self, failed=failed, todo=merged([*self.todo, *failed]))

    @property
    def troubled(self) -> tuple[Window, ...]:
        """The windows that are left to read because their last read failed."""
        return inside(self.failed, self.todo)

    def after_short(
        self, window: Window, now: int, *, short: bool, again: bool = False
    ) -> Coverage:
        """Return the coverage after a window was read whole.

        Args:
            window: the window.
            short: number of rows that the API counts in it but does not serve.
            now: the current time.
            again: the window was read because it was short before.
        """
        known = self
        is_later = self.short_read is None or now // DAY != self.short_read // DAY
        if again and is_later:
            # All short windows are read on the same day and count as one read.
            known = replace(self, short_read=now, short_reads=self.short_reads + 1)
        rest = without(self.short, window)
        if not short:
            return replace(known, short=rest)
        if not touch(self.short, window):
            known = replace(known, short_read=now, short_reads=0)
        return replace(known, short=merged([*rest, window]))

    def short_due(self, now: float) -> bool:
        """Return whether the short windows have to be read again.

        They are due on each UTC day for a week, then after 1, 2, 4 and more weeks.
        """
        if not self.short or self.short_read is None:
            return bool(self.short)
        weeks = self.short_reads - DAYS_PER_WEEK
        wait = 1 if weeks < 0 else DAYS_PER_WEEK * 2 ** min(weeks, _MOST_DOUBLINGS)
        return self.short_read > now or now // DAY - self.short_read // DAY >= wait

    def is_quiet(self, now: float) -> bool:
        """Return whether the list was read before and has had no row for a week."""
        if self.seen is None:
            return False
        return self.newest is None or now - self.newest >= QUIET

    def rests(self, now: float, offset: int) -> bool:
        """Return whether a list was already read today.

        Args:
            now: the current time.
            offset: seconds after midnight UTC at which the list's days begin.
        """
        if self.seen is None or self.seen > now:
            return False
        return (now - offset) // DAY == (self.seen - offset) // DAY

    @property
    def complete_to(self) -> int:
        """The time up to which no row is missing."""
        return min(self.through, self.todo[0].start) if self.todo else self.through

    def verification_due(self, now: float, days: int) -> bool:
        """Return whether all rows have to be read or emitted again.

        Args:
            now: the current time.
            days: UTC days between two verifications.
        """
        if self.verified is None or self.verified > now:
            return True
        return now // DAY - self.verified // DAY >= days

    def pack(self) -> dict[str, Any]:
        """Return the coverage as JSON: times in RFC 3339, no empty fields."""
        packed: dict[str, Any] = {
            "start": iso(self.start),
            "through": iso(self.through),
        }
        if self.todo:
            packed["todo"] = [[iso(w.start), iso(w.end)] for w in self.todo]
        if self.troubled:
            packed["failed"] = [[iso(w.start), iso(w.end)] for w in self.troubled]
        times = {
            "seen": self.seen,
            "verified": self.verified,
            "newest": self.newest,
            "cut": self.cut,
        }
        packed |= {key: iso(at) for key, at in times.items() if at is not None}
        if self.wide:
            packed["wide"] = True
        if self.width is not None:
            packed["width"] = self.width
        if self.shortfall:
            packed["shortfall"] = self.shortfall
        if self.short:
            packed["short"] = [[iso(w.start), iso(w.end)] for w in self.short]
            if self.short_read is not None:
                packed["short_read"] = iso(self.short_read)
            packed["short_reads"] = self.short_reads
        return packed

    @classmethod
    def unpack(cls, packed: Any) -> Coverage:  # noqa: ANN401 - whatever JSON holds
        """Return the coverage that `pack` wrote.

        Raises:
            ValueError, TypeError, KeyError: the JSON is not a packed coverage.
        """
        todo, short = _in_order(packed, "todo"), _in_order(packed, "short")
        return cls(
            start=_second(packed["start"]),
            through=_second(packed["through"]),
            todo=todo,
            seen=_second(packed["seen"]) if "seen" in packed else None,
            verified=_second(packed["verified"]) if "verified" in packed else None,
            wide=packed.get("wide") is True,
            newest=_second(packed["newest"]) if "newest" in packed else None,
            width=_number(packed["width"]) if "width" in packed else None,
            shortfall=_number(packed.get("shortfall", 0)),
            short=short,
            short_read=_second(packed["short_read"])
            if "short_read" in packed
            else None,
            short_reads=_number(packed.get("short_reads", 0)),
            cut=_second(packed["cut"]) if "cut" in packed else None,
            failed=reduce(joined, _windows(packed, "failed"), ()),
        )


def _windows(packed: Any, key: str) -> tuple[Window, ...]:  # noqa: ANN401 - likewise
    found = packed.get(key, []) if isinstance(packed, dict) else None
    if not isinstance(found, list):
        raise TypeError("no windows")
    return tuple(Window(_second(start), _second(end)) for start, end in found)


def _in_order(packed: Any, key: str) -> tuple[Window, ...]:  # noqa: ANN401 - likewise
    windows = _windows(packed, key)
    if merged(windows) != windows:
        raise ValueError("windows out of order")
    return windows


def _number(value: Any) -> int:  # noqa: ANN401 - likewise
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def _second(value: Any) -> int:  # noqa: ANN401 - likewise
    return int(from_iso(value))


def coverages(value: Any) -> dict[str, Coverage]:  # noqa: ANN401 - likewise
    """Return the coverages of a stream's lists, by their keys in the state.

    Raises:
        ValueError, TypeError: the JSON is not an object of packed coverages.
    """
    if not isinstance(value, dict):
        raise TypeError("no object")
    try:
        return {key: Coverage.unpack(packed) for key, packed in value.items()}
    except (KeyError, AttributeError) as error:
        raise ValueError("not the coverage of a list") from error
