"""Lists that are null, absent, empty, cut short, doubled or in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.oddities.base import Oddity
from simulator.oddities.pages import COUNTED, LISTS, Page, of_page, of_rows

if TYPE_CHECKING:
    from simulator.oddities.base import Case

_UNLIKE = (
    r"^/v2/messages(?:/\d+/(?!links)\w+)?$"
    r"|/tracking/(?:sends|optouts|forwards)$|/delivery$|/sent$"
)
"""Paths of lists in which no two rows are equal."""
_NAMED = rf"{COUNTED}|/contacts$|/contact_(?:lists|tags|custom_fields)$|/segments$"
"""Paths of lists that a reader must not take for empty if the answer has no list."""
_TIMES = ("created_time", "timestamp", "dateAdded")


def _null(_case: Case, page: Page) -> None:
    page.rows = None


def _absent(_case: Case, page: Page) -> None:
    page.drop_rows()


def _empty(_case: Case, page: Page) -> None:
    page.rows = []


def _emptied(_case: Case, page: Page) -> None:
    page.rows = []
    _agree(page, 0)
    _end(page)


def _short(_case: Case, page: Page) -> None:
    page.rows = _two_thirds(page.rows)
    _end(page)


def _capped(_case: Case, page: Page) -> None:
    page.rows = _two_thirds(page.rows)
    _agree(page, len(page.rows))
    _end(page)


def _first_again(_case: Case, page: Page) -> None:
    rows = page.rows
    page.rows = [rows[0], *rows[:-1]] if len(rows) > 1 else [*rows, *rows]


def _last_again(_case: Case, page: Page) -> None:
    page.rows = [*page.rows, page.rows[-1]]


def _reordered(case: Case, page: Page) -> None:
    """Shuffle rows of the same second, and all rows without a time."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(page.rows):
        places.setdefault(_second(row), []).append(place)
    rows = page.rows
    for tied in places.values():
        mixed = [rows[place] for place in tied]
        case.rng.shuffle(mixed)
        for place, row in zip(tied, mixed, strict=True):
            rows[place] = row
    page.rows = rows


def _one_object(_case: Case, page: Page) -> None:
    page.rows = page.rows[0]


def _flat(_case: Case, page: Page) -> None:
    row = page.rows[0]
    page.rows = list(row.values()) if isinstance(row, dict) else row


def _two_thirds(rows: list[Any]) -> list[Any]:
    return rows[: max(0, (2 * len(rows) - 1) // 3)]


def _second(row: object) -> str:
    if not isinstance(row, dict):
        return ""
    return next((str(row[name])[:19] for name in _TIMES if row.get(name)), "")


def _agree(page: Page, number: int) -> None:
    for holder, name in page.totals:
        holder[name] = str(number) if isinstance(holder[name], str) else number


def _end(page: Page) -> None:
    """Remove the link to the next page."""
    if isinstance(page.body, dict):
        page.body.pop("_links", None)


ODDITIES = (
    Oddity(
        name="list_null",
        says="null instead of a list",
        change=of_page(_null),
        paths=LISTS,
        telling=_NAMED,
    ),
    Oddity(
        name="list_absent",
        says="an answer without its list",
        change=of_page(_absent),
        paths=LISTS,
        telling=_NAMED,
    ),
    Oddity(
        name="list_empty",
        says="an empty list; the total stays the same",
        change=of_rows(_empty),
        paths=LISTS,
        telling=COUNTED,
    ),
    Oddity(
        name="list_emptied",
        says="an empty list with a total of 0",
        change=of_rows(_emptied),
        paths=LISTS,
        telling="/tracking/(?:sends|opens|clicks|forwards|optouts|bounces)$",
    ),
    Oddity(
        name="list_short",
        says="the last third of a list missing; the total stays the same",
        change=of_rows(_short),
        paths=LISTS,
        telling=COUNTED,
    ),
    Oddity(
        name="list_capped",
        says="the last third of a list missing, also from the total",
        change=of_rows(_capped),
        paths=LISTS,
        telling="/tracking/(?:sends|opens|clicks|forwards|optouts|bounces)$",
    ),
    Oddity(
        name="first_row_again",
        says="the first row of a page again instead of the last",
        change=of_rows(_first_again),
        paths=LISTS,
        telling=_UNLIKE,
        changes_values=True,  # a row without an id becomes another event
    ),
    Oddity(
        name="last_row_again",
        says="the last row of a page twice",
        change=of_rows(_last_again),
        paths=LISTS,
        telling=_UNLIKE,
        changes_values=True,
    ),
    Oddity(
        name="list_reordered",
        says="rows of equal times in another order",
        change=of_rows(_reordered),
        paths=LISTS,
    ),
    Oddity(
        name="list_one_object",
        says="the first row itself instead of the list",
        change=of_rows(_one_object),
        paths=LISTS,
        telling=_NAMED,
    ),
    Oddity(
        name="list_flat",
        says="the values of the first row instead of the list of rows",
        change=of_rows(_flat),
        paths="/report/|/marketing/",
        faces=("luxsci",),
    ),
)
