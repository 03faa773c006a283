"""The columns of a stream, compiled once from its packaged schema.

`x-source` is the vendor's field of a column. `stats.em_opens` is a field of a group,
which is an object in the row, or a list of objects without common fields. An unknown
field of a group may be a known one with dots for underscores (`em_opens.all`);
otherwise it is kept under its dotted path. A group of another form is kept only if all
its columns are selected, because it contains all of them.

`x-derived` marks a companion of a field (`epoch-ms`, `recipient-domain`) or an event
id. `x-pii` decides how a column is treated. A column without these and without a source
is the account, the time of extraction, `additional_fields`, or comes from the request.

A column with `"x-derived": "event-id"` is the id of an event without an id of the
vendor's. It has the first 32 hex digits of the SHA-256 (in a `pii.mode` other than
plain: of the HMAC with the pepper) of compact JSON in UTF-8. The JSON is a list of the
account, the stream, the columns in `x-identity`, and the number of earlier events with
the same columns. The columns come from the row or the request, before `x-pii` applies.
A column that the schema lacks is null. Text that does not fit its column is used
unchanged, unless it is blank; any other value is used as JSON text, unless it is empty.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tap_email_metrics.records.values import (
    Converter,
    converter_of,
    free_name,
    storable,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tap_email_metrics.records.privacy import Privacy, Treatment
    from tap_email_metrics.records.values import Json, Row

ACCOUNT = "account"
"""The column with the account that was read."""

EXTRACTED_AT = "extracted_at"
"""The column with the time at which the list of a row was read."""

EXTRA = "additional_fields"
"""The column with unknown fields and values that did not fit."""

EVENT_ID = "event-id"
"""The value of `x-derived` for a column with event ids."""

Schema = dict[str, "Json"]

_OWN = (ACCOUNT, EXTRACTED_AT, EXTRA)
_ID_LENGTH = 32
_SEPARATOR = "."  # in an `x-source`, between a group and its field
_ENCODER = msgspec.json.Encoder()


class Column(NamedTuple):
    """A selected column. `source` is the vendor's field, or else the column's name."""

    name: str
    source: str
    convert: Converter
    treat: Treatment | None


class Moments(NamedTuple):
    """The replication key: the time when a row was added or changed.

    Attributes:
        column: the column.
        is_number: the vendor sends epoch milliseconds, not text.
    """

    column: Column
    is_number: bool


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a stream's records.

    Attributes:
        schema: schemas of all columns by name, including those not selected.
        blank: the selected columns in order, with the values that all rows share.
        from_row: the selected columns that are read from the vendor's row.
        from_request: the selected columns that come from the request.
        known: the vendor's fields that have a column, selected or not.
        key: the names of the key columns.
        key_sources: the vendor's fields that are part of the key.
        moments: the replication key, None if the rows do not have it.
        identity: makes event ids; None if the vendor gives rows a key.
        groups: the groups of fields that columns are taken from.
        keeps_extra: whether unknown fields and values that do not fit are kept.
    """

    schema: dict[str, Schema]
    blank: dict[str, object]
    from_row: tuple[Column, ...]
    from_request: tuple[Column, ...]
    known: frozenset[str]
    key: tuple[str, ...]
    key_sources: tuple[str, ...]
    moments: Moments | None
    identity: Identity | None
    groups: Groups
    keeps_extra: bool


def compile_columns(  # noqa: PLR0913 - facts of one stream
    schema: Schema,
    *,
    key: Sequence[str],
    selected: Collection[str] | None,
    account: str,
    privacy: Privacy,
    replication_key: str | None = None,
) -> Columns:
    """Return the columns of a stream.

    Args:
        schema: the packaged schema, as `load_schema` returns it.
        key: the names of the key columns, which are always selected.
        selected: the names of the selected columns; None: all.
        account: the value of the column `account`.
        privacy: treats columns with an `x-pii` mark.
        replication_key: the name of that column.

    Raises:
        ValueError: the schema lacks a key, or has a column that no converter makes.
    """
    every: dict[str, Schema] = schema["properties"]
    if not every.keys() >= set(key):
        raise ValueError(f"The schema lacks a key of {tuple(key)}")
    wanted = every if selected is None else {*selected, *key}
    columns = {name: every[name] for name in every if name in wanted}
    blank: dict[str, object] = dict.fromkeys(columns)
    if ACCOUNT in columns:
        blank[ACCOUNT] = storable(account)
    event_ids = [n for n in columns if columns[n].get("x-derived") == EVENT_ID]
    plan = tuple(_plan(columns, key, privacy))
    return Columns(
        schema=every,
        blank=blank,
        from_row=tuple(column for in_row, column in plan if in_row),
        from_request=tuple(column for in_row, column in plan if not in_row),
        known=frozenset(c["x-source"] for c in every.values() if "x-source" in c),
        key=tuple(key),
        key_sources=tuple(
            every[name]["x-source"] for name in key if "x-source" in every[name]
        ),
        moments=_moments(replication_key, every) if replication_key else None,
        identity=(
            Identity(event_ids[0], schema, key, storable(account), privacy)
            if event_ids
            else None
        ),
        groups=Groups(every, columns),
        keeps_extra=EXTRA in columns and privacy.treatment("opaque") is None,
    )


