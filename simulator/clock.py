"""The world's time: it moves only when told."""

from __future__ import annotations

import threading

DAY = 86_400.0
"""Seconds in a day."""


class SimClock:
    """UTC seconds since the epoch that stand still between calls; thread-safe."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._now = float(now)
        self._monotonic = 0.0

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Return seconds since construction, less any step back."""
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Advance at once by `seconds`; none for a negative number."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; ValueError if negative."""
        if seconds < 0:
            raise ValueError("advance() goes forward only; see set()")
        with self._lock:
            self._now += seconds
            self._monotonic += seconds

    def set(self, now: float) -> None:
        """Jump to `now`, UTC seconds; back too, which `monotonic` does not follow."""
        with self._lock:
            self._monotonic += max(now - self._now, 0.0)
            self._now = float(now)
