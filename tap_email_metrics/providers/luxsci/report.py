"""One answer of a report, decoded as it comes: an answer can be 50 MB long.

What is documented is a `header` that describes the columns. Where it stands, whether
rows are arrays or objects, and where the count is, is not: this takes each of

    {"success": 1, "header": [...], "data": [[...], ...], "count": 2}
    {"success": 1, "data": {"header": [{"name": "to"}, ...], "rows": [{...}, ...]}}

with the parts in any order.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any

from tap_email_metrics.errors import Retriable
from tap_email_metrics.providers.luxsci.answers import is_success
from tap_email_metrics.records.values import DEEPEST, is_deep, to_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.records.values import Row


ROWS_AT_ONCE = 200
"""Rows that are made records together: with 500, 24 MB took 3 MB more of memory."""
_MOST_TEXT = 4 * 2**20
"""Characters that one row, or one other value, may have."""
_GAP = re.compile(r"[\s,]*")
_ENDS = frozenset(",]} \t\r\n")
_COLON = re.compile(r"\s*:\s*")
_NAMES = ("name", "keyword", "key", "column", "field", "id")
"""Where an entry of the header that is an object may have the column's name."""
_COUNTS = (
    *("count", "total", "total_count", "total_rows", "total_matches", "matches"),
    *("num_rows", "n_rows", "rows"),
)
"""What the number of rows may be called."""
_ROWS = ("data", "rows", "results", "items", "records")
"""What may hold the rows, or an object with them."""
_DECODE: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    # NaN and its like are no JSON: text that fits no number.
    parse_constant=str,
    strict=False,
).raw_decode


