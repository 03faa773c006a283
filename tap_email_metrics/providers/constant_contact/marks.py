"""Marks of Constant Contact: how far a report of a campaign is read."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, replace

from tap_email_metrics.bookmarks import (
    QUARANTINE_AFTER,
    decode_number,
    decode_time,
    encode_number,
    encode_time,
)
from tap_email_metrics.clock import DAY

TRIES = 3
VERIFY_DAYS = 30


def short_id(campaign_id: str) -> str:
    """Return a campaign id as the state keeps it: a UUID in 22 characters."""
    try:
        packed = uuid.UUID(campaign_id)
    except ValueError:
        return campaign_id
    if str(packed) != campaign_id:
        return campaign_id
    return "~" + base64.urlsafe_b64encode(packed.bytes).decode().rstrip("=")


def long_id(key: str) -> str:
    """Return the campaign id that `short_id` shortened.

    Raises:
        ValueError: it is none.
    """
    if not key.startswith("~"):
        return key
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(key[1:] + "==")))


@dataclass(frozen=True, slots=True)
class CounterMark:
    """How far one report of one campaign is read.

    Attributes:
        counter: the campaign's counter whose rows are all read; None before the
            first time.
        newest: `created_time` of the newest row read, in epoch ms.
        tries: reads in a row that did not find the rows that the counter announced.
        checked: start of the last descent that was complete, in seconds.
        verified: start of the last read of all rows, in seconds.
        failures: runs in a row in which it could not be read.
        tried: start of the last of them.
    """

    counter: int | None = None
    newest: int | None = None
    tries: int = 0
    checked: float | None = None
    verified: float | None = None
    failures: int = 0
    tried: float | None = None

    def pack(self) -> str:
        """Return the mark as one short string."""
        parts = [
            "" if self.counter is None else encode_number(self.counter),
            "" if self.newest is None else encode_number(self.newest),
            encode_time(self.checked),
            encode_time(self.verified),
            encode_number(self.tries) if self.tries else "",
            encode_number(self.failures) if self.failures else "",
            encode_time(self.tried) if self.failures else "",
        ]
        return ".".join(parts).rstrip(".")

    @classmethod
    def unpack(cls, text: str) -> CounterMark:
        """Return the mark that `pack` wrote.

        Raises:
            ValueError: the text is no packed mark.
        """
        parts = (text.split(".") + [""] * 7)[: max(7, text.count(".") + 1)]
        try:
            counter, newest, checked, verified, tries, failures, tried = parts
            return cls(
                counter=decode_number(counter) if counter else None,
                newest=decode_number(newest) if newest else None,
                checked=decode_time(checked),
                verified=decode_time(verified),
                tries=decode_number(tries) if tries else 0,
                failures=decode_number(failures) if failures else 0,
                tried=decode_time(tried),
            )
        except KeyError as error:
            raise ValueError(f"unknown digit {error}") from error

    @property
    def quarantined(self) -> bool:
        """Whether it failed so often that it is tried once a day only."""
        return self.failures >= QUARANTINE_AFTER

    @property
    def unsettled(self) -> bool:
        """Whether announced rows were not found yet."""
        return self.tries > 0

    @property
    def settled(self) -> bool:
        """Whether nothing is owed."""
        return self.counter is not None and not self.tries and not self.failures

    def failed(self, now: float) -> CounterMark:
        """Return the mark after a try that failed."""
        return replace(self, failures=self.failures + 1, tried=now)

    def verification_due(self, now: float) -> bool:
        """Return whether every row has to be read again."""
        return self.verified is None or now - self.verified >= VERIFY_DAYS * DAY

    def due(self, counter: int, now: float) -> bool:
        """Return whether the report has to be read, its counter being what it is."""
        if self.quarantined and self.tried is not None:
            return not 0 <= now - self.tried < 0.9 * DAY
        return not self.settled or counter != self.counter