def _plan(
    columns: dict[str, Schema], key: Collection[str], privacy: Privacy
) -> Iterator[tuple[bool, Column]]:
    """Yield the selected columns, each with whether it comes from the vendor's row."""
    shown = {
        column["x-source"]
        for column in columns.values()
        if "x-source" in column and "x-derived" not in column
    }
    for name, column in columns.items():
        if name not in _OWN and column.get("x-derived") != EVENT_ID:
            # A catalog may make any column a part of the key, also a personal one.
            stays = name in key and "x-pii" not in column
            treat = None if stays else _treatment(column, privacy)
            source = column.get("x-source", name)
            convert = converter_of(column, shown)
            yield "x-source" in column, Column(name, source, convert, treat)


def _treatment(column: Schema, privacy: Privacy) -> Treatment | None:
    """Return the treatment of a column that is not part of the key."""
    mark = column.get("x-pii")
    if mark:
        return privacy.treatment(mark)
    holds_text = not {"string", "array", "object"}.isdisjoint(types_of(column))
    return privacy.unmarked if holds_text and "format" not in column else None


def _moments(name: str, every: dict[str, Schema]) -> Moments | None:
    """Return the replication key, None if the rows do not have it."""
    column = every[name]
    if "x-source" not in column:
        return None
    made = Column(name, column["x-source"], converter_of(column, ()), None)
    return Moments(made, "integer" in types_of(column))


# Groups


class _Group(NamedTuple):
    """An object in a row whose fields have columns.

    Attributes:
        paths: dotted path of each field that has a column.
        selected: the paths whose column is selected.
    """

    paths: dict[str, str]
    selected: set[str]


class Groups:
    """The groups of fields that columns are taken from."""

    def __init__(self, every: dict[str, Schema], selected: Collection[str]) -> None:
        self._groups: dict[str, _Group] = {}
        for name, column in every.items():
            path = column.get("x-source", "")
            group_name, dot, field = path.partition(_SEPARATOR)
            if dot:
                group = self._groups.setdefault(group_name, _Group({}, set()))
                group.paths[field] = path
                if name in selected:
                    group.selected.add(path)

    def __bool__(self) -> bool:
        """Return whether any column is taken from a group."""
        return bool(self._groups)

    def is_selected_whole(self, name: str) -> bool:
        """Return whether all columns of a group are selected."""
        group = self._groups[name]
        return len(group.selected) == len(group.paths)

    def flatten(self, row: Row) -> tuple[Row, Row]:
        """Replace the groups of a row by their fields, under dotted paths.

        Returns:
            The row without groups, and the groups of another form with at least one
            selected column.
        """
        flat: Row = {}
        odd: Row = {}
        for name, group in self._groups.items():
            value = row.get(name)
            fields = {} if value is None else _merged(value)
            if fields is not None:
                flat |= _spread(name, fields, group.paths)
            elif group.selected:
                odd[name] = value
        for name, value in row.items():
            if name not in self._groups:
                flat[free_name(name, flat)] = value
        return flat, odd


def _merged(group: object) -> Row | None:
    """Return a group as one object; None if it has another form."""
    merged: Row = {}
    for part in group if isinstance(group, list) else [group]:
        if not isinstance(part, dict) or merged.keys() & part.keys():
            return None
        merged |= part
    return merged


def _spread(name: str, group: Row, paths: dict[str, str]) -> Row:
    """Return the fields of a group by their dotted paths."""
    flat = {path: group[field] for field, path in paths.items() if field in group}
    for field, value in group.items():
        if field not in paths:
            path = paths.get(field.replace(_SEPARATOR, "_"))
            if path is None or flat.get(path) is not None:
                path = f"{name}{_SEPARATOR}{field}"
            flat[path] = value
    return flat


# Event ids


class Identity:
    """Makes the ids of events from the columns that distinguish them.

    Attributes:
        column: the name of the column that holds the ids.
        is_key: whether that column is part of the key.
        blank: the columns of the identity in order, null.
        from_row: the columns of the identity that are read from the row.
        from_request: the columns of the identity that come from the request.

    Raises:
        ValueError: a column of the identity is neither text nor integer, or is in a
            group.
    """

    def __init__(
        self,
        column: str,
        schema: Schema,
        key: Collection[str],
        account: str,
        privacy: Privacy,
    ) -> None:
        every = schema["properties"]
        names = every[column]["x-identity"]
        self.column = column
        self.is_key = column in key
        self._start = (account, schema["title"])
        self.blank: dict[str, object] = dict.fromkeys(names)
        made = {n: _identifying(n, every[n]) for n in names if n in every}
        self.from_row = tuple(made[n] for n in made if "x-source" in every[n])
        self.from_request = tuple(made[n] for n in made if "x-source" not in every[n])
        plain = privacy.mode == "plain"
        self._pepper = None if plain else privacy._pepper  # noqa: SLF001 - one keeper

    def id(self, values: Iterable[object], occurrence: int) -> str:
        """Return the id of an event.

        Args:
            values: the columns of the identity, in order.
            occurrence: the number of earlier events with the same values.
        """
        data = _ENCODER.encode((*self._start, *values, occurrence))
        if self._pepper is None:
            return hashlib.sha256(data).hexdigest()[:_ID_LENGTH]
        return hmac.digest(self._pepper, data, "sha256").hex()[:_ID_LENGTH]


def _identifying(name: str, column: Schema) -> Column:
    source = column.get("x-source", name)
    if _SEPARATOR in source or not {"string", "integer", "null"} >= {*types_of(column)}:
        raise ValueError(f"No identity is made from a column {column}")
    return Column(name, source, converter_of(column, ()), None)
