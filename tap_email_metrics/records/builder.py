"""Builds the records of a page of a vendor's rows, column by column.

A value that does not fit its column becomes null there. It is kept raw in
`additional_fields`, as are unknown fields, unless privacy forbids it.

A body is decoded into structs with the needed fields. Other fields are skipped, so that
a number too large for a float in an unneeded field does no harm. If the first way to
decode a body fails, the next one is tried:

1. structs with typed fields,
2. structs with fields of any type, if a value does not have the type of its column,
3. dictionaries, by the caller, if there are unknown fields or the text is damaged.

All of them end in `RecordBuilder._build`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tap_email_metrics.records.columns import EXTRA, EXTRACTED_AT, compile_columns
from tap_email_metrics.records.pages import (
    IDENTITY_MISSING,
    IDENTITY_UNREADABLE,
    KEY_MISSING,
    KEY_UNREADABLE,
    NOT_A_ROW,
    Page,
    Record,
)
from tap_email_metrics.records.values import (
    DEEPEST,
    Converted,
    Converter,
    convert_column,
    extra,
    is_deep,
    json_text,
    map_known,
    storable,
    time_of_row,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.columns import Column, Identity, Schema
    from tap_email_metrics.records.privacy import Privacy
    from tap_email_metrics.records.values import Json, Row

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[str, Any] = {
    "integer": Integer,
    "number": Integer | float,
    "boolean": bool,
    "string": str,
}
_NUL = b"\\u0000"
_SKIPPED = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Envelope:
    """The JSON object around the rows of a page.

    Attributes:
        rows: name of the field with the rows.
        beside: other fields, each with the name of the attribute, the name of the
            field, its type, and its default if it may be missing.
    """

    rows: str
    beside: tuple[tuple[Any, ...], ...] = ()


class RecordBuilder:
    """Builds the records of a stream.

    Args:
        schema: the packaged schema, as `load_schema` returns it.
        key: the names of the key columns, which are always selected.
        selected: the names of the selected columns; None: all.
        account: the value of the column `account`.
        privacy: treats columns with an `x-pii` mark.
        replication_key: the name of that column.
        reader_fields: vendor fields that the reader needs next to the records.
        envelope: the object around the rows; None if the caller decodes bodies.

    Attributes:
        uncoercible: the vendor's names of fields with a value that did not fit.
        unknown: the vendor's names of fields without a column.

    Raises:
        ValueError: the schema lacks a key, or has a column that no converter makes.
    """

    def __init__(  # noqa: PLR0913 - facts of one stream
        self,
        schema: Schema,
        *,
        key: Sequence[str],
        selected: Collection[str] | None,
        account: str,
        privacy: Privacy,
        replication_key: str | None = None,
        reader_fields: Iterable[str] = (),
        envelope: Envelope | None = None,
    ) -> None:
        self.uncoercible: set[str] = set()
        self.unknown: set[str] = set()
        self._columns = compile_columns(
            schema,
            key=key,
            selected=selected,
            account=account,
            privacy=privacy,
            replication_key=replication_key,
        )
        self._reader_fields = frozenset({*reader_fields, *self._columns.key_sources})
        types = self._types()
        self._fields = frozenset({*types, *self._reader_fields})
        self._record = msgspec.defstruct("Record", [*self._columns.blank], gc=False)
        names = {f"field_{n}": s for n, s in enumerate(sorted(self._columns.known))}
        self._getters = {s: attrgetter(f) for f, s in names.items() if s in types}
        self._typed = frozenset(s for s, one in types.items() if one is not Any)
        self._decoders: tuple[msgspec.json.Decoder[Any], ...] = ()
        # The structs do not support groups of fields.
        if envelope and not self._columns.groups:
            anything = dict.fromkeys(types, Any)
            self._decoders = (
                _decoder(names, types, envelope),
                _decoder(names, anything, envelope),
            )

    def _types(self) -> dict[str, Any]:
        """Return the type of each needed field of the vendor."""
        columns, schema = self._columns, self._columns.schema
        needed = [*columns.from_row]
        if columns.identity:
            needed += columns.identity.from_row
        if columns.moments:
            needed.append(columns.moments.column)
        pairs = [(column.source, schema[column.name]) for column in needed]
        pairs += [
            (column["x-source"], column)
            for column in schema.values()
            if column.get("x-source") in self._reader_fields
        ]
        types: dict[str, Any] = {}
        for source, column in pairs:
            kind = _type(column)
            if types.setdefault(source, kind) != kind:
                types[source] = Any
        return types

    def decode(
        self, body: bytes, request: Mapping[str, object], at: int | None = None
    ) -> tuple[Page, Any] | None:
        """Decode a page and build its records.

        Args:
            body: body of a response.
            request: values of the columns that come from the request, by name.
            at: epoch ms of all rows, if the rows do not have it.

        Returns:
            The rows, and the struct with the fields beside them. None if the body has
            to be decoded to dictionaries.

        Raises:
            KeyError: `request` lacks a column.
        """
        # A text with NUL passes the types, but no database accepts it.
        typed = _NUL not in body
        for decoder in self._decoders if typed else self._decoders[1:]:
            try:
                answer = decoder.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                typed = False
                continue
            rows = answer.rows
            fields = {name: [*map(get, rows)] for name, get in self._getters.items()}
            trusted = self._typed if typed else frozenset[str]()
            page = _Fields(fields, len(rows), request, at, trusted)
            made = self._build(page)
            # The caller refuses a body that is nested too deeply.
            is_refused = is_deep([*page.kept.values()], DEEPEST - 1)
            return None if is_refused else (made, answer)
        return None

    def page(
        self,
        rows: Sequence[object],
        request: Mapping[str, object],
        at: int | None = None,
    ) -> Page:
        """Build the records of rows that were decoded to dictionaries.

        Args:
            rows: the decoded rows; an entry that is not a dictionary has no record.
            request: values of the columns that come from the request, by name.
            at: epoch ms of all rows, if the rows do not have it.

        Raises:
            KeyError: `request` lacks a column.
        """
        columns = self._columns
        kept: defaultdict[int, Row] = defaultdict(dict)
        odd = [place for place, row in enumerate(rows) if not isinstance(row, dict)]
        read: list[Row] = [row if isinstance(row, dict) else {} for row in rows]
        if columns.groups:
            flat = [columns.groups.flatten(row) for row in read]
            read = [row for row, _ in flat]
            for place, (_, unfit) in enumerate(flat):
                self.uncoercible.update(unfit)
                whole = [
                    name for name in unfit if columns.groups.is_selected_whole(name)
                ]
                if whole:
                    kept[place] |= {name: unfit[name] for name in whole}
        unknown = set[str]().union(*read) - columns.known
        if unknown:
            self.unknown.update(map(storable, unknown))
            for place, row in enumerate(read):
                found = unknown.intersection(row)
                if found:
                    kept[place] |= {name: row[name] for name in found}
        fields = {name: [row.get(name) for row in read] for name in self._fields}
        return self._build(_Fields(fields, len(read), request, at, kept=kept, odd=odd))

    def record(self, **request: object) -> Record:
        """Build a single record, all of whose columns come from the request.

        Raises:
            ValueError: a key column is missing.
        """
        made = self.page([{}], request).made()
        if not made.records:
            raise ValueError(f"a record without a key: {dict(made.set_aside)}")
        record: Record = made.records[0]
        return record

    def keyless(self, rows: Sequence[Row]) -> list[bool]:
        """Return whether each decoded row lacks a usable value in a key column."""
        page = _Fields(
            {name: [row.get(name) for row in rows] for name in self._fields},
            len(rows),
            {},
        )
        reasons = _Reasons(len(rows))
        for column in self._columns.from_row:
            if column.name in self._columns.key:
                reasons.note_key(*page.column(column))
        return [reason is not None for reason in reasons.by_row or [None] * len(rows)]

    def times(self, rows: Sequence[Row]) -> list[int | None]:
        """Return the replication key of each decoded row in epoch ms, None if unfit."""
        moments = self._columns.moments
        source = moments and moments.column.source
        fields = {source: [row.get(source) for row in rows]} if source else {}
        return self._times(_Fields(fields, len(rows), {}))

    def _build(self, page: _Fields) -> Page:
        """Build the records of a page. All records are built here."""
        columns, count = self._columns, page.count
        made: dict[str, Iterable[object]] = {
            name: repeat(value, count) for name, value in columns.blank.items()
        }
        reasons = _Reasons(count)
        for place in page.odd:
            reasons.note(place, NOT_A_ROW)
        identity = columns.identity
        events = _events(identity, page, reasons) if identity else None
        for column in columns.from_row:
            values, unfit = page.column(column)
            made[column.name] = _treated(column, values)
            self._keep(page, column, unfit)
            if column.name in columns.key:
                reasons.note_key(values, unfit)
        for column in columns.from_request:
            values, unfit = page.constant(column)
            made[column.name] = repeat(_treated(column, values)[0], count)
            if unfit:
                self._keep(page, column, dict.fromkeys(range(count), unfit[0]))
            if column.name in columns.key:
                reasons.note_key(values * count, range(count) if unfit else ())
        if identity:
            _note_unreadable(identity, page, reasons)
        if EXTRACTED_AT in made:
            made[EXTRACTED_AT] = repeat(page.request.get(EXTRACTED_AT), count)
        if page.kept and columns.keeps_extra:
            made[EXTRA] = [
                extra(page.kept[place]) if place in page.kept else None
                for place in range(count)
            ]
        absent: list[None] = [None] * count
        needed = {name: page.fields.get(name, absent) for name in self._reader_fields}
        return Page(
            [*map(self._record, *made.values())],
            needed,
            times=self._times(page),
            events=events,
            identity=identity,
            key_sources=columns.key_sources,
            reasons=reasons.by_row,
            typed=needed.keys() & page.fields.keys() <= page.typed,
        )

    def _keep(self, page: _Fields, column: Column, unfit: dict[int, object]) -> None:
        """Set aside the values that do not fit a column."""
        if unfit:
            self.uncoercible.add(column.source)
            for place, value in unfit.items():
                page.kept[place][column.source] = value

    def _times(self, page: _Fields) -> list[int | None]:
        moments = self._columns.moments
        if page.at is not None or moments is None:
            return [page.at] * page.count
        values = page.column(moments.column).values
        return values if moments.is_number else map_known(time_of_row, values)


@dataclass(frozen=True, slots=True)
class PageMaker:
    """Makes pages of one list.

    Args:
        builder: builder of the stream.
        request: values of the columns that come from the request, by name.
        at: epoch ms of all rows, if the rows do not have it.
    """

    builder: RecordBuilder
    request: Mapping[str, object] = field(default_factory=dict)
    at: int | None = None

    def decode(self, body: bytes) -> tuple[Page, Any] | None:
        """Decode a body; see `RecordBuilder.decode`."""
        return self.builder.decode(body, self.request, self.at)

    def page(self, rows: Sequence[object]) -> Page:
        """Return the page of rows that were decoded to dictionaries."""
        return self.builder.page(rows, self.request, self.at)

    def record(self) -> Record:
        """Return a single record, all of whose columns come from the request.

        Raises:
            ValueError: a key column is missing.
        """
        return self.builder.record(**self.request)


@dataclass(slots=True)
class _Fields:
    """The vendor's fields of a page.

    Attributes:
        fields: one value per row, by the vendor's name.
        count: number of rows.
        request: values of the columns that come from the request, by name.
        at: epoch ms of all rows, if the rows do not have it.
        typed: names of the fields whose types the decoder has checked.
        kept: the fields and values without a column, by index of the row.
        odd: indices of the entries that are not rows.
    """

    fields: Mapping[str, list[Any]]
    count: int
    request: Mapping[str, object]
    at: int | None = None
    typed: frozenset[str] = frozenset()
    kept: defaultdict[int, Row] = field(default_factory=lambda: defaultdict(dict))
    odd: Sequence[int] = ()
    _made: dict[tuple[str, Converter], Converted] = field(default_factory=dict)

    def column(self, column: Column) -> Converted:
        """Convert a column."""
        source, convert = column.source, column.convert
        if (source, convert) not in self._made:
            values = self.fields[source]
            self._made[source, convert] = convert_column(
                convert, values, typed=source in self.typed
            )
        return self._made[source, convert]

    def constant(self, column: Column) -> Converted:
        """Convert a column that comes from the request: one value for all rows."""
        return convert_column(column.convert, [self.request[column.name]])


class _Reasons:
    """Why rows have no record."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.by_row: list[str | None] | None = None

    def note(self, place: int, reason: str) -> None:
        """Set a row aside, with its first reason."""
        if self.by_row is None:
            self.by_row = [None] * self._count
        self.by_row[place] = self.by_row[place] or reason

    def note_key(self, values: list[Any], unfit: Collection[int]) -> None:
        """Set aside the rows that have no value in a key column."""
        if None in values or "" in values:
            for place, value in enumerate(values):
                if value is None or value == "":
                    unreadable = place in unfit
                    self.note(place, KEY_UNREADABLE if unreadable else KEY_MISSING)


