"""Quotas of Constant Contact: throttling is waited out, a spent day is resumed."""

from __future__ import annotations

from typing import Any

import pytest

from tap_email_metrics.clock import from_iso
from tests.support.constant_contact import DAY, NOW, Account

EVENTS = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")


def fill(account: Account, closed: int, opened: int = 3) -> None:
    contacts = [account.api.add_contact(created=NOW - 999 * DAY) for _ in range(2)]
    for number in range(closed + opened):
        days = 2 + number if number < opened else 100 + number
        sent = NOW - days * DAY
        campaign = account.api.add_campaign(sent=sent, recipients=contacts, links=1)
        account.api.add_event("opens", campaign, contacts[0], created=sent + DAY / 3)


def test_throttling_is_waited_out() -> None:
    account = Account(max_concurrency=1)
    fill(account, 3)
    account.api.set_policy(requests_per_second=2)  # fewer than the tap assumes
    run = account.sync()
    assert run.code == 0
    assert account.api.throttled > 0
    assert account.wrong(*EVENTS) == []


def test_the_rate_of_the_tap_causes_no_throttling() -> None:
    account = Account(max_concurrency=1, requests_per_second=4)
    fill(account, 40)
    account.api.set_policy(requests_per_second=4)
    start = account.world.clock.now()
    run = account.sync()
    assert run.code == 0
    assert account.api.throttled == 0
    taken = account.world.clock.now() - start
    assert run.requests / taken >= 0.95 * 4


@pytest.mark.slow
def test_a_spent_quota_pauses_and_the_next_day_continues() -> None:
    account = Account()
    fill(account, 30)
    account.api.set_policy(requests_per_day=150)
    codes = []
    paused = []
    for _ in range(6):
        run = account.sync()
        codes.append(run.code)
        paused.append(sum(r["outcome"] == "paused" for r in run.reports.values()))
        again = account.sync()  # the ledger knows that the budget is spent
        assert again.code == 0
        if paused[-1]:
            assert account.world.log.count() <= 1
        account.advance(1)
    assert set(codes) == {0}
    assert paused[0] > 0
    assert paused[-1] == 0
    assert account.wrong(*EVENTS) == []


@pytest.mark.slow
def test_a_backlog_starves_no_stream() -> None:
    account = Account(daily_requests=150)
    fill(account, 60)
    run = account.sync(streams=EVENTS)
    assert run.code == 0
    assert account.api.used_today <= 150
    for stream in EVENTS:
        report = run.reports[f"constant_contact_{stream}"]
        assert report["outcome"] == "paused"
        assert report["parents"] > 3  # the window and some of the history
    for _ in range(6):
        account.advance(1)
        run = account.sync(streams=EVENTS)
        assert run.code == 0
    assert {r["outcome"] for r in run.reports.values()} <= {"complete", "empty"}
    assert account.wrong(*EVENTS) == []


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_runs_cut_by_max_run_minutes_complete_the_data_together(share: float) -> None:
    account = Account(max_concurrency=1, requests_per_second=4)
    fill(account, 30)
    account.common["max_run_minutes"] = share
    for _ in range(14):
        run = account.sync(streams=EVENTS)
        assert run.code == 0
    assert account.wrong(*EVENTS) == []


def test_streams_with_a_backlog_share_the_time_of_a_run() -> None:
    account = Account(max_concurrency=1, requests_per_second=4)
    fill(account, 60)
    account.common["max_run_minutes"] = 0.5
    run = account.sync(streams=EVENTS)
    assert run.code == 0
    assert sum("parents" in report for report in run.reports.values()) >= 5


@pytest.mark.slow
def test_streams_share_the_budget_of_a_first_sync() -> None:
    account = Account(daily_requests=100)
    fill(account, 0, opened=60)
    run = account.sync(streams=EVENTS)
    assert run.code == 0
    for stream in EVENTS:
        report = run.reports[f"constant_contact_{stream}"]
        # A list that the budget cut is not counted as a parent.
        assert report["requests"] > 5
        assert report["behind_since"]
    for _ in range(6):
        account.advance(1)
        assert account.sync(streams=EVENTS).code == 0
    assert account.wrong(*EVENTS) == []


@pytest.mark.slow
def test_many_campaigns_that_change_at_once_starve_no_stream() -> None:
    account = Account()
    fill(account, 60)
    streams = ("campaign_activities", "opens", "contacts")
    assert account.sync(streams=streams).code == 0
    account.settings |= {"daily_requests": 50}
    runs: list[dict[str, Any]] = []
    for _ in range(12):
        account.advance(1)
        if not runs:
            for campaign in account.api.campaigns:
                account.api.update_campaign(campaign, name="Changed")
                [activity] = account.api.activities_of(campaign).values()
                account.api.update_activity(activity, subject="Changed")
        newest = list(account.api.campaigns)[-1]
        account.api.add_event("opens", newest)
        account.api.add_contact()
        run = account.sync(streams=streams)
        assert run.code == 0
        assert account.wrong("opens", "contacts") == []
        runs.append(run.reports["constant_contact_campaign_activities"])
    assert "left to read" in runs[0]["message"]
    assert runs[0]["parents"] > 5
    assert runs[-1]["outcome"] == "empty"
    assert account.wrong("campaign_activities") == []


