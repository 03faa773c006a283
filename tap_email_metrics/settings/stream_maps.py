"""Checks the stream maps, because the SDK ignores the name of an unknown stream."""

from __future__ import annotations

import difflib
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


def stream_map_errors(maps: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Return the errors in stream maps, one line each, without their values.

    Args:
        maps: the setting `stream_maps`.
        names: names of all streams. A map may match several with * and ?.
    """
    return [line for key, value in maps.items() for line in _errors(key, value, names)]


def _errors(key: str, value: object, names: Collection[str]) -> Iterator[str]:
    where = f"stream_maps.{key}"
    if key == "__else__":
        if not _is_null(value):
            yield f"{where} must be null or __NULL__"
        return
    if key.startswith("__"):
        yield f"{where} is not an option of stream maps"
        return
    source: object = key
    if isinstance(value, dict):
        source = value.get("__source__", key)
        yield from _property_errors(where, value)
    elif not _is_null(value):
        yield f"{where} must be an object, or null to leave the stream out"
    if isinstance(source, str) and not any(fnmatch(name, source) for name in names):
        close = difflib.get_close_matches(source, names, n=1)
        hint = f"did you mean {close[0]}?" if close else "--discover names all"
        named = where if source == key else f"{where}.__source__"
        yield f"{named} names no stream; {hint}"


def _property_errors(where: str, properties: Mapping[str, object]) -> Iterator[str]:
    for name, value in properties.items():
        place = f"{where}.{name}"
        match name:
            case "__key_properties__":
                names = [] if value is None else value
                every = isinstance(names, list) and all(
                    isinstance(one, str) for one in names
                )
                if not every:
                    yield f"{place} must be a list of columns"
            case "__else__":
                if not _is_null(value):
                    yield f"{place} must be null or __NULL__"
            case "__source__" | "__alias__":
                if not isinstance(value, str) or not value:
                    yield f"{place} must be text"
            case _:
                if not (value is None or isinstance(value, str)):
                    yield f"{place} must be text: an expression"
                elif value and "\0" in value:
                    yield f"{place} is not an expression"


def _is_null(value: object) -> bool:
    return value is None or value == "__NULL__"
