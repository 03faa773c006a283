"""Rows that appear, change and vanish, and the lists that show them in order."""

from __future__ import annotations

import math
import random
import zlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from simulator.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ORDERS = ("ascending", "descending", "shuffled", "reshuffled")


class Absent:
    """The type of ABSENT."""


ABSENT: Final = Absent()
"""As a field's value: leave the field out of the row."""


class Row:
    """A record with its versions; all instants in UTC seconds.

    The list shows it over [visible_from, deleted_at). `clocks` are the three instants
    by which the archive may take it: action, date added, send.
    """

    __slots__ = (
        "_changes",
        "_texts",
        "_times",
        "_values",
        "clocks",
        "deleted_at",
        "row_id",
        "visible_from",
    )

    def __init__(
        self,
        row_id: int,
        visible_from: float,
        clocks: tuple[float, float, float],
        fields: Mapping[str, object],
    ) -> None:
        self.row_id = row_id
        self.visible_from = visible_from
        self.deleted_at = math.inf
        self.clocks = clocks
        self._times = [visible_from]
        self._values = [_present(fields)]
        self._texts: list[bytes | None] = [None]
        self._changes: tuple[Mapping[str, object], ...] = ()
        """The changes that each version after the first made."""

    def correct(self, at: float, fields: Mapping[str, object]) -> None:
        """Add a version that shows these fields otherwise from `at` on.

        Later versions keep what they change themselves. ValueError if the row is not
        visible yet by then.
        """
        if at < self.visible_from:
            raise ValueError("a row cannot be corrected before it is visible")
        position = bisect_right(self._times, at)
        before, after = self._changes[: position - 1], self._changes[position - 1 :]
        self._changes = (*before, fields, *after)
        self._times.insert(position, at)
        del self._values[position:]
        for changes in (fields, *after):
            self._values.append(_present({**self._values[-1], **changes}))
        self._texts[position:] = [None] * (len(after) + 1)

    def _index(self, at: float) -> int:
        return max(bisect_right(self._times, at) - 1, 0)

    def value(self, at: float, name: str) -> object:
        """Return a field as of `at`; None when absent."""
        return self._values[self._index(at)].get(name)

    def fields(self, at: float) -> dict[str, object]:
        """Return a copy of the row as of `at`."""
        return dict(self._values[self._index(at)])

    def is_shown(self, at: float) -> bool:
        """Return whether the row holds its place at `at`."""
        return self.visible_from <= at < self.deleted_at

    def text(self, at: float) -> bytes:
        """Return the row as JSON, as of `at`."""
        index = self._index(at)
        text = self._texts[index]
        if text is None:
            text = self._texts[index] = encode(self._values[index])
        return text

    def next_version(self, after: float) -> float:
        """Return the instant of the next correction; infinity for none."""
        if len(self._times) == 1:
            return math.inf
        position = bisect_right(self._times, after)
        return self._times[position] if position < len(self._times) else math.inf


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


@dataclass(slots=True)
class View:
    """A list as it stands: its places in order, and what is to come."""

    order: str
    at: float
    rows: list[Row]
    upcoming: list[tuple[float, int, Row]]
    """A heap of (instant, row id, row): when to look at which row again."""
    chosen: dict[tuple[int, int], list[Row]] = field(default_factory=dict)
    """Filtered copies of `rows`, kept by the owner."""


class RowList:
    """A list of rows, with a view that is brought forward row by row."""

    def __init__(self, seed: str) -> None:
        self._keys: dict[str, Callable[[Row], tuple[int, int]]] = {
            "descending": _descending,
            "shuffled": self._scatter,
        }
        self._seed = seed
        self._view: View | None = None
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a row; the order decides where it is shown."""
        self.rows.append(row)
        if self._view:
            heappush(self._view.upcoming, (row.visible_from, row.row_id, row))

    def touch(self) -> None:
        """Forget the view: a row or the policy changed."""
        self._view = None

    def view(self, at: float, order: str, gone: Callable[[Row], float]) -> View:
        """Return the places at `at`; `gone(row)` is the instant one is freed."""
        view = self._view
        if view is None or view.order != order or at < view.at:
            view = self._view = self._look(at, order, gone)
        if view.upcoming and view.upcoming[0][0] <= at:
            self._follow(view, at, gone)
        return view

    def _look(self, at: float, order: str, gone: Callable[[Row], float]) -> View:
        rows = [row for row in self.rows if row.visible_from <= at < gone(row)]
        rows.sort(key=self._keys.get(order, _ascending))
        changes = ((_next_change(row, at, gone), row.row_id, row) for row in self.rows)
        upcoming = [change for change in changes if change[0] < math.inf]
        heapify(upcoming)
        return View(order, at, rows, upcoming)

    def _follow(self, view: View, at: float, gone: Callable[[Row], float]) -> None:
        """Bring a view forward to `at`."""
        key = self._keys.get(view.order, _ascending)
        while view.upcoming and view.upcoming[0][0] <= at:
            row = heappop(view.upcoming)[2]
            place = bisect_left(view.rows, key(row), key=key)
            held = place < len(view.rows) and view.rows[place] is row
            shown = row.visible_from <= at < gone(row)
            if held and not shown:
                del view.rows[place]
            elif shown and not held:
                view.rows.insert(place, row)
            if (again := _next_change(row, at, gone)) < math.inf:
                heappush(view.upcoming, (again, row.row_id, row))
        view.at = at
        view.chosen.clear()

    def _scatter(self, row: Row) -> tuple[int, int]:
        return zlib.crc32(f"{self._seed}/{row.row_id}".encode()), row.row_id


def _next_change(row: Row, at: float, gone: Callable[[Row], float]) -> float:
    """Return when next the row appears, changes or goes; infinity for never."""
    if row.visible_from > at:
        return row.visible_from
    end = gone(row)
    return min(end, row.next_version(at)) if end > at else math.inf


def _ascending(row: Row) -> tuple[int, int]:
    return row.row_id, 0


def _descending(row: Row) -> tuple[int, int]:
    return -row.row_id, 0


def reshuffled(rows: list[Row], seed: str) -> list[Row]:
    """Return the rows in an order that `seed` decides."""
    copy = list(rows)
    random.Random(seed).shuffle(copy)  # noqa: S311 -- reproducible, not secret
    return copy
