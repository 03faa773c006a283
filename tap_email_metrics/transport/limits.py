"""Limits that every request of a provider has to pass.

A request waits for a place (concurrency), a permit for the day (the ledger) and its
turn (the rate), in that order. After its turn nothing slow may delay it.
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
"""Longest sleep in seconds between two checks of the stop flag."""

POLL = 0.1
"""Longest wait for a place in real seconds between two checks of the stop flag."""

MARGIN = 1e-4
"""The spacing is longer than 1/N by this share. It exceeds the rounding errors of
floats, even on a clock that counts seconds from the epoch."""

WIDEST = 3.0
"""Largest headroom after throttling; it leaves a quarter of the rate."""

WIDER = 1.5
"""Factor by which throttling widens the headroom, and calm narrows it."""

CALM = 1000
"""Starts without throttling after which the headroom narrows by one step."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Permission to send one request.

    Attributes:
        number: number of the request, from 1.
        started: `Clock.monotonic` seconds at which the turn came.
    """

    number: int
    started: float


class Limits:
    """The rate, concurrency and daily budget of one provider. It is thread-safe.

    Args:
        clock: source of time and sleep.
        check: called before each start and while waiting; raises once the run ends.
        requests_per_second: N; any second has at most N starts. For n/60, any minute
            has at most n starts. None for no limit.
        max_concurrency: largest number of requests in flight.
        ledger: the daily budget, None for no limit. Its owner closes it.
        headroom: extra seconds between requests to absorb network jitter. If travel
            times differ by no more, no second has more than N arrivals. Throttling
            widens it for a while. With 0 only the starts are spaced.

    Raises:
        InvalidInput: the rate is not positive, or the concurrency is less than 1.
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
        self._begun = 0
        self._most: int | None = None

    def allow(self, most: int) -> None:
        """Let no more than this number of requests through, counted from the first."""
        with self._lock:
            self._most = most

    @property
    def counted(self) -> int:
        """Number of requests that `allow` counts: with those to other hosts."""
        with self._lock:
            return self._begun

    def count(self) -> None:
        """Count a request to another host, such as one for a token.

        It needs no turn and takes nothing of the day's budget.

        Raises:
            Exhausted: `allow` leaves no room for it.
        """
        with self._lock:
            self._begin()

    @property
    def sent(self) -> int:
        """Number of requests that have started."""
        with self._lock:
            return self._sent

    @contextmanager
    def request(self) -> Iterator[Slot]:
        """Wait until one request may start. The body must send only this request.

        Raises:
            Terminated: the run is ending.
            Exhausted: the day's budget or `max_run_minutes` is spent.
            InvalidInput: the ledger cannot be read or written.
        """
        self._gate.enter(self._check)
        try:
            yield self._slot(self._permitted())
        finally:
            self._gate.leave()

    def slow_down(self) -> None:
        """Halve the concurrency, but not below 1, after throttling or a timeout."""
        self._gate.shrink()

    def speed_up(self) -> None:
        """Count a success; as many as the current concurrency raise it by 1."""
        self._gate.grow()

    def hold(self, seconds: float) -> None:
        """Let no request start for a number of seconds."""
        self._pace.hold(seconds)

    def spend_day(self) -> None:
        """Mark the day as spent for all processes that share the ledger.

        Raises:
            InvalidInput: the ledger cannot be read or written.
        """
        if self._ledger is not None:
            self._ledger.spend()

    def _permitted(self) -> float:
        """Return the start of a request that `allow` leaves room for."""
        with self._lock:
            self._begin()
        try:
            return self._start()
        except (Exhausted, Terminated):
            with self._lock:
                self._begun -= 1
            raise

    def _begin(self) -> None:
        """Count a request; the caller holds the lock."""
        if self._most is not None and self._begun >= self._most:
            raise Exhausted(f"the {self._most} requests that were allowed are spent")
        self._begun += 1

    def _start(self) -> float:
        """Wait for a permit and a turn; return the monotonic seconds of the start."""
        if self._ledger is None:
            return self._turn()
        while True:
            day = self._ledger.take()
            try:
                started = self._turn()
            except (Exhausted, Terminated):
                self._ledger.give_back(day)
                raise
            # A permit is valid on its own day, and the wait may have passed midnight.
            if self._ledger.covers(day):
                return started

    def _turn(self) -> float:
        """Sleep until the rate allows a start; return its monotonic seconds."""
        while True:
            self._check()
            seconds = self._pace.claim()
            if seconds <= 0:
                return self._clock.monotonic()
            # The sleep may end early, and a hold may have begun: claim again.
            self._clock.sleep(min(seconds, SLICE))

    def _slot(self, started: float) -> Slot:
        with self._lock:
            self._sent += 1
            return Slot(self._sent, started)


class _Pace:
    """Spaces the starts of requests evenly, and can hold all of them.

    The spacing counts from the last actual start. If starts were reserved ahead, a
    late start could be followed too closely, and a hold could not stop reserved ones.

    The tap can space starts, but not arrivals: N + 1 requests arrive within a second
    if the last one travels faster than the first by more than the headroom. Therefore
    throttling widens the headroom.
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
        """Take a turn and return 0, or return the seconds until the next turn."""
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
        """Delay the next turn by at least a number of seconds."""
        with self._lock:
            now = self._clock.monotonic()
            # Several in-flight requests can get a 429 for the same burst: widen the
            # spacing once.
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
        """The current limit."""
        with self._changed:
            return self._limit

    def enter(self, check: Callable[[], None]) -> None:
        """Wait for a place; `check` raises once the run ends."""
        with self._changed:
            check()
            while self._inside >= self._limit:
                # A signal or a deadline does not notify: wake up to check for them.
                self._changed.wait(POLL)
                check()
            self._inside += 1

    def leave(self) -> None:
        """Free the place."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def shrink(self) -> None:
        """Halve the limit, but not below 1. Requests inside are not affected."""
        with self._changed:
            self._limit = max(1, self._limit // 2)
            self._successes = 0

    def grow(self) -> None:
        """Count a success; as many as the current limit raise it by 1."""
        with self._changed:
            self._successes += 1
            if self._successes >= self._limit:
                self._successes = 0
                self._limit = min(self._maximum, self._limit + 1)
                self._changed.notify_all()
