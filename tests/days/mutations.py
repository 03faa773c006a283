"""Faults of the tap that the simulated days must find.

Those of `claims` count as read what was not understood, which odd answers reveal. The
others are found in worlds without oddities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import StateMessage

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.providers.constant_contact import campaigns
from tap_email_metrics.providers.constant_contact.api import ConstantContactApi
from tap_email_metrics.providers.constant_contact.reading import EventReader
from tap_email_metrics.providers.encompass import api as encompass_api
from tap_email_metrics.providers.encompass import reading, schedule
from tap_email_metrics.providers.encompass.scan import ListScan
from tap_email_metrics.providers.luxsci.api import LuxSciApi
from tap_email_metrics.providers.luxsci.streams import ReportStream
from tap_email_metrics.records import columns as record_columns
from tap_email_metrics.records import writer
from tap_email_metrics.streams import window_reader
from tap_email_metrics.streams.windows import WindowStream
from tests.days.broken import Mutation
from tests.days.claims import CLAIMS

if TYPE_CHECKING:
    from collections.abc import Generator


# Of all providers


def _state_first(this: Any, original: Any, message: Any) -> None:
    """Write a STATE before the records that it covers."""
    if isinstance(message, StateMessage):
        waiting, this._buffer = this._buffer, bytearray()  # noqa: SLF001
        this._buffer += this.serialize_message(message)  # noqa: SLF001
        this._buffer += waiting  # noqa: SLF001
        this.written = 0
        this.flush()
        return
    original(this, message)


# Of Encompass


def _skip_last_page(
    original: Any, *arguments: Any, **options: Any
) -> Generator[Any, None, Any]:
    """Leave out the last of several pages."""
    pages = original(*arguments, **options)
    held = None
    while True:
        try:
            rows = next(pages)
        except StopIteration as end:
            if held is not None and len(set(end.value.ids)) == len(held):
                yield held  # the only page
            return end.value
        if held is not None:
            yield held
        held = rows


def _trust_total(this: Any, original: Any) -> int:
    """Count a list as read up to its total."""
    total = this.totals[1]
    return original(this) if total is None else total  # type: ignore[no-any-return]


def _no_verification(original: Any, sent: Any, now: float) -> int:  # noqa: ARG001
    """Never verify a list."""
    return 0


def _ignore_late_rows(this: Any, original: Any, rows: Any) -> Any:
    """Do not notice that a list grew by rows with old dates."""
    kept = original(this, rows)
    this.new |= {*rows.integers("id")}
    return kept


def _no_gap(original: Any, *_arguments: Any) -> None:
    """Do not report rows taken by the archive."""


def _rest_a_month(original: Any, seconds: float) -> float:  # noqa: ARG001
    """Read a list once in 30 days."""
    return 30.0 * DAY


def _no_sweep(original: Any, *_arguments: Any) -> dict[int, int]:  # noqa: ARG001
    """Never read closed lists again."""
    return {}


# Of Constant Contact


def _never_misses(this: Any, original: Any, mark: Any) -> bool:  # noqa: ARG001
    """Ignore that the counter counts more rows than are new."""
    return False


def _early_cursor(this: Any, original: Any) -> str:  # noqa: ARG001
    """Request the next changes from a few days later on."""
    return iso(this.now() + 3 * DAY)


def _primary_only(original: Any, campaign: Any) -> list[str]:
    """Leave out resends."""
    found: list[str] = original(campaign)
    return found[:1]


def _twins_are_one(this: Any, original: Any, values: Any, occurrence: int) -> Any:  # noqa: ARG001
    """Give equal rows the same key."""
    return original(this, values, 0)


# Of LuxSci


def _no_lookback(this: Any, original: Any) -> int:  # noqa: ARG001
    """Read without a look-back."""
    return 0


def _first_page_only(this: Any, _original: Any, window: Any, look: Any) -> Any:
    """End a window after its first page."""
    yield from this._next_page(window, look)  # noqa: SLF001
    look.ended = look.has_list = True
    look.before = look.after = look.received


def _first_channel_only(
    this: Any, original: Any, operations: Any, *arguments: Any
) -> Any:
    """Leave out emails sent from the web."""
    return original(this, operations[:1], *arguments)


def _not_in_full(this: Any, original: Any) -> list[Any]:  # noqa: ARG001
    """Never read a list without dates."""
    return []


MUTATIONS: dict[str, Mutation] = {
    "skip_last_page": Mutation("encompass", 0, 60, reading, "scan", _skip_last_page),
    "trust_total": Mutation("encompass", 5, 60, ListScan, "rows", _trust_total),
    "no_verification": Mutation(
        "encompass", 1, 60, schedule, "verification_points", _no_verification
    ),
    "ignore_late_rows": Mutation(
        "encompass",
        0,
        60,
        reading._News,  # noqa: SLF001 -- what counts the rows
        "__call__",
        _ignore_late_rows,
    ),
    "no_gap": Mutation("encompass", 9, 20, encompass_api, "archive_gap", _no_gap),
    "rest_a_month": Mutation(
        "encompass", 0, 60, schedule, "revisit_interval", _rest_a_month
    ),
    "no_sweep": Mutation("encompass", 4, 60, schedule, "_sweep_days", _no_sweep),
    "state_first": Mutation(
        "encompass", 0, 60, writer.Writer, "write_message", _state_first
    ),
    "never_misses": Mutation(
        "constant_contact", 7, 40, EventReader, "_misses", _never_misses
    ),
    "early_cursor": Mutation(
        "constant_contact",
        7,
        40,
        ConstantContactApi,
        "cursor",
        _early_cursor,
    ),
    "primary_only": Mutation(
        "constant_contact", 7, 40, campaigns, "reported", _primary_only
    ),
    "twins_are_one": Mutation(
        "constant_contact", 7, 40, record_columns.Identity, "id", _twins_are_one
    ),
    "no_lookback": Mutation("luxsci", 1, 25, ReportStream, "lateness", _no_lookback),
    "first_page_only": Mutation(
        "luxsci", 0, 14, window_reader.WindowReader, "_read_pages", _first_page_only
    ),
    "first_channel_only": Mutation(
        "luxsci",
        0,
        14,
        LuxSciApi,
        "of_scope",
        _first_channel_only,
    ),
    "not_in_full": Mutation(
        "luxsci", 1, 25, WindowStream, "_due_in_full", _not_in_full
    ),
    **CLAIMS,
}
"""Faults by name: the simulated days must find each of them."""
