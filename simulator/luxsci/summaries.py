"""Reports that LuxSci computes from rows: summaries, and clicks by URL."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.luxsci.facts import COUNTED, gmt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.luxsci.tables import Interval

Raw = dict[str, Any]
_HARD = ("Failed", "Post-Delivery Hard Fail")
_ESCROW, _TLS = 3, 4


def summarise(
    kind: str, rows: Sequence[Raw], at: float, interval: Interval, user_limit: int
) -> Raw:
    """Return the row of a summary of these rows; for users, these are all rows."""
    match kind:
        case "delivery_status_summary":
            shown = _deliveries(rows)
        case "opens_summary":
            shown = {"all_opens": len(rows), "msg_opens": _messages(rows)}
        case "clicks_summary":
            shown = {"all_clicks": len(rows), "msg_clicks": _messages(rows)}
        case "complaints_summary":
            shown = {"complaints": len(rows)}
        case "suppressions_summary":
            shown = {"count": len(rows)}
        case _:
            shown = _users(rows, interval, user_limit)
    return {**shown, "report_date": gmt(at)}


def _messages(rows: Sequence[Raw]) -> int:
    return len({row.get("sendmail_id") for row in rows})


def _deliveries(rows: Sequence[Raw]) -> Raw:
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(_traits(row))
    counts["failed"] = counts["hard_failed"] + counts["soft_failed"]
    shown: Raw = {"recipients": len(rows)}
    shown |= {name: counts[name] for name in COUNTED}
    return shown | {f"pct_{name}": _share(counts[name], len(rows)) for name in COUNTED}


def _traits(row: Raw) -> Iterable[str]:
    """Yield the numbers of the summary in which a delivery counts."""
    status, secured = row.get("status"), row.get("secureline")
    if status in _HARD:
        yield "hard_failed"
    names = {"In Queue": "queued", "Delivered": "delivered"}
    names["Soft Bounce"] = "soft_failed"
    if status in names:
        yield names[status]
    pairs = {"Opens": "opened", "Clicks": "clicked", "Unsubscribed": "unsubscribed"}
    pairs["secureline"] = "secureline"
    for column, name in pairs.items():
        if _is_positive(row.get(column)):
            yield name
    if secured == _ESCROW:
        yield "secureline_escrow"
    if secured == _TLS:
        yield "secureline_tls"


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _users(rows: Sequence[Raw], interval: Interval, limit: int) -> Raw:
    made = sum(interval.low <= str(row["created"]) < interval.high for row in rows)
    return {
        "delta_users": made,
        "total_users": len(rows),
        "user_limit": limit,
        "pct_users": _share(len(rows), limit),
    }


def urls(clicks: Iterable[Raw]) -> list[Raw]:
    """Return clicks by campaign and URL, in the order of the first click."""
    counts: Counter[tuple[object, object, object]] = Counter(
        (row.get("campaign_id"), row.get("campaign_title"), row.get("url"))
        for row in clicks
    )
    return [
        {
            "campaign_id": campaign,
            "campaign_title": title,
            "url": url,
            "clicks": count,
        }
        for (campaign, title, url), count in counts.items()
    ]
