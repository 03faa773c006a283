"""A row that the API served is emitted, or counted with a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.runs.luxsci.test_reports import clinic_of
from tests.support.constant_contact import DAY, NOW, Account
from tests.support.encompass import Site, key_of, site_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.encompass import Sync

LISTS = "email_metrics_reconciliation"
ROW = dict.fromkeys(("campaign_activity_id", "contact_id", "created_time"), "a")


def change(site: Site, end: str, new: Callable[[Any], Any]) -> None:
    """Change the JSON of all answers to paths that end so."""

    def strike(request: Any, reply: Any) -> None:
        if request.path.endswith(end) and reply.status == 200:
            reply.body = json.dumps(new(json.loads(reply.body))).encode()

    site.world.on_reply(strike)


def check(run: Sync, stream: str, reasons: dict[str, int]) -> None:
    """Check the counts of rows without a record in run summary and reconciliation."""
    report = run.reports[stream]
    assert report["set_aside"] == reasons
    assert report["outcome"] == "incomplete"
    told = [r for r in run.records(LISTS) if r["stream"] == stream]
    assert sum(row["set_aside"] for row in told) == sum(reasons.values())
    assert all(row["verdict"] == "set_aside" for row in told if row["set_aside"])


@pytest.fixture
def account() -> Account:
    return Account()


def campaign(account: Account) -> str:
    return account.api.add_campaign(sent=NOW - 3 * DAY, recipients=4, links=1)


def test_a_send_that_is_not_an_object_is_counted(account: Account) -> None:
    campaign(account)
    change(account, "/send_history", lambda sends: [None, *sends, "sent"])
    run = account.sync(streams=("send_history", LISTS))
    assert len(run.records("constant_contact_send_history")) == 1
    check(run, "constant_contact_send_history", {"not a row": 2})


@pytest.mark.parametrize(
    ("stream", "path", "rows", "reason"),
    [
        ("opens", "/opens", 1, "identity missing"),
        ("sends", "/sends", 4, "identity missing"),
        ("links", "/links", 1, "key missing"),
        ("contacts", "/contacts", 5, "key missing"),
        ("campaigns", "/emails", 1, "key missing"),
        ("campaign_summaries", "/email_campaign_summaries", 1, "key missing"),
    ],
)
def test_an_entry_that_is_not_an_object_costs_no_other_row(
    account: Account, stream: str, path: str, rows: int, reason: str
) -> None:
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - DAY)

    def spoil(answer: Any) -> Any:
        lists = {name: v for name, v in answer.items() if isinstance(v, list)}
        return answer | {name: [*found, None] for name, found in lists.items()}

    change(account, path, spoil)
    run = account.sync(streams=(stream, LISTS))
    name = f"constant_contact_{stream}"
    assert len(run.records(name)) == rows
    check(run, name, {reason: 1})


def test_opens_with_an_unreadable_date_are_counted_and_read_again(
    account: Account,
) -> None:
    """They are emitted, but with another id than with a readable date."""
    sent = campaign(account)
    for number in range(3):
        account.api.add_event("opens", sent, created=NOW - 60 * number - 60)
    is_odd = True

    def spoil(answer: Any) -> Any:
        for row in answer["tracking_activities"][1:] if is_odd else ():
            row["created_time"] = "some days ago"
        return answer

    change(account, "/opens", spoil)
    run = account.sync(streams=("opens", LISTS))
    assert len(run.records("constant_contact_opens")) == 3
    check(run, "constant_contact_opens", {"identity unreadable": 2})
    is_odd = False
    account.advance(1)
    run = account.sync(streams=("opens", LISTS))
    assert run.reports["constant_contact_opens"]["outcome"] == "complete"
    [told] = [r for r in run.records(LISTS) if r["stream"] == "constant_contact_opens"]
    assert told["verdict"] == "equal"
    shown = {key_of(told["stream"], record) for record in account.truth("opens")}
    assert shown <= account.rows("opens").keys()


def keyless(name: str) -> Callable[[Any], Any]:
    """Return a change of an event that leaves a field out."""
    return lambda row: {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    "spoil",
    [
        keyless("created_time"),
        keyless("contact_id"),
        keyless("campaign_activity_id"),
        keyless("tracking_activity_type"),
        lambda row: row | {"created_time": 1_790_000_000_000},
        lambda row: row | {"campaign_activity_id": row["contact_id"]},
        lambda row: row | {"campaign_activity_id": row["campaign_activity_id"].upper()},
        lambda _row: {},
    ],
    ids=[
        *("no time", "no contact", "no activity", "no type", "time as a number"),
        *("another activity", "capitals", "no field"),
    ],
)
def test_events_that_cannot_be_identified_are_counted_and_read_again(
    account: Account, spoil: Callable[[Any], Any]
) -> None:
    """A later answer shows the same events with other ids."""
    sent = campaign(account)
    for number in range(3):
        account.api.add_event("opens", sent, created=NOW - 60 * number - 60)
    is_odd = True

    def strike(answer: Any) -> Any:
        first, *others = answer["tracking_activities"]
        odd = [spoil(row) if is_odd else row for row in others]
        return answer | {"tracking_activities": [first, *odd]}

    change(account, "/opens", strike)
    run = account.sync(streams=("opens", LISTS))
    [(reason, number)] = run.reports["constant_contact_opens"]["set_aside"].items()
    assert (reason == "identity unreadable", number) == (bool(spoil({**ROW})), 2)
    is_odd = False
    account.advance(1)
    account.sync(streams=("opens",))
    shown = {key_of("constant_contact_opens", one) for one in account.truth("opens")}
    assert shown <= account.rows("opens").keys()


@pytest.mark.parametrize("missing", [{"url_id": None}, {}])
def test_clicks_without_a_link_are_counted_and_read_again(
    account: Account, missing: dict[str, object]
) -> None:
    """A later answer shows the same clicks with other ids."""
    account.api.add_event("clicks", campaign(account), created=NOW - 60)
    is_odd = True

    def spoil(answer: Any) -> Any:
        rows = answer["tracking_activities"]
        odd = [keyless("url_id")(row) | missing for row in rows]
        return answer | {"tracking_activities": odd if is_odd else rows}

    change(account, "/clicks", spoil)
    run = account.sync(streams=("clicks", LISTS))
    check(run, "constant_contact_clicks", {"identity unreadable": 1})
    is_odd = False
    account.advance(1)
    account.sync(streams=("clicks",))
    shown = {key_of("constant_contact_clicks", one) for one in account.truth("clicks")}
    assert shown <= account.rows("clicks").keys()


@pytest.mark.parametrize(
    ("stream", "field", "odd"),
    [
        ("send_history", None, {}),
        ("send_history", None, None),
        ("links", "link_click_counts", {}),
    ],
)
def test_a_list_whose_rows_have_no_record_is_read_again(
    account: Account, stream: str, field: str | None, odd: object
) -> None:
    campaign(account)
    is_odd = True

    def strike(answer: Any) -> Any:
        if not is_odd:
            return answer
        return [odd] if field is None else answer | {field: [odd]}

    change(account, f"/{stream}", strike)
    run = account.sync(streams=(stream,))
    report = run.reports[f"constant_contact_{stream}"]
    assert sum(report["set_aside"].values()) == report["unsettled"] == 1
    is_odd = False
    account.advance(1)
    account.sync(streams=(stream,))
    assert len(account.rows(stream)) == 1


def test_opens_with_permanently_unreadable_dates_are_not_read_in_each_run(
    account: Account,
) -> None:
    account.api.add_event("opens", campaign(account), created=NOW - 60)

    def spoil(answer: Any) -> Any:
        for row in answer["tracking_activities"]:
            row["created_time"] = "some days ago"
        return answer

    change(account, "/opens", spoil)
    reads = []
    for _ in range(10):
        account.sync(streams=("opens",))
        reads.append(len(account.paths("/opens")))
        account.advance(1)
    assert reads[:4] == [1, 1, 1, 1]
    assert sum(reads[4:]) <= 1


def test_each_campaign_without_an_id_is_counted(account: Account) -> None:
    """They have no id in common, so none of them replaces another."""
    good, *odd = [campaign(account) for _ in range(3)]

    def spoil(answer: Any) -> Any:
        for row in answer["campaigns"]:
            if row["campaign_id"] in odd:
                del row["campaign_id"]
        return answer

    change(account, "/v3/emails", spoil)
    streams = ("campaigns", "campaign_activities")
    run = account.sync(streams=(*streams, LISTS))
    [record] = run.records("constant_contact_campaigns")
    assert record["campaign_id"] == good
    check(run, "constant_contact_campaigns", {"key missing": 2})
    check(run, "constant_contact_campaign_activities", {"campaign without an id": 2})


@pytest.mark.parametrize("odd", ["absent", None, "", {}])
def test_a_summary_without_an_id_is_counted_by_each_report(
    account: Account, odd: object
) -> None:
    """No report is requested with an id that no campaign has."""
    for _ in range(3):
        campaign(account)

    def spoil(answer: Any) -> Any:
        for row in answer["bulk_email_campaign_summaries"][:2]:
            row["campaign_id"] = odd
            if odd == "absent":
                del row["campaign_id"]
        return answer

    change(account, "/email_campaign_summaries", spoil)
    run = account.sync(streams=("campaign_summaries", "sends", LISTS))
    check(run, "constant_contact_sends", {"campaign without an id": 2})
    assert run.reports["constant_contact_campaign_summaries"]["outcome"] == "incomplete"
    assert not [p for p in account.paths("") if "None" in p]
    assert run.reports["constant_contact_sends"].get("failed") is None


@pytest.mark.parametrize("stream", ["sends", "links", "send_history"])
def test_an_activity_without_an_id_is_counted_and_the_others_are_read(
    account: Account, stream: str
) -> None:
    sent = campaign(account)

    def spoil(answer: Any) -> Any:
        answer["campaign_activities"] += [None, {"role": "resend"}]
        return answer

    change(account, f"/v3/emails/{sent}", spoil)
    run = account.sync(streams=(stream, "campaign_activities", LISTS))
    assert len(run.records(f"constant_contact_{stream}")) == len(account.truth(stream))
    check(run, f"constant_contact_{stream}", {"activity without an id": 2})
    check(
        run,
        "constant_contact_campaign_activities",
        {"not a row": 1, "key missing": 1},
    )


@pytest.mark.parametrize("role", ["winner", None])
def test_an_activity_of_an_unknown_role_beside_a_known_one_is_counted_once(
    account: Account, role: object
) -> None:
    """Its reports are not read, if it has any."""
    sent = campaign(account)
    unknown = {"campaign_activity_id": "a", "role": role}

    def spoil(answer: Any) -> Any:
        answer["campaign_activities"] += [unknown, {**unknown, "role": "Permalink"}]
        answer["campaign_activities"][-1]["campaign_activity_id"] = "b"
        return answer

    change(account, f"/v3/emails/{sent}", spoil)
    streams = ("sends", "links", "send_history")
    run = account.sync(streams=(*streams, LISTS))
    assert account.wrong("sends", "send_history") == []
    for stream in streams:
        name = f"constant_contact_{stream}"
        check(run, name, {"activity of an unknown role": 1})
    account.api.add_event("clicks", sent)
    account.advance(1)
    run = account.sync(streams=streams)
    assert account.paths(f"/v3/emails/{sent}") == []
    assert not any(report.get("set_aside") for report in run.reports.values())


def test_contact_reports_are_counted(account: Account) -> None:
    account.settings["contact_reports"] = True
    for _ in range(2):
        account.api.add_contact(created=NOW - 9 * DAY)
    name = "constant_contact_contact_open_and_click_rates"
    [told] = account.sync(streams=(name, LISTS)).records(LISTS)
    assert (told["rows_read"], told["verdict"]) == (2, "unknown")


def test_rows_of_contact_reports_without_a_key_are_counted(account: Account) -> None:
    account.settings["contact_reports"] = True
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - DAY)

    def spoil(answer: Any) -> Any:
        for row in answer["campaign_activities"]:
            row["campaign_activity_id"] = None
        return answer

    change(account, "/activity_summary", spoil)
    name = "constant_contact_contact_activity_summary"
    run = account.sync(streams=(name, LISTS))
    rows = sum(run.reports[name]["set_aside"].values())
    assert rows > 0
    check(run, name, {"key missing": rows})


def test_contacts_without_an_id_are_counted_by_their_reports(account: Account) -> None:
    account.settings["contact_reports"] = True
    for _ in range(3):
        account.api.add_contact(created=NOW - 9 * DAY)

    def spoil(answer: Any) -> Any:
        for row in answer["contacts"][:2]:
            row["contact_id"] = None
        return answer

    change(account, "/contacts", spoil)
    name = "constant_contact_contact_open_and_click_rates"
    run = account.sync(streams=(name, LISTS))
    assert len(run.records(name)) == 1
    check(run, name, {"contact without an id": 2})


def test_campaign_stats_are_counted(account: Account) -> None:
    campaign(account)
    run = account.sync(streams=("campaign_stats", LISTS))
    [told] = run.records(LISTS)
    assert (told["rows_read"], told["verdict"]) == (1, "unknown")


def test_changes_of_contacts_without_an_id_are_counted(account: Account) -> None:
    account.api.add_contact(created=NOW - 9 * DAY)

    def spoil(answer: Any) -> Any:
        answer["contacts"] += [{"first_name": "A"}]
        return answer

    change(account, "/contacts", spoil)
    run = account.sync(streams=("contacts", LISTS))
    check(run, "constant_contact_contacts", {"key missing": 1})


@pytest.mark.parametrize("odd", [None, ["a", 1], 7, "x"], ids=repr)
def test_an_entry_of_a_luxsci_report_that_is_not_a_row_is_counted(odd: object) -> None:
    clinic = clinic_of()
    clinic.api.set_policy(header_place="before")

    def spoil(answer: Any) -> Any:
        if answer.get("data"):
            answer["data"][1] = odd
        return answer

    change(clinic, "/smtp/opens", spoil)
    run = clinic.sync(streams=("opens", LISTS))
    reasons = run.reports["luxsci_opens"]["set_aside"]
    assert reasons.keys() == {"not a row"}
    check(run, "luxsci_opens", reasons)


def test_a_message_without_an_id_makes_each_of_its_lists_incomplete() -> None:
    """This holds also if the stream of messages is not selected."""
    site, (_, odd) = site_of(1, 2)
    site.api.correct("messages", odd, id=None)
    run = site.sync(streams=("opens", "links", LISTS))
    for stream in ("encompass_opens", "encompass_links"):
        check(run, stream, {"message without an id": 1})
