"""What ends a run early."""

from __future__ import annotations

import threading

from typing_extensions import override

from tap_email_metrics.errors import Terminated


class Stop(threading.Event):
    """Set once the run has to end; says why.

    A plain flag: the lock of `threading.Event` would stop a signal handler that
    interrupts another `set`. Nobody waits for it: those who wait look at it.

    Attributes:
        signal: number of the signal that ended it, None for another reason.
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
        """Return while the run may go on.

        Raises:
            Terminated: it has to end.
        """
        if self.is_set():
            raise Terminated("the run is ending")

    def by_signal(self, number: int) -> None:
        """Ask the run to end at the next safe point; safe in a signal handler."""
        self.signal = self.signal or number
        self.set()