def _treated(column: Column, values: list[Any]) -> list[Any]:
    return values if column.treat is None else map_known(column.treat, values)


def _events(
    identity: Identity, page: _Fields, reasons: _Reasons
) -> list[tuple[object, ...]]:
    """Return the values that the event id of each row is made from."""
    values: dict[str, Iterable[object]] = {
        name: repeat(None, page.count) for name in identity.blank
    }
    for column in identity.from_request:
        values[column.name] = repeat(page.constant(column).values[0], page.count)
    own = [_with_raw_text(page.column(column)) for column in identity.from_row]
    told = [*map(any, zip(*own, strict=True))]
    if not all(told):
        for place, is_told in enumerate(told):
            if not is_told:
                reasons.note(place, IDENTITY_MISSING)
    values |= {c.name: column for c, column in zip(identity.from_row, own, strict=True)}
    return [*zip(*values.values(), strict=True)]


def _with_raw_text(column: Converted) -> list[Any]:
    """Return a column with its unfit values as text, which distinguishes events."""
    values = column.values
    for place, text in _raw_texts(column):
        values = [*values] if values is column.values else values
        values[place] = storable(text)
    return values


def _note_unreadable(identity: Identity, page: _Fields, reasons: _Reasons) -> None:
    """Note the rows whose event id is made from an unreadable value.

    Call this after all reasons for which a row has no record were noted.
    """
    for column in identity.from_row:
        for place, _ in _raw_texts(page.column(column)):
            reasons.note(place, IDENTITY_UNREADABLE)


