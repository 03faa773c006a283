"""Encompass: marks of the lists of a message, and when each list is read again.

Pure functions and values. All times are UTC seconds since the epoch, and the current
time is an argument.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.encompass.archive import (
    ARCHIVE_DAYS,
    ARCHIVE_FIRST_DAYS,
    ARCHIVE_NEAR_DAYS,
)
from tap_email_metrics.state.marks import MarkFormat, Tries, is_cut
from tap_email_metrics.state.packing import (
    decode_number,
    decode_optional,
    decode_time,
    encode_number,
    encode_optional,
    encode_time,
    join_parts,
    split_parts,
    whole_minute,
)
from tap_email_metrics.state.plans import (
    Plan,
    Policy,
    RevisitSchedule,
    Visit,
    history_key,
    in_turn,
    newest_first,
    with_unlisted,
)
from tap_email_metrics.state.streams import whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_email_metrics.state.plans import Parent
    from tap_email_metrics.state.streams import StreamState

Order = Literal["a", "d", "n"]
"""Order of a list's ids in the last complete read: ascending, descending, neither."""


# Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark(Tries):
    """How far one list of one message was read.

    Attributes:
        rows: distinct rows at the last complete check.
        last_id: id at the end where the list grows: of the last row in an ascending
            list, of the first row in a descending one.
        newest: instant of the newest row seen, never later than the check.
        checked: start of the last complete check, None before the first.
        order: order of the ids in the last complete read.
        verified: verifications that were due at the last full verification.
        unsettled: the last read missed rows; the list is due in the next run.
        total: the API's count, if the last read saw another number of rows: the
            others are archived, have no usable id, or two reads in one run saw the
            same rows.
        failures: runs in a row in which the list could not be read.
        tried: time of the last read, if it did not settle the list. If the end of a
            run has cut that read, `rows` and `last_id` may be those of its first part.
        ahead: at most this many of the rows are dated after the minute of the check:
            they came while it went on, or have a date in the future.
    """

    rows: int = 0
    last_id: int | None = None
    newest: float | None = None
    order: Order = "n"
    verified: int = 0
    unsettled: bool = False
    total: int | None = None
    ahead: int = 0

    def pack(self) -> str:
        """Return the mark as one short string; times are cut to whole minutes."""
        return join_parts(
            encode_number(self.rows),
            encode_optional(self.last_id),
            encode_time(self.newest),
            encode_time(self.checked),
            self.order + encode_number(self.verified) + "!" * self.unsettled,
            encode_optional(self.total),
            encode_optional(self.failures or None),
            encode_time(self.tried),
            encode_optional(self.ahead or None),
        )

    @classmethod
    def unpack(cls, text: str) -> Mark:
        """Return the mark that `pack` wrote.

        Raises:
            ValueError: the text is not a packed mark.
        """
        parts = split_parts(text, 9)
        rows, last, newest, checked, flags, total, failures, tried, ahead = parts
        mark = cls(
            rows=decode_number(rows),
            last_id=decode_optional(last),
            newest=decode_time(newest),
            checked=decode_time(checked),
            order=_order(flags[:1]),
            verified=decode_number(flags[1:].rstrip("!")),
            unsettled=flags.endswith("!"),
            total=decode_optional(total),
            failures=decode_optional(failures) or 0,
            tried=decode_time(tried),
            ahead=decode_optional(ahead) or 0,
        )
        if mark.rows < 0 or mark.failures < 0 or mark.ahead < 0:
            raise ValueError("a negative count")
        return mark

    def in_whole_minutes(self) -> Mark:
        """Return the mark with its times cut to whole minutes, as packed."""
        return replace(
            self,
            newest=whole_minute(self.newest),
            checked=whole_minute(self.checked),
            tried=whole_minute(self.tried),
        )

    @property
    def shortfall(self) -> int:
        """Rows that the API counts but does not serve; negative if it serves more."""
        return 0 if self.total is None else self.total - self.rows

    @property
    def last_seen(self) -> float | None:
        """Last known activity in UTC seconds, for a message that is not listed."""
        return self.checked if self.newest is None else self.newest

    @property
    def settled(self) -> bool:
        """Whether the list was read completely and the last try succeeded."""
        return (
            self.checked is not None
            and not self.unsettled
            and not self.failures
            and self.tried is None
        )


def _order(text: str) -> Order:
    match text:
        case "a" | "d" | "n":
            return text
        case _:
            raise ValueError(f"unknown order {text!r}")


