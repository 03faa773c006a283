"""Reports of the simulated LuxSci."""

from __future__ import annotations

import random
from typing import Any

import pytest

from simulator.luxsci.facts import ENDPOINTS, KINDS, gmt
from simulator.world import World
from tests.simulator.luxsci_client import (
    ACCOUNT,
    DAY,
    DELIVERY,
    NOW,
    OPENS,
    Client,
    connect,
)

LOGIN = "user1@clinic.example"
LISTS = "/user/user1%40clinic.example/marketing/v3"
SUMMARY = f"{DELIVERY}/summary"


@pytest.fixture
def world() -> World:
    world = World(NOW)
    world.luxsci.add_user(created=NOW - 90 * DAY)
    return world


@pytest.fixture
def client(world: World) -> Client:
    return connect(world)


def page_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an answer of any shape as objects with the vendor's names."""
    data = page["data"]
    inside = data if isinstance(data, dict) else {"rows": data}
    header = page.get("header") or inside["header"]
    names = [one["name"] if isinstance(one, dict) else one for one in header]
    known = {c.name.lower(): c.name for c in KINDS["delivery_status"].columns}
    rows = [
        row if isinstance(row, dict) else dict(zip(names, row, strict=True))
        for row in inside["rows"]
    ]
    return [{known[n.lower()]: value for n, value in row.items()} for row in rows]


def test_every_report_answers_with_its_columns(world: World) -> None:
    client = connect(world)
    for endpoint in ENDPOINTS:
        is_own = not endpoint.is_of_account
        assert client.authenticate(LOGIN if is_own else None).ok
        path = endpoint.path.format(account=4711, login="user1%40clinic.example")
        page = client.read(path)
        columns = [one.name for one in KINDS[endpoint.kind].columns if not one.tracked]
        assert page["header"] == columns, endpoint
        assert page["count"] == len(page["data"])
    assert len(ENDPOINTS) == 46
    assert "getEmailWebMailClickReportUser" not in {e.operation for e in ENDPOINTS}
    assert {one.kind for one in ENDPOINTS} == set(KINDS)


def test_tracked_headers_and_details_come_only_on_request(
    world: World, client: Client
) -> None:
    account = world.luxsci
    account.add_message(sent=NOW - 9, header1="x-clinic", header1_value="7")
    plain = client.rows(DELIVERY)[0]
    assert "header1" not in plain
    asked = client.rows(DELIVERY, tracked_headers=1)[0]
    assert set(asked) - set(plain) == {
        *("header1", "header1_value", "header2", "header2_value"),
        *("header3", "header3_value"),
    }
    assert (asked["header1"], asked["header2"]) == ("x-clinic", None)
    list_id = account.add_list(LOGIN)
    account.add_contact(LOGIN, list_id, custom={"favorite_color": "red"})
    path = f"{LISTS}/contacts"
    assert "favorite_color" not in client.rows(path)[0]
    row = client.rows(path, detail=1)[0]
    assert (row["favorite_color"], row["member_no"]) == ("red", None)


@pytest.mark.parametrize(
    ("name", "offset", "rows"),
    [
        *(("from_date", 1, 2), ("after_date", 1, 1)),
        *(("before_date", 1, 1), ("through_date", 1, 2)),
    ],
)
def test_each_bound_includes_or_excludes_its_instant(
    world: World, client: Client, name: str, offset: int, rows: int
) -> None:
    for second in range(3):
        world.luxsci.add_message(sent=NOW - 60 + second)
    bound = gmt(NOW - 60 + offset)
    page = client.read(DELIVERY, **{name: bound})
    assert page["count"] == len(page["data"]) == rows
    assert client.read(DELIVERY, matches=0, **{name: bound})["count"] == rows


def test_two_adjoining_intervals_have_each_row_once_and_a_date_is_midnight(
    world: World, client: Client
) -> None:
    midnight = NOW - NOW % DAY
    for second in (-1, 0, 1):
        world.luxsci.add_message(sent=midnight + second)
    day = gmt(midnight)[:10]
    assert client.read(DELIVERY, from_date=day)["count"] == 2
    assert client.read(DELIVERY, before_date=day)["count"] == 1
    both = client.read(DELIVERY, from_date=day, before_date=gmt(midnight + 1))
    assert both["count"] == 1
    assert client.read(DELIVERY, from_date=day, before_date=day)["count"] == 0


