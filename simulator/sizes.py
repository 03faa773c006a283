"""Sizes that the generators of several accounts share."""

from __future__ import annotations

FUTURE_DAYS = 90.0
"""Days after its start for which a generated world has events."""
LARGEST = 1100
"""Recipients of the largest message or campaign: more than a page."""


def many_opens(recipients: int) -> int:
    """Return the number of opens of the largest message or campaign."""
    return recipients * 26 // 11
