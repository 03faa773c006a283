"""Bad ids in a batch, and contacts that cannot be read, cost no other rows."""

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
    """Add campaigns with one open each; return their ids, newest first."""
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
    """Fail each call for some ids; return the list of its paths, and how to end it."""
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
def test_one_bad_campaign_id_costs_only_its_own_stats(
    account: Account, how: int | str
) -> None:
    """Other streams go on; the id is named in the report and remembered."""
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
    assert len(struck) <= 1  # requested alone and only once
    heal()
    account.advance(8)
    account.sync()
    assert account.wrong("opens", "campaign_stats") == []
    assert account.shared["constant_contact"]["refused"] == {}


@pytest.mark.parametrize("how", [404, 500])
def test_stats_that_are_refused_for_a_day_are_read_the_next_day(
    account: Account, how: int
) -> None:
    """Until then the campaign is named and `behind_since` stays the same."""
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
def test_many_bad_campaign_ids_do_not_hide_other_campaigns(
    account: Account, how: int | str
) -> None:
    """The newest 12 campaigns are bad in every run."""
    ids = fill(account, 60)
    spoil(account, STATS, ids[:12], how)
    for _ in range(2):
        account.sync(streams=("campaign_stats", "opens"))
        account.advance(1)
    assert len(account.rows("campaign_stats")) == len(ids) - 12
    assert account.wrong("opens") == []


def test_stats_that_fail_for_every_id_are_requested_a_few_times(
    account: Account,
) -> None:
    """A service that is down costs a bounded number of requests."""
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
    """If stats are refused, no counter moves: unknown is not 0."""
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
def test_one_bad_activity_id_costs_only_its_own_stats(
    account: Account, place: int, how: int | str
) -> None:
    """The 10th of 14 is bad: 13 are read, and the mark of the 10th does not move.

    Ids that are listed as errors, missing, or refused alone do not count as read.
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


@pytest.mark.parametrize("stats", [None, {}, [7], 7])
@pytest.mark.parametrize(
    ("stream", "part"),
    [("campaign_stats", STATS), ("campaign_activity_stats", ACTIVITY_STATS)],
)
def test_a_row_without_stats_replaces_no_numbers_and_is_read_again(
    account: Account, stream: str, part: str, stats: object
) -> None:
    ids = fill(account, 2)
    account.sync(streams=(stream,))
    before = dict(account.rows(stream))
    account.advance(1)
    account.api.add_event("opens", ids[0])

    def strike(request: Any, reply: Any) -> None:
        if part in request.path:
            answer = json.loads(reply.body)
            for row in answer["results"]:
                row["stats"] = stats
            reply.body = json.dumps(answer).encode()

    heal = account.world.on_reply(strike)
    run = account.sync(streams=(stream,))
    assert ids[0] in run.reports[f"constant_contact_{stream}"]["failed"]
    assert account.rows(stream) == before
    heal()
    account.advance(1)
    run = account.sync(streams=(stream,))
    assert account.wrong(stream) == []


# Contacts


def details(account: Account, count: int) -> list[str]:
    """Add contacts with one event each; return their ids in the order of reading."""
    account.api.add_campaign(sent=NOW - 3 * DAY, recipients=count)
    account.settings["contact_reports"] = True
    return sorted(account.api.catalogs["contacts"])


@pytest.mark.parametrize(
    "stream", ["contact_activity_details", "contact_activity_summary"]
)
@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("how", [400, 403, 404, 500, "garbage"])
def test_a_report_that_fails_for_every_contact_is_not_empty(
    account: Account, stream: str, how: int | str, count: int
) -> None:
    """If no contact can be read, the report says so after a few requests."""
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
def test_many_bad_contacts_do_not_hide_other_contacts(
    account: Account, how: int | str
) -> None:
    """The first 15 of 40 contacts are bad in every run."""
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
    """A 404 for a contact that is not deleted is a failure."""
    ids = details(account, 3)
    account.api.delete_contact(ids[0], at=NOW - DAY)
    spoil(account, "/contact_reports/", ids[:2], 404)
    run = account.sync(streams=("contact_activity_details",))
    report = run.reports["constant_contact_contact_activity_details"]
    assert (report["outcome"], report["failed"]) == ("incomplete", ids[1:2])


def test_a_date_header_in_the_past_does_not_cut_the_counts_of_contacts(
    account: Account,
) -> None:
    """The counts are requested up to the later of the two clocks."""
    details(account, 3)
    account.world.odd("date_behind")
    account.sync(streams=("contact_activity_summary",))
    assert len(account.rows("contact_activity_summary")) == 3
    assert account.wrong("contact_activity_summary") == []
