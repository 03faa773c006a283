"""Stats of the activities of campaigns, several campaigns in one request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tap_email_metrics.errors import Skippable
from tap_email_metrics.providers.constant_contact.campaigns import chunks, results_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.providers.constant_contact.campaigns import CampaignCache
    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
    )
    from tap_email_metrics.records.values import Row

ACTIVITY_STATS = "/reports/stats/email_campaign_activities/{}"
MOST_ACTIVITIES = 10
"""Activities that one request may ask for."""


class ActivityStats:
    """Stats of activities, returned campaign by campaign, requested in batches.

    Args:
        client: sends the requests.
        campaigns: knows the activities of each campaign.
        order: campaign ids in the order in which `of` will be called.
    """

    def __init__(
        self,
        client: ConstantContactClient,
        campaigns: CampaignCache,
        order: Sequence[str],
    ) -> None:
        self._client = client
        self._campaigns = campaigns
        self._order = list(order)
        self._read: dict[str, list[Row]] = {}
        self._lock = threading.Lock()

    def of(self, campaign_id: str) -> list[Row]:
        """Return the stats of a campaign's activities. Safe in any thread.

        Raises:
            Skippable: they cannot be read.
        """
        with self._lock:
            if campaign_id not in self._read:
                self._fetch(campaign_id)
            return self._read.pop(campaign_id)

    def _fetch(self, first: str) -> None:
        """Ask for a campaign, and for the next ones that fit into the same call."""
        place = self._order.index(first) if first in self._order else None
        following = [] if place is None else self._order[place + 1 :]
        wanted = {first: self._campaigns.activities(first)}
        for campaign_id in following[:MOST_ACTIVITIES]:
            try:
                activities = self._campaigns.activities(campaign_id)
            except Skippable:
                break  # `of` raises this error when it comes to that campaign
            size = sum(map(len, wanted.values())) + len(activities)
            if size > MOST_ACTIVITIES or campaign_id in self._read:
                break
            wanted[campaign_id] = activities
        ids = [one for activities in wanted.values() for one in activities]
        rows: list[Row] = []
        for chunk in chunks(ids, MOST_ACTIVITIES):
            rows += results_for(self._client, ACTIVITY_STATS, chunk)
        for campaign_id, activities in wanted.items():
            found = set(activities)
            mine = [row for row in rows if row.get("campaign_activity_id") in found]
            self._read[campaign_id] = mine
