"""Reports of campaigns of Constant Contact: the rules that keep every row."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from tests.support.constant_contact import DAY, NOW, Account
from tests.support.encompass import key_of

HOUR = DAY / 24
EVENTS = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")


@pytest.fixture
def account() -> Account:
    return Account()


def campaign(account: Account, days: float = 3, **options: Any) -> str:
    options = {"recipients": 4, "links": 1, **options}
    return account.api.add_campaign(sent=NOW - days * DAY, **options)


def sync(account: Account, *streams: str) -> Any:
    run = account.sync(streams=streams or EVENTS)
    assert run.code == 0
    return run


def test_a_list_that_lags_its_counter_is_read_again(account: Account) -> None:
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - HOUR)
    sync(account)
    late = NOW + 5 * HOUR
    account.api.add_event(
        "opens", sent, created=NOW + 60, visible_from=late, counted_from=NOW + 60
    )
    account.advance(1 / 24)
    sync(account)
    mark = account.counter_mark("opens", sent)
    assert (mark.counter, mark.tries) == (1, 1)  # counted but not listed yet
    account.advance(1 / 24)
    sync(account)
    assert account.counter_mark("opens", sent).tries == 2
    account.advance(6 / 24)
    sync(account)
    mark = account.counter_mark("opens", sent)
    assert (mark.counter, mark.tries) == (2, 0)
    assert account.wrong(*EVENTS) == []


def test_a_list_whose_counter_never_agrees_is_not_read_for_ever(
    account: Account,
) -> None:
    """It is tried three times and for two days, every 6 hours after the third."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - HOUR)
    sync(account)
    account.api.add_event(
        "opens", sent, created=NOW, visible_from=NOW + 999 * DAY, counted_from=NOW
    )
    asked = 0
    for _ in range(48):
        account.advance(1 / 24)
        asked += bool(sync(account, "opens") and account.paths("/opens"))
    assert asked == 3 + 45 // 6
    assert account.counter_mark("opens", sent).unsettled
    account.advance(0.25)
    sync(account, "opens")
    mark = account.counter_mark("opens", sent)
    assert (mark.counter, mark.missing, mark.settled) == (2, 1, True)
    account.advance(1 / 24)
    sync(account, "opens")
    assert account.paths("/opens") == []


