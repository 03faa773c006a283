"""From a body to rows, and from a vendor's row to a record of a stream.

A field is converted by the type that the packaged schema gives its column:

| column         | taken as it is  | also taken                            |
|----------------|-----------------|---------------------------------------|
| integer        | a 64-bit number | "123", "-5"; 12.0 up to 2**53         |
| string         | text            | a number or truth value: its JSON text|
| `x-derived`    | as integer      | (shown as a date-time in UTC)         |

Anything else is null in its column and is kept raw in `additional_fields` under the
vendor's name, as are fields that no column has. NUL and lone surrogates, which no
database takes, become U+FFFD in every text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from tap_email_metrics.privacy import Privacy, Treatment

ACCOUNT = "account"
"""The column that says which account was read."""

EXTRA = "additional_fields"
"""The column that holds what has no column of its own."""

Converter: TypeAlias = Callable[[Any], str | int | None]
"""Makes a column's value of a JSON value other than null, or raises `_Unfit`."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_EXACT = 2.0**53
"""Up to here a float still says which integer was written."""

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\."
)
"""An escape in JSON text; a surrogate without its other half is group 1."""

_MAX_DEPTH = 32
"""Levels of nesting that are kept as they are in `additional_fields`."""

_DECODER = msgspec.json.Decoder()


def decode_json(body: bytes) -> object:
    r"""Return what a JSON body in UTF-8 says.

    Lone surrogates (`"\ud83d"`) and bytes that are not UTF-8 become U+FFFD, so that
    one cut-off emoji does not make a whole list unreadable.

    Raises:
        msgspec.DecodeError: it is not JSON, holds a number that no float can hold
            or a whole one of more than 4,300 digits, or is nested too deeply. The
            message quotes nothing of the body.
    """
    try:
        return _decode(body)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None


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


class _Unfit(ValueError):  # noqa: N818 - never leaves this module
    """The value has no place in its column."""


