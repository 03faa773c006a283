"""Stats of the activities of campaigns, several campaigns in one request."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_email_metrics.errors import Gone, NotUnderstood, Skippable
from tap_email_metrics.providers.constant_contact.activities import (
    ACTIVITY,
    ACTIVITY_ID,
    is_unsent,
)
from tap_email_metrics.providers.constant_contact.batches import Batches

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tap_email_metrics.providers.constant_contact.campaigns import CampaignCache
    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
    )
    from tap_email_metrics.records.values import Row

ACTIVITY_STATS = "/reports/stats/email_campaign_activities/{}"
MOST_ACTIVITIES = 10
"""Largest number of activities in one request."""


@dataclass(slots=True)
class StatsAnswer:
    """The stats of one campaign's activities.

    Attributes:
        rows: the rows that were read.
        error: why other rows are missing, None if all were read.
    """

    rows: list[Row] = field(default_factory=list)
    error: Skippable | None = None


class ActivityStats:
    """Stats of activities, returned campaign by campaign, requested in batches.

    Args:
        client: sends the requests.
        campaigns: knows the activities of each campaign.
        order: campaign ids in the order in which `of` will be called.
        failed: ids that failed last time; their activities are requested one by one.
    """

    def __init__(
        self,
        client: ConstantContactClient,
        campaigns: CampaignCache,
        order: Sequence[str],
        failed: Collection[str],
    ) -> None:
        self._client = client
        self._campaigns = campaigns
        self._order = [one for one in order if one not in failed]
        self._failed = failed
        self._read: dict[str, StatsAnswer] = {}
        self._lock = threading.Lock()

    def of(self, campaign_id: str) -> StatsAnswer:
        """Return the stats of a campaign's activities. Safe in any thread.

        Raises:
            Skippable: the activities are not known.
        """
        with self._lock:
            if campaign_id not in self._read:
                self._fetch(campaign_id)
            return self._read.pop(campaign_id)

    def _fetch(self, first: str) -> None:
        """Ask for a campaign, and for the next campaigns that fit into the call."""
        place = self._order.index(first) if first in self._order else None
        following = [] if place is None else self._order[place + 1 :]
        wanted = {first: self._campaigns.activities(first, anew=first in self._failed)}
        for campaign_id in following[:MOST_ACTIVITIES]:
            try:
                activities = self._campaigns.activities(campaign_id)
            except Skippable:
                continue  # `of` raises this error when it comes to that campaign
            size = sum(map(len, wanted.values())) + len(activities)
            if size > MOST_ACTIVITIES or campaign_id in self._read:
                break
            wanted[campaign_id] = activities
        ids = [one for activities in wanted.values() for one in activities]
        found = Batches(
            self._client,
            ACTIVITY_STATS,
            id_field=ACTIVITY_ID,
            size=MOST_ACTIVITIES,
        )
        if first in self._failed:
            found.read_alone(ids)
        else:
            found.read(ids)
        for campaign_id, activities in wanted.items():
            missing = [one for one in activities if one not in found.rows]
            errors = [e for one in missing if (e := self._error(one, found))]
            self._read[campaign_id] = StatsAnswer(
                [found.rows[one] for one in activities if one in found.rows],
                # A campaign counts as gone only if nothing else went wrong.
                min(errors, key=lambda one: isinstance(one, Gone), default=None),
            )
        self._read[first].rows += found.others

    def _error(self, activity_id: str, found: Batches) -> Skippable | None:
        """Return why an activity has no stats; None if it was not sent yet.

        The API lists an activity that was not sent, or was removed, among its errors.
        """
        error = found.failed.get(activity_id, found.given_up)
        if not isinstance(error, NotUnderstood):
            return error
        try:
            row = self._client.one(ACTIVITY, [activity_id], id_field=ACTIVITY_ID)
        except Gone as gone:
            return gone
        except Skippable:
            return error
        return None if is_unsent(row) else error
