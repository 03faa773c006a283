"""Quotas: waited out, or left in good order and resumed the next day."""

from __future__ import annotations

import pytest
from harness_cc import DAY, NOW, Account

EVENTS = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")


def fill(account: Account, closed: int, opened: int = 3) -> None:
    contacts = [account.api.add_contact(created=NOW - 999 * DAY) for _ in range(2)]
    for number in range(closed + opened):
        days = 2 + number if number < opened else 100 + number
        sent = NOW - days * DAY
        campaign = account.api.add_campaign(sent=sent, recipients=contacts, links=1)
        account.api.add_event("opens", campaign, contacts[0], created=sent + DAY / 3)


def test_throttled_is_waited_out() -> None:
    account = Account(max_concurrency=1)
    fill(account, 3)
    account.api.set_policy(requests_per_second=2)  # fewer than the tap expects
    run = account.sync()
    assert run.code == 0
    assert account.api.throttled > 0
    assert account.wrong(*EVENTS) == []


def test_the_rate_causes_no_throttling() -> None:
    account = Account(max_concurrency=1, requests_per_second=4)
    fill(account, 40)
    account.api.set_policy(requests_per_second=4)
    start = account.world.clock.now()
    run = account.sync()
    assert run.code == 0
    assert account.api.throttled == 0
    taken = account.world.clock.now() - start
    assert run.requests / taken >= 0.95 * 4


def test_quota_exceeded_pauses_and_the_next_day_goes_on() -> None:
    account = Account()
    fill(account, 30)
    account.api.set_policy(requests_per_day=150)
    codes = []
    paused = []
    for _ in range(6):
        run = account.sync()
        codes.append(run.code)
        paused.append(sum(r["outcome"] == "paused" for r in run.reports.values()))
        again = account.sync()  # the ledger knows that the day is spent
        assert again.code == 0
        if paused[-1]:
            assert account.world.log.count() <= 1
        account.advance(1)
    assert set(codes) == {0}
    assert paused[0] > 0
    assert paused[-1] == 0
    assert account.wrong(*EVENTS) == []


def test_a_backlog_starves_no_stream() -> None:
    account = Account(daily_requests=170, daily_reserve=20)
    fill(account, 60)
    run = account.sync(streams=EVENTS)
    assert run.code == 0
    assert account.api.used_today <= 150
    for stream in EVENTS:
        report = run.reports[f"constant_contact_{stream}"]
        assert report["outcome"] == "paused"
        assert report["parents"] > 3  # the window, and some of the history
    for _ in range(6):
        account.advance(1)
        run = account.sync(streams=EVENTS)
        assert run.code == 0
    assert {r["outcome"] for r in run.reports.values()} <= {"complete", "empty"}
    assert account.wrong(*EVENTS) == []


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_max_run_minutes_pauses_well(share: float) -> None:
    account = Account(max_concurrency=1, requests_per_second=4)
    fill(account, 30)
    account.common["max_run_minutes"] = share
    for _ in range(14):
        run = account.sync(streams=EVENTS)
        assert run.code == 0
    assert account.wrong(*EVENTS) == []
