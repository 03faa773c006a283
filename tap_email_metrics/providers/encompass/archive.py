"""The vendor's archive of old actions: headroom, and gaps of unread actions.

All times are UTC seconds since the epoch.
"""

from __future__ import annotations

from tap_email_metrics.clock import DAY

ARCHIVE_DAYS = 180
"""Encompass archives actions that are older than this."""
ARCHIVE_NEAR_DAYS = 175
"""A list with older actions may lose rows, so every read reads all of it."""
ARCHIVE_FIRST_DAYS = 150
"""A list that was not read for longer than this is read before all others."""


def headroom_days(through: float, now: float) -> float:
    """Return the days that are left until unread actions are archived.

    Args:
        through: instant up to which all lists were read.
        now: the current time.
    """
    return ARCHIVE_DAYS - (now - through) / DAY


def archive_gap(through: float, now: float) -> tuple[float, float] | None:
    """Return the interval whose actions may have been archived unread, or None.

    Args:
        through: instant up to which all lists were read.
        now: the current time.
    """
    limit = now - ARCHIVE_DAYS * DAY
    return (through, limit) if through < limit else None
