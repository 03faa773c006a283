"""What was promised of what the API showed, and whether the target has it.

A list is what is read by itself: one report of one message, say. What it shows at an
instant is worked out by the simulator's truth. Its *visits* are those runs at which
its provider's module says that the list was due and nothing came in between; two of
them in a row, and what both showed is promised:

- `Promises.visit` returns what is then missing, or is older than the first of them;
- `Promises.invented` returns what the target holds and the API never showed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.encompass import Key, Record

ListId = tuple[str, Any]
"""A stream, and what tells its lists apart."""
Chain = tuple[ListId, str]
"""A list, and which of its promises is meant."""
Shown = dict[ListId, dict["Key", "Record"]]
Rows = dict[str, dict["Key", "Record"]]
ROWS, VALUES = "rows", "values"


@dataclass(frozen=True)
class Visit:
    """One promise of a list that has come due.

    Attributes:
        list_id: of the list.
        name: "rows" promises that they are there; "values", besides, and any other
            name, what they hold. Each has visits of its own.
        later: keys that this promise does not cover.
    """

    list_id: ListId
    name: str = ROWS
    later: frozenset[Any] = frozenset()


@dataclass(eq=False)
class _Since:
    """A chain since its last visit: what that showed, and what was shown since."""

    shown: Mapping[Key, Record]
    versions: defaultdict[Key, list[Record]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Promises:
    """Everything that the API showed, as far as it still matters."""

    def __init__(self) -> None:
        self.events = 0
        """Rows promised so far, each once."""
        self._since: dict[Chain, _Since] = {}
        self._of_list: defaultdict[ListId, list[_Since]] = defaultdict(list)
        self._ever: defaultdict[str, dict[Key, list[Record]]] = defaultdict(dict)
        self.first_shown: dict[tuple[str, Key], float] = {}
        """By stream and key: when a row was first seen, in UTC seconds."""
        self.tainted: set[tuple[str, Key]] = set()
        """Streams and keys of records whose values were told oddly."""
        self._promised: defaultdict[str, set[Key]] = defaultdict(set)

    def show(self, shown: Shown, at: float) -> None:
        """Note what the API shows at an instant, UTC seconds."""
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
        """Note a visit; return what was promised before it and is not kept."""
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
        """Return those of the rows that the API never showed."""
        return [
            f"invented: {stream} {_difference(row, self._ever[stream].get(key, []))}"
            for stream, key, row in rows
            if row not in self._ever[stream].get(key, ())
        ]


def _add(versions: list[Record], row: Record) -> None:
    if row not in versions:
        versions.append(row)


def _difference(row: Record, known: list[Record]) -> str:
    """Return a row, or what of it differs from each known version."""
    if not known:
        return f"{row}: no such key"
    columns = {name for one in known for name in one if one[name] != row.get(name)}
    shown = {name: [one.get(name) for one in known] for name in sorted(columns)}
    key = {name: row[name] for name in list(row)[:3]}
    return (
        f"{key}: is {[(name, row.get(name)) for name in shown]}, was shown as {shown}"
    )