@pytest.mark.slow
def test_contact_reports_starve_no_stream_and_no_contact() -> None:
    account = Account(contact_reports=True)
    fill(account, 0)
    campaign = list(account.api.campaigns)[-1]
    for _ in range(60):
        contact = account.api.add_contact(created=NOW - 99 * DAY)
        account.api.add_event("opens", campaign, contact, created=NOW - DAY)
    streams = ("contact_activity_details", "contact_open_and_click_rates", "opens")
    account.settings |= {"daily_requests": 50}
    details, rates = (f"constant_contact_{name}" for name in streams[:2])
    for number in range(7):
        account.api.add_event("opens", campaign, contact)
        run = account.sync(streams=streams)
        assert run.code == 0
        assert account.wrong("opens") == []
        if number == 0:
            assert "left to read" in run.reports[details]["message"]
            assert min(run.reports[one]["parents"] for one in (details, rates)) > 9
        account.advance(1)
    read = {row["contact_id"] for row in account.rows(streams[0]).values()}
    assert read == {row["contact_id"] for row in account.truth(streams[0])}
    assert len(account.rows(streams[1])) == 62


def test_contact_reports_are_read_once_a_day() -> None:
    account = Account(contact_reports=True)
    fill(account, 0)
    streams = ("contact_activity_details",)
    first = account.sync(streams=streams)
    assert first.reports["constant_contact_contact_activity_details"]["parents"] == 2
    account.advance(0.1)
    assert account.sync(streams=streams).requests == 0
    through = account.entry(streams[0])["checked_through"]
    account.advance(1)
    account.sync(streams=streams)
    assert account.paths("/activity_details")
    assert account.entry(streams[0])["checked_through"] > through


def test_the_last_run_of_a_turn_reads_failed_contacts_again() -> None:
    """A turn of several runs ends when every readable contact was read."""
    account = Account(contact_reports=True)
    account.api.add_campaign(sent=NOW - 3 * DAY, recipients=30)
    account.settings["daily_requests"] = 14
    streams = ("contact_activity_details",)
    first = min(account.api.catalogs["contacts"])
    odd = account.world.odd("parent_500", parent=first)
    run = account.sync(streams=streams)
    report = run.reports["constant_contact_contact_activity_details"]
    assert (report["outcome"], report["failed"]) == ("paused", [first])
    account.world.odds.remove(odd)
    while "began" in account.entry(streams[0])["cycle"]:
        account.advance(1)
        run = account.sync(streams=streams)
    assert account.paths(f"/{first}/activity_details")
    assert not account.entry(streams[0])["failed"]
    assert account.wrong(streams[0]) == []


def test_the_end_of_a_turn_says_since_when_events_may_be_unread() -> None:
    """A contact that was read in the first run has an event since then."""
    account = Account(contact_reports=True, daily_requests=14)
    campaign = account.api.add_campaign(sent=NOW - 3 * DAY, recipients=30)
    name = "constant_contact_contact_activity_details"
    first = min(account.api.catalogs["contacts"])
    began = account.world.clock.now()
    run = account.sync(streams=("contact_activity_details",))
    assert run.reports[name]["outcome"] == "paused"
    account.api.add_event("opens", campaign, first, created=NOW + 60)
    while run.reports[name]["outcome"] == "paused":
        account.advance(1)
        run = account.sync(streams=("contact_activity_details",))
    assert run.reports[name]["outcome"] == "complete"
    assert account.wrong("contact_activity_details")
    assert from_iso(run.reports[name]["behind_since"]) <= began + 60
    run = account.sync(streams=("contact_activity_details",))
    assert from_iso(run.reports[name]["behind_since"]) <= began + 60


def test_a_backfill_of_contact_reports_does_not_change_live_turns() -> None:
    account = Account(contact_reports=True)
    fill(account, 0)
    streams = ("contact_activity_details",)
    account.sync(streams=streams)
    before = account.entry(streams[0])
    interval = {"start_date": "2020-01-01", "end_date": "2026-09-20"}
    account.common |= {"backfill": True, **interval}
    account.advance(1)
    run = account.sync(streams=streams)
    assert run.records("constant_contact_contact_activity_details")
    after = dict(account.entry(streams[0]))
    [backfill] = after.pop("backfill").values()
    assert backfill["cycle"].keys() == {"done"}
    assert after == before


@pytest.mark.parametrize(
    ("odd", "noted"), [("parent_500", "failed"), ("parent_nothing", "unsettled")]
)
def test_a_backfill_reads_contact_reports_until_all_can_be_read(
    odd: str, noted: str
) -> None:
    account = Account(contact_reports=True)
    fill(account, 0)
    interval = {"start_date": "2020-01-01", "end_date": "2026-09-20"}
    account.common |= {"backfill": True, **interval}
    last = max(account.api.catalogs["contacts"])
    fault = account.world.odd(odd, path="/contact_reports/", parent=last)
    name = "constant_contact_contact_activity_details"
    for _ in range(3):
        report = account.sync(streams=("contact_activity_details",)).reports[name]
        assert report["outcome"] == "incomplete"
        assert report[noted]
    account.world.odds.remove(fault)
    run = account.sync(streams=("contact_activity_details",))
    assert {row["contact_id"] for row in run.records(name)} == {last}
    assert run.reports[name]["outcome"] == "complete"
    assert account.sync(streams=("contact_activity_details",)).requests == 0


def test_a_campaign_added_before_the_first_read_has_ended_is_read() -> None:
    """The cursor covers the campaigns of all days that the first read takes."""
    account = Account(daily_requests=8)
    streams = ("campaign_activities",)
    for number in range(6):
        account.api.add_campaign(sent=NOW - number * DAY, recipients=1)
    first = account.sync(streams=streams)
    report = first.reports["constant_contact_campaign_activities"]
    assert report["outcome"] == "paused"
    assert report["parents"] > 0
    account.advance(0.2)
    account.api.add_campaign(sent=account.world.clock.now(), recipients=1)
    for _ in range(5):
        account.advance(1)
        account.sync(streams=streams)
    assert account.wrong(*streams) == []
