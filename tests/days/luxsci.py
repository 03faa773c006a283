"""A LuxSci account for simulated days, with the promises about it.

Some accounts are read as one of their users, who sees only own rows.

A report that is filtered by date is due in every run, with the rows whose filter date
is within the look-back before the run and whose own date is older than the five minutes
that rows may take to appear. Rows that were there at the start, and rows that appeared
within the look-back of their date, are due in the first run that can read them, however
late.

Users, jobs and the lists, contacts and campaigns of marketing are also due in full once
in 8 days; marketing links and complaints, and all summaries, at the first run of a UTC
day. A summary is due for the whole days within the look-back.

A report that counts a row but hides it is settled without the row and read again on the
next day: rows that it may have hidden are due from then on.

Events that the API filters by the date of the send are promised only within the
look-back of the send: the tap notices the filter only by rows outside of their window.
"""

from __future__ import annotations

import math
import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from simulator.luxsci.facts import ENDPOINTS, KINDS, PREFIX, SUMMARIES
from simulator.luxsci.store import MINUTE
from simulator.luxsci.truth import KEYS, RENAMED, Reading, truth
from simulator.world import World
from tests.days.days import FINE, Account, Ran, Weather
from tests.days.promises import ROWS, VALUES, Shown, Visit
from tests.support.encompass import DAY, NOW
from tests.support.luxsci import Clinic
from tests.support.state import flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.days.promises import ListId
    from tests.support.encompass import Key, Record

_STREAM = "luxsci_"
_START = NOW - 8 * DAY
_SETTLING = 300.0
_RECENT = 40 * DAY
"""Rows shown by the reports that are filtered by date."""
_WEEK = 8 * DAY
_THINGS = (
    *("marketing_campaigns", "marketing_lists", "marketing_contacts"),
    *("users", "jobs"),
)
_WHOLE = ("marketing_urls", "marketing_complaints")
_SLOW = ("delivery_status", "marketing_logs", "marketing_bounces")
_CHANGES = "delivery_status"
"""The report of which a run emits only changed rows."""
_HOUR = 3600.0
_OF_USER = 0.25
"""Share of the accounts that are read as one user."""
_LASTING = 4
"""Days for which a failing report fails."""
_ILL = ("/opens$", "/sent$", "/clicked$")
_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504},
    {"kind": "status", "status": 429, "retry_after": "20"},
    {"kind": "not_json"},
    {"kind": "wrong_shape", "shape": "null"},
    {"kind": "wrong_shape", "shape": "data_string"},
    {"kind": "cut"},
    {"kind": "half_body"},
    {"kind": "expire_token"},
)
_CHANCES: Mapping[Weather, float] = {"calm": 0.0, "faults": 0.004, "storm": 0.05}


