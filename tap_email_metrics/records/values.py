"""Decodes JSON bodies, and converts the vendor's values to the values of columns.

The packaged schema gives each column its type, and the type decides the conversion:

| column         | unchanged       | converted                             |
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
| `recipient-    | an address      | anything else: null                   |
| domain`        |                 |                                       |

Any other value becomes null in its column, and is kept raw in `additional_fields` under
the vendor's name. So are fields without a column. NUL and lone surrogates, which no
database accepts, become U+FFFD in every text. Date-times are in UTC with milliseconds;
finer fractions are cut off.
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

from tap_email_metrics.clock import EARLIEST
from tap_email_metrics.records.mailboxes import recipient_domain

Json: TypeAlias = Any
"""A value decoded from JSON."""

Row: TypeAlias = dict[str, Any]
"""A row of a list in the vendor's JSON."""

Converter: TypeAlias = Callable[[Any], Any]
"""Converts a JSON value other than null to a column's value, or raises `Unfit`."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_EXACT = 2.0**53
"""Up to this number every integer is a distinct float."""

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_FRACTION = re.compile(
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)"
)
"""A number in JSON notation with a fraction or an exponent."""

_BOOLEANS = {"true": True, "false": False}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(:[0-5]\d)?(?:\.(\d{1,9}))?"
    r"(?: ?(Z|GMT|UTC|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?))?",
    re.ASCII | re.IGNORECASE,
)
_UTC = ("Z", "GMT", "UTC")
_NEVER = ("", "0000-00-00", "0000-00-00 00:00:00")
"""Values that databases without nulls store for a missing date."""

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
"""An escape in JSON text. Group 1 is a surrogate without its other half."""

_MAX_DEPTH = 32
"""A value in `additional_fields` with more levels of nesting is stored as text."""

_NESTING = frozenset({dict, list})

DEEPEST = 500
"""Most levels of nesting in a body: half of Python's recursion limit, so that later
recursive code does not fail on a value that the decoder has accepted."""

_DECODER = msgspec.json.Decoder()


def _float_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


_LOOSE_DECODER = json.JSONDecoder(
    parse_float=_float_or_text, parse_constant=str, strict=False
)


def decode_json(body: bytes) -> object:
    r"""Decode a JSON body in UTF-8.

    Lone surrogates (`"\ud83d"`) and bytes that are not UTF-8 become U+FFFD, so that
    one truncated emoji does not make a whole list unreadable.

    Raises:
        msgspec.DecodeError: the body is not JSON, has a number that no float can hold
            or an integer of more than 4,300 digits, or is nested deeper than
            `DEEPEST`. The message does not quote the body.
    """
    try:
        value = _decode(body)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None
    if is_deep(value, DEEPEST):
        raise msgspec.DecodeError("JSON is nested too deeply")
    return value


def decode_loosely(body: bytes) -> object:
    """Decode a JSON body that one value may make invalid, like `decode_json`.

    NaN, Infinity and numbers that no float can hold become text. A text may have
    control characters, such as a tab.

    Raises:
        msgspec.DecodeError: the body is not JSON in another way.
    """
    try:
        return decode_json(body)
    except msgspec.DecodeError as error:
        try:
            value = _LOOSE_DECODER.decode(_mended_text(body))
        except (ValueError, RecursionError):
            raise error from None
    if is_deep(value, DEEPEST):
        raise msgspec.DecodeError("JSON is nested too deeply")
    return value


def _decode(body: bytes) -> object:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _DECODER.decode(_mended_text(body))


def _mended_text(body: bytes) -> str:
    return _ESCAPE.sub(_mended, body.decode("utf-8-sig", "replace"))


def _mended(escape: re.Match[str]) -> str:
    return r"\ufffd" if escape[1] else escape[0]


def storable(text: str) -> str:
    """Return text with each NUL and lone surrogate replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


