"""Whether the data is fresh, as the state says: for cron and monitors.

The state is all that is looked at. No request is sent, and nothing is changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_email_metrics.streams.base import EmailMetricsStream
    from tap_email_metrics.tap import TapEmailMetrics

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When data counts as stale.

    Attributes:
        max_hours: hours since a run read everything that was due; None: no limit.
        min_headroom_days: days until the vendor archives unread rows; likewise.
    """

    max_hours: float | None = None
    min_headroom_days: float | None = None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh the data of one stream is.

    Attributes:
        stream: its name.
        hours: since a run read everything that was due; None: no run did.
        headroom_days: days until the vendor archives unread rows; None: it does not.
        problems: the limits that it breaks, in words.
    """

    stream: str
    hours: float | None
    headroom_days: float | None
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line for a person."""
        never = "never read to the end"
        parts = [never if self.hours is None else f"read {self.hours:.1f} hours ago"]
        if self.headroom_days is not None:
            parts.append(f"{self.headroom_days:.1f} days of headroom")
        return f"{self.stream}: {', '.join(parts)}"


def judge(tap: TapEmailMetrics, limits: Limits) -> list[Freshness]:
    """Return the freshness of each selected stream that the state knows.

    A stream that no run has begun yet is not in the state.
    """
    known = tap.run.bookmarks
    return [_judged(one, limits) for one in tap.selected() if one.name in known]


def _judged(stream: EmailMetricsStream, limits: Limits) -> Freshness:
    read = stream.bookmark.read_all_due
    hours = None if read is None else (stream.run.clock.now() - read) / _HOUR
    days = stream.headroom_days
    problems = tuple(_problems(hours, days, limits))
    return Freshness(stream.name, hours, days, problems)


def _problems(hours: float | None, days: float | None, limits: Limits) -> Iterator[str]:
    most, least = limits.max_hours, limits.min_headroom_days
    if most is not None:
        if hours is None:
            yield "no run has read it to the end"
        elif hours > most:
            yield f"read {hours:.1f} hours ago, more than {most:g}"
        elif hours < 0:
            yield "read in the future: check the clock of this machine"
    if least is not None and days is not None and days < least:
        yield f"{days:.1f} days of headroom, less than {least:g}"


def trouble(found: Sequence[Freshness]) -> str:
    """Return what is wrong in one line, nothing if all is fresh."""
    if not found:
        return "the state knows none of the selected streams"
    return "; ".join(
        f"{one.stream}: {', '.join(one.problems)}" for one in found if one.problems
    )


def as_json(found: Sequence[Freshness], code: int) -> str:
    """Return the report as one JSON object."""
    streams = {}
    for one in found:
        columns = asdict(one)
        streams[columns.pop("stream")] = columns
    return json.dumps({"event": "freshness", "exit_code": code, "streams": streams})
