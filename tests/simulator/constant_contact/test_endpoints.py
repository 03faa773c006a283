"""Endpoints of the simulated Constant Contact."""

from __future__ import annotations

import pytest

from simulator.constant_contact.facts import ENDS
from simulator.world import World
from tests.simulator.constant_contact_client import (
    DAY,
    NOW,
    SUMMARIES,
    Client,
    connect,
    unlimited,
)

OTHER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def world() -> World:
    return unlimited(World(NOW))


@pytest.fixture
def client(world: World) -> Client:
    return connect(world)


def sent(world: World, number: int) -> list[str]:
    """Add sent campaigns; return their ids, newest first."""
    add = world.constant_contact.add_campaign
    return [add(sent=NOW - index * DAY, recipients=1) for index in range(number)]


# Limits


def test_more_than_four_requests_in_any_second_are_refused(
    world: World, client: Client
) -> None:
    world.constant_contact.set_policy(requests_per_second=4)
    account = world.constant_contact
    for _ in range(3):
        for _ in range(4):
            assert client.get("/emails").ok
        world.clock.advance(0.75)
        refused = client.get("/emails")
        assert refused.status_code == 429
        assert refused.json()["error_key"] == "throttled"
        world.clock.advance(0.25)
    assert (account.throttled, account.used_today) == (3, 12)
    for _ in range(20):
        world.clock.advance(0.25)
        assert client.get("/emails").ok
    assert account.limits.busiest == 4


def test_the_daily_quota_is_renewed_at_midnight_utc(
    world: World, client: Client
) -> None:
    world.constant_contact.set_policy(requests_per_day=3)
    assert [client.get("/emails").status_code for _ in range(5)] == [
        *(200, 200, 200, 429, 429)
    ]
    assert client.get("/emails").json()["error_key"] == "quota_exceeded"
    midnight = (NOW // DAY + 1) * DAY
    world.clock.set(midnight - 1)
    assert client.get("/emails").status_code == 429
    world.clock.set(midnight)
    assert client.get("/emails").ok
    assert world.constant_contact.used_today == 1
    assert world.constant_contact.limits.refused == 4


# Errors


def test_a_policy_sets_the_shape_of_errors(world: World, client: Client) -> None:
    set_policy = world.constant_contact.set_policy
    path = f"/emails/{OTHER}"
    assert client.get(path).json()[0]["error_key"] == "not_found"
    set_policy(error_shape="object")
    assert client.get(path).json()["error_key"] == "not_found"
    set_policy(error_shape="empty")
    assert client.get(path).content == b""
    set_policy(error_shape="array", deactivated=True)
    assert client.get(path).json()[0]["error_key"] == "access_denied"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (SUMMARIES, {"limit": 49}, 400),
        (SUMMARIES, {"limit": 501}, 400),
        (SUMMARIES, {"since": 1}, 400),
        ("/emails", {"limit": "x"}, 400),
        ("/emails", {"after_date": "soon"}, 400),
        ("/emails", {"next": "nonsense"}, 400),
        ("/contacts", {"limit": 501}, 400),
        ("/contacts", {"status": "gone"}, 400),
        ("/contact_custom_fields", {"limit": 101}, 400),
        ("/contact_lists", {"limit": 1001}, 400),
        (f"/contacts/{OTHER}", {}, 404),
        (f"/reports/email_reports/{OTHER}/tracking/opens", {}, 404),
        (f"/reports/email_reports/{OTHER}/links", {}, 404),
        ("/nothing", {}, 404),
    ],
)
def test_invalid_queries_and_unknown_ids_are_refused(
    client: Client, path: str, query: dict[str, object], status: int
) -> None:
    assert client.get(path, **query).status_code == status


def test_a_method_other_than_get_is_a_405(client: Client) -> None:
    assert client.session.delete(f"{client.base}/v3/emails", timeout=9).status_code == (
        405
    )


# Stats


def test_one_unknown_id_refuses_the_stats_of_all_campaigns(
    world: World, client: Client
) -> None:
    campaigns = sent(world, 150)
    draft = world.constant_contact.add_campaign()
    path = "/reports/stats/email_campaigns/"
    page = client.read(path + ",".join(campaigns))
    assert [row["campaign_id"] for row in page["results"]] == campaigns
    for bad in (OTHER, "x", draft):
        assert client.get(f"{path}{campaigns[0]},{bad}").status_code == 404
    assert client.get(path + ",".join([*campaigns, OTHER])).status_code == 400
    assert client.get(path).status_code == 404


