"""Reads the catalog that a user passes, or refuses it with a reason.

A catalog may be older than this tap, made by hand, or in the form of older Singer
tools. `read_catalog` returns a catalog for the SDK that states for each stream and each
column whether it is selected, so that no default of the SDK matters.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec.structs import asdict

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

Breadcrumb = tuple[str, ...]
Method = Literal["INCREMENTAL", "FULL_TABLE"]
_COLUMN = 2
"""Number of parts in the breadcrumb of a column: `properties` and its name."""
_AGAIN = "make a new one with --discover"


class _Marks(msgspec.Struct, rename="kebab", frozen=True):
    """The metadata of a stream, a column or a part of a column."""

    inclusion: Literal["automatic", "available", "unsupported"] | None = None
    selected: bool | None = None
    selected_by_default: bool | None = None
    table_key_properties: list[str] | None = None
    replication_key: str | None = None
    forced_replication_method: Method | None = None


class _Item(msgspec.Struct, frozen=True):
    """One item of `metadata`."""

    breadcrumb: list[str] | str
    metadata: _Marks | None = None


class _Schema(msgspec.Struct, frozen=True):
    """The parts of a JSON Schema that the SDK reads, and the old form of selection."""

    type: str | list[str] | None = None
    properties: dict[str, _Schema] | None = None
    items: _Schema | None = None
    required: list[str] | None = None
    any_of: list[dict[str, Any]] | None = msgspec.field(name="anyOf", default=None)
    selected: bool | None = None
    inclusion: Literal["automatic", "available", "unsupported"] | None = None


class _Entry(msgspec.Struct, frozen=True):
    """One stream of a catalog."""

    tap_stream_id: str
    schema: _Schema
    stream: str | None = None
    selected: bool | None = None
    key_properties: list[str] | None = None
    replication_key: str | None = None
    replication_method: Method | None = None
    metadata: list[_Item] | None = None


class _Catalog(msgspec.Struct, frozen=True):
    streams: list[_Entry]


@dataclass(frozen=True, slots=True)
class Facts:
    """A stream of this tap, for comparison with a catalog.

    Attributes:
        columns: names of the columns.
        key: names of the key columns.
        replication_key: name of the replication key, None if the stream has none.
    """

    columns: Collection[str]
    key: Sequence[str]
    replication_key: str | None


@dataclass(frozen=True, slots=True)
class Understood:
    """A catalog for the SDK, and its differences from this tap.

    Attributes:
        catalog: its JSON, which states the selection of every column.
        selected: names of the selected streams.
        new: columns of this tap that the catalog does not have, by stream.
        gone: columns of the catalog that this tap does not have, by stream.
        merging: columns of the key that a key in the catalog lacks, by stream.
    """

    catalog: dict[str, Any]
    selected: list[str] = field(default_factory=list)
    new: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, list[str]] = field(default_factory=dict)
    merging: dict[str, list[str]] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Return a line for each difference between the catalog and this tap."""
        lines = []
        if self.new:
            lines.append(
                "columns that the catalog does not have are left out until a new one "
                "is made with --discover (Meltano: --refresh-catalog): "
                + _by_stream(self.new)
            )
        if self.gone:
            lines.append(
                "columns of the catalog that this tap does not have stay without "
                "values: " + _by_stream(self.gone)
            )
        if self.merging:
            lines.append(
                "a key in the catalog lacks columns of this tap's key, so that rows "
                "which differ only in them replace each other in the target: "
                + _by_stream(self.merging)
            )
        return lines


def read_catalog(catalog: Mapping[str, Any], known: Mapping[str, Facts]) -> Understood:
    """Check a catalog and return it in the form for the SDK.

    Args:
        catalog: JSON of the catalog.
        known: this tap's streams by name.

    Raises:
        InvalidInput: the JSON is not a catalog, belongs to another tap, or contradicts
            itself.
    """
    try:
        return _read(catalog, known)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"--catalog: not a Singer catalog: {error}; {_AGAIN}"
        ) from None
    except RecursionError:
        raise InvalidInput(f"--catalog: nested too deep; {_AGAIN}") from None


