"""Limits: the one seam that every request of a provider crosses.

A request needs a place (concurrency), a permit of the day (the ledger) and its
turn (the rate), in that order, so that nothing slow lies between turn and request.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_email_metrics.errors import Exhausted, InvalidInput, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_email_metrics.clock import Clock
    from tap_email_metrics.transport.ledger import Ledger

SLICE = 0.5
"""Longest sleep in seconds between two looks at the stop flag."""

POLL = 0.1
"""Longest wait for a place in real seconds between two looks at the stop flag."""

MARGIN = 1e-4
"""Share by which the spacing exceeds 1/N: more than sums of floats lose on the way,
also on a clock whose seconds count from the epoch."""

WIDEST = 3.0
"""Most headroom that throttling leads to: a quarter of the rate."""

WIDER = 1.5
"""Factor by which throttling widens the headroom, and calm narrows it again."""

CALM = 1000
"""Starts without throttling after which it is narrowed by one step."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave to make one request.

    Attributes:
        number: 1 for the first request through these limits, then counting up.
        started: `Clock.monotonic` seconds at which the turn came.
    """

    number: int
    started: float


class Limits:
    """Rate, concurrency and day's budget of one provider; thread-safe.

    Args:
        clock: the source of all time and sleep.
        check: called before each start and while one waits; raises once the run ends.
        requests_per_second: N: any half-open second holds at most N starts (a whole
            number; any half-open minute holds n of them for n/60). None: no limit.
        max_concurrency: requests in flight, at most.
        ledger: the day's budget, or None for none. Its owner closes it.
        headroom: seconds by which the travel times of requests may differ and any
            second still holds at most N arrivals; it costs the same share of the rate.
            Throttling widens it for a while. 0: starts alone are spaced.

    Raises:
        InvalidInput: a rate that is not positive, or no concurrency at all.
    """

    def __init__(  # noqa: PLR0913 - one keyword a limit; a bundle would only rename it
        self,
        *,
        clock: Clock,
        check: Callable[[], None],
        requests_per_second: float | None,
        max_concurrency: int,
        ledger: Ledger | None = None,
        headroom: float = 0.0,
    ) -> None:
        self._clock = clock
        self._check = check
        self._ledger = ledger
        self._pace = _Pace(clock, requests_per_second, headroom)
        self._gate = _Gate(max_concurrency)
        self._lock = threading.Lock()
        self._sent = 0

    @property
    def sent(self) -> int:
        """Requests that were let through."""
        with self._lock:
            return self._sent

    @contextmanager
    def request(self) -> Iterator[Slot]:
        """Wait until one request may start; the body makes it, and nothing else.

        Raises:
            Terminated: the run is ending.
            Exhausted: the day's budget or `max_run_minutes` is spent.
            InvalidInput: the ledger cannot be read or written.
        """
        self._gate.enter(self._check)
        try:
            yield self._slot(self._start())
        finally:
            self._gate.leave()

    def slow_down(self) -> None:
        """Halve the concurrency, down to 1: the server is throttling or late."""
        self._gate.shrink()

    def speed_up(self) -> None:
        """Note a success: as many in a row as are allowed in flight allow one more."""
        self._gate.grow()

    def hold(self, seconds: float) -> None:
        """Let nobody start before that many seconds have passed."""
        self._pace.hold(seconds)

    def spend_day(self) -> None:
        """Mark the day as spent for all who share the ledger; without one, nothing.

        Raises:
            InvalidInput: the ledger cannot be read or written.
        """
        if self._ledger is not None:
            self._ledger.spend()

    def _start(self) -> float:
        """Return the monotonic seconds at which a permitted request's turn came."""
        if self._ledger is None:
            return self._turn()
        while True:
            day = self._ledger.take()
            try:
                started = self._turn()
            except (Exhausted, Terminated):
                self._ledger.give_back(day)
                raise
            # The wait may have crossed midnight: a permit is good for its day only.
            if self._ledger.covers(day):
                return started

    def _turn(self) -> float:
        """Sleep until the rate allows a start; return its monotonic seconds."""
        while True:
            self._check()
            seconds = self._pace.claim()
            if seconds <= 0:
                return self._clock.monotonic()
            # A sleep may end early or late, and a hold may come: always ask again.
            self._clock.sleep(min(seconds, SLICE))

    def _slot(self, started: float) -> Slot:
        with self._lock:
            self._sent += 1
            return Slot(self._sent, started)


class _Pace:
    """Evenly spaced starts and a common hold.

    The spacing counts from the start that took place, not from one reserved ahead:
    a start that came late would otherwise have its successor too close behind it,
    and a hold could not stop those who had reserved before it.

    Starts are ours to space, arrivals are not: N + 1 requests arrive within a second
    if the last travels faster than the first by more than the headroom. No spacing
    that uses the rate rules that out, so throttling widens it.
    """

    def __init__(
        self, clock: Clock, requests_per_second: float | None, headroom: float
    ) -> None:
        if requests_per_second is not None and not requests_per_second > 0:
            raise InvalidInput("requests_per_second must be more than 0")
        self._clock = clock
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._lock = threading.Lock()
        self._free_at = self._held_until = float("-inf")
        self._least = self._headroom = headroom
        self._starts = 0

    def claim(self) -> float:
        """Return 0 if the caller's turn is now and taken, else the seconds to wait."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._free_at:
                return self._free_at - now
            self._relax()
            self._free_at = now + self._interval * (1 + MARGIN + self._headroom)
            return 0

    def _relax(self) -> None:
        self._starts += 1
        if self._starts >= CALM:
            self._starts = 0
            self._headroom = max(self._least, self._headroom / WIDER)

    def hold(self, seconds: float) -> None:
        """Let the next turn come after that many seconds, or later."""
        with self._lock:
            now = self._clock.monotonic()
            # Several in flight are refused for one and the same crowd.
            if now >= self._held_until:
                self._starts = 0
                self._headroom = min(WIDER * self._headroom, WIDEST)
            self._held_until = max(self._held_until, now + seconds)
            self._free_at = max(self._free_at, self._held_until)


class _Gate:
    """A semaphore whose limit halves on trouble and grows back on success."""

    def __init__(self, maximum: int) -> None:
        if maximum < 1:
            raise InvalidInput("max_concurrency must be at least 1")
        self._maximum = maximum
        self._limit = maximum
        self._inside = 0
        self._successes = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may be inside just now."""
        with self._changed:
            return self._limit

    def enter(self, check: Callable[[], None]) -> None:
        """Wait for a place; `check` raises when waiting is of no more use."""
        with self._changed:
            check()
            while self._inside >= self._limit:
                # Nobody notifies for a signal or a deadline: wake up to look.
                self._changed.wait(POLL)
                check()
            self._inside += 1

    def leave(self) -> None:
        """Free the place."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def shrink(self) -> None:
        """Halve the limit, down to 1; those inside stay."""
        with self._changed:
            self._limit = max(1, self._limit // 2)
            self._successes = 0

    def grow(self) -> None:
        """Count a success; as many as the limit raise it by one, up to the maximum."""
        with self._changed:
            self._successes += 1
            if self._successes >= self._limit:
                self._successes = 0
                self._limit = min(self._maximum, self._limit + 1)
                self._changed.notify_all()
