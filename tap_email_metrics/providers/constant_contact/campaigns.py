"""All campaigns of an account: their summaries, counters and activities.

A report of a campaign is read only if a counter of the campaign has changed. The state
keeps two digests, of the summary and of the counters: for each campaign that is open
or that a stream has yet to read, and for each bucket of the others. If a digest of a
closed campaign or of its bucket changes, every stream reads it in full once more.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Denied, Retriable, Skippable
from tap_email_metrics.providers.constant_contact.closed import (
    Bucket,
    bucket_of,
    by_bucket,
    packed_buckets,
)
from tap_email_metrics.providers.constant_contact.schedule import (
    CounterMark,
    long_id,
    short_id,
)
from tap_email_metrics.records.values import to_integer, to_milliseconds
from tap_email_metrics.state.generations import TAP_KEY, damaged
from tap_email_metrics.state.plans import Parent, history_key
from tap_email_metrics.streams.digests import digest

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
    )
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.plans import Policy
    from tap_email_metrics.state.streams import Memory

SUMMARIES = "/reports/summary_reports/email_campaign_summaries"
CAMPAIGN_STATS = "/reports/stats/email_campaigns/{}"
CAMPAIGN = "/emails/{}"
LARGEST_SUMMARIES = 500
MOST_CAMPAIGNS = 150
ALL_DAYS = 7
"""Days after which the tap asks for the counters of all campaigns."""
MISSING_DAYS = 7
"""Days after which a closed campaign that is not listed any more is forgotten."""
ROLES = frozenset({"primary_email", "resend"})
"""Roles of the activities that have reports."""

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
    # A resend brings new links before anybody clicks them.
    f"{_PREFIX}links": ("em_clicks_all", "last_sent"),
    f"{_PREFIX}campaign_activity_stats": (_WHOLE,),
    f"{_PREFIX}send_history": ("em_sends", "last_sent"),
}
"""The counters that gate each stream; several counters are combined to one number."""
AGGREGATES = {
    **{f"{_PREFIX}{n}": f"em_{n}" for n in ("sends", "forwards", "optouts", "bounces")},
    **{f"{_PREFIX}{n}": f"em_{n}_all" for n in ("opens", "clicks")},
    f"{_PREFIX}unique_opens": "em_opens",
    f"{_PREFIX}did_not_opens": "em_not_opened",
}
"""The counter that counts the rows of each stream. The counters of forwards, opt-outs
and bounces count contacts, and one contact may have several rows."""
_STATS_STREAM = f"{_PREFIX}campaign_stats"
_UNIQUE = {
    "sends": ("em_sends",),
    "opens": ("em_opens", "em_opens_all"),
    "clicks": ("em_clicks", "em_clicks_all"),
    "forwards": ("em_forwards",),
    "optouts": ("em_optouts",),
    "bounces": ("em_bounces",),
}
"""The counters that a summary can replace if the API refuses the stats."""


@dataclass(slots=True)
class CampaignSnapshot:
    """All campaigns as one run sees them.

    Attributes:
        summaries: the summary of each campaign id, newest send first.
        stats: the stats of each campaign id that was asked for.
        counters: the counters of each campaign id, with the vendor's names.
        moved: ids of campaigns whose summary may have changed since the last run.
    """

    summaries: dict[str, Row] = field(default_factory=dict)
    stats: dict[str, Row] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)


class CampaignCache:
    """The campaigns of one run, and the part of the state about them.

    Args:
        client: sends the requests.
        memory: the state of the provider's streams.
        policy: has the window and the start of the data.
        now: returns the time of the API's clock, in UTC seconds.
        backfill: the live state must not change.
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
        self.snapshot = CampaignSnapshot()

    # The snapshot, read in another thread

    def read(self) -> CampaignSnapshot:
        """Ask for the summaries and for the counters that are due.

        Raises:
            TapError: they cannot be read.
        """
        snapshot = CampaignSnapshot()
        rows = self._client.rows(
            SUMMARIES,
            params={"limit": LARGEST_SUMMARIES},
            field="bulk_email_campaign_summaries",
        )
        for row in rows:
            # A send during the paging shifts the list, so that rows come twice.
            snapshot.summaries.setdefault(str(row.get("campaign_id")), row)
        snapshot.moved = self._moved(snapshot.summaries)
        refused = self._shared["refused"]
        asked = self._asked(snapshot)
        trusted = [i for i in asked if short_id(i) not in refused]
        for chunk in chunks(trusted, MOST_CAMPAIGNS):
            self._ask(snapshot, chunk)
        for campaign_id in (i for i in asked if short_id(i) in refused):
            if self._is_weekly() or campaign_id in snapshot.moved:
                self._ask(snapshot, [campaign_id])
        for campaign_id, row in snapshot.summaries.items():
            snapshot.counters[campaign_id] = _counters(
                row, snapshot.stats.get(campaign_id)
            )
        return snapshot

    def _asked(self, snapshot: CampaignSnapshot) -> list[str]:
        """Return the ids of the campaigns whose counters are due."""
        summaries = snapshot.summaries
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
            or self.is_open(row)
            or campaign_id in snapshot.moved
        ]

    def _is_weekly(self) -> bool:
        asked = self._shared.get("all_asked")
        today = int(self._now() // DAY)
        return asked is None or not 0 <= today - asked < ALL_DAYS

    def is_open(self, summary: Row) -> bool:
        """Return whether the activity window of a campaign has not passed."""
        return self._now() - _sent(summary) <= self._policy.window

    def _moved(self, summaries: Mapping[str, Row]) -> set[str]:
        """Return the ids of the campaigns whose summary may have changed."""
        entries = self._shared["campaigns"]
        moved = set()
        for campaign_id, row in summaries.items():
            entry = entries.get(short_id(campaign_id))
            if entry[0] != digest(row) if entry else self.is_open(row):
                moved.add(campaign_id)
        for name, ids in by_bucket(self._folded(summaries)).items():
            kept = self._bucket(name)
            now = Bucket()
            for one in ids:
                now = now.plus(one, digest(summaries[one]), "")
            # One that is short of a campaign may have all of them again tomorrow.
            if now.count >= kept.count and now.rows != kept.rows:
                moved.update(ids)
        return moved

    def _folded(self, summaries: Mapping[str, Row]) -> list[str]:
        """Return the ids of closed campaigns of which only a bucket is kept."""
        entries = self._shared["campaigns"]
        return [
            campaign_id
            for campaign_id, row in summaries.items()
            if short_id(campaign_id) not in entries and not self.is_open(row)
        ]

    def _bucket(self, name: str) -> Bucket:
        kept = self._shared["closed"].get(name)
        return Bucket.unpack(kept) if kept else Bucket()

    def _ask(self, snapshot: CampaignSnapshot, ids: Sequence[str]) -> None:
        """Ask for the stats of campaigns."""
        for row in results_for(self._client, CAMPAIGN_STATS, ids):
            snapshot.stats[str(row.get("campaign_id"))] = row

    # Changes of the state, in the main thread

    def take(self, snapshot: CampaignSnapshot) -> None:
        """Use a snapshot; note changed campaigns in the state and plan their reads."""
        self.snapshot = snapshot
        if self._backfill:
            return
        asked = set(self._asked(snapshot))
        weekly = self._is_weekly()
        changed = snapshot.moved | self._recounted()
        self._unfold(changed)
        for campaign_id, summary in snapshot.summaries.items():
            self._note(campaign_id, asked=campaign_id in asked)
            if campaign_id in changed and not self.is_open(summary):
                self._owe(campaign_id)
        if weekly and asked:
            self._forget()
            self._shared["all_asked"] = int(self._now() // DAY)
        self._fold()

    def _recounted(self) -> set[str]:
        """Return the ids of the campaigns whose counters may have changed."""
        snapshot, entries = self.snapshot, self._shared["campaigns"]
        counted = {one: digest(snapshot.counters[one]) for one in snapshot.stats}
        recounted = set()
        for campaign_id, new in counted.items():
            entry = entries.get(short_id(campaign_id))
            if entry and entry[1] and entry[1] != new:
                recounted.add(campaign_id)
        for name, ids in by_bucket(self._folded(snapshot.summaries)).items():
            kept = self._bucket(name)
            if kept.count != len(ids) or not counted.keys() >= set(ids):
                continue
            now = Bucket()
            for one in ids:
                now = now.plus(one, digest(snapshot.summaries[one]), counted[one])
            if kept.counters is not None and kept.counters != now.counters:
                recounted.update(ids)
            elif kept.counters is None:
                self._shared["closed"][name] = now.pack()
        return recounted

    def _unfold(self, changed: Collection[str]) -> None:
        """Give campaigns entries of their own again if a stream has to read them."""
        snapshot, shared = self.snapshot, self._shared
        is_unread = self._unread()
        folded = by_bucket(self._folded(snapshot.summaries))
        for name, ids in folded.items():
            if any(one in changed or is_unread(one) for one in ids):
                shared["closed"].pop(name, None)
                for one in ids:
                    shared["campaigns"][short_id(one)] = ["", "", ""]
        short = [
            name
            for name in shared["closed"]
            if self._bucket(name).count > len(folded.get(name, ()))
        ]
        today = int(self._now() // DAY)
        since = shared.get("missing_since")
        if not short:
            shared.pop("missing_since", None)
        elif since is None or since > today:
            shared["missing_since"] = today
        elif today - since >= MISSING_DAYS:
            # The others of these buckets count as new in the next run.
            for name in short:
                del shared["closed"][name]
            shared.pop("missing_since")

    def _fold(self) -> None:
        """Keep no more than a bucket of closed campaigns that every stream has read."""
        entries, is_unread = self._shared["campaigns"], self._unread()
        for campaign_id, summary in self.snapshot.summaries.items():
            key = short_id(campaign_id)
            if key in entries and not self.is_open(summary):
                if is_unread(campaign_id):
                    continue
                row, counters, *_ = entries.pop(key)
                name = bucket_of(campaign_id)
                more = self._bucket(name).plus(campaign_id, row, counters)
                self._shared["closed"][name] = more.pack()

    def _unread(self) -> Callable[[str], bool]:
        """Return what tells whether a stream has yet to read a closed campaign."""
        gated = [
            state
            for name, state in self._memory.selected.items()
            # A stream that ran and could read nothing may never have the right to.
            if name in GATES and (state.readable or state.checked_through is None)
        ]
        marked = {campaign_id for state in gated for campaign_id in state.marks}
        places = [state.history for state in gated]
        passed = [place for place in places if place is not None]

        def is_unread(campaign_id: str) -> bool:
            if campaign_id in marked:
                return True
            parent = self.parent(campaign_id)
            if not self._policy.covers(parent):
                return False
            key = history_key(parent)
            return len(passed) < len(places) or any(key < place for place in passed)

        return is_unread

    def _note(self, campaign_id: str, *, asked: bool) -> None:
        snapshot, key = self.snapshot, short_id(campaign_id)
        counted = ""
        if campaign_id in snapshot.stats:
            counted = digest(snapshot.counters[campaign_id])
            self._shared["refused"].pop(key, None)
        elif asked:
            self._shared["refused"][key] = int(self._now() // DAY)
        summary = snapshot.summaries[campaign_id]
        entry = self._shared["campaigns"].get(key)
        if entry is None and not self.is_open(summary):
            return  # its bucket has not changed
        _, before, *rest = entry or ["", "", ""]
        self._shared["campaigns"][key] = [digest(summary), counted or before, *rest]

    def _owe(self, campaign_id: str) -> None:
        """Have each stream read a closed campaign once more."""
        parent = self.parent(campaign_id)
        memory = self._memory
        for name, state in [*memory.selected.items(), *memory.others.items()]:
            if name not in GATES or state.history is None:
                continue
            # A stream whose history has not come to the campaign yet reads it there.
            passed = history_key(parent) >= state.history
            if passed and campaign_id not in state.marks:
                state.set_mark(campaign_id, CounterMark())

    def _forget(self) -> None:
        """Delete the state of campaigns that are missing from the summaries."""
        kept = {short_id(campaign_id) for campaign_id in self.snapshot.summaries}
        for name in ("campaigns", "refused"):
            for key in self._shared[name].keys() - kept:
                del self._shared[name][key]

    def parent(self, campaign_id: str) -> Parent[str]:
        """Return a campaign as a parent of fan-out streams."""
        sent = _sent(self.snapshot.summaries[campaign_id])
        return Parent(campaign_id, sent=sent, newest=sent, oldest=sent)

    def parents(self) -> list[Parent[str]]:
        """Return all campaigns that were sent."""
        return [self.parent(campaign_id) for campaign_id in self.snapshot.summaries]

    def counter(self, stream: str, campaign_id: str) -> int | None:
        """Return the number that gates a stream for a campaign, None if unknown."""
        counters = self.snapshot.counters.get(campaign_id)
        refused = short_id(campaign_id) in self._shared["refused"]
        if counters is None or not (campaign_id in self.snapshot.stats or refused):
            return None
        names = GATES[stream]
        if names == (_WHOLE,):
            return zlib.crc32(digest(counters).encode())
        if len(names) == 1:
            return counters.get(names[0], 0)
        return zlib.crc32(digest([counters.get(name, 0) for name in names]).encode())

    def aggregate(self, stream: str, campaign_id: str) -> tuple[str, int] | None:
        """Return name and value of the counter of a stream's rows, None if unknown."""
        name = AGGREGATES.get(stream)
        counters = self.snapshot.counters.get(campaign_id, {})
        # The numbers in a summary count contacts, not events.
        if (
            name is None
            or name not in counters
            or campaign_id not in self.snapshot.stats
        ):
            return None
        return name, counters[name]

    # Activities

    def activities(self, campaign_id: str) -> list[str]:
        """Return the activities of a campaign that have reports. Safe in any thread.

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
        """Remember the activities of a campaign that a stream has read."""
        with self._lock:
            self._activities[campaign_id] = activities

    def _kept(self, campaign_id: str) -> list[str] | None:
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        if not entry or entry[2] != self._stamp(campaign_id):
            return None
        return [long_id(key) for key in entry[3:]]

    def _stamp(self, campaign_id: str) -> str:
        """Return a digest that changes when a campaign may have a new activity."""
        summary = self.snapshot.summaries.get(campaign_id, {})
        counters = self.snapshot.counters.get(campaign_id, {})
        return digest([summary.get("last_sent_date"), counters.get("em_sends")])[:6]

    def keep(self, campaign_id: str) -> None:
        """Store the activities of a campaign in the state."""
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        with self._lock:
            known = self._activities.get(campaign_id)
        listed = campaign_id in self.snapshot.summaries
        if entry and listed and known is not None:
            entry[2:] = [self._stamp(campaign_id), *map(short_id, known)]


def reported(campaign: Row) -> list[str]:
    """Return the activities that have reports, of a campaign's own answer."""
    return [one for one, role in _activities(campaign) if role in ROLES]


def activity_ids(campaign: Row) -> list[str]:
    """Return the ids of all activities in the response for one campaign."""
    return [one for one, _ in _activities(campaign)]


def _activities(campaign: Row) -> Iterator[tuple[str, object]]:
    """Yield the id and the role of each activity."""
    found = campaign.get("campaign_activities")
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and one.get("campaign_activity_id"):
            yield str(one["campaign_activity_id"]), one.get("role")


def _shared(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the state about campaigns."""
    mine: dict[str, Any] = shared.setdefault("constant_contact", {})
    for name in ("campaigns", "refused", "closed"):
        mine.setdefault(name, {})
    return mine


def check_shared(mine: object) -> None:
    """Check the part of the state about campaigns.

    Raises:
        InvalidInput: it is damaged.
    """
    place = f"bookmarks.{TAP_KEY}.constant_contact"
    if not isinstance(mine, dict):
        raise damaged(place)
    parts = (("campaigns", _is_entry), ("refused", _is_day), ("closed", _is_bucket))
    for name, fits in parts:
        part = mine.get(name, {})
        if not isinstance(part, dict):
            raise damaged(f"{place}.{name}")
        for key, value in part.items():
            if not fits(value):
                raise damaged(f"{place}.{name}.{key}")
    for name in ("all_asked", "missing_since"):
        if not _is_day(mine.get(name, 0)):
            raise damaged(f"{place}.{name}")


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) >= 3  # noqa: PLR2004 - two digests and a stamp
        and all(isinstance(part, str) for part in entry)
    )


def _is_bucket(value: object) -> bool:
    try:
        packed_buckets({"": value})
    except (ValueError, TypeError):
        return False
    return True


def _is_day(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _blames_an_id(error: Skippable) -> bool:
    """Return whether a call may succeed without one of its ids.

    A denied call would not, and neither would a call that failed in every try.
    """
    return not isinstance(error, Denied) and not isinstance(error.__cause__, Retriable)


def results_for(
    client: ConstantContactClient, template: str, ids: Sequence[str]
) -> list[Row]:
    """Return the stats of ids that are asked for in one call.

    If the API refuses an id, the call is split until only that id is left out.

    Raises:
        Skippable: the call failed, and not because of one of its ids.
    """
    try:
        answer = client.one(template, [",".join(ids)])
    except Skippable as error:
        if not _blames_an_id(error):
            raise
        if len(ids) == 1:
            return []
        half = len(ids) // 2
        first = results_for(client, template, ids[:half])
        return first + results_for(client, template, ids[half:])
    rows = answer.get("results")
    return (
        [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    )


def chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield ids in groups of a size at most."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _sent(summary: Row) -> float:
    return (to_milliseconds(summary.get("last_sent_date")) or 0) / 1000


def _counters(summary: Row, stats: Row | None) -> dict[str, int]:
    """Return the counters of a campaign, with underscores for dots in their names.

    Without stats, returns the counters that the summary can replace.
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