def _read(catalog: Mapping[str, Any], known: Mapping[str, Facts]) -> Understood:
    """Do the work of `read_catalog`, without its errors about the form.

    msgspec decodes deeper than Python recurses from Python 3.14 on.
    """
    entries = msgspec.convert(catalog, _Catalog).streams
    result = Understood({"streams": []})
    seen: dict[str, Any] = {}
    for entry, raw in zip(entries, catalog["streams"], strict=True):
        name = entry.tap_stream_id
        if name in seen:
            if seen[name] != raw:
                raise InvalidInput(
                    f"--catalog: {name} appears twice with different content: keep one"
                )
            continue
        seen[name] = raw
        if name not in known:
            raise InvalidInput(
                f"--catalog: it names a stream {name!r} that this tap does not have; "
                f"{_hint(name, known)}{_AGAIN}"
            )
        if entry.stream not in {None, name}:
            raise InvalidInput(
                f"--catalog: {name} has another name under stream, {entry.stream!r}: "
                "write the same; for another table, set __alias__ in stream_maps"
            )
        _EntryReader(entry, known[name], raw["schema"]).add_to(result)
    return result


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? Or " if close else ""


class _EntryReader:
    """Reads one stream's entry in a catalog.

    Args:
        entry: the decoded entry.
        facts: the stream of this tap.
        schema: the schema in the entry.

    Raises:
        InvalidInput: the entry contradicts itself.
    """

    def __init__(self, entry: _Entry, facts: Facts, schema: dict[str, Any]) -> None:
        self._entry = entry
        self._name = entry.tap_stream_id
        self._facts = facts
        self._schema = schema
        self._has = entry.schema.properties or {}
        self._marks: dict[Breadcrumb, dict[str, Any]] = {}
        for item in entry.metadata or ():
            self._note(_path(self._name, item.breadcrumb), item.metadata or _Marks())
        # A stream without metadata of its own is selected, as in the SDK.
        self._default = () not in self._marks
        self._note((), _Marks(selected=entry.selected))
        for path, part in _parts(entry.schema):
            self._note(path, _Marks(inclusion=part.inclusion, selected=part.selected))

    def _note(self, path: Breadcrumb, marks: _Marks) -> None:
        """Note the metadata of a part, which may be in several places."""
        kept = self._marks.setdefault(path, {})
        for what, value in asdict(marks).items():
            if value is None:
                continue
            if kept.setdefault(what, value) != value:
                raise InvalidInput(
                    "--catalog: it contradicts itself: "
                    f"{what} of {self._where(path)} is {value} and {kept[what]}; "
                    "keep one"
                )

    def add_to(self, result: Understood) -> None:
        """Add the entry to the result.

        Raises:
            InvalidInput: its selection or its keys are not possible.
        """
        self._check_deselected()
        root = self._marks[()]
        key = self._key()
        if self._is_selected(()):
            self._check_key(key)
            result.selected.append(self._name)
            if new := [name for name in self._facts.columns if name not in self._has]:
                result.new[self._name] = new
            if gone := [name for name in self._has if name not in self._facts.columns]:
                result.gone[self._name] = gone
            # Without any key a target appends rows.
            if key and (lacks := [name for name in self._facts.key if name not in key]):
                result.merging[self._name] = lacks
        method = self._entry.replication_method or root.get("forced_replication_method")
        result.catalog["streams"].append(
            {
                "tap_stream_id": self._name,
                "stream": self._name,
                "schema": self._schema,
                "key_properties": key,
                "replication_key": self._replication_key(),
                "replication_method": method,
                "metadata": list(self._metadata()),
            }
        )

    def _metadata(self) -> Iterator[dict[str, Any]]:
        columns = dict.fromkeys([*self._has, *self._facts.columns])
        paths: list[Breadcrumb] = [(), *(("properties", name) for name in columns)]
        for path in dict.fromkeys([*paths, *self._marks]):
            marks = self._marks.get(path, {})
            said = {name: marks.get(name) for name in ("inclusion", "selected")}
            if len(path) <= _COLUMN:
                said["selected"] = self._is_selected(path)
            if said["selected"] is False:
                said["inclusion"] = None  # the SDK would select an automatic column
            yield {"breadcrumb": list(path), "metadata": said}

    def _is_selected(self, path: Breadcrumb) -> bool:
        """Return whether the stream, or a column of a selected stream, is selected."""
        marks = self._marks.get(path, {})
        column = path[-1] if path else None
        if column is not None and column not in self._has:
            return False  # a record may only have the columns of its SCHEMA
        match marks.get("inclusion"):
            case "unsupported":
                return False
            case "automatic":
                return True
        default = True if path else self._default
        said = marks.get("selected", marks.get("selected_by_default", default))
        return bool(said)

    def _check_deselected(self) -> None:
        """Check that the deselected parts exist and can be left out."""
        columns = {*self._has, *self._facts.columns}
        for path, marks in self._marks.items():
            if marks.get("selected") is not False or not path:
                continue
            if "items" in _keywords(path):
                raise InvalidInput(
                    f"--catalog: it deselects a part of a list, {self._where(path)}: "
                    f"deselect {self._name}.{path[1]} as a whole, or nothing of it"
                )
            if path[1] not in columns:
                raise InvalidInput(
                    f"--catalog: it deselects {self._name}.{path[1]}, which does not "
                    f"exist; {_hint(path[1], columns)}remove it"
                )

    # Keys

    def _key(self) -> list[str]:
        """Return the key columns of the entry, or else those of the tap."""
        named = self._entry.key_properties
        table = self._marks[()].get("table_key_properties")
        if named is None and table is None:
            return list(self._facts.key)
        return named or table or []

    def _check_key(self, key: Sequence[str]) -> None:
        for column in key:
            where = f"{self._name}.{column}"
            if column not in self._facts.columns:
                raise InvalidInput(
                    f"--catalog: {where} is a part of the key there, but this tap does "
                    f"not have it; {_hint(column, self._facts.columns)}{_AGAIN}"
                )
            if column not in self._has:
                raise InvalidInput(
                    f"--catalog: it lacks {where}, a part of the key; {_AGAIN}"
                )
            if not self._is_selected(("properties", column)):
                raise InvalidInput(
                    f"--catalog: it deselects {where}, a part of the key: select it"
                )

    def _replication_key(self) -> str | None:
        named = self._entry.replication_key or self._marks[()].get("replication_key")
        own = self._facts.replication_key
        if named not in {None, own}:
            instead = f"write {own}, or leave it out" if own else "leave it out"
            raise InvalidInput(
                f"--catalog: {self._name} cannot be read by the replication key "
                f"{named!r}: {instead}"
            )
        return named

    def _where(self, path: Breadcrumb) -> str:
        return ".".join([self._name, *path[1:]])


