"""What the doctor asks of Encompass: the messages, and a row of each list of one."""

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
    """Read the list of messages, and a row of each list of the largest one.

    Raises:
        TapError: nothing more can be asked.
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
    """Pages that the lists of a message have, by what was seen of one message."""

    def __init__(
        self, sent: Mapping[int | None, int], ratios: Mapping[str, float | None]
    ) -> None:
        self._sent = sent
        self._ratios = ratios

    def pages(self, stream: str, message_id: int) -> int:
        """Return the pages of one list, at least one."""
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
    """Return the message to ask for, and how many it went to; None if there is none.

    The largest of those whose actions are not archived yet.
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
    """Ask for a row of each list; return the rows there are for each recipient.

    None for one that does not say how many it has.
    """
    if sample is None:
        checkup.notes.append("there is no message yet: its lists were not asked for")
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
        checkup.notes.append("the archive's headroom is in the state: give --state")
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
    """Add up the next run as the tap plans it, and a first one."""
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
        f"measured: {len(parents)} messages and what each was sent to, the lists of "
        "one message; assumed: lists of the others are as long for each recipient"
    )
    checkup.backfill = Estimate(everything, basis)
    due = "; what is due is planned as a run plans it"
    checkup.next_run = Estimate(following, basis + due)


def _pages(lengths: Lengths, stream: str, visit: Visit[int, Mark]) -> int:
    """Return the requests of a visit: one where only what is new is asked for."""
    is_whole = visit.everything or visit.mark is None or visit.mark.order == "n"
    return lengths.pages(stream, visit.parent.id) if is_whole else 1
