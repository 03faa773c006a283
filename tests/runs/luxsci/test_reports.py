"""LuxSci's reports: the target holds the rows that the API showed."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

import pytest
import yaml
from singer_sdk.exceptions import ConfigValidationError

from tap_email_metrics.clock import iso
from tap_email_metrics.providers.luxsci import client, report
from tap_email_metrics.streams import window_facts, window_reader, windows
from tap_email_metrics.tap import TapEmailMetrics
from tap_email_metrics.transport import bounds
from tests.support.luxsci import DAY, NOW, Clinic, Sync, World
from tests.support.state import flat

EVENTS = ("delivery_status", "sent", "opens", "clicks", "complaints")
DATED = (
    *EVENTS,
    *("suppressions", "temporary_failures", "login_failures", "marketing_logs"),
    *("marketing_opens", "marketing_clicks", "marketing_bounces"),
    "marketing_unsubscribes",
)
SOME = ("delivery_status", "sent", "opens", "opens_summary", "marketing_clicks")
HOUR = 3600.0
SENT, OPENS = ("sent",), ("opens",)


def day(back: float) -> str:
    return iso(NOW - back * DAY)


def clinic_of(back: float = 5, **settings: Any) -> Clinic:
    """Return an account with one message per hour for three days, each opened."""
    clinic = Clinic(**settings)
    api = clinic.api
    api.add_user("ann@clinic.example", created=NOW - 400 * DAY)
    for hour in range(72):
        sent = NOW - 3 * DAY + hour * HOUR
        message = api.add_message(sent=sent, channel="webmail" if hour % 3 else "smtp")
        api.add_open(message, at=min(sent + HOUR, NOW - 600))
    clinic.common["start_date"] = day(back)
    if settings.get("scope") != "user":
        clinic.settings["logins"] = api.logins
    return clinic


def outcome(run: Sync, stream: str) -> str:
    return str(run.reports[f"luxsci_{stream}"]["outcome"])


def message(run: Sync, stream: str) -> str:
    return str(run.reports[f"luxsci_{stream}"].get("message", ""))


# Choices that the vendor leaves open

POLICIES: dict[str, dict[str, Any]] = {
    "objects": {"rows": "objects", "header_case": "upper", "header_at": "data"},
    "mixed": {"header_case": "mixed", "header_order": "shuffled"},
    "after": {"header_place": "after", "header_entries": "objects", "count_at": "data"},
    "loose": {"numbers_as_strings": True, "strings_as_numbers": True},
    "empty": {"nulls": "empty", "count_type": "string", "count_name": "total"},
    "zero dates": {"nulls": "zero_dates", "rows_order": "descending"},
    "short": {"max_rows": 7, "rows_order": "insertion"},
    "short by size": {"max_bytes": 1500, "rows_order": "descending"},
    "count of page": {"count_of": "page", "max_rows": 9},
    "no count": {"count_of": "nothing", "max_rows": 8, "rows": "objects"},
    "by send": {"delivery_date": "date_sent", "max_rows": 40},
    "all": {
        "rows": "objects",
        "header_case": "lower",
        "header_order": "shuffled",
        "header_at": "data",
        "count_at": "data",
        "rows_name": "results",
        "nulls": "empty_dates",
        "numbers_as_strings": True,
        "max_rows": 11,
        "count_of": "nothing",
        "rows_order": "descending",
        "renew_every": 5,
        "delivery_date": "date_sent",
        "error_field": "error",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_every_choice_that_the_vendor_leaves_open_gives_the_same_rows(
    name: str,
) -> None:
    world = World.generate(7, 0, NOW, luxsci=30, days_ahead=4)
    clinic = Clinic(world)
    clinic.common["start_date"] = day(40)
    clinic.api.set_policy(**POLICIES[name])
    streams = (*DATED, "opens_summary", "marketing_urls", "marketing_complaints")
    for _ in range(2):
        assert clinic.sync(streams=streams).code == 0
        clinic.advance(1.1)
    assert clinic.wrong(*streams) == []


@pytest.mark.slow
def test_two_weeks_of_runs_match_the_truth() -> None:
    world = World.generate(1, 0, NOW, luxsci=60, days_ahead=16)
    world.luxsci.update_user("user1@clinic.example", at=NOW - DAY, name="Ann")
    clinic = Clinic(world, tracked_headers=True, detail=True)
    clinic.settings["max_concurrency"] = 4
    clinic.common["start_date"] = day(70)  # no row is older now
    names = clinic.offered()
    for _ in range(14):
        assert clinic.sync().code == 0
        clinic.advance(1)
    assert clinic.wrong(*names) == []


# Changes during the read of a window


def hooked(clinic: Clinic, at: int, change: Any, path: str = "/smtp/opens") -> None:
    """Change the world just before the nth request of a report."""
    seen = 0

    def hook(_method: str, asked: str, _query: Any) -> None:
        nonlocal seen
        if asked.endswith(path):
            seen += 1
            if seen == at:
                change()

    clinic.world.on_request(hook)


@pytest.mark.slow
@pytest.mark.parametrize("count_of", ["all", "page", "nothing"])
@pytest.mark.parametrize("order", ["date", "descending"])
@pytest.mark.parametrize("at", [2, 4, 7])
def test_changes_between_pages_of_a_window_lose_no_row(
    at: int, order: str, count_of: str
) -> None:
    clinic = clinic_of()
    api = clinic.api
    api.set_policy(max_rows=5, rows_order=order, count_of=count_of)
    opens = [*api.table("opens").entries][:2]
    late = api.add_message(sent=NOW - 2.5 * DAY)

    def change() -> None:
        api.delete(opens[0])
        api.add_open(late, at=NOW - 2.2 * DAY, visible_from=NOW)
        api.add_open(late, at=NOW - 2.2 * DAY, visible_from=NOW)  # an equal event

    hooked(clinic, at, change)
    assert clinic.sync(streams=OPENS).code == 0
    clinic.advance(1)
    assert clinic.sync(streams=OPENS).code == 0
    # Deleted rows may have been emitted before; no other row is superfluous.
    wanted = {row["event_id"] for row in clinic.truth("opens", [NOW + DAY])}
    have = {key[1] for key in clinic.rows("opens")}
    assert not wanted - have
    assert len(have - wanted) <= 1


@pytest.mark.parametrize("order", ["date", "insertion", "descending"])
def test_a_row_that_moves_to_the_next_page_is_emitted_once(order: str) -> None:
    clinic = clinic_of()
    api = clinic.api
    api.set_policy(max_rows=5, rows_order=order)
    early = api.add_message(sent=NOW - 2.9 * DAY)
    hooked(
        clinic,
        2,
        lambda: [
            api.add_open(early, at=NOW - back * DAY, visible_from=NOW)
            for back in (2.88, 0.1)
        ],
    )
    assert clinic.sync(streams=OPENS).code == 0
    clinic.advance(0.5)
    assert clinic.sync(streams=OPENS).code == 0
    assert clinic.wrong("opens") == []


@pytest.mark.parametrize("order", ["date", "descending"])
@pytest.mark.parametrize("most", [1, 2, 3, 0])
def test_equal_events_on_two_pages_are_separate_rows(order: str, most: int) -> None:
    clinic = Clinic()
    api = clinic.api
    clinic.common["start_date"] = day(5)
    sent = api.add_message(sent=NOW - 2 * DAY)
    for back in (1.5, 1.5, 1.5, 1.2, 1.1, 1.1):
        api.add_open(sent, at=NOW - back * DAY)
    api.set_policy(max_rows=most, rows_order=order)
    assert clinic.sync(streams=OPENS).code == 0
    assert clinic.wrong("opens") == []
    assert len(clinic.rows("opens")) == 6
    assert clinic.coverage("opens", "smtp").todo == ()


def test_a_list_that_repeats_its_pages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_reader, "LARGEST_WINDOW", 100)
    clinic = clinic_of()
    clinic.api.set_policy(count_of="nothing")

    def same_page(request: Any, reply: Any) -> None:
        if request.path.endswith("/smtp/opens") and request.query["matches"] != "0":
            reply.body = first.setdefault("body", reply.body)

    first: dict[str, bytes] = {}
    clinic.world.on_reply(same_page)
    run = clinic.sync(streams=OPENS)
    assert run.code == 0
    assert outcome(run, "opens") == "incomplete"
    assert clinic.coverage("opens", "smtp").todo
    assert run.requests < 300
    assert len(run.records("luxsci_opens")) < 500


def test_a_window_that_never_settles_is_read_again() -> None:
    clinic = clinic_of()
    api = clinic.api
    sent = api.add_message(sent=NOW - 3 * HOUR)

    def grow(_method: str, path: str, _query: Any) -> None:
        if path.endswith("/smtp/opens"):
            api.add_open(sent, at=NOW - 2 * HOUR, visible_from=NOW)

    remove = clinic.world.on_request(grow)
    run = clinic.sync(streams=OPENS)
    remove()
    said = run.reports["luxsci_opens"]
    assert run.code == 0
    assert said["unsettled"] >= 1
    assert said["behind_since"] < day(0)
    assert clinic.coverage("opens", "smtp").todo
    assert run.requests < 60
    clinic.advance(0.01)
    assert clinic.sync(streams=OPENS).code == 0
    assert clinic.coverage("opens", "smtp").todo == ()
    assert clinic.wrong("opens") == []


def test_late_rows_are_found_within_the_look_back() -> None:
    clinic = clinic_of()
    sent = clinic.api.add_message(sent=NOW - 2 * DAY)
    for hours in (1, 20, 40, 47):
        clinic.api.add_open(sent, at=NOW - HOUR, visible_from=NOW + hours * HOUR)
    for _ in range(4):
        assert clinic.sync(streams=OPENS).code == 0
        clinic.advance(0.9)
    assert clinic.wrong("opens") == []


def test_the_last_five_minutes_are_left_to_the_next_run() -> None:
    clinic = clinic_of()
    sent = clinic.api.add_message(sent=NOW - DAY)
    fresh = clinic.api.add_open(sent, at=NOW - 299)
    clinic.api.add_open(sent, at=NOW - 301)
    clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []
    assert clinic.coverage("opens", "smtp").through == int(NOW) - 300
    clinic.advance(0.01)
    clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []
    assert clinic.api.fields(fresh)


# Large windows


@pytest.mark.slow
@pytest.mark.parametrize("count_of", ["all", "page", "nothing"])
@pytest.mark.parametrize("largest", [3, 10])
def test_a_large_window_is_split(
    monkeypatch: pytest.MonkeyPatch, largest: int, count_of: str
) -> None:
    monkeypatch.setattr(window_reader, "LARGEST_WINDOW", largest)
    clinic = clinic_of()
    clinic.api.set_policy(count_of=count_of)
    for _ in range(12):  # more rows in one second than fit into a page
        clinic.api.add_message(sent=NOW - DAY, login="ann@clinic.example")
    run = clinic.sync(streams=SENT)
    assert run.code == 0
    assert clinic.wrong("sent") == []
    assert clinic.coverage("sent", "smtp").todo == ()
    dates = {
        (e.query["from_date"], e.query["before_date"])
        for e in clinic.world.log.entries
        if "from_date" in e.query
    }
    assert ("2026-09-20 14:13:20", "2026-09-20 14:13:21") in dates


@pytest.mark.slow
def test_a_window_of_more_than_50000_rows_is_split() -> None:
    clinic = Clinic()
    clinic.common["start_date"] = day(2)
    for number in range(50_400):
        at = NOW - DAY + number % 4000
        clinic.api.add_login_failure(at=at, ip=f"203.0.113.{number % 250}")
    run = clinic.sync(streams=("login_failures",))
    assert run.code == 0
    assert clinic.wrong("login_failures") == []
    asked = [e for e in clinic.world.log.entries if e.query.get("matches") == "50000"]
    # Windows are halved down to the 4,000 seconds with rows, not to single pages.
    assert len(asked) < 20


def test_history_windows_grow_while_they_are_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clinic = Clinic()
    run = clinic.sync(streams=("login_failures",))
    assert run.requests < 30  # 365 days
    monkeypatch.setattr(window_facts, "SMALL", 0)
    monkeypatch.setattr(window_facts, "EMPTY_FACTOR", 1)
    other = Clinic()
    other.common["start_date"] = day(40)
    other.sync(streams=("login_failures",))
    assert sum(e.query.get("matches") == "50000" for e in other.world.log.entries) > 38


# Interruptions


class BrokenError(BaseException):
    """An exception that no code of the tap raises."""


def finish(clinic: Clinic, streams: tuple[str, ...]) -> None:
    for _ in range(3):
        assert clinic.sync(streams=streams).code == 0
        clinic.advance(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stop", "crash", "cut"])
def test_a_run_that_ends_at_any_request_loses_no_row(kind: str) -> None:
    probe = clinic_of()
    total = probe.sync(streams=SOME).requests
    assert total > 30
    for at in range(2, total, 9 if kind == "stop" else 19):
        clinic = clinic_of()
        tap = clinic.tap(streams=SOME)
        seen = 0

        def end(*_: Any, at: int = at, tap: Any = tap) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                if kind == "crash":
                    raise BrokenError
                tap.run.stop.by_signal(15)

        hook = clinic.world.on_reply if kind == "cut" else clinic.world.on_request
        remove = hook(end)
        if kind == "crash":
            crashed(tap)
        else:
            assert tap.execute() == 143
        remove()
        load(clinic, tap)
        finish(clinic, SOME)
        assert clinic.wrong(*SOME) == [], at


def crashed(tap: TapEmailMetrics) -> None:
    with pytest.raises(BrokenError):
        tap.execute()


def load(clinic: Clinic, tap: TapEmailMetrics) -> None:
    """Load the output of a run that did not end."""
    writer: Any = tap.message_writer
    writer.flush()
    state = clinic.target.load(writer.messages)
    clinic.state = clinic.state if state is None else state
    clinic.times.append(clinic.world.clock.now())


@pytest.mark.parametrize("at", [1, 10, 40, 90, 150])
def test_the_writer_may_fail_at_any_record(at: int) -> None:
    clinic = clinic_of()
    tap = clinic.tap(streams=SOME)
    tap.run.write_state_in_time = tap.run.write_state  # type: ignore[method-assign]
    writer: Any = tap.message_writer
    write, left = writer.write_records, at

    def broken(stream: str, records: list[Any], extracted: float) -> None:
        nonlocal left
        write(stream, records[:left], extracted)
        left -= len(records)
        if left < 0:
            raise BrokenError

    writer.write_records = broken
    crashed(tap)
    load(clinic, tap)
    assert sum(m["type"] == "RECORD" for m in writer.messages) == at
    finish(clinic, SOME)
    assert clinic.wrong(*SOME) == []


@pytest.mark.slow
def test_a_state_never_covers_a_row_that_was_not_written() -> None:
    """Each STATE of a run, with the records before it, is a valid place to continue."""
    first = clinic_of()
    tap = first.tap(streams=("sent", "opens"))
    tap.run.write_state_in_time = tap.run.write_state  # type: ignore[method-assign]
    tap.execute()
    writer: Any = tap.message_writer
    writer.flush()
    messages = writer.messages
    places = [n for n, m in enumerate(messages) if m["type"] == "STATE"]
    assert len(places) > 10
    for place in places:
        clinic = clinic_of()
        clinic.state = clinic.target.load(messages[: place + 1]) or {}
        clinic.advance(0.2)
        assert clinic.sync(streams=("sent", "opens")).code == 0
        assert clinic.wrong("sent", "opens") == []


def test_a_window_that_was_read_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_facts, "EMPTY_FACTOR", 2)
    clinic = clinic_of(400)
    # Without any row the list would be verified in full.
    clinic.api.add_login_failure(at=NOW - DAY)
    clinic.api.set_policy(requests_per_day=6)
    asked = []
    for _ in range(16):
        run = clinic.sync(streams=("login_failures",))
        assert run.code == 0
        # The count after the page is the last request of a window.
        asked += [
            e.query["from_date"]
            for e in clinic.world.log.entries
            if e.query.get("matches") == "0"
            and e.status == HTTPStatus.OK
            and e.query["from_date"] < "2026-09-15"
        ]
        clinic.advance(1)
    coverage = clinic.coverage("login_failures")
    assert coverage.todo == ()
    assert len(asked) > 8
    assert len(asked) == len({*asked})


# The budget


@pytest.mark.slow
def test_history_starves_no_stream_and_live_windows_come_first() -> None:
    clinic = clinic_of(300, daily_requests=120)
    streams = ("sent", "opens", "login_failures", "delivery_status_summary")
    run = clinic.sync(streams=streams)
    assert run.code == 0
    for stream in streams:
        assert outcome(run, stream) in {"paused", "complete", "empty"}
        parents = run.reports[f"luxsci_{stream}"]["parents"]
        assert parents >= 1
    recent = [row for row in clinic.truth("sent") if row["date_sent"] > day(2)]
    assert len(recent) > 30
    keys = clinic.rows("sent").keys()
    assert {("4711", r["channel"], r["sendmail_id"]) for r in recent} <= {*keys}
    days = 0
    while "paused" in {report["outcome"] for report in run.reports.values()}:
        clinic.advance(1)
        run = clinic.sync(streams=streams)
        assert run.code == 0
        days += 1
        assert days < 20
    assert days > 1
    assert clinic.wrong(*streams) == []


@pytest.mark.slow
def test_a_spent_daily_quota_pauses_and_the_next_day_continues() -> None:
    for status in (429, 403, 200, 503):
        clinic = clinic_of(60)
        clinic.api.set_policy(requests_per_day=25, throttle_status=status)
        runs = []
        for _ in range(8):
            runs.append(clinic.sync(streams=SOME))
            clinic.advance(1)
        assert {run.code for run in runs} == {0}
        assert outcome(runs[0], "opens") == "paused"
        clinic.api.set_policy(requests_per_day=0)
        finish(clinic, SOME)
        assert clinic.wrong(*SOME) == [], status


@pytest.mark.parametrize("status", [429, 200, 403, 503])
@pytest.mark.parametrize("after", [None, "7"])
def test_throttling_is_waited_out(status: int, after: str | None) -> None:
    clinic = clinic_of(requests_per_minute=600)
    clinic.api.set_policy(
        requests_per_minute=10, throttle_status=status, retry_after=after
    )
    assert clinic.sync(streams=SOME).code == 0
    assert clinic.api.throttled > 0
    assert clinic.wrong(*SOME) == []


def test_the_rate_of_the_tap_causes_no_throttling() -> None:
    clinic = clinic_of(requests_per_minute=60, max_concurrency=4)
    clinic.api.set_policy(requests_per_minute=61)
    start = clinic.world.clock.now()
    run = clinic.sync(streams=SOME)
    assert clinic.api.throttled == 0
    assert run.requests / (clinic.world.clock.now() - start) > 0.9


# Intervals


def test_an_earlier_start_date_is_read_and_a_later_one_reads_nothing() -> None:
    clinic = clinic_of(2)
    clinic.sync(streams=SENT)
    few = len(clinic.rows("sent"))
    clinic.common["start_date"] = day(5)
    clinic.advance(0.1)
    clinic.sync(streams=SENT)
    assert len(clinic.rows("sent")) == 72 > few
    clinic.advance(9)
    clinic.common["start_date"] = day(-7)
    run = clinic.sync(streams=SENT)
    assert run.records("luxsci_sent") == []
    asked = [e.query["from_date"] for e in clinic.world.log.entries if e.query]
    assert min(asked) >= "2026-09-28"


def test_without_a_start_date_one_year_is_read_once() -> None:
    clinic = Clinic()
    old = clinic.api.add_message(sent=NOW - 364 * DAY)
    clinic.api.add_message(sent=NOW - 367 * DAY)
    clinic.sync(streams=SENT)
    assert [key[2] for key in clinic.rows("sent")] == [old]
    clinic.advance(30)
    clinic.sync(streams=SENT)
    assert clinic.wrong("sent") == []
    assert clinic.world.log.count() < 12


def test_a_backfill_reads_its_interval_and_changes_no_live_mark() -> None:
    clinic = clinic_of(1)
    clinic.sync(streams=(*SOME,))
    before = json.loads(json.dumps(flat(clinic.state)))
    clinic.common |= {"start_date": day(4), "end_date": day(2), "backfill": True}
    run = clinic.sync(streams=SOME)
    assert run.code == 0
    sent = [row["date_sent"] for row in run.records("luxsci_sent")]
    assert sent
    assert day(4)[:19] <= min(sent)
    assert max(sent) < day(2)
    for name, entry in flat(clinic.state).items():
        if name != "_tap":
            assert {k: v for k, v in entry.items() if k != "backfill"} == before[name]
    days = {row["interval_start"] for row in run.records("luxsci_opens_summary")}
    assert days == {"2026-09-18", "2026-09-19"}


def test_a_backfill_with_an_end_in_the_future_continues_the_next_day() -> None:
    clinic = clinic_of(1)
    clinic.common |= {"start_date": day(4), "end_date": day(-9), "backfill": True}
    run = clinic.sync(streams=SOME)
    days = {row["interval_start"] for row in run.records("luxsci_opens_summary")}
    assert max(days) == "2026-09-20"  # never today
    clinic.advance(2)
    later = clinic.api.add_message(sent=NOW + DAY)
    run = clinic.sync(streams=SOME)
    assert [row["sendmail_id"] for row in run.records("luxsci_sent")] == [later]
    days = {row["interval_start"] for row in run.records("luxsci_opens_summary")}
    assert days == {"2026-09-21", "2026-09-22"}


def test_an_interrupted_backfill_continues() -> None:
    clinic = clinic_of(1)
    clinic.common |= {"start_date": day(30), "end_date": day(1), "backfill": True}
    clinic.api.set_policy(requests_per_day=9)
    for _ in range(12):
        assert clinic.sync(streams=SENT).code == 0
        clinic.advance(1)
    assert len(clinic.rows("sent")) == 48


def test_full_table_reads_everything_again() -> None:
    clinic = clinic_of()
    clinic.sync(streams=SENT)
    clinic.advance(0.1)
    catalog = clinic.tap().catalog_dict
    for entry in catalog["streams"]:
        entry["replication_method"] = "FULL_TABLE"
        for part in entry["metadata"]:
            if part["breadcrumb"] == []:
                part["metadata"]["forced-replication-method"] = "FULL_TABLE"
                part["metadata"]["replication-method"] = "FULL_TABLE"
    run = clinic.sync(streams=SENT, catalog=catalog)
    assert len({row["sendmail_id"] for row in run.records("luxsci_sent")}) == 72
    assert clinic.coverage("sent", "smtp").todo == ()


# Delivery status


def delivered(**policy: Any) -> Clinic:
    clinic = Clinic()
    clinic.common["start_date"] = day(60)
    clinic.api.set_policy(**policy)
    return clinic


@pytest.mark.parametrize("reading", ["last_updated", "date_sent"])
@pytest.mark.parametrize("lookback", [0, 2])
def test_deliveries_are_right_for_both_dates_that_the_api_may_filter_by(
    reading: str, lookback: int
) -> None:
    clinic = delivered(delivery_date=reading)
    clinic.settings["lookback_days"] = lookback
    api = clinic.api
    ids = [api.add_message(sent=NOW - back * DAY) for back in range(1, 50)]
    for turn in range(8):
        now = clinic.world.clock.now()
        # This includes changes just before and during a run.
        api.deliver(ids[turn], at=now - 100)
        api.update_delivery(ids[turn + 10], at=now - 400, Opens=turn)
        assert clinic.sync(streams=("delivery_status",)).code == 0
        api.update_delivery(ids[turn + 15], at=clinic.world.clock.now() + 5, spam=1)
        clinic.advance(0.7)
    assert clinic.sync(streams=("delivery_status",)).code == 0
    shown = {row["sendmail_id"]: row for row in clinic.rows("delivery_status").values()}
    truth = {row["sendmail_id"]: row for row in clinic.truth("delivery_status")}
    assert shown == truth
    assert len(shown) == 49


def test_unchanged_deliveries_are_emitted_again_only_weekly() -> None:
    clinic = delivered()
    ids = [clinic.api.add_message(sent=NOW - (5 + n) * DAY) for n in range(6)]
    assert len(clinic.sync(streams=("delivery_status",)).records(DELIVERY)) == 6
    for _ in range(6):
        clinic.advance(1)
        clinic.api.update_delivery(ids[2], at=clinic.world.clock.now() - HOUR)
        run = clinic.sync(streams=("delivery_status",))
        assert {row["sendmail_id"] for row in run.records(DELIVERY)} == {ids[2]}
    clinic.advance(1)
    run = clinic.sync(streams=("delivery_status",))
    assert {row["sendmail_id"] for row in run.records(DELIVERY)} == {*ids}


DELIVERY = "luxsci_delivery_status"


def test_the_weekly_verification_finds_rows_that_came_too_late() -> None:
    clinic = delivered()
    clinic.sync(streams=("delivery_status",))
    late = NOW + 4 * DAY
    late_id = clinic.api.add_message(sent=NOW - 1 * DAY, visible_from=late)
    found = []
    for _ in range(8):
        clinic.advance(1)
        run = clinic.sync(streams=("delivery_status",))
        found.append([r["sendmail_id"] for r in run.records(DELIVERY)])
    assert [late_id] in found
    assert found[3] == []


def test_a_delivery_without_a_date_of_change_is_emitted_in_every_run() -> None:
    clinic = delivered(delivery_date="date_sent")
    sent = clinic.api.add_message(sent=NOW - 4 * DAY)
    row = clinic.api.delivery(sent).serial
    clinic.api.correct(row, at=NOW, fields={"last_updated": None})
    for _ in range(3):
        run = clinic.sync(streams=("delivery_status",))
        assert len(run.records(DELIVERY)) == 1
        clinic.advance(1)


def test_after_an_unsettled_look_back_all_rows_are_emitted() -> None:
    clinic = delivered()
    api = clinic.api
    ids = [api.add_message(sent=NOW - (3 + n) * DAY) for n in range(5)]
    clinic.sync(streams=("delivery_status",))
    clinic.advance(1)

    def grow(_method: str, path: str, _query: Any) -> None:
        if path.endswith("smtp/delivery"):
            api.add_message(sent=NOW - 2.5 * DAY, visible_from=NOW + DAY)

    remove = clinic.world.on_request(grow)
    assert clinic.sync(streams=("delivery_status",)).reports[DELIVERY]["unsettled"]
    remove()
    clinic.advance(1)
    run = clinic.sync(streams=("delivery_status",))
    assert {*ids} <= {row["sendmail_id"] for row in run.records(DELIVERY)}
    assert clinic.wrong("delivery_status") == []


def test_equal_delivery_rows_log_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clinic = delivered()
    sent = clinic.api.add_message(sent=NOW - DAY)
    fields = dict(clinic.api.fields(clinic.api.delivery(sent).serial))
    clinic.api.add_row(
        "delivery_status", channel="smtp", visible_from=NOW - DAY, fields=fields
    )
    clinic.sync(streams=("delivery_status",))
    assert len(clinic.rows("delivery_status")) == 1
    assert "smtp: 1 rows equal an earlier row" in caplog.text


@pytest.mark.parametrize("stream", ["opens", "clicks", "complaints"])
def test_events_that_the_api_filters_by_send_date_are_found(
    stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    clinic = delivered(event_date="date_sent")
    api = clinic.api
    add = {"opens": api.add_open, "clicks": api.add_click}.get(
        stream, api.add_complaint
    )
    ids = [api.add_message(sent=NOW - back * DAY) for back in range(1, 40)]
    for sent in ids[5:9]:
        add(sent, at=NOW - 2 * DAY)
    clinic.sync(streams=(stream,))
    assert "from now on each run reads 30 days again" in caplog.text
    caplog.clear()
    for turn in range(6):
        add(ids[turn + 10], at=clinic.world.clock.now() + HOUR)
        clinic.advance(1)
        clinic.sync(streams=(stream,))
    assert "from now on" not in caplog.text
    assert len(clinic.rows(stream)) == 10


# Summaries and lists without a date


def test_summaries_cover_whole_days_and_never_today() -> None:
    clinic = clinic_of(6)
    run = clinic.sync(streams=("opens_summary",))
    days = [row["interval_start"] for row in run.records("luxsci_opens_summary")]
    assert sorted({*days}) == [f"2026-09-{n}" for n in range(16, 21)]
    assert len(days) == 5
    assert clinic.sync(streams=("opens_summary",)).requests == 0  # once a day
    clinic.advance(9.77 / 24)  # to 23:59:32
    assert clinic.sync(streams=("opens_summary",)).requests == 0
    clinic.advance(0.01)  # the next day, after the last one has settled
    clinic.advance(0.01)
    run = clinic.sync(streams=("opens_summary",))
    days = [row["interval_start"] for row in run.records("luxsci_opens_summary")]
    assert days == ["2026-09-19", "2026-09-20", "2026-09-21"]
    for entry in clinic.world.log.entries:
        if entry.query:
            assert entry.query["from_date"].endswith("00:00:00")
            assert entry.query["before_date"].endswith("00:00:00")
    clinic.advance(5)
    clinic.sync(streams=("opens_summary",))
    assert clinic.wrong("opens_summary") == []


def test_summaries_with_a_look_back_of_0_miss_no_day() -> None:
    clinic = clinic_of(6, lookback_days=0)
    for _ in range(4):
        assert clinic.sync(streams=("opens_summary",)).code == 0
        clinic.advance(1.3)
    assert clinic.wrong("opens_summary") == []
    assert len(clinic.rows("opens_summary")) == 9


def test_lists_without_a_date_are_read_in_full_and_daily_at_most() -> None:
    world = World.generate(3, 0, NOW, luxsci=40, days_ahead=3)
    clinic = Clinic(world)
    streams = ("marketing_urls", "marketing_complaints")
    first = clinic.sync(streams=streams).requests
    assert first > 4
    clinic.advance(0.2)
    assert clinic.sync(streams=streams).requests == 0
    assert clinic.wrong(*streams) == []
    clinic.advance(0.5)
    assert clinic.sync(streams=streams).requests == first
    assert clinic.wrong(*streams) == []
    assert clinic.rows("marketing_urls")


def test_entity_lists_are_read_in_full_once_a_week() -> None:
    clinic = clinic_of()
    clinic.common.clear()
    row = clinic.api.add_row(
        "users", fields={"user_id": 99, "login": "old@clinic.example", "modified": None}
    )
    for turn in range(8):
        run = clinic.sync(streams=("users",))
        ids = {record["user_id"] for record in run.records("luxsci_users")}
        assert (99 in ids) == (turn in {0, 7})
        clinic.advance(1)
    assert clinic.api.fields(row)


# Empty, denied, elsewhere


def test_a_report_without_rows_is_empty_and_exit_code_0() -> None:
    clinic = Clinic()
    clinic.common["start_date"] = day(3)
    run = clinic.sync(streams=DATED)
    assert run.code == 0
    assert {r["outcome"] for r in run.reports.values()} <= {"empty"}


def test_a_report_missing_at_its_assumed_path_is_unavailable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clinic = clinic_of()
    operation = "getEmailFeedBackLoopsReportAccount"
    clinic.api.set_policy(absent={operation})
    run = clinic.sync(streams=("complaints", *SENT))
    assert run.code == 0
    assert outcome(run, "complaints") == "unavailable"
    assert outcome(run, "sent") == "complete"
    assert f"luxsci.path_overrides.{operation}" in message(run, "complaints")
    assert "luxsci.openapi_path" in message(run, "complaints")
    assert "behind_since" not in run.reports["luxsci_complaints"]
    # At INFO, which other tests switch on, the run summary names it, too.
    warned = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert sum(operation in record.getMessage() for record in warned) == 1
    assert clinic.wrong("sent") == []


def test_a_report_missing_in_one_channel_is_read_in_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clinic = clinic_of()
    clinic.api.set_policy(absent={"getEmailWebMailOpenReportAccount"})
    for _ in range(2):
        run = clinic.sync(streams=OPENS)
        assert run.code == 0
        assert outcome(run, "opens") == "complete"
        clinic.advance(1)
    assert "webmail was left out" in caplog.text
    assert {row["channel"] for row in clinic.rows("opens").values()} == {"smtp"}


def test_a_report_missing_at_its_confirmed_path_fails() -> None:
    clinic = clinic_of()
    clinic.api.set_policy(
        absent={"getEmailSMTPSentReportAccount", "getEmailWebMailSentReportAccount"}
    )
    run = clinic.sync(streams=("sent", "opens"))
    assert run.code == 1
    assert outcome(run, "sent") == "failed"
    assert outcome(run, "opens") == "complete"


def test_a_report_that_disappears_after_earlier_reads_fails() -> None:
    clinic = clinic_of()
    clinic.sync(streams=("jobs",))
    clinic.advance(1)
    clinic.api.set_policy(absent={"getAccountJobs"})
    run = clinic.sync(streams=("jobs",))
    assert run.code == 1
    assert "it could be read before" in message(run, "jobs")
    clinic.advance(9)
    clinic.api.set_policy(absent=())
    assert clinic.sync(streams=("jobs",)).code == 0


@pytest.mark.parametrize("status", [403, 401, 200])
def test_a_denied_report_is_unavailable(status: int) -> None:
    clinic = clinic_of()
    operations = {"getAccountSuppressionReport", "getEmailSMTPOpenReportAccount"}
    clinic.api.set_policy(denied=operations, access_status=status)
    run = clinic.sync(streams=("suppressions", "opens", "sent"))
    assert run.code == 0
    assert outcome(run, "suppressions") == "unavailable"
    assert "getAccountSuppressionReport" in message(run, "suppressions")
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("sent") == []


# Paths of reports

ODD = "/account/{accountId}/odd/fbl"


def moved(**paths: str) -> Clinic:
    clinic = clinic_of()
    sent = clinic.api.add_message(sent=NOW - 2 * DAY)
    clinic.api.add_complaint(sent, at=NOW - DAY)
    told = {
        name: path.replace("{accountId}", "{account}") for name, path in paths.items()
    }
    clinic.api.set_policy(paths=told)
    return clinic


def test_a_report_is_read_at_its_path_override() -> None:
    operation = "getEmailFeedBackLoopsReportAccount"
    clinic = moved(**{operation: ODD})
    clinic.settings["path_overrides"] = {operation: ODD}
    assert clinic.sync(streams=("complaints",)).code == 0
    assert clinic.wrong("complaints") == []
    assert clinic.rows("complaints")


def test_a_wrong_path_override_fails_its_stream() -> None:
    operation = "getEmailFeedBackLoopsReportAccount"
    clinic = clinic_of(path_overrides={operation: "/account/{account}/nowhere"})
    run = clinic.sync(streams=("complaints", "sent"))
    assert run.code == 1
    assert outcome(run, "sent") == "complete"


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("base", ["", "/perl/api/v2"])
def test_paths_of_reports_are_taken_from_the_vendors_openapi_file(
    tmp_path: Any, form: str, base: str
) -> None:
    operation = "getEmailFeedBackLoopsReportAccount"
    document = {
        "openapi": "3.0.0",
        "paths": {
            f"{base}{ODD}": {"get": {"operationId": operation}, "x": 1},
            "/other": {"get": {"operationId": "getNothing"}},
            "/odd": {"get": {"operationId": ["a"]}, "post": None},
            "/null": None,
        },
    }
    file = tmp_path / f"luxsci-api.{form}"
    text = yaml.safe_dump(document) if form == "yaml" else json.dumps(document)
    file.write_text(text)
    clinic = moved(**{operation: ODD})
    clinic.settings["openapi_path"] = str(file)
    assert clinic.sync(streams=("complaints", *SENT)).code == 0
    assert clinic.wrong("complaints", "sent") == []
    assert clinic.rows("complaints")


BAD_PATHS = [
    *("https://evil.example/x", "//evil.example/x", "account/{account}", ""),
    *("/x?y=1", "/x#y", "/x y", "/account/{id}", "/account/{}", "/account/{account"),
    *("/account/account}", "/{{account}}", "\\\\evil\\x"),
]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("how", ["override", "file"])
def test_invalid_paths_of_reports_are_refused_by_name(
    tmp_path: Any, path: str, how: str
) -> None:
    operation = "getAccountJobs"
    clinic = clinic_of()
    if how == "override":
        clinic.settings["path_overrides"] = {operation: path}
    else:
        file = tmp_path / "api.json"
        paths = {path: {"get": {"operationId": operation}}}
        file.write_text(json.dumps({"paths": paths}))
        clinic.settings["openapi_path"] = str(file)
    assert operation in refusal(clinic) or path == ""


@pytest.mark.parametrize("content", ["", "[1", "a: [", "{}", "paths: 7", "\x00", "x"])
def test_a_file_that_is_not_an_openapi_description_is_refused(
    tmp_path: Any, content: str
) -> None:
    clinic = clinic_of()
    file = tmp_path / "api.yaml"
    file.write_text(content)
    clinic.settings["openapi_path"] = str(file)
    assert "luxsci.openapi_path" in refusal(clinic)


def test_an_openapi_file_that_cannot_be_read_is_refused(tmp_path: Any) -> None:
    clinic = clinic_of()
    for file in (tmp_path / "missing.yaml", tmp_path):
        clinic.settings["openapi_path"] = str(file)
        assert "luxsci.openapi_path: cannot read" in refusal(clinic)


def test_an_unknown_report_is_refused_with_a_hint() -> None:
    clinic = clinic_of(path_overrides={"getAcountJobs": "/x"})
    assert "did you mean getAccountJobs?" in refusal(clinic)


def refusal(clinic: Clinic) -> str:
    try:
        clinic.tap()
    except ConfigValidationError as error:
        return str(error.errors)
    return ""


# Faults


@pytest.mark.parametrize("kind", ["half_body", "cut", "not_json", "status"])
def test_temporary_faults_cost_no_row(kind: str) -> None:
    clinic = clinic_of()
    clinic.world.faults.add(kind, path="/report/", times=2, probability=0.7, seed=4)
    assert clinic.sync(streams=SOME).code == 0
    assert clinic.wrong(*SOME) == []


def outage_longer_than_the_lookback() -> Clinic:
    """Sync, let one list fail for four days, and sync again."""
    clinic = clinic_of()
    assert clinic.sync(streams=("sent",)).code == 0
    clinic.world.faults.add("status", status=500, path="/smtp/sent")
    for _ in range(4):
        clinic.advance(1)
        sent = clinic.world.clock.now() - HOUR
        clinic.api.add_message(sent=sent, channel="smtp")
        clinic.sync(streams=("sent",))
    clinic.world.faults.clear()
    clinic.advance(1)
    assert clinic.sync(streams=("sent",)).code == 0
    return clinic


@pytest.mark.slow
def test_windows_that_failed_are_read_as_soon_as_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert outage_longer_than_the_lookback().wrong("sent") == []

    def count_as_read(stream: Any, due: Any, _error: Any) -> None:
        coverage = stream._coverages[due.source.key]  # noqa: SLF001
        stream._keep(due.source.key, coverage.after(due.window, whole=True))  # noqa: SLF001

    monkeypatch.setattr(windows.WindowStream, "_note_failure", count_as_read)
    assert outage_longer_than_the_lookback().wrong("sent")


def test_a_cut_body_counts_as_a_short_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "ROWS_AT_ONCE", 3)
    # Bytes of a broken connection after the last whole chunk are lost.
    for module in (client, bounds):
        monkeypatch.setattr(module, "_CHUNK", 100)
    clinic = clinic_of()
    clinic.world.faults.add("half_body", path="/report/", times=1)
    assert clinic.sync(streams=("sent", "opens")).code == 0
    assert clinic.wrong("sent", "opens") == []
    firsts = {e.query.get("first_row") for e in clinic.world.log.entries}
    assert len(firsts) > 3


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_200_with_success_0_is_a_failure(order: str) -> None:
    clinic = clinic_of()

    def fail(request: Any, reply: Any) -> None:
        if request.path.endswith("/smtp/sent"):
            parts = {
                "success": 0,
                **{k: v for k, v in json.loads(reply.body).items() if k != "success"},
            }
            body = parts if order == "first" else dict(reversed(parts.items()))
            reply.body = json.dumps(body).encode()

    remove = clinic.world.on_reply(fail)
    run = clinic.sync(streams=SENT)
    assert run.code == 0  # the other channel was read
    assert run.reports["luxsci_sent"]["failed"] == ["smtp"]
    assert clinic.coverage("sent", "webmail").todo == ()
    remove()
    clinic.advance(0.1)
    assert clinic.sync(streams=SENT).code == 0
    assert clinic.wrong("sent") == []


@pytest.mark.slow
def test_one_odd_answer_does_not_fail_later_runs() -> None:
    odd = [
        *(b"", b"[]", b"{}", b"null", b'{"success":1}', b'{"success":1,"data":null}'),
        *(b'{"data":[[1]]}', b'{"success":1,"count":"x"}', b'{"count":-5}'),
        *(b'{"success":1,"header":null,"data":[]}', b'{"success":1,"count":99999999}'),
    ]
    for body in odd:
        clinic = clinic_of()

        def spoil(request: Any, reply: Any, body: bytes = body) -> None:
            if request.path.endswith("/sent"):
                reply.body = body

        remove = clinic.world.on_reply(spoil)
        run = clinic.sync(streams=SENT)
        assert run.code in {0, 1}
        assert run.requests < 250, body
        remove()
        clinic.advance(0.1)
        run = clinic.sync(streams=SENT)
        assert run.code == 0
        if body != b'{"success":1,"header":null,"data":[]}':  # a valid empty answer
            assert clinic.wrong("sent") == [], body


# Rows


def test_two_redacted_complaints_in_one_second_are_two_rows() -> None:
    clinic = Clinic()
    clinic.common["start_date"] = day(9)
    sent = clinic.api.add_message(sent=NOW - 2 * DAY, recipients=2)
    for entry in clinic.api.entries("delivery_status", "smtp", NOW):
        to = entry.row.fields(NOW)["to"]
        clinic.api.add_complaint(sent, str(to), at=NOW - DAY, fields={"to": "redacted"})
    for _ in range(2):
        clinic.sync(streams=("complaints",))
        clinic.advance(1)
    assert len(clinic.rows("complaints")) == 2
    assert clinic.wrong("complaints") == []


@pytest.mark.parametrize("detail", [True, False])
def test_custom_fields_and_tracked_headers_are_kept(detail: bool) -> None:  # noqa: FBT001
    world = World.generate(9, 0, NOW, luxsci=30, days_ahead=0)
    clinic = Clinic(world, detail=detail, tracked_headers=detail)
    clinic.common["start_date"] = day(60)
    streams = ("sent", "delivery_status", "marketing_logs", "marketing_opens")
    clinic.sync(streams=streams)
    assert clinic.wrong(*streams) == []
    rows = [*clinic.rows("marketing_logs").values()]
    held = {key for row in rows for key in row["additional_fields"] or {}}
    assert ({"favorite_color", "member_no"} <= held) == detail
    headers = {row["header1"] for row in clinic.rows("sent").values()}
    assert ("x-clinic" in headers) == detail


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
def test_pii_modes_keep_rows_distinct_and_contain_no_address(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World.generate(9, 0, NOW, luxsci=30, days_ahead=0)
    plain, clinic = Clinic(world), Clinic(world)
    streams = (*DATED, "users", "jobs", "marketing_contacts", "opens_summary")
    for one in (plain, clinic):
        one.common["start_date"] = day(40)
    clinic.common["pii"] = {"mode": mode, "pepper": "p" * 32}
    plain.sync(streams=streams)
    caplog.clear()
    run = clinic.sync(streams=streams)
    assert run.code == 0
    for stream in streams:
        assert len(clinic.rows(stream)) == len(plain.rows(stream)), stream
    said = caplog.text + json.dumps([clinic.state, run.reports])
    for login in clinic.api.logins:
        assert login not in said
        assert login.split("@")[0] not in json.dumps(clinic.state)
    assert "patient" not in said
    for row in clinic.rows("delivery_status").values():
        assert "@" not in json.dumps({k: v for k, v in row.items() if k != "details"})


@pytest.mark.slow
def test_the_state_holds_digests_of_logins_and_stays_small() -> None:
    world = World.generate(9, 0, NOW, luxsci=30, days_ahead=20)
    clinic = Clinic(world)
    clinic.common["start_date"] = day(9)
    sizes = []
    for _ in range(6):
        clinic.sync(streams=(*DATED, "marketing_urls"))
        sizes.append(len(json.dumps(clinic.state)))
        clinic.advance(2)
    assert max(sizes) - min(sizes) < 200
    lists = clinic.entry("marketing_logs")["lists"]
    assert {len(key) for key in lists} == {16}
    assert "@" not in json.dumps(clinic.state)


# Clocks


@pytest.mark.parametrize("auth", ["secure", "api_key"])
def test_a_clock_that_is_ahead_marks_no_unread_time_as_read(auth: str) -> None:
    clinic = clinic_of(auth=auth)
    ahead = 20 * DAY
    world_now = clinic.world.clock.now

    class Ahead:
        """A machine with a wrong clock."""

        def now(self) -> float:
            return world_now() + ahead

        def __getattr__(self, name: str) -> Any:
            return getattr(clinic.world.clock, name)

    clinic.api.set_policy(max_skew=99 * DAY)
    tap = TapEmailMetrics(
        config=clinic.config(),
        state=None,
        clock=Ahead(),
        transport=clinic.tap()._transport,  # noqa: SLF001 - the world's
        message_writer=type(clinic.tap().message_writer)(),
    )
    for name, stream in tap.streams.items():
        stream.selected = name == "luxsci_sent"
    assert tap.execute() == 0
    load(clinic, tap)
    assert clinic.coverage("sent", "smtp").through <= NOW
    clinic.advance(10)
    missed = clinic.api.add_message(sent=NOW + 3 * DAY)
    assert clinic.sync(streams=SENT).code == 0
    assert ("4711", "smtp", missed) in clinic.rows("sent")


def test_late_events_of_lists_filtered_by_send_date_are_found_within_a_week() -> None:
    clinic = Clinic()
    clinic.api.set_policy(event_date="date_sent")
    sent = clinic.api.add_message(sent=NOW - HOUR, recipients=1)
    [to] = [
        str(entry.row.fields(NOW)["to"])
        for entry in clinic.api.entries("delivery_status", "smtp", NOW)
    ]
    for day_number in range(14):
        if day_number == 5:
            clinic.api.add_open(sent, to, at=clinic.world.clock.now() - HOUR)
        assert clinic.sync(streams=OPENS).code == 0
        clinic.advance(1)
    assert len(clinic.rows("opens")) == 1


def test_an_event_without_identifying_values_is_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An id made of the login alone would be the same for all such rows."""
    clinic = clinic_of()
    clinic.api.set_policy(rows="objects")

    emptied: list[Any] = []

    def empty_one_row(request: Any, reply: Any) -> None:
        answer = json.loads(reply.body)
        if request.path.endswith("/smtp/opens") and answer.get("data"):
            emptied[:] = emptied or answer["data"][:1]
            answer["data"] = [
                dict.fromkeys(row) if row in emptied else row for row in answer["data"]
            ]
            reply.body = json.dumps(answer).encode()

    clinic.world.on_reply(empty_one_row)
    run = clinic.sync(streams=OPENS)
    assert len(run.records("luxsci_opens")) == 71
    assert all(record["open_date"] for record in run.records("luxsci_opens"))
    assert "luxsci_opens: rows without a record: 1: identity missing" in caplog.text
