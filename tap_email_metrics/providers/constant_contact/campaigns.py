"""The look at all campaigns: summaries, counters, activities, and what they owe.

Everything that is read by campaign is gated by its counters. State keeps, for each
campaign in the summaries, a digest of its summary and one of its stats: a campaign
that is closed and moves all the same owes one full read to every stream.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Denied, Retriable, Skippable
from tap_email_metrics.providers.constant_contact.schedule import (
    CounterMark,
    long_id,
    short_id,
)
from tap_email_metrics.providers.encompass.schedule import Parent, history_key
from tap_email_metrics.records.values import to_integer, to_milliseconds
from tap_email_metrics.state.streams import TAP_KEY, damaged
from tap_email_metrics.streams.digests import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
        Row,
    )
    from tap_email_metrics.providers.encompass.schedule import Policy
    from tap_email_metrics.state.streams import Memory

SUMMARIES = "/reports/summary_reports/email_campaign_summaries"
CAMPAIGN_STATS = "/reports/stats/email_campaigns/{}"
ACTIVITY_STATS = "/reports/stats/email_campaign_activities/{}"
CAMPAIGN = "/emails/{}"
LARGEST_SUMMARIES = 500
MOST_CAMPAIGNS = 150
MOST_ACTIVITIES = 10
ALL_DAYS = 7
"""Days after which the counters of all campaigns are asked for."""
ROLES = frozenset({"primary_email", "resend"})
"""Of the activities that have reports."""

_PREFIX = "constant_contact_"
_WHOLE = "*"
GATES: dict[str, tuple[str, ...]] = {
    f"{_PREFIX}sends": ("em_sends",),
    f"{_PREFIX}opens": ("em_opens_all",),
    f"{_PREFIX}clicks": ("em_clicks_all",),
    f"{_PREFIX}forwards": ("em_forwards",),
    f"{_PREFIX}optouts": ("em_optouts",),
    f"{_PREFIX}bounces": ("em_bounces",),
    f"{_PREFIX}unique_opens": ("em_opens_all",),
    f"{_PREFIX}did_not_opens": ("em_sends", "em_opens", "em_bounces"),
    # A resend has links of its own, before anybody clicks them.
    f"{_PREFIX}links": ("em_clicks_all", "last_sent"),
    f"{_PREFIX}campaign_activity_stats": (_WHOLE,),
    f"{_PREFIX}send_history": ("em_sends", "last_sent"),
}
"""Which counters of a campaign gate which stream; several count as one number."""
AGGREGATES = {
    **{f"{_PREFIX}{n}": f"em_{n}" for n in ("sends", "forwards", "optouts", "bounces")},
    **{f"{_PREFIX}{n}": f"em_{n}_all" for n in ("opens", "clicks")},
    f"{_PREFIX}unique_opens": "em_opens",
    f"{_PREFIX}did_not_opens": "em_not_opened",
}
"""Which counter of a campaign counts the rows of which stream. Those of forwards,
opt-outs and bounces count contacts: of one contact there may be several rows."""
_STATS_STREAM = f"{_PREFIX}campaign_stats"
_UNIQUE = {
    "sends": ("em_sends",),
    "opens": ("em_opens", "em_opens_all"),
    "clicks": ("em_clicks", "em_clicks_all"),
    "forwards": ("em_forwards",),
    "optouts": ("em_optouts",),
    "bounces": ("em_bounces",),
}
"""The counters that a summary stands in for where stats are refused."""


@dataclass(slots=True)
class Look:
    """What one run sees of all campaigns.

    Attributes:
        summaries: by campaign, newest send first.
        stats: rows of the campaigns that were asked for.
        counters: by campaign, under their names in Swagger.
    """

    summaries: dict[str, Row] = field(default_factory=dict)
    stats: dict[str, Row] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)


class Campaigns:
    """One run's look at the campaigns, and what state keeps of it.

    Args:
        client: reads.
        memory: what the streams know of earlier runs.
        policy: the window.
        now: the API's clock, in UTC seconds.
        backfill: nothing of the live state may change.
    """

    def __init__(
        self,
        client: ConstantContactClient,
        memory: Memory,
        policy: Policy,
        now: Callable[[], float],
        *,
        backfill: bool,
    ) -> None:
        self._client = client
        self._memory = memory
        self._policy = policy
        self._now = now
        self._backfill = backfill
        self._shared = _shared(memory.shared)
        self._lock = threading.Lock()
        self._activities: dict[str, list[str]] = {}
        self.look = Look()

    # The look, read in a thread of its own

    def read(self) -> Look:
        """Ask for the summaries and for the counters that are due.

        Raises:
            TapError: they cannot be read.
        """
        look = Look()
        rows = self._client.rows(
            SUMMARIES,
            params={"limit": LARGEST_SUMMARIES},
            field="bulk_email_campaign_summaries",
        )
        for row in rows:
            # A send during the paging shifts the list: rows come again.
            look.summaries.setdefault(str(row.get("campaign_id")), row)
        refused = self._shared["refused"]
        asked = self._asked(look.summaries)
        for chunk in _chunks([i for i in asked if short_id(i) not in refused]):
            self._ask(look, chunk)
        for campaign_id in (i for i in asked if short_id(i) in refused):
            if self._is_weekly() or self._moved(campaign_id, look.summaries):
                self._ask(look, [campaign_id])
        for campaign_id, row in look.summaries.items():
            look.counters[campaign_id] = _counters(row, look.stats.get(campaign_id))
        return look

    def _asked(self, summaries: Mapping[str, Row]) -> list[str]:
        """Return the campaigns whose counters are due."""
        selected = self._memory.selected
        gated = [state for name, state in selected.items() if name in GATES]
        if not gated and _STATS_STREAM not in selected:
            return []
        lowest = (round(self._policy.floor * 1000), "")
        backlog = any(s.history is None or s.history > lowest for s in gated)
        if backlog or self._is_weekly() or self._backfill:
            return list(summaries)
        marked = {campaign_id for state in gated for campaign_id in state.marks}
        return [
            campaign_id
            for campaign_id, row in summaries.items()
            if campaign_id in marked
            or self._is_open(row)
            or self._moved(campaign_id, summaries)
        ]

    def _is_weekly(self) -> bool:
        asked = self._shared.get("all_asked")
        today = int(self._now() // DAY)
        return asked is None or not 0 <= today - asked < ALL_DAYS

    def _is_open(self, row: Row) -> bool:
        return self._now() - _sent(row) <= self._policy.window

    def _moved(self, campaign_id: str, summaries: Mapping[str, Row]) -> bool:
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        return entry is None or entry[0] != digest(summaries[campaign_id])

    def _ask(self, look: Look, ids: Sequence[str]) -> None:
        """Ask for the stats of campaigns; split the call around a refused id."""
        try:
            answer = self._client.one(CAMPAIGN_STATS, [",".join(ids)])
        except Skippable as error:
            if not _blames_an_id(error):
                raise
            if len(ids) == 1:
                return
            half = len(ids) // 2
            self._ask(look, ids[:half])
            self._ask(look, ids[half:])
            return
        for row in _results(answer):
            look.stats[str(row.get("campaign_id"))] = row

    # What it means, in the main thread

    def take(self, look: Look) -> None:
        """Take a look over: note in the state what moved, and what that owes."""
        self.look = look
        if self._backfill:
            return
        asked = set(self._asked(look.summaries))
        weekly = self._is_weekly()
        for campaign_id in look.summaries:
            self._note(campaign_id, asked=campaign_id in asked)
        if weekly and asked:
            self._forget()
            self._shared["all_asked"] = int(self._now() // DAY)

    def _note(self, campaign_id: str, *, asked: bool) -> None:
        look, key = self.look, short_id(campaign_id)
        summary = look.summaries[campaign_id]
        entry = self._shared["campaigns"].get(key)
        new = digest(summary)
        counted = entry[1] if entry else ""
        if campaign_id in look.stats:
            counted = digest(look.counters[campaign_id])
            self._shared["refused"].pop(key, None)
        elif asked:
            self._shared["refused"][key] = int(self._now() // DAY)
        moved = entry is None or entry[0] != new
        recounted = bool(entry and entry[1]) and entry[1] != counted
        if (moved or recounted) and not self._is_open(summary):
            self._owe(campaign_id)
        rest = entry[2:] if entry else [""]
        self._shared["campaigns"][key] = [new, counted, *rest]

    def _owe(self, campaign_id: str) -> None:
        """Owe a closed campaign one full read in each stream that is past it."""
        parent = self.parent(campaign_id)
        memory = self._memory
        for name, state in [*memory.selected.items(), *memory.others.items()]:
            if name not in GATES or state.history is None:
                continue
            # What the history has still to come to is read there.
            passed = history_key(parent) >= state.history
            if passed and campaign_id not in state.marks:
                state.set_mark(campaign_id, CounterMark())

    def _forget(self) -> None:
        """Drop what is kept of campaigns that the summaries show no more."""
        kept = {short_id(campaign_id) for campaign_id in self.look.summaries}
        for name in ("campaigns", "refused"):
            for key in self._shared[name].keys() - kept:
                del self._shared[name][key]

    def parent(self, campaign_id: str) -> Parent[str]:
        """Return a campaign as what streams fan out over."""
        sent = _sent(self.look.summaries[campaign_id])
        return Parent(campaign_id, sent=sent, newest=sent, oldest=sent)

    def parents(self) -> list[Parent[str]]:
        """Return all campaigns that were sent."""
        return [self.parent(campaign_id) for campaign_id in self.look.summaries]

    def counter(self, stream: str, campaign_id: str) -> int | None:
        """Return what gates a stream for a campaign; None where it is not known."""
        counters = self.look.counters.get(campaign_id)
        refused = short_id(campaign_id) in self._shared["refused"]
        if counters is None or not (campaign_id in self.look.stats or refused):
            return None
        names = GATES[stream]
        if names == (_WHOLE,):
            return zlib.crc32(digest(counters).encode())
        if len(names) == 1:
            return counters.get(names[0], 0)
        return zlib.crc32(digest([counters.get(name, 0) for name in names]).encode())

    def aggregate(self, stream: str, campaign_id: str) -> tuple[str, int] | None:
        """Return the counter of a stream's rows; None where it is not known."""
        name = AGGREGATES.get(stream)
        counters = self.look.counters.get(campaign_id, {})
        # A summary stands in with numbers of contacts, not of events.
        if name is None or name not in counters or campaign_id not in self.look.stats:
            return None
        return name, counters[name]

    # Activities

    def activities(self, campaign_id: str) -> list[str]:
        """Return the activities of a campaign that have reports; any thread.

        Raises:
            Skippable: they cannot be read.
        """
        with self._lock:
            known = self._activities.get(campaign_id)
        if known is None:
            known = self._kept(campaign_id)
        if known is None:
            answer = self._client.one(CAMPAIGN, [campaign_id], id_field="campaign_id")
            known = reported(answer)
        with self._lock:
            self._activities[campaign_id] = known
        return known

    def learn(self, campaign_id: str, activities: list[str]) -> None:
        """Take over the activities of a campaign that were read elsewhere."""
        with self._lock:
            self._activities[campaign_id] = activities

    def _kept(self, campaign_id: str) -> list[str] | None:
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        if not entry or entry[2] != self._stamp(campaign_id):
            return None
        return [long_id(key) for key in entry[3:]]

    def _stamp(self, campaign_id: str) -> str:
        """Return what moves when a campaign may have got another activity."""
        summary = self.look.summaries.get(campaign_id, {})
        counters = self.look.counters.get(campaign_id, {})
        return digest([summary.get("last_sent_date"), counters.get("em_sends")])[:6]

    def keep(self, campaign_id: str) -> None:
        """Note in the state what was learned of a campaign's activities."""
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        with self._lock:
            known = self._activities.get(campaign_id)
        listed = campaign_id in self.look.summaries
        if entry and listed and known is not None:
            entry[2:] = [self._stamp(campaign_id), *map(short_id, known)]


