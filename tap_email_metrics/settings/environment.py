"""Reads settings from environment variables, under the names that Meltano uses.

`PREFIX_ENCOMPASS` holds a section as a JSON object, `PREFIX_ENCOMPASS_CLIENT_ID` holds
one setting of the section. A variable that belongs to no setting is probably misspelt.
"""

from __future__ import annotations

import difflib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KeyPath = tuple[str, ...]

_TRUE = ("true", "1", "yes", "on", "y", "t")
_FALSE = ("false", "0", "no", "off", "n", "f")
_QUOTES = ("'", '"')
_NO_SETTINGS = frozenset({"LOGLEVEL"})
"""Variables with the prefix that the SDK reads."""


def from_environment(
    schema: Mapping[str, Any], prefix: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the settings in environment variables; empty variables are ignored.

    The variable of a setting overrides the variable of its section.

    Args:
        schema: JSON Schema of all settings.
        prefix: prefix of the variables, with its underscore.
        environ: all environment variables.

    Raises:
        InvalidInput: a value does not fit its setting; the message does not quote it.
    """
    found: dict[str, Any] = {}
    for path, part in _settings(schema):
        name = prefix + "_".join(path).upper()
        if not (text := environ.get(name, "").strip()):
            continue
        value = _value(name, text, part.get("type", ()))
        found = merged(found, _nested(path, value))
    return found


def unknown_variables(
    schema: Mapping[str, Any], prefix: str, environ: Mapping[str, str]
) -> list[str]:
    """Return a line for each variable with the prefix that belongs to no setting."""
    names = [prefix + "_".join(path).upper() for path, _ in _settings(schema)]
    lines = []
    for name in sorted(environ):
        upper = name.upper()
        rest = upper.removeprefix(prefix)
        # Two underscores mark Meltano's own variables, such as TAP_X__SELECT.
        meltanos = rest.startswith("_") and prefix + rest.lstrip("_") not in names
        if rest in {upper, *_NO_SETTINGS} or meltanos or name in names:
            continue
        close = difflib.get_close_matches(upper, names, n=1)
        hint = f"did you mean {close[0]}?" if close else "see --about for all settings"
        lines.append(f"the variable {name} is not a setting; {hint}")
    return lines


def set_variables(
    schema: Mapping[str, Any], prefix: str, environ: Mapping[str, str]
) -> list[str]:
    """Return the names of the variables that hold a setting."""
    names = (prefix + "_".join(path).upper() for path, _ in _settings(schema))
    return [name for name in names if environ.get(name, "").strip()]


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of both; the second take precedence, in sections, too."""
    result = dict(first)
    for name, value in second.items():
        before = result.get(name)
        both = isinstance(value, dict) and isinstance(before, dict)
        result[name] = merged(before, value) if both and before else value
    return result


def _settings(
    schema: Mapping[str, Any], path: KeyPath = ()
) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield all settings; a section comes before its settings."""
    for name, part in schema.get("properties", {}).items():
        if name.startswith("__"):
            continue  # an option of stream maps
        yield (*path, name), part
        yield from _settings(part, (*path, name))


def _nested(path: KeyPath, value: object) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    assert isinstance(value, dict)  # noqa: S101 - a path is not empty
    return value


def _value(name: str, text: str, kinds: object) -> object:
    """Return the value of a variable, converted to the type of its setting."""
    every = {kinds} if isinstance(kinds, str) else set(kinds or ())  # type: ignore[call-overload]
    if "string" in every:
        if text[0] == text[-1] and text[0] in _QUOTES and text != text[0]:
            raise InvalidInput(
                f"{name} is in quotes, which are part of the value here: remove them"
            )
        return text
    if "boolean" in every:
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise InvalidInput(f"{name} is not true or false")
    value = _parsed(text)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if every & {"integer", "number"} and not number:
        raise InvalidInput(f"{name} is not a number")
    if every & {"object"} and not isinstance(value, dict):
        raise InvalidInput(f"{name} is not one JSON object")
    if every & {"array"} and not isinstance(value, list):
        raise InvalidInput(f'{name} is not a JSON array, as ["a", "b"]')
    return text if value is None else value


def _parsed(text: str) -> object:
    """Return the decoded JSON in a text, None if it is not JSON."""
    with suppress(ValueError):
        return int(text)  # also 007, which is not valid JSON
    with suppress(ValueError, RecursionError):
        value: object = json.loads(text)
        return value
    return None
