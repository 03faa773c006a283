"""The activities in the API's response for one campaign, and which have reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tap_email_metrics.errors import NotUnderstood
from tap_email_metrics.records.values import is_id

if TYPE_CHECKING:
    from tap_email_metrics.records.values import Row

CAMPAIGN = "/emails/{}"
ACTIVITY = "/emails/activities/{}"
ACTIVITY_ID = "campaign_activity_id"
_PRIMARY = "primary_email"
"""Role of a campaign's first email, which each campaign has."""
ROLES = frozenset({_PRIMARY, "resend"})
"""Roles of the activities that have reports."""
_WITHOUT_REPORTS = "permalink"
_REMOVED = "removed"
_UNSENT = frozenset({"draft", "scheduled"})


def reported(campaign: Row) -> list[str]:
    """Return the activities that have reports, of a campaign's own answer.

    If none is the primary email, these are all but the permalinks: the vendor may have
    renamed its roles.
    """
    found = {one: _role(role) for one, role in _activities(campaign).items()}
    if _PRIMARY in found.values():
        return [one for one, role in found.items() if role in ROLES]
    return [one for one, role in found.items() if _may_have_reports(role)]


def of_unknown_role(campaign: Row) -> list[str]:
    """Return the activities that may have reports, but are not among `reported`."""
    read = {*reported(campaign)}
    return [
        one
        for one, role in _activities(campaign).items()
        if one not in read and _may_have_reports(_role(role))
    ]


def activity_ids(campaign: Row) -> list[str]:
    """Return the ids of all activities in the response for one campaign.

    Raises:
        NotUnderstood: it has none, though it was not removed.
    """
    found = list(_activities(campaign))
    if not found and not is_removed(campaign):
        raise NotUnderstood(f"GET {CAMPAIGN} answered 200 without activities")
    return found


def is_removed(campaign: Row) -> bool:
    """Return whether the response for one campaign says that it was removed."""
    return str(campaign.get("current_status")).strip().lower() == _REMOVED


def is_unsent(activity: Row) -> bool:
    """Return whether the response for one activity says that it was not sent yet."""
    return str(activity.get("current_status")).strip().lower() in _UNSENT


def nameless_activities(campaign: Row) -> list[Any]:
    """Return the entries without a usable id among the activities of a campaign."""
    return [one for one in _listed(campaign) if not _has_id(one)]


def _activities(campaign: Row) -> dict[str, object]:
    """Return the role of each activity by its id."""
    return {
        str(one["campaign_activity_id"]): one.get("role")
        for one in _listed(campaign)
        if _has_id(one)
    }


def _listed(campaign: Row) -> list[Any]:
    found = campaign.get("campaign_activities")
    return found if isinstance(found, list) else []


def _has_id(activity: object) -> bool:
    return isinstance(activity, dict) and is_id(activity.get("campaign_activity_id"))


def _may_have_reports(role: str) -> bool:
    return _WITHOUT_REPORTS not in role


def _role(role: object) -> str:
    """Return a role in the spelling of the documentation."""
    return re.sub(r"[\s_-]+", "_", str(role).strip()).lower()
