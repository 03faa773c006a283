"""Closed campaigns: the state keeps them in buckets and still finds changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tap_email_metrics.providers.constant_contact import closed as buckets
from tap_email_metrics.providers.constant_contact.closed import (
    BUCKETS,
    Bucket,
    bucket_of,
)
from tests.support.constant_contact import DAY, NOW, Account

STREAMS = ("opens", "clicks", "campaign_stats")
OPEN, CLOSED = 2, 30


@pytest.fixture(name="account")
def read_account() -> Account:
    """Return an account with closed campaigns that have been read."""
    account = Account()
    reader = account.api.add_contact(created=NOW - 900 * DAY)
    for number in range(OPEN + CLOSED):
        sent = NOW - (10 if number < OPEN else 200 + number) * DAY
        campaign = account.api.add_campaign(sent=sent, recipients=[reader])
        account.api.add_event("opens", campaign, reader, created=sent + DAY)
    run(account)
    account.advance(1)
    run(account)
    account.advance(1)
    return account


def run(account: Account) -> int:
    """Sync some streams; return the number of lists of opens that were requested."""
    assert account.sync(streams=STREAMS).code == 0
    return len(account.paths("/opens"))


def closed(account: Account) -> list[str]:
    return list(account.api.campaigns)[OPEN:]


def kept(account: Account) -> dict[str, Any]:
    found: dict[str, Any] = account.shared["constant_contact"]
    return found


def hide(account: Account, *hidden: str) -> Any:
    """Leave campaigns out of the list of summaries from now on."""

    def cut(request: Any, reply: Any) -> None:
        if request.path.endswith("/email_campaign_summaries"):
            body = json.loads(reply.body)
            rows = body["bulk_email_campaign_summaries"]
            body["bulk_email_campaign_summaries"] = [
                row for row in rows if row["campaign_id"] not in hidden
            ]
            reply.body = json.dumps(body).encode()

    return account.world.on_reply(cut)


def refuse(account: Account, end: str) -> None:
    def deny(request: Any, reply: Any) -> None:
        if request.path.endswith(end):
            reply.status, reply.body = 403, b"{}"

    account.world.on_reply(deny)


def test_the_state_has_entries_of_open_campaigns_only(account: Account) -> None:
    """The state does not grow with every campaign ever sent."""
    assert len(kept(account)["campaigns"]) == OPEN
    assert len(account.entry("campaign_stats")["rows"]) == OPEN
    names = {bucket_of(one) for one in closed(account)}
    assert kept(account)["closed"].keys() == names
    assert account.entry("campaign_stats")["closed"].keys() == names


def test_buckets_are_few_and_short() -> None:
    fullest = Bucket()
    for number in range(1000):
        fullest = fullest.plus(str(number), "row", "counters")
    assert len(fullest.pack()) <= 16
    assert len({bucket_of(str(number)) for number in range(100_000)}) == BUCKETS
    assert Bucket.unpack(fullest.pack()) == fullest


def test_two_equal_campaigns_in_a_bucket_do_not_cancel_each_other() -> None:
    both = Bucket().plus("a", "row", "counters").plus("b", "row", "counters")
    assert both.rows
    assert both.counters


def test_a_closed_campaign_whose_counters_move_is_found_in_its_bucket(
    account: Account,
) -> None:
    moved = closed(account)[7]
    account.api.add_event("opens", moved)
    bucket = [one for one in closed(account) if bucket_of(one) == bucket_of(moved)]
    assert run(account) == len(bucket)
    assert account.wrong(*STREAMS) == []
    account.advance(1)
    assert run(account) == 0
    account.advance(1)
    run(account)
    assert len(kept(account)["campaigns"]) == OPEN


def test_a_change_of_a_counter_alone_is_found_within_a_week(account: Account) -> None:
    moved = closed(account)[3]
    [reader] = {row["contact_id"] for row in account.truth("opens")}
    account.api.add_event("opens", moved, reader)
    read = 0
    for _ in range(8):
        read += run(account)
        account.advance(1)
    assert read
    assert account.wrong(*STREAMS) == []


def test_a_campaign_that_closed_is_not_read_again(account: Account) -> None:
    account.advance(85)
    run(account)
    account.advance(1)
    run(account)
    assert kept(account)["campaigns"] == {}
    account.advance(1)
    assert run(account) == 0


@pytest.mark.parametrize("hidden", [CLOSED, CLOSED // 2])
def test_a_list_of_campaigns_that_is_short_once_causes_no_reads(
    hidden: int, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is empty once is not taken for empty and costs no request."""
    account.state = {}
    monkeypatch.setattr(buckets, "BUCKETS", 4)
    run(account)
    account.advance(1)
    run(account)
    before = json.dumps(kept(account)["closed"])
    remove = hide(account, *closed(account)[:hidden])
    account.advance(1)
    assert run(account) == 0
    remove()
    assert json.dumps(kept(account)["closed"]) == before
    account.advance(1)
    assert run(account) == 0
    assert "missing_since" not in kept(account)


def test_a_campaign_that_left_the_list_is_forgotten_after_a_week(
    account: Account,
) -> None:
    hide(account, closed(account)[0])
    for _ in range(9):
        run(account)
        account.advance(1)
    run(account)
    counts = [Bucket.unpack(text).count for text in kept(account)["closed"].values()]
    assert sum(counts) == CLOSED - 1
    assert "missing_since" not in kept(account)


def test_a_stream_that_is_selected_later_reads_closed_campaigns(
    account: Account,
) -> None:
    account.sync()
    assert account.wrong(*STREAMS, "sends", "bounces") == []
    account.advance(1)
    account.sync()
    account.advance(1)
    account.sync()
    assert len(kept(account)["campaigns"]) == OPEN


def test_a_campaign_that_closes_while_a_stream_is_not_selected_is_read_later() -> None:
    account = Account()
    account.api.add_campaign(sent=NOW - 10 * DAY, recipients=1)
    account.sync(streams=("sends", "opens"))
    sent = account.api.add_campaign(sent=NOW + DAY, recipients=1)
    account.api.add_event("opens", sent, created=NOW + 2 * DAY)
    for _ in range(6):
        account.advance(20)
        account.sync(streams=("sends",))
    assert kept(account)["campaigns"] == {}
    account.sync(streams=("sends", "opens"))
    assert account.wrong("opens") == []


def test_a_campaign_that_closes_before_its_turn_came_is_read() -> None:
    """The run that saw it first ended before two of three streams."""
    account = Account(activity_window_days=7)
    account.api.add_campaign(sent=NOW - 10 * DAY, recipients=1, links=1)
    streams = ("sends", "opens", "clicks")
    account.sync(streams=streams)
    sent = account.api.add_campaign(sent=NOW + DAY, recipients=1, links=1)
    for kind in ("opens", "clicks"):
        account.api.add_event(kind, sent, created=NOW + 2 * DAY)
    account.advance(6)
    account.settings["daily_requests"] = 4
    run = account.sync(streams=streams)
    ends = [report["outcome"] for report in run.reports.values()]
    assert sorted(ends) == ["complete", "paused", "paused"]
    account.settings["daily_requests"] = 1000
    account.advance(6)
    account.sync(streams=streams)
    assert account.wrong(*streams) == []


def test_a_stream_without_access_keeps_no_campaign_in_the_state() -> None:
    account = Account()
    account.api.add_campaign(sent=NOW - 200 * DAY, recipients=2)
    refuse(account, "/tracking/clicks")
    for _ in range(3):
        account.sync(streams=("opens", "clicks"))
        account.advance(1)
    assert kept(account)["campaigns"] == {}
