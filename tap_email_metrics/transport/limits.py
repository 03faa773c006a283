"""Limits: the one seam that every request of a provider crosses.

A request needs a place (concurrency), a permit of the day (the ledger) and its
turn (the rate), in that order, so that nothing slow lies between turn and request.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tap_email_metrics.errors import Exhausted, InvalidInput, Terminated
from tap_email_metrics.transport.files import SharedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_email_metrics.clock import Clock

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

BLOCK = 10
"""Most requests that a process reserves in the ledger at a time."""

BLOCK_SHARE = 10
"""A block is at most this part of what is left, so that a day ends on single ones."""


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
    """Rate, concurrency, day's budget and deadline of one provider; thread-safe.

    Args:
        clock: the source of all time and sleep.
        stop: once set, every waiting and every new request raises `Terminated`.
        requests_per_second: N: any half-open second holds at most N starts (a whole
            number; any half-open minute holds n of them for n/60). None: no limit.
        max_concurrency: requests in flight, at most.
        ledger: the day's budget, or None for none. Its owner closes it.
        deadline: `Clock.now` seconds from which nothing starts, or None.
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
        stop: threading.Event,
        requests_per_second: float | None,
        max_concurrency: int,
        ledger: Ledger | None = None,
        deadline: float | None = None,
        headroom: float = 0.0,
    ) -> None:
        self._clock = clock
        self._stop = stop
        self._ledger = ledger
        self._deadline = deadline
        self._pace = _Pace(clock, requests_per_second, headroom)
        self._gate = _Gate(max_concurrency)
        self._lock = threading.Lock()
        self._sent = 0

    @property
    def sent(self) -> int:
        """Requests that were let through."""
        with self._lock:
            return self._sent

    @property
    def concurrency(self) -> int:
        """Requests that may be in flight just now."""
        return self._gate.limit

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

    def _check(self) -> None:
        """Raise if nothing may start any more."""
        if self._stop.is_set():
            raise Terminated("the run is ending: no further request is made")
        if self._deadline is not None and self._clock.now() >= self._deadline:
            raise Exhausted("max_run_minutes is spent")

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


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the ledger's file holds.

    Attributes:
        version: of the file's form.
        day: the UTC day that is counted.
        used: requests made in it, and those reserved.
        spent: the API itself said that the day's quota is spent.
    """

    version: Literal[1]
    day: date
    used: Annotated[int, msgspec.Meta(ge=0)]
    spent: bool


class Ledger:
    """Requests of a UTC day, counted in a file that a machine's processes share.

    A process reserves a few requests at a time, so that not every one is written,
    and `close` gives back what it did not use. One that dies first has counted up
    to `BLOCK` too many: the budget may be under-used, never over-used.

    Args:
        directory: holds the file; made for the user alone if it is missing.
        fingerprint: of the API key, from `fingerprint`; names the file.
        daily_requests: the API's quota for a day.
        daily_reserve: the part of it that is left to others.
        clock: tells the day.

    Raises:
        InvalidInput: the reserve leaves nothing of the quota.
    """

    def __init__(
        self,
        directory: Path,
        fingerprint: str,
        daily_requests: int,
        daily_reserve: int,
        clock: Clock,
    ) -> None:
        if not 0 <= daily_reserve < daily_requests:
            raise InvalidInput(
                f"daily_reserve ({daily_reserve}) must be from 0 to less than"
                f" daily_requests ({daily_requests})"
            )
        self._file = SharedFile(
            directory / f"ledger-{fingerprint}.json",
            "the request ledger",
            "Let this user write to its directory, or have it elsewhere with"
            " token_store or the variable XDG_STATE_HOME",
        )
        self._requests = daily_requests
        self._reserve = daily_reserve
        self._clock = clock
        self._lock = threading.Lock()
        self._unused = 0
        self._day = date.min

    def take(self) -> date:
        """Count one request; return the UTC day that it is counted in.

        Raises:
            Exhausted: the day's budget is spent.
            InvalidInput: the file cannot be read or written.
        """
        with self._lock:
            if not self._unused or self._day != self._today():
                self._unused = 0
                self._reserve_block()
            self._unused -= 1
            return self._day

    def give_back(self, day: date) -> None:
        """Undo a `take` of that day whose request was not made."""
        with self._lock:
            if day == self._day:
                self._unused += 1

    def covers(self, day: date) -> bool:
        """Whether a permit of that day is still good."""
        with self._lock:
            return day >= self._today()

    def spend(self) -> None:
        """Mark the day last counted in as spent, for all processes.

        Raises:
            InvalidInput: the file cannot be read or written.
        """
        with self._lock, self._file.locked():
            day = self._current()
            # An answer that comes after midnight speaks of the day before.
            if self._day in (date.min, day.day):
                self._write(day, used=day.used - self._unused, spent=True)
            self._unused = 0

    def look(self) -> Day:
        """Return what is counted for now, blocks reserved by processes included.

        Raises:
            InvalidInput: the file cannot be read.
        """
        with self._lock, self._file.locked():
            return self._current()

    def close(self) -> None:
        """Give back what was reserved and not used; the ledger may be used again.

        Raises:
            InvalidInput: the file cannot be read or written.
        """
        with self._lock:
            if not self._unused:
                return
            with self._file.locked():
                day = self._current()
                if day.day == self._day:
                    used = day.used - self._unused
                    self._write(day, used=used, spent=day.spent)
            self._unused = 0

    def _today(self) -> date:
        """Return the clock's UTC day, or the one counted in if that is later."""
        return max(self._day, datetime.fromtimestamp(self._clock.now(), UTC).date())

    def _reserve_block(self) -> None:
        with self._file.locked():
            day = self._current()
            left = self._requests - self._reserve - day.used
            if day.spent or left <= 0:
                raise Exhausted(self._refusal(day))
            block = max(1, min(BLOCK, left // BLOCK_SHARE))
            # Written before it is used: a crash in between counts too many.
            self._write(day, used=day.used + block, spent=False)
        self._day, self._unused = day.day, block

    def _refusal(self, day: Day) -> str:
        """Return why nothing is left, which settings say so, and until when."""
        if day.spent:
            why = f"the API says that its quota of {day.day} is spent"
        else:
            why = f"the budget of {day.day} is spent: {day.used} requests"
        message = (
            f"{why} (daily_requests {self._requests},"
            f" daily_reserve {self._reserve}); it resets at 00:00 UTC on"
            f" {day.day + timedelta(days=1)}"
        )
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        if day.day > today:
            message += f". This machine's clock says {today}: if it is right, delete"
            message += f" {self._file.path}"
        return message

    def _current(self) -> Day:
        """Return the file's day, unless there is none or a later one has come.

        An earlier one by the clock is no new day: a clock set back buys no requests.
        """
        stored, today = self._read(), self._today()
        if stored is None or stored.day < today:
            return Day(version=1, day=today, used=0, spent=False)
        return stored

    def _read(self) -> Day | None:
        """Return what the file holds, or None if there is no file."""
        content = self._file.read()
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Day)
        except msgspec.DecodeError as error:
            # Not taken for an empty one: the day's requests may all be spent.
            raise InvalidInput(
                f"{self._file} is damaged, or of a newer version:"
                " delete it to count the day from 0"
            ) from error

    def _write(self, day: Day, *, used: int, spent: bool) -> None:
        # The file may have been deleted meanwhile, and what was reserved with it.
        new = Day(version=1, day=day.day, used=max(0, used), spent=spent)
        self._file.write(msgspec.json.encode(new))


def fingerprint(secret: str) -> str:
    """Return 16 hex digits that tell API keys apart and do not give them away."""
    digest = hashlib.sha256(b"tap-email-metrics ledger\0" + secret.encode())
    return digest.hexdigest()[:16]


def state_directory(
    environment: Mapping[str, str] | None = None, home: Path | None = None
) -> Path:
    """Return the directory for what the tap keeps on this machine; it may not exist.

    Args:
        environment: variables; the process's own if None.
        home: the user's; found by the system if None.

    Raises:
        InvalidInput: the user has no home, and XDG_STATE_HOME is not set.
    """
    variables = os.environ if environment is None else environment
    base = Path(variables.get("XDG_STATE_HOME", ""))
    # The XDG standard has relative paths ignored, as it has the empty one.
    if not base.is_absolute():
        base = (home or _home()) / ".local" / "state"
    return base / "tap-email-metrics"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InvalidInput(
            "this user has no home directory: set the variable XDG_STATE_HOME to a"
            " directory that the tap may write to"
        ) from error
