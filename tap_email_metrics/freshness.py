"""Judges from the state alone whether the data is fresh, for cron jobs and monitors.

No request is sent, and nothing is changed.
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
class FreshnessLimits:
    """The limits beyond which data counts as stale.

    Attributes:
        max_hours: maximum hours since a run read everything that was due; None for no
            limit.
        min_headroom_days: minimum days until the vendor archives unread rows; None for
            no limit.
    """

    max_hours: float | None = None
    min_headroom_days: float | None = None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The freshness of one stream's data.

    Attributes:
        stream: name of the stream.
        hours: hours since a run read everything that was due; None if no run did.
        headroom_days: days until the vendor archives unread rows; None if it never
            does.
        problems: the limits that are broken, in words.
    """

    stream: str
    hours: float | None
    headroom_days: float | None
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line of text."""
        never = "never read completely"
        parts = [never if self.hours is None else f"read {self.hours:.1f} hours ago"]
        if self.headroom_days is not None:
            parts.append(f"{self.headroom_days:.1f} days of headroom")
        return f"{self.stream}: {', '.join(parts)}"


def judge(tap: TapEmailMetrics, limits: FreshnessLimits) -> list[Freshness]:
    """Return the freshness of each selected stream in the state.

    The state has no stream that no run has begun yet.
    """
    known = tap.run.bookmarks
    return [_judged(one, limits) for one in tap.selected() if one.name in known]


def _judged(stream: EmailMetricsStream, limits: FreshnessLimits) -> Freshness:
    read = stream.bookmark.read_all_due
    hours = None if read is None else (stream.run.clock.now() - read) / _HOUR
    days = stream.headroom_days
    problems = tuple(_problems(hours, days, limits))
    return Freshness(stream.name, hours, days, problems)


def _problems(
    hours: float | None, days: float | None, limits: FreshnessLimits
) -> Iterator[str]:
    most, least = limits.max_hours, limits.min_headroom_days
    if most is not None:
        if hours is None:
            yield "no run has read it completely"
        elif hours > most:
            yield f"read {hours:.1f} hours ago, more than {most:g}"
        elif hours < 0:
            yield "read in the future: check this machine's clock"
    if least is not None and days is not None and days < least:
        yield f"{days:.1f} days of headroom, less than {least:g}"


def trouble(found: Sequence[Freshness]) -> str:
    """Return all problems in one line, an empty text if all data is fresh."""
    if not found:
        return "the state has none of the selected streams"
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
