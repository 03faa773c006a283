"""Checks the settings against their schema, and explains the errors."""

from __future__ import annotations

import difflib
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema import ValidationError


_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, and halves of characters. A variable with bytes outside UTF-8 has the latter."""
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters without width, such as a byte order mark."""


def stripped(text: str) -> str:
    """Return a text without outer white space and outer characters without width.

    A secret from a file often ends with a line feed or begins with a byte order mark.
    """
    while (bare := text.strip().strip(_INVISIBLE)) != text:
        text = bare
    return text


def without_empty(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without nulls, empty strings and empty sections.

    Meltano passes an empty variable as an empty value. Text is stripped. A Decimal,
    which the SDK reads for a fraction in a file, becomes a float.
    """
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict) and name not in {"stream_maps", "stream_map_config"}:
            section = without_empty(item)
            if section:
                kept[name] = section
        elif isinstance(item, Decimal):
            kept[name] = float(item)
        elif isinstance(item, str):
            if text := stripped(item):
                kept[name] = text
        elif isinstance(item, list):
            bare = (stripped(one) if isinstance(one, str) else one for one in item)
            kept[name] = [one for one in bare if one != ""]
        elif item is not None:
            kept[name] = item
    return kept


def conformed(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with numbers converted to the type of their setting.

    In YAML and JSON an id such as 10055 may be a number, and 4 may be 4.0.

    Args:
        config: the settings.
        schema: their JSON Schema.
    """
    kept: dict[str, Any] = {}
    for name, value in config.items():
        part = schema.get("properties", {}).get(name, {})
        kinds = part.get("type", ())
        if isinstance(value, dict):
            kept[name] = conformed(value, part) if part.get("properties") else value
        elif _is_whole(value) and "integer" in kinds:
            kept[name] = int(value)
        elif _is_whole(value) and "string" in kinds and "enum" not in part:
            kept[name] = str(int(value))
        else:
            kept[name] = value
    return kept


def _is_whole(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


_REFUSED = {
    "batch_config": "BATCH files would contain columns that are not selected; leave it "
    "out, records are written as RECORD messages"
}
"""Settings of the SDK that this tap refuses, and the reason."""


def errors(
    config: Mapping[str, Any],
    schema: Mapping[str, Any],
    replaced: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the errors in settings, one line each, without their values.

    Args:
        config: the settings.
        schema: their JSON Schema.
        replaced: former settings by dotted name, and what to write instead.
    """
    refused = {**_REFUSED, **(replaced or {})}
    # The SDK's schema of stream maps is not valid, so they are checked separately.
    maps = {"stream_maps": {"type": ["object", "null"]}}
    checked = {**schema, "properties": {**schema["properties"], **maps}}
    found = Draft202012Validator(checked).iter_errors(config)
    lines = [line for error in found for line in _explain(error, refused)]
    return sorted([*lines, *_unusable(config)])


def _unusable(config: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in config.items():
        texts = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            yield from _unusable(value, f"{path}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{path}{name} must be a finite number"
        elif any(isinstance(one, str) and _UNUSABLE.search(one) for one in texts):
            yield f"{path}{name} has a character that is not text: write it again"


def _explain(error: ValidationError, refused: Mapping[str, str]) -> Iterator[str]:
    path = ".".join(str(part) for part in error.absolute_path) or "config"
    wanted: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            schema: Any = error.schema
            given: Any = error.instance
            known = list(schema["properties"])
            for name in sorted(set(given) - set(known)):
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {known}"
                where = name if path == "config" else f"{path}.{name}"
                if where in refused:
                    yield f"{where} is refused: {refused[where]}"
                    continue
                yield f"unknown setting {where}; {hint}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            names = " or ".join(kind for kind in kinds if kind != "null")
            yield f"{path} must be of type {names}"
        case "enum":
            choices = [choice for choice in wanted if choice is not None]
            yield f"{path} must be one of {', '.join(map(str, choices))}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            bound = {"minimum": "at least", "maximum": "at most"}
            word = bound.get(str(error.validator), "above")
            yield f"{path} must be {word} {wanted}"
        case _:
            yield f"{path} does not fit the schema ({error.validator})"