def reported(campaign: Row) -> list[str]:
    """Return the activities that have reports, of a campaign's own answer."""
    return [one for one, role in _activities(campaign) if role in ROLES]


def activity_ids(campaign: Row) -> list[str]:
    """Return all activities of a campaign's own answer."""
    return [one for one, _ in _activities(campaign)]


def _activities(campaign: Row) -> Iterator[tuple[str, object]]:
    """Yield the id and the role of each activity."""
    found = campaign.get("campaign_activities")
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and one.get("campaign_activity_id"):
            yield str(one["campaign_activity_id"]), one.get("role")


def _shared(shared: dict[str, Any]) -> dict[str, Any]:
    """Return what the state keeps of all campaigns."""
    mine: dict[str, Any] = shared.setdefault("constant_contact", {})
    for name in ("campaigns", "refused"):
        mine.setdefault(name, {})
    return mine


def check_shared(mine: object) -> None:
    """Return where what the state keeps of all campaigns can be understood.

    Raises:
        InvalidInput: it is damaged.
    """
    place = f"bookmarks.{TAP_KEY}.constant_contact"
    if not isinstance(mine, dict):
        raise damaged(place)
    for name, fits in (("campaigns", _is_entry), ("refused", _is_day)):
        part = mine.get(name, {})
        if not isinstance(part, dict):
            raise damaged(f"{place}.{name}")
        for key, value in part.items():
            if not fits(value):
                raise damaged(f"{place}.{name}.{key}")
    if not _is_day(mine.get("all_asked", 0)):
        raise damaged(f"{place}.all_asked")


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) >= 3  # noqa: PLR2004 - two digests and a stamp
        and all(isinstance(part, str) for part in entry)
    )