@pytest.mark.parametrize(
    "query",
    [
        {"from_date": "2026-09-21T00:00:00"},
        {"before_date": "yesterday"},
        {"first_row": -1},
        {"first_row": "x"},
        {"matches": 50_001},
    ],
)
def test_an_invalid_query_is_a_400(client: Client, query: dict[str, object]) -> None:
    response = client.get(DELIVERY, **query)
    assert response.status_code == 400
    assert response.json()["success"] == 0


def test_rows_come_in_pages_in_the_order_of_the_policy(
    world: World, client: Client
) -> None:
    for second in random.Random(1).sample(range(7), 7):  # noqa: S311
        world.luxsci.add_message(sent=NOW - 60 + second)
    assert client.read(DELIVERY, matches=0) == {"success": 1, "count": 7}
    rows = [
        row
        for first in range(0, 9, 3)
        for row in client.rows(DELIVERY, first_row=first, matches=3)
    ]
    sent = [row["date_sent"] for row in rows]
    assert sent == [gmt(NOW - 60 + second) for second in range(7)]
    world.luxsci.set_policy(rows_order="descending")
    assert [row["date_sent"] for row in client.rows(DELIVERY)] == sent[::-1]
    world.luxsci.set_policy(rows_order="insertion")
    assert sorted(row["date_sent"] for row in client.rows(DELIVERY)) == sent
    page = client.read(DELIVERY, first_row=7)
    assert (page["data"], page["count"]) == ([], 7)
    assert page["header"]


def test_a_policy_makes_pages_shorter_than_requested(
    world: World, client: Client
) -> None:
    for second in range(5):
        world.luxsci.add_message(sent=NOW - 60 + second)
    world.luxsci.set_policy(max_rows=2)
    page = client.read(DELIVERY, matches=4)
    assert (len(page["data"]), page["count"]) == (2, 5)
    world.luxsci.set_policy(max_rows=0, max_bytes=700)
    page = client.read(DELIVERY)
    assert len(page["data"]) in range(1, 5)
    world.luxsci.set_policy(max_bytes=1)
    page = client.read(DELIVERY, first_row=4)
    assert len(page["data"]) == 1


@pytest.mark.parametrize("seed", range(20))
def test_answers_of_any_shape_hold_the_same_rows(
    world: World, client: Client, seed: int
) -> None:
    account = world.luxsci
    sendmail_id = account.add_message(sent=NOW - 90, recipients=2, tls_info="2026")
    account.deliver(sendmail_id, at=NOW - 80)
    account.add_open(sendmail_id, at=NOW - 70)
    expected = client.rows(DELIVERY)
    rng = random.Random(seed)  # noqa: S311
    account.set_policy(
        rows=rng.choice(("arrays", "objects")),
        header_entries=rng.choice(("strings", "objects")),
        header_at=rng.choice(("top", "data")),
        header_place=rng.choice(("before", "after")),
        header_order=rng.choice(("page", "shuffled")),
        header_case=rng.choice(("page", "lower", "upper", "mixed")),
        count_at=rng.choice(("top", "data")),
        count_name="total",
    )
    assert [
        row == other
        for row, other in zip(page_of(client.read(DELIVERY)), expected, strict=True)
    ] == [True, True]


def test_a_policy_sets_the_place_of_header_count_and_rows(
    world: World, client: Client
) -> None:
    account = world.luxsci
    account.add_message(sent=NOW - 90, recipients=2)
    account.set_policy(rows="objects", header_entries="objects", header_at="data")
    page = client.read(DELIVERY)
    assert list(page) == ["success", "count", "data"]
    assert list(page["data"]) == ["header", "rows"]
    assert page["data"]["header"][0] == {"name": "date_sent"}
    assert page["data"]["rows"][0]["date_sent"] == gmt(NOW - 90)
    account.set_policy(header_place="after", count_at="data", rows_name="list")
    assert list(client.read(DELIVERY)["data"]) == ["count", "list", "header"]
    account.set_policy(header_at="top", count_name="total", count_type="string")
    page = client.read(DELIVERY)
    assert list(page) == ["success", "data", "header"]
    assert page["data"]["total"] == "2"
    assert client.read(DELIVERY, matches=0)["data"] == {"total": "2"}
    account.set_policy(count_at="top", count_of="page")
    assert client.read(DELIVERY, matches=1)["total"] == "1"
    assert client.read(DELIVERY, matches=0)["total"] == "2"
    account.set_policy(count_of="nothing")
    assert "total" not in client.read(DELIVERY)
    assert client.read(DELIVERY, matches=0)["total"] == "2"