def _parts(
    schema: _Schema, path: Breadcrumb = ()
) -> Iterator[tuple[Breadcrumb, _Schema]]:
    """Yield a schema and all schemas in it, with their paths."""
    yield path, schema
    for name, part in (schema.properties or {}).items():
        yield from _parts(part, (*path, "properties", name))
    if schema.items:
        yield from _parts(schema.items, (*path, "items"))


def _path(stream: str, breadcrumb: list[str] | str) -> Breadcrumb:
    """Return a breadcrumb as a tuple; older tools wrote it as text.

    Raises:
        InvalidInput: the breadcrumb is not a path into a schema.
    """
    path: Breadcrumb
    try:
        if not isinstance(breadcrumb, str):
            path = tuple(breadcrumb)
        elif breadcrumb.startswith("["):
            path = msgspec.json.decode(breadcrumb, type=Breadcrumb)
        else:
            path = tuple(breadcrumb.split(".")) if breadcrumb else ()
        _keywords(path)
    except (ValueError, msgspec.DecodeError):
        raise InvalidInput(
            f"--catalog: {stream} has an invalid breadcrumb, {breadcrumb!r}: write "
            '[] for the stream and ["properties", "<column>"] for a column'
        ) from None
    return path


def _keywords(path: Breadcrumb) -> list[str]:
    """Return the JSON Schema keywords in a breadcrumb.

    Raises:
        ValueError: the breadcrumb is not a path into a schema.
    """
    found: list[str] = []
    rest = path
    while rest:
        size = {"properties": 2, "items": 1}.get(rest[0])
        if size is None or len(rest) < size or (rest[0] == "items" and not found):
            raise ValueError(path)
        found.append(rest[0])
        rest = rest[size:]
    return found


def _by_stream(columns: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(of)}" for name, of in columns.items())