def test_unknown_activities_are_listed_as_errors_beside_the_results(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    known = [account.activity(one).activity_id for one in sent(world, 10)]
    draft = account.activity(account.add_campaign()).activity_id
    path = "/reports/stats/email_campaign_activities/"
    page = client.read(f"{path}{known[0]},{OTHER},{draft}")
    assert [row["campaign_activity_id"] for row in page["results"]] == known[:1]
    assert len(page["errors"]) == 2
    assert client.get(f"{path}{known[0]},x").status_code == 404
    assert len(client.read(path + ",".join(known))["results"]) == 10
    assert client.get(path + ",".join([*known, OTHER])).status_code == 400


def test_a_policy_sets_the_form_of_counts(world: World, client: Client) -> None:
    (campaign,) = sent(world, 1)
    account = world.constant_contact
    account.set_policy(
        counts_as_strings=True, stats_keys="dots", aggregate_percents="array"
    )
    account.add_event("opens", campaign, device="mobile")
    stats = client.stats(campaign)
    assert stats["em_opens.all.mobile"] == stats["em_opens.all"] == "1"
    assert stats["em_not_opened"] == "0"
    page = client.read(SUMMARIES, limit=50)
    assert page["bulk_email_campaign_summaries"][0]["unique_counts"]["opens"] == "1"
    assert isinstance(page["aggregate_percents"], list)
    account.set_policy(activity_type_in_stats=True)
    activity = account.activity(campaign).activity_id
    row = client.read(f"/reports/stats/email_campaign_activities/{activity}")
    assert row["results"][0]["campaign_activity_type"] == 10


# Paging


def test_a_new_campaign_shifts_rows_to_the_next_page(
    world: World, client: Client
) -> None:
    campaigns = sent(world, 60)
    page = client.read(SUMMARIES, limit=50)
    href = page["_links"]["next"]["href"]
    assert href.startswith(f"/v3{SUMMARIES}?next=")
    world.clock.advance(60)
    world.constant_contact.add_campaign(sent=NOW + 30)
    second = client.session.get(f"{client.base}{href}", timeout=9).json()
    ids = [row["campaign_id"] for row in second["bulk_email_campaign_summaries"]]
    assert ids == campaigns[49:]


def test_a_changed_next_link_is_refused(world: World, client: Client) -> None:
    sent(world, 60)
    href = client.read(SUMMARIES, limit=50)["_links"]["next"]["href"]
    follow = client.session.get
    assert follow(f"{client.base}{href}&limit=50", timeout=9).status_code == 400
    other = href.replace(SUMMARIES, "/emails")
    assert follow(f"{client.base}{other}", timeout=9).status_code == 400


@pytest.mark.parametrize("end", [*ENDS, "varied"])
def test_every_row_comes_once_whatever_ends_the_paging(
    world: World, client: Client, end: str
) -> None:
    account = world.constant_contact
    account.set_policy(paging_end=end)
    campaign = account.add_campaign(sent=NOW, recipients=7)
    activity = account.activity(campaign).activity_id
    rows = client.tracking(activity, "sends", limit=3)
    assert len({row["contact_id"] for row in rows}) == 7
    account.set_policy(empty_last_page=True)
    before = world.log.count()
    assert len(client.tracking(activity, "sends", limit=7)) == 7
    assert world.log.count() - before == 2


def test_a_page_may_have_fewer_rows_than_requested(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    account.set_policy(max_page=3)
    campaign = account.add_campaign(sent=NOW, recipients=7)
    activity = account.activity(campaign).activity_id
    before = world.log.count()
    rows = client.tracking(activity, "sends", limit=500)
    assert len({row["contact_id"] for row in rows}) == len(rows) == 7
    assert world.log.count() - before == 3


# Lists and counters


def test_an_event_may_show_later_or_earlier_than_it_is_counted(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW, recipients=1)
    activity = account.activity(campaign).activity_id
    late, early = NOW + 100, NOW + 50
    account.add_event("opens", campaign, created=NOW + 10, visible_from=late)
    account.add_event(
        "clicks", campaign, created=NOW + 10, visible_from=early, counted_from=late
    )
    account.add_event(
        "opens", campaign, created=NOW + 20, visible_from=late, counted_from=early
    )

    def seen(at: float) -> list[object]:
        world.clock.set(at)
        stats = client.stats(campaign)
        lists = [len(client.tracking(activity, kind)) for kind in ("opens", "clicks")]
        return [*lists, stats["em_opens_all"], stats["em_clicks_all"]]

    assert seen(NOW + 49) == [0, 0, 0, 0]
    assert seen(early) == [0, 1, 1, 0]
    assert seen(late) == [2, 1, 2, 1]


def test_repeated_events_move_only_the_counters_of_all_events(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, recipients=3)
    activity = account.activity(campaign).activity_id
    sends = account.activity(campaign).lists["sends"].events
    one, two = sends[0].contact_id, sends[1].contact_id
    for kind in ("forwards", "bounces", "optouts", "opens", "clicks"):
        for _ in range(2):
            account.add_event(kind, activity, one, bounce_code="F")
    stats = client.stats(campaign)
    counters = ("em_forwards", "em_bounces", "em_optouts", "em_opens", "em_clicks")
    assert {stats[name] for name in counters} == {1}
    assert stats["em_opens_all"] == stats["em_clicks_all"] == 2
    assert stats["em_not_opened"] == 1
    for kind in ("forwards", "bounces", "optouts"):
        assert len(client.tracking(activity, kind)) == 2
    account.add_event("abuse", activity, two)
    path = f"/reports/stats/email_campaign_activities/{activity}"
    stats = client.read(path)["results"][0]["stats"]
    assert stats["em_bounces_mailbox_full"] == stats["em_abuse"] == 1


def test_opens_of_machines_are_removed_from_list_and_counters(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, recipients=2)
    activity = account.activity(campaign).activity_id
    proxy = account.add_event("opens", campaign, created=NOW - 10, device="other")
    assert client.stats(campaign)["em_opens_all_other"] == 1
    account.remove_event(proxy, at=NOW + 100, uncounted_from=NOW + 50)
    world.clock.set(NOW + 60)
    assert client.stats(campaign)["em_opens_all"] == 0
    assert len(client.tracking(activity, "opens")) == 1
    world.clock.set(NOW + 100)
    assert client.tracking(activity, "opens") == []


def test_events_come_newest_first_with_equal_events_side_by_side(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY)
    person = account.add_contact(created=NOW - DAY)
    at = NOW - 100
    for device in ("mobile", "mobile", "tablet"):
        account.add_event("opens", campaign, person, created=at, device=device)
    account.add_event("opens", campaign, person, created=at - 5 * DAY)
    account.add_event("opens", campaign, person, created=at + 1)
    activity = account.activity(campaign).activity_id
    rows = client.tracking(activity, "opens", limit=2)
    assert [row.get("device_type") for row in rows] == [
        *(None, "mobile", "mobile", "tablet", None)
    ]
    times = [row["created_time"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert rows[1] == rows[2]
    (unique,) = client.tracking(activity, "unique_opens")
    assert unique == rows[0]


def test_recipients_who_did_not_open_are_listed(world: World, client: Client) -> None:
    account = world.constant_contact
    people = [account.add_contact(created=NOW - DAY) for _ in range(3)]
    campaign = account.add_campaign(sent=NOW - 9, recipients=people)
    activity = account.activity(campaign).activity_id
    account.add_event("bounces", campaign, people[0])
    account.add_event("opens", campaign, people[1], created=NOW + 60)
    rows = client.tracking(activity, "didnotopens")
    assert {row["contact_id"] for row in rows} == set(people[1:])
    world.clock.advance(60)
    (row,) = client.tracking(activity, "didnotopens")
    assert (row["contact_id"], row["tracking_activity_type"]) == (people[2], "em_sends")


def test_a_resend_is_an_activity_of_its_own_and_adds_to_the_counters(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, recipients=3, links=2)
    again = account.add_resend(campaign, sent=NOW + DAY, recipients=2)
    assert client.stats(campaign)["em_sends"] == 3
    assert [
        row["role"] for row in client.read(f"/emails/{campaign}")["campaign_activities"]
    ] == ["primary_email"]
    assert client.get(f"/emails/activities/{again}").status_code == 404
    world.clock.set(NOW + DAY)
    account.add_event("opens", again)
    assert client.stats(campaign)["em_sends"] == 5
    assert client.stats(campaign)["em_opens"] == 1
    (summary,) = client.walk(SUMMARIES, "bulk_email_campaign_summaries", limit=50)
    assert summary["last_sent_date"] == "2026-09-22T14:13:20.000Z"
    assert [
        row["role"] for row in client.read(f"/emails/{campaign}")["campaign_activities"]
    ] == ["primary_email", "resend"]


def test_links_are_listed_with_their_clicks(world: World, client: Client) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, links=2)
    activity = account.activity(campaign)
    first, _ = activity.links
    person = account.add_contact(created=NOW - DAY)
    for _ in range(2):
        account.add_event("clicks", campaign, person, url_id=first)
    path = f"/reports/email_reports/{activity.activity_id}/links"
    rows = client.read(path)["link_click_counts"]
    assert [(row["url_id"], row["unique_clicks"]) for row in rows] == [(first, 1)]
    rows = client.read(path, no_clicks="true")["link_click_counts"]
    assert [row["unique_clicks"] for row in rows] == [1, 0]
    clicks = client.tracking(activity.activity_id, "clicks", url_id=first)
    assert [row["link_url"] for row in clicks] == [rows[0]["link_url"]] * 2


def test_a_campaign_that_is_not_sent_has_no_rows(world: World, client: Client) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW + DAY, created=NOW, recipients=2, links=1)
    activity = account.activity(campaign).activity_id
    assert client.tracking(activity, "sends") == []
    path = f"/reports/email_reports/{activity}/links"
    assert client.read(path, no_clicks="true")["link_click_counts"] == []
    assert client.read(f"/emails/{campaign}")["current_status"] == "Draft"
    world.clock.advance(DAY)
    assert len(client.tracking(activity, "sends")) == 2
    assert client.read(f"/emails/{campaign}")["current_status"] == "Done"


def test_a_removed_campaign_shows_as_removed(world: World, client: Client) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, recipients=1)
    activity = account.activity(campaign).activity_id
    account.remove_campaign(campaign)
    (row,) = client.walk("/emails", "campaigns")
    assert row["current_status"] == "Removed"
    for path in (activity, f"{activity}/send_history"):
        assert client.get(f"/emails/activities/{path}").status_code == 404
    assert len(client.tracking(activity, "sends")) == 1
    account.set_policy(removed_reported=False, removed_activity_status=400)
    assert client.get(f"/emails/activities/{activity}").status_code == 400
    assert client.walk(SUMMARIES, "bulk_email_campaign_summaries", limit=50) == []
    path = f"/reports/stats/email_campaigns/{campaign}"
    assert client.get(path).status_code == 404


def test_counters_may_be_refreshed_once_an_hour(world: World, client: Client) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, recipients=1)
    account.set_policy(stats_refresh_seconds=3600, refreshed="read")
    account.add_event("opens", campaign)
    assert client.stats(campaign)["em_opens"] == 0
    world.clock.advance(3600)
    assert client.stats(campaign)["em_opens"] == 1


