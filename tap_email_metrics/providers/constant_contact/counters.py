"""The counters of a campaign, and the streams whose lists they gate or count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_email_metrics.records.values import to_integer, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.records.values import Row

_PREFIX = "constant_contact_"
WHOLE = "*"
GATES: dict[str, tuple[str, ...]] = {
    f"{_PREFIX}sends": ("em_sends",),
    f"{_PREFIX}opens": ("em_opens_all",),
    f"{_PREFIX}clicks": ("em_clicks_all",),
    f"{_PREFIX}forwards": ("em_forwards",),
    f"{_PREFIX}optouts": ("em_optouts",),
    f"{_PREFIX}bounces": ("em_bounces",),
    f"{_PREFIX}unique_opens": ("em_opens_all",),
    f"{_PREFIX}did_not_opens": ("em_sends", "em_opens", "em_bounces"),
    # A resend brings new links before anybody clicks them.
    f"{_PREFIX}links": ("em_clicks_all", "last_sent"),
    f"{_PREFIX}campaign_activity_stats": (WHOLE,),
    f"{_PREFIX}send_history": ("em_sends", "last_sent"),
}
"""The counters that gate each stream; several counters are combined to one number."""
AGGREGATES = {
    **{f"{_PREFIX}{n}": f"em_{n}" for n in ("sends", "forwards", "optouts", "bounces")},
    **{f"{_PREFIX}{n}": f"em_{n}_all" for n in ("opens", "clicks")},
    f"{_PREFIX}unique_opens": "em_opens",
    f"{_PREFIX}did_not_opens": "em_not_opened",
}
"""The counter that counts the rows of each stream. The counters of forwards, opt-outs
and bounces count contacts, and one contact may have several rows."""
_UNIQUE = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")
"""The counts in a summary that can replace a counter, if the API refuses the stats."""


def counters_of(summary: Row, stats: Row | None) -> dict[str, int]:
    """Return the counters of a campaign, with underscores for dots in their names.

    Without stats, returns the counters that the summary can replace.
    """
    counters = {
        "last_sent": (to_milliseconds(summary.get("last_sent_date")) or 0) // 1000
    }
    given = stats.get("stats") if stats else None
    if isinstance(given, dict):
        pairs: Iterable[tuple[str, object]] = given.items()
    else:
        unique = summary.get("unique_counts")
        found = unique if isinstance(unique, dict) else {}
        pairs = ((f"em_{name}", found.get(name)) for name in _UNIQUE)
    for name, value in pairs:
        number = to_integer(value)
        if number is not None:
            counters[name.replace(".", "_")] = number
    return counters