class Unfit(ValueError):  # noqa: N818 - describes the value
    """The value does not fit the type of its column."""


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
        Unfit: a value lies outside the years 1 to 9999.
    """
    return [
        _hour(ms // 3_600_000) + _IN_HOUR[ms // 1000 % 3600] + _FRACTIONS[ms % 1000]
        for ms in values
    ]


@functools.lru_cache(4096)
def _hour(number: int) -> str:
    """Return an hour since 1970 as `YYYY-MM-DDTHH`; rows share few distinct hours."""
    try:
        return (_EPOCH + timedelta(hours=number)).isoformat()[: len("YYYY-MM-DDTHH")]
    except OverflowError:
        raise Unfit from None


def _instant_or_null(value: object) -> str | None:
    """Like `_instant`, or None if unfit: another column shows the number anyway."""
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
            datetime.fromisoformat(text)  # raises if the day does not exist
        else:
            moment = datetime.fromisoformat(text + offset).astimezone(UTC)
            text = moment.isoformat()[:-6]
    except (OverflowError, ValueError):
        raise Unfit from None
    return f"{text}.{(fraction or '')[:3]:0<3}Z"


def _day(value: object) -> str:
    if isinstance(value, str) and _DATE.fullmatch(value):
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
        # Most objects are flat, and have no text to clean.
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
    """Return a raw value for `additional_fields`; deeply nested ones become text."""
    return json_text(value) if is_deep(value, _MAX_DEPTH) else value


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
    """Return a name that is not taken: cleaning may make two names equal."""
    while name in taken:
        name += "\ufffd"
    return name


def json_text(value: object) -> str:
    """Return a value as ASCII JSON."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "(nested too deeply)"


def is_deep(value: object, most: int) -> bool:
    """Return whether lists and objects are nested deeper than a number of levels."""
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
"""Converters that return a value of this type unchanged, if it is in range and its text
is storable."""


class Converted(NamedTuple):
    """The converted column of a page.

    Attributes:
        values: one value per row, None for a value that did not fit.
        unfit: the vendor's values that did not fit, by index of the row.
    """

    values: list[Any]
    unfit: dict[int, object]


_ALL_FIT: dict[int, object] = {}


def convert_column(
    convert: Converter, values: list[Any], *, typed: bool = False
) -> Converted:
    """Convert one column of a page; nulls stay null.

    Args:
        convert: converts one value.
        values: the vendor's value of each row.
        typed: the decoder has checked the types, and no text contains NUL.
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
    """Convert a column value by value; values of one type stay unchanged."""
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
    """Return whether a converter returns these values of its native type unchanged."""
    first = values[0] if values else None
    if isinstance(first, str):
        text = "".join(values)
        return text.isascii() and "\0" not in text
    if type(first) is int:
        return bool(min(values) >= _SMALLEST and max(values) <= _LARGEST)
    return not isinstance(first, float) or all(map(math.isfinite, values))


def is_id(value: object) -> bool:
    """Return whether a value can be the id of something: text or a number."""
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    return usable and value != ""


def map_known(make: Converter, values: list[Any]) -> list[Any]:
    """Apply a function to each value; nulls stay null."""
    if None in values:
        return [None if value is None else make(value) for value in values]
    return [*map(make, values)]


def converter_of(column: dict[str, Any], shown: Collection[str]) -> Converter:
    """Return the converter of a column.

    Args:
        column: schema of the column.
        shown: the vendor's fields that a selected column shows as numbers.

    Raises:
        ValueError: no converter fits the schema.
    """
    derived = column.get("x-derived")
    if derived == "epoch-ms":
        return _instant_or_null if column["x-source"] in shown else _instant
    if derived == "recipient-domain":
        return recipient_domain
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
    """Return fields without a column for `additional_fields`, sorted by name."""
    return _cleaned({name: _kept(fields[name]) for name in sorted(fields)})


def to_integer(value: object) -> int | None:
    """Return a value converted for an integer column, None if it does not fit."""
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
    """Return the epoch milliseconds of a date-time in the format of the columns."""
    return (datetime.fromisoformat(shown) - _EPOCH) // _MILLISECOND


def time_of_row(shown: str) -> int | None:
    """Return the epoch milliseconds of a date-time, None if it stands for none."""
    at = from_instant(shown)
    return None if at < EARLIEST * 1000 else at


def to_instant(milliseconds: int) -> str:
    """Return epoch milliseconds in the format of date-time columns."""
    return _instant(milliseconds)
