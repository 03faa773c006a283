"""From a body to values, and from a value of the vendor's to one of a column.

A field is converted by the type that the packaged schema gives its column:

| column         | taken as it is  | also taken                            |
|----------------|-----------------|---------------------------------------|
| integer        | a 64-bit number | "123", "-5"; 12.0 up to 2**53         |
| number         | a float         | as integer; "12.5", "1e3"             |
| boolean        | true, false     | "true", "false"                       |
| string         | text            | a number or truth value: its JSON text|
| ... date-time  |                 | RFC 3339 text; without an offset: UTC;|
|                |                 | " GMT", "+00", no seconds, outer space|
| ... date       | "2020-09-17"    | as date-time: its day in UTC          |
| ... both       |                 | "", "0000-00-00", ...: null           |
| array, object  | a list, object  | (items of a list: as such columns)    |
| `epoch-ms`     | as integer      | (shown as a date-time in UTC)         |

Anything else is null in its column and is kept raw in `additional_fields` under the
vendor's name, as are fields that no column has. NUL and lone surrogates, which no
database takes, become U+FFFD in every text. Date-times are shown in UTC with
milliseconds; what is finer is cut off.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
)
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, NamedTuple, TypeAlias

import msgspec

Json: TypeAlias = Any
"""A value decoded from JSON."""

Row: TypeAlias = dict[str, Any]
"""A row of a list, as the vendor's JSON has it."""

Converter: TypeAlias = Callable[[Any], Any]
"""Makes a column's value of a JSON value other than null, or raises `Unfit`."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_EXACT = 2.0**53
"""Up to here a float still says which integer was written."""

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_FRACTION = re.compile(
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)"
)
"""A number as JSON writes it, but for plain integers."""

_BOOLEANS = {"true": True, "false": False}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(:[0-5]\d)?(?:\.(\d{1,9}))?"
    r"(?: ?(Z|GMT|UTC|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?))?",
    re.ASCII | re.IGNORECASE,
)
_UTC = ("Z", "GMT", "UTC")
_NEVER = ("", "0000-00-00", "0000-00-00 00:00:00")
"""How databases that know no null write a date that is none."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_IN_HOUR = tuple(
    f":{minute:02}:{second:02}" for minute in range(60) for second in range(60)
)
_FRACTIONS = tuple(f".{milliseconds:03}Z" for milliseconds in range(1000))
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\."
)
"""An escape in JSON text; a surrogate without its other half is group 1."""

_MAX_DEPTH = 32
"""Levels of nesting that are kept as they are in `additional_fields`."""

_NESTING = frozenset({dict, list})

DEEPEST = 500
"""Levels that a body may have: half of what Python bears, so that whoever walks over a
value later, deeper in calls of his own, does not fail where the decoder did not."""

_DECODER = msgspec.json.Decoder()


def decode_json(body: bytes) -> object:
    r"""Return what a JSON body in UTF-8 says.

    Lone surrogates (`"\ud83d"`) and bytes that are not UTF-8 become U+FFFD, so that
    one cut-off emoji does not make a whole list unreadable.

    Raises:
        msgspec.DecodeError: it is not JSON, holds a number that no float can hold
            or a whole one of more than 4,300 digits, or is nested deeper than
            `DEEPEST`. The message quotes nothing of the body.
    """
    try:
        value = _decode(body)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None
    if is_deep(value, DEEPEST):
        raise msgspec.DecodeError("JSON is nested too deeply")
    return value


def _decode(body: bytes) -> object:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8-sig", "replace")
    return _DECODER.decode(_ESCAPE.sub(_mended, text))


def _mended(escape: re.Match[str]) -> str:
    return r"\ufffd" if escape[1] else escape[0]


def storable(text: str) -> str:
    """Return text with each NUL and lone surrogate replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


class Unfit(ValueError):  # noqa: N818 - says what the value is
    """The value has no place in its column."""


def _integer(value: object) -> int:
    if type(value) is int and _SMALLEST <= value <= _LARGEST:
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return _integer(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    raise Unfit


def _string(value: object) -> str:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise Unfit


def _instant(value: object) -> str:
    """Return epoch milliseconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    return instants([_integer(value)])[0]


