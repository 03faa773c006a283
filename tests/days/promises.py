"""Promises about the rows that the API showed, compared with the target.

A list is a unit of reading, for example one report of one message. The simulator's
truth gives its rows at any instant. Its *visits* are the runs at which, by the module
of its provider, the list was due and nothing disturbed it. Rows that two successive
visits showed are promised:

- `Promises.visit` returns rows that are missing or older than at the first visit;
- `Promises.invented` returns rows of the target that the API never showed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.encompass import Key, Record

ListId = tuple[str, Any]
"""A stream, and the parent that identifies a list of it."""
Chain = tuple[ListId, str]
"""A list and the name of a promise about it."""
Shown = dict[ListId, dict["Key", "Record"]]
Rows = dict[str, dict["Key", "Record"]]
ROWS, VALUES = "rows", "values"


@dataclass(frozen=True)
class Visit:
    """A promise about a list that has come due.

    Attributes:
        list_id: the list.
        name: "rows" promises that the rows are there; "values", and any other name,
            promises their values, too. Each name has its own visits.
        later: keys that this promise does not cover.
    """

    list_id: ListId
    name: str = ROWS
    later: frozenset[Any] = frozenset()


@dataclass(eq=False)
class _Since:
    """The rows shown at the last visit of a promise, and those shown since."""

    shown: Mapping[Key, Record]
    versions: defaultdict[Key, list[Record]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Promises:
    """All rows that the API showed, as far as they still matter."""

    def __init__(self) -> None:
        self.events = 0
        """Number of rows promised so far, each counted once."""
        self._since: dict[Chain, _Since] = {}
        self._of_list: defaultdict[ListId, list[_Since]] = defaultdict(list)
        self._ever: defaultdict[str, dict[Key, list[Record]]] = defaultdict(dict)
        self.first_shown: dict[tuple[str, Key], float] = {}
        """UTC seconds at which a row was first seen, by stream and key."""
        self.tainted: set[tuple[str, Key]] = set()
        """Streams and keys of records with values from odd answers."""
        self._promised: defaultdict[str, set[Key]] = defaultdict(set)

    def show(self, shown: Shown, at: float) -> None:
        """Store the rows that the API shows at an instant in UTC seconds."""
        for list_id, rows in shown.items():
            ever = self._ever[list_id[0]]
            for key, row in rows.items():
                known = ever.get(key)
                if known is None:
                    known = ever[key] = []
                    self.first_shown[list_id[0], key] = at
                if row not in known:
                    known.append(row)
                for since in self._of_list[list_id]:
                    if since.shown.get(key, row) != row:
                        _add(since.versions[key], row)

    def visit(self, visit: Visit, shown: Mapping[Key, Record], have: Rows) -> list[str]:
        """Store a visit; return the promises that are now broken."""
        stream = visit.list_id[0]
        before = self._since.get((visit.list_id, visit.name))
        broken = []
        if before is not None:
            rows = have.get(stream, {})
            for key in before.shown.keys() & shown.keys() - visit.later:
                self._promised[stream].add(key)
                known = [before.shown[key], *before.versions.get(key, ()), shown[key]]
                if key not in rows:
                    broken.append(f"lost: {stream} {key}")
                elif (
                    visit.name != ROWS
                    and rows[key] not in known
                    and (stream, key) not in self.tainted
                ):
                    broken.append(f"stale: {stream} {_difference(rows[key], known)}")
            self._of_list[visit.list_id].remove(before)
        since = self._since[visit.list_id, visit.name] = _Since(shown)
        self._of_list[visit.list_id].append(since)
        self.events = sum(map(len, self._promised.values()))
        return sorted(broken)

    def unshown(self, rows: Iterable[tuple[str, Key, Record]]) -> set[str]:
        """Return the streams that have rows which the API never showed."""
        return {
            stream
            for stream, key, row in rows
            if row not in self._ever[stream].get(key, ())
        }

    def invented(self, rows: Iterable[tuple[str, Key, Record]]) -> list[str]:
        """Return the rows that the API never showed."""
        return [
            f"invented: {stream} {_difference(row, self._ever[stream].get(key, []))}"
            for stream, key, row in rows
            if row not in self._ever[stream].get(key, ())
        ]


def _add(versions: list[Record], row: Record) -> None:
    if row not in versions:
        versions.append(row)


def _difference(row: Record, known: list[Record]) -> str:
    """Return a row, or its differences from each known version."""
    if not known:
        return f"{row}: no such key"
    columns = {name for one in known for name in one if one[name] != row.get(name)}
    shown = {name: [one.get(name) for one in known] for name in sorted(columns)}
    key = {name: row[name] for name in list(row)[:3]}
    return (
        f"{key}: is {[(name, row.get(name)) for name in shown]}, was shown as {shown}"
    )
