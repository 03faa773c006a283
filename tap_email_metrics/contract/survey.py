"""Notes names, types and formats of the fields in answers, but no values."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tap_email_metrics.records.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME = re.compile(r"(?!.{0,36}[0-9]{4})[A-Za-z][A-Za-z0-9_]{0,39}")
"""What a field's name looks like. Anything else may be a value in its place."""
_HEADER = re.compile(r"[a-z][a-z-]{0,39}")
_LIMITING = re.compile(r"rate.?limit|quota|retry-after|throttl", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z](?:[A-Za-z_ -]{0,29})")
_LONGEST = 40
_TIMES = (
    (r"\d{13}", "epoch milliseconds as text"),
    (r"\d{4}-\d\d-\d\d", "YYYY-MM-DD"),
    (r"0000-00-00 00:00:00", "0000-00-00 00:00:00"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "YYYY-MM-DDThh:mm:ssZ"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "YYYY-MM-DDThh:mm:ss.fZ"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:?\d\d", "YYYY-MM-DDThh:mm:ss±hh:mm"),
    (r"\d{4}-\d\d-\d\d[T ][\d:.]+.*", "another date-time"),
    (r"\d{1,2}/\d{1,2}/\d{4}.*", "month/day/year or day/month/year"),
)
_FIRST = frozenset("-0123456789")
"""What a time or a number begins with; most texts do not, and need no search."""
_EPOCH_MS = range(10**12, 10**13)
_MOST_WORDS = 12
_COMMON = 2
"""Rows that a word of the vendor's is in: a value of one row may be anything."""
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "list",
    dict: "object",
}
OTHER_NAMES = "(names that are no identifiers)"


def safe_name(name: str) -> str:
    """Return the name of a field, or a stand-in for text that may be personal."""
    return name if _NAME.fullmatch(name) else OTHER_NAMES


def limiting(headers: Iterable[str]) -> set[str]:
    """Return the names of those headers that are about limits, in lower case."""
    names = (name.lower() for name in headers if _LIMITING.search(name))
    return {name for name in names if _HEADER.fullmatch(name)}


def kind_of(value: object) -> str:
    """Return the type of a value; of a text that is a time, its format."""
    if isinstance(value, str):
        return _kind_of_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _EPOCH_MS:
        return "epoch milliseconds"
    return _KINDS.get(type(value), "other")


def _kind_of_text(text: str) -> str:
    if not text:
        return "empty text"
    if len(text) <= _LONGEST and text[0] in _FIRST:
        for pattern, name in _TIMES:
            if re.fullmatch(pattern, text, re.ASCII):
                return name
        if re.fullmatch(r"-?\d+(?:\.\d+)?", text, re.ASCII):
            return "number as text"
    return "text"


class Survey:
    """Counts the types of fields, by stream."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._kinds: dict[str, dict[str, Counter[str]]] = defaultdict(
            lambda: defaultdict(Counter)
        )
        self._words: dict[str, dict[str, Counter[str]]] = defaultdict(
            lambda: defaultdict(Counter)
        )
        self._headers: set[str] = set()

    def headers(self, headers: Mapping[str, str]) -> None:
        """Note the names of headers that are about limits."""
        self._headers |= limiting(headers)

    @property
    def limiting_headers(self) -> list[str]:
        """Names of the headers that are about limits."""
        return sorted(self._headers)

    def rows(self, stream: str, rows: Iterable[object]) -> None:
        """Count the fields of rows of a stream."""
        known = _sources(stream)
        groups = {name.partition(".")[0] for name in known if "." in name}
        for row in rows:
            if not isinstance(row, dict):
                continue
            self._rows[stream] += 1
            for name, value in row.items():
                if name in groups and isinstance(value, dict):
                    for inner, one in value.items():
                        self._count(stream, f"{name}.{inner}", one, known)
                else:
                    self._count(stream, name, value, known)

    def _count(
        self, stream: str, name: str, value: object, known: Mapping[str, Any]
    ) -> None:
        parts = (name,) if name in known else map(safe_name, name.split("."))
        shown = ".".join(parts) if name.count(".") < 2 else OTHER_NAMES  # noqa: PLR2004 - a group and a field
        self._kinds[stream][shown][kind_of(value)] += 1
        column = known.get(name, {})
        if column.get("x-words") and isinstance(value, str) and _WORD.fullmatch(value):
            self._words[stream][shown][value] += 1

    def as_json(self) -> dict[str, Any]:
        """Return what was seen, by stream."""
        return {stream: self._stream(stream) for stream in sorted(self._rows)}

    def _stream(self, stream: str) -> dict[str, Any]:
        known, kinds = _sources(stream), self._kinds[stream]
        rows = self._rows[stream]
        return {
            "rows": rows,
            "fields": {
                name: {
                    "types": dict(sorted(found.items())),
                    "null": round(found["null"] / found.total(), 2),
                    "missing": round(max(0, 1 - found.total() / rows), 2),
                    **self._said(stream, name),
                }
                for name, found in sorted(kinds.items())
            },
            "in_no_schema": sorted(kinds.keys() - known.keys()),
            "never_seen": sorted(known.keys() - kinds.keys()),
        }

    def _said(self, stream: str, name: str) -> dict[str, list[str]]:
        common = self._words[stream][name].most_common(_MOST_WORDS)
        words = [word for word, times in common if times >= _COMMON]
        return {"words": sorted(words)} if words else {}


def _sources(stream: str) -> dict[str, Any]:
    """Return the columns of a stream by the vendor's names of them."""
    columns = load_schema(stream)["properties"].values()
    return {one["x-source"]: one for one in columns if one.get("x-source")}
