"""Catalogs that a user passes in: what they select, or why they are refused.

A catalog may be older than this tap, made by hand, or written as older Singer tools
wrote it. `read_catalog` gives the SDK one that says of each stream and of each column
whether it is selected, so that nothing depends on what the SDK makes of a gap.
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

Path = tuple[str, ...]
Method = Literal["INCREMENTAL", "FULL_TABLE"]
_COLUMN = 2
"""Parts of the path of a column: the word `properties` and its name."""
_AGAIN = "make a new one with --discover"


class _Marks(msgspec.Struct, rename="kebab", frozen=True):
    """What a catalog says of a stream, a column or a part of one."""

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
    """The parts of a JSON Schema that the SDK reads; the old kind of selection."""

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
    """What this tap knows of a stream.

    Attributes:
        columns: their names.
        key: the names of the key columns.
        replication_key: the name of that column, None where there is none.
    """

    columns: Collection[str]
    key: Sequence[str]
    replication_key: str | None


@dataclass(frozen=True, slots=True)
class Understood:
    """A catalog as the SDK gets it, and what a user should know of it.

    Attributes:
        catalog: its JSON; every column of this tap, and of the catalog, is selected or
            is not.
        selected: the names of the selected streams.
        new: columns by stream that the catalog does not have: they are left out.
        gone: columns by stream that this tap does not have: nothing fills them.
    """

    catalog: dict[str, Any]
    selected: list[str] = field(default_factory=list)
    new: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, list[str]] = field(default_factory=dict)

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
        return lines


def read_catalog(catalog: Mapping[str, Any], known: Mapping[str, Facts]) -> Understood:
    """Return what a catalog selects.

    Args:
        catalog: its JSON.
        known: this tap's streams by name.

    Raises:
        InvalidInput: it is not a catalog, not this tap's, or it contradicts itself.
    """
    try:
        entries = msgspec.convert(catalog, _Catalog).streams
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"--catalog: not a Singer catalog: {error}; {_AGAIN}"
        ) from None
    except RecursionError:
        raise InvalidInput(f"--catalog: nested too deep; {_AGAIN}") from None
    result = Understood({"streams": []})
    seen: dict[str, Any] = {}
    for entry, raw in zip(entries, catalog["streams"], strict=True):
        name = entry.tap_stream_id
        if name in seen:
            if seen[name] != raw:
                raise InvalidInput(
                    f"--catalog: {name} is there twice, and not the same: keep one"
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
        _Reader(entry, known[name], raw["schema"]).add_to(result)
    return result


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? Or " if close else ""


class _Reader:
    """Reads one entry.

    Args:
        entry: of the catalog.
        facts: what this tap knows of its stream.
        schema: of the entry, as it stands there.

    Raises:
        InvalidInput: the entry contradicts itself.
    """

    def __init__(self, entry: _Entry, facts: Facts, schema: dict[str, Any]) -> None:
        self._entry = entry
        self._name = entry.tap_stream_id
        self._facts = facts
        self._schema = schema
        self._has = entry.schema.properties or {}
        self._marks: dict[Path, dict[str, Any]] = {}
        for item in entry.metadata or ():
            self._note(_path(self._name, item.breadcrumb), item.metadata or _Marks())
        # Without a word of itself a stream is selected, as the SDK has it.
        self._default = () not in self._marks
        self._note((), _Marks(selected=entry.selected))
        for path, part in _parts(entry.schema):
            self._note(path, _Marks(inclusion=part.inclusion, selected=part.selected))

    def _note(self, path: Path, marks: _Marks) -> None:
        """Remember what is said of a part, which may be said in several places."""
        kept = self._marks.setdefault(path, {})
        for what, value in asdict(marks).items():
            if value is None:
                continue
            if kept.setdefault(what, value) != value:
                raise InvalidInput(
                    f"--catalog: it says two things of {self._where(path)}: {what} is "
                    f"{value} and {kept[what]}; keep one"
                )

    def add_to(self, result: Understood) -> None:
        """Add the entry to a result.

        Raises:
            InvalidInput: what it says cannot be done.
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
        paths: list[Path] = [(), *(("properties", name) for name in columns)]
        for path in dict.fromkeys([*paths, *self._marks]):
            marks = self._marks.get(path, {})
            said = {name: marks.get(name) for name in ("inclusion", "selected")}
            if len(path) <= _COLUMN:
                said["selected"] = self._is_selected(path)
            if said["selected"] is False:
                said["inclusion"] = None  # the SDK selects what is automatic
            yield {"breadcrumb": list(path), "metadata": said}

    def _is_selected(self, path: Path) -> bool:
        """Return whether the stream, or a column of a selected stream, is selected."""
        marks = self._marks.get(path, {})
        column = path[-1] if path else None
        if column is not None and column not in self._has:
            return False  # a record may hold only what its SCHEMA has
        match marks.get("inclusion"):
            case "unsupported":
                return False
            case "automatic":
                return True
        default = True if path else self._default
        said = marks.get("selected", marks.get("selected_by_default", default))
        return bool(said)

    def _check_deselected(self) -> None:
        """Check that what is deselected can be left out."""
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
        """Return the key columns: those that the entry names, or else the tap's."""
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

    def _where(self, path: Path) -> str:
        return ".".join([self._name, *path[1:]])


def _parts(schema: _Schema, path: Path = ()) -> Iterator[tuple[Path, _Schema]]:
    """Yield a schema and all schemas in it, with their paths."""
    yield path, schema
    for name, part in (schema.properties or {}).items():
        yield from _parts(part, (*path, "properties", name))
    if schema.items:
        yield from _parts(schema.items, (*path, "items"))


def _path(stream: str, breadcrumb: list[str] | str) -> Path:
    """Return a breadcrumb as a path; older tools wrote it as text.

    Raises:
        InvalidInput: it leads nowhere.
    """
    path: Path
    try:
        if not isinstance(breadcrumb, str):
            path = tuple(breadcrumb)
        elif breadcrumb.startswith("["):
            path = msgspec.json.decode(breadcrumb, type=Path)
        else:
            path = tuple(breadcrumb.split(".")) if breadcrumb else ()
        _keywords(path)
    except (ValueError, msgspec.DecodeError):
        raise InvalidInput(
            f"--catalog: a breadcrumb of {stream} leads nowhere, {breadcrumb!r}: write "
            '[] for the stream and ["properties", "<column>"] for a column'
        ) from None
    return path


def _keywords(path: Path) -> list[str]:
    """Return the keywords of JSON Schema on a path.

    Raises:
        ValueError: it is not a path into a schema.
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
