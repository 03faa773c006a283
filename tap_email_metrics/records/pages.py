"""From a page to records at once: whole columns, no row by row.

This is the fast way of `RowCodec`, and does what it does, digit for digit. It makes
nothing of rows one of which has a value that does not fit its column, or no key: the
caller then goes the ordinary way, row by row, which counts and keeps those.

A body is decoded into structs of the selected fields; the others are skipped: one that
no float could hold does not cost the page here. What such a struct refuses (a field
that no column has, a number that came as text) is taken from rows that were decoded to
dictionaries, and so are answers that are too large to be decoded at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from typing_extensions import override

from tap_email_metrics.records.columns import EXTRA
from tap_email_metrics.records.rows import Records, Rows
from tap_email_metrics.records.values import (
    convert_all,
    extra,
    from_instant,
    map_known,
    to_integer,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_email_metrics.records.columns import Column, Identity, Plan, RowCodec
    from tap_email_metrics.records.rows import Row
    from tap_email_metrics.records.values import Converter

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_KINDS: dict[str, Any] = {
    "integer": Integer,
    "number": Integer | float,
    "boolean": bool,
    "string": str,
    "array": Any,
    "object": Any,
}
_NUL = b"\\u0000"
_SKIPPED = msgspec.Raw()
Record = msgspec.Struct
Value = TypeVar("Value")


class Table(Rows):
    """Rows whose records are made.

    Args:
        plan: how they were made.
        made: a record a row.
        fields: the vendor's fields that the reading goes by, a value a row.
        times: the replication key of each in epoch ms.
        events: what the ids of events are made from; None where rows have a key.
        typed: each field has the type of its column.
    """

    __slots__ = ("_events", "_fields", "_made", "_plan", "_times", "_typed")

    def __init__(  # noqa: PLR0913 - the columns of a page
        self,
        plan: Plan,
        made: list[Record],
        fields: Mapping[str, list[Any]],
        times: list[int | None],
        events: list[tuple[object, ...]] | None,
        *,
        typed: bool,
    ) -> None:
        self._plan = plan
        self._made = made
        self._fields = fields
        self._times = times
        self._events = events
        self._typed = typed

    @override
    def __len__(self) -> int:
        return len(self._made)

    @override
    def __getitem__(self, part: slice) -> Table:
        return Table(
            self._plan,
            self._made[part],
            {name: values[part] for name, values in self._fields.items()},
            self._times[part],
            self._events and self._events[part],
            typed=self._typed,
        )

    @override
    def _of(self, places: Sequence[int]) -> Table:
        return Table(
            self._plan,
            _at(self._made, places),
            {name: _at(values, places) for name, values in self._fields.items()},
            _at(self._times, places),
            self._events and _at(self._events, places),
            typed=self._typed,
        )

    @override
    def values(self, name: str) -> list[Any]:
        return self._fields[name]

    @override
    def integers(self, name: str) -> list[int | None]:
        values = self._fields[name]
        return values if self._typed else [*map(to_integer, values)]

    @property
    @override
    def times(self) -> list[int | None]:
        return self._times

    @property
    @override
    def identities(self) -> list[tuple[object, ...]]:
        if self._events is not None:
            return self._events
        fields = [map(str, self._fields[name]) for name in self._plan.key_sources]
        return [*zip(*fields, strict=True)] if fields else [()] * len(self)

    @override
    def numbered(self, equals: Sequence[int]) -> Table:
        identity = self._plan.identity
        if identity is not None:
            triples = zip(self._made, self.identities, equals, strict=True)
            for record, values, before in triples:
                setattr(record, identity.column, identity.id(values, before))
        return self

    @override
    def records(self) -> Records:
        return Records(self._made, self._times)


def _at(values: list[Value], places: Iterable[int]) -> list[Value]:
    return [values[place] for place in places]


class Unplanned(Exception):  # noqa: N818 - says what the columns are
    """A column is made in a way that only the codec knows."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is around the rows of a page.

    Attributes:
        rows: the field that holds them.
        beside: other fields: what each is called here, its name there, its type, and
            what it is where it is missing, if it may be.
    """

    rows: str
    beside: tuple[tuple[Any, ...], ...] = ()


class TableDecoder:
    """Makes tables of the rows of a list.

    Args:
        schema: the packaged schema.
        codec: whose work this does.
        reader_fields: the vendor's fields that the reading goes by.
        envelope: of a page; None where bodies are not decoded here. Nor are they where
            columns come from groups of fields.

    Raises:
        Unplanned: a column is made in a way that only the codec knows.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        codec: RowCodec,
        reader_fields: Iterable[str] = (),
        envelope: Envelope | None = None,
    ) -> None:
        self._plan = codec.plan
        self._codec = codec
        self._reader_fields = frozenset({*reader_fields, *codec.plan.key_sources})
        kinds = self._kinds(schema["properties"])
        self._fields = frozenset({*kinds, *self._reader_fields})
        self._record = msgspec.defstruct("Record", [*self._plan.blank], gc=False)
        names = {f"field_{n}": s for n, s in enumerate(sorted(self._plan.known))}
        self._getters = {s: attrgetter(f) for f, s in names.items() if s in kinds}
        self._decoder: msgspec.json.Decoder[Any] | None = None
        if envelope and not codec.has_groups:
            answer = _answer_struct(_row_struct(names, kinds), envelope)
            self._decoder = msgspec.json.Decoder(answer)

    def _kinds(self, every: Mapping[str, Any]) -> dict[str, Any]:
        """Return the types of the vendor's fields that are needed, by their names."""
        plan = self._plan
        columns = [(column.source, every[column.name]) for column in plan.from_row]
        if plan.identity:
            made_of = plan.identity.from_row
            columns += [(column.source, every[column.name]) for column in made_of]
        if plan.moments:
            [column, _] = plan.moments
            columns.append((column.source, every[column.name]))
        sources = [(column.get("x-source"), column) for column in every.values()]
        columns += [one for one in sources if one[0] in self._reader_fields]
        kinds: dict[str, Any] = {}
        for source, column in columns:
            kind = _kind(column)
            if kinds.setdefault(source, kind) != kind:
                raise Unplanned(f"{source} is shown in columns of two types")
        return kinds

    def decode(
        self, body: bytes, from_path: Mapping[str, object], at: int | None = None
    ) -> tuple[Table, Any] | None:
        """Return the rows of a page, and the answer with what was beside them.

        Args:
            body: of an answer.
            from_path: the columns that no row carries, by name.
            at: epoch ms of all rows, where they do not say so themselves.

        Returns:
            None where one of the rows, or the answer, is not as it should be.
        """
        # The one thing that a type lets pass, and no database takes.
        if self._decoder is None or _NUL in body:
            return None
        try:
            answer = self._decoder.decode(body)
            rows = answer.rows
            fields = {name: [*map(get, rows)] for name, get in self._getters.items()}
            page = _Page(fields, len(rows), from_path, typed=True, at=at)
            return self._table(page), answer
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None

    def of_rows(
        self,
        raw: Sequence[Row],
        from_path: Mapping[str, object],
        at: int | None = None,
    ) -> Table | None:
        """Return rows that were decoded to dictionaries.

        Args:
            raw: one a row.
            from_path: the columns that no row carries, by name.
            at: epoch ms of all of them, where they do not say so themselves.

        Returns:
            None where one of the rows is not as it should be.
        """
        try:
            rows = [*map(self._codec.flat, raw)] if self._codec.has_groups else raw
            unknown = set().union(*rows) - self._plan.known
            fields = {name: [row.get(name) for row in rows] for name in self._fields}
            page = _Page(fields, len(rows), from_path, at=at)
            if unknown and self._codec.keeps_extra:
                names = sorted(unknown)
                page.extra = [_extra(row, names) for row in rows]
            table = self._table(page)
        except (ValueError, RecursionError):
            return None
        self._codec.note_unknown(unknown)
        return table

    def _table(self, page: _Page) -> Table:
        """Return the table of decoded rows; ValueError where one does not fit."""
        plan, count = self._plan, page.count
        made: dict[str, Iterable[object]] = {
            name: repeat(value, count) for name, value in plan.blank.items()
        }
        for column in plan.from_row:
            made[column.name] = self._checked(column, page.column(column))
        for column in plan.from_path:
            one = convert_all(column.convert, [page.from_path[column.name]])
            made[column.name] = repeat(self._checked(column, one)[0], count)
        if page.extra is not None:
            made[EXTRA] = page.extra
        absent: list[None] = [None] * count
        return Table(
            plan,
            list(map(self._record, *made.values())),
            {name: page.fields.get(name, absent) for name in self._reader_fields},
            self._times(page),
            _events(plan.identity, page) if plan.identity else None,
            typed=page.typed,
        )

    def _checked(self, column: Column, values: list[Any]) -> list[Any]:
        """Return a column as it is shown; ValueError where it is an empty key."""
        if column.treat is not None:
            values = map_known(column.treat, values)
        if column.name in self._plan.key and (None in values or "" in values):
            raise ValueError("an empty key")
        return values

    def _times(self, page: _Page) -> list[int | None]:
        moments = self._plan.moments
        if page.at is not None or moments is None:
            return [page.at] * page.count
        column, is_number = moments
        values = page.column(column)
        return values if is_number else map_known(from_instant, values)