def test_the_header_may_differ_from_answer_to_answer(
    world: World, client: Client
) -> None:
    world.luxsci.set_policy(header_order="shuffled", header_case="mixed")
    headers = [client.read(DELIVERY)["header"] for _ in range(3)]
    assert len({tuple(header) for header in headers}) == 3
    assert len({tuple(sorted(map(str.lower, header))) for header in headers}) == 1


def test_a_policy_changes_the_types_of_values(world: World, client: Client) -> None:
    account = world.luxsci
    account.add_message(sent=NOW - 90, details="250", tls_info="007", Opens=-1)
    account.set_policy(numbers_as_strings=True, strings_as_numbers=True)
    row = client.rows(DELIVERY)[0]
    assert (row["details"], row["tls_info"], row["Opens"]) == (250, "007", "-1")
    assert row["smtp_code"] is None
    assert client.rows(SUMMARY)[0]["pct_queued"] == "1.0"
    account.set_policy(nulls="zero_dates")
    row = client.rows(DELIVERY)[0]
    zero = "0000-00-00 00:00:00"
    assert (row["delivery_status_updated"], row["smtp_code"]) == (zero, None)
    account.set_policy(nulls="empty_dates")
    row = client.rows(DELIVERY)[0]
    assert (row["delivery_status_updated"], row["smtp_code"]) == ("", None)
    account.set_policy(nulls="empty")
    assert client.rows(DELIVERY)[0]["smtp_code"] == ""


def test_rows_change_and_move_to_later_dates(world: World, client: Client) -> None:
    account = world.luxsci
    sendmail_id = account.add_message(
        sent=NOW - 5 * DAY, visible_from=NOW - 4.5 * DAY, recipients=["a@example.org"]
    )
    account.add_message(sent=NOW - 5 * DAY, Opens=-1)
    account.deliver(sendmail_id, at=NOW - 4 * DAY)
    account.add_open(sendmail_id, at=NOW + 60)
    account.unsubscribe(sendmail_id, at=NOW + 120)
    recent = {"from_date": gmt(NOW - 4 * DAY)}
    row = client.rows(DELIVERY, **recent)[0]
    assert (row["Opens"], row["status"], row["delivery_seconds"]) == (
        *(0, "Delivered", DAY),
    )
    world.clock.advance(60)
    assert client.rows(DELIVERY, **recent)[0]["last_updated"] == gmt(NOW + 60)
    assert client.read(DELIVERY, before_date=gmt(NOW))["count"] == 1
    world.clock.advance(60)
    row = client.rows(DELIVERY, **recent)[0]
    assert (row["Opens"], row["Unsubscribed"]) == (1, 1)
    assert client.rows(OPENS)[0]["to"] == "a@example.org"
    suppressed = client.rows(f"{ACCOUNT}/report/email/suppressions")
    assert [one["email"] for one in suppressed] == ["a@example.org"]


def test_delivery_reports_are_filtered_by_the_date_of_the_policy(
    world: World, client: Client
) -> None:
    account = world.luxsci
    sendmail_id = account.add_message(sent=NOW - 5 * DAY)
    account.add_open(sendmail_id, at=NOW - DAY)
    account.add_message(sent=NOW - 5 * DAY, last_updated=None)
    recent = {"from_date": gmt(NOW - 2 * DAY)}
    old = {"before_date": gmt(NOW - 2 * DAY)}
    assert client.read(DELIVERY, **recent)["count"] == 1
    assert client.read(DELIVERY, **old)["count"] == 0
    assert client.read(DELIVERY)["count"] == 2
    assert client.read(OPENS, **recent)["count"] == 1
    account.set_policy(delivery_date="date_sent", event_date="date_sent")
    assert client.read(DELIVERY, **recent)["count"] == 0
    assert client.read(DELIVERY, **old)["count"] == 2
    assert client.read(OPENS, **recent)["count"] == 0
    assert client.read(OPENS, **old)["count"] == 1