NUMBERED: MarkFormat[int, Mark] = MarkFormat(
    Mark(), Mark.unpack, int, str, whole_number, int, 0
)
"""Marks of streams whose parents have numbers for ids."""


# When a list is due


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePolicy(Policy):
    """The settings and facts that decide when the lists of a message are due.

    Attributes:
        sweep_days: days in which every closed list is read once.
        decaying: older lists are checked less often; False reads every open list in
            every run.
        archived: the vendor archives old rows, and the list loses them.
        verified_only: the list is read at first sight and at verifications only.
    """

    sweep_days: int
    decaying: bool = True
    archived: bool = True
    verified_only: bool = False


def age(parent: Parent[int], mark: Mark | None, now: float) -> float:
    """Return the seconds since the last known activity of a list."""
    times = [parent.newest, mark.newest if mark else None]
    known = [moment for moment in times if moment is not None]
    return now - max(known) if known else 0.0


def stable_fraction(parent_id: object) -> float:
    """Return a number in [0, 1): always the same for an id, evenly spread over ids."""
    digest = hashlib.blake2b(str(parent_id).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def revisit_interval(seconds_of_age: float) -> float:
    """Return the longest time between two checks of an open list, in seconds."""
    if seconds_of_age < 7 * DAY:
        return 0.0
    return 1.0 * DAY if seconds_of_age < 30 * DAY else 7.0 * DAY


def verification_points(sent: float | None, now: float) -> int:
    """Return how many verifications of a list have come due since the send.

    They are due 3, 30 and 170 days after the send, then every 60 days, so that each row
    is verified before it is archived. They do not count from the last activity,
    because each new row would postpone them.
    """
    if sent is None:
        return 0
    days = (now - sent) / DAY
    last = 170
    return sum(days >= point for point in (3, 30, last)) + max(
        0, int((days - last) // 60)
    )


def verification_due(parent: Parent[int], mark: Mark, now: float) -> bool:
    """Return whether every row of a list has to be emitted again."""
    known = mark.verified
    # A read that was cut may have begun the verification: the next run continues it.
    checked = mark.tried if is_cut(mark) else mark.checked
    if checked is not None:
        # A send may be postponed: what came due of its former date counts no more.
        # The state keeps whole minutes, so the check was up to a minute later.
        known = min(known, verification_points(parent.sent, checked + 60))
    return verification_points(parent.sent, now) > known


def due(
    parent: Parent[int], mark: Mark | None, now: float, policy: MessagePolicy
) -> bool:
    """Return whether an open list has to be read in this run."""
    if mark is None:
        return True
    if mark.quarantined and mark.tried is not None:
        return not 0 <= now - mark.tried < 0.9 * DAY
    if not mark.settled or verification_due(parent, mark, now):
        return True
    if policy.verified_only or mark.checked is None:
        return False
    if not policy.decaying:
        return True
    waited = now - mark.checked
    # Each list has its own limit, so that lists of the same age spread over the runs.
    limit = 0.9 - 0.1 * stable_fraction(parent.id)
    # A negative wait means that the clock was set back: read the list again.
    return waited < 0 or waited >= limit * revisit_interval(age(parent, mark, now))


def may_lose_rows(parent: Parent[int], now: float, policy: MessagePolicy) -> bool:
    """Return whether rows of a list may have been archived."""
    oldest = parent.oldest
    return policy.archived and (
        oldest is None or now - oldest > ARCHIVE_NEAR_DAYS * DAY
    )


def unread_since(parent: Parent[int], mark: Mark | None) -> float | None:
    """Return the instant after which rows of a list may be unread."""
    return mark.checked if mark and mark.checked is not None else parent.sent


# The revisit schedule


class MessageSchedule(RevisitSchedule[int, Mark, MessagePolicy]):
    """Reads young lists in every run, older ones less often, closed ones in a sweep."""

    @override
    def plan(
        self,
        parents: Iterable[Parent[int]],
        state: StreamState[int, Mark],
        now: float,
        policy: MessagePolicy,
    ) -> Plan[int, Mark]:
        """Return the lists that are due, in reading order.

        Lists that are archived soon come first, then the list that was read longest
        ago. Lists that failed or were not settled wait behind the others; the sweep and
        the history come after the open lists.
        """
        plan: Plan[int, Mark] = Plan()
        days = _sweep_days(state.swept, now, policy)
        for parent in with_unlisted(parents, state.marks):
            mark = state.marks.get(parent.id)
            if not mark and not policy.covers(parent):
                continue
            if age(parent, mark, now) <= policy.window:
                if due(parent, mark, now, policy):
                    plan.live.append(_visit(parent, mark, now))
                else:
                    plan.waiting += 1
            elif mark:
                # A list that has just closed is read once more before its mark is
                # deleted: rows may have come since the last check.
                if mark.settled or due(parent, mark, now, policy):
                    plan.live.append(_visit(parent, mark, now))
            elif state.history is None or history_key(parent) < state.history:
                plan.history.append(Visit(parent, None, everything=True, history=True))
            else:
                plan.swept += _sweep_visit(parent, state, days, policy)
        plan.live = _archived_soon_first(in_turn(plan.live, now), now, policy)
        plan.swept = sorted(newest_first(plan.swept), key=lambda v: v.sweep or 0)
        plan.history = newest_first(plan.history)
        return plan

    @override
    def is_over(
        self, parent: Parent[int], mark: Mark, now: float, policy: MessagePolicy
    ) -> bool:
        return age(parent, mark, now) > policy.window

    @override
    def checked_through(
        self,
        parents: Iterable[Parent[int]],
        marks: Mapping[int, Mark],
        now: float,
        policy: MessagePolicy,
    ) -> float:
        """Return the oldest last complete check of an open list; now if none is open.

        Lists in quarantine do not count: they are reported by id. A list that has
        closed counts until it was read once more. A list that was never read counts
        from its send, or from the oldest instant that is not archived yet.
        """
        oldest = now
        archived = now - ARCHIVE_DAYS * DAY
        for parent in with_unlisted(parents, marks):
            mark = marks.get(parent.id)
            if not mark and not policy.covers(parent):
                continue
            is_closed = age(parent, mark, now) > policy.window
            # A closed list keeps its mark until it was read once more.
            if is_closed and (not mark or mark.checked is None):
                continue
            if mark and mark.quarantined:
                continue
            if policy.verified_only and not due(parent, mark, now, policy):
                continue  # this stream needs no further read of it
            if mark and mark.checked is not None:
                oldest = min(oldest, mark.checked)
            elif parent.sent is not None:
                oldest = min(oldest, max(parent.sent, archived))
        return oldest


def _visit(parent: Parent[int], mark: Mark | None, now: float) -> Visit[int, Mark]:
    if mark is None or mark.checked is None:
        return Visit(parent, mark, everything=True)
    # If the clock was ahead at the last check, no row would look newer than that.
    everything = verification_due(parent, mark, now) or mark.checked > now
    return Visit(parent, mark, everything=everything)


def _archived_soon_first(
    visits: Iterable[Visit[int, Mark]], now: float, policy: MessagePolicy
) -> list[Visit[int, Mark]]:
    """Return visits; those whose unread actions are archived soon come first."""
    if not policy.archived:
        return list(visits)
    return sorted(visits, key=lambda visit: _archive_rank(visit, now))


def _archive_rank(visit: Visit[int, Mark], now: float) -> tuple[int, float, int]:
    since = unread_since(visit.parent, visit.mark)
    # For some days after the limit there may still be rows.
    soonest, latest = ARCHIVE_FIRST_DAYS * DAY, (ARCHIVE_DAYS + 5) * DAY
    if since is not None and soonest <= now - since <= latest:
        return (0, since, visit.parent.id)
    return (1, 0.0, 0)


def _sweep_days(swept: int | None, now: float, policy: MessagePolicy) -> dict[int, int]:
    """Return the day of the sweep for each part of the closed lists that is due.

    Each part has its turn on one of `sweep_days` days. Parts that were missed come
    first, so that a sweep that takes longer than its days still reaches every list.
    """
    today = int(now // DAY)
    if swept is None or swept == today:
        return {}
    if swept > today:
        # The clock was ahead then, so some parts may miss their turn: all are due.
        swept = today - policy.sweep_days
    last = min(today, swept + policy.sweep_days)
    return {day % policy.sweep_days: day for day in range(swept + 1, last + 1)}


def _sweep_visit(
    parent: Parent[int],
    state: StreamState[int, Mark],
    days: Mapping[int, int],
    policy: MessagePolicy,
) -> list[Visit[int, Mark]]:
    """Return the visit of a closed list in the sweep, nothing if it has no turn."""
    day = days.get(int(stable_fraction(parent.id) * policy.sweep_days))
    if day is None or state.swept is None:
        return []
    place = state.sweeping if day == state.swept + 1 else None
    if place is not None and history_key(parent) >= place:
        return []  # the run before has read it
    return [Visit(parent, None, everything=True, sweep=day)]
