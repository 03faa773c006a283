"""Fields that are missing, renamed or of another type, and odd ids and dates."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.luxsci.facts import PREFIX
from simulator.messages import encode
from simulator.oddities.base import Oddity, chance
from simulator.oddities.pages import LISTS, Page, label_of, of_rows

if TYPE_CHECKING:
    from simulator.oddities.base import Case, Change

_KEYS = frozenset(
    {
        *("id", "campaign_id", "campaign_activity_id", "contact_id", "created_time"),
        *("list_id", "tag_id", "custom_field_id", "segment_id", "url_id", "job_id"),
        *("tracking_activity_type", "sendmail_id", "log_id", "user_id", "device_type"),
        *("recipientId", "timestamp", "dateAdded", "last_sent_date", "email_address"),
        *("updated_at", "to", "email", "linkId", "stats", "unique_counts", "send_id"),
    }
)
"""Fields that identify a row or that a reader needs: other oddities change them."""
_KEYS_OF_LUXSCI = frozenset(
    {
        *("account_id", "click_date", "clicker_ip", "complaint_date", "date"),
        *("complaint_source", "date_sent", "date_temp_failure", "domain_id"),
        *("ip", "ip_address", "msg_to", "open_date", "opener_ip", "reason"),
        *("unsubscribed_date", "url", "user_agent"),
    }
)
"""Fields that identify events of LuxSci, which have no id; in lower case."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}.*")
_UNUSABLE = 0.4
"""Share of the rows that get an unusable id."""
Edit = Callable[[dict[str, Any], str], None]
"""Function that changes a field of a row in place."""


def _missing(row: dict[str, Any], name: str) -> None:
    del row[name]


def _renamed(row: dict[str, Any], name: str) -> None:
    row[f"{name}New"] = row.pop(name)


def _wrapped(row: dict[str, Any], name: str) -> None:
    row[name] = {"value": row[name]}


def _in_a_list(row: dict[str, Any], name: str) -> None:
    row[name] = [row[name]]


def _retyped(row: dict[str, Any], name: str) -> None:
    value = row[name]
    row[name] = len(value) if isinstance(value, str) else encode(value).decode()


def _respelt(row: dict[str, Any], name: str) -> None:
    """Write the name of the field in the other style, snake_case or camelCase."""
    value = row.pop(name)
    if "_" in name:
        head, *rest = name.split("_")
        row[head + "".join(map(str.capitalize, rest))] = value
    else:
        row[re.sub("(?<=[a-z])[A-Z]", lambda m: f"_{m[0]}", name).lower()] = value


def _doubled(row: dict[str, Any], name: str) -> None:
    """Add the field again in another letter case and with another value."""
    row[name.upper()] = "other"


def _one_field(edit: Edit) -> Change:
    return of_rows(partial(_edit_field, edit))


def _edit_field(edit: Edit, case: Case, page: Page) -> None:
    """Change one field in all rows that are objects."""
    rows = [row for row in page.rows if isinstance(row, dict)]
    names = sorted({name for row in rows for name in row} - _KEYS)
    if case.request.path.startswith(PREFIX):
        keys = _KEYS | _KEYS_OF_LUXSCI
        names = [name for name in names if name.lower() not in keys]
    if not names:
        return
    name = case.rng.choice(names)
    for row in rows:
        if name in row:
            edit(row, name)


def _ids(value: object) -> Change:
    return of_rows(partial(_edit_id, value))


def _edit_id(value: object, case: Case, page: Page) -> None:
    """Give some rows, always the same ones, an unusable id."""
    for row in page.rows:
        is_chosen = chance(case.seed, f"{case.request.path} {_id_of(row)}") < _UNUSABLE
        if isinstance(row, dict) and "id" in row and is_chosen:
            row["id"] = f"{value}-{row['id']}" if isinstance(value, str) else value


def _id_of(row: object) -> object:
    return row.get("id") if isinstance(row, dict) else None


def _dates(spell: Callable[[str], object]) -> Change:
    return of_rows(partial(_edit_dates, spell))


def _edit_dates(spell: Callable[[str], object], _case: Case, page: Page) -> None:
    """Write every date-time in the rows in another form."""
    rows = page.rows
    for row in rows:
        items = row.items() if isinstance(row, dict) else enumerate(row)
        for key, value in [*items] if isinstance(row, dict | list) else ():
            if isinstance(value, str) and _DATE.fullmatch(value):
                row[key] = spell(value)
    page.rows = rows


def _gmt(text: str) -> str:
    return f"{text[:19].replace('T', ' ')} GMT"


