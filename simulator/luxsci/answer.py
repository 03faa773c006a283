"""Answers of LuxSci's reports: header, rows and count in every possible shape."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.luxsci.facts import Column
from simulator.messages import Reply, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from simulator.luxsci.facts import Kind
    from simulator.luxsci.policy import Policy
    from simulator.luxsci.store import Store
    from simulator.luxsci.tables import Interval

    Render = Callable[[object], object]

Raw = dict[str, Any]
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
_ZERO = "0000-00-00 00:00:00"


@dataclass(frozen=True)
class Ask:
    """The parameters of a request for a report."""

    interval: Interval
    first_row: int
    matches: int
    tracked_headers: bool = False
    detail: bool = False


def columns_of(
    kind: Kind, custom: Iterable[str], *, tracked_headers: bool, detail: bool
) -> list[Column]:
    """Return the columns of a report in the order of the vendor's page."""
    shown = [one for one in kind.columns if tracked_headers or not one.tracked]
    if detail and kind.is_detailed:
        shown += [Column(name, "string") for name in custom]
    return shown


def renderers(columns: Sequence[Column], policy: Policy) -> list[Render | None]:
    """Return the function that renders each column, or None for unchanged values."""
    return [_renderer(column, policy) for column in columns]


def _renderer(column: Column, policy: Policy) -> Render | None:
    is_date = column.type == "datetime"
    if is_date and policy.nulls == "zero_dates":
        return _zero_for_null
    if policy.nulls == "empty" or (is_date and policy.nulls == "empty_dates"):
        inner = _looseness(column, policy)
        return _Emptied(inner).render
    return _looseness(column, policy)


def _looseness(column: Column, policy: Policy) -> Render | None:
    if column.type in ("integer", "float"):
        return _as_string if policy.numbers_as_strings else None
    if column.type == "string" and policy.strings_as_numbers:
        return _as_number
    return None


@dataclass(frozen=True)
class _Emptied:
    """Renders a null as empty text, and other values with a given function."""

    inner: Render | None

    def render(self, value: object) -> object:
        if value is None:
            return ""
        return self.inner(value) if self.inner else value


def _zero_for_null(value: object) -> object:
    return _ZERO if value is None else value


def _as_string(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _as_number(value: object) -> object:
    is_integer = isinstance(value, str) and _INTEGER.fullmatch(value)
    return int(str(value)) if is_integer else value


def fields_of(store: Store, found: Sequence[Any], at: float) -> Iterator[Raw]:
    """Yield the fields of entries including custom fields, or of computed rows."""
    blank = dict.fromkeys(store.custom_fields)
    for item in found:
        if isinstance(item, dict):
            yield item
        elif item.custom:
            yield {**blank, **item.custom, **item.row.fields(at)}
        else:
            yield item.row.fields(at)


class Answer:
    """Builds an answer; `turn` is the seed of its random order."""

    def __init__(self, store: Store, kind: Kind, ask: Ask, turn: int) -> None:
        self._store = store
        self._policy = store.policy
        self._kind = kind
        self._ask = ask
        self._random = random.Random(f"{store.seed}/{kind.name}/{turn}")  # noqa: S311 -- reproducible

    def build(self, found: Sequence[Any], at: float, renewed: str | None) -> Reply:
        """Return the reply; `found` holds all matching rows."""
        head: dict[str, bytes] = {"success": b"1"}
        if renewed:
            head["auth"] = encode(renewed)
        if self._ask.matches == 0:
            return self._reply(head, {}, self._count(len(found), b""))
        policy = self._policy
        most = min(self._ask.matches, policy.max_rows or self._ask.matches)
        part = found[self._ask.first_row : self._ask.first_row + most]
        columns = self._columns()
        names = [self._spelt(column) for column in columns]
        texts = list(self._cut(self._texts(columns, names, part, at)))
        header = encode(
            [{"name": name} for name in names]
            if policy.header_entries == "objects"
            else names
        )
        rows = b"[" + b",".join(texts) + b"]"
        return self._reply(
            head, {"header": header, "rows": rows}, self._count(len(found), texts)
        )

    def _columns(self) -> list[Column]:
        columns = columns_of(
            self._kind,
            self._store.custom_fields,
            tracked_headers=self._ask.tracked_headers,
            detail=self._ask.detail,
        )
        if self._policy.header_order == "shuffled":
            self._random.shuffle(columns)
        return columns

    def _spelt(self, column: Column) -> str:
        """Return the name of a column in the letter case of the header."""
        if column.name in self._store.custom_fields:
            return column.name
        match self._policy.header_case:
            case "lower":
                return column.name.lower()
            case "upper":
                return column.name.upper()
            case "mixed":
                return "".join(
                    letter.upper() if self._random.random() < 0.5 else letter.lower()  # noqa: PLR2004
                    for letter in column.name
                )
        return column.name

    def _texts(
        self,
        columns: Sequence[Column],
        names: Sequence[str],
        part: Sequence[Any],
        at: float,
    ) -> Iterator[bytes]:
        """Yield each row as JSON."""
        keys = [column.name for column in columns]
        functions = renderers(columns, self._policy)
        changed = [(n, render) for n, render in enumerate(functions) if render]
        is_object = self._policy.rows == "objects"
        for fields in fields_of(self._store, part, at):
            values = [fields.get(key) for key in keys]
            for n, render in changed:
                values[n] = render(values[n])
            yield encode(dict(zip(names, values, strict=True)) if is_object else values)

    def _cut(self, texts: Iterator[bytes]) -> Iterator[bytes]:
        """Yield rows until the answer is too long."""
        size = 0
        for text in texts:
            yield text
            size += len(text) + 1
            if size >= self._policy.max_bytes:
                return

    def _count(self, total: int, texts: Sequence[object]) -> bytes | None:
        """Return the count as JSON, or None if the answer has no count."""
        policy = self._policy
        if self._ask.matches:
            if policy.count_of == "nothing":
                return None
            if policy.count_of == "page":
                total = len(texts)
        return encode(str(total) if policy.count_type == "string" else total)

    def _reply(
        self, head: dict[str, bytes], parts: dict[str, bytes], count: bytes | None
    ) -> Reply:
        policy = self._policy
        top, data = dict(head), dict[str, bytes]()
        if count is not None and policy.count_at == "top":
            top[policy.count_name] = count
        if count is not None and policy.count_at == "data":
            data[policy.count_name] = count
        if parts:
            self._place(parts, top, data)
        elif data:
            top["data"] = _object(data)
        return Reply(200, _object(top), {"Content-Type": "application/json"})

    def _place(
        self, parts: dict[str, bytes], top: dict[str, bytes], data: dict[str, bytes]
    ) -> None:
        """Place header and rows by the policy."""
        policy = self._policy
        is_first = policy.header_place == "before"
        if policy.header_at == "top":
            if data:
                data[policy.rows_name] = parts["rows"]
            rows = {"data": _object(data) if data else parts["rows"]}
            header = {"header": parts["header"]}
            top |= header | rows if is_first else rows | header
            return
        rows = {policy.rows_name: parts["rows"]}
        header = {"header": parts["header"]}
        data |= header | rows if is_first else rows | header
        top["data"] = _object(data)


def _object(parts: dict[str, bytes]) -> bytes:
    """Return a JSON object of encoded values in their order."""
    inside = b",".join(encode(name) + b":" + value for name, value in parts.items())
    return b"{" + inside + b"}"
