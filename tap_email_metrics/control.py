"""Control of a run: its clock, log, deadline, and the request to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from typing_extensions import override

from tap_email_metrics.errors import Exhausted, Terminated

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from tap_email_metrics.clock import Clock


class Stop(threading.Event):
    """The request to end the run, and its reason.

    It is a plain flag, because the lock of `threading.Event` would block a signal
    handler that interrupts another `set`. Threads do not wait for it but poll it.

    Attributes:
        signal: number of the signal that ended the run, None for another reason.
    """

    signal: int | None = None
    _ended = False

    @override
    def is_set(self) -> bool:
        """Return whether the run has to end."""
        return self._ended

    @override
    def set(self) -> None:
        """Ask the run to end at the next safe point."""
        self._ended = True

    def check(self) -> None:
        """Do nothing while the run may go on.

        Raises:
            Terminated: the run has to end.
        """
        if self.is_set():
            raise Terminated("the run is ending")

    def by_signal(self, number: int) -> None:
        """Ask the run to end at the next safe point; safe in a signal handler."""
        self.signal = self.signal or number
        self.set()


class Control:
    """The clock, the end and the log of a run, for code that sends requests or waits.

    Attributes:
        clock: this machine's clock.
        logger: the tap's logger.
        stop: set when the run has to end.
        started: start of the run in UTC seconds.
        deadline: UTC seconds at which the run pauses, None for no limit.
        idle: called repeatedly by code that waits.
        hide: called with new secrets, so that they are masked in the log.
    """

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self.clock = clock
        self.logger = logger
        self.stop = Stop()
        self.started = clock.now()
        self._began = clock.monotonic()
        self.deadline: float | None = None
        self.idle: Callable[[], None] = _nothing
        self.hide: Callable[..., None] = _nothing

    def check(self) -> None:
        """Do nothing while the run may go on. All code that waits calls it.

        Raises:
            Terminated: the run has to end.
            Exhausted: `max_run_minutes` is spent.
        """
        self.stop.check()
        if (
            self.deadline is not None
            and self._elapsed() >= self.deadline - self.started
        ):
            raise Exhausted("max_run_minutes is spent")

    def _elapsed(self) -> float:
        """Return the seconds since the start, also if the clock was set back."""
        steady = self.clock.monotonic() - self._began
        return max(steady, self.clock.now() - self.started)


def _nothing(*_secrets: str) -> None:
    """Do nothing."""
