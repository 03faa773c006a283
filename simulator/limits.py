"""Limits of a provider: requests in a sliding span, and requests per UTC day."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from simulator.clock import day

if TYPE_CHECKING:
    from collections.abc import Callable

_SLACK = 1e-6
"""The precision of a float that holds today's UTC seconds."""
_NAMES = {1.0: "second", 60.0: "minute"}


class Limits:
    """Counts admitted requests; refused requests do not count.

    `span` is the length of the short limit in seconds.
    """

    def __init__(self, now: Callable[[], float], span: float = 1.0) -> None:
        self._now = now
        self._span = span
        self._recent: deque[float] = deque()
        self.used_by_day: Counter[str] = Counter()
        self.throttled = 0
        """Requests refused by the short limit."""
        self.refused = 0
        """Requests refused by the daily limit."""
        self.busiest = 0
        """The most requests admitted in any sliding span."""

    @property
    def used_today(self) -> int:
        """Requests admitted since 00:00 UTC."""
        return self.used_by_day[day(self._now())]

    def refuse(self, tick: float, per_span: float, per_day: int) -> str | None:
        """Admit a request and return None, or return the error key of its refusal.

        `tick` is the time on the clock of the short limit. A limit of 0 is no limit.
        """
        recent = self._recent
        while recent and not tick - self._span + _SLACK < recent[0] <= tick:
            recent.popleft()
        today = day(self._now())
        if per_day and self.used_by_day[today] >= per_day:
            self.refused += 1
            return "quota_exceeded"
        if per_span and len(recent) >= per_span:
            self.throttled += 1
            return "throttled"
        recent.append(tick)
        self.busiest = max(self.busiest, len(recent))
        self.used_by_day[today] += 1
        return None

    def as_json(self) -> dict[str, object]:
        """Return the counters for the control interface."""
        return {
            "used_today": self.used_today,
            "used_by_day": dict(self.used_by_day),
            "throttled": self.throttled,
            "refused": self.refused,
            f"busiest_{_NAMES[self._span]}": self.busiest,
        }
