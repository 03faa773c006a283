"""Decodes one response of a report while it arrives: it can be 50 MB long.

The vendor documents a `header` that describes the columns. It does not document where
the header and the count are, or whether rows are arrays or objects. `Report` reads
both of these shapes,

    {"success": 1, "header": [...], "data": [[...], ...], "count": 2}
    {"success": 1, "data": {"header": [{"name": "to"}, ...], "rows": [{...}, ...]}}

with their parts in any order. Column names are compared without case, spaces,
underscores and hyphens. A body that is not understood raises `NotUnderstood`. A row
that is not understood becomes None, which is counted and gets no record. It never
becomes a row of nulls.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_email_metrics.errors import NotUnderstood, Retriable
from tap_email_metrics.providers.luxsci.answers import is_success
from tap_email_metrics.records.values import DEEPEST, is_deep, to_integer
from tap_email_metrics.transport.bounds import TooLong

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from tap_email_metrics.records.values import Row


ROWS_AT_ONCE = 200
"""Rows in one batch. With 500, a body of 24 MB takes 3 MB more memory."""
_MOST_TEXT = 4 * 2**20
"""Most characters of one row or one other value."""
_GAP = re.compile(r"[\s,]*")
_ENDS = frozenset(",]} \t\r\n")
_COLON = re.compile(r"\s*:\s*")
_SEPARATORS = str.maketrans("", "", " _-\t\n")
_NAMES = ("name", "keyword", "key", "column", "field", "id", "label", "title")
"""Keys that may hold the column's name if an entry of the header is an object. The
value of another key is used only if it is the name of a known column."""
_NO_NAMES = frozenset(
    {"type", "datatype", "format", "kind", "class", "description", "comment", "sort"}
)
"""Keys that never hold the column's name: a type may be spelled like a column."""
COUNTS = (
    *("count", "total", "total_count", "total_rows", "total_matches", "matches"),
    *("num_rows", "n_rows", "rows"),
)
"""Names that the number of rows may have."""
ROW_LISTS = ("data", "rows", "results", "items", "records")
"""Names of the list of rows, or of the object around it."""
_ENVELOPE = frozenset({"success", "auth", "comment", *COUNTS})
"""Names beside the rows that are not columns."""
_DECODE: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    # NaN and Infinity are not JSON. As text they do not fit a number column.
    parse_constant=str,
    strict=False,
).raw_decode


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns without which rows are not understood, by the vendor's names.

    Attributes:
        required: parts of the key; each must be there.
        telling: columns that tell events apart or say when they happened. At least
            one must be there. All must be there if the header has an unknown label,
            which may be a new name of the missing column. Rows that are objects may
            leave out what is null, so that with unknown names two must be there.
    """

    required: frozenset[str] = frozenset()
    telling: frozenset[str] = frozenset()

    def lacks(self, names: Collection[str], known: Collection[str]) -> bool:
        """Return whether rows with these columns cannot be understood.

        Args:
            names: the columns of the header.
            known: the vendor's names of the columns that the stream has.
        """
        if self.required - set(names):
            return True
        missing = self.telling - set(names)
        return bool(missing) and (
            missing == self.telling or any(name not in known for name in names)
        )

    def is_renamed(self, names: Collection[str], known: Collection[str]) -> bool:
        """Return whether the names of objects' fields seem to have changed.

        The arguments are those of `lacks`.
        """
        found = self.telling & set(names)
        return len(found) < min(2, len(self.telling)) and any(
            name not in known for name in names
        )


_NOTHING_WANTED = Wanted()


def plain(label: str) -> str:
    """Return a label without case and separators, for comparisons."""
    return label.translate(_SEPARATORS).casefold()


class _Text:
    """Text that grows at its end and is dropped at its beginning."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        # A single byte that is not UTF-8 must not lose a whole window.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Append the next part of the body; return False at the end."""
        if len(self._text) - self._at > _MOST_TEXT:
            # Asked for alone, it shows whether it is one row: no request can read that.
            raise TooLong(f"a value of more than {_MOST_TEXT // 2**20} MB")
        for chunk in self._chunks:
            text = self._decoder.decode(chunk)
            if text:
                self._text = self._text[self._at :] + text
                self._at = 0
                return True
        return False

    def next(self) -> str:
        """Return the next character that is not a space or comma; do not consume it."""
        while True:
            found = _GAP.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise Retriable("a body that ends early or is not JSON")

    def take(self, expected: str) -> None:
        """Consume a character."""
        if self.next() != expected:
            raise Retriable("a body that is not the JSON of a report")
        self._at += 1

    def value(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Consume and return a whole value."""
        self.next()
        while True:
            try:
                value, end = _DECODE(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise Retriable("a body that ends early or is not JSON") from error
                continue
            # A number may continue in the next part of the body.
            if self._text[end : end + 1] in _ENDS or isinstance(
                value, (dict, list, str)
            ):
                self._check_depth(value, end)
                self._at = end
                return value
            if not self._more():
                raise Retriable("a body that ends early")

    def _check_depth(self, value: object, end: int) -> None:
        """Check that a value, which ends at an index, is not nested too deeply."""
        opened = sum(self._text.count(opening, self._at, end) for opening in "[{")
        if opened > DEEPEST and is_deep(value, DEEPEST):
            raise Retriable("a value that is nested too deeply")

    def key(self) -> str:
        """Consume and return a key and its colon."""
        key = self.value()
        while not (found := _COLON.match(self._text, self._at)) or (
            found.end() == len(self._text)
        ):
            if not self._more():
                raise Retriable("a body that ends early or is not JSON")
        self._at = found.end()
        return str(key)


class Report:
    """The rows of a response, and the values around them.

    Args:
        chunks: parts of the body as they arrive.
        columns: the vendor's names of the known columns, by lower-case name.
        wanted: the columns that the rows must have.

    Attributes:
        about: the values beside the rows, of both levels, by lower-case name.
        has_list: whether a list of rows has begun, even an empty one.
        row_form: arrays or objects, None before the first row.
        header_at: top or data, None without a header.
        entry_form: strings or objects, None without a header or if it has both.
        count_at: top or data, None without a count.

    Raises:
        NotUnderstood: the body is complete, but its rows cannot be understood.
        Retriable: the body is cut, or is not JSON.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        columns: Mapping[str, str],
        wanted: Wanted = _NOTHING_WANTED,
    ) -> None:
        self._text = _Text(chunks)
        self._columns = {plain(name): name for name in columns.values()}
        self._wanted = wanted
        self._inner: dict[str, Any] = {}
        self._names: list[str] | None = None
        self._depth = 0
        self._shapes: dict[tuple[str, ...], list[str]] = {}
        self._rows_seen = 0
        self._last: Row = {}
        self.about: dict[str, Any] = {}
        self.has_list = False
        self.row_form: str | None = None
        self.header_at: str | None = None
        self.entry_form: str | None = None
        self.count_at: str | None = None
        self._batches = self._walk()
        self._first = next(self._batches, None)

    @property
    def count(self) -> int | None:
        """Number of rows in the whole window, None if it was not read so far."""
        for name in COUNTS:
            found = to_integer(self.about.get(name))
            if found is not None and found >= 0:
                return found
        return None

    def sole_count(self) -> int | None:
        """Return the count of a response without rows, wherever it is.

        Call this after the last row: the count may follow an empty list.
        """
        if self.count is not None:
            return self.count
        found = to_integer(self.about.get("data"))
        if found is None and self._rows_seen == 1 and len(self._last) == 1:
            found = to_integer(next(iter(self._last.values())))
        return found

    def sole_row(self) -> Row | None:
        """Return the single row of a response without a list, None if there is none.

        It is in the place of the list, or beside `success`.
        """
        if self.has_list:
            return None
        for part in (self._inner, self.about):
            fields = {k: v for k, v in part.items() if k not in _ENVELOPE}
            row = self._named(fields)
            if self._wanted.telling & row.keys():
                return self._named(part) if part is self._inner else row
        return None

    @property
    def failed(self) -> bool:
        """Whether the body, as far as it was read, says that the request failed."""
        return not is_success(self.about)

    @property
    def is_one(self) -> bool:
        """Whether the body is a report."""
        return self._first is not None or bool({"success", *COUNTS} & self.about.keys())

    def rows(self) -> Iterator[list[Row | None]]:
        """Yield the rows in batches; None for an entry that is not a row.

        Raises:
            NotUnderstood: the header is missing, or lacks the columns of the key; or
                the rows may be in another place.
            Retriable: the body is cut, or is not JSON.
        """
        if self._first is not None:
            first, self._first = self._first, []
            yield first
        yield from self._batches
        if not self.has_list and self.count is None and self._may_hold_rows():
            raise NotUnderstood("no list of rows, but values that may be rows")

    def _may_hold_rows(self) -> bool:
        """Return whether a value is a list or object that holds lists or objects."""
        values = (self._inner, *self.about.values())
        return any(
            isinstance(value, dict | list) and is_deep(value, 2) for value in values
        )

    # The walk over the body

    def _walk(self) -> Iterator[list[Row | None]]:
        self._text.take("{")
        self._depth = 1
        while self._depth:
            if self._ends_object():
                continue
            name = self._text.key().strip().lower()
            opening = self._text.next()
            if opening == "[" and name in ROW_LISTS:
                yield from self._batches_of_rows()
            elif opening == "{" and name in ROW_LISTS and self._depth == 1:
                self._text.take("{")
                self._depth = 2
            else:
                self._note(name)

    def _ends_object(self) -> bool:
        """Consume the closing brace of an object; return False if it is not next."""
        if self._text.next() != "}":
            return False
        self._text.take("}")
        self._depth -= 1
        return True

    def _note(self, name: str) -> None:
        """Consume and store a value that is not the list of rows."""
        value = self._text.value()
        place = "data" if self._depth > 1 else "top"
        if name in COUNTS and self.count_at is None and to_integer(value) is not None:
            self.count_at = place
        if name == "header":
            self.header_at = place
            self._names = self._read_header(value)
        else:
            self.about.setdefault(name, value)
            if self._depth > 1:
                self._inner.setdefault(name, value)

    def _batches_of_rows(self) -> Iterator[list[Row | None]]:
        self.has_list = True
        self._text.take("[")
        raw: list[Any] = []
        while self._text.next() != "]":
            raw.append(self._text.value())
            # Arrays cannot be read before the header has arrived.
            is_clear = self._names is not None or isinstance(raw[0], dict)
            if len(raw) >= ROWS_AT_ONCE and is_clear:
                yield self._batch(raw)
                raw = []
        self._text.take("]")
        if self._names is None and raw and not isinstance(raw[0], dict):
            self._find_header()
        if self._is_flat(raw):
            raw = [raw]
        yield self._batch(raw)

    def _is_flat(self, raw: list[Any]) -> bool:
        """Return whether the list is itself a single row instead of a list of rows."""
        return (
            not self._rows_seen
            and len(raw) == len(self._names or ())
            and any(value is not None for value in raw)
            and not any(isinstance(value, dict | list) for value in raw)
        )

    def _find_header(self) -> None:
        """Read on until a header that follows the rows, on their level or above it."""
        while self._names is None and self._depth:
            if not self._ends_object():
                self._note(self._text.key().strip().lower())
        if self._names is None:
            raise NotUnderstood("rows without a header")

    # Rows

    def _batch(self, raw: list[Any]) -> list[Row | None]:
        if not self._rows_seen and raw:
            is_array = any(isinstance(one, list) for one in raw)
            self.row_form = "arrays" if is_array else "objects"
            if is_array:
                self._check_header()
        rows = [self._row(one) for one in raw]
        if not self._rows_seen and self.row_form == "objects":
            self._check_fields(rows)
        if rows:
            self._rows_seen += len(rows)
            self._last = rows[-1] or {}
        return rows

    def _check_header(self) -> None:
        names, known = self._names or (), self._columns.values()
        if self._wanted.lacks(names, known):
            raise NotUnderstood("a header without the columns that identify rows")

    def _check_fields(self, rows: Sequence[Row | None]) -> None:
        names = {name for row in rows for name in row or ()}
        if self._wanted.is_renamed(names, self._columns.values()):
            raise NotUnderstood("rows without the columns that identify them")

    def _read_header(self, header: object) -> list[str] | None:
        if header is None:
            return None
        if not isinstance(header, list):
            raise NotUnderstood("a header that is not a list")
        forms = {isinstance(entry, dict) for entry in header}
        if len(forms) == 1:
            self.entry_form = "objects" if forms.pop() else "strings"
        return self._names_of([self._label(entry) for entry in header])

    def _label(self, entry: object) -> str:
        """Return the name of a column from an entry of the header."""
        if not isinstance(entry, dict):
            return "" if entry is None else str(entry)
        texts = {k.lower(): v for k, v in entry.items() if isinstance(v, str)}
        named = [texts[name] for name in _NAMES if name in texts]
        others = [text for key, text in texts.items() if key not in _NO_NAMES]
        known = (text for text in (*named, *others) if plain(text) in self._columns)
        return next(known, next(iter(named), ""))

    def _names_of(self, labels: Sequence[str]) -> list[str]:
        """Return the names of columns, each only once.

        If several labels differ only in case or separators, the one with the documented
        spelling, or else the first, becomes the known column. The others keep their
        spelling.
        """
        names: list[str] = []
        for place, label in enumerate(labels):
            name = self._columns.get(plain(label), label)
            if name in names or (name != label and name in labels):
                name = label
            names.append(_numbered(place) if name in names else name)
        return names

    def _row(self, raw: Any) -> Row | None:  # noqa: ANN401 - whatever JSON holds
        if isinstance(raw, dict):
            return self._named(raw)
        # In a longer or shorter row, the columns of the values are unknown.
        if isinstance(raw, list) and len(raw) == len(self._names or ()):
            return dict(zip(self._names or (), raw, strict=True))
        return None

    def _named(self, raw: Row) -> Row:
        """Return an object with the names of its columns."""
        keys = tuple(raw)
        names = self._shapes.get(keys)
        if names is None:
            names = self._shapes[keys] = self._names_of(keys)
        return dict(zip(names, raw.values(), strict=True))


def _numbered(place: int) -> str:
    """Return the name of a column without a label."""
    return f"column_{place + 1}"