def test_rows_may_appear_late_and_between_two_pages(
    world: World, client: Client
) -> None:
    account = world.luxsci
    sendmail_id = account.add_message(sent=NOW - DAY)
    account.add_open(sendmail_id, at=NOW - 60, visible_from=NOW + 60)
    assert client.read(OPENS, matches=0)["count"] == 0

    def change(method: str, path: str, query: object) -> None:
        del method, path, query
        account.add_message(sent=NOW - DAY)

    remove = world.on_request(change)
    counts = [client.read(DELIVERY)["count"] for _ in range(2)]
    remove()
    assert counts == [2, 3]
    world.clock.advance(60)
    assert client.rows(OPENS)[0]["open_date"] == gmt(NOW - 60)
    handle = account.add_row("opens", open_date=NOW)
    assert client.read(OPENS)["count"] == 2
    account.correct(handle, open_date=NOW - 5)
    assert client.rows(OPENS)[1]["open_date"] == gmt(NOW - 5)
    account.delete(handle)
    assert client.read(OPENS)["count"] == 1


def test_account_and_user_reports_show_their_own_rows(
    world: World, client: Client
) -> None:
    account = world.luxsci
    other = account.add_user("other@clinic.example")
    account.add_message(sent=NOW - 9, login=LOGIN)
    account.add_message(sent=NOW - 9, login=other, channel="webmail")
    account.add_suppression(at=NOW - 9)
    account.add_suppression(login=other, at=NOW - 9)
    suppressions = "/report/email/suppressions"
    assert client.read(DELIVERY)["count"] == 1
    assert client.read(f"{ACCOUNT}/report/email/webmail/sent")["count"] == 1
    assert client.read(f"{ACCOUNT}{suppressions}")["count"] == 2
    assert client.authenticate(other).ok
    user = "/user/other%40clinic.example"
    assert client.read(f"{user}/report/email/smtp/delivery")["count"] == 0
    assert client.read(f"{user}/report/email/webmail/delivery")["count"] == 1
    assert client.read(f"{user}{suppressions}")["count"] == 1
    assert client.rows(f"{user}{suppressions}/summary")[0]["count"] == 1


def test_summaries_count_the_rows_of_their_interval(
    world: World, client: Client
) -> None:
    account = world.luxsci
    first = account.add_message(sent=NOW - 90, recipients=3, secureline=3)
    account.add_message(sent=NOW - 90, recipients=1, secureline=0)
    account.add_message(sent=NOW - 90, channel="webmail")
    people = [row["to"] for row in client.rows(DELIVERY)]
    account.deliver(first, people[0], at=NOW - 80)
    account.deliver(first, people[1], at=NOW - 80, status="Soft Bounce")
    account.deliver(first, people[2], at=NOW - 80, status="Post-Delivery Hard Fail")
    for second in (70, 70, 60):
        account.add_open(first, people[0], at=NOW - second)
    account.add_click(first, people[0], at=NOW - 50)
    row = client.rows(SUMMARY)[0]
    assert (
        row
        | {
            "recipients": 4,
            "queued": 1,
            "delivered": 1,
            "hard_failed": 1,
            "soft_failed": 1,
            "failed": 2,
            "opened": 1,
            "clicked": 1,
            "unsubscribed": 0,
            "secureline": 3,
            "secureline_escrow": 3,
            "secureline_tls": 0,
            "pct_failed": 0.5,
            "pct_secureline": 0.75,
            "report_date": gmt(NOW),
        }
        == row
    )
    assert len(row) == 24
    opens = client.rows(f"{OPENS}/summary", before_date=gmt(NOW - 60))[0]
    assert (opens["all_opens"], opens["msg_opens"]) == (2, 1)
    none = client.rows(SUMMARY, from_date=gmt(NOW + 9))[0]
    assert (none["recipients"], none["pct_failed"]) == (0, 0)


