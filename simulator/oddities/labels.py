"""LuxSci's header in other forms: letter case, doubled, unknown, short or absent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.oddities.base import Oddity
from simulator.oddities.pages import Page, label_of, of_page

if TYPE_CHECKING:
    from simulator.oddities.base import Case, Change

_PATHS = "/report/|/marketing/"
Labels = Callable[[list[Any]], list[Any]]


def _labels(relabel: Labels) -> Change:
    return of_page(partial(_relabel, relabel))


def _relabel(relabel: Labels, _case: Case, page: Page) -> None:
    """Change the header and the keys of rows that are objects."""
    found = page.header
    if found is None:
        return
    holder, header = found
    changed = relabel(header)
    holder["header"] = changed
    new = dict(zip(map(label_of, header), map(label_of, changed), strict=False))
    page.rows = [
        {new.get(name, name): value for name, value in row.items()}
        if isinstance(row, dict)
        else row
        for row in page.rows
    ]


def _named(entry: object, name: str) -> object:
    return {**entry, "name": name} if isinstance(entry, dict) else name


def _titles(header: list[Any]) -> list[Any]:
    return [_named(one, label_of(one).replace("_", " ").title()) for one in header]


def _keywords(header: list[Any]) -> list[Any]:
    return [
        {
            "name": label_of(one).replace("_", " ").title(),
            "keyword": label_of(one),
        }
        for one in header
    ]


def _lower(header: list[Any]) -> list[Any]:
    return [_named(one, label_of(one).lower()) for one in header]


def _upper(header: list[Any]) -> list[Any]:
    return [_named(one, label_of(one).upper()) for one in header]


def _camel(header: list[Any]) -> list[Any]:
    return [_named(one, label_of(one).title().replace("_", "")) for one in header]


def _unknown(header: list[Any]) -> list[Any]:
    return [_named(one, f"column {number}") for number, one in enumerate(header)]


def _short(header: list[Any]) -> list[Any]:
    return header[:-1]


def _empty(_header: list[Any]) -> list[Any]:
    return []


def _absent(_case: Case, page: Page) -> None:
    if found := page.header:
        del found[0]["header"]


def _doubled(_case: Case, page: Page) -> None:
    """Add a column whose label differs from the first only in letter case.

    It is never spelt as on the vendor's page: no other label would be better than that.
    """
    found = page.header
    if found is None or not found[1]:
        return
    holder, header = found
    name = label_of(header[0])
    other = name.upper()
    if other == name:
        other = name[:1].lower() + name[1:]
    holder["header"] = [*header, _named(header[0], other)]
    page.rows = [
        {**row, other: "other"} if isinstance(row, dict) else [*row, "other"]
        for row in page.rows
    ]


_FORMS: tuple[tuple[str, str, Labels], ...] = (
    ("titles", "with blanks and capitals, as 'Sendmail Id'", _titles),
    ("keywords", "as objects of a title and the keyword", _keywords),
    ("lower", "in lower case", _lower),
    ("upper", "in upper case", _upper),
    ("camel", "without underscores, as 'SendmailId'", _camel),
    ("unknown", "that say nothing", _unknown),
    ("short", "one fewer than the columns", _short),
    ("empty", "none at all", _empty),
)

ODDITIES = (
    *(
        Oddity(
            name=f"labels_{name}",
            says=f"labels of the header {says}",
            change=_labels(relabel),
            faces=("luxsci",),
            paths=_PATHS,
            changes_values=True,
        )
        for name, says, relabel in _FORMS
    ),
    Oddity(
        name="labels_absent",
        says="an answer without a header",
        change=of_page(_absent),
        faces=("luxsci",),
        paths=_PATHS,
        changes_values=True,
    ),
    Oddity(
        name="labels_doubled",
        says="a column twice, the second in another letter case and with another value",
        change=of_page(_doubled),
        faces=("luxsci",),
        paths=_PATHS,
        changes_values=True,
    ),
)
