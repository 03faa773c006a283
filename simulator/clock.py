"""The clock of a world: time passes only on request."""

from __future__ import annotations

import gc
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from types import CodeType, FrameType

DAY = 86_400.0
"""Seconds in a day."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POLL = 0.0002
"""Real seconds between two checks whether every thread waits."""
_STUCK = 0.5
"""Real seconds at one instruction after which a thread counts as blocked."""


def day(seconds: float) -> str:
    """Return the UTC date of an instant after rounding it to milliseconds."""
    moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return moment.date().isoformat()


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
        """Return seconds since construction, without steps back."""
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Advance at once by `seconds`; do nothing for a negative number."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; ValueError if negative."""
        if seconds < 0:
            raise ValueError("advance() goes forward only; see set()")
        with self._lock:
            self._now += seconds
            self._monotonic += seconds

    def set(self, now: float) -> None:
        """Jump to `now`, UTC seconds; a jump back does not affect `monotonic`."""
        with self._lock:
            self._monotonic += max(now - self._now, 0.0)
            self._now = float(now)


class ThreadedClock(SimClock):
    """A clock for several threads: time passes only while all of them wait.

    A sleep lasts until its wake-up time. Once every thread that has used this clock is
    asleep or waits for another thread, time jumps to the earliest wake-up. So no
    thread's sleep delays the next step of another thread, for example a request that
    it is about to send.
    """

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._changed = threading.Condition(self._lock)
        self._threads: set[int] = set()
        self._wakes: dict[int, float] = {}
        self._busy: set[tuple[int, CodeType, int]] = set()
        self._busy_since = 0.0

    @override
    def now(self) -> float:
        with self._lock:
            self._threads.add(threading.get_ident())
            return self._now

    @override
    def monotonic(self) -> float:
        with self._lock:
            self._threads.add(threading.get_ident())
            return self._monotonic

    @override
    def sleep(self, seconds: float) -> None:
        """Return after `seconds`, at once for a negative number."""
        me = threading.get_ident()
        with self._changed:
            self._threads.add(me)
            wake = self._wakes[me] = self._monotonic + max(seconds, 0.0)
            while self._monotonic < wake:
                if wake == self._earliest() and self._all_wait():
                    self._now += wake - self._monotonic
                    self._monotonic = wake
                    self._changed.notify_all()
                else:
                    self._changed.wait(_POLL)
            del self._wakes[me]

    @override
    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        with self._changed:
            self._changed.notify_all()

    @override
    def set(self, now: float) -> None:
        super().set(now)
        with self._changed:
            self._changed.notify_all()

    def _earliest(self) -> float:
        return min(wake for wake in self._wakes.values() if wake > self._monotonic)

    def _all_wait(self) -> bool:
        """Return True if no thread can do anything before time passes."""
        frames = _frames()
        self._threads &= frames.keys()
        busy = {
            (one, frames[one].f_code, frames[one].f_lasti)
            for one in self._threads
            if self._wakes.get(one, 0.0) <= self._monotonic and not _waits(frames[one])
        }
        # A thread that waits for this clock's lock waits for the thread that runs this.
        here = any(code.co_filename == __file__ for _, code, _ in busy)
        if busy and (here or busy != self._busy):
            self._busy, self._busy_since = busy, time.monotonic()
        return not busy or time.monotonic() - self._busy_since > _STUCK


def _frames() -> dict[int, FrameType]:
    """Return the current frame of each thread.

    Up to Python 3.11.8, a garbage collection during the call waits for ever for a lock
    that the call holds (python/cpython#106883).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 - there is no other way
    finally:
        if enabled:
            gc.enable()


def _waits(frame: FrameType) -> bool:
    """Return True if a thread waits for a notification or the end of another thread.

    A thread that was notified and has not woken up yet no longer waits.
    """
    if frame.f_code is threading.Condition.wait.__code__:
        names = frame.f_locals
        return "waiter" in names and names["waiter"] in names["self"]._waiters  # noqa: SLF001
    return frame.f_code in _JOINS and frame.f_locals["self"].is_alive()


_JOINS = {
    threading.Thread.join.__code__,
    # Python 3.11 and 3.12 wait a call deeper.
    getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join).__code__,
}
