"""The doctor's check of Encompass: the messages, and one row of each list of one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import Skippable
from tap_email_metrics.providers.checkup import DOCTOR_TRIES, Estimate
from tap_email_metrics.providers.encompass.api import (
    ARCHIVED,
    for_all_streams,
    parents_of,
)
from tap_email_metrics.providers.encompass.archive import archive_gap, headroom_days
from tap_email_metrics.providers.encompass.client import MAX_RESULTS, parse_loose
from tap_email_metrics.providers.encompass.streams import Links, MessageStream
from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.providers.encompass.api import EncompassApi
    from tap_email_metrics.providers.encompass.schedule import Mark
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.plans import Parent, Visit

TOKEN = 1
_RECENT = 180 * DAY


def examine(api: EncompassApi, checkup: Checkup) -> None:
    """Read the list of messages, and one row of each list of the largest message.

    Raises:
        TapError: the credentials are refused, or Encompass cannot be reached.
    """
    try:
        rows = api.listed()
    except Skippable as error:
        raise for_all_streams(error) from error
    checkup.ask(["encompass_messages"], lambda: rows)
    lists = [s for s in checkup.streams.values() if isinstance(s, MessageStream)]
    parents = parents_of(rows)
    checkup.facts["messages"] = len(rows)
    sent = {to_integer(row.get("id")): _sent_count(row) for row in rows}
    ratios = _ratios(api, checkup, lists, _sample(parents, sent, api.now()))
    _note_headroom(api, checkup, parents)
    _estimate(api, checkup, lists, parents, Lengths(sent, ratios))


class Lengths:
    """Estimates the pages in the lists of a message from the lists of one message.

    Args:
        sent: number of recipients by message id.
        ratios: rows per recipient by stream; None for a list without a total.
    """

    def __init__(
        self, sent: Mapping[int | None, int], ratios: Mapping[str, float | None]
    ) -> None:
        self._sent = sent
        self._ratios = ratios

    def pages(self, stream: str, message_id: int) -> int:
        """Return the estimated number of pages of one list, at least 1."""
        ratio = self._ratios.get(stream, 0.0)
        if ratio is None:
            return 2  # a bare array ends where a second page brings nothing new
        rows = self._sent.get(message_id, 0) * ratio
        return max(1, -(-int(rows) // MAX_RESULTS))


def _sent_count(row: Row) -> int:
    return max(0, to_integer(row.get("sentCount")) or 0)


def _sample(
    parents: Sequence[Parent[int]], sent: Mapping[int | None, int], now: float
) -> tuple[int, int] | None:
    """Return the id and the recipients of a message to examine, None without messages.

    It is the largest of the messages whose actions are not archived yet.
    """
    found = [
        (now - (p.sent or 0.0) < _RECENT, sent.get(p.id, 0), p.id) for p in parents
    ]
    if not found:
        return None
    _, count, message_id = max(found)
    return message_id, count


def _ratios(
    api: EncompassApi,
    checkup: Checkup,
    lists: Sequence[MessageStream],
    sample: tuple[int, int] | None,
) -> dict[str, float | None]:
    """Ask for one row of each list; return the rows per recipient by stream.

    The value is None for a list without a total.
    """
    if sample is None:
        checkup.notes.append("there is no message yet, so no list was checked")
        return {}
    message_id, count = sample
    ratios: dict[str, float | None] = {}
    for stream in lists:
        one = partial(
            api.client.page,
            stream.path,
            (message_id,),
            0,
            parse=parse_loose,
            size=1,
            tries=DOCTOR_TRIES,
        )
        page = checkup.ask([stream.name], one)
        if page is None or not count:
            continue
        total = 0 if isinstance(stream, Links) and page.total else page.total
        ratios[stream.name] = None if total is None else total / count
    return ratios


def _note_headroom(
    api: EncompassApi, checkup: Checkup, parents: Sequence[Parent[int]]
) -> None:
    if not checkup.has_state:
        checkup.notes.append("pass --state to see the archive headroom")
        return
    now = api.now()
    for name in ARCHIVED:
        if name not in checkup.streams:
            continue
        state = checkup.streams[name].bookmark
        through = api.checked_through(state, parents)
        days = headroom_days(through, now)
        checkup.findings[name].headroom_days = round(days, 1)
        gap = archive_gap(through, now)
        if gap is None:
            continue
        text = (
            f"{name}: actions from {iso(gap[0])} to {iso(gap[1])} "
            "were archived and may be gone unread"
        )
        stops = api.settings.on_archive_gap == "fail" and not state.knows(gap)
        (checkup.problems if stops else checkup.notes).append(text)


def _estimate(
    api: EncompassApi,
    checkup: Checkup,
    lists: Sequence[MessageStream],
    parents: Sequence[Parent[int]],
    lengths: Lengths,
) -> None:
    """Estimate the requests of the next run and of a full read."""
    fixed = TOKEN + max(1, -(-len(parents) // MAX_RESULTS))
    covered = [parent for parent in parents if api.policy.covers(parent)]
    everything = following = fixed
    for stream in lists:
        everything += sum(lengths.pages(stream.name, p.id) for p in covered)
        plan = stream.schedule.plan(parents, stream.bookmark, api.now(), stream.policy)
        following += sum(
            _pages(lengths, stream.name, visit) for visit in [*plan.live, *plan.history]
        )
    basis = (
        f"measured: {len(parents)} messages and their recipients, the lists of one "
        "message; assumed: all messages have as many rows per recipient"
    )
    checkup.backfill = Estimate(everything, basis)
    due = "; the due lists are those that a run now would read"
    checkup.next_run = Estimate(following, basis + due)


def _pages(lengths: Lengths, stream: str, visit: Visit[int, Mark]) -> int:
    """Return the number of requests of a visit: 1 if it asks for new rows only."""
    is_whole = visit.everything or visit.mark is None or visit.mark.order == "n"
    return lengths.pages(stream, visit.parent.id) if is_whole else 1
