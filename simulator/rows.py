"""Rows that appear, change and vanish, and ordered lists of them."""

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
"""As the value of a field: the row does not have the field."""


class Row:
    """A row with its versions; all instants are UTC seconds.

    A list shows it during [visible_from, deleted_at). `clocks` are the three instants
    from which the archive may count its age: action, date added, send.
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
        """The changes of each version after the first."""

    def correct(self, at: float, fields: Mapping[str, object]) -> None:
        """Add a version with these fields from `at` on.

        Later versions keep their own changes. ValueError if the row is not visible at
        that time.
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
        """Return a field at `at`, or None if it is absent."""
        return self._values[self._index(at)].get(name)

    def fields(self, at: float) -> dict[str, object]:
        """Return the fields of the row at `at`, as a copy."""
        return dict(self._values[self._index(at)])

    def is_shown(self, at: float) -> bool:
        """Return whether the row is in its list at `at`."""
        return self.visible_from <= at < self.deleted_at

    def text(self, at: float) -> bytes:
        """Return the row at `at` as JSON."""
        index = self._index(at)
        text = self._texts[index]
        if text is None:
            text = self._texts[index] = encode(self._values[index])
        return text

    def next_version(self, after: float) -> float:
        """Return the instant of the next correction, or infinity."""
        if len(self._times) == 1:
            return math.inf
        position = bisect_right(self._times, after)
        return self._times[position] if position < len(self._times) else math.inf


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


@dataclass(slots=True)
class View:
    """A list at one time: its rows in order, and the next changes."""

    order: str
    at: float
    rows: list[Row]
    upcoming: list[tuple[float, int, Row]]
    """A heap of (instant, row id, row) at which rows must be updated."""
    chosen: dict[tuple[int, int], list[Row]] = field(default_factory=dict)
    """Filtered copies of `rows`, stored by the owner of the list."""


class RowList:
    """A list of rows with a view that is updated row by row as time passes."""

    def __init__(self, seed: str) -> None:
        self._keys: dict[str, Callable[[Row], tuple[int, int]]] = {
            "descending": _descending,
            "shuffled": self._scatter,
        }
        self._seed = seed
        self._view: View | None = None
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add a row; its position depends on the order."""
        self.rows.append(row)
        if self._view:
            heappush(self._view.upcoming, (row.visible_from, row.row_id, row))

    def touch(self) -> None:
        """Discard the view because a row or the policy changed."""
        self._view = None

    def view(self, at: float, order: str, gone: Callable[[Row], float]) -> View:
        """Return the view at `at`; `gone(row)` is the instant at which a row leaves."""
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
        """Update a view to `at`."""
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
    """Return the next instant at which a row appears, changes or goes, or infinity."""
    if row.visible_from > at:
        return row.visible_from
    end = gone(row)
    return min(end, row.next_version(at)) if end > at else math.inf


def _ascending(row: Row) -> tuple[int, int]:
    return row.row_id, 0


def _descending(row: Row) -> tuple[int, int]:
    return -row.row_id, 0


def reshuffled(rows: list[Row], seed: str) -> list[Row]:
    """Return the rows in a random order given by `seed`."""
    copy = list(rows)
    random.Random(seed).shuffle(copy)  # noqa: S311 -- reproducible, not secret
    return copy
