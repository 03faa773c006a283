"""Counts the requests of a UTC day in a file that processes share."""

from __future__ import annotations

import hashlib
import logging
import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tap_email_metrics.errors import Exhausted, InvalidInput, TapError
from tap_email_metrics.transport.files import SharedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_email_metrics.clock import Clock

logger = logging.getLogger("tap-email-metrics")

BLOCK = 10
"""Largest number of requests that a process reserves at a time."""


BLOCK_SHARE = 10
"""A block is at most the remaining requests divided by this. Near the end of a budget
requests are therefore reserved one by one."""


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of the ledger's file.

    Attributes:
        version: version of the file's format.
        day: the UTC day that is counted.
        used: number of requests sent or reserved on the day.
        spent: the API has reported that the quota of the day is spent.
    """

    version: Literal[1]
    day: date
    used: Annotated[int, msgspec.Meta(ge=0)]
    spent: bool


class Ledger:
    """Counts the requests of a UTC day in a file that a machine's processes share.

    A process reserves a block of requests, to write the file less often, and `close`
    returns the unused ones. If a process dies, up to `BLOCK` requests are lost: the
    budget may be under-used, but is never exceeded.

    Args:
        directory: directory of the file; created with access for the user only.
        fingerprint: the `fingerprint` of the API key, which is part of the file name.
        daily_requests: the largest number of requests per day.
        clock: gives the current day.
        check: called while another process holds the file; raises once the run ends.
    """

    def __init__(
        self,
        directory: Path,
        fingerprint: str,
        daily_requests: int,
        clock: Clock,
        check: Callable[[], None],
    ) -> None:
        self._file = SharedFile(
            directory / f"ledger-{fingerprint}.json",
            "the request ledger",
            "Let this user write to its directory, or have it elsewhere with the"
            " variable XDG_STATE_HOME",
        )
        self._requests = daily_requests
        self._clock = clock
        self._check = check
        self._lock = threading.Lock()
        self._unused = 0
        self._day = date.min

    def take(self) -> date:
        """Count one request; return the UTC day on which it counts.

        Raises:
            Exhausted: the budget of the day is spent.
            InvalidInput: the file cannot be read or written, or is for a future day.
        """
        with self._lock:
            if not self._unused or self._day != self._today():
                self._unused = 0
                self._reserve_block()
            self._unused -= 1
            return self._day

    def give_back(self, day: date) -> None:
        """Undo a `take` on a day, because the request was not sent."""
        with self._lock:
            if day == self._day:
                self._unused += 1

    def covers(self, day: date) -> bool:
        """Return whether a request that counts on a day may still be sent."""
        with self._lock:
            return day >= self._today()

    def spend(self) -> None:
        """Mark the day of the last request as spent, for all processes.

        Raises:
            InvalidInput: the file cannot be read or written.
        """
        with self._lock, self._file.locked(self._check):
            day = self._current()
            # A response that arrives after midnight is about the day before.
            if self._day in (date.min, day.day):
                self._write(day, used=day.used - self._unused, spent=True)
            self._unused = 0

    def left(self) -> int:
        """Return the number of requests left of the day.

        Reserved requests do not count as left. If the file cannot be read, the result
        is 0, and the next `take` raises the error.
        """
        try:
            with self._lock, self._file.locked(self._check):
                day = self._current()
        except TapError:
            return 0
        left = self._requests - day.used
        return 0 if day.spent else max(0, left)

    def close(self) -> None:
        """Return the unused reserved requests. The ledger can still be used afterwards.

        If that fails, the requests are lost, and the budget is under-used.
        """
        with self._lock:
            if not self._unused:
                return
            try:
                self._return_unused()
            except TapError as error:
                logger.info("reserved requests were not given back: %s", error)
            self._unused = 0

    def _return_unused(self) -> None:
        with self._file.locked(self._check):
            day = self._current()
            if day.day == self._day:
                used = day.used - self._unused
                self._write(day, used=used, spent=day.spent)

    def _today(self) -> date:
        """Return the current UTC day, or the last counted day if that is later."""
        return max(self._day, datetime.fromtimestamp(self._clock.now(), UTC).date())

    def _reserve_block(self) -> None:
        with self._file.locked(self._check):
            day = self._current()
            left = self._requests - day.used
            if day.spent or left <= 0:
                raise self._refusal(day)
            block = max(1, min(BLOCK, left // BLOCK_SHARE))
            # Write before the requests are used: a crash then counts too many.
            self._write(day, used=day.used + block, spent=False)
        self._day, self._unused = day.day, block

    def _refusal(self, day: Day) -> TapError:
        """Return the error for a spent budget: its cause, and when it resets."""
        if day.spent:
            why = f"the API says that its quota of {day.day} is spent"
        else:
            why = f"the budget of {day.day} is spent: {day.used} requests"
        message = (
            f"{why} (daily_requests {self._requests}); it resets at 00:00 UTC on"
            f" {day.day + timedelta(days=1)}"
        )
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        if day.day > today:
            message += f". This machine's clock says {today}: if it is right, delete"
            message += f" {self._file.path}"
        # A day further in the future would block every run until then.
        if day.day > today + timedelta(days=1):
            return InvalidInput(message)
        return Exhausted(message)

    def _current(self) -> Day:
        """Return the day in the file, or a new day if the file is missing or older.

        An earlier day by the clock is not a new day: setting a clock back does not
        give more requests.
        """
        stored, today = self._read(), self._today()
        if stored is None or stored.day < today:
            return Day(version=1, day=today, used=0, spent=False)
        return stored

    def _read(self) -> Day | None:
        """Return the content of the file, None if there is no file."""
        content = self._file.read()
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Day)
        except msgspec.DecodeError as error:
            # A damaged file is not an empty one: the budget may be spent.
            raise InvalidInput(
                f"{self._file} is damaged, or of a newer version:"
                " delete it to count the day from 0"
            ) from error

    def _write(self, day: Day, *, used: int, spent: bool) -> None:
        # If the file was deleted meanwhile, its reservations are gone, too.
        new = Day(version=1, day=day.day, used=max(0, used), spent=spent)
        self._file.write(msgspec.json.encode(new))


def fingerprint(secret: str) -> str:
    """Return 16 hex digits that identify an API key without revealing it."""
    digest = hashlib.sha256(b"tap-email-metrics ledger\0" + secret.encode())
    return digest.hexdigest()[:16]