class _Text:
    """Text that grows at its end and is dropped at its beginning."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        # One byte that is not UTF-8 shall not cost a whole window.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Add what comes next; return False at the end."""
        if len(self._text) - self._at > _MOST_TEXT:
            raise Retriable("a value that is too long")
        for chunk in self._chunks:
            text = self._decoder.decode(chunk)
            if text:
                self._text = self._text[self._at :] + text
                self._at = 0
                return True
        return False

    def next(self) -> str:
        """Return the next character that is no space or comma, without taking it."""
        while True:
            found = _GAP.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise Retriable("a body that ends early or is not JSON")

    def take(self, expected: str) -> None:
        """Go past a character."""
        if self.next() != expected:
            raise Retriable("a body that is not the JSON of a report")
        self._at += 1

    def value(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Take a whole value."""
        self.next()
        while True:
            try:
                value, end = _DECODE(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise Retriable("a body that ends early or is not JSON") from error
                continue
            # A number may go on in what comes next.
            if self._text[end : end + 1] in _ENDS or isinstance(
                value, (dict, list, str)
            ):
                self._check_depth(value, end)
                self._at = end
                return value
            if not self._more():
                raise Retriable("a body that ends early")

    def _check_depth(self, value: object, end: int) -> None:
        """Return where a value that ends there is no deeper than a body may be."""
        opened = sum(self._text.count(opening, self._at, end) for opening in "[{")
        if opened > DEEPEST and is_deep(value, DEEPEST):
            raise Retriable("a value that is nested too deeply")

    def key(self) -> str:
        """Take a key and its colon."""
        key = self.value()
        while not (found := _COLON.match(self._text, self._at)) or (
            found.end() == len(self._text)
        ):
            if not self._more():
                raise Retriable("a body that ends early or is not JSON")
        self._at = found.end()
        return str(key)


class Report:
    """The rows of an answer, and what stands around them.

    Args:
        chunks: of the body, as they come.
        columns: the vendor's names of the columns that are known, by lower case.

    Attributes:
        about: what stands beside the rows, of both levels.
        has_list: whether a list of rows was begun, if only an empty one.
    """

    def __init__(self, chunks: Iterable[bytes], columns: Mapping[str, str]) -> None:
        self._text = _Text(chunks)
        self._columns = columns
        self._names: list[str] | None = None
        self._depth = 0
        self._shapes: dict[tuple[str, ...], list[str]] = {}
        self.about: dict[str, Any] = {}
        self.has_list = False
        self._batches = self._walk()
        self._first = next(self._batches, None)

    @property
    def count(self) -> int | None:
        """Rows in the whole window, as far as that was said by now."""
        for name in _COUNTS:
            found = to_integer(self.about.get(name))
            if found is not None and found >= 0:
                return found
        return None

    def sole_count(self) -> int | None:
        """Return the count of an answer without rows, wherever it is."""
        if self.count is not None:
            return self.count
        found = to_integer(self.about.get("data"))
        if found is None and self._first and len(self._first) == 1:
            [row] = self._first
            found = to_integer(next(iter(row.values()), None))
        return found

    @property
    def failed(self) -> bool:
        """Whether the answer says that it is none, as far as that was said by now."""
        return not is_success(self.about)

    @property
    def is_one(self) -> bool:
        """Whether this is a report at all."""
        return self._first is not None or bool(
            {"success", *_COUNTS} & self.about.keys()
        )

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows, some at a time.

        Raises:
            Retriable: the body is cut, or is not JSON.
        """
        if self._first is not None:
            first, self._first = self._first, []
            yield first
        yield from self._batches

    # The walk over the body

    def _walk(self) -> Iterator[list[Row]]:
        self._text.take("{")
        self._depth = 1
        while self._depth:
            if self._ends_object():
                continue
            name = self._text.key()
            opening = self._text.next()
            if opening == "[" and name in _ROWS:
                yield from self._batches_of_rows()
            elif opening == "{" and name in _ROWS and self._depth == 1:
                self._text.take("{")
                self._depth = 2
            else:
                self._note(name)

    def _ends_object(self) -> bool:
        """Go past the brace that ends an object, if it comes next."""
        if self._text.next() != "}":
            return False
        self._text.take("}")
        self._depth -= 1
        return True

    def _note(self, name: str) -> None:
        """Take a value that holds no rows."""
        value = self._text.value()
        if name == "header":
            self._names = self._read_header(value)
        else:
            self.about.setdefault(name, value)

    def _batches_of_rows(self) -> Iterator[list[Row]]:
        self.has_list = True
        self._text.take("[")
        raw: list[Any] = []
        while self._text.next() != "]":
            raw.append(self._text.value())
            # Arrays mean nothing until the header has come.
            if len(raw) >= ROWS_AT_ONCE and (self._names or isinstance(raw[0], dict)):
                yield [self._row(one) for one in raw]
                raw = []
        self._text.take("]")
        if self._names is None and raw and not isinstance(raw[0], dict):
            self._find_header()
        yield [self._row(one) for one in raw]

    def _find_header(self) -> None:
        """Read on to a header that comes after its rows: beside them, or above."""
        while self._names is None and self._depth:
            if not self._ends_object():
                self._note(self._text.key())
        if self._names is None:
            raise Retriable("rows without a header")

    # Rows

    def _read_header(self, header: object) -> list[str] | None:
        if header is None:
            return None
        if not isinstance(header, list):
            raise Retriable("a header that is no list")
        return self._names_of([_label(entry) for entry in header])

    def _names_of(self, labels: Sequence[str]) -> list[str]:
        """Return the names of columns, each once.

        Of labels that differ in case alone, the one that is spelled as documented, or
        else the first, names the known column. The others keep their spelling.
        """
        names: list[str] = []
        for place, label in enumerate(labels):
            name = self._columns.get(label.lower(), label)
            if name in names or (name != label and name in labels):
                name = label
            names.append(_numbered(place) if name in names else name)
        return names

    def _row(self, raw: Any) -> Row:  # noqa: ANN401 - whatever JSON holds
        if isinstance(raw, dict):
            keys = tuple(raw)
            names = self._shapes.get(keys)
            if names is None:
                names = self._shapes[keys] = self._names_of(keys)
            return dict(zip(names, raw.values(), strict=True))
        if isinstance(raw, list) and self._names is not None:
            return _paired(self._names, raw)
        return {}


def _paired(names: Sequence[str], values: Sequence[object]) -> Row:
    """Return values under the names of the header; more of them by their number."""
    row: Row = dict(zip(names, values, strict=False))
    for place in range(len(names), len(values)):
        row[_numbered(place)] = values[place]
    return row


def _numbered(place: int) -> str:
    """Return the name of a column that has none of its own."""
    return f"column_{place + 1}"


def _label(entry: object) -> str:
    """Return the name of a column, in whichever way the header gives it."""
    if isinstance(entry, dict):
        found = (entry[name] for name in _NAMES if isinstance(entry.get(name), str))
        return next(found, "")
    return str(entry)
