"""Faults of taps that count as read what they did not understand.

Odd answers reveal each fault: rows are lost, or they are missing and the run does not
report it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tap_email_metrics.errors import NotUnderstood
from tap_email_metrics.providers.constant_contact import client as linked
from tap_email_metrics.providers.constant_contact.batches import Batches
from tap_email_metrics.providers.constant_contact.campaign_snapshot import (
    CampaignSnapshot,
)
from tap_email_metrics.providers.constant_contact.contact_streams import ContactReport
from tap_email_metrics.providers.constant_contact.reading import EventReader
from tap_email_metrics.providers.constant_contact.schedule import CounterMark
from tap_email_metrics.providers.encompass import client as numbered
from tap_email_metrics.providers.encompass import reading
from tap_email_metrics.records.pages import Page
from tap_email_metrics.state.marks import Tries
from tap_email_metrics.state.windows import Coverage
from tap_email_metrics.streams import window_reader
from tap_email_metrics.streams.windows import WindowStream
from tests.days.broken import Mutation

if TYPE_CHECKING:
    from tap_email_metrics.records.pages import Made

# Of all providers


def _set_aside_is_nothing(this: Any, original: Any) -> Made:
    """Leave out rows without a record, without counting them."""
    made: Made = original(this)
    return made._replace(set_aside=Counter())


# Of Encompass


def _no_list_is_empty(original: Any, body: bytes) -> Any:
    """Treat an answer without a list of rows as an empty list."""
    try:
        return original(body)
    except numbered.OddBody:
        return [], 0, None


def _ends_at_total(this: Any, original: Any, *arguments: Any, **options: Any) -> Any:
    """Trust a total although it may count only the rows of its page."""
    return replace(original(this, *arguments, **options), full=False)


def _rows_are_counted(this: Any, original: Any, visit: Any, mark: Any) -> Any:
    """Compare the number of rows read with itself."""
    count = original(this, visit, mark)
    return replace(count, api_rows=count.rows, moved=False)


def _grown_anyway(
    original: Any,  # noqa: ARG001
    reached: Any,
    old: Any,  # noqa: ARG001
    total: Any,  # noqa: ARG001
    now: float,
) -> Any:
    """Treat the new rows as all new rows, whatever the total says."""
    return replace(reached, checked=now, total=None, failures=0, tried=None)


def _archived_at_once(
    original: Any,  # noqa: ARG001
    visit: Any,  # noqa: ARG001
    new: Any,  # noqa: ARG001
    shown: int,  # noqa: ARG001
) -> bool:
    """Take the rows that an old list hides as archived, although none was read."""
    return False


# Of Constant Contact


def _unknown_is_zero(this: Any, original: Any, stream: str, campaign: str) -> int:
    """Treat an unknown counter as 0."""
    return original(this, stream, campaign) or 0


def _found_is_counter(this: Any, original: Any) -> int:
    """Treat the rows counted by a counter as found."""
    counter: int | None = this._counter  # noqa: SLF001
    found: int = original(this)
    return found if counter is None else counter


def _unanswered_is_read(this: Any, original: Any, ids: Any, tries: int) -> Any:
    """Treat ids missing from the answer as read."""
    error = original(this, ids, tries)
    for one in ids:
        if isinstance(this.failed.get(one), NotUnderstood):
            del this.failed[one]
    return error


def _unknown_link_is_the_end(original: Any, *answer: Any) -> str | None:
    """End a list at a link to the next page that is not understood."""
    try:
        link: str | None = original(*answer)
    except NotUnderstood:
        return None
    return link


def _failed_contact_is_read(
    this: Any, original: Any, contact_id: str, *, tries: int
) -> Any:
    """Treat a contact whose report could not be read as one without events."""
    records = original(this, contact_id, tries=tries)
    if records is not None:
        return records
    this.report.failed.remove(contact_id)
    return []


def _failed_is_checked(this: Any, original: Any, now: float) -> Any:  # noqa: ARG001
    """Treat a report that could not be read as read."""
    return replace(this, checked=now, tried=None)


def _owes_nothing(this: Any, original: Any) -> bool:  # noqa: ARG001
    """Never read a report again after its first read, however it ended."""
    return this.checked is not None


# Of LuxSci


def _page_is_counted(this: Any, original: Any, window: Any, attempt: Any) -> bool:
    """Trust the count in an answer although it may count only its page."""
    if attempt.before is not None and attempt.received >= attempt.before:
        attempt.after = attempt.before
        return True
    over: bool = original(this, window, attempt)
    return over


def _what_came_is_whole(this: Any, original: Any) -> bool:  # noqa: ARG001
    """Treat every window as complete."""
    return True


def _settle_for_less(this: Any, original: Any, due: Any, part: Any) -> None:
    """Do not read a window again that has fewer rows than its count."""
    original(this, due, replace(part, whole=True))


def _drop_failed(this: Any, _original: Any, due: Any, _error: Any) -> None:
    """Count a window as read after a failure."""
    if due.window is not None:
        key = due.source.key
        this._keep(key, this._coverages[key].after(due.window, whole=True))  # noqa: SLF001


def _short_is_settled(this: Any, *_arguments: Any, **_options: Any) -> Any:
    """Do not read a window again that was settled short of its count."""
    return this


CLAIMS: dict[str, Mutation] = {
    "no_list_is_empty": Mutation(
        "encompass", 104, 2, numbered, "parse_list", _no_list_is_empty, ("list_null",)
    ),
    "set_aside_is_nothing": Mutation(
        "encompass", 117, 2, Page, "made", _set_aside_is_nothing, ("id_text",)
    ),
    "ends_at_total": Mutation(
        "encompass",
        117,
        2,
        numbered.EncompassClient,
        "page",
        _ends_at_total,
        ("total_of_page",),
    ),
    "rows_are_counted": Mutation(
        "encompass",
        5,
        4,
        reading.ListReader,
        "count",
        _rows_are_counted,
        ("list_short",),
    ),
    "grown_anyway": Mutation(
        "encompass", 19, 4, reading, "_grown", _grown_anyway, ("list_short",)
    ),
    "archived_at_once": Mutation(
        "encompass",
        92,
        12,
        reading,
        "_may_hide_unread_rows",
        _archived_at_once,
        ("list_short",),
    ),
    "unknown_is_zero": Mutation(
        "constant_contact",
        159,
        3,
        CampaignSnapshot,
        "counter",
        _unknown_is_zero,
        ("counter_absent", "counter_null", "counter_words"),
    ),
    "found_is_counter": Mutation(
        "constant_contact",
        79,
        6,
        EventReader,
        "_found",
        _found_is_counter,
        ("list_short",),
    ),
    "unanswered_is_read": Mutation(
        "constant_contact",
        1,
        3,
        Batches,
        "_ask",
        _unanswered_is_read,
        ("stats_left_out",),
    ),
    "unknown_link_is_the_end": Mutation(
        "constant_contact",
        15,
        9,
        linked,
        "link_of",
        _unknown_link_is_the_end,
        ("next_nested",),
    ),
    "failed_contact_is_read": Mutation(
        "constant_contact",
        69,
        2,
        ContactReport,
        "_read",
        _failed_contact_is_read,
        ("parent_500",),
    ),
    "failed_is_checked": Mutation(
        "constant_contact",
        17,
        7,
        Tries,
        "failed",
        _failed_is_checked,
        ("parent_500",),
    ),
    "owes_nothing": Mutation(
        "constant_contact",
        79,
        5,
        CounterMark,
        "settled",
        _owes_nothing,
        ("parent_500",),
    ),
    "unread_header_is_read": Mutation(
        "luxsci", 38, 4, Page, "made", _set_aside_is_nothing, ("labels_short",)
    ),
    "page_is_counted": Mutation(
        "luxsci",
        57,
        14,
        window_reader.WindowReader,
        "_is_over",
        _page_is_counted,
        ("total_of_page",),
    ),
    "what_came_is_whole": Mutation(
        "luxsci",
        23,
        5,
        window_reader._Attempt,  # noqa: SLF001 -- what compares counts and rows
        "agrees",
        _what_came_is_whole,
        ("list_null",),
    ),
    "settle_for_less": Mutation(
        "luxsci", 23, 5, WindowStream, "_commit", _settle_for_less, ("list_null",)
    ),
    "drop_failed": Mutation(
        "luxsci", 23, 5, WindowStream, "_note_failure", _drop_failed, ("parent_500",)
    ),
    "short_is_settled": Mutation(
        "luxsci",
        119,
        6,
        Coverage,
        "after_short",
        _short_is_settled,
        ("list_short",),
    ),
}
"""Faults by name."""
