"""From a page to records at once: one decode, whole columns, no row by row.

This is the fast way of `RowCodec`, and does what it does, digit for digit, for pages
of which each row fits its types. It makes nothing of any other page: the caller then
goes the ordinary way, row by row, which repairs, counts and keeps what does not fit.
Fields that are not selected are skipped, not decoded: one that no float could hold
does not cost the page here.
"""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, overload

import msgspec

from tap_email_metrics.codec import instants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tap_email_metrics.codec import Column, Plan

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_KINDS: dict[str, Any] = {
    "integer": Integer,
    "number": Integer | float,
    "boolean": bool,
    "string": str,
}
_NUL = b"\\u0000"
_SKIPPED = msgspec.Raw()
Record = msgspec.Struct
Row = dict[str, object]
Value = TypeVar("Value")


class Table:
    """Rows of a page as records, beside the fields that the reading goes by.

    Attributes:
        records: one a row.
        integers: the vendor's fields, by name, a value a row.
    """

    __slots__ = ("integers", "records")

    def __init__(
        self, records: list[Record], integers: Mapping[str, list[int | None]]
    ) -> None:
        self.records = records
        self.integers = integers

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, part: slice) -> Table:
        integers = {name: column[part] for name, column in self.integers.items()}
        return Table(self.records[part], integers)

    def where(self, chosen: Sequence[bool]) -> Table:
        """Return the rows that are chosen."""
        integers = {name: _where(c, chosen) for name, c in self.integers.items()}
        return Table(_where(self.records, chosen), integers)


Rows = list[Row] | Table
"""Rows of a page, either way."""


@overload
def where(rows: Table, chosen: Sequence[bool]) -> Table: ...
@overload
def where(rows: list[Value], chosen: Sequence[bool]) -> list[Value]: ...
def where(rows: Table | list[Value], chosen: Sequence[bool]) -> Table | list[Value]:
    """Return the rows that are chosen."""
    if all(chosen):
        return rows
    return rows.where(chosen) if isinstance(rows, Table) else _where(rows, chosen)


def _where(values: Iterable[Value], chosen: Iterable[bool]) -> list[Value]:
    return [value for value, here in zip(values, chosen, strict=True) if here]


class Unplanned(Exception):  # noqa: N818 - says what the columns are
    """A column is made in a way that only the codec knows."""


class TableDecoder:
    """Makes tables of the rows of a page.

    Args:
        schema: the packaged schema.
        plan: of the codec, the work of which this does.
        key: the names of the key columns.
        integers: the vendor's fields that the reading goes by.

    Raises:
        Unplanned: a column is made in a way that only the codec knows.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        plan: Plan,
        key: Sequence[str],
        integers: Iterable[str],
    ) -> None:
        every = schema["properties"]
        self._plan = plan
        self._key = tuple(key)
        self._integers = tuple(integers)
        kinds: dict[str, Any] = dict.fromkeys(self._integers, Integer)
        for column in plan.from_row:
            kind = _kind(every[column.name])
            if kinds.setdefault(column.source, kind) != kind:
                raise Unplanned(column.name)
        names = {f"field_{n}": known for n, known in enumerate(sorted(plan.known))}
        row = _row_struct(names, kinds)
        self._fields = {s: attrgetter(f) for f, s in names.items() if s in kinds}
        self._decoder = msgspec.json.Decoder(_answer_struct(row))
        self._record = msgspec.defstruct("Record", list(plan.blank), gc=False)
        # What is shown as it was decoded.
        self._as_it_is = frozenset(
            column.name
            for column in plan.from_row
            if not {"format", "x-derived"} & every[column.name].keys()
        )

        self._instants = frozenset(
            name for name in plan.blank if every[name].get("x-derived") == "epoch-ms"
        )

    def decode(
        self, body: bytes, from_path: Mapping[str, object]
    ) -> tuple[Table, int, int | None] | None:
        """Return the rows of a list, its total and its page size.

        Args:
            body: of an answer.
            from_path: the columns that no row carries, by name.

        Returns:
            None where one of the rows, or the answer, is not as it should be.
        """
        # The one thing that a type lets pass, and no database takes.
        if _NUL in body:
            return None
        try:
            answer = self._decoder.decode(body)
            table = self._table(answer.data, from_path)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        size = answer.maxResults
        return table, answer.total, size if size and size > 0 else None

    def _table(self, rows: list[Any], from_path: Mapping[str, object]) -> Table:
        """Return the table of decoded rows; ValueError where one does not fit."""
        fields = {name: list(map(get, rows)) for name, get in self._fields.items()}
        count = len(rows)
        made: dict[str, Iterable[object]] = {
            name: repeat(value, count) for name, value in self._plan.blank.items()
        }
        for column in self._plan.from_row:
            values: list[Any] = fields[column.source]
            if column.name in self._instants and None not in values:
                values = instants(values)
            elif column.name not in self._as_it_is:
                values = _mapped(column.convert, values)
            made[column.name] = self._checked(column, values)
        for column in self._plan.from_path:
            one = _mapped(column.convert, [from_path[column.name]])
            made[column.name] = repeat(self._checked(column, one)[0], count)
        absent: list[None] = [None] * count
        integers = {name: fields.get(name, absent) for name in self._integers}
        return Table(list(map(self._record, *made.values())), integers)

    def _checked(self, column: Column, values: list[Any]) -> list[Any]:
        """Return a column as it is shown; ValueError where it is an empty key."""
        if column.treat is not None:
            values = _mapped(column.treat, values)
        if column.name in self._key and (None in values or "" in values):
            raise ValueError("an empty key")
        return values


def _mapped(make: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    if None in values:
        return [None if value is None else make(value) for value in values]
    return list(map(make, values))


def _kind(column: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type for msgspec
    """Return the type of a field that is shown in a column."""
    if column.get("x-derived") == "epoch-ms":
        return Integer
    types = column["type"]
    kinds = [k for k in (types if isinstance(types, list) else [types]) if k != "null"]
    if len(kinds) != 1 or kinds[0] not in _KINDS or "x-derived" in column:
        raise Unplanned
    return _KINDS[kinds[0]]


def _row_struct(names: Mapping[str, str], kinds: Mapping[str, Any]) -> type[Any]:
    """Return a struct of the vendor's fields; it refuses any that is unknown."""
    fields: list[tuple[str, Any, Any]] = []
    for field, name in names.items():
        if name in kinds:
            fields.append((field, kinds[name] | None, None))
        else:
            fields.append((field, msgspec.Raw, _SKIPPED))
    return msgspec.defstruct(
        "Row", fields, rename=dict(names), forbid_unknown_fields=True, gc=False
    )


def _answer_struct(row: type[Any]) -> type[Any]:
    total = Annotated[int, msgspec.Meta(ge=0)]
    fields: list[Any] = [
        ("total", total),
        ("data", list[row]),  # type: ignore[valid-type]
        ("maxResults", int | None, None),
    ]
    return msgspec.defstruct("Answer", fields, gc=False)
