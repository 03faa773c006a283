"""Ids that spoil a call, and contacts that cannot be read, cost only themselves."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from tap_email_metrics.clock import from_iso
from tests.support.constant_contact import DAY, NOW, Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STATS = "/stats/email_campaigns/"
ACTIVITY_STATS = "/stats/email_campaign_activities/"
HOW = (404, 400, 403, 500, 202, "nan", "infinity", "garbage", "left out", "no results")


@pytest.fixture
def account() -> Account:
    return Account()


def fill(account: Account, count: int) -> list[str]:
    """Return the ids of campaigns with an open each, newest first."""
    reader = account.api.add_contact(created=NOW - 99 * DAY)
    found = []
    for number in range(count):
        sent = NOW - (1 + number / 10) * DAY
        found.append(account.api.add_campaign(sent=sent, recipients=[reader]))
        account.api.add_event("opens", found[-1], reader, created=sent + 3600)
    return found


def spoil(
    account: Account, part: str, ids: Iterable[str], how: int | str
) -> tuple[list[str], Callable[[], None]]:
    """Spoil each call for one of some ids; return its paths, and what ends it."""
    struck: list[str] = []
    ids = [*ids]

    def strike(request: Any, reply: Any) -> None:
        bad = [one for one in ids if part in request.path and one in request.path]
        if not bad:
            return
        struck.append(request.path)
        if isinstance(how, int):
            reply.status, reply.body = how, b"[]"
            return
        answer = json.loads(reply.body)
        if how == "left out":
            answer["results"] = [
                row
                for row in answer["results"]
                if not {*map(str, row.values())} & {*bad}
            ]
        elif how == "no results":
            answer = {"results": None}
        elif how == "garbage":
            reply.body = b"<html>"
            return
        else:
            value = math.nan if how == "nan" else math.inf
            answer["results"][0].setdefault("percents", {})["opens"] = value
        reply.body = json.dumps(answer).encode()

    return struck, account.world.on_reply(strike)


@pytest.mark.parametrize("how", HOW)
def test_one_bad_id_costs_its_stats_only(account: Account, how: int | str) -> None:
    """Streams by campaign and summaries go on; the id is named, and remembered. K2."""
    ids = fill(account, 40)
    bad = ids[17]
    struck, heal = spoil(account, STATS, [bad], how)
    run = account.sync()
    stats = run.reports["constant_contact_campaign_stats"]
    assert run.code == 0
    assert (stats["outcome"], stats["failed"]) == ("incomplete", [bad])
    assert len(account.rows("campaign_stats")) == len(ids) - 1
    assert account.wrong("opens", "sends", "campaign_summaries") == []
    calls = [e for e in account.world.log.entries if STATS in e.path]
    assert len(calls) <= 6 + 2 * math.ceil(math.log2(len(ids)))
    struck.clear()
    account.advance(1 / 24)
    account.sync()
    assert len(struck) <= 1  # alone, once
    heal()
    account.advance(8)
    account.sync()
    assert account.wrong("opens", "campaign_stats") == []
    assert account.shared["constant_contact"]["refused"] == {}


@pytest.mark.parametrize("how", [404, 500])
def test_stats_that_are_refused_for_a_day_are_read_the_next_day(
    account: Account, how: int
) -> None:
    """On the days between, the campaign is named and `behind_since` stays. K2, K5."""
    streams = ("campaign_stats",)
    ids = fill(account, 5)
    account.sync(streams=streams)
    through = account.world.clock.now()
    _, heal = spoil(account, STATS, [ids[2]], how)
    account.api.add_event("opens", ids[2], created=NOW + 60)
    for _ in range(3):
        account.advance(0.6)
        report = account.sync(streams=streams).reports[
            "constant_contact_campaign_stats"
        ]
        assert report["failed"] == [ids[2]]
        assert from_iso(report["behind_since"]) <= through
    heal()
    account.advance(1)
    report = account.sync(streams=streams).reports["constant_contact_campaign_stats"]
    assert "failed" not in report
    assert account.wrong(*streams) == []


@pytest.mark.parametrize("how", [404, 403, 500])
def test_many_bad_ids_hide_none_that_can_be_read(
    account: Account, how: int | str
) -> None:
    """The newest 12 campaigns are bad, in every run. K2."""
    ids = fill(account, 60)
    spoil(account, STATS, ids[:12], how)
    for _ in range(2):
        account.sync(streams=("campaign_stats", "opens"))
        account.advance(1)
    assert len(account.rows("campaign_stats")) == len(ids) - 12
    assert account.wrong("opens") == []


def test_stats_that_fail_for_all_ids_are_asked_for_a_few_times(
    account: Account,
) -> None:
    """A service that is down costs a bounded number of requests. K2."""
    ids = fill(account, 400)
    struck, heal = spoil(account, STATS, ids, 500)
    run = account.sync(streams=("campaign_stats", "campaign_summaries"))
    assert run.code == 1
    assert account.wrong("campaign_summaries") == []
    assert len(struck) <= 40
    heal()
    account.advance(1 / 24)
    assert account.sync(streams=("campaign_stats",)).code == 0
    assert account.wrong("campaign_stats") == []


def test_a_repeated_open_of_a_campaign_without_stats_is_read_within_a_day(
    account: Account,
) -> None:
    """No counter moves where the stats are refused: unknown is not 0. K2, K3."""
    ids = fill(account, 5)
    spoil(account, STATS, [ids[2]], 404)
    account.sync(streams=("opens",))
    [reader] = {row["contact_id"] for row in account.rows("opens").values()}
    account.api.add_event("opens", ids[2], reader, created=NOW + 60)
    account.advance(1)
    account.sync(streams=("opens",))
    assert account.wrong("opens") == []


@pytest.mark.parametrize("how", [*HOW, "errors"])
@pytest.mark.parametrize("place", [0, 3, 9, 13])
def test_one_bad_activity_costs_its_own_stats_only(
    account: Account, place: int, how: int | str
) -> None:
    """The 10th of 14 is bad: 13 are read, and the mark of the other does not move. K2.

    Ids that are among the errors, missing, or refused alone do not count as read. K3.
    """
    ids = fill(account, 14)
    bad = account.api.activities_of(ids[place])["primary_email"]
    kind = "left out" if how == "errors" else how
    struck, heal = spoil(account, ACTIVITY_STATS, [bad], kind)
    run = account.sync(streams=("campaign_activity_stats",))
    report = run.reports["constant_contact_campaign_activity_stats"]
    assert run.code == 0
    assert (report["outcome"], report["failed"]) == ("incomplete", [ids[place]])
    assert len(account.rows("campaign_activity_stats")) == 13
    assert account.counter_mark("campaign_activity_stats", ids[place]).checked is None
    struck.clear()
    account.advance(1 / 24)
    account.sync(streams=("campaign_activity_stats",))
    assert len(struck) == 1
    heal()
    account.advance(1)
    account.sync(streams=("campaign_activity_stats",))
    assert account.wrong("campaign_activity_stats") == []


# Contacts


def details(account: Account, count: int) -> list[str]:
    """Return the ids of contacts with an event each, in the order of reading."""
    account.api.add_campaign(sent=NOW - 3 * DAY, recipients=count)
    account.settings["contact_reports"] = True
    return sorted(account.api.catalogs["contacts"])


@pytest.mark.parametrize(
    "stream", ["contact_activity_details", "contact_activity_summary"]
)
@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("how", [400, 403, 404, 500, "garbage"])
def test_a_report_that_no_contact_has_is_not_empty(
    account: Account, stream: str, how: int | str, count: int
) -> None:
    """No contact can be read: that is said, after a few requests. K2."""
    ids = details(account, count)
    struck, heal = spoil(account, "/contact_reports/", ids, how)
    for _ in range(2):
        run = account.sync(streams=(stream,))
        outcome = run.reports[f"constant_contact_{stream}"]["outcome"]
        assert outcome == ("unavailable" if how == 403 else "failed")
        assert len(struck) <= 6 + 10 + 12
        struck.clear()
        account.advance(1)
    heal()
    account.sync(streams=(stream,))
    assert account.wrong(stream) == []


@pytest.mark.parametrize("how", [400, 403, 404, 500])
def test_bad_contacts_hide_none_that_can_be_read(
    account: Account, how: int | str
) -> None:
    """The first 15 of 40 are bad, in every run. K2."""
    ids = details(account, 40)
    struck, _ = spoil(account, "/contact_reports/", ids[:15], how)
    run = account.sync(streams=("contact_activity_details",))
    report = run.reports["constant_contact_contact_activity_details"]
    assert (run.code, report["outcome"]) == (0, "incomplete")
    assert sorted(report["failed"]) == ids[:15]
    read = {
        row["contact_id"] for row in account.rows("contact_activity_details").values()
    }
    assert read == {*ids[15:]}
    assert len(struck) <= 6 + 2 * 15


def test_only_a_deleted_contact_may_have_no_report(account: Account) -> None:
    """404 for another one is a failure."""
    ids = details(account, 3)
    account.api.delete_contact(ids[0], at=NOW - DAY)
    spoil(account, "/contact_reports/", ids[:2], 404)
    run = account.sync(streams=("contact_activity_details",))
    report = run.reports["constant_contact_contact_activity_details"]
    assert (report["outcome"], report["failed"]) == ("incomplete", ids[1:2])


def test_a_date_header_of_long_ago_leaves_nothing_out_of_counts(
    account: Account,
) -> None:
    """The counts are asked for up to the later of the two clocks. K6."""
    details(account, 3)
    account.world.odd("date_behind")
    account.sync(streams=("contact_activity_summary",))
    assert len(account.rows("contact_activity_summary")) == 3
    assert account.wrong("contact_activity_summary") == []