@dataclass(slots=True)
class _Page:
    """The fields of some rows.

    Attributes:
        fields: by the vendor's names, a value a row.
        count: of rows.
        from_path: the columns that no row carries, by name.
        typed: each value has the type that goes into its column.
        at: epoch ms of all rows, where they do not say so themselves.
        extra: what has no column, a row; None where no row has any.
    """

    fields: Mapping[str, list[Any]]
    count: int
    from_path: Mapping[str, object]
    typed: bool = False
    at: int | None = None
    extra: list[object] | None = None
    _made: dict[tuple[str, Converter], list[Any]] = field(default_factory=dict)

    def column(self, column: Column) -> list[Any]:
        """Return a column before its treatment; ValueError where a value is unfit."""
        source, convert = column.source, column.convert
        if (source, convert) not in self._made:
            values = convert_all(convert, self.fields[source], typed=self.typed)
            self._made[source, convert] = values
        return self._made[source, convert]


def _events(identity: Identity, page: _Page) -> list[tuple[object, ...]]:
    """Return what the ids of events are made from; ValueError where that is nothing."""
    values: dict[str, Iterable[object]] = {
        name: repeat(None, page.count) for name in identity.blank
    }
    for column in identity.from_path:
        [one] = convert_all(column.convert, [page.from_path[column.name]])
        values[column.name] = repeat(one, page.count)
    own = [page.column(column) for column in identity.from_row]
    if not all(map(any, zip(*own, strict=True))):
        raise ValueError("an event that nothing tells apart")
    values |= {c.name: column for c, column in zip(identity.from_row, own, strict=True)}
    return [*zip(*values.values(), strict=True)]