def _raw_texts(column: Converted) -> Iterator[tuple[int, str]]:
    """Yield the values that do not fit a column of the identity, by index, as text.

    A value that is not text, such as a date in epoch seconds, is its JSON text.
    """
    for place, value in column.unfit.items():
        text = value if isinstance(value, str) else json_text(value) if value else ""
        # Like null, blank text, 0 and empty lists do not distinguish events.
        if text.strip():
            yield place, text


def _type(column: Schema) -> Json:
    """Return the type that msgspec checks for a field, Any for no check."""
    match column.get("x-derived"):
        case "epoch-ms":
            return Integer
        case "recipient-domain":
            return str
    kinds = [kind for kind in types_of(column) if kind != "null"]
    if len(kinds) != 1 or "x-derived" in column:
        return Any
    return _TYPES.get(kinds[0], Any)


def _decoder(
    names: Mapping[str, str], types: Mapping[str, Any], envelope: Envelope
) -> msgspec.json.Decoder[Any]:
    """Return a decoder of pages whose rows have no unknown fields."""
    fields: list[tuple[str, Any, Any]] = []
    for name, source in names.items():
        if source in types:
            fields.append((name, types[source] | None, None))
        else:
            fields.append((name, msgspec.Raw, _SKIPPED))
    row = msgspec.defstruct(
        "Row", fields, rename=dict(names), forbid_unknown_fields=True, gc=False
    )
    beside: list[Any] = [("rows", list[row])]  # type: ignore[valid-type]
    renamed = {"rows": envelope.rows}
    for name, source, *rest in envelope.beside:
        beside.append((name, *rest))
        renamed[name] = source
    answer = msgspec.defstruct("Answer", beside, rename=renamed, gc=False)
    return msgspec.json.Decoder(answer)
