"""The contents of a Constant Contact account, and the rights of its app.

Instants are UTC seconds as floats; only fields of the vendor hold date-times as text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from simulator.constant_contact.auth import Authority, Rules
from simulator.constant_contact.events import (
    NOTHING,
    Activity,
    Counters,
    Event,
    stamp,
)
from simulator.limits import Limits
from simulator.rows import Row

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from simulator.clock import SimClock

PRIVILEGES = (
    "account:read",
    "campaign:read",
    "contacts:lists:read",
    "contacts:read",
    "ui:campaign:metrics",
)
CATALOGS = {
    "contacts": "contact_id",
    "contact_lists": "list_id",
    "contact_tags": "tag_id",
    "contact_custom_fields": "custom_field_id",
    "segments": "segment_id",
}
"""Kinds of items in an account beside campaigns, with the names of their ids."""
ENDS = ("no_links", "null_links", "no_next", "null_next", "null_href")


@dataclass(frozen=True)
class Policy(Rules):
    """Choices of the owner of the app, and those that the vendor leaves open."""

    # The app and its user
    privileges: Sequence[str] = PRIVILEGES
    deactivated: bool = False
    # Limits; 0 means no limit
    requests_per_second: float = 4
    requests_per_day: int = 10_000
    # Shapes
    error_shape: Literal["mixed", "array", "object", "empty"] = "mixed"
    """mixed: an object from the gateway (401, 403, 429), otherwise an array; empty: no
    body except for a 429."""
    paging_end: Literal[
        "varied", "no_links", "null_links", "no_next", "null_next", "null_href"
    ] = "varied"
    """Form of the end of the last page; varied: it depends on the path."""
    max_page: int = 0
    """The most rows of a page; 0: as many as requested."""
    empty_last_page: bool = False
    """Whether a page that is exactly full has a next page without rows."""
    stats_keys: Literal["underscores", "dots"] = "underscores"
    counts_as_strings: bool = False
    aggregate_percents: Literal["object", "array", "absent"] = "object"
    activity_type_in_stats: bool = False
    time_format: Literal["millis", "seconds", "offset"] = "millis"
    """Format of created_time in tracking rows."""
    segments_pending: int = 0
    """Number of 202 answers of /segments before the first 200."""
    # Behaviour
    stats_refresh_seconds: float = 0.0
    """Counters are those of the last multiple of this; 0: always of the present."""
    refreshed: Literal["change", "read"] = "change"
    """Meaning of last_refresh_time: the last change of a counter, or now."""
    removed_reported: bool = True
    """Whether removed campaigns keep their reports."""
    removed_activity_status: int = 404
    emails_order: Literal["updated", "created"] = "updated"
    after_inclusive: bool = False
    """Whether a row exactly at a bound passes `…_after` and `…_before`."""
    unsubscribe_moves_updated: bool = False
    delete_moves_updated: bool = True


@dataclass(eq=False)
class Campaign:
    """A campaign and its mailings."""

    campaign_id: str
    row: Row
    created: float
    activities: list[Activity] = field(default_factory=list)
    removed_at: float = math.inf

    def shown(self, at: float) -> list[Activity]:
        """Return the activities that exist at `at`."""
        return [one for one in self.activities if one.row.is_shown(at)]

    def last_sent(self, at: float) -> float | None:
        """Return the time of the last send of an activity before `at`, or None."""
        sends = [one.sent(at) for one in self.activities if one.reports]
        return max((sent for sent in sends if sent is not None), default=None)


class Facts:
    """The contents of one account, its app and its limits.

    As an activity, the id of a campaign stands for its primary email.
    """

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        self.client_id = "7a1f0c52-4d3e-4b8a-9c61-2f5e8d7b6a90"
        self.client_secret = "kJ4-pQ7_wz~E2n"  # noqa: S105
        self.policy = Policy()
        self.seed = seed
        self.ticker = clock.now
        """The clock of the limit per second: the real one behind a port."""
        self.limits = Limits(clock.now)
        self.auth = Authority(self, clock.now)
        self.refresh_token = self.auth.consent()
        """The refresh token of the latest consent, for the settings of the tap."""
        self.catalogs: dict[str, dict[str, Row]] = {name: {} for name in CATALOGS}
        self.campaigns: dict[str, Campaign] = {}
        self.activities: dict[str, Activity] = {}
        self.summary = Row(0, -math.inf, (0.0, 0.0, 0.0), _SUMMARY)
        self._clock = clock
        self._lock = lock
        self._events: dict[int, Event] = {}
        self._of_contact: defaultdict[str, list[Event]] = defaultdict(list)

    # The app

    @property
    def used_today(self) -> int:
        """Requests counted since 00:00 UTC."""
        return self.limits.used_today

    @property
    def throttled(self) -> int:
        """Requests refused by the limit per second."""
        return self.limits.throttled

    def consent(self, scopes: str | None = None) -> str:
        """Give a new consent, like a person in a browser; return the refresh token."""
        with self._lock:
            self.refresh_token = self.auth.consent(scopes)
            return self.refresh_token

    def approve_device(self, user_code: str) -> None:
        """Approve the request of a device."""
        with self._lock:
            self.auth.approve_device(user_code)

    def deny_device(self, user_code: str) -> None:
        """Deny the request of a device."""
        with self._lock:
            self.auth.deny_device(user_code)

    def revoke_refresh(self) -> None:
        """Refuse every refresh token issued so far."""
        with self._lock:
            self.auth.revoke_refresh()

    def set_policy(self, **changes: object) -> None:
        """Change fields of the policy; TypeError for an unknown one."""
        with self._lock:
            self.policy = replace(self.policy, **changes)  # type: ignore[arg-type]

    # Reading

    def activity(self, activity: str) -> Activity:
        """Return an activity by its id or that of its campaign."""
        campaign = self.campaigns.get(activity)
        return campaign.activities[0] if campaign else self.activities[activity]

    def activities_of(self, campaign_id: str) -> dict[str, str]:
        """Return the last activity id of each role of a campaign."""
        activities = self.campaigns[campaign_id].activities
        return {one.role: one.activity_id for one in activities}

    def events_of(self, contact_id: str) -> list[Event]:
        """Return all events of a contact at any time."""
        return self._of_contact[contact_id]

    def event(self, event: int) -> Event:
        """Return an event by its handle."""
        return self._events[event]

    def deleted_at(self, contact_id: str, at: float) -> str | None:
        """Return the day on which a contact was deleted before `at`, or None."""
        value = self.catalogs["contacts"][contact_id].value(at, "deleted_at")
        return value if isinstance(value, str) else None

    def shown(self, kind: str, at: float) -> list[tuple[str, Row]]:
        """Return (id, row) of the items of a kind at `at`, oldest first."""
        return [
            (item_id, row)
            for item_id, row in self.catalogs[kind].items()
            if row.is_shown(at)
        ]

    def is_reported(self, campaign: Campaign, at: float) -> bool:
        """Return whether a campaign has reports at `at`."""
        is_there = self.policy.removed_reported or at < campaign.removed_at
        return is_there and campaign.row.is_shown(at)

    def reported_activity(self, activity_id: str, at: float) -> Activity | None:
        """Return an activity with reports at `at`, sent or not."""
        found = self.activities.get(activity_id)
        if found is None or not (found.reports and found.row.is_shown(at)):
            return None
        campaign = self.campaigns[found.campaign_id]
        return found if self.is_reported(campaign, at) else None

    def sent_campaigns(self, at: float) -> list[tuple[float, Campaign]]:
        """Return (last sent, campaign) of campaigns with reports, newest first."""
        found = [
            (sent, campaign)
            for campaign in self.campaigns.values()
            if self.is_reported(campaign, at)
            and (sent := campaign.last_sent(at)) is not None
        ]
        return sorted(found, key=_newest_sent)

    def counted_at(self, at: float) -> float:
        """Return the time of the counters that are shown at `at`."""
        step = self.policy.stats_refresh_seconds
        return at - at % step if step else at

    def counters(self, activity: Activity, at: float) -> Counters | None:
        """Return the counters of an activity, or None if it is not sent."""
        when = self.counted_at(at)
        return None if activity.sent(at) is None else activity.counters(when)

    def campaign_counters(self, campaign: Campaign, at: float) -> Counters | None:
        """Return the counters of a campaign, or None if it is not sent."""
        found = [self.counters(one, at) for one in campaign.activities if one.reports]
        known = [counters for counters in found if counters is not None]
        return sum(known, NOTHING) if known else None

    def refreshed(self, counters: Counters, at: float) -> str:
        """Return the value of last_refresh_time."""
        is_read = self.policy.refreshed == "read"
        return stamp(self.counted_at(at) if is_read else counters.changed)

    def history(self, activity: Activity, at: float) -> list[dict[str, Any]]:
        """Return the rows of the send history of an activity."""
        sends = [sent for sent in activity.sends if sent <= at]
        ends = [*sends[1:], math.inf]
        listed = activity.lists["sends"].listed(at)
        fields = activity.row.fields(at)
        return [
            {
                "send_id": number,
                "contact_list_ids": fields.get("contact_list_ids", []),
                "segment_ids": fields.get("segment_ids", []),
                "count": sum(sent <= event.created < end for event in listed),
                "run_date": stamp(sent),
                "send_status": "COMPLETED",
                "reason_code": 0,
            }
            for number, (sent, end) in enumerate(zip(sends, ends, strict=False), 1)
        ]


def _newest_sent(found: tuple[float, Campaign]) -> tuple[float, int]:
    return -found[0], -found[1].row.row_id


_SUMMARY: dict[str, object] = {
    "contact_email": "office@example.org",
    "contact_phone": "5555550100",
    "country_code": "us",
    "encoded_account_id": "a07e1ikxwuhd4",
    "first_name": "Grace",
    "last_name": "Hopper",
    "organization_name": "Example Society",
    "organization_phone": "5555550101",
    "state_code": "MA",
    "time_zone_id": "US/Eastern",
    "website": "https://example.org",
}