def _offset(text: str) -> str:
    return f"{text[:19]}+00"


def _minutes(text: str) -> str:
    return text[:16]


def _blank(text: str) -> str:
    return f"{text} "


def _american(text: str) -> str:
    year, month, day = text[:10].split("-")
    return f"{month}/{day}/{year} {text[11:19]}"


def _words(_text: str) -> str:
    return "yesterday"


def _day_only(text: str) -> str:
    return text[:10]


def _send_date(edit: Edit) -> Change:
    return of_rows(partial(_edit_send_date, edit))


def _edit_send_date(edit: Edit, _case: Case, page: Page) -> None:
    for row in page.rows:
        if isinstance(row, dict) and "last_sent_date" in row:
            edit(row, "last_sent_date")


def _shorten(row: dict[str, Any], name: str) -> None:
    row[name] = str(row[name])[:10]


def _without_device(_case: Case, page: Page) -> None:
    for row in page.rows:
        if isinstance(row, dict):
            row.pop("device_type", None)


def _labels(page: Page) -> list[str]:
    found = page.header
    return [label_of(one) for one in found[1]] if found else []


def _no_event_ids(_case: Case, page: Page) -> None:
    """Empty the column sendmail_id in LuxSci's rows."""
    labels = [label.lower() for label in _labels(page)]
    rows = page.rows
    for row in rows:
        if isinstance(row, dict):
            row.update({n: "" for n in row if n.lower() == "sendmail_id"})
        elif isinstance(row, list) and "sendmail_id" in labels:
            row[labels.index("sendmail_id")] = ""
    page.rows = rows


_EDITS: tuple[tuple[str, str, Edit], ...] = (
    ("missing", "a field missing", _missing),
    ("renamed", "a field under another name", _renamed),
    ("wrapped", "a field's value in an object", _wrapped),
    ("in_list", "a field's value in a list", _in_a_list),
    (
        "retyped",
        "a number for a field's text, text for another value",
        _retyped,
    ),
    ("respelt", "a field's name in the other style", _respelt),
    ("doubled", "a field twice, the second in upper case with another value", _doubled),
)
_SPELLINGS: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("gmt", "with GMT behind them", _gmt),
    ("offset", "with +00 behind them", _offset),
    ("minutes", "without seconds", _minutes),
    ("blank", "with a blank behind them", _blank),
    ("american", "as month/day/year", _american),
    ("words", "as words", _words),
    ("days", "as days", _day_only),
)
_FIELD_FACES = ("encompass", "constant_contact", "luxsci")

ODDITIES = (
    *(
        Oddity(
            name=f"field_{name}",
            says=f"{says}; not a field that identifies rows",
            change=_one_field(edit),
            faces=_FIELD_FACES,
            paths=LISTS,
            changes_values=True,
        )
        for name, says, edit in _EDITS
    ),
    *(
        Oddity(
            name=f"id_{name}",
            says=f"some rows of a list with an id that is {says}",
            change=_ids(value),
            faces=("encompass",),
            paths=r"^/v2/messages/\d+/\w+$",
            changes_values=True,
        )
        for name, says, value in (
            ("text", "text", "x"),
            ("huge", "above 2^63", 2**64 + 5),
            ("null", "null", None),
        )
    ),
    Oddity(
        name="id_empty",
        says="LuxSci's rows with an empty sendmail_id",
        change=of_rows(_no_event_ids),
        faces=("luxsci",),
        paths="/report/",
        telling="$^",
        changes_values=True,
    ),
    *(
        Oddity(
            name=f"dates_{name}",
            says=f"all date-times {says}",
            change=_dates(spell),
            faces=("constant_contact", "luxsci"),
            paths=LISTS,
            telling="$^",
            changes_values=True,
        )
        for name, says, spell in _SPELLINGS
    ),
    Oddity(
        name="send_date_missing",
        says="sent campaigns without last_sent_date",
        change=_send_date(_missing),
        faces=("constant_contact",),
        paths="_summaries$",
        changes_values=True,
    ),
    Oddity(
        name="send_date_day",
        says="sent campaigns whose last_sent_date is a day only",
        change=_send_date(_shorten),
        faces=("constant_contact",),
        paths="_summaries$",
        changes_values=True,
    ),
    Oddity(
        name="device_late",
        says="events without a device_type, which comes later",
        change=of_rows(_without_device),
        faces=("constant_contact",),
        paths="/tracking/",
        telling="$^",
        changes_values=True,
    ),
)
