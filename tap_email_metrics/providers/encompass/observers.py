"""What the answers of a run say about open questions of Encompass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY
from tap_email_metrics.contract.watch import announced, rows_of
from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_email_metrics.contract.watch import Look, Observer

_FEW = 8
"""Rows that show which fields there are: one alone may lack some."""
_FULL = "1000"
_LONG = 2 * DAY
DELIVER_FIELDS = frozenset({"recipientId", "timestamp", "dateAdded"})
OPEN_FIELDS = frozenset({"dateAdded", "userAgent"})


def life_of(seconds: float) -> str:
    """Return the reading of `token_life` for the life of a token."""
    return "a day" if seconds <= _LONG else "longer"


def opens(named: Iterable[str]) -> str:
    """Return the reading of `open_fields` for the fields of opens."""
    found = OPEN_FIELDS & {*named}
    if found == OPEN_FIELDS:
        return "both"
    return "one" if found else "none"


def _page_limit(look: Look) -> Iterable[str]:
    size = to_integer(look.body.get("maxResults")) if _is_page(look) else None
    if size is None or look.query.get("maxResults") != _FULL:
        return ()
    return ("fewer",) if size < int(_FULL) else ("1000",)


def _is_page(look: Look) -> bool:
    return isinstance(look.body, dict)


def _links(look: Look) -> Iterable[str]:
    if not look.template.endswith("/links"):
        return ()
    return ("envelope",) if _is_page(look) else ("paged array", "whole array")


def _open_fields(look: Look) -> Iterable[str]:
    rows = rows_of(look.body, "data") if look.template.endswith("/opens") else []
    return (opens(name for row in rows for name in row),) if len(rows) >= _FEW else ()


def _deliver_fields(look: Look) -> Iterable[str]:
    rows = rows_of(look.body, "data") if look.template.endswith("/delivers") else []
    if len(rows) < _FEW:
        return ()
    has_all = {name for row in rows for name in row} >= DELIVER_FIELDS
    return ("all",) if has_all else ("some",)


def _beyond_end(look: Look) -> Iterable[str]:
    total = to_integer(look.body.get("total")) if _is_page(look) else None
    start = to_integer(look.query.get("startAt")) or 0
    if not total or start < total:
        return ()
    return ("rows",) if rows_of(look.body, "data") else ("empty",)


OBSERVERS: Mapping[str, Observer] = {
    "limit_headers": announced,
    "page_limit": _page_limit,
    "links": _links,
    "open_fields": _open_fields,
    "deliver_fields": _deliver_fields,
    "beyond_end": _beyond_end,
}
