"""Compares the rows of a target with the truth, by key and by a hash of each row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Row = dict[str, Any]
Key = tuple[Any, ...]

#: How many differences are shown of each kind.
SHOWN = 3
#: Lists that show what is so now. Only the rows of their last complete reading count;
#: of which instant that is, a row of READINGS says.
SNAPSHOTS = ("constant_contact_unique_opens", "constant_contact_links")
READINGS = "constant_contact_snapshots"


@dataclass(frozen=True)
class Comparison:
    """The rows of a target, compared with the rows that it should have."""

    held: int
    expected: int
    differences: tuple[str, ...]

    @classmethod
    def of(
        cls, held: Iterable[Row], expected: Iterable[Row], key: Sequence[str]
    ) -> Comparison:
        """Compare by key and by a hash of every column."""
        there, should = list(held), list(expected)
        ours, theirs = by_key(there, key), by_key(should, key)
        found = [
            *listed("only in the truth", theirs.keys() - ours.keys()),
            *listed("only in the target", ours.keys() - theirs.keys()),
            *changed(ours, theirs),
        ]
        if len(ours) != len(there):
            found.append(f"{len(there) - len(ours)} rows share a key in the target")
        if len(theirs) != len(should):
            found.append(f"{len(should) - len(theirs)} rows share a key in the truth")
        return cls(len(there), len(should), tuple(found))


def compare(
    held: Callable[[str], Iterable[Row]],
    expected: Callable[[str], Iterable[Row]],
    keys: Mapping[str, Sequence[str]],
) -> dict[str, Comparison]:
    """Compare every stream; both sides are functions that return a stream's rows.

    When a snapshot was read, to the millisecond, is the reader's own: `as_of` is not
    compared with the truth, but rows with that of their reading.
    """
    found: dict[str, Comparison] = {}
    for stream, key in keys.items():
        ours, theirs = list(held(stream)), list(expected(stream))
        wrong: tuple[str, ...] = ()
        if stream in SNAPSHOTS:
            read_at = readings(stream, held(READINGS))
            late = [by for by, row in by_key(ours, key).items() if newer(row, read_at)]
            wrong = tuple(listed("newer than the last complete reading", late))
            ours = current(ours, read_at)
            theirs = current(theirs, readings(stream, expected(READINGS)))
        if stream in (*SNAPSHOTS, READINGS):
            ours, theirs = without_instant(ours), without_instant(theirs)
        same = Comparison.of(ours, theirs, key)
        found[stream] = replace(same, differences=wrong + same.differences)
    return found


def readings(stream: str, rows: Iterable[Row]) -> dict[str, str]:
    """Return when a stream was last read completely, by activity."""
    return {
        row["campaign_activity_id"]: row["as_of"]
        for row in rows
        if stream.endswith(f"_contact_{row['report']}")
    }


def newer(row: Row, read_at: Mapping[str, str]) -> bool:
    """Return whether a row is newer than the last complete reading of its list."""
    return bool(row["as_of"] > read_at.get(row["campaign_activity_id"], ""))


def current(rows: Iterable[Row], read_at: Mapping[str, str]) -> list[Row]:
    """Return the rows of the last complete reading of each list."""
    return [r for r in rows if r["as_of"] == read_at.get(r["campaign_activity_id"])]


def without_instant(rows: Iterable[Row]) -> list[Row]:
    """Return rows without `as_of`."""
    return [{k: v for k, v in row.items() if k != "as_of"} for row in rows]


def by_key(rows: Iterable[Row], key: Sequence[str]) -> dict[Key, Row]:
    """Return the rows under their keys."""
    return {tuple(row.get(name) for name in key): row for row in rows}


def digest(row: Mapping[str, Any]) -> str:
    """Return a hash of every column of a row."""
    plain = {name: whole(value) for name, value in row.items()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def whole(value: object) -> object:
    """Return 4.0 as 4: in JSON, and in a column of numbers, they are the same."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def listed(what: str, keys: Iterable[Key]) -> list[str]:
    """Return a line with the number of keys and the first few; no line without keys."""
    ordered = sorted(keys, key=repr)
    if not ordered:
        return []
    few = ", ".join(str(key) for key in ordered[:SHOWN])
    return [f"{len(ordered)} {what}: {few}"]


def changed(ours: Mapping[Key, Row], theirs: Mapping[Key, Row]) -> list[str]:
    """Return lines on rows whose hashes differ: count, first keys, their columns."""
    keys = [k for k in ours.keys() & theirs if digest(ours[k]) != digest(theirs[k])]
    lines = listed("with other values", keys)
    for key in sorted(keys, key=repr)[:SHOWN]:
        mine, truth = ours[key], theirs[key]
        for name in sorted(mine.keys() | truth):
            if name not in mine:
                lines.append(f"{key}: column {name} is not in the target")
            elif name not in truth:
                lines.append(f"{key}: column {name} is not in the truth")
            elif mine[name] != truth[name]:
                lines.append(f"{key}: {name} is {mine[name]!r}, not {truth[name]!r}")
    return lines