def test_a_known_shortfall_is_settled_by_one_read_at_the_next_verification(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """A permanent difference is reported once and costs no more than other lists."""
    sent = campaign(account)
    account.api.add_event(
        "opens", sent, created=NOW, visible_from=NOW + 999 * DAY, counted_from=NOW
    )
    for _ in range(12):
        account.advance(0.25)
        sync(account, "opens")
    assert caplog.text.count("counts 1, but its lists show 0") == 1
    account.advance(30)
    sync(account, "opens")
    assert account.paths("/opens")
    assert account.counter_mark("opens", sent).settled
    assert caplog.text.count("counts 1, but its lists show 0") == 1
    account.api.add_event(
        "opens", sent, created=NOW, visible_from=NOW + 999 * DAY, counted_from=NOW
    )
    account.advance(1)
    sync(account, "opens")
    assert account.counter_mark("opens", sent).unsettled  # the tries start again


def test_a_list_an_hour_behind_its_counter_is_complete_with_runs_every_10_minutes(
    account: Account,
) -> None:
    """Three tries are not enough to settle a list."""
    sent = campaign(account)
    sync(account, "opens")
    for number in range(10):
        at = NOW + 600 * number
        account.api.add_event(
            "opens", sent, created=at, visible_from=at + 3600, counted_from=at
        )
    for _ in range(24):
        account.advance(1 / 144)
        sync(account, "opens")
    account.advance(0.25)
    sync(account, "opens")
    assert account.wrong("opens") == []


def test_an_event_dated_before_the_look_back_is_found_by_its_counter(
    account: Account,
) -> None:
    sent = campaign(account, days=20)
    account.api.add_event("opens", sent, created=NOW - HOUR)
    sync(account)
    account.advance(1)
    account.api.add_event(
        "opens", sent, created=NOW - 15 * DAY, visible_from=NOW + DAY / 2
    )
    sync(account)
    assert account.wrong(*EVENTS) == []


@pytest.mark.parametrize("size", [500, 2])
@pytest.mark.parametrize("removed", [0, 2, 4])
def test_new_rows_behind_older_ones_are_emitted(
    account: Account, size: int, removed: int
) -> None:
    """A list in another order, whose counter may have gone down."""
    sent = campaign(account, days=20)
    old = [
        account.api.add_event("opens", sent, created=NOW - (19 - 3 * number) * DAY)
        for number in range(6)
    ]
    rows: list[Any] = []

    def oldest_first(request: Any, reply: Any) -> None:
        """Serve all rows in reverse, in pages of `size`."""
        if not request.path.endswith("/opens"):
            return
        if "next" not in request.query:
            rows[:] = json.loads(reply.body)["tracking_activities"][::-1]
        place = int(request.query.get("next", 0))
        page: dict[str, Any] = {"tracking_activities": rows[place : place + size]}
        if place + size < len(rows):
            href = f"{request.path}?next={place + size}"
            page["_links"] = {"next": {"href": href}}
        reply.status, reply.body = 200, json.dumps(page).encode()

    account.world.on_reply(oldest_first)
    sync(account, "opens")
    account.advance(1)
    for number in range(3):
        account.api.add_event("opens", sent, created=NOW + DAY / 2 + number)
    for event in old[:removed]:
        account.api.remove_event(event)
    sync(account, "opens")
    shown = {key_of("constant_contact_opens", row) for row in account.truth("opens")}
    assert shown <= account.rows("opens").keys()


def test_a_read_stops_at_the_look_back(account: Account) -> None:
    sent = campaign(account, days=30, recipients=1)
    for number in range(1200):
        account.api.add_event("opens", sent, created=NOW - 20 * DAY - 600 * number)
    sync(account, "opens")
    assert len(account.paths("/opens")) == 3
    account.api.add_event("opens", sent, created=NOW + HOUR)
    account.advance(1)
    run = sync(account, "opens")
    assert len(account.paths("/opens")) == 1
    # The new row, and rows that are not strictly older than the look-back.
    assert len(run.records("constant_contact_opens")) == 1 + 2 * 144 + 1
    assert account.wrong("opens") == []


def test_equal_events_on_two_pages_are_separate_rows(account: Account) -> None:
    sent = campaign(account, recipients=1)
    contact = account.api.add_contact()
    for number in range(499):
        account.api.add_event("opens", sent, created=NOW - 60 - number)
    for _ in range(3):  # rows 500, 501 and 502
        account.api.add_event("opens", sent, contact, created=NOW - HOUR)
    sync(account, "opens")
    assert account.wrong("opens") == []
    assert len(account.rows("opens")) == 502


def test_a_row_that_shifts_to_the_next_page_is_emitted_once(account: Account) -> None:
    sent = campaign(account, recipients=1)
    for number in range(700):
        account.api.add_event("opens", sent, created=NOW - 60 - number)
    done: list[str] = []

    def shift(_method: str, path: str, query: Any) -> None:
        if path.endswith("/opens") and "next" in query and not done:
            done.append(path)
            account.api.add_event("opens", sent, created=NOW - 1)

    account.world.on_request(shift)
    sync(account, "opens")
    assert done
    assert account.wrong("opens") == []
    assert len(account.rows("opens")) == 701


def test_two_opens_of_one_second_on_two_devices_are_two_rows(account: Account) -> None:
    account.api.set_policy(time_format="seconds")
    sent = campaign(account)
    contact = account.api.add_contact()
    for device in ("mobile", "computer"):
        account.api.add_event("opens", sent, contact, created=NOW - HOUR, device=device)
    sync(account)
    assert len(account.rows("opens")) == 2
    # A third open in the same second later: no row is newer, but the counter moved.
    account.api.add_event(
        "opens",
        sent,
        contact,
        created=NOW - HOUR,
        visible_from=NOW + 1,
        device="mobile",
    )
    account.advance(1)
    sync(account)
    assert len(account.rows("opens")) == 3
    assert account.wrong(*EVENTS) == []


def test_a_snapshot_that_became_empty_is_recorded(account: Account) -> None:
    sent = campaign(account, recipients=1)
    activity = account.api.activities_of(sent)["primary_email"]
    event = account.api.add_event("opens", sent, created=NOW - HOUR)
    sync(account, "unique_opens", "snapshots")
    [row] = account.rows("snapshots").values()
    assert (row["campaign_activity_id"], row["rows"]) == (activity, 1)
    account.api.remove_event(event, at=NOW + HOUR)
    account.advance(1)
    sync(account, "unique_opens", "snapshots")
    [after] = account.rows("snapshots").values()
    assert after["rows"] == 0
    assert after["as_of"] > row["as_of"]
    [old] = account.rows("unique_opens").values()
    assert old["as_of"] == row["as_of"] != after["as_of"]


def test_a_snapshot_is_read_once_a_day(account: Account) -> None:
    sent = campaign(account)
    sync(account, "unique_opens", "snapshots")
    for _ in range(3):
        account.advance(1 / 24)
        account.api.add_event("opens", sent)
        sync(account, "unique_opens", "snapshots")
        assert account.paths("/unique_opens") == []
    account.advance(1)
    sync(account, "unique_opens", "snapshots")
    assert len(account.paths("/unique_opens")) == 1


@pytest.mark.parametrize("open_days", [30, 1])
def test_links_are_read_again_once_their_clicks_have_caught_up(
    account: Account, open_days: int
) -> None:
    """The links lag behind the counter like the clicks, and nothing counts them."""
    account.settings["activity_window_days"] = open_days
    sent = campaign(account)
    account.api.add_event("clicks", sent, created=NOW - HOUR)
    sync(account, "clicks", "links", "snapshots")
    account.api.add_event(
        "clicks",
        sent,
        created=NOW + 60,
        visible_from=NOW + 1.5 * DAY,
        counted_from=NOW + 60,
    )
    account.advance(1)
    run = sync(account, "clicks", "links", "snapshots")
    assert run.reports["constant_contact_links"]["unsettled"] == 1
    [snapshot] = account.rows("snapshots").values()
    [link] = account.rows("links").values()
    assert (link["unique_clicks"], link["as_of"]) == (1, snapshot["as_of"])
    account.advance(1)
    sync(account, "clicks", "links", "snapshots")
    [snapshot] = account.rows("snapshots").values()
    [link] = account.rows("links").values()
    assert (link["unique_clicks"], link["as_of"]) == (2, snapshot["as_of"])
    account.advance(1)
    sync(account, "clicks", "links", "snapshots")
    assert account.paths("/links") == []


def test_opens_that_replace_removed_proxy_opens_are_found_at_verification(
    account: Account,
) -> None:
    sent = campaign(account)
    proxies = [
        account.api.add_event("opens", sent, created=NOW - HOUR - i) for i in range(3)
    ]
    sync(account)
    for event in proxies:
        account.api.remove_event(event, at=NOW + HOUR)
    for number in range(3):  # as many real opens appear with earlier dates
        account.api.add_event(
            "opens", sent, created=NOW - 2.9 * DAY + number, visible_from=NOW + HOUR
        )
    account.advance(1)
    sync(account)
    assert account.paths("/opens") == []  # the counter did not move
    account.advance(31)
    sync(account)
    assert account.wrong(*EVENTS) == []


def test_a_second_forward_is_found_at_verification(account: Account) -> None:
    sent = campaign(account)
    contact = account.api.add_contact()
    account.api.add_event("forwards", sent, contact, created=NOW - HOUR)
    sync(account)
    account.api.add_event("forwards", sent, contact, created=NOW + HOUR)
    account.advance(1)
    sync(account)
    assert len(account.rows("forwards")) == 1
    account.advance(30)
    sync(account)
    assert len(account.rows("forwards")) == 2
    assert account.wrong(*EVENTS) == []


def test_a_resend_that_was_not_sent_yet_has_no_stats_to_miss(
    account: Account,
) -> None:
    streams = ("campaign_activity_stats",)
    sent = campaign(account)
    account.api.add_resend(sent, sent=NOW + 2 * DAY, visible=NOW, recipients=2)
    for day, rows in ((1, 1), (2, 2)):
        account.advance(1)
        run = account.sync(streams=streams)
        report = run.reports["constant_contact_campaign_activity_stats"]
        assert (report["outcome"], report.get("failed")) == ("complete", None), day
        assert len(account.rows("campaign_activity_stats")) == rows
    assert account.wrong("campaign_activity_stats") == []


def test_a_resend_has_rows_of_its_own_activity(account: Account) -> None:
    sent = campaign(account)
    sync(account)
    account.advance(1)
    again = account.api.add_resend(sent, recipients=2)
    account.api.add_event("opens", again)
    run = account.sync()
    assert run.code == 0
    account.advance(1)
    account.sync()
    assert account.wrong(*EVENTS, "campaign_activity_stats", "send_history") == []
    assert {row["campaign_activity_id"] for row in account.rows("sends").values()} == {
        again,
        account.api.activities_of(sent)["primary_email"],
    }


@pytest.mark.parametrize("reported", [True, False])
def test_a_removed_campaign_does_not_stop_other_campaigns(
    account: Account,
    reported: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    account.api.set_policy(removed_reported=reported)
    gone, stays = campaign(account), campaign(account, days=4)
    account.sync()
    account.advance(1)
    account.api.remove_campaign(gone)
    account.api.add_event("opens", stays)
    run = account.sync()
    assert run.code == 0
    assert not any("failed" in report for report in run.reports.values())
    assert account.wrong(*EVENTS, "campaigns", "send_history") == []


def test_one_refused_campaign_id_does_not_cost_the_stats_of_others(
    account: Account,
) -> None:
    ids = [campaign(account, days=day, recipients=1) for day in range(1, 6)]
    refused: list[str] = []

    def refuse(request: Any, reply: Any) -> None:
        if "/stats/email_campaigns/" in request.path and ids[2] in request.path:
            refused.append(request.path)
            reply.status, reply.body = 404, b""

    account.world.on_reply(refuse)
    account.api.add_event("opens", ids[2], created=NOW - HOUR)
    account.sync()
    assert refused
    assert account.wrong(*EVENTS) == []
    assert len(account.rows("campaign_stats")) == 4
    refused.clear()
    account.api.add_event("opens", ids[3])
    account.advance(1 / 24)
    account.sync()
    assert refused == []  # the id is remembered
    account.api.add_event("opens", ids[2])  # its summary changes: it is tried alone
    account.advance(1 / 24)
    account.sync()
    assert len(refused) == 1
    assert account.wrong(*EVENTS) == []


def test_a_closed_campaign_whose_counters_move_is_read_once_more(
    account: Account,
) -> None:
    old = campaign(account, days=200)
    account.sync()
    assert "marks" not in account.entry("opens") or not account.entry("opens")["marks"]
    account.advance(1)
    account.api.add_event("opens", old)
    account.sync()
    assert account.wrong(*EVENTS) == []
    account.advance(1)
    account.sync()
    assert account.paths("/opens") == []


def test_a_closed_campaign_is_read_for_a_stream_that_is_selected_later(
    account: Account,
) -> None:
    old = campaign(account, days=200)
    sync(account)
    account.advance(1)
    account.api.add_event("opens", old)
    account.api.add_event("clicks", old)
    sync(account, "clicks")
    account.advance(1)
    sync(account, "clicks")
    sync(account)
    assert account.wrong(*EVENTS) == []


def test_a_closed_campaign_is_read_once_if_its_history_is_due_too(
    account: Account,
) -> None:
    """A closed campaign whose counter moves is read as part of the history only."""
    oldest, *_ = [campaign(account, days=300 - number) for number in range(22)]
    account.settings |= {"daily_requests": 15, "max_concurrency": 1}
    run = account.sync(streams=("opens",))
    assert run.reports["constant_contact_opens"]["outcome"] == "paused"
    account.api.add_event("opens", oldest)
    activity = account.api.activities_of(oldest)["primary_email"]
    reads = 0
    for _ in range(4):
        account.advance(1)
        account.sync(streams=("opens",))
        reads += sum(activity in path for path in account.paths("/opens"))
    assert reads == 1
    assert account.wrong("opens") == []


def test_a_repeated_open_of_a_closed_campaign_is_found_within_a_week(
    account: Account,
) -> None:
    old = campaign(account, days=200)
    contact = account.api.add_contact()
    account.api.add_event("opens", old, contact, created=NOW - DAY)
    sync(account)
    account.api.add_event("opens", old, contact, created=NOW + HOUR)
    account.advance(8)
    sync(account)
    assert account.wrong(*EVENTS) == []


def test_unsubscribes_are_read_by_their_own_date(account: Account) -> None:
    contact = account.api.add_contact(created=NOW - 90 * DAY)
    account.sync(streams=("contacts",))
    account.advance(1)
    account.api.unsubscribe(contact)
    account.sync(streams=("contacts",))
    assert account.wrong("contacts") == []


def test_a_change_that_appears_late_is_found_by_the_overlap(account: Account) -> None:
    contact = account.api.add_contact(created=NOW - 90 * DAY)
    account.sync(streams=("contacts",))
    account.advance(0.25)
    before = "2026-09-21T13:43:20Z"  # half an hour before the first run
    account.api.update_contact(contact, first_name="Late", updated_at=before)
    account.advance(0.25)
    account.sync(streams=("contacts",))
    [row] = account.rows("contacts").values()
    assert row["first_name"] == "Late"


def test_segments_that_are_not_ready_are_unavailable(account: Account) -> None:
    account.api.add_item("segments", created=NOW - DAY)
    account.api.set_policy(segments_pending=99)
    run = account.sync(streams=("segments", "account"))
    assert run.code == 0
    assert run.reports["constant_contact_segments"]["outcome"] == "unavailable"
    account.api.set_policy(segments_pending=2)
    assert account.sync(streams=("segments",)).code == 0


@pytest.mark.parametrize(
    ("changes", "scopes", "streams", "text"),
    [
        ({}, "campaign_data offline_access", ("contacts",), "scope contact_data"),
        ({"privileges": ("campaign:read",)}, None, ("opens",), "ui:campaign:metrics"),
    ],
)
def test_streams_without_permission_are_unavailable(
    changes: dict[str, Any],
    scopes: str | None,
    streams: tuple[str],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    account = Account()
    if scopes:
        account.settings["refresh_token"] = account.api.consent(scopes)
    account.api.set_policy(**changes)
    run = account.sync(streams=(*streams, "campaigns"))
    report = run.reports[f"constant_contact_{streams[0]}"]
    assert (run.code, report["outcome"]) == (0, "unavailable")
    assert text in report["message"]
    assert run.reports["constant_contact_campaigns"]["outcome"] == "empty"
    warnings = [one for one in caplog.records if one.levelname == "WARNING"]
    [said] = [one for one in warnings if text in one.getMessage()]
    assert "left out" in said.getMessage()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_deactivated_app_ends_the_run_with_exit_code_2(account: Account) -> None:
    account.api.set_policy(deactivated=True)
    run = account.sync()
    assert run.code == 2
    message = run.reports["constant_contact_campaign_summaries"]["message"]
    assert "deactivated" in message


def test_stats_that_fail_temporarily_do_not_mark_ids_as_refused(
    account: Account,
) -> None:
    """Failing stats stop no list of a campaign; all calls of stats fail."""
    ids = [campaign(account, days=day) for day in range(1, 6)]
    for one in ids:
        account.api.add_event("opens", one, created=NOW - HOUR)

    def fail(request: Any, reply: Any) -> None:
        if "/stats/email_campaigns/" in request.path:
            reply.status, reply.body = 500, b""

    remove = account.world.on_reply(fail)
    run = account.sync(streams=("opens", "campaign_stats"))
    assert run.code == 1
    assert run.reports["constant_contact_campaign_stats"]["outcome"] == "failed"
    assert account.wrong("opens") == []
    stats = [e for e in account.world.log.entries if "/stats/" in e.path]
    assert len(stats) <= 6 + 2 * len(ids)
    remove()
    sync(account)
    assert account.shared["constant_contact"]["refused"] == {}


def test_contacts_continue_at_the_page_where_they_stopped(account: Account) -> None:
    for _ in range(1600):
        account.api.add_contact(created=NOW - 9 * DAY)
    failing: list[str] = []

    def fail(request: Any, reply: Any) -> None:
        if "cursor" in request.query:
            failing.append(request.path)
        if len(failing) > 1:
            reply.status, reply.body = 400, b""

    remove = account.world.on_reply(fail)
    assert account.sync(streams=("contacts",)).code == 1
    remove()
    assert account.entry("contacts")["resume"]
    run = account.sync(streams=("contacts",))
    assert (run.code, run.requests) == (0, 2)  # the last two of four pages
    assert account.wrong("contacts") == []


def test_a_link_that_leaves_the_api_is_not_followed(account: Account) -> None:
    account.api.add_contact(created=NOW - DAY)

    def lead_away(request: Any, reply: Any) -> None:
        if request.path.endswith("/contacts"):
            link = b'{"contacts":[],"_links":{"next":{"href":"//evil.test/v3/x"}}}'
            reply.body = link

    remove = account.world.on_reply(lead_away)
    run = account.sync(streams=("contacts",))
    assert run.code == 1
    assert "leaves the API" in run.reports["constant_contact_contacts"]["message"]
    remove()
    assert account.sync(streams=("contacts",)).code == 0
    assert account.wrong("contacts") == []


def test_a_link_that_leaves_the_api_costs_one_campaign_only(account: Account) -> None:
    bad, good = (campaign(account, days=day) for day in (1, 2))
    for one in (bad, good):
        account.api.add_event("opens", one, created=NOW - HOUR)
    [odd] = account.api.activities_of(bad).values()

    def lead_away(request: Any, reply: Any) -> None:
        if request.path.endswith(f"{odd}/tracking/opens"):
            link = b'"_links":{"next":{"href":"https://evil.test/v3/x"}}'
            reply.body = b'{"tracking_activities":[],' + link + b"}"

    account.world.on_reply(lead_away)
    run = account.sync(streams=("opens",))
    assert run.reports["constant_contact_opens"]["failed"] == [bad]
    assert len(run.records("constant_contact_opens")) == 1


@pytest.mark.parametrize(
    ("stream", "end", "field"),
    [
        ("opens", "/opens", "tracking_activities"),
        ("unique_opens", "/unique_opens", "tracking_activities"),
        ("contacts", "/contacts", "contacts"),
        ("campaigns", "/emails", "campaigns"),
        ("campaign_summaries", "_summaries", "bulk_email_campaign_summaries"),
    ],
)
def test_links_that_lead_in_a_circle_end_the_list(
    account: Account,
    caplog: pytest.LogCaptureFixture,
    stream: str,
    end: str,
    field: str,
) -> None:
    campaign(account)

    def lead_round(request: Any, reply: Any) -> None:
        if request.path.endswith(end):
            there = "two" if request.query.get("next") == "one" else "one"
            link = {"next": {"href": f"{request.path}?next={there}"}}
            answer = {field: [], "_links": link}
            reply.status, reply.body = 200, json.dumps(answer).encode()

    account.world.on_reply(lead_round)
    run = account.sync(streams=(stream,))
    assert run.code == 1
    assert "in circles" in caplog.text
    assert run.requests < 20


def test_malformed_activities_are_skipped(account: Account) -> None:
    campaign(account)

    def spoil(request: Any, reply: Any) -> None:
        if request.path.startswith("/v3/emails/") and "activities" not in request.path:
            answer = json.loads(reply.body)
            answer["campaign_activities"] += [None, {"role": "primary_email"}, 7]
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(spoil)
    sync(account, "campaign_activities", "opens")
    assert account.wrong("campaign_activities", "opens") == []


def test_an_event_whose_contact_id_is_not_text_is_emitted(account: Account) -> None:
    sent = campaign(account)
    account.api.add_event("optouts", sent, created=NOW - HOUR)

    def spoil(request: Any, reply: Any) -> None:
        if request.path.endswith("/optouts"):
            answer = json.loads(reply.body)
            for row in answer["tracking_activities"]:
                row["contact_id"] = [row["contact_id"]]
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(spoil)
    sync(account, "optouts")
    [row] = account.rows("optouts").values()
    assert row["additional_fields"]["contact_id"]


def test_an_event_that_arrives_between_two_pages_of_a_contact_hides_no_row() -> None:
    account = Account(contact_reports=True)
    sent = campaign(account, recipients=1)
    contact = account.api.add_contact(created=NOW - 99 * DAY)
    for number in range(150):
        account.api.add_event("opens", sent, contact, created=NOW - HOUR - number)
    twin = account.api.add_event("opens", sent, contact, created=NOW - 2 * HOUR)
    assert twin
    account.api.add_event("opens", sent, contact, created=NOW - 2 * HOUR)
    done: list[str] = []

    def shift(_method: str, path: str, query: Any) -> None:
        if path.endswith("/activity_details") and query.keys() & {"next", "cursor"}:
            if not done:
                account.api.add_event("opens", sent, contact, created=NOW - 1)
            done.append(path)

    account.world.on_request(shift)
    sync(account, "contact_activity_details")
    assert done
    assert account.wrong("contact_activity_details") == []


def test_a_campaign_that_closes_is_read_in_full_once_more(account: Account) -> None:
    sent = campaign(account, days=80)
    contact, other = account.api.add_contact(), account.api.add_contact()
    account.api.add_event("forwards", sent, contact, created=NOW - 20 * DAY)
    sync(account, "forwards")
    # It moves no counter and is below the look-back of the list whose counter moves.
    account.api.add_event(
        "forwards", sent, contact, created=NOW - 30 * DAY, visible_from=NOW + DAY
    )
    account.api.add_event("forwards", sent, other, created=NOW + 14 * DAY)
    account.advance(15)
    sync(account, "forwards")
    assert len(account.rows("forwards")) == 3
    assert account.wrong("forwards") == []


def test_an_event_without_identifying_values_is_left_out_and_counted(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """An id made of the campaign alone would be the same for all such rows."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - HOUR)

    def add_a_bare_row(request: Any, reply: Any) -> None:
        if request.path.endswith("/opens"):
            answer = json.loads(reply.body)
            answer["tracking_activities"].append({"email_address": "x@example.org"})
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(add_a_bare_row)
    run = sync(account, "opens")
    [record] = run.records("constant_contact_opens")
    assert record["contact_id"]
    assert "constant_contact_opens: rows without a record: 1:" in caplog.text


def test_a_list_that_shifts_during_every_read_is_not_settled(
    account: Account,
) -> None:
    sent = campaign(account, recipients=1)
    for number in range(700):
        account.api.add_event("opens", sent, created=NOW - 60 - number)

    def shift(_method: str, path: str, query: Any) -> None:
        if path.endswith("/opens") and "next" in query:
            account.api.add_event("opens", sent, created=NOW - 1)

    remove = account.world.on_request(shift)
    run = sync(account, "opens")
    remove()
    assert run.reports["constant_contact_opens"]["unsettled"] == 1
    assert account.counter_mark("opens", sent).unsettled
    account.advance(1 / 24)
    sync(account, "opens")
    assert not account.counter_mark("opens", sent).unsettled
    assert account.wrong("opens") == []


def test_a_list_that_repeats_a_row_for_days_differs_when_it_is_no_longer_awaited(
    account: Account,
) -> None:
    sent = campaign(account, recipients=4)

    def repeat(request: Any, reply: Any) -> None:
        if request.path.endswith("/sends"):
            answer = json.loads(reply.body)
            rows = answer["tracking_activities"]
            answer["tracking_activities"] = [*rows[:-1], rows[0]]
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(repeat)
    verdicts = []
    for _ in range(5):
        run = account.sync(streams=("sends", "email_metrics_reconciliation"))
        rows = run.records("email_metrics_reconciliation")
        verdicts += [one["verdict"] for one in rows if one["parent"] == sent]
        if account.counter_mark("sends", sent).settled:
            break
        account.advance(1)
    assert verdicts == ["unsettled"] * 3 + ["differs"]


def test_a_list_without_a_counter_that_shifts_in_every_attempt_is_not_settled(
    account: Account,
) -> None:
    sent = campaign(account, recipients=1)
    for number in range(700):
        account.api.add_event("opens", sent, created=NOW - 60 - number)

    seconds = count(1)

    def shift(_method: str, path: str, query: Any) -> None:
        if path.endswith("/opens") and "next" in query:
            account.api.add_event("opens", sent, created=NOW - 59 + next(seconds))

    def hide_counters(request: Any, reply: Any) -> None:
        if "/stats/email_campaigns/" in request.path:
            answer = json.loads(reply.body)
            for row in answer["results"]:
                row["stats"].pop("em_opens_all", None)
            reply.body = json.dumps(answer).encode()

    account.world.on_request(shift)
    account.world.on_reply(hide_counters)
    run = sync(account, "opens")
    assert run.reports["constant_contact_opens"]["unsettled"] == 1
