"""States in the written form, and Meltano's merge of states."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def own_part(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a bookmark under its generation."""
    found: dict[str, Any] = entry[entry["generation"]]
    return found


def flat(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the bookmarks without generations: only the current part of each."""
    found = {}
    for name, entry in state.get("bookmarks", {}).items():
        outside = {
            key: value
            for key, value in entry.items()
            if key not in {"generation", entry["generation"]}
        }
        inside = {k: v for k, v in own_part(entry).items() if k != "value"}
        found[name] = outside | inside
    return found


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return two states as Meltano merges them.

    It unites objects key by key at every depth; lists and scalars of the new state
    replace those of the old one.
    """
    found = copy.deepcopy(dict(old))
    for key, value in new.items():
        before = found.get(key)
        if isinstance(value, dict):
            found[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            found[key] = copy.deepcopy(value)
    return found