# Metadata


def test_campaigns_can_be_filtered_by_date_of_update(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    old = account.add_campaign(sent=NOW - 50 * DAY)
    new = account.add_campaign(sent=NOW - 10 * DAY)
    account.update_campaign(old, at=NOW - DAY, name="Renamed")

    def ids(**query: object) -> list[object]:
        rows = client.walk("/emails", "campaigns", **query)
        return [row["campaign_id"] for row in rows]

    assert ids() == ids(limit=1) == [old, new]
    assert ids(after_date="2026-09-15T00:00:00Z") == [old]
    assert ids(before_date="2026-09-15T00:00:00Z") == [new]
    account.set_policy(emails_order="created")
    assert ids() == [new, old]
    account.add_event("opens", new)
    assert ids(after_date="2026-09-15T00:00:00Z") == [old]


def test_changes_may_be_made_in_any_order(world: World, client: Client) -> None:
    account = world.constant_contact
    person = account.add_contact(created=NOW - 50 * DAY)
    account.update_contact(person, at=NOW - DAY, job_title="Later")
    account.update_contact(person, at=NOW - 9 * DAY, job_title="Early", anniversary="x")
    account.unsubscribe(person, at=NOW - 5 * DAY)
    row = client.read(f"/contacts/{person}")
    assert (row["job_title"], row["anniversary"]) == ("Later", "x")
    assert row["email_address"]["permission_to_send"] == "unsubscribed"
    assert row["updated_at"] == "2026-09-20T14:13:20.000Z"


def test_an_unsubscribe_is_found_by_its_own_date_only(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    stays, leaves, goes = (
        account.add_contact(created=NOW - 50 * DAY) for _ in range(3)
    )
    account.unsubscribe(leaves, at=NOW - 10, reason="Enough")
    account.delete_contact(goes, at=NOW - 10)
    since = "2026-09-21T00:00:00+00:00"

    def ids(**query: object) -> list[object]:
        rows = client.walk("/contacts", "contacts", limit=1, **query)
        return [row["contact_id"] for row in rows]

    assert ids(status="all") == [stays, leaves, goes]
    assert ids() == [stays, leaves]
    assert ids(updated_after=since) == []
    assert ids(updated_after=since, status="all") == [goes]
    assert ids(optout_after=since, status="all") == [leaves]
    assert ids(status="unsubscribed") == [leaves]
    (row,) = client.read("/contacts", status="deleted", include="taggings")["contacts"]
    assert row["deleted_at"] == "2026-09-21"
    assert "taggings" in row
    assert "custom_fields" not in row
    address = client.read(f"/contacts/{leaves}")["email_address"]
    assert address["opt_out_reason"] == "Enough"


def test_lists_tags_fields_and_segments_are_served(
    world: World, client: Client
) -> None:
    account = world.constant_contact
    made, gone = (account.add_item("contact_lists") for _ in range(2))
    tag = account.add_item("contact_tags")
    field = account.add_item("contact_custom_fields", type="date")
    segment = account.add_item("segments")
    account.add_contact(list_memberships=[made], taggings=[tag])
    account.delete_item("contact_lists", gone)
    rows = client.walk("/contact_lists", "lists", include_membership_count="all")
    assert [(row["list_id"], row["membership_count"]) for row in rows] == [(made, 1)]
    rows = client.walk("/contact_lists", "lists", status="all", limit=1)
    assert [row["list_id"] for row in rows] == [made, gone]
    (row,) = client.walk("/contact_tags", "tags", include_count="true")
    assert row["contacts_count"] == 1
    (row,) = client.walk("/contact_custom_fields", "custom_fields")
    assert (row["custom_field_id"], row["type"]) == (field, "date")
    account.delete_item("contact_tags", tag)
    assert client.walk("/contact_tags", "tags") == []
    account.set_policy(segments_pending=2)
    assert [client.get("/segments").status_code for _ in range(3)] == [202, 202, 200]
    (row,) = client.walk("/segments", "segments")
    assert row["segment_id"] == int(segment)
    assert client.read(f"/segments/{segment}")["name"] == row["name"]


def test_the_reports_of_a_contact_are_served(world: World, client: Client) -> None:
    account = world.constant_contact
    person = account.add_contact(created=NOW - 90 * DAY)
    for days in (40, 20, 10):
        account.add_campaign(sent=NOW - days * DAY, recipients=[person])
    newest = list(account.campaigns)[-1]
    account.add_event("opens", newest, person)
    account.add_event("optouts", newest, person)
    path = f"/reports/contact_reports/{person}"
    rows = client.walk(f"{path}/activity_details", "tracking_activities", limit=2)
    assert [row["tracking_activity_type"] for row in rows] == [
        *("em_opens", "em_optouts"),
        *["em_sends"] * 3,
    ]
    assert rows[0]["campaign_activity_name"] == "Campaign 3"
    interval = {"start": "2026-08-25", "end": "2026-09-21"}
    rows = client.walk(f"{path}/activity_summary", "campaign_activities", **interval)
    counts = [
        (row["em_sends"], row["em_opens"], row["em_unsubscribes"]) for row in rows
    ]
    assert counts == [(1, 1, 1), (1, 0, 0)]
    row = client.read(f"{path}/open_and_click_rates", **interval)
    assert row["included_activities_count"] == 2
    assert row["average_open_rate"] == 0.5
    assert client.get(f"{path}/activity_summary").status_code == 400


# Faults and the log


def test_faults_apply_to_constant_contact(world: World, client: Client) -> None:
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW, recipients=5)
    activity = account.activity(campaign).activity_id
    body = {"error_key": "quota_exceeded", "error_message": ""}
    add = world.faults.add
    add("status", path="^/v3/emails", status=429, body=body, times=1)
    add("status", path="/contacts$", status=403, body="")
    add("repeat_row", path="/tracking/")
    add("max_rows", path="/tracking/", rows=100)
    assert client.get("/emails").json() == body
    assert client.get("/emails").ok
    assert client.get("/contacts").content == b""
    rows = client.tracking(activity, "sends", limit=100)
    assert rows[0] == rows[1]
    world.faults.clear()
    add("expire_token", path="^/v3/", times=1)
    assert client.get("/emails").status_code == 401


def test_the_log_holds_paths_without_ids(world: World, client: Client) -> None:
    (campaign,) = sent(world, 1)
    activity = world.constant_contact.activity(campaign).activity_id
    world.log.reset()
    client.get(f"/reports/stats/email_campaigns/{campaign}")
    client.get(f"/reports/stats/email_campaigns/{campaign},x")
    client.get(f"/reports/stats/email_campaign_activities/{activity}")
    client.tracking(activity, "sends")
    client.get(f"/emails/activities/{activity}/send_history")
    assert [entry.template for entry in world.log.entries] == [
        "/v3/reports/stats/email_campaigns/{ids}",
        "/v3/reports/stats/email_campaigns/{ids}",
        "/v3/reports/stats/email_campaign_activities/{ids}",
        "/v3/reports/email_reports/{id}/tracking/sends",
        "/v3/emails/activities/{id}/send_history",
    ]