def _extra(row: Row, names: Iterable[str]) -> object:
    found = {name: row[name] for name in names if name in row}
    return extra(found) if found else None


def _kind(column: dict[str, Any]) -> Any:  # noqa: ANN401 - a type for msgspec
    """Return the type of a field that is shown in a column."""
    if column.get("x-derived") == "epoch-ms":
        return Integer
    kinds = [kind for kind in types_of(column) if kind != "null"]
    if len(kinds) != 1 or kinds[0] not in _KINDS or "x-derived" in column:
        raise Unplanned("a column has no type of its own")
    return _KINDS[kinds[0]]


def _row_struct(names: Mapping[str, str], kinds: Mapping[str, Any]) -> type[Any]:
    """Return a struct of the vendor's fields; it refuses any that is unknown."""
    fields: list[tuple[str, Any, Any]] = []
    for name, source in names.items():
        if source in kinds:
            fields.append((name, kinds[source] | None, None))
        else:
            fields.append((name, msgspec.Raw, _SKIPPED))
    return msgspec.defstruct(
        "Row", fields, rename=dict(names), forbid_unknown_fields=True, gc=False
    )


def _answer_struct(row: type[Any], envelope: Envelope) -> type[Any]:
    fields: list[Any] = [("rows", list[row])]  # type: ignore[valid-type]
    names = {"rows": envelope.rows}
    for name, source, *rest in envelope.beside:
        fields.append((name, *rest))
        names[name] = source
    return msgspec.defstruct("Answer", fields, rename=names, gc=False)
