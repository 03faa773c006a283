"""The campaigns of an account in the state, and their activities.

`campaign_snapshot.py` has the campaigns as one run sees them.

A report of a campaign is read only if a counter of the campaign has changed. The state
keeps two digests, of the summary and of the counters: for each campaign that is open
or that a stream has yet to read, and for each bucket of the others. If a digest of a
closed campaign or of its bucket changes, every stream reads it in full once more.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import Gone, NotUnderstood, Skippable
from tap_email_metrics.providers.constant_contact.activities import (
    CAMPAIGN,
    is_removed,
    nameless_activities,
    of_unknown_role,
    reported,
)
from tap_email_metrics.providers.constant_contact.batches import Batches
from tap_email_metrics.providers.constant_contact.campaign_snapshot import (
    CampaignSnapshot,
    by_campaign,
    sent_parent,
    usable_time,
)
from tap_email_metrics.providers.constant_contact.campaign_state import campaigns_of
from tap_email_metrics.providers.constant_contact.closed import (
    Bucket,
    bucket_of,
    by_bucket,
)
from tap_email_metrics.providers.constant_contact.counters import (
    GATES,
    counters_of,
)
from tap_email_metrics.providers.constant_contact.schedule import (
    BY_CAMPAIGN,
    CounterMark,
    long_id,
    short_id,
)
from tap_email_metrics.records.values import is_id
from tap_email_metrics.state.plans import Parent, history_key
from tap_email_metrics.streams.digests import digest

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Sequence,
    )

    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
    )
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.plans import Policy
    from tap_email_metrics.state.streams import Memory, StreamState

logger = logging.getLogger("tap-email-metrics")

SUMMARIES = "/reports/summary_reports/email_campaign_summaries"
CAMPAIGN_STATS = "/reports/stats/email_campaigns/{}"
LARGEST_SUMMARIES = 500
MOST_CAMPAIGNS = 150
ALL_DAYS = 7
"""Days after which the tap asks for the counters of all campaigns."""
UNLISTED_DAYS = 7
"""Days after which a closed campaign that is no longer listed is forgotten."""
QUARANTINE_DAYS = 5
"""Days after which a campaign without stats no longer counts for the lag."""
MOST_RETRIED = 10
"""Most campaigns whose stats failed before that a run asks for again."""
_SENT = "done"
"""Status of a campaign that was sent."""

SHOWN = 20
"""Most ids in a message."""

_STATS_STREAM = "constant_contact_campaign_stats"


class CampaignCache:
    """The campaigns of one run, and the part of the state about them.

    Args:
        client: sends the requests.
        memory: the state of the provider's streams.
        policy: has the window and the start of the data.
        now: returns the time of the API's clock, in UTC seconds.
        emails: returns all campaigns of the account, also drafts.
        backfill: the live state must not change.
    """

    def __init__(  # noqa: PLR0913 - what one provider's streams share
        self,
        client: ConstantContactClient,
        memory: Memory,
        policy: Policy,
        now: Callable[[], float],
        emails: Callable[[], Sequence[Row]],
        *,
        backfill: bool,
    ) -> None:
        self._client = client
        self._memory = memory
        self._policy = policy
        self._now = now
        self._emails = emails
        self._backfill = backfill
        self._shared = campaigns_of(memory.shared)
        self._lock = threading.Lock()
        self._activities: dict[str, list[str]] = {}
        self._asked_anew: set[str] = set()
        self._nameless: dict[str, int] = {}
        self._of_unknown_role: dict[str, int] = {}
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
            # An account that has never sent has no list.
            may_lack=not (self._shared["campaigns"] or self._shared["closed"]),
        )
        snapshot.summaries, snapshot.nameless = by_campaign(rows)
        snapshot.parents = {
            one: sent_parent(r) for one, r in snapshot.summaries.items()
        }
        if self._is_of_interest() and self._is_due("compared"):
            snapshot.unlisted = self._compare(snapshot)
        unlisted = snapshot.unlisted or self._shared["unlisted"]
        for key, (created, updated) in unlisted.items():
            one = long_id(key)
            if one not in snapshot.parents:
                at = updated / 1000
                snapshot.parents[one] = Parent(one, at, at, created / 1000)
        snapshot.moved = self._moved(snapshot)
        self._read_stats(snapshot)
        return snapshot

    def _read_stats(self, snapshot: CampaignSnapshot) -> None:
        refused = self._shared["refused"]
        asked = self._asked(snapshot)
        found = Batches(
            self._client, CAMPAIGN_STATS, id_field="campaign_id", size=MOST_CAMPAIGNS
        )
        found.read([one for one in asked if short_id(one) not in refused])
        again = sorted(
            (one for one in asked if short_id(one) in refused),
            key=lambda one: (one not in snapshot.moved, refused[short_id(one)][1]),
        )
        today = self._today()
        if found.given_up is None:
            found.read_alone(
                one
                for number, one in enumerate(again)
                if one in snapshot.moved
                or (number < MOST_RETRIED and refused[short_id(one)][1] <= today)
            )
        snapshot.stats, snapshot.others = found.rows, found.others
        snapshot.failed, snapshot.given_up = found.failed, found.given_up
        for one in snapshot.parents:
            row = snapshot.summaries.get(one, {})
            snapshot.counters[one] = counters_of(row, snapshot.stats.get(one))
        if snapshot.failed:
            logger.warning(
                "Constant Contact: %d campaigns have no stats: %s; their reports are "
                "read once a day",
                len(snapshot.failed),
                sorted(snapshot.failed)[:SHOWN],
            )
        if snapshot.given_up:
            logger.warning(
                "Constant Contact: the stats of campaigns cannot be read: %s",
                snapshot.given_up,
            )

    def _compare(self, snapshot: CampaignSnapshot) -> dict[str, list[int]] | None:
        """Return the sent campaigns without a summary; None if they are not known.

        It also notes campaigns with a summary that the list of campaigns lacks.
        """
        summaries = snapshot.summaries
        try:
            emails = self._emails()
        except Skippable as error:
            logger.warning(
                "Constant Contact: the summaries of campaigns were not compared with "
                "the list of campaigns: %s",
                error,
            )
            return None
        listed = {str(row.get("campaign_id")) for row in emails}
        snapshot.hidden = [one for one in summaries if one not in listed]
        if snapshot.hidden:
            logger.warning(
                "Constant Contact: %d campaigns have a summary, but the list of "
                "campaigns lacks them: %s",
                len(snapshot.hidden),
                sorted(snapshot.hidden)[:SHOWN],
            )
        found = {}
        for row in emails:
            status, one = str(row.get("current_status")), row.get("campaign_id")
            if status.lower() != _SENT or not is_id(one) or str(one) in summaries:
                continue
            updated = usable_time(row.get("updated_at"))
            created = usable_time(row.get("created_at"))
            updated = round(self._now() * 1000) if updated is None else updated
            found[short_id(str(one))] = [created or 0, updated]
        new = found.keys() - self._shared["unlisted"].keys()
        if new:
            logger.warning(
                "Constant Contact: %d campaigns were sent but have no summary: %s; "
                "their reports are read anyway",
                len(new),
                sorted(map(long_id, new))[:SHOWN],
            )
        return found

    def _asked(self, snapshot: CampaignSnapshot) -> list[str]:
        """Return the ids of the campaigns whose counters are due."""
        gated = self._gated()
        if not self._is_of_interest():
            return []
        lowest = (round(self._policy.floor * 1000), "")
        backlog = any(s.history is None or s.history > lowest for s in gated)
        if backlog or self._is_due("all_asked") or self._backfill:
            return list(snapshot.parents)
        marked = {campaign_id for state in gated for campaign_id in state.marks}
        return [
            campaign_id
            for campaign_id, parent in snapshot.parents.items()
            if campaign_id in marked
            or self._is_open(parent)
            or campaign_id in snapshot.moved
        ]

    def _gated(self) -> list[StreamState[Any, Any]]:
        """Return the states of the selected streams that counters gate."""
        return [s for name, s in self._memory.selected.items() if name in GATES]

    def _is_of_interest(self) -> bool:
        return bool(self._gated()) or _STATS_STREAM in self._memory.selected

    def _today(self) -> int:
        return int(self._now() // DAY)

    def _is_due(self, key: str) -> bool:
        """Return whether something that is done once a week is due."""
        done = self._shared.get(key)
        return done is None or not 0 <= self._today() - done < ALL_DAYS

    def is_open(self, campaign_id: str) -> bool:
        """Return whether the activity window of a campaign has not passed."""
        return self._is_open(self.snapshot.parents[campaign_id])

    def _is_open(self, parent: Parent[str]) -> bool:
        # Without a readable date, a campaign may be new.
        newest = parent.newest
        return newest is None or self._now() - newest <= self._policy.window

    def _moved(self, snapshot: CampaignSnapshot) -> set[str]:
        """Return the ids of the campaigns whose summary may have changed."""
        entries, summaries = self._shared["campaigns"], snapshot.summaries
        moved = set()
        for campaign_id, row in summaries.items():
            entry = entries.get(short_id(campaign_id))
            is_open = self._is_open(snapshot.parents[campaign_id])
            if entry[0] != digest(row) if entry else is_open:
                moved.add(campaign_id)
        for name, ids in by_bucket(self._folded(snapshot)).items():
            kept = self._bucket(name)
            now = Bucket()
            for one in ids:
                now = now.plus(one, digest(summaries[one]), "")
            # A bucket that lacks a campaign may be complete again in the next run.
            if now.count >= kept.count and now.rows != kept.rows:
                moved.update(ids)
        return moved

    def _folded(self, snapshot: CampaignSnapshot) -> list[str]:
        """Return the ids of closed campaigns of which only a bucket is kept."""
        entries = self._shared["campaigns"]
        return [
            one
            for one in snapshot.summaries
            if short_id(one) not in entries and not self._is_open(snapshot.parents[one])
        ]

    def _bucket(self, name: str) -> Bucket:
        kept = self._shared["closed"].get(name)
        return Bucket.unpack(kept) if kept else Bucket()

    # Changes of the state, in the main thread

    def take(self, snapshot: CampaignSnapshot) -> None:
        """Use a snapshot; note changed campaigns in the state and plan their reads."""
        self.snapshot = snapshot
        if self._backfill:
            return
        asked = self._asked(snapshot)
        weekly = self._is_due("all_asked")
        changed = snapshot.moved | self._recounted()
        self._unfold(changed)
        for campaign_id in snapshot.summaries:
            self._note(campaign_id)
            if campaign_id in changed:
                self._owe(campaign_id)
        self._note_refused()
        self._note_unlisted()
        if weekly and asked and snapshot.given_up is None:
            self._forget()
            self._shared["all_asked"] = self._today()
        self._fold()

    def _note_unlisted(self) -> None:
        """Store the campaigns that have no summary."""
        unlisted, known = self.snapshot.unlisted, self._shared["unlisted"]
        if unlisted is not None:
            for key in unlisted.keys() - known.keys():
                self._owe(long_id(key))
            self._shared["unlisted"] = unlisted
            self._shared["compared"] = self._today()
        for key in [k for k in known if long_id(k) in self.snapshot.summaries]:
            self._shared["unlisted"].pop(key, None)

    def _recounted(self) -> set[str]:
        """Return the ids of the campaigns whose counters may have changed."""
        snapshot, entries = self.snapshot, self._shared["campaigns"]
        counted = {one: digest(snapshot.counters[one]) for one in snapshot.stats}
        recounted = set()
        for campaign_id, new in counted.items():
            entry = entries.get(short_id(campaign_id))
            if entry and entry[1] and entry[1] != new:
                recounted.add(campaign_id)
        for name, ids in by_bucket(self._folded(snapshot)).items():
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
        """Replace buckets by entries of their campaigns that a stream has to read."""
        snapshot, shared = self.snapshot, self._shared
        is_unread = self._unread()
        folded = by_bucket(self._folded(snapshot))
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
        elif today - since >= UNLISTED_DAYS:
            # The others of these buckets count as new in the next run.
            for name in short:
                del shared["closed"][name]
            shared.pop("missing_since")

    def _fold(self) -> None:
        """Move closed campaigns that every stream has read into their buckets."""
        entries, is_unread = self._shared["campaigns"], self._unread()
        for campaign_id in self.snapshot.summaries:
            key = short_id(campaign_id)
            if key in entries and not self.is_open(campaign_id):
                if is_unread(campaign_id):
                    continue
                self._note_unseen(campaign_id)
                row, counters, *_ = entries.pop(key)
                name = bucket_of(campaign_id)
                more = self._bucket(name).plus(campaign_id, row, counters)
                self._shared["closed"][name] = more.pack()

    def _unread(self) -> Callable[[str], bool]:
        """Return a function: whether a stream still has to read a closed campaign."""
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

    def _note(self, campaign_id: str) -> None:
        """Store the digests of a campaign."""
        snapshot, key = self.snapshot, short_id(campaign_id)
        counted = ""
        if campaign_id in snapshot.stats:
            counted = digest(snapshot.counters[campaign_id])
        entry = self._shared["campaigns"].get(key)
        if entry is None and not self.is_open(campaign_id):
            return  # its bucket has not changed
        _, before, *rest = entry or ["", "", ""]
        summary = digest(snapshot.summaries[campaign_id])
        self._shared["campaigns"][key] = [summary, counted or before, *rest]

    def _note_refused(self) -> None:
        """Store since when campaigns have no stats, and when to ask again."""
        refused, today = self._shared["refused"], self._today()
        for campaign_id in self.snapshot.stats:
            refused.pop(short_id(campaign_id), None)
        for campaign_id, error in self.snapshot.failed.items():
            key = short_id(campaign_id)
            first = refused[key][0] if key in refused else today
            pause = 0
            if isinstance(error, Gone):
                # A campaign that is missing for a week is unlikely to come back.
                pause = 1 if today - first < ALL_DAYS else ALL_DAYS
            refused[key] = [first, today + pause]

    @property
    def without_stats(self) -> dict[str, int]:
        """Open campaigns without stats, and the number of the day since when."""
        refused = self._shared["refused"]
        return {
            one: refused[short_id(one)][0]
            for one, parent in self.snapshot.parents.items()
            if short_id(one) in refused and self._is_open(parent)
        }

    @property
    def unanswered_since(self) -> float | None:
        """UTC seconds since when an open campaign has no stats; None if all have.

        Campaigns without stats for `QUARANTINE_DAYS` do not count.
        """
        days, today = self.without_stats.values(), self._today()
        counting = [day for day in days if 0 <= today - day < QUARANTINE_DAYS]
        return min(counting) * DAY if counting else None

    def _owe(self, campaign_id: str) -> None:
        """Let each stream read a campaign, even if it closes before its turn comes."""
        parent = self.parent(campaign_id)
        memory = self._memory
        states = [*memory.selected.items()]
        if not self.is_open(campaign_id):
            states += memory.others.items()
        for name, state in states:
            if name not in GATES or state.history is None:
                continue
            # A stream whose history has not come to the campaign yet reads it there.
            passed = history_key(parent) >= state.history
            if passed and campaign_id not in state.marks:
                state.set_mark(campaign_id, CounterMark())

    def _note_unseen(self, campaign_id: str) -> None:
        """Let other streams that lack a closed campaign read their history again.

        A stream that is not selected has no mark of a campaign that was sent since.
        """
        moment, _ = key = history_key(self.parent(campaign_id))
        for name, state in self._memory.others.items():
            if name not in GATES or state.history is None:
                continue
            if campaign_id not in state.marks and key >= state.history:
                state.set_history((moment + 1, BY_CAMPAIGN.lowest))

    def _forget(self) -> None:
        """Delete the state of campaigns that are missing from the summaries."""
        kept = {short_id(campaign_id) for campaign_id in self.snapshot.parents}
        for name in ("campaigns", "refused"):
            for key in self._shared[name].keys() - kept:
                del self._shared[name][key]

    def is_forgotten(self, campaign_id: str) -> bool:
        """Return whether neither the lists of campaigns nor the state have a campaign.

        It was missing when the tap last asked for all campaigns, up to a week ago.
        """
        is_kept = short_id(campaign_id) in self._shared["campaigns"]
        return not is_kept and campaign_id not in self.snapshot.parents

    def parent(self, campaign_id: str) -> Parent[str]:
        """Return a campaign as a parent of fan-out streams."""
        return self.snapshot.parents[campaign_id]

    def parents(self) -> list[Parent[str]]:
        """Return all campaigns that were sent."""
        return list(self.snapshot.parents.values())

    @property
    def without_summary(self) -> int:
        """Number of sent campaigns that have no summary."""
        return len(self._shared["unlisted"])

    def has_moved(self, campaign_id: str) -> bool:
        """Return whether the summary of a campaign may have changed."""
        return campaign_id in self.snapshot.moved

    # Activities

    def activities(self, campaign_id: str, *, anew: bool = False) -> list[str]:
        """Return the activities of a campaign that have reports. Safe in any thread.

        Args:
            campaign_id: of the campaign.
            anew: ask the API, unless this run has asked it before.

        Raises:
            NotUnderstood: the campaign was sent, but the answer shows no activity.
            Skippable: they cannot be read.
        """
        with self._lock:
            known = self._activities.get(campaign_id)
            anew = anew and campaign_id not in self._asked_anew
        if known is None and not anew:
            known = self._kept(campaign_id)
        if known is None or anew:
            answer = self._client.one(CAMPAIGN, [campaign_id], id_field="campaign_id")
            known = reported(answer)
            # Links are not counted, so that 0 sends do not mean that there are none.
            is_odd = self._counts_sends(campaign_id) or not is_removed(answer)
            if not known and is_odd:
                raise NotUnderstood(
                    f"GET {CAMPAIGN} answered 200 without activities of a campaign "
                    "that was sent"
                )
            self.learn(campaign_id, answer)
        elif known:
            with self._lock:
                self._activities[campaign_id] = known
        return known

    def forget(self, campaign_id: str) -> None:
        """Ask for the activities of a campaign again next time. Safe in any thread."""
        with self._lock:
            if campaign_id not in self._asked_anew:
                self._activities.pop(campaign_id, None)
            entry = self._shared["campaigns"].get(short_id(campaign_id))
            if entry:
                entry[2:] = [""]

    def was_removed(self, campaign_id: str) -> bool:
        """Ask the API whether a campaign was removed. Safe in any thread.

        Raises:
            Skippable: the answer does not tell.
        """
        campaign = self._client.one(CAMPAIGN, [campaign_id], id_field="campaign_id")
        return is_removed(campaign)

    def _counts_sends(self, campaign_id: str) -> bool:
        counters = self.snapshot.counters.get(campaign_id)
        return counters is not None and counters.get("em_sends") != 0

    def learn(self, campaign_id: str, campaign: Row) -> None:
        """Remember the activities of a campaign, given the response for it."""
        activities = reported(campaign)
        if not activities:
            return  # a list that is empty once may have activities later
        with self._lock:
            self._nameless[campaign_id] = len(nameless_activities(campaign))
            self._of_unknown_role[campaign_id] = len(of_unknown_role(campaign))
            self._activities[campaign_id] = activities
            self._asked_anew.add(campaign_id)

    def nameless(self, campaign_id: str) -> int:
        """Return how many activities of a campaign were listed without an id."""
        return self._nameless.get(campaign_id, 0)

    def of_unknown_role(self, campaign_id: str) -> int:
        """Return how many activities have an unknown role, if this run has asked.

        The reports of these activities are not read, if they have any.
        """
        return self._of_unknown_role.get(campaign_id, 0)

    def _kept(self, campaign_id: str) -> list[str] | None:
        entry = self._shared["campaigns"].get(short_id(campaign_id))
        if not entry or entry[2] != self._stamp(campaign_id) or not entry[3:]:
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
        # Activities without an id are asked for again: they may have one then.
        if entry and listed and known and not self.nameless(campaign_id):
            entry[2:] = [self._stamp(campaign_id), *map(short_id, known)]
