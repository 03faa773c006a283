"""Time as an argument: what the tap may know of clocks, and the real one."""

from __future__ import annotations

import time
from typing import Protocol

DAY = 86_400
"""Seconds in a day."""


class Clock(Protocol):
    """What the tap asks of time; tests pass one that they move themselves."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        time.sleep(seconds)
