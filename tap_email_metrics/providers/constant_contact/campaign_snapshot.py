"""The campaigns of an account as one run sees them, with their counters."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY, EARLIEST
from tap_email_metrics.providers.constant_contact.counters import (
    AGGREGATES,
    GATES,
    WHOLE,
)
from tap_email_metrics.records.values import is_id, to_milliseconds
from tap_email_metrics.state.plans import Parent
from tap_email_metrics.streams.digests import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.errors import Skippable
    from tap_email_metrics.records.values import Row


@dataclass(slots=True)
class CampaignSnapshot:
    """All campaigns as one run sees them.

    Attributes:
        summaries: the summary of each campaign id, newest send first.
        nameless: summaries without a usable id.
        parents: each campaign id as a parent, also those without a summary.
        stats: the stats of each campaign id that was asked for.
        others: stats without one of the ids that were asked for.
        counters: the counters of each campaign id, with the vendor's names.
        moved: ids of campaigns whose summary may have changed since the last run.
        hidden: campaigns with a summary that the list of campaigns lacks, if the two
            were compared.
        failed: why ids that were asked for have no stats.
        given_up: why the remaining ids were not asked for, if any were not.
        unlisted: epoch ms of creation and of the last change of each sent campaign that
            has no summary; None if this was not compared.
    """

    summaries: dict[str, Row] = field(default_factory=dict)
    nameless: list[Row] = field(default_factory=list)
    parents: dict[str, Parent[str]] = field(default_factory=dict)
    stats: dict[str, Row] = field(default_factory=dict)
    others: list[Row] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    failed: dict[str, Skippable] = field(default_factory=dict)
    given_up: Skippable | None = None
    unlisted: dict[str, list[int]] | None = None

    def counter(self, stream: str, campaign_id: str) -> int | None:
        """Return the number that gates a stream for a campaign, None if unknown."""
        counters = self.counters.get(campaign_id, {})
        names = GATES[stream]
        if names == (WHOLE,):
            has_stats = campaign_id in self.stats
            return zlib.crc32(digest(counters).encode()) if has_stats else None
        if not counters.keys() >= {*names}:
            return None  # an absent counter is not 0
        if len(names) == 1:
            return counters[names[0]]
        return zlib.crc32(digest([counters[name] for name in names]).encode())

    def announced(self, stream: str, campaign_id: str) -> int | None:
        """Return how many rows a counter announces at least, None if unknown."""
        name = AGGREGATES.get(stream, GATES[stream][0])
        return self.counters.get(campaign_id, {}).get(name)

    def aggregate(
        self, stream: str, campaign_id: str, found: int
    ) -> tuple[str, int] | None:
        """Return name and value of the counter of a stream's rows, None if unknown.

        Args:
            stream: name of the stream.
            campaign_id: of the campaign.
            found: the number that is compared with the counter.
        """
        name = AGGREGATES.get(stream)
        counter = self.counters.get(campaign_id, {}).get(name) if name else None
        if name is None or counter is None:
            return None
        # The numbers in a summary count contacts, not events: they tell that rows are
        # missing, but not that none is.
        if campaign_id not in self.stats and found >= counter:
            return None
        return name, counter


def by_campaign(rows: Iterable[Row]) -> tuple[dict[str, Row], list[Row]]:
    """Return rows by their campaign id, each once, and the rows without a usable id.

    A list that shifts while it is paged shows rows twice.
    """
    found: dict[str, Row] = {}
    nameless = []
    for row in rows:
        one = row.get("campaign_id")
        if is_id(one):
            found.setdefault(str(one), row)
        else:
            nameless.append(row)
    return found, nameless


def sent_parent(summary: Row) -> Parent[str]:
    """Return a campaign as a parent, without times if its send has no usable date."""
    campaign_id, text = str(summary.get("campaign_id")), summary.get("last_sent_date")
    at = usable_time(text)
    if at is not None:
        return Parent(campaign_id, at / 1000, at / 1000, at / 1000)
    try:
        day = datetime.strptime(str(text).strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return Parent(campaign_id)
    start = day.timestamp()
    if start < EARLIEST:
        return Parent(campaign_id)
    return Parent(campaign_id, start, start + DAY, start)


def usable_time(text: object) -> int | None:
    """Return a date-time as epoch ms, None if it is unreadable or before `EARLIEST`."""
    at = to_milliseconds(text)
    return None if at is None or at < EARLIEST * 1000 else at
