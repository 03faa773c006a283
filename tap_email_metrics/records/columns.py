"""From a vendor's row to a record of a stream; `values` says how fields are converted.

An `x-source` such as `stats.em_opens` names a field of a group: an object in the row,
or a list of objects that share no field. An unknown field may be a known one with dots
for underscores (`em_opens.all`); otherwise it is kept under its dotted path. A group of
another form is kept only where all of its columns are selected, as it holds them all.

A column with `"x-derived": "event-id"` is the id of an event to which the vendor gives
none: the first 32 hex digits of the SHA-256 (in a `pii.mode` other than plain: HMAC
with the pepper) of compact JSON in UTF-8, a list of the account, the stream, the
columns in `x-identity` (from the row or the request, before `x-pii`; null where there
is no such column), and the number of events equal in these that came before.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tap_email_metrics.records.values import (
    Converter,
    Unfit,
    converter_of,
    extra,
    free_name,
    storable,
    to_integer,
    to_milliseconds,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.privacy import Privacy, Treatment

ACCOUNT = "account"
"""The column that says which account was read."""

EXTRA = "additional_fields"
"""The column that holds what has no column of its own."""

EVENT_ID = "event-id"
"""What `x-derived` says of a column that tells events apart."""

_ID_LENGTH = 32
_SEPARATOR = "."  # in an `x-source`, between a group and its field
_ENCODER = msgspec.json.Encoder()


class Column(NamedTuple):
    """How one selected column is made: `source` is the vendor's name, or its own."""

    name: str
    source: str
    convert: Converter
    treat: Treatment | None


class Moments(NamedTuple):
    """The replication key, which says when a row came or changed."""

    column: Column
    is_number: bool
    """It is in epoch milliseconds, not text."""


class Plan(NamedTuple):
    """How records are made where each column is made by itself."""

    blank: dict[str, object]
    """The columns in order, with the values that are the same in all rows."""
    from_row: tuple[Column, ...]
    from_path: tuple[Column, ...]
    known: frozenset[str]
    """The vendor's fields that some column has, selected or not."""
    key: tuple[str, ...]
    key_sources: tuple[str, ...]
    """The vendor's fields that are part of the key."""
    moments: Moments | None
    identity: Identity | None
    """None where the vendor gives rows a key."""


def _plan(
    columns: dict[str, dict[str, Any]], key: Collection[str], privacy: Privacy
) -> Iterator[tuple[bool, Column]]:
    """Yield the selected columns, each with whether it comes from the vendor's row."""
    shown = {
        column["x-source"]
        for column in columns.values()
        if "x-source" in column and "x-derived" not in column
    }
    for name, column in columns.items():
        if name not in (ACCOUNT, EXTRA) and column.get("x-derived") != EVENT_ID:
            treat = None if name in key else _treatment(column, privacy)
            source = column.get("x-source", name)
            convert = converter_of(column, shown)
            yield "x-source" in column, Column(name, source, convert, treat)


def _treatment(column: dict[str, Any], privacy: Privacy) -> Treatment | None:
    """Return what a column that is no key passes through."""
    mark = column.get("x-pii")
    if mark:
        return privacy.treatment(mark)
    holds_text = not {"string", "array", "object"}.isdisjoint(types_of(column))
    return privacy.unmarked if holds_text and "format" not in column else None


def _fill(
    record: dict[str, object],
    columns: Iterable[Column],
    values: dict[str, Any],
) -> dict[str, object]:
    """Set columns of a record; return the values that have no place in theirs."""
    unfit: dict[str, object] = {}
    for name, source, convert, treat in columns:
        value = values.get(source)
        if value is not None:
            try:
                value = convert(value)
            except Unfit:
                unfit[source] = value
            else:
                record[name] = value if treat is None or value is None else treat(value)
    return unfit


def _merged(group: object) -> dict[str, Any] | None:
    """Return a group as one object; None where it is nothing of the sort."""
    merged: dict[str, Any] = {}
    for part in group if isinstance(group, list) else [group]:
        if not isinstance(part, dict) or merged.keys() & part.keys():
            return None
        merged |= part
    return merged


class _Group(NamedTuple):
    """An object in a row whose fields are columns of their own."""

    paths: dict[str, str]
    """The dotted path of each field that has a column."""
    selected: set[str]
    """The paths whose column is selected."""


def _groups(
    every: dict[str, dict[str, Any]], selected: Collection[str]
) -> dict[str, _Group]:
    """Return the groups that the columns of a schema are taken from, by name."""
    groups: dict[str, _Group] = {}
    for name, column in every.items():
        path = column.get("x-source", "")
        group_name, dot, field = path.partition(_SEPARATOR)
        if dot:
            group = groups.setdefault(group_name, _Group({}, set()))
            group.paths[field] = path
            if name in selected:
                group.selected.add(path)
    return groups


