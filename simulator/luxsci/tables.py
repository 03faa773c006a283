"""The rows of LuxSci's reports, found by their date at any time."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.luxsci.facts import gmt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from simulator.luxsci.facts import Kind
    from simulator.rows import Row

_DATETIME = len("YYYY-MM-DD HH:MM:SS")
_ZERO = "0000"
NOWHERE = "\uffff"
"""Text that sorts after every date."""


@dataclass(frozen=True)
class Interval:
    """An interval of texts: `low` is in it, `high` is not; "" means no bound."""

    low: str = ""
    high: str = NOWHERE

    @property
    def is_all(self) -> bool:
        """Whether rows without a date are in it."""
        return not self.low and self.high == NOWHERE


EVERYTHING = Interval()


@dataclass(eq=False, slots=True)
class Entry:
    """A row with its unchangeable facts."""

    serial: int
    row: Row
    login: str | None
    """The login whose reports show the row besides those of the account."""
    custom: dict[str, object]
    """Custom fields by code word."""


class Table:
    """The rows of one kind and channel, indexed by every date that a row ever has."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.entries: dict[int, Entry] = {}
        self._dates = [c.name for c in kind.columns if c.type == "datetime"]
        self._index: dict[str, list[tuple[str, int]]] = {
            name: [] for name in kind.dates
        }

    def add(self, entry: Entry) -> None:
        """Append a row."""
        self.entries[entry.serial] = entry
        self._note(entry.serial, entry.row.fields(entry.row.visible_from))

    def correct(self, serial: int, at: float, fields: Mapping[str, object]) -> None:
        """Change fields from `at` on; instants become DATETIMEs."""
        changed = self.spelt(fields)
        self.entries[serial].row.correct(at, changed)
        self._note(serial, changed)

    def spelt(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Return fields with instants of DATETIME columns in the vendor's form."""
        spelt = dict(fields)
        for name in self._dates:
            value = spelt.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                spelt[name] = gmt(value)
        return spelt

    def _note(self, serial: int, fields: Mapping[str, object]) -> None:
        for name, index in self._index.items():
            value = fields.get(name)
            if not isinstance(value, str) or len(value) != _DATETIME:
                continue
            place = (value, serial)
            found = bisect_left(index, place)
            if not value.startswith(_ZERO) and index[found : found + 1] != [place]:
                insort(index, place)

    def shown(
        self,
        at: float,
        column: str | None,
        interval: Interval = EVERYTHING,
        login: str | None = None,
    ) -> list[Entry]:
        """Return the rows at `at` whose date is in the interval, by date.

        Without a column they are in the order of insertion. Rows without a date come
        first, and only if the interval has no bounds.
        """
        found = self._found(at, column, interval)
        return [
            entry
            for entry in found
            if entry.row.is_shown(at) and (login is None or entry.login == login)
        ]

    def _found(
        self, at: float, column: str | None, interval: Interval
    ) -> Iterable[Entry]:
        if column is None:
            return self.entries.values()
        if interval.is_all:
            undated = [
                entry
                for entry in self.entries.values()
                if not _is_date(entry.row.value(at, column))
            ]
            return [*undated, *self._dated(at, column, interval)]
        return self._dated(at, column, interval)

    def _dated(self, at: float, column: str, interval: Interval) -> Iterator[Entry]:
        index = self._index[column]
        start = bisect_left(index, (interval.low, -1))
        end = bisect_left(index, (interval.high, -1))
        for value, serial in index[start:end]:
            entry = self.entries[serial]
            if entry.row.value(at, column) == value:
                yield entry


def _is_date(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == _DATETIME
        and not value.startswith(_ZERO)
    )


def after(value: str) -> str:
    """Return the smallest bound above a DATETIME."""
    return f"{value}\0"
