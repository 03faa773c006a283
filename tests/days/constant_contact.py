"""A Constant Contact account for simulated days, with the promises about it.

Lists of the account, its campaigns and their statistics are due in every run, the
statistics of a campaign outside of the window once in 8 days.

A report of events of a campaign is due at a run when its counter has caught up: the
counter equals the rows that the lists of all activities show. Outside of the window it
is also due once in 8 days. Lists that are read in full once a UTC day (unique opens,
links) are due at the first such run of a day. Links of a resend are not promised,
because no counter changes before one is clicked.

Rows that came while others vanished may leave the counter unchanged. They are promised
only at verifications ("verified"), which are visits 31 days apart in the window.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from simulator.constant_contact.events import DEVICES
from simulator.constant_contact.truth import KEYS
from simulator.truth import truth
from simulator.world import World
from tests.days.days import FINE, Account, Ran, Weather
from tests.days.promises import ROWS, VALUES, Shown, Visit
from tests.support.constant_contact import Account as Site
from tests.support.encompass import DAY, NOW
from tests.support.state import flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.days.promises import ListId
    from tests.support.encompass import Key, Record

PREFIX = "constant_contact_"
COUNTERS = {
    "sends": "em_sends",
    "opens": "em_opens_all",
    "clicks": "em_clicks_all",
    "forwards": "em_forwards",
    "optouts": "em_optouts",
    "bounces": "em_bounces",
}
_DAILY = {"unique_opens": "opens", "links": "clicks"}
"""Lists that are read once a day, with the events that change them."""
_BY_CAMPAIGN = ("campaign_stats", "campaign_activity_stats", "send_history")
_PLAIN = (
    *("campaign_summaries", "campaigns", "campaign_activities", "contacts"),
    *("contact_lists", "contact_tags", "contact_custom_fields", "segments", "account"),
)
_CHANGES = ("campaigns", "contacts", "campaign_activities")
"""Lists that are read by date of change: a row left out once is read within a week."""
_OF_CONTACTS = tuple(
    f"contact_{name}"
    for name in ("activity_details", "activity_summary", "open_and_click_rates")
)
STREAMS = (*_PLAIN, *_BY_CAMPAIGN, *COUNTERS, *_DAILY)
_PATHS = {
    **{kind: f"/tracking/{kind}$" for kind in (*COUNTERS, "unique_opens")},
    **{name: f"/{name}$" for name in _PLAIN},
    "links": "/links$",
    "send_history": "/send_history$",
    "campaign_activity_stats": "/email_campaign_activities/",
    "campaign_activities": "/emails",
    "campaigns": "/emails$",
    "account": "/account/summary$",
    "campaign_summaries": "/nowhere",
    "campaign_stats": "/nowhere",
}
"""Paths from which a stream is read, beside those of all reports of campaigns."""
_SHARED = "/token$|_summaries$|/email_campaigns/|/emails/[^/]+$|/privileges$"
_CONTACTS = "/contact_reports/|/contacts$"
_UNKNOWABLE = {
    **dict.fromkeys((*_DAILY, "snapshots"), "as_of"),
    "campaign_activity_stats": "last_refresh_time",
}
"""Columns with the time of a read or of other changes."""
_REPORTED = 0.1
"""Share of the accounts whose contact reports are read."""
_NOT_FOUND = 404
_REMEMBERED = 2 * DAY
"""Seconds for which the tap may not request refused stats again."""
_WEEK = 8 * DAY
_MONTH = 31 * DAY
_DOUBTS = 2
"""Runs, of those that were not killed, that look in vain before a list is given up."""
_LISTS = "/tracking/|/links$|/contacts$|/contact_|/segments$|/emails$|_summaries$"
_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504},
    {"kind": "status", "status": 429, "retry_after": "5"},
    {"kind": "not_json"},
    {"kind": "wrong_shape", "shape": "no_rows", "path": _LISTS},
    {"kind": "wrong_shape", "shape": "tracking_strings", "path": _LISTS},
    {"kind": "cut"},
    {"kind": "half_body"},
    {"kind": "expire_token"},
)
_CHANCES: Mapping[Weather, float] = {"calm": 0.0, "faults": 0.004, "storm": 0.05}


@dataclass(slots=True)
class _Course:
    """The visits of a list so far."""

    visited: float = float("-inf")
    before: float = float("-inf")
    reads: tuple[float, float] = (float("-inf"), float("-inf"))
    """When the tap asked for the list, the last two times."""
    verified: float = float("-inf")
    excused: float = float("-inf")
    keys: frozenset[Key] = frozenset()
    doubts: int = 0
    """Runs since it was whole that could not settle it."""
    miscounted: bool = False
    """Odd rows may stand for rows that the counter counts and the list lacks yet."""
    later: set[Key] = field(default_factory=set)
    hidden: set[Key] = field(default_factory=set)


class ConstantContactDays(Account):
    """An account with some campaigns a month, and few contacts."""

    provider = "constant_contact"
    token_path = "/token"

    def __init__(self, seed: int, days: int) -> None:
        rng = random.Random(f"constant contact {seed}")  # noqa: S311 -- reproducible
        self._rng = rng
        world = World(NOW, seed=seed)
        self._window = rng.choice((90, 30))
        self._daily = rng.choice((0, 0, 0, 150))
        own = random.Random(f"contact reports {seed}")  # noqa: S311 -- reproducible
        self._of_contacts = _OF_CONTACTS if own.random() < _REPORTED else ()
        self.site = Site(
            world,
            activity_window_days=self._window,
            lookback_days=rng.choice((1, 2, 4)),
            max_concurrency=rng.choice((1, 1, 3)),
            daily_requests=(self._daily or 1_000_000) - 5,
            requests_per_second=4,
            contact_reports=bool(self._of_contacts),
        )
        self._api = self.site.api
        self._page = own.choice((0, 0, 3))
        self._api.set_policy(
            requests_per_day=self._daily,
            requests_per_second=4,
            max_page=self._page,
            **_policy(rng),
        )
        self._people: list[str] = []
        self._campaign_of: dict[str, str] = {}
        self._courses: defaultdict[ListId, _Course] = defaultdict(_Course)
        self._refused: dict[str, float] = {}
        self._is_token_lost = False
        self._is_clock_odd = False
        self._build(days)

    # The world

    def _build(self, days: int) -> None:
        rng, api = self._rng, self._api
        lists = [api.add_item("contact_lists", created=NOW - 300 * DAY) for _ in "ab"]
        for kind in ("contact_tags", "contact_custom_fields", "segments"):
            api.add_item(kind, created=NOW - 300 * DAY)
        api.update_item(
            "contact_lists", lists[0], at=NOW + rng.uniform(0, days) * DAY, name="New"
        )
        for _ in range(14):
            self._person(lists, days)
        sends = [NOW - rng.uniform(0, 150) * DAY for _ in range(4)]
        sends += [NOW + rng.uniform(0, days) * DAY for _ in range(max(1, days // 14))]
        for sent in sorted(sends):
            self._campaign(float(round(sent)))
        for activity in api.activities.values():
            self._campaign_of[activity.activity_id] = activity.campaign_id

    def _person(self, lists: list[str], days: int) -> None:
        rng, api = self._rng, self._api
        created = round(NOW - rng.uniform(160, 300) * DAY, 3)
        person = api.add_contact(
            created=created,
            list_memberships=[one for one in lists if rng.random() < 0.5],
        )
        self._people.append(person)
        at = NOW + rng.uniform(-30, days) * DAY
        change = rng.random()
        if change < 0.3:
            api.update_contact(person, at=at, job_title="Job")
        elif change < 0.4:
            api.unsubscribe(person, at=at, reason="By phone")
        elif change < 0.5:
            api.delete_contact(person, at=at)

    def _campaign(self, sent: float) -> None:
        rng, api = self._rng, self._api
        people = rng.sample(self._people, rng.randint(0, 10))
        campaign = api.add_campaign(
            sent=sent,
            scheduled=sent,
            created=sent - rng.uniform(0.1, 9) * DAY,
            recipients=people,
            links=rng.randint(1, 3),
        )
        primary = api.activities_of(campaign)["primary_email"]
        self._events(primary, people, sent, removes=True)
        if rng.random() < 0.3:
            again = round(sent + rng.uniform(3, 6) * DAY)
            second = api.add_resend(
                campaign, sent=again, visible=sent, recipients=people[:3]
            )
            api.activity(second).links.update(api.activity(primary).links)
            self._events(second, people[:3], again, removes=False)
        elif rng.random() < 0.3:
            at = round(sent + rng.uniform(2, 30) * DAY)
            api.update_campaign(campaign, at=at, name="Renamed")
        elif rng.random() < 0.1:
            api.remove_campaign(campaign, at=round(sent + rng.uniform(5, 40) * DAY))

    def _events(
        self, activity: str, people: list[str], sent: float, *, removes: bool
    ) -> None:
        rng, api = self._rng, self._api
        links = list(api.activity(activity).links)
        for person in people:
            for _ in range(rng.choice((0, 1, 1, 3))):
                at = self._moment(sent)
                device = rng.choice((*DEVICES, None))
                shown = self._shown(at)
                for _ in range(rng.choices((1, 2), (95, 5))[0]):
                    self._add("opens", activity, person, shown, device=device)
                if removes and rng.random() < 0.04:
                    proxy = self._add("opens", activity, person, self._shown(at + 1))
                    api.remove_event(proxy, at=at + rng.uniform(1, 10) * DAY)
                if links and rng.random() < 0.4:
                    clicked = self._shown(at + rng.uniform(1, 300))
                    url_id = rng.choice(links)
                    self._add("clicks", activity, person, clicked, url_id=url_id)
            for kind, chance in (
                ("bounces", 0.1),
                ("forwards", 0.08),
                ("optouts", 0.05),
            ):
                if rng.random() < chance:
                    self._add(kind, activity, person, self._shown(self._moment(sent)))

    def _moment(self, sent: float) -> float:
        rng = self._rng
        mean = rng.choices((0.5, 5.0, 40.0), (60, 30, 10))[0]
        return round(sent + 60 + rng.expovariate(1 / (mean * DAY)), 3)

    def _shown(self, at: float) -> dict[str, Any]:
        """Draw when an event is listed, mostly at once, and when it is counted."""
        rng = self._rng
        late = rng.choices((0.0, 3600.0, 8 * DAY, 30 * DAY), (80, 12, 6, 2))[0]
        shown = at + rng.uniform(0, late)
        apart = (0.0, rng.uniform(-3600, 3600), -rng.uniform(0, DAY))
        counted = shown + rng.choices(apart, (85, 8, 7))[0]
        return {
            "created": at,
            "visible_from": round(shown, 3),
            "counted_from": round(max(at, counted), 3),
        }

    def _add(
        self,
        kind: str,
        activity: str,
        person: str,
        times: dict[str, Any],
        **more: Any,
    ) -> int:
        return self._api.add_event(kind, activity, person, **times, **more)

    @override
    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        chance = _CHANCES[weather]
        if not chance:
            return
        # The reports of some activities cannot be read that day.
        path = f"/{seed % 16:x}[0-9a-f-]+/tracking/"
        yield {"kind": "status", "status": 503, "path": path}
        for number, rule in enumerate(_FAULTS):
            yield {"path": "/", **rule, "probability": chance, "seed": seed + number}

    @override
    def recover(self, ran: Ran) -> list[str]:
        """Give a new consent if a token is lost, as the owner of the account does."""
        for entry in ran.entries:
            campaigns = re.search("/email_campaigns/(.+)", entry.path)
            if campaigns and entry.status == _NOT_FOUND:
                self._refused |= dict.fromkeys(campaigns[1].split(","), ran.begun)
        tokens = [one for one in ran.entries if one.path.endswith("/token")]
        spoilt = any(one.fault for one in tokens)
        self._is_token_lost |= bool(tokens) and (ran.code is None or spoilt)
        if not any(one.status == 400 and not one.fault for one in tokens):
            return []
        if not self._is_token_lost:
            return ["failed: the refresh token was refused, and none was lost"]
        self._is_token_lost = ran.counts = False
        self.site.settings["refresh_token"] = self._api.consent()
        return []

    # Shown rows

    @override
    def shown(self, at: float) -> Shown:
        shown: Shown = {}
        world = self.site.world
        for name in (*STREAMS, *self._of_contacts, "snapshots"):
            stream = f"{PREFIX}{name}"
            key = KEYS[stream]
            for row in truth(world, stream, [at]):
                kept = self.known(stream, row)
                list_id = (stream, self._campaign_of_row(name, row))
                shown.setdefault(list_id, {})[tuple(row[k] for k in key)] = kept
        return shown

    @override
    def known(self, stream: str, record: Record) -> Record:
        column = _UNKNOWABLE.get(stream.removeprefix(PREFIX))
        return {**record, column: None} if column else record

    def _campaign_of_row(self, name: str, row: Record) -> str | None:
        if name in (*_PLAIN, *_OF_CONTACTS):
            return None
        activity = row.get("campaign_activity_id")
        return row.get("campaign_id") or self._campaign_of[str(activity)]

    # Due lists

    @override
    def lists_of(self, path: str) -> Iterator[ListId]:
        for name in _PLAIN:
            if re.search(_PATHS[name], path):
                yield f"{PREFIX}{name}", None
        yield from self._lists_of_campaigns(path.split("/"))

    def _lists_of_campaigns(self, parts: list[str]) -> Iterator[ListId]:
        """Yield the lists by campaign for which a path, in parts, is needed."""
        match parts:
            case [*_, "email_reports", activity, "tracking", name]:
                yield f"{PREFIX}{name}", self._campaign_of.get(activity)
            case [*_, "email_reports" | "activities", activity, name]:
                yield f"{PREFIX}{name}", self._campaign_of.get(activity)
            case [*_, "contact_reports", _contact, name]:
                yield f"{PREFIX}contact_{name}", None
            case [*_, "email_campaigns" | "emails", campaigns]:
                for campaign in campaigns.split(","):
                    for name in ("campaign_stats", *COUNTERS, *_DAILY):
                        yield f"{PREFIX}{name}", campaign
            case [*_, "email_campaign_activities", activities]:
                for activity in activities.split(","):
                    found = self._campaign_of.get(activity)
                    yield f"{PREFIX}campaign_activity_stats", found
            case [*_, "email_campaign_summaries"]:
                yield f"{PREFIX}campaign_summaries", None

    @override
    def may_serve(self, path: str, row: Record) -> bool:
        match path.split("/"):
            case [*_, "email_reports", activity, "tracking", _]:
                return bool(row["campaign_activity_id"] == activity)
            case [*_, "email_reports" | "activities", activity, _]:
                return bool(row["campaign_activity_id"] == activity)
            case [*_, "contact_reports", contact, _]:
                return bool(row["contact_id"] == contact)
            case [*_, "email_campaign_activities", activities]:
                return row["campaign_activity_id"] in activities.split(",")
        return True

    @override
    def derived(self, path: str) -> Iterable[str]:
        is_snapshot = path.endswith(("/links", "/unique_opens"))
        return (f"{PREFIX}snapshots",) if is_snapshot else ()

    @override
    def settled(self, ran: Ran) -> Iterator[ListId]:
        """Yield the lists that the run gave up, after it had looked for their rows."""
        for name in COUNTERS:
            for campaign, verdict in ran.verdicts(f"{PREFIX}{name}"):
                list_id = (f"{PREFIX}{name}", campaign)
                course = self._courses[list_id]
                course.doubts += verdict == "unsettled"
                if verdict == "differs" and course.doubts >= _DOUBTS:
                    yield list_id
                elif verdict in {"equal", "above"}:
                    course.doubts = 0

    @override
    def excuse(self, list_id: ListId, missing: Iterable[Key], now: float) -> None:
        # The tap counts it as a visit and reads again when the next one is due.
        course = self._courses[list_id]
        course.visited = course.verified = course.excused = now
        course.hidden |= {*missing}
        kind, campaign = list_id[0].removeprefix(PREFIX), list_id[1]
        if campaign and not self._is_open(campaign, now):
            course.excused = float("inf")  # no full read comes after this one
        if campaign and kind in COUNTERS:
            course.miscounted |= not self._is_caught_up(kind, campaign, now)

    @override
    def not_due(
        self, list_id: ListId, rows: Mapping[Key, Record], now: float
    ) -> Iterable[Key]:
        name, campaign = list_id[0].removeprefix(PREFIX), list_id[1]
        if campaign and not self._is_open(campaign, now):
            return rows.keys()
        kind = _DAILY.get(name, name)
        if campaign is None or kind not in COUNTERS:
            return self._hidden(list_id, now) | self._of_removed(rows, now)
        if not self._is_caught_up(kind, campaign, now):
            return rows.keys()
        course = self._courses[list_id]
        later = course.later | self._hidden(list_id, now) | self._of_resends(rows)
        if course.miscounted or self._lost_rows(kind, campaign, course.before, now):
            later |= rows.keys() - course.keys
        return later

    def _hidden(self, list_id: ListId, now: float) -> set[Key]:
        """Return the keys that an odd answer hid, until a full read of the list."""
        course = self._courses[list_id]
        if now - course.excused >= (_MONTH if list_id[1] else _WEEK):
            course.hidden.clear()
        return course.hidden

    @override
    def visits(self, ran: Ran, shown: Shown) -> Iterator[Visit]:
        struck = " ".join(f"{one.path} " for one in ran.entries if one.fault).split()
        shared = any(re.search(_SHARED, path) for path in struck)
        if any(path.endswith("/token") for path in struck):
            return
        # After a new login the tap reads nothing until it knows the account.
        unknown = any(path.endswith("/account/summary") for path in struck)
        if unknown and {*ran.outcomes.values()} == {"failed"}:
            return
        self._note_reads(ran)
        yield from self._contact_reports(struck, ran)
        sent = dict(self._sent_campaigns(ran.begun))
        for name in STREAMS:
            own = any(re.search(_PATHS[name], path) for path in struck)
            if own or (shared and name not in _PLAIN):
                continue
            stream = f"{PREFIX}{name}"
            if name in _PLAIN:
                excused = self._courses[stream, None].excused
                is_late = name in _CHANGES and ran.begun - excused < _WEEK
                if not (is_late or (shared and name.startswith("campaign"))):
                    rows = shown.get((stream, None), {})
                    later = self._of_removed(rows, ran.begun)
                    yield Visit((stream, None), VALUES, later)
                continue
            waiting = {*ran.reports[stream].get("quarantined", ())}
            for campaign, moment in sent.items():
                if campaign in waiting:
                    continue  # tried daily, and the summary says so
                rows = shown.get((stream, campaign), {})
                yield from self._due(name, campaign, moment, rows, ran.begun)

    def _note_reads(self, ran: Ran) -> None:
        asked = {entry.path for entry in ran.entries if "/tracking/" in entry.path}
        for list_id in {one for path in asked for one in self.lists_of(path)}:
            course = self._courses[list_id]
            course.reads = course.reads[1], ran.begun

    def _contact_reports(self, struck: list[str], ran: Ran) -> Iterator[Visit]:
        if any(re.search(_CONTACTS, path) for path in struck):
            return
        for name in self._of_contacts:
            list_id = (f"{PREFIX}{name}", None)
            course, report = self._courses[list_id], ran.reports[list_id[0]]
            if report["outcome"] == "paused" and report.get("parents"):
                continue  # a turn takes as many runs as the budget makes it
            if course.visited // DAY != ran.begun // DAY:
                course.visited = ran.begun
                yield Visit(
                    list_id, VALUES, frozenset(self._hidden(list_id, ran.begun))
                )

    def _is_open(self, campaign: str, at: float) -> bool:
        sent = dict(self._sent_campaigns(at)).get(campaign)
        return sent is not None and at - sent < (self._window - 1) * DAY

    def _sent_campaigns(self, at: float) -> Iterator[tuple[str, float]]:
        for sent, campaign in self._api.sent_campaigns(at):
            yield campaign.campaign_id, sent

    def _due(
        self,
        name: str,
        campaign: str,
        sent: float,
        rows: Mapping[Key, Record],
        now: float,
    ) -> Iterator[Visit]:
        list_id = (f"{PREFIX}{name}", campaign)
        course = self._courses[list_id]
        is_open = now - sent < (self._window - 1) * DAY
        kind = _DAILY.get(name, name)
        if not is_open and now - course.visited < _WEEK:
            return
        if now - self._refused.get(campaign, 0.0) < _REMEMBERED:
            return
        if name in _DAILY and course.visited // DAY == now // DAY:
            return
        if kind in COUNTERS and not self._is_caught_up(kind, campaign, now):
            return
        before, course.before, course.visited = course.before, course.visited, now
        if name in _BY_CAMPAIGN or name == "links":
            later = self._of_resends(rows) | self._hidden(list_id, now)
            yield Visit(list_id, VALUES, frozenset(later))
            return
        # A row that has gone hides an old one that comes before the next read: the
        # counter, and so the number of new rows, is as if there were neither.
        since = min(before, course.reads[0])
        if course.miscounted or self._lost_rows(kind, campaign, since, now):
            course.later |= rows.keys() - course.keys
        course.keys, course.miscounted = frozenset(rows), False
        hidden = self._hidden(list_id, now)
        yield Visit(list_id, ROWS, frozenset(course.later | hidden))
        if is_open and name in COUNTERS and now - course.verified >= _MONTH:
            course.verified = now
            yield Visit(list_id, "verified")

    def _of_resends(self, rows: Mapping[Key, Record]) -> frozenset[Key]:
        """Return the links of resends, which are read when one is clicked."""
        return frozenset(
            key
            for key, row in rows.items()
            if "unique_clicks" in row
            and self._api.activity(row["campaign_activity_id"]).role == "resend"
        )

    def _of_removed(self, rows: Mapping[Key, Record], now: float) -> frozenset[Key]:
        """Return the activities of removed campaigns, which nothing shows any more."""
        return frozenset(
            key
            for key, row in rows.items()
            if row.keys() >= {"campaign_activity_id", "campaign_id"}
            and self._api.campaigns[row["campaign_id"]].removed_at <= now
        )

    def _lost_rows(self, kind: str, campaign: str, since: float, now: float) -> bool:
        return any(
            since < event.removed_at <= now
            for one in self._api.campaigns[campaign].activities
            for event in one.lists[kind].events
        )

    def _is_caught_up(self, kind: str, campaign_id: str, at: float) -> bool:
        campaign = self._api.campaigns[campaign_id]
        counters = self._api.campaign_counters(campaign, at)
        listed = sum(
            len(one.lists[kind].listed(at))
            for one in campaign.activities
            if one.reports and one.sent(at) is not None
        )
        return counters is not None and counters.stats[COUNTERS[kind]] == listed

    # Other promises

    @override
    def complaints(self, ran: Ran, shown: Shown) -> list[str]:
        found = []
        limits = self._api.limits
        # With several threads on one clock a request may be late.
        alone = self.site.settings["max_concurrency"] == 1
        if (alone and limits.throttled) or limits.refused:
            found.append(
                f"limits: {limits.throttled} throttled, {limits.refused} refused"
            )
        if ran.faults:
            return found
        fine = FINE | ({"paused"} if self._daily else set())
        if ran.code != 0 or not fine.issuperset(ran.outcomes.values()):
            found.append(f"failed: {ran.code} {ran.outcomes}")
        campaigns = len(dict(self._sent_campaigns(ran.ended)))
        most = 40 + 2 * len(self._of_contacts) * len(self._people)
        most += 2 * len(self._api.campaigns) + 2 * 3 * len(_PATHS) * campaigns
        most *= 4 if self._page else 1  # more pages
        if len(ran.entries) > most:
            found.append(f"requests: {len(ran.entries)} of {most}")
        return found

    @override
    def state_complaints(
        self, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[str]:
        found = []
        size = 0
        known = flat(old)
        was_odd, self._is_clock_odd = self._is_clock_odd, self._has_odd_clock()
        # A cursor may follow an odd clock back, or return from one.
        is_clock_odd = was_odd or self._is_clock_odd
        for name, entry in flat(new).items():
            before = known.get(name, {})
            for key in ("replication_key_value", "cursor"):
                if key == "cursor" and is_clock_odd:
                    continue
                value = entry.get(key)
                if before.get(key) is not None and (value or "") < before[key]:
                    found.append(f"state: {name}.{key} went back")
            size += sum(len(k) + len(v) + 6 for k, v in entry.get("marks", {}).items())
        if size > 600 * len(self._api.campaigns):
            found.append(f"state: {size} bytes of marks")
        return found

    def _has_odd_clock(self) -> bool:
        odds = self.site.world.odds
        return any(one.oddity.name.startswith("date_") for one in odds)


def _policy(rng: random.Random) -> dict[str, Any]:
    return {
        "rotating_tokens": rng.random() < 0.7,
        "access_token_lifetime": rng.choice((DAY, 7200.0, 60.0)),
        "error_shape": rng.choice(("mixed", "array", "object", "empty")),
        "paging_end": "varied",
        "empty_last_page": rng.random() < 0.3,
        "stats_keys": rng.choice(("underscores", "dots")),
        "counts_as_strings": rng.random() < 0.3,
        "aggregate_percents": rng.choice(("object", "array", "absent")),
        "activity_type_in_stats": rng.random() < 0.3,
        "time_format": rng.choice(("millis", "millis", "seconds", "offset")),
        "stats_refresh_seconds": rng.choice((0.0, 0.0, 21_600.0)),
        "removed_reported": rng.random() < 0.5,
        "emails_order": rng.choice(("updated", "created")),
        "after_inclusive": rng.random() < 0.5,
    }
