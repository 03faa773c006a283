"""Requests of a UTC day, counted in a file that processes share."""

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
"""Most requests that a process reserves in the ledger at a time."""


BLOCK_SHARE = 10
"""A block is at most this part of what is left, so that a day ends on single ones."""


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
        daily_requests: requests of a day, at most.
        clock: tells the day.
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
        """Count one request; return the UTC day that it is counted in.

        Raises:
            Exhausted: the day's budget is spent.
            InvalidInput: the file cannot be read or written, or counts a day that has
                not come yet.
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
        with self._lock, self._file.locked(self._check):
            day = self._current()
            # An answer that comes after midnight speaks of the day before.
            if self._day in (date.min, day.day):
                self._write(day, used=day.used - self._unused, spent=True)
            self._unused = 0

    def left(self) -> int:
        """Return the requests that are left of the day.

        Blocks that processes have reserved do not count as left. Where the file cannot
        be read nothing is left: the next `take` says why.
        """
        try:
            with self._lock, self._file.locked(self._check):
                day = self._current()
        except TapError:
            return 0
        left = self._requests - day.used
        return 0 if day.spent else max(0, left)

    def close(self) -> None:
        """Give back what was reserved and not used; the ledger may be used again.

        What cannot be given back is lost: the budget of the day is under-used by it.
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
        """Return the clock's UTC day, or the one counted in if that is later."""
        return max(self._day, datetime.fromtimestamp(self._clock.now(), UTC).date())

    def _reserve_block(self) -> None:
        with self._file.locked(self._check):
            day = self._current()
            left = self._requests - day.used
            if day.spent or left <= 0:
                raise self._refusal(day)
            block = max(1, min(BLOCK, left // BLOCK_SHARE))
            # Written before it is used: a crash in between counts too many.
            self._write(day, used=day.used + block, spent=False)
        self._day, self._unused = day.day, block

    def _refusal(self, day: Day) -> TapError:
        """Return why nothing is left, which settings say so, and until when."""
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
        # No run of these days gets past it: somebody has to look.
        if day.day > today + timedelta(days=1):
            return InvalidInput(message)
        return Exhausted(message)

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