def _spread(name: str, group: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a group by their dotted paths."""
    flat = {path: group[field] for field, path in paths.items() if field in group}
    for field, value in group.items():
        if field not in paths:
            path = paths.get(field.replace(_SEPARATOR, "_"))
            if path is None or flat.get(path) is not None:
                path = f"{name}{_SEPARATOR}{field}"
            flat[path] = value
    return flat


class Identity:
    """Makes the ids of events from what tells them apart.

    Attributes:
        column: the name of the column that holds them.
        blank: the columns of the identity in order, null.
        from_row: those that are made of the row.
        from_path: those that no row carries.

    Raises:
        ValueError: a column of the identity is no text or integer, or is in a group.
    """

    def __init__(
        self, column: str, schema: dict[str, Any], account: str, privacy: Privacy
    ) -> None:
        every = schema["properties"]
        names = every[column]["x-identity"]
        self.column = column
        self._start = (account, schema["title"])
        self.blank: dict[str, object] = dict.fromkeys(names)
        made = {n: _identifying(n, every[n]) for n in names if n in every}
        self.from_row = tuple(made[n] for n in made if "x-source" in every[n])
        self.from_path = tuple(made[n] for n in made if "x-source" not in every[n])
        plain = privacy.mode == "plain"
        self._pepper = None if plain else privacy._pepper  # noqa: SLF001 - one keeper

    def of(
        self, row: dict[str, Any], from_path: Mapping[str, object]
    ) -> tuple[object, ...]:
        """Return what tells an event apart, null where it is absent or unusable."""
        return tuple(self._values(row, from_path).values())

    def id_of(
        self, row: dict[str, Any], from_path: Mapping[str, object], occurrence: int
    ) -> str | None:
        """Return the id of an event; None where nothing in the row tells it apart."""
        values = self._values(row, from_path)
        if not any(values[column.name] for column in self.from_row):
            return None
        return self.id(values.values(), occurrence)

    def id(self, values: Iterable[object], occurrence: int) -> str:
        """Return the id of an event of which these are the columns in order."""
        data = _ENCODER.encode((*self._start, *values, occurrence))
        if self._pepper is None:
            return hashlib.sha256(data).hexdigest()[:_ID_LENGTH]
        return hmac.digest(self._pepper, data, "sha256").hex()[:_ID_LENGTH]

    def _values(
        self, row: dict[str, Any], from_path: Mapping[str, object]
    ) -> dict[str, object]:
        values = self.blank.copy()
        _fill(values, self.from_row, row)
        if self.from_path:
            _fill(values, self.from_path, _given(self.from_path, from_path))
        return values


def _identifying(name: str, column: dict[str, Any]) -> Column:
    source = column.get("x-source", name)
    if _SEPARATOR in source or not {"string", "integer", "null"} >= {*types_of(column)}:
        raise ValueError(f"No identity is made from a column {column}")
    return Column(name, source, converter_of(column, ()), None)


def _given(
    columns: Iterable[Column], from_path: Mapping[str, object]
) -> dict[str, object]:
    """Return the values of columns that no row carries; KeyError: one is missing."""
    return {column.name: from_path[column.name] for column in columns}


def _moments(name: str, column: dict[str, Any]) -> Moments | None:
    """Return a replication key; None where no row carries it."""
    if "x-source" not in column:
        return None
    made = Column(name, column["x-source"], converter_of(column, ()), None)
    return Moments(made, "integer" in types_of(column))


class RowCodec:
    """Turns one decoded row of a vendor into one record of a stream.

    Columns are read from the packaged schema, once: `x-source` names the vendor's
    field, `x-derived` a companion of one or an event id, `x-pii` its treatment. What
    has neither is the account, `additional_fields`, or comes from the request's path.

    Attributes:
        rejected: rows left out because a key was missing or unusable.
        uncoercible: the vendor's names of fields of which a value did not fit.
        unknown: the vendor's names of fields that no column has.
        keeps_extra: whether such fields and values are kept.

    Raises:
        ValueError: the schema lacks a key, or has a column that no converter makes.
    """

    def __init__(  # noqa: PLR0913 - facts of one stream
        self,
        schema: dict[str, Any],
        *,
        key: Sequence[str],
        selected: Collection[str] | None,
        account: str,
        privacy: Privacy,
        replication_key: str | None = None,
    ) -> None:
        """Compile the plan.

        Args:
            schema: the packaged schema, as `load_schema` returns it.
            key: the names of the key columns, which are always selected.
            replication_key: the name of that column.
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
        self.uncoercible: set[str] = set()
        self.unknown: set[str] = set()
        self._key = tuple(key)
        sources = (every[name].get("x-source") for name in self._key)
        self._key_sources = tuple(source for source in sources if source)
        moments = replication_key and _moments(replication_key, every[replication_key])
        self._moments = moments or None
        self._blank: dict[str, object] = dict.fromkeys(columns)
        if ACCOUNT in columns:
            self._blank[ACCOUNT] = storable(account)
        event_ids = [n for n in columns if columns[n].get("x-derived") == EVENT_ID]
        self._identity = (
            Identity(event_ids[0], schema, storable(account), privacy)
            if event_ids
            else None
        )
        self._groups = _groups(every, columns)
        self.keeps_extra = EXTRA in columns and privacy.treatment("opaque") is None
        self._known = frozenset(
            column["x-source"] for column in every.values() if "x-source" in column
        )
        plan = tuple(_plan(columns, self._key, privacy))
        self._from_row = tuple(column for in_row, column in plan if in_row)
        self._from_path = tuple(column for in_row, column in plan if not in_row)

    @property
    def plan(self) -> Plan:
        """How records are made, once the groups of a row are spread out."""
        return Plan(
            self._blank,
            self._from_row,
            self._from_path,
            self._known,
            self._key,
            self._key_sources,
            self._moments,
            self._identity,
        )

    def identity(self, row: object, **from_path: object) -> tuple[object, ...]:
        """Return what a row's event id is made from, or else its key as text.

        Raises:
            KeyError: a column from the path that it is made from was not given.
        """
        if not isinstance(row, dict):
            return ()
        if self._identity is None:
            return tuple(str(row.get(source)) for source in self._key_sources)
        return self._identity.of(row, from_path)

    def time(self, row: Mapping[str, object]) -> int | None:
        """Return the replication key of a row in epoch ms, None where it has none."""
        if self._moments is None:
            return None
        column, is_number = self._moments
        value = row.get(column.source)
        return to_integer(value) if is_number else to_milliseconds(value)

    def record(
        self, row: object, occurrence: int = 0, **from_path: object
    ) -> dict[str, object] | None:
        """Return the selected columns of a row in schema order, null where absent.

        Args:
            row: an object decoded from JSON; anything else is rejected.
            occurrence: how many rows with the same `identity` came before.
            from_path: the columns that no row carries, such as `message_id=123`.

        Returns:
            None where a key column would be null or empty, or where nothing in the
            row tells an event apart: the row is counted in `rejected`.

        Raises:
            KeyError: a column from the path, selected or in the `identity`, was not
                given.
        """
        if not isinstance(row, dict):
            self.rejected += 1
            return None
        record = self._blank.copy()
        if self._identity is not None:
            event_id = self._identity.id_of(row, from_path, occurrence)
            record[self._identity.column] = event_id
        if self._groups:
            row, unfit = self._flattened(row)
            unfit |= _fill(record, self._from_row, row)
        else:
            unfit = _fill(record, self._from_row, row)
        path = _given(self._from_path, from_path)
        unfit |= _fill(record, self._from_path, path)
        unknown = row.keys() - self._known
        if unknown or unfit:
            self._hold(record, unfit, {k: row[k] for k in row if k in unknown})
        for name in self._key:
            if record[name] is None or record[name] == "":
                self.rejected += 1
                return None
        return record

    @property
    def has_groups(self) -> bool:
        """Whether some columns come from groups of fields."""
        return bool(self._groups)

    def flat(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with its groups spread out; ValueError where one cannot be."""
        flat, odd = self._flattened(row)
        if odd:
            raise Unfit
        return flat

    def _flattened(
        self, row: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, object]]:
        """Return a row with its groups spread out, and groups that cannot be."""
        flat: dict[str, Any] = {}
        odd: dict[str, object] = {}
        for name, group in self._groups.items():
            value = row.get(name)
            fields = {} if value is None else _merged(value)
            if fields is not None:
                flat |= _spread(name, fields, group.paths)
            elif len(group.selected) == len(group.paths):
                odd[name] = value
            elif group.selected:
                self.uncoercible.add(name)
        for name, value in row.items():
            if name not in self._groups:
                flat[free_name(name, flat)] = value
        return flat, odd

    def _hold(
        self,
        record: dict[str, object],
        unfit: dict[str, object],
        unknown: dict[str, object],
    ) -> None:
        """Note fields without a place, and keep them where that is asked for."""
        self.uncoercible.update(unfit)
        self.note_unknown(unknown)
        if self.keeps_extra:
            record[EXTRA] = extra(unfit | unknown)

    def note_unknown(self, names: Iterable[str]) -> None:
        """Remember fields that no column has."""
        self.unknown.update(map(storable, names))
