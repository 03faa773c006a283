"""The rows that a target holds against the truth: by key and by a hash of each row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Row = dict[str, Any]
Key = tuple[Any, ...]

#: How many differences are shown of each kind.
SHOWN = 3


@dataclass(frozen=True)
class Comparison:
    """The rows that a target holds against those that it should hold."""

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


def by_key(rows: Iterable[Row], key: Sequence[str]) -> dict[Key, Row]:
    """Return the rows under their keys."""
    return {tuple(row.get(name) for name in key): row for row in rows}


def digest(row: Mapping[str, Any]) -> str:
    """Return a hash of every column of a row."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def listed(what: str, keys: Iterable[Key]) -> list[str]:
    """Return one line that counts these keys and shows the first few; none if none."""
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
