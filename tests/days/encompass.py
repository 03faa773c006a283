"""An Encompass site for simulated days, with the promises about it.

The list of messages is due in every run. Another list is due at a run when the time
since its last visit has reached the interval of its *age*, which counts from the newest
of the times of its message and of the rows at the visit before the last one (the tap
may have read the list at any time since):

    under 7 days: every run; under 30: 1 day; up to the window: 7 days;
    older: `sweep_days` and a day, because a sweep counts whole days.

Rows of a list are promised to be there ("rows"), messages and links also with their
values. Edits, and rows dated before the look-back that came while others vanished, are
promised only at verifications ("verified"): the first visits from 3, 30 and 170 days
after the send on, and from every 60th day after that, in the window.

A list that counts a row but hides it is settled without the row, and so is one that
differs twice or has rows without a usable id: this is reported once and counts as a
visit. So is an old list that hides a row in two runs, `unsettled` and then `archived`.

A list that failed in five runs is due once a day. Each run reports that the list is in
quarantine, and does not count as a visit of it.

If a row that appeared in time was archived and is missing, it must lie in a gap that
the state contains, by its date or by the time since which it shows.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from simulator.encompass.account import ACTION_KINDS, ms
from simulator.truth import encompass_record
from simulator.world import World
from tap_email_metrics.clock import from_iso
from tests.days.days import FINE, Account, Ran, Weather
from tests.days.promises import ROWS, VALUES, Shown, Visit
from tests.support.encompass import DAY, NOW, STREAMS, Site
from tests.support.state import flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from simulator.rows import Row
    from tests.days.promises import ListId
    from tests.support.encompass import Key, Record

KINDS = ("opens", "clicks", "bounces", "delivers", "recipients")
MESSAGES: ListId = ("encompass_messages", None)
_HOUR = 3600.0
_MINUTE = 60.0
_TIMELY = 2 * DAY
_MARK_BYTES = 60
_OUT = 0.2
"""Share of the sites where the tap does not run for half a year."""
_SHARED = ("/v2/messages", "/apiservices/authenticate")
_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504},
    {"kind": "status", "status": 429, "retry_after": "7"},
    {"kind": "message_body"},
    {"kind": "not_json"},
    {"kind": "wrong_shape", "shape": "no_data"},
    {"kind": "wrong_shape", "shape": "data_string"},
    {"kind": "cut"},
    {"kind": "half_body"},
    {"kind": "slow", "seconds": 400.0},
    {"kind": "expire_token"},
    *({"kind": "shift_total", "by": by} for by in (1, -1, -2)),
    *({"kind": "repeat_row", "path": "/v2/messages/"} for _ in "abc"),
)
_CHANCES: Mapping[Weather, float] = {"calm": 0.0, "faults": 0.01, "storm": 0.06}


@dataclass(slots=True)
class _Place:
    """A row and the time during which its list shows it."""

    list_id: ListId
    key: Key
    row: Row
    start: float
    end: float
    texts: dict[bytes, Record] = field(default_factory=dict)


@dataclass(slots=True)
class _Course:
    """The visits of a list so far.

    Attributes:
        newest: dates of the newest row at the last two visits.
        later: keys that only a verification finds.
        keys: keys of the rows at the last visit.
        before: the visit before the last one.
        excused: keys of rows that were missed until now or until they left the list:
            the runs said so, or could not notice it.
    """

    visited: float | None = None
    before: float = 0.0
    newest: tuple[float, float] = (0.0, 0.0)
    verified: int = -1
    keys: frozenset[Key] = frozenset()
    later: set[Key] = field(default_factory=set)
    excused: set[Key] = field(default_factory=set)


class EncompassDays(Account):
    """A site with a message every second week and few rows in each list."""

    provider = "encompass"
    token_path = "/authenticate"

    def __init__(self, seed: int, days: int) -> None:
        rng = random.Random(f"encompass {seed}")  # noqa: S311 -- reproducible
        self._rng = rng
        world = World(NOW, seed=seed)
        self._api = world.encompass
        self._page = rng.choice((4, 9, 1000))
        self._api.set_policy(max_page=self._page, **_policy(rng))
        self._window, self._sweep = rng.choice(((365, 90), (60, 20), (120, 7)))
        self._lookback = rng.choice((0, 2, 5))
        self.site = Site(
            world,
            activity_window_days=self._window,
            sweep_days=self._sweep,
            lookback_days=self._lookback,
            max_concurrency=rng.choice((1, 1, 3)),
        )
        self._courses: defaultdict[ListId, _Course] = defaultdict(_Course)
        self._messages: dict[int, Row] = {}
        self._links: set[ListId] = set()
        self._unsettled: set[ListId] = set()
        if rng.random() < _OUT:
            self.outage = (rng.randint(4, 9), rng.uniform(190, 270))
        self._build(days + round(self.outage[1] if self.outage else 0))

    # The world

    def _build(self, days: int) -> None:
        rng = self._rng
        sends = [NOW - rng.uniform(0, 300) * DAY for _ in range(4)]
        sends += [NOW + rng.uniform(0, days) * DAY for _ in range(max(1, days // 14))]
        events = [one for sent in sorted(sends) for one in self._message(round(sent))]
        self._numbered_by = rng.choice(("shown", "dated"))
        for one in sorted(events, key=itemgetter(self._numbered_by)):
            row_id = self._api.add_row(
                one["kind"],
                one["message"],
                date_added=one["dated"],
                visible_from=one["shown"],
                **one["fields"],
            )
            self._afterwards(one["kind"], row_id, one["message"], one["shown"])

    def _message(self, sent: float) -> Iterator[dict[str, Any]]:
        """Add a message; yield its future rows."""
        rng, api = self._rng, self._api
        added = sent - rng.choice((0.0, rng.uniform(0, 3) * DAY))
        message = api.add_message(sent=sent, date_added=added)
        if rng.random() < 0.5:
            at = sent + rng.uniform(0, 40) * DAY
            api.correct("messages", message, at=at, sentCount=rng.randint(1, 99))
        for _ in range(rng.randint(0, 3)):
            api.add_row("links", message)
        for kind in KINDS:
            weights = (50, 20, 25, 5 if self._page == 1000 else 0)
            order = rng.choices(
                ("ascending", "descending", "shuffled", "reshuffled"), weights
            )
            api.set_order(order[0], kind, message)
            for _ in range(rng.choice((0, 1, rng.randint(2, 18), rng.randint(9, 30)))):
                yield self._event(kind, message, sent)

    def _event(self, kind: str, message: int, sent: float) -> dict[str, Any]:
        """Draw a row: most come within days, some within weeks; some appear late."""
        rng = self._rng
        mean = rng.choices((0.5, 4.0, 30.0, 120.0), (50, 30, 15, 5))[0]
        at = sent + _MINUTE + rng.expovariate(1 / (mean * DAY))
        dated = round(at + rng.expovariate(1 / _HOUR), 3)
        late = rng.choices((0.0, _HOUR, DAY, 8 * DAY, 40 * DAY), (68, 15, 8, 6, 3))[0]
        fields: dict[str, Any] = {"timestamp": ms(at)}
        if rng.random() < 0.02 and kind != "recipients":
            fields["dateAdded"] = None
        shown = round(dated + rng.uniform(0, late), 3)
        return {
            "kind": kind,
            "message": message,
            "dated": dated,
            "shown": shown,
            "fields": {} if kind == "recipients" else fields,
        }

    def _afterwards(self, kind: str, row_id: int, message: int, shown: float) -> None:
        rng, api = self._rng, self._api
        if kind == "recipients" and rng.random() < 0.5:
            at = shown + rng.expovariate(1 / (6 * DAY))
            api.correct(
                kind, row_id, at=at, message_id=message, emailAddress="x@example.com"
            )
        # A row that vanishes while another comes before the last one hides it.
        if self._numbered_by == "shown" and rng.random() < 0.05:
            at = shown + rng.uniform(0, 40) * DAY
            api.delete(kind, row_id, at=at, message_id=message)

    @override
    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        chance = _CHANCES[weather]
        if not chance:
            return
        # The lists of some messages cannot be read that day.
        yield {
            "kind": "status",
            "status": 503,
            "path": f"/v2/messages/\\d*{seed % 10}/",
        }
        # Others count a row that they do not show.
        yield {"kind": "skip_row", "path": f"/v2/messages/\\d*{seed // 10 % 10}/"}
        for number, rule in enumerate(_FAULTS):
            path = "/v2/" if rule["kind"] != "cut" else "/"
            yield {"path": path, **rule, "probability": chance, "seed": seed + number}

    # Shown rows

    @cached_property
    def _places(self) -> list[_Place]:
        places = []
        for row in self._api.all_messages():
            self._messages[row.row_id] = row
            key: Key = (self._api.client_id, row.row_id)
            until = self._api.shown_until("messages", row)
            places.append(_Place(MESSAGES, key, row, row.visible_from, until))
        for kind in (*KINDS, "links"):
            for message_id, message, row in self._api.children(kind):
                list_id = (f"encompass_{kind}", message_id)
                key = (self._api.client_id, message_id, row.row_id)
                start = max(row.visible_from, message.visible_from)
                until = self._api.shown_until(kind, row)
                places.append(_Place(list_id, key, row, start, until))
        return places

    @override
    def shown(self, at: float) -> Shown:
        shown: Shown = {MESSAGES: {}}
        for place in self._places:
            if place.start <= at < place.end:
                shown.setdefault(place.list_id, {})[place.key] = self._record(place, at)
        return shown

    def _record(self, place: _Place, at: float) -> Record:
        text = place.row.text(at)
        if text not in place.texts:
            stream, message_id = place.list_id
            place.texts[text] = encompass_record(
                stream, self._api.client_id, message_id or 0, text
            )
        return place.texts[text]

    # Due lists

    @override
    def lists_of(self, path: str) -> Iterator[ListId]:
        parts = path.strip("/").split("/")
        if path == _SHARED[0]:
            yield MESSAGES
        elif len(parts) == 4:
            yield f"encompass_{parts[3]}", int(parts[2])

    @override
    def excuse(self, list_id: ListId, missing: Iterable[Key], now: float) -> None:
        # The tap counts it as a visit and reads again when the next one is due. It
        # reads the list of messages in each run.
        if list_id[1] in self._messages:
            course = self._courses[list_id]
            course.excused |= {*missing}
            course.visited = now
            course.verified = _verifications(self._sent(list_id[1], now), now)

    @override
    def settled(self, ran: Ran) -> Iterator[ListId]:
        for entry in ran.entries:
            if "skip_row" in (entry.fault or "").split():
                yield from self.lists_of(entry.path)
        for stream in STREAMS[1:]:
            for parent, verdict in ran.verdicts(stream):
                if parent == "all":
                    continue  # messages without an id are set aside for all lists
                list_id = stream, int(parent)
                is_confirmed = verdict == "archived" and list_id in self._unsettled
                if is_confirmed or verdict in {"differs", "set_aside"}:
                    yield list_id
                if verdict == "unsettled":
                    self._unsettled.add(list_id)
                else:
                    self._unsettled.discard(list_id)

    @override
    def not_due(
        self, list_id: ListId, rows: Mapping[Key, Record], now: float
    ) -> Iterable[Key]:
        return self._courses[list_id].later | (rows.keys() & self._late)

    @override
    def visits(self, ran: Ran, shown: Shown) -> Iterator[Visit]:
        struck = {entry.path for entry in ran.entries if entry.fault}
        if struck & {*_SHARED}:
            return
        yield Visit(MESSAGES, VALUES)
        messages = [key[1] for key in shown[MESSAGES]]
        for stream in STREAMS[1:]:
            quarantined = ran.reports.get(stream, {}).get("quarantined", ())
            for message_id in messages:
                list_id: ListId = (stream, message_id)
                path = f"/v2/messages/{message_id}/{stream.removeprefix('encompass_')}"
                if path not in struck and message_id not in quarantined:
                    yield from self._due(list_id, shown.get(list_id, {}), ran.begun)

    def _due(
        self, list_id: ListId, rows: Mapping[Key, Record], now: float
    ) -> Iterator[Visit]:
        course = self._courses[list_id]
        points = _verifications(self._sent(list_id[1], now), now)
        links = list_id[0] == "encompass_links"
        age = now - max(course.newest[0], self._newest(list_id[1], now)) + _MINUTE
        interval = self._interval(age)
        is_verified = age <= self._window * DAY and points > course.verified
        is_waiting = links or now - (course.visited or 0.0) < interval
        if course.visited is not None and not is_verified and is_waiting:
            return
        if not links:
            if self._lost_rows(list_id, course.before, now):
                course.later |= (rows.keys() - course.keys) & self._late
            yield Visit(list_id, ROWS, frozenset(course.later))
        if is_verified:
            yield Visit(list_id, "verified")
        # Each read of a closed list is a full one, which also verifies it.
        course.verified = points
        newest = max(
            (r["date_added"] / 1000 for r in rows.values() if r.get("date_added")),
            default=0.0,
        )
        # Excused rows that have left the list since need not be read any more.
        course.excused -= rows.keys()
        course.before = course.visited or 0.0
        course.visited = now
        course.newest = (course.newest[1], max(course.newest[1], newest))
        course.keys = frozenset(rows)

    def _interval(self, age: float) -> float:
        if age > self._window * DAY:
            return (self._sweep + 1) * DAY
        if age >= 30 * DAY:
            return 7 * DAY
        return DAY if age >= 7 * DAY else 0.0

    def _lost_rows(self, list_id: ListId, since: float, now: float) -> bool:
        """Return whether rows have vanished: late rows then wait for a verification."""
        return any(since < end <= now for end in self._ends[list_id])

    @cached_property
    def _ends(self) -> defaultdict[ListId, list[float]]:
        ends: defaultdict[ListId, list[float]] = defaultdict(list)
        for place in self._places:
            ends[place.list_id].append(place.end)
        return ends

    def _newest(self, message_id: int, at: float) -> float:
        fields = self._messages[message_id].fields(at)
        names = ("dateAdded", "scheduledDateTimestamp", "actualSendTimestamp")
        return max(_seconds(fields, name) for name in names)

    def _sent(self, message_id: int, at: float) -> float:
        return _seconds(self._messages[message_id].fields(at), "actualSendTimestamp")

    # Other promises

    @override
    def complaints(self, ran: Ran, shown: Shown) -> list[str]:
        found = self._archived_unread(ran)
        if ran.faults:
            return found
        if ran.code != 0 or not FINE.issuperset(ran.outcomes.values()):
            found.append(f"failed: {ran.code} {ran.outcomes}")
        most = 6
        for rows in shown.values():
            pages = 1 + len(rows) // min(self._page - 1, 999)
            most += 3 * (2 * pages + 22 * (self._page < 1000))
        if len(ran.entries) > most + 3 * 6 * len(shown[MESSAGES]):
            found.append(f"requests: {len(ran.entries)} of {most}")
        return found

    def _archived_unread(self, ran: Ran) -> list[str]:
        if self._api.policy.archive_on == "send":
            return []  # a row may be archived the day after it came
        entries = flat(self.site.state)
        have = self.rows
        return [
            f"lost: {place.list_id} {place.key} went to the archive without a gap"
            for place in self._archived_since(ran)
            if place.key not in have.get(place.list_id[0], ())
            and place.key not in self._courses[place.list_id].excused
            and not _in_gap(entries[place.list_id[0]], place.row.clocks[1])
            and not _in_gap(entries[place.list_id[0]], place.start)
        ]

    def _archived_since(self, ran: Ran) -> list[_Place]:
        """Return the actions that were archived recently, each once.

        Those of a failed stream wait for a run that reports the gaps of the stream.
        """
        read = {stream for stream, outcome in ran.outcomes.items() if outcome in FINE}
        gone = [p for p in self._actions if p.end <= ran.ended and p.list_id[0] in read]
        for place in gone:
            self._actions.remove(place)
        return gone

    @cached_property
    def _late(self) -> frozenset[Key]:
        """The rows whose date was before the look-back when they appeared."""
        return frozenset(
            place.key
            for place in self._places
            if place.start - place.row.clocks[1] > self._lookback * DAY - _MINUTE
        )

    @cached_property
    def _actions(self) -> list[_Place]:
        """The actions that appear in time and are not archived within two weeks."""
        return [
            place
            for place in self._places
            if place.list_id[0].removeprefix("encompass_") in ACTION_KINDS
            and place.start - place.row.clocks[1] < _TIMELY
            and place.row.deleted_at == float("inf")
            and place.end - place.start > 60 * DAY
            and place.end > NOW + 15 * DAY
        ]

    @override
    def state_complaints(
        self, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[str]:
        found = []
        known = flat(old)
        for name, entry in flat(new).items():
            value = known.get(name, {}).get("replication_key_value")
            if value is not None and entry.get("replication_key_value") < value:
                found.append(f"state: {name}.replication_key_value went back")
            marks = entry.get("marks", {})
            size = sum(len(key) + len(text) + 6 for key, text in marks.items())
            if size > _MARK_BYTES * len(self._messages):
                found.append(f"state: {size} bytes of marks in {name}")
        return found


def _policy(rng: random.Random) -> dict[str, Any]:
    return {
        "archive_on": rng.choice(("date_added", "date_added", "action", "send")),
        "archived_in_total": rng.random() < 0.3,
        "archive_recipients": rng.random() < 0.3,
        "messages_filter_on": rng.choice(("sent", "date_added", "scheduled")),
        "bounds_inclusive": rng.random() < 0.5,
        "links_envelope": rng.random() < 0.3,
        "links_paged": rng.random() < 0.3,
        "auth_failure_status": rng.choice((401, 403)),
    }


def _verifications(sent: float, now: float) -> int:
    """Return the number of verification days since the send."""
    days = (now - sent) / DAY
    return sum(days >= point for point in (3, 30, *range(170, 2000, 60)))


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return value / 1000 if isinstance(value, int) else 0.0


def _in_gap(entry: Mapping[str, Any], moment: float) -> bool:
    return any(
        from_iso(start) - DAY <= moment <= from_iso(end) + DAY
        for start, end in entry.get("gaps", ())
    )
