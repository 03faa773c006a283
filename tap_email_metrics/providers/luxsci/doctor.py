"""The doctor's check of LuxSci: it counts the last day's rows of each report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.checkup import Estimate
from tap_email_metrics.providers.luxsci.streams import (
    MarketingLists,
    MarketingReport,
    ReportStream,
    Summary,
)
from tap_email_metrics.state.windows import Window
from tap_email_metrics.streams.window_reader import MOST_IN_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.providers.luxsci.api import LuxSciApi, ReportList

_READ = 2
"""Requests for a window with rows: a page, and the count after it."""
_EMPTY = 1
"""Requests for a window without rows: its page has the count."""


def examine(api: LuxSciApi, checkup: Checkup) -> None:
    """Ask for the count of each report in the scope, and estimate the requests.

    Raises:
        TapError: the credentials are refused, or LuxSci cannot be reached.
    """
    streams = [s for s in checkup.streams.values() if isinstance(s, ReportStream)]
    last_day = Window(int(api.now()) - DAY, int(api.now()))
    everything = following = _READ if api.settings.auth == "secure" else 0
    counted = answered = 0
    for stream in streams:
        sources = stream.lists()
        asked = _asked(stream, sources)
        window = last_day if stream.dated_by else None
        for source in sources:
            count = None
            if source.key in asked:
                work = partial(source.count, window)
                count = checkup.ask([stream.name], work)
                answered += count is not None
                counted += count or 0
            everything += _first(stream, count or 0)
            following += _next(stream, source, count or 0)
    checkup.facts["rows_of_last_day"] = counted
    basis = (
        f"measured: {counted} rows in {answered} reports in the last day; assumed: as "
        "many on each other day, all logins alike"
    )
    checkup.backfill = Estimate(everything, basis)
    checkup.next_run = Estimate(following, basis)


def _asked(stream: ReportStream, sources: Sequence[ReportList]) -> set[str]:
    """Return the keys of the lists to count.

    For marketing these are all lists of the first login. One list of each other login
    is enough to know whether the login can be read.
    """
    is_marketing = isinstance(stream, MarketingReport)
    some = (
        sources[:1]
        if is_marketing and not isinstance(stream, MarketingLists)
        else (sources)
    )
    return {source.key for source in some}


def _first(stream: ReportStream, count: int) -> int:
    """Return the number of requests of the first read of a list.

    Args:
        stream: the stream of the list.
        count: rows in one day, or in the whole list if it has no dates.
    """
    start, end = stream.first_start, stream.horizon()
    settings = stream.run.settings
    if settings.backfill and settings.end is not None:
        start, end = start - stream.backfill_lead, min(end, int(settings.end))
    if isinstance(stream, Summary):
        return max(0, -(-(end - start) // DAY))
    if not stream.dated_by or (stream.full_days and not settings.backfill):
        return _window(count)
    history = _history(stream, [Window(start, end)], count)
    if settings.backfill:
        return history
    return _window(count * stream.lookback // DAY) + history


def _next(stream: ReportStream, source: ReportList, count: int) -> int:
    """Return the number of requests for a list in the next run; see `_first`."""
    coverage = stream.bookmark.coverages.get(source.key)
    if coverage is None:
        return _first(stream, count)
    if not stream.dated_by:
        now = int(stream.api.now())
        return _window(count) * coverage.verification_due(now, stream.full_days)
    if stream.rests(source, coverage):
        return 0
    end = stream.horizon()
    is_summary = isinstance(stream, Summary)
    is_read = stream.is_read(coverage) if is_summary else coverage.complete_to >= end
    window = coverage.live(end, stream.lookback)
    live = () if window is None or is_read else (window,)
    if is_summary:
        return sum(-(-one.seconds // DAY) for one in (*live, *coverage.todo))
    of_live = sum(_window(count * one.seconds // DAY) for one in live)
    return of_live + _history(stream, coverage.todo, count)


def _window(rows: int) -> int:
    """Return the number of requests for a window."""
    return _READ + rows // MOST_IN_PAGE if rows else _EMPTY


def _history(stream: ReportStream, windows: Iterable[Window], daily: int) -> int:
    """Return the number of requests for a history; its windows grow as in a run.

    Args:
        stream: the stream of the list.
        windows: the history.
        daily: rows in one day.
    """
    requests = 0
    for window in windows:
        width, at = stream.first_width, window.start
        while at < window.end:
            rows = daily * width // DAY
            requests += _window(rows)
            at += width
            width = stream.next_width(width, rows)
    return requests
