"""States as the tap writes them, and as Meltano merges them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def own_part(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry of the bookmarks keeps under its generation."""
    found: dict[str, Any] = entry[entry["generation"]]
    return found


def flat(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the bookmarks without generations: each entry with its own part."""
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
