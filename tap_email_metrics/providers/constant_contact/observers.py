"""What the answers of a run say about open questions of Constant Contact."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import from_iso
from tap_email_metrics.contract.survey import kind_of
from tap_email_metrics.contract.watch import announced, rows_of
from tap_email_metrics.errors import NotUnderstood
from tap_email_metrics.providers.constant_contact.client import link_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_email_metrics.contract.watch import Look, Observer
    from tap_email_metrics.records.values import Row

TIMES = {
    "YYYY-MM-DDThh:mm:ss.fZ": "fractions",
    "YYYY-MM-DDThh:mm:ssZ": "seconds",
    "YYYY-MM-DDThh:mm:ss±hh:mm": "offset",
}
_SOME = 4
"""Campaigns that show an order: fewer are in one by chance."""


def instant(value: object) -> float | None:
    """Return the UTC seconds of a date-time, None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return from_iso(value)
    except ValueError:
        return None


def ending(body: dict[str, Any]) -> str:
    """Return how a page says that it is the last; "link" where it does not."""
    links = body.get("_links")
    following = links.get("next") if isinstance(links, dict) else None
    if _goes_on(body):
        return "link"
    if "_links" not in body:
        return "no links"
    if links is None:
        return "null links"
    if not isinstance(links, dict) or "next" not in links:
        return "no next"
    return "null next" if following is None else "null href"


def _goes_on(body: dict[str, Any]) -> bool:
    try:
        return link_of(body) is not None
    except NotUnderstood:
        return True  # there is a link, of another form


def place_of_link(body: dict[str, Any]) -> str | None:
    """Return the reading of `next_link` for a page, None if no page follows."""
    links = body.get("_links")
    following = links.get("next") if isinstance(links, dict) else None
    href = following.get("href") if isinstance(following, dict) else None
    if isinstance(href, str) and href:
        is_absolute = "://" in href or href.startswith("//")
        return "absolute" if is_absolute else "relative"
    return "elsewhere" if ending(body) == "link" else None


def spelling(names: Iterable[str]) -> str | None:
    """Return the reading of `stats_keys` for names of counters, None if unclear."""
    totals = {name for name in names if name.startswith(("em_opens", "em_clicks"))}
    dotted = {name for name in totals if "." in name}
    plain = {name for name in totals if "_all" in name}
    if bool(dotted) == bool(plain):
        return None
    return "dots" if dotted else "underscores"


def type_of_counts(values: Iterable[object]) -> str | None:
    """Return the reading of `counts` for counters, None if they are of two types."""
    kinds = {*map(kind_of, values)}
    names = {"integer": "numbers", "number as text": "texts"}
    return names.get(kinds.pop()) if len(kinds) == 1 else None


def orders(rows: Sequence[Row]) -> list[str] | None:
    """Return the readings of `emails_order` that campaigns allow, None if too few."""
    found = []
    for field, reading in (("updated_at", "updated"), ("created_at", "created")):
        times = [instant(row.get(field)) for row in rows]
        if len(times) < _SOME or None in times:
            return None
        if all(one >= two for one, two in pairwise(times)):  # type: ignore[operator]
            found.append(reading)
    return found or ["another"]


def _page(look: Look) -> dict[str, Any]:
    is_page = isinstance(look.body, dict) and "/stats/" not in look.template
    return look.body if is_page else {}


def _next_link(look: Look) -> Iterable[str]:
    place = place_of_link(_page(look)) if _page(look) else None
    return () if place is None else (place,)


def _last_page(look: Look) -> Iterable[str]:
    lists = [one for one in _page(look).values() if isinstance(one, list)]
    if not lists or ending(_page(look)) == "link":
        return ()
    return (ending(_page(look)), "varied")


def _stats(look: Look) -> list[Row]:
    rows = rows_of(look.body, "results") if "/stats/" in look.template else []
    return [row["stats"] for row in rows if isinstance(row.get("stats"), dict)]


def _stats_keys(look: Look) -> Iterable[str]:
    found = spelling(name for stats in _stats(look) for name in stats)
    return () if found is None else (found,)


def _counts(look: Look) -> Iterable[str]:
    found = type_of_counts(v for stats in _stats(look) for v in stats.values())
    return () if found is None else (found,)


def _aggregate(look: Look) -> Iterable[str]:
    if not rows_of(look.body, "bulk_email_campaign_summaries"):
        return ()
    match look.body.get("aggregate_percents"):
        case None:
            return ("absent",)
        case dict():
            return ("object",)
        case list():
            return ("array",)
    return ()


def _times(look: Look) -> Iterable[str]:
    rows = rows_of(look.body, "tracking_activities")
    kinds = {kind_of(row.get("created_time")) for row in rows}
    return [TIMES[kind] for kind in kinds if kind in TIMES] if len(kinds) == 1 else ()


def _emails_order(look: Look) -> Iterable[str]:
    rows = rows_of(look.body, "campaigns") if look.template == "/emails" else []
    return orders(rows) or ()


def unsubscribed(rows: Iterable[Row]) -> tuple[int, int]:
    """Return how many `updated_at` of unsubscribed contacts stayed, and moved."""
    stays = moves = 0
    for row in rows:
        address = row.get("email_address")
        out = (
            instant(address.get("opt_out_date")) if isinstance(address, dict) else None
        )
        updated = instant(row.get("updated_at"))
        if out is None or updated is None:
            continue
        stays += updated < out - 1
        moves += abs(updated - out) <= 1
    return stays, moves


def _unsubscribes(look: Look) -> Iterable[str]:
    stays, _ = unsubscribed(rows_of(look.body, "contacts"))
    return ("stays",) if stays else ()


OBSERVERS: Mapping[str, Observer] = {
    "limit_headers": announced,
    "next_link": _next_link,
    "last_page": _last_page,
    "stats_keys": _stats_keys,
    "counts": _counts,
    "aggregate": _aggregate,
    "times": _times,
    "emails_order": _emails_order,
    "unsubscribes": _unsubscribes,
}
