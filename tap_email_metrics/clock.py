"""Clocks are passed as arguments: the interface of a clock, and this machine's."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

DAY = 86_400
"""Seconds in a day."""
EARLIEST = 788_918_400
"""1995-01-01 in UTC seconds. An earlier time in a response counts as unset: it is most
likely a placeholder, such as 0001-01-01 or 1970-01-01, or in another unit."""


class Clock(Protocol):
    """A source of time. Tests pass one that they control."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        time.sleep(seconds)


def iso(seconds: float) -> str:
    """Return an instant as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> float:
    """Return the UTC seconds of a date or date-time; without an offset it is in UTC.

    Raises:
        ValueError: the text is neither a date nor a date-time.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
