"""The shape of LuxSci's answers: where an answer has its header, rows and count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.luxsci.report import COUNTS, ROW_LISTS, plain
from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_email_metrics.records.values import Row


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of an answer, and its rows.

    Attributes:
        rows: the rows by the vendor's names, without those that do not fit the header.
        row_form: arrays or objects, None without rows.
        names: labels of the header.
        header_at: top or data, None without one.
        entry_form: strings or objects.
        count: number of rows in the whole list according to the answer.
        count_at: top or data, None without a count.
    """

    rows: list[Row] = field(default_factory=list)
    row_form: str | None = None
    names: tuple[str, ...] = ()
    header_at: str | None = None
    entry_form: str | None = None
    count: int | None = None
    count_at: str | None = None

    @property
    def labels(self) -> set[str]:
        """The labels without case and separators, which may differ by answer."""
        return {*map(plain, self.names)}


def shape_of(body: Mapping[str, Any], columns: Iterable[str]) -> Shape:
    """Return where a body has its parts."""
    parts = {"top": body}
    inner = next((body[k] for k in ROW_LISTS if isinstance(body.get(k), dict)), None)
    if inner is not None:
        parts["data"] = inner
    header_at = next((at for at, p in parts.items() if "header" in p), None)
    header = parts[header_at]["header"] if header_at else None
    raw: list[Any] = next(
        (
            part[name]
            for part in parts.values()
            for name in ROW_LISTS
            if isinstance(part.get(name), list)
        ),
        [],
    )
    count_at, count = next(
        (
            (at, to_integer(part[name]))
            for at, part in parts.items()
            for name in COUNTS
            if to_integer(part.get(name)) is not None
        ),
        (None, None),
    )
    entries = header if isinstance(header, list) else []
    labels = tuple(_label(entry) for entry in entries)
    row_form = None
    if raw and all(isinstance(row, list) for row in raw):
        row_form = "arrays"
    elif raw and all(isinstance(row, dict) for row in raw):
        row_form = "objects"
    known = {plain(name): name for name in columns}
    entry_forms = {isinstance(entry, dict) for entry in entries}
    entry_form = None
    if len(entry_forms) == 1:
        entry_form = "objects" if entry_forms.pop() else "strings"
    return Shape(
        rows=[row for one in raw if (row := _row(one, labels, known))],
        row_form=row_form,
        names=labels,
        header_at=header_at,
        entry_form=entry_form,
        count=count,
        count_at=count_at,
    )


def _row(raw: Any, labels: Sequence[str], known: Mapping[str, str]) -> Row | None:  # noqa: ANN401 - whatever JSON holds
    if isinstance(raw, dict):
        return {known.get(plain(name), name): value for name, value in raw.items()}
    if isinstance(raw, list) and len(raw) == len(labels):
        names = [known.get(plain(name), name) for name in labels]
        return dict(zip(names, raw, strict=True))
    return None


def _label(entry: object) -> str:
    if isinstance(entry, dict):
        texts = [v for k, v in entry.items() if isinstance(v, str) and k != "type"]
        return texts[-1] if texts else ""
    return str(entry)
