"""The truth of LuxSci, compared with a simple reader, and rule by rule."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from simulator.luxsci import truth as luxsci_truth
from simulator.luxsci.facts import ENDPOINTS, KINDS, gmt
from simulator.luxsci.generate import generate
from simulator.luxsci.truth import IDENTITY, KEYS, STREAMS, Reading, columns
from simulator.truth import truth
from simulator.world import World
from tests.simulator.luxsci_client import DAY, NOW, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.luxsci.facts import Endpoint

    Record = dict[str, Any]

START = NOW - 25 * DAY
LOGIN = "user1@clinic.example"
_THINGS = ("campaigns", "lists", "contacts")
_WHOLE = ("users", "jobs", *(f"marketing_{name}" for name in _THINGS))
_SLOW = ("delivery_status", "marketing_logs", "marketing_bounces")


class Reader:
    """Reads the simulated LuxSci by the rules, in windows of two weeks."""

    def __init__(self, world: World, user: str | None = None) -> None:
        self.world = world
        self.user = user
        self.client = connect(world, user=user)
        self.targets: dict[str, dict[tuple[object, ...], Record]] = {
            stream: {} for stream in STREAMS
        }
        self.last = self.whole = 0.0

    def run(self) -> None:
        """Read everything that is due now."""
        now = self.world.clock.now()
        is_new_day = now // DAY != self.last // DAY or not self.last
        is_whole = now - self.whole >= 7 * DAY
        for stream in STREAMS:
            kind = stream.removeprefix("luxsci_")
            is_daily = KINDS[kind].date is None
            for endpoint, login in self._reports(kind):
                if not is_daily:
                    self._windows(stream, endpoint, login, now)
                elif is_new_day:
                    self._daily(stream, endpoint, login, now)
                if is_whole and kind in _WHOLE:
                    self._keep(stream, endpoint, login, {}, settled=now - 300)
        self.last = now
        self.whole = now if is_whole else self.whole

    def _reports(self, kind: str) -> Iterator[tuple[Endpoint, str | None]]:
        for endpoint in ENDPOINTS:
            if endpoint.kind != kind:
                continue
            if endpoint.is_marketing:
                logins = [self.user] if self.user else self.world.luxsci.logins
                for login in logins:
                    yield endpoint, login
            elif endpoint.is_of_account == (self.user is None):
                yield endpoint, self.user

    def _windows(
        self, stream: str, endpoint: Endpoint, login: str | None, now: float
    ) -> None:
        back = 30 if endpoint.kind in _SLOW else 2
        low = self.last - 300 - back * DAY if self.last else START
        end = math.floor(now - 300)
        low = math.floor(low)
        while low < end:
            high = min(low + 14 * DAY, end)
            query = {"from_date": gmt(low), "before_date": gmt(high)}
            self._keep(stream, endpoint, login, query, settled=end)
            low = high

    def _daily(
        self, stream: str, endpoint: Endpoint, login: str | None, now: float
    ) -> None:
        if not endpoint.kind.endswith("_summary"):
            self._keep(stream, endpoint, login, {})
            return
        first = math.ceil(START / DAY)
        if self.last:
            first = max(first, int(self.last // DAY) - 2)
        for day in range(first, int(now // DAY)):
            query = {"from_date": gmt(day * DAY), "before_date": gmt((day + 1) * DAY)}
            self._keep(stream, endpoint, login, query)

    def _keep(
        self,
        stream: str,
        endpoint: Endpoint,
        login: str | None,
        query: dict[str, str],
        *,
        settled: float = math.inf,
    ) -> None:
        """Read a report to its end and upsert its records."""
        key, date = KEYS[stream], KINDS[endpoint.kind].date
        names = {source: name for name, source in columns(stream)}
        turns: Counter[tuple[object, ...]] = Counter()
        for raw, extra in self._pages(endpoint, login, query):
            record: Record = {"account": self._account(), "login": login}
            record["channel"] = endpoint.channel
            record["scope"] = "user" if self.user else "account"
            record["interval_start"] = query.get("from_date", "")[:10]
            record |= {names[name]: value for name, value in raw.items()}
            record["additional_fields"] = extra or None
            moment = raw[date] if date else None
            if endpoint.kind in IDENTITY:
                self._identify(stream, record, turns)
            if moment is None or settled == math.inf or moment < _emitted(settled):
                self.targets[stream][tuple(record[part] for part in key)] = record

    @staticmethod
    def _identify(stream: str, record: Record, turns: Counter[Any]) -> None:
        kind = stream.removeprefix("luxsci_")
        parts = [record["account"], stream, *(record[n] for n in IDENTITY[kind])]
        is_changing = kind in ("delivery_status", "suppressions")
        turn = 0 if is_changing else turns[tuple(parts)]
        turns[tuple(parts)] += 1
        text = json.dumps([*parts, turn], separators=(",", ":"), ensure_ascii=False)
        record["event_id"] = hashlib.sha256(text.encode()).hexdigest()[:32]

    def _account(self) -> str:
        if self.user is None:
            return "4711"
        return hashlib.sha256(self.user.encode()).hexdigest()[:16]

    def _pages(
        self, endpoint: Endpoint, login: str | None, query: dict[str, str]
    ) -> Iterator[tuple[Record, Record]]:
        path = endpoint.path.format(
            account=4711, login=(login or "").replace("@", "%40")
        )
        total = _count(self.client.read(path, matches=0, **query))
        first = 0
        while first < total:
            page = self.client.read(path, first_row=first, matches=50, **query)
            rows = list(_rows(page, endpoint.kind))
            assert rows
            yield from rows
            first += len(rows)


def _emitted(at: float) -> str:
    return f"{gmt(at).replace(' ', 'T')}.000Z"


def _count(page: Record) -> int:
    inside = page.get("data") or {}
    for name in ("count", "total"):
        for where in (page, inside):
            if name in where:
                return int(where[name])
    raise AssertionError(page)


def _rows(page: Record, kind: str) -> Iterator[tuple[Record, Record]]:
    data = page["data"]
    inside = data if isinstance(data, dict) else {"rows": data}
    header = page.get("header") or inside["header"]
    names = [one["name"] if isinstance(one, dict) else one for one in header]
    known = {one.name.lower(): one for one in KINDS[kind].columns}
    for row in inside["rows"]:
        raw = row if isinstance(row, dict) else dict(zip(names, row, strict=True))
        shaped: Record = {one.name: None for one in known.values()}
        extra: Record = {}
        for name, value in raw.items():
            column = known.get(name.lower())
            if column is None:
                extra[name] = value
                continue
            shaped[column.name] = _conform(column.type, value)
            is_silent = column.type == "datetime" and str(value)[:4] in ("", "0000")
            if shaped[column.name] is None and value is not None and not is_silent:
                extra[column.name] = value
        yield shaped, extra


def _conform(kind: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        match kind:
            case "datetime":
                is_none = value[:4] in ("", "0000")
                return None if is_none else f"{value.replace(' ', 'T')}.000Z"
            case "integer":
                return int(value)
            case "float":
                return float(value)
    except ValueError:
        return None
    return str(value).replace("\0", "\ufffd").replace("\ud83d", "\ufffd")


def _any_policy(rng: random.Random) -> dict[str, object]:
    return {
        "rows": rng.choice(("arrays", "objects")),
        "header_entries": rng.choice(("strings", "objects")),
        "header_at": rng.choice(("top", "data")),
        "header_place": rng.choice(("before", "after")),
        "header_order": rng.choice(("page", "shuffled")),
        "header_case": rng.choice(("page", "lower", "upper", "mixed")),
        "count_at": rng.choice(("top", "data")),
        "count_name": rng.choice(("count", "total")),
        "count_type": rng.choice(("number", "string")),
        "count_of": rng.choice(("all", "page", "nothing")),
        "numbers_as_strings": rng.random() < 0.5,
        "strings_as_numbers": rng.random() < 0.5,
        "nulls": rng.choice(("null", "empty_dates", "zero_dates", "empty")),
        "max_rows": rng.choice((0, 7)),
        "delivery_date": rng.choice(("last_updated", "date_sent")),
        "event_date": rng.choice(("own", "date_sent")),
        "rows_order": rng.choice(("date", "insertion", "descending")),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("user", [None, LOGIN])
def test_a_simple_reader_finds_the_truth(seed: int, user: str | None) -> None:
    world = World(NOW, seed=seed)
    generate(world.luxsci, seed, 40, NOW, days_ahead=12)
    rng = random.Random(seed)  # noqa: S311 -- reproducible
    world.luxsci.set_policy(**_any_policy(rng), auth_lifetime=999 * DAY)
    reader = Reader(world, user)
    instants = []
    for days in (0, 0.3, 1.1, 4, 5):
        world.clock.advance(days * DAY)
        instants.append(world.clock.now())
        reader.run()
    for stream in STREAMS:
        reading = Reading(user=user, start=START)
        expected = truth(world, stream, instants, reading=reading)
        got = reader.targets[stream]
        assert len(expected) == len(got), stream
        for record in expected:
            key = tuple(record[part] for part in KEYS[stream])
            # The vendor does not send this column.
            record.pop("recipient_domain", None)
            other = {name: got[key][name] for name in record}
            assert other == record, stream


def test_every_stream_has_rows() -> None:
    world = World.generate(1, 0, NOW, days_ahead=2, luxsci=40)
    assert len(STREAMS) == 26
    for stream in STREAMS:
        assert truth(world, stream), stream


@pytest.fixture
def world() -> World:
    world = World(NOW)
    world.luxsci.add_user(created=NOW - 90 * DAY)
    return world


def only(world: World, stream: str, *at: float, **reading: Any) -> Record:
    (record,) = truth(world, f"luxsci_{stream}", at or None, reading=Reading(**reading))
    return record


def test_columns_come_in_the_documented_order(world: World) -> None:
    world.luxsci.add_message(sent=NOW - 600, recipients=["a@x.org", "b@x.org"])
    record = truth(world, "luxsci_delivery_status")[0]
    assert list(record)[:6] == [
        *("account", "event_id", "login", "channel", "date_sent", "from_address"),
    ]
    assert list(record)[-6:] == [
        *(
            "to_address",
            "recipient_domain",
            "user_login",
            "user_id",
            "template_id",
            "additional_fields",
        ),
    ]
    assert {"opens", "clicks", "unsubscribed", "header3_value"} < set(record)
    assert record["date_sent"] == _emitted(NOW - 600)
    record = only(world, "sent")
    assert list(record)[:3] == ["account", "login", "channel"]
    assert record["to_addresses"] == "a@x.org,b@x.org"
    summary = truth(world, "luxsci_suppressions_summary")[-1]
    assert list(summary) == [
        *("account", "scope", "login", "interval_start", "suppressions"),
        *("report_date", "additional_fields"),
    ]
    assert list(truth(world, "luxsci_users_summary")[0])[:2] == [
        *("account", "interval_start"),
    ]
    world.luxsci.add_login_failure(at=NOW - 600)
    assert list(only(world, "login_failures"))[:4] == [
        *("account", "event_id", "failed_at", "ip"),
    ]


# The first half of the openssl hash of the compact JSON list of the account, the
# stream, and null, smtp, s1, a@x.org, 2026-09-21T14:03:20.000Z, null, Z\xc3\xbc, 0:
#   printf "$LIST" | openssl dgst -sha256
OPEN = "375035e0167eaad43b2be57a7274908a"


def test_an_event_id_is_the_hash_of_openssl(world: World) -> None:
    for _ in range(2):
        world.luxsci.add_row(
            "opens",
            open_date=NOW - 600,
            sendmail_id="s1",
            user_agent="Zü",
            fields={"to": "a@x.org"},
        )
    found = {record["event_id"] for record in truth(world, "luxsci_opens")}
    assert OPEN in found
    assert len(found) == 2


def test_rows_that_may_change_are_not_numbered(world: World) -> None:
    fields = {"date_sent": NOW - 600, "last_updated": NOW - 600, "sendmail_id": "s1"}
    for opens in (1, 2):
        world.luxsci.add_row("delivery_status", fields=fields, Opens=opens)
    assert only(world, "delivery_status")["opens"] == 2


def test_rows_of_the_last_five_minutes_are_not_in_the_truth_yet(world: World) -> None:
    account = world.luxsci
    account.add_message(sent=NOW - 301, status="settled")
    account.add_message(sent=NOW - 300, status="fresh")
    assert only(world, "delivery_status")["status"] == "settled"
    assert len(truth(world, "luxsci_delivery_status", [NOW + 1])) == 2
    account.set_policy(delivery_date="date_sent")
    sendmail_id = account.add_message(sent=NOW - 900, status="changed")
    account.update_delivery(sendmail_id, at=NOW - 9, Opens=1)
    assert only(world, "delivery_status")["status"] == "settled"
    assert len(truth(world, "luxsci_delivery_status", [NOW, NOW + 600])) == 3


def test_rows_before_the_start_date_are_not_in_the_truth(world: World) -> None:
    account = world.luxsci
    for age in (366, 364, 10):
        account.add_message(sent=NOW - age * DAY)
        account.add_user(created=NOW - age * DAY)
    assert len(truth(world, "luxsci_sent")) == 2
    later = [NOW, NOW + 40 * DAY]
    assert len(truth(world, "luxsci_sent", later)) == 2
    late = Reading(start=NOW - 20 * DAY)
    assert len(truth(world, "luxsci_sent", reading=late)) == 1
    assert len(truth(world, "luxsci_users", reading=late)) == 4  # read in full


def test_rows_that_appear_after_the_look_back_are_not_in_the_truth(
    world: World,
) -> None:
    account = world.luxsci
    for days, seen in ((1.9, 1), (2.1, 1)):
        account.add_row(
            "opens", open_date=NOW - days * DAY, visible_from=NOW + 60, sendmail_id=days
        )
        assert len(truth(world, "luxsci_opens", [NOW, NOW + 900])) == seen
    assert len(truth(world, "luxsci_opens", [NOW + 900])) == 2
    wide = Reading(lookback_days=3)
    assert len(truth(world, "luxsci_opens", [NOW, NOW + 900], reading=wide)) == 2


def test_values_are_those_of_the_last_reading_that_saw_the_row(world: World) -> None:
    account = world.luxsci
    sendmail_id = account.add_message(sent=NOW - 20 * DAY)
    account.update_delivery(sendmail_id, at=NOW + DAY, status="Delivered")
    record = only(world, "delivery_status", NOW)
    assert (record["status"], record["additional_fields"]) == ("In Queue", None)
    record = only(world, "delivery_status", NOW, NOW + 2 * DAY)
    assert record["status"] == "Delivered"
    assert only(world, "delivery_status", NOW, NOW + DAY)["status"] == "In Queue"
    account.set_policy(delivery_date="date_sent")
    assert len(truth(world, "luxsci_delivery_status", [NOW, NOW + DAY + 600])) == 1
    short = {"delivery_lookback_days": 19.0}
    record = only(world, "delivery_status", NOW, NOW + DAY + 600, **short)
    assert record["status"] == "In Queue"


def test_deleted_rows_stay_in_the_truth_once_read(world: World) -> None:
    handle = world.luxsci.add_row("suppressions", added=NOW - 900, email="a@x.org")
    world.luxsci.delete(handle, at=NOW + 60)
    assert len(truth(world, "luxsci_suppressions", [NOW, NOW + DAY])) == 1
    assert not truth(world, "luxsci_suppressions", [NOW + DAY])


def test_reports_without_a_date_are_read_once_a_day(world: World) -> None:
    account = world.luxsci
    morning = NOW - NOW % DAY + 60
    account.add_row(
        "marketing_clicks", login=LOGIN, visible_from=morning, campaign_id=1
    )
    account.add_row(
        "marketing_clicks", login=LOGIN, visible_from=morning + 99, campaign_id=1
    )
    same_day = [morning, morning + 3600]
    assert only(world, "marketing_urls", *same_day)["clicks"] == 1
    assert only(world, "marketing_urls", *same_day, morning + DAY)["clicks"] == 2
    assert only(world, "marketing_urls", morning + 3600)["clicks"] == 2


def test_summaries_cover_whole_days_and_are_read_again(world: World) -> None:
    account = world.luxsci
    midnight = NOW - NOW % DAY
    account.add_message(sent=midnight - DAY)
    account.add_message(sent=midnight - DAY, visible_from=midnight + DAY)
    account.add_message(sent=midnight - 9 * DAY, visible_from=midnight + DAY)
    stream = "luxsci_delivery_status_summary"
    start = Reading(start=midnight - 10 * DAY + 1)
    at = [midnight + 360, midnight + 3600, midnight + 2 * DAY + 360]
    rows = truth(world, stream, at[:2], reading=start)
    assert [row["interval_start"] for row in rows][:1] == [gmt(midnight - 9 * DAY)[:10]]
    assert len(rows) == 9
    assert (rows[-1]["recipients"], rows[-1]["report_date"]) == (1, _emitted(at[0]))
    rows = truth(world, stream, at, reading=start)
    days = {row["interval_start"]: row["recipients"] for row in rows}
    assert len(days) == 11
    assert days[gmt(midnight - DAY)[:10]] == 2
    assert days[gmt(midnight - 9 * DAY)[:10]] == 0


def test_entity_lists_are_read_in_full_once_a_week(world: World) -> None:
    account = world.luxsci
    account.add_list(LOGIN, created=NOW - 400 * DAY)
    account.add_list(LOGIN, created=NOW - 3 * DAY)
    row = account.add_row("marketing_lists", login=LOGIN, list_id=9, modified=None)
    account.correct(row, at=NOW + DAY, name="renamed")
    stream = "luxsci_marketing_lists"
    at = [NOW, NOW + 6.9 * DAY, NOW + 7 * DAY]
    assert [record["list_id"] for record in truth(world, stream, at)] == [1, 2, 9]
    assert truth(world, stream, at[:2])[-1]["name"] is None
    assert truth(world, stream, at)[-1]["name"] == "renamed"


def test_values_that_fit_no_column_are_kept(world: World) -> None:
    account = world.luxsci
    account.add_message(sent=NOW - 900, smtp_code="n/a", size_bytes="7")
    record = only(world, "delivery_status")
    assert (record["smtp_code"], record["size_bytes"]) == (None, 7)
    assert record["additional_fields"] == {"smtp_code": "n/a"}
    listed = account.add_list(LOGIN, created=NOW - 900)
    account.add_contact(LOGIN, listed, created=NOW - 900, custom={"member_no": "12"})
    assert only(world, "marketing_contacts")["additional_fields"] is None
    extra = only(world, "marketing_contacts", detail=True)["additional_fields"]
    assert extra == {"favorite_color": None, "member_no": "12"}


def test_tracked_headers_are_null_unless_requested(world: World) -> None:
    world.luxsci.add_message(sent=NOW - 900, header1="x-clinic")
    assert only(world, "sent")["header1"] is None
    assert only(world, "sent", tracked_headers=True)["header1"] == "x-clinic"


def test_the_truth_of_a_user_holds_that_users_rows_only(world: World) -> None:
    account = world.luxsci
    other = account.add_user("other@clinic.example", created=NOW - DAY)
    for login in (LOGIN, other):
        account.add_message(sent=NOW - 900, login=login)
        account.add_list(login, created=NOW - 900)
    record = only(world, "sent", user=other)
    digest = hashlib.sha256(other.encode()).hexdigest()[:16]
    assert (record["account"], record["login"]) == (digest, other)
    assert only(world, "marketing_lists", user=other)["login"] == other
    assert only(world, "marketing_lists", logins=(LOGIN,))["login"] == LOGIN
    row = truth(world, "luxsci_opens_summary", reading=Reading(user=other))[0]
    assert (row["scope"], row["login"]) == ("user", other)
    assert not truth(world, "luxsci_users", reading=Reading(user=other))
    named = truth(world, "luxsci_sent", account="mine")
    assert {record["account"] for record in named} == {"mine"}


def test_an_unknown_stream_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        truth(World(NOW), "luxsci_everything")
    assert set(luxsci_truth.KEYS) == {f"luxsci_{name}" for name in KINDS}