def _integer(value: object) -> int:
    if type(value) is int and _SMALLEST <= value <= _LARGEST:
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return _integer(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    raise _Unfit


def _string(value: object) -> str:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise _Unfit


def _instant(value: object) -> str:
    """Return epoch milliseconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    try:
        moment = _EPOCH + timedelta(milliseconds=_integer(value))
    except OverflowError:
        raise _Unfit from None
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


def _instant_or_null(value: object) -> str | None:
    """Like `_instant`, beside a column that shows the number in any case."""
    try:
        return _instant(value)
    except _Unfit:
        return None


_CONVERTERS: dict[str, Converter] = {"integer": _integer, "string": _string}


def _kept(value: object) -> object:
    """Return a raw value as `additional_fields` can hold it, but for bad text."""
    return _json_text(value) if _is_deep(value) else value


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        cleaned: dict[str, object] = {}
        for name, item in value.items():
            cleaned[_free(storable(name), cleaned)] = _cleaned(item)
        return cleaned
    return value


def _free(name: str, taken: Collection[str]) -> str:
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


def _is_deep(value: object) -> bool:
    """Say whether lists and objects are nested more than `_MAX_DEPTH` deep."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


class _Column(NamedTuple):
    """How one selected column is made: `source` is the vendor's name, or its own."""

    name: str
    source: str
    convert: Converter
    treat: Treatment | None


def _converter(column: dict[str, Any], shown: Collection[str]) -> Converter:
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
    kinds = [kind for kind in _types(column) if kind != "null"]
    if derived or "format" in column or len(kinds) != 1 or kinds[0] not in _CONVERTERS:
        raise ValueError(f"No converter makes a column {column}")
    return _CONVERTERS[kinds[0]]


def _types(column: dict[str, Any]) -> list[str]:
    types: str | list[str] = column["type"]
    return [types] if isinstance(types, str) else types


def _plan(
    columns: dict[str, dict[str, Any]], privacy: Privacy
) -> Iterator[tuple[bool, _Column]]:
    """Yield the selected columns, each with whether it comes from the vendor's row."""
    shown = {
        column["x-source"]
        for column in columns.values()
        if "x-source" in column and "x-derived" not in column
    }
    for name, column in columns.items():
        if name not in (ACCOUNT, EXTRA):
            mark = column.get("x-pii")
            treat = privacy.treatment(mark) if mark else None
            source = column.get("x-source", name)
            convert = _converter(column, shown)
            yield "x-source" in column, _Column(name, source, convert, treat)


def _fill(
    record: dict[str, object],
    columns: Iterable[_Column],
    values: dict[str, Any],
) -> dict[str, object]:
    """Set columns of a record; return the values that have no place in theirs."""
    unfit: dict[str, object] = {}
    for name, source, convert, treat in columns:
        value = values.get(source)
        if value is not None:
            try:
                value = convert(value)
            except _Unfit:
                unfit[source] = value
            else:
                record[name] = value if treat is None or value is None else treat(value)
    return unfit


class RowCodec:
    """Turns one decoded row of a vendor into one record of a stream.

    Columns are read from the packaged schema, once: `x-source` names the vendor's
    field, `x-derived` a companion of one, `x-pii` its treatment. What has no
    `x-source` is the account, `additional_fields`, or comes from the request's path.

    Attributes:
        rejected: rows left out because a key was missing or unusable.
        uncoercible: how often a value did not fit its column, by the vendor's name.
        unknown: how often a field came that no column has, by the vendor's name.

    Raises:
        ValueError: the schema lacks a key, or has a column that no converter makes.
    """

    def __init__(
        self,
        schema: dict[str, Any],
        *,
        key: Sequence[str],
        selected: Collection[str] | None,
        account: str,
        privacy: Privacy,
    ) -> None:
        """Compile the plan.

        Args:
            schema: the packaged schema, as `load_schema` returns it.
            key: the names of the key columns, which are always selected.
            selected: the names of the columns wanted; None: all.
            account: the value of the column `account`.
            privacy: what becomes of columns with an `x-pii` mark.
        """
        every = schema["properties"]
        if not every.keys() >= set(key):
            raise ValueError(f"The schema lacks a key of {tuple(key)}")
        wanted = every if selected is None else {*selected, *key}
        columns = {name: every[name] for name in every if name in wanted}
        self.rejected = 0
        self.uncoercible: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self._key = tuple(key)
        self._blank: dict[str, object] = dict.fromkeys(columns)
        if ACCOUNT in columns:
            self._blank[ACCOUNT] = storable(account)
        self._keeps_extra = EXTRA in columns and privacy.treatment("opaque") is None
        self._known = frozenset(
            column["x-source"] for column in every.values() if "x-source" in column
        )
        plan = tuple(_plan(columns, privacy))
        self._from_row = tuple(column for in_row, column in plan if in_row)
        self._from_path = tuple(column for in_row, column in plan if not in_row)

    def record(self, row: object, **from_path: object) -> dict[str, object] | None:
        """Return the selected columns of a row in schema order, null where absent.

        Args:
            row: an object decoded from JSON; anything else is rejected.
            from_path: the columns that no row carries, such as `message_id=123`.

        Returns:
            None where a key column would be null or empty: the row is counted in
            `rejected`.

        Raises:
            KeyError: a column from the path was not given.
        """
        if not isinstance(row, dict):
            self.rejected += 1
            return None
        record = self._blank.copy()
        unfit = _fill(record, self._from_row, row)
        path = {column.name: from_path[column.name] for column in self._from_path}
        unfit |= _fill(record, self._from_path, path)
        unknown = row.keys() - self._known
        if unknown or unfit:
            self._hold(record, unfit, {k: row[k] for k in row if k in unknown})
        for name in self._key:
            if record[name] is None or record[name] == "":
                self.rejected += 1
                return None
        return record

    def _hold(
        self,
        record: dict[str, object],
        unfit: dict[str, object],
        unknown: dict[str, object],
    ) -> None:
        """Count fields without a place, and keep them where that is asked for."""
        self.uncoercible.update(unfit.keys())
        self.unknown.update(map(storable, unknown))
        if self._keeps_extra:
            record[EXTRA] = _cleaned(
                {name: _kept(value) for name, value in (unfit | unknown).items()}
            )


def to_integer(value: object) -> int | None:
    """Return a value as an integer column would hold it, None where it has no place."""
    try:
        return _integer(value)
    except _Unfit:
        return None