def instants(values: Iterable[int]) -> list[str]:
    """Return epoch milliseconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`.

    Raises:
        ValueError: one lies outside the years 1 to 9999.
    """
    return [
        _hour(ms // 3_600_000) + _IN_HOUR[ms // 1000 % 3600] + _FRACTIONS[ms % 1000]
        for ms in values
    ]


@functools.lru_cache(4096)
def _hour(number: int) -> str:
    """Return an hour since 1970 as `YYYY-MM-DDTHH`: rows have few of them."""
    try:
        return (_EPOCH + timedelta(hours=number)).isoformat()[: len("YYYY-MM-DDTHH")]
    except OverflowError:
        raise Unfit from None


def _instant_or_null(value: object) -> str | None:
    """Like `_instant`, beside a column that shows the number in any case."""
    try:
        return _instant(value)
    except Unfit:
        return None


def _number(value: object) -> float:
    if isinstance(value, str) and _FRACTION.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _integer(value)


def _boolean(value: object) -> bool:
    truth = _BOOLEANS.get(value) if isinstance(value, str) else value
    if isinstance(truth, bool):
        return truth
    raise Unfit


def _moment(value: object) -> str:
    """Return RFC 3339 text, or a near spelling, as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    found = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise Unfit
    day, minute, second, fraction, offset = found.groups()
    if fraction and not second:
        raise Unfit
    text = f"{day}T{minute}{second or ':00'}"
    try:
        if offset is None or offset.upper() in _UTC:
            datetime.fromisoformat(text)  # raises where there is no such day
        else:
            moment = datetime.fromisoformat(text + offset).astimezone(UTC)
            text = moment.isoformat()[:-6]
    except (OverflowError, ValueError):
        raise Unfit from None
    return f"{text}.{(fraction or '')[:3]:0<3}Z"


def _day(value: object) -> str:
    if isinstance(value, str) and _DAY.fullmatch(value):
        value = f"{value}T00:00:00"
    return _moment(value)[: len("YYYY-MM-DD")]


def _moment_or_null(value: object) -> str | None:
    return None if value in _NEVER else _moment(value)


def _day_or_null(value: object) -> str | None:
    return None if value in _NEVER else _day(value)


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise Unfit
    if not _nested(value):
        # Most are flat, and hold nothing that has to be replaced.
        texts = [item for item in value.values() if isinstance(item, str)]
        if _stay([*value, *texts]):
            return value
    if is_deep(value, _MAX_DEPTH):
        raise Unfit
    return _cleaned(value)


def _list(value: object, *, convert: Converter) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit
    return [None if item is None else convert(item) for item in value]


def _kept(value: object) -> object:
    """Return a raw value as `additional_fields` can hold it, but for bad text."""
    return _json_text(value) if is_deep(value, _MAX_DEPTH) else value


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        cleaned: dict[str, object] = {}
        for name, item in value.items():
            cleaned[free_name(storable(name), cleaned)] = _cleaned(item)
        return cleaned
    return value


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, longer by U+FFFD where cleaning made two names one."""
    while name in taken:
        name += "\ufffd"
    return name


def _json_text(value: object) -> str:
    """Return ASCII JSON: what is nested too deeply for the programs downstream."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "(nested too deeply)"


def is_deep(value: object, most: int) -> bool:
    """Return whether lists and objects are nested more than so many levels deep."""
    level = _nested([value])
    for _ in range(most - 1):
        level = [child for node in level for child in _nested(node)]
        if not level:
            return False
    return any(level)


def _nested(node: Json) -> list[Json]:
    """Return the lists and objects in a list or object."""
    children = node.values() if isinstance(node, dict) else node
    if _NESTING.isdisjoint(map(type, children)):
        return []
    return [child for child in children if type(child) in _NESTING]


_CONVERTERS: dict[tuple[str, str | None], Converter] = {
    ("integer", None): _integer,
    ("number", None): _number,
    ("boolean", None): _boolean,
    ("string", None): _string,
    ("string", "date-time"): _moment_or_null,
    ("string", "date"): _day_or_null,
    ("object", None): _object,
}
"""The converter of a column, by its type and format."""
_NATIVE: dict[Converter, type] = {
    _integer: int,
    _number: float,
    _boolean: bool,
    _string: str,
}
"""Converters that return a value of this type as it is, if it is in range and holds
only storable text."""


class Converted(NamedTuple):
    """A column: a value per row, null where the vendor's value did not fit."""

    values: list[Any]
    unfit: dict[int, object]
    """The vendor's values that did not fit, by their row."""


_ALL_FIT: dict[int, object] = {}


def convert_column(
    convert: Converter, values: list[Any], *, typed: bool = False
) -> Converted:
    """Convert one column of a page; nulls stay null.

    Args:
        convert: converts one value.
        values: the vendor's value of each row.
        typed: the decoder has checked the types, and no text holds a NUL.
    """
    native = _NATIVE.get(convert)
    if typed and native:
        return Converted(values, _ALL_FIT)
    kinds = {*map(type, values)}
    if kinds == {int} and convert in (_instant, _instant_or_null):
        with contextlib.suppress(Unfit):
            return Converted(instants(values), _ALL_FIT)
    if kinds <= {native, NoneType}:
        known = [*filter(None, values)] if NoneType in kinds else values
        if _stay(known):
            return Converted(values, _ALL_FIT)
    elif native and _stay([value for value in values if type(value) is native]):
        return _convert_each(convert, values, native)
    return _convert_each(convert, values, None)


def _convert_each(
    convert: Converter, values: list[Any], as_it_is: type | None
) -> Converted:
    """Convert a column value by value, except for those of one type."""
    made: list[Any] = []
    unfit: dict[int, object] = {}
    for place, value in enumerate(values):
        if value is None or type(value) is as_it_is:
            made.append(value)
            continue
        try:
            made.append(convert(value))
        except Unfit:
            unfit[place] = value
            made.append(None)
    return Converted(made, unfit)


def _stay(values: list[Any]) -> bool:
    """Return whether a converter returns values of its native type as they are."""
    first = values[0] if values else None
    if isinstance(first, str):
        text = "".join(values)
        return text.isascii() and "\0" not in text
    if type(first) is int:
        return bool(min(values) >= _SMALLEST and max(values) <= _LARGEST)
    return not isinstance(first, float) or all(map(math.isfinite, values))


def map_known(make: Converter, values: list[Any]) -> list[Any]:
    """Return what `make` returns for each value; nulls stay null."""
    if None in values:
        return [None if value is None else make(value) for value in values]
    return [*map(make, values)]


def converter_of(column: dict[str, Any], shown: Collection[str]) -> Converter:
    """Return what makes a column's values.

    Args:
        column: its schema.
        shown: the vendor's fields that a selected column shows as they are.

    Raises:
        ValueError: nothing here makes such a column.
    """
    derived = column.get("x-derived")
    if derived == "epoch-ms":
        return _instant_or_null if column["x-source"] in shown else _instant
    kinds = [kind for kind in types_of(column) if kind != "null"]
    form = (kinds[0], column.get("format")) if len(kinds) == 1 else None
    if form == ("array", None) and "items" in column and not derived:
        return functools.partial(_list, convert=converter_of(column["items"], ()))
    if derived or form not in _CONVERTERS:
        raise ValueError(f"No converter makes a column {column}")
    return _CONVERTERS[form]


def types_of(column: dict[str, Any]) -> list[str]:
    """Return the JSON types of a column."""
    types: str | list[str] = column["type"]
    return [types] if isinstance(types, str) else types


def extra(fields: Mapping[str, object]) -> object:
    """Return fields without a place as `additional_fields` holds them: in order."""
    return _cleaned({name: _kept(fields[name]) for name in sorted(fields)})


def to_integer(value: object) -> int | None:
    """Return a value as an integer column would hold it, None where it has no place."""
    try:
        return _integer(value)
    except Unfit:
        return None


def to_milliseconds(value: object) -> int | None:
    """Return RFC 3339 text as epoch milliseconds, None for anything else."""
    try:
        return from_instant(_moment(value))
    except Unfit:
        return None


def from_instant(shown: str) -> int:
    """Return a date-time as a column shows it as epoch milliseconds."""
    return (datetime.fromisoformat(shown) - _EPOCH) // _MILLISECOND


def to_instant(milliseconds: int) -> str:
    """Return epoch milliseconds as a date-time column shows them."""
    return _instant(milliseconds)