def _is_day(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _blames_an_id(error: Skippable) -> bool:
    """Return whether a call may succeed without one of its ids.

    Not one that is denied as such, and not one that failed all tries long.
    """
    return not isinstance(error, Denied) and not isinstance(error.__cause__, Retriable)


def _results(answer: Row) -> Iterator[Row]:
    rows = answer.get("results")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield row


def _chunks(ids: Sequence[str], size: int = MOST_CAMPAIGNS) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _sent(summary: Row) -> float:
    return (to_milliseconds(summary.get("last_sent_date")) or 0) / 1000


def _counters(summary: Row, stats: Row | None) -> dict[str, int]:
    """Return the counters of a campaign, dots made underscores.

    Without stats, those that its summary can stand in for.
    """
    counters = {"last_sent": int(_sent(summary))}
    given = stats.get("stats") if stats else None
    if isinstance(given, dict):
        pairs: Iterable[tuple[str, object]] = given.items()
    else:
        unique = summary.get("unique_counts")
        found = unique if isinstance(unique, dict) else {}
        pairs = ((n, found.get(u)) for u, names in _UNIQUE.items() for n in names)
    for name, value in pairs:
        number = to_integer(value)
        if number is not None:
            counters[name.replace(".", "_")] = number
    return counters


class ActivityStats:
    """Stats of activities, for campaigns one by one, asked for in batches.

    Args:
        client: reads.
        campaigns: knows the activities.
        order: the campaigns in the order in which they will be asked for.
    """

    def __init__(
        self,
        client: ConstantContactClient,
        campaigns: Campaigns,
        order: Sequence[str],
    ) -> None:
        self._client = client
        self._campaigns = campaigns
        self._order = list(order)
        self._read: dict[str, list[Row]] = {}
        self._lock = threading.Lock()

    def of(self, campaign_id: str) -> list[Row]:
        """Return the rows of a campaign; any thread.

        Raises:
            Skippable: they cannot be read.
        """
        with self._lock:
            if campaign_id not in self._read:
                self._fetch(campaign_id)
            return self._read.pop(campaign_id)

    def _fetch(self, first: str) -> None:
        """Ask for a campaign, and for those after it that fit into the same call."""
        place = self._order.index(first) if first in self._order else None
        following = [] if place is None else self._order[place + 1 :]
        wanted = {first: self._campaigns.activities(first)}
        for campaign_id in following[:MOST_ACTIVITIES]:
            try:
                activities = self._campaigns.activities(campaign_id)
            except Skippable:
                break  # its own turn says so
            size = sum(map(len, wanted.values())) + len(activities)
            if size > MOST_ACTIVITIES or campaign_id in self._read:
                break
            wanted[campaign_id] = activities
        ids = [one for activities in wanted.values() for one in activities]
        rows: list[Row] = []
        for chunk in _chunks(ids, MOST_ACTIVITIES):
            rows += self._ask(chunk)
        for campaign_id, activities in wanted.items():
            found = set(activities)
            mine = [row for row in rows if row.get("campaign_activity_id") in found]
            self._read[campaign_id] = mine

    def _ask(self, ids: Sequence[str]) -> list[Row]:
        """Ask for some; split the call around an id that is refused."""
        try:
            return list(_results(self._client.one(ACTIVITY_STATS, [",".join(ids)])))
        except Skippable as error:
            if not _blames_an_id(error):
                raise
            if len(ids) == 1:
                return []
            half = len(ids) // 2
            return self._ask(ids[:half]) + self._ask(ids[half:])
