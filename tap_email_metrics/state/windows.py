"""Windows of time, and how far a list is read that is asked for by them.

Pure functions and values; instants are whole UTC seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_email_metrics.clock import DAY, from_iso, iso

if TYPE_CHECKING:
    from collections.abc import Iterable


class Window(NamedTuple):
    """The instants from `start` up to, and without, `end`."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """Return its length."""
        return self.end - self.start

    def halves(self) -> tuple[Window, Window]:
        """Return its two halves.

        Raises:
            ValueError: it is too short for that.
        """
        middle = self.start + self.seconds // 2
        if not self.start < middle < self.end:
            raise ValueError("one second has no halves")
        return Window(self.start, middle), Window(middle, self.end)

    def first(self, seconds: float) -> Window:
        """Return its beginning, of that length at most."""
        return self.until(self.start + max(1, int(seconds)))

    def until(self, end: int) -> Window:
        """Return what of it is before an instant; it may be empty."""
        return Window(self.start, min(self.end, end))


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Return windows in order, those that touch as one; empty ones are dropped."""
    kept: list[Window] = []
    for window in sorted(w for w in windows if w.seconds > 0):
        if kept and window.start <= kept[-1].end:
            kept[-1] = Window(kept[-1].start, max(kept[-1].end, window.end))
        else:
            kept.append(window)
    return tuple(kept)


def without(windows: Iterable[Window], gone: Window) -> tuple[Window, ...]:
    """Return what is left of windows when one is taken out."""
    left = []
    for window in windows:
        left.append(Window(window.start, min(window.end, gone.start)))
        left.append(Window(max(window.start, gone.end), window.end))
    return merged(left)


def touch(windows: Iterable[Window], other: Window) -> bool:
    """Return whether one of the windows shares an instant with another."""
    return any(w.start < other.end and other.start < w.end for w in windows)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one list is read.

    Attributes:
        start: nothing before it is asked for.
        through: all up to it was read, but for what is in `todo`.
        todo: windows that are still to be read, or were not whole when they were.
        seen: when the live window was last read whole, None before the first time.
        verified: when all rows were last emitted, or the list read without dates.
        wide: rows came that a filter on their own date would not have let through.
    """

    start: int
    through: int
    todo: tuple[Window, ...] = ()
    seen: int | None = None
    verified: int | None = None
    wide: bool = False

    @classmethod
    def first(cls, start: int, end: int) -> Reach:
        """Return that of a list never read: all of it is to be read."""
        start = min(start, end)
        return cls(start, end, merged([Window(start, end)]))

    def until(self, end: int) -> Reach:
        """Return it without what is later than now: some clock was ahead."""
        todo = merged(window.until(end) for window in self.todo)
        return replace(self, through=min(self.through, end), todo=todo)

    def extended(self, end: int) -> Reach:
        """Return it with all up to an instant to be read."""
        new = Window(self.through, max(self.through, end))
        return replace(self, through=new.end, todo=merged([*self.todo, new]))

    def from_start(self, start: int) -> Reach:
        """Return it with another start: what is new before is to be read."""
        if start < self.start:
            new = Window(start, min(self.start, self.through))
            return replace(self, start=start, todo=merged([*self.todo, new]))
        earlier = Window(self.start, start)
        through = max(self.through, start)
        return replace(
            self, start=start, through=through, todo=without(self.todo, earlier)
        )

    def live(self, end: int, lookback: int) -> Window | None:
        """Return the window to read in each run, None where it is empty."""
        start = max(self.start, min(self.through, end) - lookback)
        return Window(start, end) if start < end else None

    def after(self, window: Window, *, whole: bool) -> Reach:
        """Return it after a window was read; one that was not whole is due again."""
        todo = without(self.todo, window)
        if not whole:
            todo = merged([*todo, window])
        joined = window.start <= self.through
        through = max(self.through, window.end) if joined else self.through
        return replace(self, todo=todo, through=through)

    @property
    def complete_to(self) -> int:
        """Return the instant up to which nothing is missing."""
        return min(self.through, self.todo[0].start) if self.todo else self.through

    def verification_due(self, now: float, days: int) -> bool:
        """Return whether everything is to be read or emitted again.

        Args:
            now: UTC seconds.
            days: UTC days from one time to the next.
        """
        if self.verified is None or self.verified > now:
            return True
        return now // DAY - self.verified // DAY >= days

    def pack(self) -> dict[str, Any]:
        """Return it as JSON: instants in RFC 3339, what is not so left out."""
        packed: dict[str, Any] = {
            "start": iso(self.start),
            "through": iso(self.through),
        }
        if self.todo:
            packed["todo"] = [[iso(w.start), iso(w.end)] for w in self.todo]
        if self.seen is not None:
            packed["seen"] = iso(self.seen)
        if self.verified is not None:
            packed["verified"] = iso(self.verified)
        if self.wide:
            packed["wide"] = True
        return packed

    @classmethod
    def unpack(cls, packed: Any) -> Reach:  # noqa: ANN401 - whatever JSON holds
        """Return what `pack` wrote.

        Raises:
            ValueError, TypeError, KeyError: it did not.
        """
        todo = [Window(_second(start), _second(end)) for start, end in _todo(packed)]
        if list(merged(todo)) != todo:
            raise ValueError("windows out of order")
        return cls(
            start=_second(packed["start"]),
            through=_second(packed["through"]),
            todo=tuple(todo),
            seen=_second(packed["seen"]) if "seen" in packed else None,
            verified=_second(packed["verified"]) if "verified" in packed else None,
            wide=packed.get("wide") is True,
        )


def _todo(packed: Any) -> list[Any]:  # noqa: ANN401 - likewise
    todo = packed.get("todo", []) if isinstance(packed, dict) else None
    if not isinstance(todo, list):
        raise TypeError("no windows")
    return todo


def _second(value: Any) -> int:  # noqa: ANN401 - likewise
    return int(from_iso(value))


def reaches(value: Any) -> dict[str, Reach]:  # noqa: ANN401 - likewise
    """Return how far the lists of a stream are read, by their keys in the state.

    Raises:
        ValueError, TypeError: it is not what was written.
    """
    if not isinstance(value, dict):
        raise TypeError("no object")
    try:
        return {key: Reach.unpack(packed) for key, packed in value.items()}
    except (KeyError, AttributeError) as error:
        raise ValueError("not the reach of a list") from error