class LuxSciDays(Account):
    """An account with three users, one of whom does marketing."""

    provider = "luxsci"
    token_path = "/auth"

    def __init__(self, seed: int, days: int) -> None:
        rng = random.Random(f"luxsci {seed}")  # noqa: S311 -- reproducible
        self._rng = rng
        self._lookback = rng.choice((1, 2, 4))
        world = World(NOW, seed=seed)
        self._api = world.luxsci
        self._build(days)
        self._daily = rng.choice((0, 0, 0, 400))
        self.site = self._clinic = Clinic(
            world,
            lookback_days=self._lookback,
            max_concurrency=rng.choice((1, 1, 2)),
            requests_per_minute=60,
            daily_requests=(self._daily or 1_000_000) - 10,
            **self._scope(seed, rng.choice(("secure", "secure", "api_key"))),
        )
        self.site.common["start_date"] = datetime.fromtimestamp(_START, UTC).isoformat()
        self._api.set_policy(
            requests_per_minute=60, requests_per_day=self._daily, **_policy(rng)
        )
        self._phase = rng.uniform(0, 12 * _LASTING)
        self._visited: dict[str, float] = {}
        self._first_seen: dict[tuple[str, Key], float] = {}
        self._excused: dict[tuple[str, Key], float] = {}
        self._hid: dict[str, float] = {}
        self._ended = -math.inf
        self._throttled = 0

    def _scope(self, seed: int, auth: str) -> dict[str, Any]:
        """Draw whether the reports of the account or of one user are read."""
        rng = random.Random(f"luxsci scope {seed}")  # noqa: S311 -- reproducible
        if rng.random() < _OF_USER:
            return {"scope": "user"}
        return {"logins": self._api.logins[:1], "auth": auth}

    # The world

    def _build(self, days: int) -> None:
        rng, api = self._rng, self._api
        end = NOW + days * DAY
        for number in range(3):
            login = api.add_user(created=_START - rng.uniform(5, 400) * DAY)
            if number:
                api.update_user(login, at=rng.uniform(NOW, end), name="Dr. O'Neill")
        for _ in range(4 + days // 2):
            self._message(float(int(rng.uniform(_START, end))))
        for _ in range(2 + days // 5):
            at = float(int(rng.uniform(_START, end)))
            api.add_suppression(login=api.logins[1], at=at, visible_from=self._late(at))
            at = float(int(rng.uniform(_START, end)))
            for _ in range(rng.choice((1, 1, 2))):
                api.add_login_failure(at=at, visible_from=self._late(at))
            at = rng.uniform(_START, end)
            job = api.add_job(created=at)
            api.update_job(job, at=at + rng.uniform(1, 9) * _HOUR, status="complete")
        self._marketing(api.logins[0], end, 1 + days // 20)

    def _late(self, at: float) -> float:
        """Draw when a row appears, rarely after any look-back."""
        late = self._rng.choices((0.0, _HOUR, DAY, 6 * DAY), (75, 15, 7, 3))[0]
        return at + self._rng.uniform(0, late)

    def _message(self, sent: float) -> None:
        rng, api = self._rng, self._api
        people = [f"patient{n}@example.org" for n in rng.sample(range(30), 3)]
        people = people[: rng.choice((1, 1, 3))]
        channel = rng.choice(("smtp", "smtp", "webmail"))
        sendmail_id = api.add_message(
            sent=sent,
            channel=channel,
            login=rng.choice(api.logins),
            recipients=people,
            visible_from=self._late(sent),
        )
        for to in people:
            at = api.delivery(sendmail_id, to).row.visible_from + rng.uniform(1, 300)
            if channel == "smtp" and rng.random() < 0.15:
                api.add_temporary_failure(sendmail_id, to, at=at)
                at += rng.uniform(60, 9 * _HOUR)
            api.deliver(sendmail_id, to, at=at)
            while rng.random() < 0.5:
                at += rng.expovariate(1 / (2 * DAY)) % (20 * DAY)
                shown = self._late(at)
                for _ in range(rng.choices((1, 2), (95, 5))[0]):
                    api.add_open(sendmail_id, to, at=at, visible_from=shown)
                if rng.random() < 0.5:
                    at += rng.uniform(1, 600)
                    api.add_click(sendmail_id, to, at=at, visible_from=self._late(at))
            if channel == "smtp" and rng.random() < 0.1:
                api.add_complaint(sendmail_id, to, at=at + rng.uniform(60, _HOUR))

    def _marketing(self, login: str, end: float, campaigns: int) -> None:
        rng, api = self._rng, self._api
        lists = [api.add_list(login, created=_START - DAY) for _ in range(2)]
        people = [
            api.add_contact(login, rng.choice(lists), created=_START - _HOUR)
            for _ in range(8)
        ]
        api.update_item("marketing_lists", lists[0], at=rng.uniform(NOW, end), name="x")
        for _ in range(campaigns):
            at = float(int(rng.uniform(_START, end)))
            campaign = api.add_campaign(login, created=at - 3 * _HOUR)
            logs = api.send_campaign(campaign, rng.sample(people, 5), at=at)
            for log in logs:
                self._log(log, at + rng.uniform(5, 5 * _HOUR))

    def _log(self, log: int, at: float) -> None:
        rng, api = self._rng, self._api
        bounces = rng.random() < 0.1
        api.dispose(log, "hard_bounce" if bounces else "delivered", at=at)
        kinds = ("marketing_opens", "marketing_clicks", "marketing_opens")
        for kind in kinds[: 0 if bounces else rng.randint(0, 3)]:
            at += rng.expovariate(1 / DAY)
            api.log_event(kind, log, at=at, visible_from=self._late(at))
        if rng.random() < 0.1:
            kind = rng.choice(("marketing_complaints", "marketing_unsubscribes"))
            api.log_event(kind, log, at=at + 1)

    @override
    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        # For some days a report cannot be read, or counts a row that it hides.
        period = int((self.site.world.clock.now() / DAY + self._phase) // _LASTING)
        if period % 2:
            path = _ILL[period // 2 % len(_ILL)]
            yield {"kind": ("status", "skip_row")[period // 2 % 2], "path": path}
        chance = _CHANCES[weather]
        if not chance:
            return
        # Some reports cannot be read that day.
        path = ("/opens$", "/delivery$", "/sent$", "/users$", "/clicked$")[seed % 5]
        yield {"kind": "status", "status": 503, "path": path}
        for number, rule in enumerate(_FAULTS):
            yield {"path": "/", **rule, "probability": chance, "seed": seed + number}

    # Shown rows

    @override
    def shown(self, at: float) -> Shown:
        shown = self._rows(at, at)
        for (stream, _), rows in shown.items():
            for key in rows:
                self._first_seen.setdefault((stream, key), at)
        return shown

    @override
    def served(self, at: float) -> Shown:
        return self._rows(at, at + _SETTLING)

    def _rows(self, at: float, now: float) -> Shown:
        """Return the rows of an instant that a tap with another clock reads."""
        kept = self._clinic.reading()
        reading = Reading(
            user=kept.user,
            logins=kept.logins,
            start=max(_START, at - _RECENT),
            lookback_days=kept.lookback_days,
            delivery_lookback_days=kept.delivery_lookback_days,
            now=(now,),
        )
        shown: Shown = {}
        for stream, key in KEYS.items():
            rows = truth(self._api, stream, [at], None, reading)
            # Older rows may come in full lists and are left out everywhere.
            shown[stream, None] = {
                tuple(row[part] for part in key): self.known(stream, row)
                for row in rows
                if self._is_wanted(stream, row)
            }
        return shown

    def _is_wanted(self, stream: str, row: Record) -> bool:
        date = self._date(stream, row)
        return date is None or date >= _START

    def _date(self, stream: str, row: Record) -> float | None:
        """Return the date of a row, which is compared with start_date."""
        kind = KINDS[stream.removeprefix(_STREAM)]
        if kind.name in SUMMARIES:
            return _seconds(row["interval_start"])
        return _seconds(row.get(_column(kind.name, kind.date)))

    @override
    def known(self, stream: str, record: Record) -> Record:
        return {name: value for name, value in record.items() if name != "report_date"}

    # Due lists

    @override
    def lists_of(self, path: str) -> Iterator[ListId]:
        kind = _kind_of(path)
        if kind is not None:
            yield f"{_STREAM}{kind}", None

    @override
    def excuse(self, list_id: ListId, missing: Iterable[Key], now: float) -> None:
        # Rows that are out of the look-back by the next run are not requested.
        self._excused |= {(list_id[0], key): now for key in missing}

    @override
    def not_due(
        self, list_id: ListId, rows: Mapping[Key, Record], now: float
    ) -> Iterable[Key]:
        name = list_id[0].removeprefix(_STREAM)
        return {key for key, row in rows.items() if not self._is_due(name, row, now)}

    @override
    def visits(self, ran: Ran, shown: Shown) -> Iterator[Visit]:
        struck = [_kind_of(entry.path) for entry in ran.entries if entry.fault]
        self._hid |= {
            f"{_STREAM}{_kind_of(entry.path)}": ran.begun
            for entry in ran.entries
            if "skip_row" in (entry.fault or "").split()
        }
        # A wrong server time shifts the end of every window: see `behind_since`.
        if None in struck or any(oddity.changes_clock for _, oddity in ran.odd()):
            return
        for stream in KEYS:
            is_read = ran.outcomes.get(stream) in FINE
            if is_read and stream.removeprefix(_STREAM) not in struck:
                yield from self._due(stream, shown[stream, None], ran.begun)

    def _due(
        self, stream: str, rows: Mapping[Key, Record], now: float
    ) -> Iterator[Visit]:
        kind = KINDS[stream.removeprefix(_STREAM)]
        is_daily = kind.name in _WHOLE or kind.name in SUMMARIES
        if is_daily and self._visited.get(stream, 0) // DAY == now // DAY:
            return
        if not is_daily and kind.name in _THINGS:
            before = self._visited.get(f"{stream} whole", -math.inf)
            if now - before >= _WEEK:
                self._visited[f"{stream} whole"] = now
                yield Visit((stream, None), "whole")
        self._visited[stream] = now
        later = {k for k, row in rows.items() if not self._is_due(kind.name, row, now)}
        hid = self._hid.get(stream, -math.inf)
        hidden: set[Key] = set()
        if now - hid < DAY:
            hidden = {key for key in rows if self._first_seen[stream, key] <= hid}
        if kind.name == _CHANGES:
            # Counted as known: each row is emitted again once a week.
            hidden |= {
                key
                for key in rows
                if now - self._excused.get((stream, key), -math.inf) < _WEEK
            }
        if "event_id" not in KEYS[stream]:
            yield Visit((stream, None), VALUES, frozenset(later | hidden))
        later -= {
            key
            for key in later
            if (stream, key) not in self._excused
            and self._is_timely(stream, key, rows[key])
        }
        yield Visit((stream, None), ROWS, frozenset(later | hidden))

    def _is_due(self, name: str, row: Record, now: float) -> bool:
        if name in _WHOLE:
            return True
        if name in SUMMARIES:
            day = _seconds(row["interval_start"]) or 0.0
            return now // DAY - self._lookback <= day // DAY < now // DAY
        filtered = self._filtered(name, row)
        return filtered is not None and filtered >= now - self._days(name) * DAY

    def _is_timely(self, stream: str, key: Key, row: Record) -> bool:
        """Return whether a row appeared early enough for every look-back."""
        name = stream.removeprefix(_STREAM)
        if name in SUMMARIES:
            return False
        filtered, seen = self._filtered(name, row), self._first_seen[stream, key]
        if filtered is None:
            return False
        return seen <= NOW + DAY / 4 or filtered >= seen - self._days(name) * DAY

    def _days(self, name: str) -> int:
        return 30 if name in _SLOW else self._lookback

    def _filtered(self, name: str, row: Record) -> float | None:
        """Return the date by which the API filters a row."""
        return _seconds(row.get(_column(name, self._api.policy.column(KINDS[name]))))

    # Other promises

    @override
    def complaints(self, ran: Ran, shown: Shown) -> list[str]:
        found = []
        limits = self._api.limits
        # With several threads on one clock a request may be late. A run does not know
        # the requests of one that was killed within the minute before it.
        alone = self.site.settings["max_concurrency"] == 1
        is_first = ran.begun - self._ended >= MINUTE
        throttled = limits.throttled - self._throttled
        self._ended, self._throttled = ran.ended, limits.throttled
        if (alone and is_first and throttled) or limits.refused:
            found.append(f"limits: {throttled} throttled, {limits.refused} refused")
        if ran.faults:
            return found
        fine = FINE | ({"paused"} if self._daily else set())
        if ran.code != 0 or not fine.issuperset(ran.outcomes.values()):
            found.append(f"failed: {ran.code} {ran.outcomes}")
        rows = sum(map(len, shown.values()))
        most = 30 * len(ENDPOINTS) + 12 * rows
        if len(ran.entries) > most:
            found.append(f"requests: {len(ran.entries)} of {most}")
        return found

    @override
    def state_complaints(
        self, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[str]:
        found = []
        known = flat(old)
        for name, entry in flat(new).items():
            before = known.get(name, {})
            value = before.get("replication_key_value")
            if value is not None and entry.get("replication_key_value") < value:
                found.append(f"state: {name}.replication_key_value went back")
            for key, reach in entry.get("lists", {}).items():
                known = before.get("lists", {}).get(key, {})
                if reach["through"] < known.get("through", ""):
                    found.append(f"state: {name}.lists.{key}.through went back")
                if len(reach.get("todo", ())) > 40:
                    found.append(f"state: {len(reach['todo'])} windows in {name}")
        return found


def _policy(rng: random.Random) -> dict[str, Any]:
    return {
        "rows": rng.choice(("arrays", "objects")),
        "header_entries": rng.choice(("strings", "objects")),
        "header_at": rng.choice(("top", "data")),
        "header_place": rng.choice(("before", "after")),
        "header_order": rng.choice(("page", "shuffled")),
        "header_case": rng.choice(("page", "lower", "upper", "mixed")),
        "count_at": rng.choice(("top", "data")),
        "count_type": rng.choice(("number", "string")),
        "count_of": rng.choice(("all", "page", "nothing")),
        "numbers_as_strings": rng.random() < 0.3,
        "strings_as_numbers": rng.random() < 0.2,
        "nulls": rng.choice(("null", "empty_dates", "zero_dates")),
        "max_rows": rng.choice((0, 0, 5)),
        "delivery_date": rng.choice(("last_updated", "date_sent")),
        "event_date": rng.choice(("own", "own", "date_sent")),
        "rows_order": rng.choice(("date", "insertion", "descending")),
        "renew_every": rng.choice((0, 0, 7)),
        "auth_lifetime": rng.choice((DAY, 90.0)),
    }


def _patterns() -> list[tuple[re.Pattern[str], str]]:
    found = []
    for one in ENDPOINTS:
        path = re.sub(r"\\\{(?:account|login)\\\}", "[^/]+", re.escape(one.path))
        found.append((re.compile(re.escape(PREFIX) + path), one.kind))
    return found


_PATTERNS = _patterns()


def _kind_of(path: str) -> str | None:
    return next((kind for one, kind in _PATTERNS if one.fullmatch(path)), None)


def _column(kind: str, source: str | None) -> str:
    if (kind, source) == ("login_failures", "date"):
        return "failed_at"
    return RENAMED.get(source or "", source or "")


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else _utc(moment)).timestamp()


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