def test_users_are_listed_and_summed_up(world: World, client: Client) -> None:
    world.luxsci.add_user("new@clinic.example", created=NOW - 60, name="New")
    world.luxsci.update_user("new@clinic.example", at=NOW - 30, name="Newer")
    path = f"{ACCOUNT}/report/users"
    assert client.read(path)["count"] == 2
    row = client.rows(path, from_date=gmt(NOW - 30))[0]
    assert (row["name"], row["created"]) == ("Newer", gmt(NOW - 60))
    row = client.rows(f"{path}/summary", from_date=gmt(NOW - DAY))[0]
    assert row == {
        "delta_users": 1,
        "total_users": 2,
        "user_limit": 50,
        "pct_users": 0.04,
        "report_date": gmt(NOW),
    }


def test_a_job_shows_its_status_of_the_time(world: World, client: Client) -> None:
    job = world.luxsci.add_job(created=NOW - 90)
    world.luxsci.update_job(job, at=NOW + 5, status="complete", completed=NOW + 5)
    path = f"{ACCOUNT}/report/jobs"
    assert client.rows(path)[0]["status"] == "submitted"
    world.clock.advance(5)
    row = client.rows(path, from_date=gmt(NOW))[0]
    assert (row["status"], row["completed"]) == ("complete", gmt(NOW + 5))


def test_marketing_reports_show_the_logged_events(world: World, client: Client) -> None:
    account = world.luxsci
    listed = account.add_list(LOGIN, created=NOW - DAY)
    people = [account.add_contact(LOGIN, listed, created=NOW - DAY) for _ in range(3)]
    campaign = account.add_campaign(LOGIN, created=NOW - 900)
    logs = account.send_campaign(campaign, people, at=NOW - 600)
    account.dispose(logs[0], at=NOW - 590)
    account.dispose(logs[1], "hard_bounce", at=NOW - 580)
    for kind in ("opens", "clicks", "clicks", "complaints", "unsubscribes"):
        account.log_event(f"marketing_{kind}", logs[0], at=NOW - 500)
    report = f"{LISTS}/report"
    shown = {row["log_id"]: row for row in client.rows(f"{report}/logs")}
    assert (shown[1]["clicks"], shown[1]["disposition"]) == (2, "delivered")
    assert shown[2]["disposition"] == "hard_bounce"
    assert [row["log_id"] for row in client.rows(f"{report}/bounces")] == [2]
    assert client.rows(f"{report}/opened")[0]["open_date"] == gmt(NOW - 500)
    assert client.rows(f"{report}/complaints")[0]["contact_id"] == people[0]
    assert client.rows(f"{report}/unsubscribed")[0]["note"] == "Unsubscribe link"
    assert client.rows(f"{report}/urls") == [
        {
            "campaign_id": campaign,
            "campaign_title": "Campaign 1",
            "url": "https://clinic.example/flu-shots",
            "clicks": 2,
        }
    ]
    assert client.rows(f"{LISTS}/campaigns")[0]["n_sent"] == 3
    account.add_user("other@clinic.example")
    logs_of_other = "/user/other%40clinic.example/marketing/v3/report/logs"
    assert client.read(logs_of_other)["count"] == 0


def test_faults_apply_to_luxsci(world: World, client: Client) -> None:
    world.luxsci.add_message(sent=NOW - 90, recipients=2)
    world.faults.add("shift_total", path="/delivery", by=3)
    assert client.read(DELIVERY)["count"] == 5
    world.faults.clear()
    world.faults.add("repeat_row", path="/delivery")
    rows = client.rows(DELIVERY)
    assert rows[0] == rows[1]
    world.faults.clear()
    world.faults.add("skip_row", path="/delivery")
    shorter = client.read(DELIVERY)
    assert (len(client.rows(DELIVERY)), shorter["count"]) == (1, 2)
    world.faults.clear()
    world.faults.add("expire_token", path="/delivery", times=1)
    assert client.get(DELIVERY).status_code == 401
    assert world.log.count("/perl/api/v2/account/{id}/report/email/smtp/delivery") == 5
    assert client.get(f"{LISTS}/lists").status_code == 401
    assert world.log.count("/perl/api/v2/user/{login}/marketing/v3/lists") == 1
