"""Odd answers of Constant Contact: an answer that is not understood loses no row."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tap_email_metrics.clock import from_iso, iso
from tests.support.constant_contact import DAY, NOW, URL, Account

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0
EVENTS = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")
TRACKED = "tracking_activities"
SUMMARIES = "/email_campaign_summaries"


@pytest.fixture
def account() -> Account:
    return Account()


def campaign(account: Account, days: float = 3, **options: Any) -> str:
    options = {"recipients": 4, "links": 1, **options}
    return account.api.add_campaign(sent=NOW - days * DAY, **options)


def change(account: Account, end: str, new: Callable[[Any], Any]) -> Callable[[], None]:
    """Change the JSON of all answers to paths that end so; return how to end it."""

    def strike(request: Any, reply: Any) -> None:
        if request.path.endswith(end) and reply.status == 200:
            answer = new(json.loads(reply.body))
            if answer is None:
                reply.status, reply.body = 204, b""
            else:
                reply.body = json.dumps(answer).encode()

    return account.world.on_reply(strike)


def without(name: str) -> Callable[[Any], Any]:
    return lambda answer: {k: v for k, v in answer.items() if k != name}


def unlist(account: Account, campaign_id: str) -> list[Callable[[], None]]:
    """Leave a campaign out of both lists of campaigns; return how to end it."""

    def remove(answer: Any) -> Any:
        name = "campaigns" if "campaigns" in answer else "bulk_email_campaign_summaries"
        rows = [row for row in answer[name] if row["campaign_id"] != campaign_id]
        return answer | {name: rows}

    return [change(account, end, remove) for end in (SUMMARIES, "/v3/emails")]


def outcome(run: Any, stream: str) -> Any:
    return run.reports[f"constant_contact_{stream}"]["outcome"]


# Activities


@pytest.mark.parametrize(
    "given", [[], None, "absent", [{"role": "primary_email"}], {"a": 1}]
)
def test_a_sent_campaign_without_activities_is_requested_again(
    account: Account, given: Any
) -> None:
    """A list that is empty once is not empty for ever."""
    sent = campaign(account)
    new = {} if given == "absent" else {"campaign_activities": given}
    heal = change(
        account,
        f"/v3/emails/{sent}",
        lambda answer: without("campaign_activities")(answer) | new,
    )
    run = account.sync(streams=("sends",))
    assert run.reports["constant_contact_sends"]["failed"] == [sent]
    heal()
    account.advance(1)
    account.sync(streams=("sends",))
    assert account.wrong("sends") == []


@pytest.mark.parametrize("given", [[], None])
def test_a_campaign_sent_to_nobody_without_activities_is_requested_again(
    account: Account, given: Any
) -> None:
    """It has links although its counters say that nothing was sent."""
    sent = campaign(account, recipients=0)
    heal = change(
        account,
        f"/v3/emails/{sent}",
        lambda answer: answer | {"campaign_activities": given},
    )
    run = account.sync(streams=("links",))
    assert run.reports["constant_contact_links"]["failed"] == [sent]
    heal()
    account.advance(1)
    account.sync(streams=("links",))
    assert len(account.rows("links")) == 1


@pytest.mark.parametrize("role", ["PRIMARY_EMAIL", " Primary-Email", "main", None, 7])
def test_an_activity_whose_role_has_another_spelling_has_reports(
    account: Account, role: object
) -> None:
    """Without a primary email, all activities except permalinks have reports."""
    sent = campaign(account)
    account.api.add_resend(sent, sent=NOW - DAY, recipients=2)

    def rename(answer: Any) -> Any:
        for one in answer["campaign_activities"]:
            if one["role"] == "primary_email":
                one["role"] = role
        return answer

    change(account, f"/v3/emails/{sent}", rename)
    account.sync(streams=("sends",))
    assert account.wrong("sends") == []


def test_an_activity_that_gets_another_id_is_found_after_a_404(
    account: Account,
) -> None:
    """The activities of the campaign are requested again."""
    sent = campaign(account)
    account.sync(streams=EVENTS)
    entry = account.shared["constant_contact"]["campaigns"]
    [kept] = entry.values()
    kept[3:] = ["gone"]
    account.api.add_event("opens", sent, created=NOW + HOUR)
    for _ in range(2):
        account.advance(1)
        account.sync(streams=EVENTS)
    assert account.wrong(*EVENTS) == []


def test_activities_are_requested_again_while_rows_are_missing(
    account: Account,
) -> None:
    """An activity that the state does not know has the missing rows."""
    sent = campaign(account)
    again = account.api.add_resend(sent, sent=NOW - DAY, recipients=2)
    account.sync(streams=("opens",))
    [kept] = account.shared["constant_contact"]["campaigns"].values()
    del kept[4:]
    account.api.add_event("opens", again, created=NOW + HOUR)
    for _ in range(2):
        account.advance(1)
        account.sync(streams=("opens",))
    assert account.wrong("opens") == []


@pytest.mark.parametrize("name", ["activities_empty", "activities_null", "parent_404"])
def test_activities_that_are_missing_once_are_read_the_next_day(
    account: Account, name: str
) -> None:
    """Only a removed campaign has no activities."""
    streams = ("campaign_activities", "send_history")
    first, second = campaign(account, 2), campaign(account)
    account.sync(streams=streams)
    for one in (first, second):
        account.api.update_campaign(one, at=NOW + HOUR, name="New")
        account.api.add_resend(one, sent=NOW + HOUR, recipients=1)
    account.advance(1)
    odd = account.world.odd(name, parent=None if "act" in name else first)
    run = account.sync(streams=streams)
    assert first in run.reports["constant_contact_campaign_activities"]["failed"]
    account.world.odds.remove(odd)
    account.advance(1)
    account.sync(streams=streams)
    assert account.wrong(*streams) == []


@pytest.mark.parametrize("path", ["/emails/activities/", "/emails/[^/]+$"])
def test_activities_that_answer_404_for_days_are_read_afterwards(
    account: Account, path: str
) -> None:
    """The campaign was not removed, and it changed long before."""
    streams = ("campaign_activities", "send_history")
    sent = campaign(account)
    odd = account.world.odd("parent_404", path=path)
    for _ in range(4):
        run = account.sync(streams=streams)
        for stream in streams:
            assert run.reports[f"constant_contact_{stream}"]["failed"] == [sent]
        account.advance(1)
    account.world.odds.remove(odd)
    account.advance(1)
    account.sync(streams=streams)
    assert account.wrong(*streams) == []


@pytest.mark.parametrize(
    ("path", "streams"),
    [
        (r"/v3/emails/[0-9a-f-]+$", ("opens",)),
        (r"/v3/emails/[0-9a-f-]+$", ("campaign_activities",)),
        (r"/v3/emails/activities/", ("campaign_activities",)),
    ],
)
def test_an_answer_about_another_campaign_is_not_understood(
    account: Account, path: str, streams: tuple[str, ...]
) -> None:
    """The opens of one campaign would count as those of another."""
    first, second = campaign(account, 2), campaign(account)
    for one in (first, second):
        account.api.add_event("opens", one, created=NOW - HOUR)
    bodies: list[bytes] = []

    def mix_up(request: Any, reply: Any) -> None:
        if re.search(path, request.path):
            bodies.append(reply.body)
            reply.body = bodies[0]

    heal = account.world.on_reply(mix_up)
    run = account.sync(streams=streams)
    assert len(run.reports[f"constant_contact_{streams[0]}"]["failed"]) == 1
    heal()
    account.advance(1)
    account.sync(streams=streams)
    assert account.wrong(*streams) == []


# Lists


@pytest.mark.parametrize("name", ["parent_204", "list_null"])
def test_absent_links_are_unsettled_and_read_again(account: Account, name: str) -> None:
    """No counter counts links."""
    streams = ("links", "snapshots")
    campaign(account)
    odd = account.world.odd(name, path="/links$")
    run = account.sync(streams=streams)
    assert run.reports["constant_contact_links"]["unsettled"] == 1
    assert account.rows("snapshots") == {}
    account.world.odds.remove(odd)
    account.advance(1 / 24)
    account.sync(streams=streams)
    [snapshot], [_] = account.rows("snapshots").values(), account.rows("links")
    assert snapshot["rows"] == 1


def opened(account: Account) -> str:
    """Add a campaign with three links that each of three contacts opened."""
    people = [account.api.add_contact(created=NOW - 9 * DAY) for _ in range(3)]
    sent = campaign(account, recipients=people, links=3)
    for person in people:
        account.api.add_event("opens", sent, person, created=NOW - HOUR)
    return sent


def told(run: Any, stream: str) -> dict[str, Any]:
    """Return the record of the comparison of a stream's only list."""
    rows = run.records("email_metrics_reconciliation")
    [row] = [row for row in rows if row["stream"] == f"constant_contact_{stream}"]
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize("stream", ["links", "unique_opens"])
def test_a_snapshot_that_contains_a_row_twice_is_read_again(
    account: Account, stream: str
) -> None:
    """The row that came twice may have replaced another."""
    opened(account)
    odd = account.world.odd("first_row_again", path=f"/{stream}$")
    run = account.sync(streams=(stream, "snapshots"))
    assert run.reports[f"constant_contact_{stream}"]["unsettled"] == 1
    account.world.odds.remove(odd)
    account.advance(1 / 24)
    account.sync(streams=(stream, "snapshots"))
    assert len(account.rows(stream)) == 3


def test_the_rows_of_a_snapshot_with_a_doubled_row_are_the_current_ones(
    account: Account,
) -> None:
    """They have replaced the same rows of the reading before."""
    opened(account)
    account.sync(streams=("links", "snapshots"))
    account.advance(31)
    account.world.odd("first_row_again", path="/links$")
    account.sync(streams=("links", "snapshots"))
    [snapshot] = account.rows("snapshots").values()
    links = [row["as_of"] for row in account.rows("links").values()]
    assert snapshot["rows"] == links.count(snapshot["as_of"]) == 2


@pytest.mark.parametrize("stream", ["links", "unique_opens"])
def test_a_snapshot_whose_row_comes_twice_for_days_is_accepted_and_reported(
    account: Account, stream: str
) -> None:
    opened(account)
    account.world.odd("first_row_again", path=f"/{stream}$")
    streams = (stream, "email_metrics_reconciliation")
    found = []
    for _ in range(4):
        run = account.sync(streams=streams)
        row = told(run, stream)
        found.append((row["verdict"], row["rows_read"], row["api_rows"]))
        account.advance(1)
    assert found == [("unsettled", 2, 3)] * 3 + [("differs", 2, 3)]
    account.sync(streams=streams)
    assert account.paths(f"/{stream}") == []


def test_links_that_lack_clicks_for_days_are_accepted_and_reported(
    account: Account,
) -> None:
    """The campaign counts a contact who clicked, but its links do not."""
    sent = campaign(account)
    account.api.add_event("clicks", sent, created=NOW - HOUR)
    change(account, "/links", lambda _: {"link_click_counts": []})
    streams = ("links", "email_metrics_reconciliation")
    found = []
    for _ in range(4):
        run = account.sync(streams=streams)
        row = told(run, "links")
        found.append((row["verdict"], row["contacts_read"], row["aggregate"]))
        account.advance(1)
    assert found == [("unsettled", 0, 1)] * 3 + [("differs", 0, 1)]


def test_a_unique_open_that_comes_twice_hides_no_row_if_all_are_counted(
    account: Account,
) -> None:
    opened(account)
    account.world.odd("last_row_again", path="/unique_opens$")
    run = account.sync(streams=("unique_opens", "email_metrics_reconciliation"))
    assert outcome(run, "unique_opens") == "complete"
    assert told(run, "unique_opens")["verdict"] == "equal"


@pytest.mark.parametrize("cut", [0, 2])
def test_a_snapshot_with_fewer_rows_than_counted_is_read_again(
    account: Account, cut: int
) -> None:
    """A contact who opened has a last open."""
    opened(account)
    streams = ("opens", "unique_opens")
    heal = change(
        account,
        "/unique_opens",
        lambda answer: answer | {TRACKED: answer[TRACKED][:cut]},
    )
    run = account.sync(streams=streams)
    assert run.reports["constant_contact_unique_opens"]["unsettled"] == 1
    heal()
    account.advance(1)
    run = account.sync(streams=streams)
    assert outcome(run, "unique_opens") == "complete"
    assert len(account.rows("unique_opens")) == 3


@pytest.mark.parametrize("selected", [("clicks", "links"), ("links",)])
def test_links_with_fewer_clicks_than_counted_are_read_again(
    account: Account, selected: tuple[str, ...]
) -> None:
    """An empty list of links of a campaign with clicks was not understood."""
    sent = campaign(account)
    account.api.add_event("clicks", sent, created=NOW - HOUR)
    streams = (*selected, "snapshots")
    account.sync(streams=streams)
    for number in range(2):
        account.api.add_event("clicks", sent, created=NOW + number)
    account.advance(1)
    heal = change(account, "/links", lambda _: {"link_click_counts": []})
    run = account.sync(streams=streams)
    assert run.reports["constant_contact_links"]["unsettled"] == 1
    [snapshot] = account.rows("snapshots").values()
    assert snapshot["rows"] == 1  # the reading before is still the current one
    heal()
    account.advance(1)
    account.sync(streams=streams)
    [snapshot], [link] = (account.rows(one).values() for one in ("snapshots", "links"))
    assert (link["unique_clicks"], link["as_of"]) == (3, snapshot["as_of"])


def test_a_snapshot_that_stays_short_is_read_once_more_at_each_change(
    account: Account,
) -> None:
    """The difference that was accepted before says nothing new."""
    sent = opened(account)
    change(
        account,
        "/unique_opens",
        lambda answer: answer | {TRACKED: answer[TRACKED][:-1]},
    )
    reads = []
    for number in range(10):
        if number == 7:
            account.api.add_event("opens", sent)
        account.sync(streams=("unique_opens",))
        reads.append(len(account.paths("/unique_opens")))
        account.advance(1)
    assert reads == [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]


def test_a_send_history_that_is_empty_once_is_read_again(account: Account) -> None:
    """A campaign that was sent has a send."""
    campaign(account)
    heal = change(account, "/send_history", lambda _: [])
    run = account.sync(streams=("send_history",))
    assert run.reports["constant_contact_send_history"]["unsettled"] == 1
    heal()
    account.advance(1)
    account.sync(streams=("send_history",))
    assert account.wrong("send_history") == []


def test_a_send_history_that_stays_empty_is_accepted_after_three_tries(
    account: Account,
) -> None:
    campaign(account)
    change(account, "/send_history", lambda _: [])
    reads = []
    for _ in range(6):
        account.sync(streams=("send_history",))
        reads.append(len(account.paths("/send_history")))
        account.advance(1)
    assert reads == [1, 1, 1, 1, 0, 0]


def test_links_that_stay_absent_settle_as_none(account: Account) -> None:
    """The reading settles after three tries and two days."""
    streams = ("links", "snapshots")
    campaign(account, links=0)
    account.world.odd("list_null", path="/links$")
    for _ in range(4):
        run = account.sync(streams=streams)
        account.advance(1)
    assert "unsettled" not in run.reports["constant_contact_links"]
    [snapshot] = account.rows("snapshots").values()
    assert snapshot["rows"] == 0


@pytest.mark.parametrize("form", ["null", "absent", "empty object", "204"])
def test_a_null_list_is_empty_if_its_counter_is_0(account: Account, form: str) -> None:
    """Twelve campaigns without bounces do not fail the stream."""
    for number in range(12):
        campaign(account, 1 + number)
    forms: dict[str, Callable[[Any], Any]] = {
        "null": lambda answer: answer | {"tracking_activities": None},
        "absent": without("tracking_activities"),
        "empty object": lambda _: {},
        "204": lambda _: None,
    }
    change(account, "/bounces", forms[form])
    change(account, "/sends", forms[form])
    run = account.sync(streams=("bounces", "sends"))
    assert outcome(run, "bounces") == "empty"
    assert outcome(run, "sends") == "failed"  # the counters are above 0


@pytest.mark.parametrize("form", ["null", "absent", "204"])
def test_all_streams_of_an_account_that_never_sent_are_empty(
    account: Account, form: str
) -> None:
    """No answer has a list, and no counter says that there are rows."""

    def strike(_request: Any, reply: Any) -> None:
        if reply.body.startswith(b"{") and b"_links" in reply.body:
            reply.body = b'{"_links": null}'
        elif reply.body.startswith(b"{") and b"[]" in reply.body:
            reply.body = reply.body.replace(b"[]", b"null")
        if form == "204" and reply.body == b'{"_links": null}':
            reply.status, reply.body = 204, b""

    account.world.on_reply(strike)
    run = account.sync()
    ends = {name: report["outcome"] for name, report in run.reports.items()}
    ends.pop("constant_contact_account")
    assert {*ends.values()} == {"empty"}
    assert run.code == 0


@pytest.mark.parametrize("stream", ["contacts", "campaigns"])
def test_an_absent_list_does_not_move_its_cursor(account: Account, stream: str) -> None:
    """The changes since the last answer with a list are requested again."""
    contact = account.api.add_contact(created=NOW - 9 * DAY)
    sent = campaign(account)
    account.sync(streams=(stream,))
    account.advance(1)
    account.api.update_contact(contact, first_name="New")
    account.api.update_campaign(sent, name="New")
    heal = change(
        account,
        "/emails" if stream == "campaigns" else "/contacts",
        without(stream),
    )
    for _ in range(3):
        run = account.sync(streams=(stream,))
        assert (run.code, outcome(run, stream)) == (1, "failed")
        account.advance(1)
    heal()
    account.sync(streams=(stream,))
    assert account.wrong(stream) == []


def test_changes_hidden_once_by_an_empty_list_are_found_in_the_next_run(
    account: Account,
) -> None:
    """Each interval of changes is requested twice."""
    contact = account.api.add_contact(created=NOW - 90 * DAY)
    account.sync(streams=("contacts",))
    account.advance(0.5)
    account.api.unsubscribe(contact)
    account.advance(0.5)
    heal = change(account, "/contacts", lambda _: {"contacts": [], "_links": None})
    account.sync(streams=("contacts",))
    heal()
    account.advance(1)
    account.sync(streams=("contacts",))
    assert account.wrong("contacts") == []


@pytest.mark.parametrize("stream", ["campaigns", "campaign_activities", "contacts"])
def test_changes_hidden_for_days_are_found_within_a_week(
    account: Account, stream: str
) -> None:
    """Once a week the changes of two weeks are requested."""
    sent = campaign(account)
    contact = account.api.add_contact(created=NOW - 90 * DAY)
    account.sync(streams=(stream,))
    account.advance(6)
    account.sync(streams=(stream,))
    now = account.world.clock.now() + DAY / 2
    account.api.update_campaign(sent, at=now, name="New")
    account.api.add_resend(sent, sent=now, recipients=1)
    account.api.update_contact(contact, at=now, job_title="New")
    for _ in range(4):
        account.advance(0.7)
        heal = change(account, "/contacts", lambda _: {"contacts": []})
        end = change(account, "/emails", lambda _: {"campaigns": []})
        account.sync(streams=(stream,))
        heal()
        end()
    hidden = account.world.clock.now()
    while account.world.clock.now() - hidden < 8 * DAY:
        account.advance(1)
        account.sync(streams=(stream,))
    assert account.wrong(stream) == []


@pytest.mark.parametrize("date", ["absent", "2026-09-21", "0001-01-01T00:00:00Z"])
def test_a_campaign_that_changed_at_an_unknown_time_is_read_again(
    account: Account, date: str
) -> None:
    sent = campaign(account)

    def hide(answer: Any) -> Any:
        for row in answer["campaigns"]:
            row["updated_at"] = date
            if date == "absent":
                del row["updated_at"]
        return answer

    change(account, "/emails", hide)
    for number in range(4):
        account.api.update_activity(sent, subject=f"Subject {number}")
        account.api.update_campaign(sent)
        account.sync(streams=("campaign_activities",))
        assert account.wrong("campaign_activities") == []
        account.advance(0.1)


@pytest.mark.parametrize("earlier", [None, "2026-01-01"])
@pytest.mark.parametrize("stream", ["contacts", "campaigns", "campaign_activities"])
def test_an_earlier_start_date_reads_earlier_changes(
    account: Account, stream: str, earlier: str | None
) -> None:
    for days in (100, 3):
        campaign(account, days, recipients=1)
    account.common["start_date"] = "2026-09-01"
    for _ in range(3):
        account.sync(streams=(stream,))
        account.advance(0.1)
    assert len(account.rows(stream)) == 1
    account.common["start_date"] = earlier
    if earlier is None:
        del account.common["start_date"]
    account.sync(streams=(stream,))
    assert len(account.rows(stream)) == 2


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize("start", [None, "2026-01-01"])
@pytest.mark.parametrize("stream", ["contacts", "campaigns", "campaign_activities"])
def test_a_first_list_that_is_empty_or_cut_is_read_in_full_again(
    account: Account, stream: str, start: str | None, cut: int
) -> None:
    """The second run requests everything, not only the changes since the first."""
    if start:
        account.common["start_date"] = start
    for days in (50, 90):
        account.api.add_contact(created=NOW - days * DAY)
        campaign(account, days)
    path, field = "/emails", "campaigns"
    if stream == "contacts":
        path, field = "/contacts", "contacts"
    heal = change(
        account,
        path,
        lambda answer: {field: answer[field][:cut], "_links": None},
    )
    account.sync(streams=(stream,))
    heal()
    account.advance(1)
    account.sync(streams=(stream,))
    assert account.wrong(stream) == []
    account.advance(1)
    assert account.sync(streams=(stream,)).records(f"constant_contact_{stream}") == []


def test_an_opt_out_between_start_date_and_the_first_run_is_read(
    account: Account,
) -> None:
    """An opt-out does not change `updated_at`, which may be before start_date."""
    account.common["start_date"] = "2026-09-01"
    contact = account.api.add_contact(created=NOW - 300 * DAY)
    account.api.unsubscribe(contact)
    account.advance(1)
    run = account.sync(streams=("contacts",))
    [record] = run.records("constant_contact_contacts")
    assert record["contact_id"] == contact


# Links


@pytest.mark.parametrize(
    "form",
    [
        lambda href: {"next": {"href": f"{URL}{href}"}},
        lambda href: {
            "next": {"href": f"{URL.upper()[:5].lower()}{URL[5:]}:443{href}"}
        },
        lambda href: {"next": href},
        lambda href: {"next": {"href": href, "method": "GET"}, "self": {"href": "/x"}},
        lambda href: {"next": {"href": href[href.index("?") :]}},
        lambda href: {"Next": {"href": href}},
        lambda href: [{"rel": "self", "href": "/x"}, {"rel": "next", "href": href}],
        lambda href: [{"rel": "Next", "href": href}],
        lambda href: [{"rel": "next_page", "href": href}, {"rel": "last", "href": ""}],
        lambda href: href,
    ],
)
def test_links_to_the_next_page_are_followed_in_any_known_form(
    account: Account, form: Callable[[str], Any]
) -> None:
    """All 700 contacts are read."""
    for _ in range(700):
        account.api.add_contact(created=NOW - 9 * DAY)

    def rewrite(answer: Any) -> Any:
        href = ((answer.get("_links") or {}).get("next") or {}).get("href")
        return answer | {"_links": form(href)} if href else answer

    change(account, "/contacts", rewrite)
    run = account.sync(streams=("contacts",))
    assert run.code == 0
    assert account.wrong("contacts") == []


@pytest.mark.parametrize(
    "links",
    [
        {"next": {"href": {"href": "/v3/contacts"}}},
        {"next": {"url": "/v3/contacts"}},
        {"next": 2},
        {"next": ["/v3/contacts"]},
        [{"href": "/v3/contacts"}],
        7,
        {"next": {"href": "https://evil.example/v3/contacts"}},
        {"next": {"href": "https://api.example.test:99999/v3/contacts"}},
        {"next": {"href": "https://[/v3/contacts"}},
    ],
)
def test_a_link_that_is_not_understood_fails_the_stream(
    account: Account, links: Any
) -> None:
    """A list that may have a next page is not complete."""
    account.api.add_contact(created=NOW - 9 * DAY)
    change(account, "/contacts", lambda answer: answer | {"_links": links})
    run = account.sync(streams=("contacts",))
    assert (run.code, outcome(run, "contacts")) == (1, "failed")
    assert "cursor" not in account.entry("contacts")


ELSEWHERE: tuple[Callable[[str], dict[str, Any]], ...] = (
    lambda href: {"next": href},
    lambda href: {"links": {"next": {"href": href}}},
    lambda href: {"links": href},
    lambda href: {"pagination": {"next": href}},
    lambda href: {"paging": {"next": {"href": f"{URL}{href}"}}},
    lambda href: {"meta": {"page": {"nextLink": href}}},
    lambda href: {
        "paging": [{"rel": "prev", "href": ""}, {"rel": "next", "href": href}]
    },
    lambda href: {"_links": {"self": {"href": "/x"}}, "@odata.nextLink": href},
)


def add_a_list(account: Account, stream: str) -> str:
    """Add 700 rows of a stream; return the end of its path."""
    if stream == "contacts":
        for _ in range(700):
            account.api.add_contact(created=NOW - 9 * DAY)
        return "/contacts"
    campaign(account, recipients=700)
    return "/sends"


@pytest.mark.parametrize("stream", ["contacts", "sends"])
@pytest.mark.parametrize("form", ELSEWHERE)
def test_a_link_under_another_name_is_followed(
    account: Account, form: Callable[[str], dict[str, Any]], stream: str
) -> None:
    path = add_a_list(account, stream)

    def rename(answer: Any) -> Any:
        href = ((answer.pop("_links", None) or {}).get("next") or {}).get("href")
        return answer | (form(href) if href else {"paging": {"next": None}})

    change(account, path, rename)
    assert account.sync(streams=(stream,)).code == 0
    assert account.wrong(stream) == []


@pytest.mark.parametrize("stream", ["contacts", "sends"])
@pytest.mark.parametrize("rel", ['rel="next"', "rel=next", 'title=a; rel="Next last"'])
def test_a_link_in_a_header_is_followed(
    account: Account, rel: str, stream: str
) -> None:
    path = add_a_list(account, stream)

    def move(request: Any, reply: Any) -> None:
        if request.path.endswith(path):
            answer = json.loads(reply.body)
            links = answer.pop("_links", None) or {}
            href = (links.get("next") or {}).get("href")
            reply.headers["Link"] = f'<{URL}/v3>; rel="self"'
            if href:
                reply.headers["Link"] += f", <{href}>; {rel}"
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(move)
    assert account.sync(streams=(stream,)).code == 0
    assert account.wrong(stream) == []


@pytest.mark.parametrize("stream", ["contacts", "sends"])
@pytest.mark.parametrize(
    "beside",
    [
        {"pagination": {"next_page": 2}},
        {"next_cursor": "abc"},
        {"paging": {"has_next": True}},
        {"paging": {"next": "https://evil.example/v3/contacts"}},
        {"paging": {"next": {"url": "/v3/contacts"}}},
    ],
)
def test_a_list_with_a_next_page_that_cannot_be_asked_for_fails(
    account: Account, beside: dict[str, Any], stream: str
) -> None:
    path = add_a_list(account, stream)
    change(account, path, lambda answer: answer | {"_links": None} | beside)
    run = account.sync(streams=(stream,))
    assert (run.code, outcome(run, stream)) == (1, "failed")


@pytest.mark.parametrize("stream", ["contacts", "sends"])
@pytest.mark.parametrize(
    "beside",
    [
        {"has_more": True},
        {"hasMore": "true"},
        {"paging": {"more": 200}},
        {"meta": {"page": {"is_truncated": True}}},
        {"is_last_page": False},
        {"paging": {"cursor": "abc"}},
        {"page_token": "abc"},
        {"paging": {"next": None}, "has_more": True},
    ],
)
def test_a_list_that_goes_on_without_a_link_emits_its_rows_and_fails(
    account: Account, beside: dict[str, Any], stream: str
) -> None:
    path = add_a_list(account, stream)
    change(account, path, lambda answer: without("_links")(answer) | beside)
    run = account.sync(streams=(stream,))
    assert (run.code, outcome(run, stream)) == (1, "failed")
    assert len(account.rows(stream)) == 500


def test_a_list_that_says_that_it_goes_on_may_have_all_that_is_counted(
    account: Account,
) -> None:
    """The campaign counts four sends, and four are listed."""
    campaign(account)
    change(account, "/sends", lambda answer: answer | {"has_more": True})
    run = account.sync(streams=("sends",))
    assert (run.code, outcome(run, "sends")) == (0, "complete")
    assert account.wrong("sends") == []


def test_a_list_that_goes_on_without_a_link_fails_if_only_its_contacts_are_counted(
    account: Account,
) -> None:
    """A contact may have more rows than those on the page."""
    sent = campaign(account)
    account.api.add_event("bounces", sent, created=NOW - HOUR)
    change(account, "/bounces", lambda answer: answer | {"has_more": True})
    run = account.sync(streams=("bounces",))
    assert run.reports["constant_contact_bounces"]["failed"] == [sent]


@pytest.mark.parametrize(
    "beside",
    [
        {"has_more": False, "cursor": "abc"},
        {"hasMore": "false"},
        {"paging": {"more": 0, "is_last": True}},
        {"page_info": {"has_next_page": False, "end_cursor": "abc"}},
        {"paging": {"next": None, "has_next": False, "next_page": 0}},
        {"paging": {"next": {"href": None, "cursor": ""}}, "next": ""},
        {"note": "the next page"},
    ],
)
def test_a_list_without_a_next_page_ends(
    account: Account, beside: dict[str, Any]
) -> None:
    account.api.add_contact(created=NOW - 9 * DAY)
    change(account, "/contacts", lambda answer: answer | beside)
    assert account.sync(streams=("contacts",)).code == 0
    assert account.wrong("contacts") == []


@pytest.mark.parametrize("shows", ["the first page", "nothing"])
@pytest.mark.parametrize(
    ("stream", "path"),
    [
        *(("contacts", "/contacts"), ("contact_lists", "/contact_lists")),
        *(("campaigns", "/emails"), ("campaign_summaries", SUMMARIES)),
        *(("sends", "/sends"), ("opens", "/opens"), ("links", "/links")),
    ],
)
def test_a_list_whose_every_page_has_a_new_link_ends(
    account: Account, stream: str, path: str, shows: str
) -> None:
    """Each link has another cursor, but no page shows a new row."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - HOUR)
    pages: list[Any] = []

    def strike(request: Any, reply: Any) -> None:
        if request.path.endswith(path):
            page = pages[0] if pages else json.loads(reply.body)
            if pages and shows == "nothing":
                page = {name: [] for name in page if name != "_links"}
            pages.append(page)
            href = f"{request.path}?cursor={len(pages)}"
            page = page | {"_links": {"next": {"href": href}}}
            reply.status, reply.body = 200, json.dumps(page).encode()

    account.world.on_reply(strike)
    run = account.sync(streams=(stream,))
    assert (run.code, outcome(run, stream)) == (1, "failed")
    assert len(pages) < 30
    assert not account.entry(stream).get("resume")


@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("stream", ["opens", "contact_activity_details"])
def test_rows_of_a_page_that_comes_again_are_not_emitted_twice(
    account: Account, stream: str, times: int | None
) -> None:
    """The link to the next page leads back to the same page."""
    account.settings["contact_reports"] = True
    account.api.set_policy(max_page=3)
    person = account.api.add_contact(created=NOW - 9 * DAY)
    sent = campaign(account, recipients=[person])
    for number in range(8):
        # Each two opens are equal; a page ends between the two of one pair.
        at = NOW - DAY + number // 2 * HOUR
        account.api.add_event("opens", sent, person, created=at)
    odd = account.world.odd(
        "next_looping", path=f"/{stream.removeprefix('contact_')}$", times=times
    )
    run = account.sync(streams=(stream,))
    assert outcome(run, stream) == "failed"
    account.world.odds.remove(odd)
    account.advance(1)
    account.sync(streams=(stream,))
    assert len(account.rows(stream)) >= 8
    assert account.wrong(stream) == []


@pytest.mark.parametrize("name", ["parent_nothing", "parent_204", "list_null"])
@pytest.mark.parametrize(
    "stream", ["contact_activity_details", "contact_activity_summary"]
)
def test_a_contact_report_without_a_list_is_reported(
    account: Account, stream: str, name: str
) -> None:
    """No counter tells whether it is empty or lacks its rows."""
    account.settings["contact_reports"] = True
    campaign(account)
    one = min(account.api.catalogs["contacts"])
    odd = account.world.odd(name, path="/contact_reports/", parent=one)
    run = account.sync(streams=(stream,))
    assert outcome(run, stream) == "incomplete"
    assert run.reports[f"constant_contact_{stream}"]["unsettled"] == 1
    account.world.odds.remove(odd)
    account.advance(1)
    account.sync(streams=(stream,))
    assert account.wrong(stream) == []


# Counters


@pytest.mark.parametrize("before", ["known", "unknown"])
def test_a_report_that_is_empty_while_its_counter_is_unknown_is_unsettled(
    account: Account, before: str
) -> None:
    """Its last counter, or an event read before, says that it cannot be empty."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - DAY)
    if before == "unknown":
        change(account, f"/email_campaigns/{sent}", lambda _: {"results": []})
    account.sync(streams=("opens",))
    checked = account.world.clock.now()
    account.advance(1)
    account.api.add_event("opens", sent, created=NOW + HOUR)
    odd = account.world.odd("list_empty")
    for _ in range(2):
        run = account.sync(streams=("opens",))
        report = run.reports["constant_contact_opens"]
        assert report["unsettled"] == 1
        assert from_iso(report["behind_since"]) <= checked
        account.advance(1)
    account.world.odds.remove(odd)
    run = account.sync(streams=("opens",))
    assert "unsettled" not in run.reports["constant_contact_opens"]
    assert account.wrong("opens") == []


def test_an_empty_report_is_accepted_after_some_days_without_a_counter(
    account: Account,
) -> None:
    """It is read and reported for two days; its campaign may have been removed."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - DAY)
    account.sync(streams=("opens",))
    account.world.odd("list_empty")
    unsettled = []
    for _ in range(6):
        account.advance(1)
        report = account.sync(streams=("opens",)).reports["constant_contact_opens"]
        unsettled.append(report.get("unsettled", 0))
    assert unsettled == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("stream", ["unique_opens", "links"])
def test_a_snapshot_that_is_empty_while_its_counter_is_unknown_is_not_current(
    account: Account, stream: str
) -> None:
    """The earlier reading stays the current one."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - DAY)
    streams = (stream, "snapshots")
    account.sync(streams=streams)
    odd = account.world.odd("list_empty")
    for _ in range(2):
        account.advance(1)
        run = account.sync(streams=streams)
        assert run.reports[f"constant_contact_{stream}"]["unsettled"] == 1
        assert run.records("constant_contact_snapshots") == []
    account.world.odds.remove(odd)
    account.advance(1)
    run = account.sync(streams=streams)
    assert "unsettled" not in run.reports[f"constant_contact_{stream}"]
    [record] = run.records("constant_contact_snapshots")
    assert record["rows"] == 1


@pytest.mark.parametrize("value", ["absent", None, "many", []])
def test_opens_are_read_daily_if_their_counter_is_unknown(
    account: Account, value: Any
) -> None:
    """Unknown is not 0, and `behind_since` is the last check."""
    sent = campaign(account)

    def hide(answer: Any) -> Any:
        for row in answer["results"]:
            row["stats"].pop("em_opens_all", None)
            if value != "absent":
                row["stats"]["em_opens_all"] = value
        return answer

    def strike(request: Any, reply: Any) -> None:
        if "/stats/email_campaigns/" in request.path:
            reply.body = json.dumps(hide(json.loads(reply.body))).encode()

    account.world.on_reply(strike)
    account.sync(streams=("opens",))
    account.advance(1 / 48)
    run = account.sync(streams=("opens",))
    assert account.paths("/opens") == []
    assert run.reports["constant_contact_opens"]["behind_since"].startswith(
        "2026-09-21T14:1"
    )
    for day in range(3):
        account.advance(1)
        account.api.add_event("opens", sent, created=NOW + (day + 0.5) * DAY)
        account.sync(streams=("opens",))
        assert account.wrong("opens") == []


@pytest.mark.parametrize("stream", ["sends", "unique_opens"])
def test_rows_missing_for_days_are_reported_if_only_a_summary_counts_them(
    account: Account, stream: str
) -> None:
    """The API refuses the stats; by the summary, a contact has no row."""
    opened(account)
    account.world.odd("stats_among_errors")
    change(
        account, f"/{stream}", lambda answer: answer | {TRACKED: answer[TRACKED][:-1]}
    )
    found = []
    for _ in range(4):
        run = account.sync(streams=(stream, "email_metrics_reconciliation"))
        found.append((told(run, stream)["verdict"], told(run, stream)["difference"]))
        account.advance(1)
    assert found == [("unsettled", 1)] * 3 + [("differs", 1)]


@pytest.mark.parametrize("again", [0, 1])
def test_the_contacts_in_a_summary_do_not_prove_a_list_of_sends_complete(
    account: Account, again: int
) -> None:
    """A resend to one of them adds a row, but no contact."""
    people = [account.api.add_contact(created=NOW - 9 * DAY) for _ in range(3)]
    sent = campaign(account, recipients=people)
    for _ in range(again):
        account.api.add_resend(sent, sent=NOW - DAY, recipients=people[:1])
    account.world.odd("stats_among_errors")
    run = account.sync(streams=("sends", "email_metrics_reconciliation"))
    assert len(account.rows("sends")) == 3 + again
    assert told(run, "sends")["verdict"] == "unknown"


def test_reports_are_incomplete_while_all_stats_fail(account: Account) -> None:
    """This holds also if the stream of stats is not selected; the run says why."""
    sent = campaign(account)
    heal = account.world.on_reply(
        lambda request, reply: setattr(
            reply, "status", 500 if "/stats/" in request.path else reply.status
        )
    )
    for _ in range(2):
        run = account.sync(streams=("opens",))
        assert outcome(run, "opens") == "incomplete"
        message = run.reports["constant_contact_opens"]["message"]
        assert "counters of campaigns cannot be read" in message
        account.advance(1)
        account.api.add_event("opens", sent, created=account.world.clock.now() - HOUR)
    heal()
    run = account.sync(streams=("opens",))
    assert outcome(run, "opens") == "complete"
    assert account.wrong("opens") == []


def test_a_campaign_missing_from_the_stats_counts_as_behind(account: Account) -> None:
    """`behind_since` is not the present."""
    sent = campaign(account)
    campaign(account, 4)
    account.sync(streams=("opens", "campaign_stats"))

    def strike(request: Any, reply: Any) -> None:
        if "/stats/email_campaigns/" in request.path:
            answer = json.loads(reply.body)
            rows = answer["results"]
            answer["results"] = [r for r in rows if r["campaign_id"] != sent]
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(strike)
    account.advance(1 / 24)
    account.api.add_event("opens", sent)
    run = account.sync(streams=("opens", "campaign_stats"))
    behind = run.reports["constant_contact_campaign_stats"]["behind_since"]
    assert behind <= "2026-09-21T14:13:20Z"
    assert account.wrong("opens") == []  # the summary of the campaign changed


@pytest.mark.parametrize(
    "date",
    [
        *("absent", None, "", "soon", "2026-09-18"),
        *("0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "1970-01-01"),
    ],
)
def test_a_send_without_a_usable_date_is_not_dated_1970(
    account: Account, date: Any
) -> None:
    """It is read although there is a start date."""
    account.common["start_date"] = "2026-09-01"
    campaign(account)
    campaign(account, 4)

    def hide(answer: Any) -> Any:
        for row in answer["bulk_email_campaign_summaries"]:
            row.pop("last_sent_date", None)
            if date != "absent":
                row["last_sent_date"] = date
        return answer

    change(account, SUMMARIES, hide)
    account.sync(streams=("sends", "opens"))
    assert len(account.rows("sends")) == 8


@pytest.mark.parametrize("date", ["absent", "soon"])
def test_a_campaign_whose_send_has_no_readable_date_stays_open(
    account: Account, date: str
) -> None:
    """Each run requests its counters, even if its summary did not change."""
    person = account.api.add_contact()
    sent = campaign(account, recipients=[person])
    account.api.add_event("opens", sent, person, created=NOW - HOUR)

    def hide(answer: Any) -> Any:
        for row in answer["bulk_email_campaign_summaries"]:
            row["last_sent_date"] = date
            if date == "absent":
                del row["last_sent_date"]
        return answer

    change(account, SUMMARIES, hide)
    account.sync(streams=("campaign_stats",))
    for days in (1, 2):
        account.advance(1)
        # A second open of a person counts in the stats but not in the summary.
        account.api.add_event("opens", sent, person, created=NOW + days * DAY - HOUR)
        run = account.sync(streams=("campaign_stats",))
        [row] = run.records("constant_contact_campaign_stats")
        assert row["em_opens_all"] == 1 + days


@pytest.mark.parametrize("days", [1, 200])
def test_sent_campaigns_without_a_summary_are_reported_and_read(
    account: Account, caplog: pytest.LogCaptureFixture, days: float
) -> None:
    """The list of summaries is cut: 18 of 30 sends are not all."""
    for number in range(30):
        campaign(account, days + number, recipients=1)

    def cap(answer: Any) -> Any:
        rows = answer["bulk_email_campaign_summaries"]
        return answer | {"bulk_email_campaign_summaries": rows[:18]}

    change(account, SUMMARIES, cap)
    run = account.sync()
    assert account.wrong("sends") == []
    assert "12 campaigns were sent but have no summary" in caplog.text
    rows = run.records("email_metrics_reconciliation")
    [row] = [r for r in rows if r["stream"] == "constant_contact_campaign_summaries"]
    assert (row["difference"], row["verdict"]) == (12, "differs")
    account.advance(1)
    account.sync(streams=("sends",))
    assert account.paths("/emails") == []  # once a week
    assert account.paths("/sends") == []


def test_a_campaign_that_is_no_longer_listed_is_left_after_a_week(
    account: Account,
) -> None:
    """Its lists still answer. The streams are not behind because of it."""
    streams = ("sends", "opens", "links")
    removed, _ = campaign(account), campaign(account, 4)
    account.sync(streams=streams)

    unlist(account, removed)
    for _ in range(9):
        account.advance(1)
        run = account.sync(streams=streams)
    for stream in streams:
        report = run.reports[f"constant_contact_{stream}"]
        assert report["behind_since"] == iso(account.times[-1])
        assert len(account.entry(stream)["marks"]) == 1


@pytest.mark.parametrize("days", [3, 9, 20])
def test_events_of_a_campaign_that_was_not_listed_for_days_are_read(
    account: Account, days: int
) -> None:
    removed, _ = campaign(account), campaign(account, 4)
    account.sync(streams=("opens",))

    heal = unlist(account, removed)
    for _ in range(days):
        account.advance(1)
        account.sync(streams=("opens",))
    account.api.add_event("opens", removed, created=account.world.clock.now() - HOUR)
    for one in heal:
        one()
    for _ in range(9):
        account.advance(1)
        account.sync(streams=("opens",))
    assert account.wrong("opens") == []


# Rows


def test_campaigns_missing_from_the_list_of_campaigns_are_reported(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """The list is cut but the summaries are not; they are compared once a week."""
    for number in range(6):
        campaign(account, 3 + number)
    change(
        account,
        "/v3/emails",
        lambda answer: {"campaigns": answer["campaigns"][:4], "_links": None},
    )
    lists = "email_metrics_reconciliation"
    streams = ("sends", "campaigns", lists)
    run = account.sync(streams=streams)
    name = "constant_contact_campaigns"
    [told] = [row for row in run.records(lists) if row["stream"] == name]
    assert (told["rows_read"], told["api_rows"], told["verdict"]) == (4, 6, "differs")
    assert "2 campaigns have a summary, but the list" in caplog.text
    assert account.wrong("sends") == []
    account.advance(1)
    run = account.sync(streams=streams)
    assert [row for row in run.records(lists) if row["stream"] == name] == []


def test_distinct_contacts_are_compared_with_a_counter_of_contacts(
    account: Account,
) -> None:
    """Two forwards of one contact do not satisfy a counter of two contacts."""
    sent = campaign(account)
    one, other = account.api.add_contact(), account.api.add_contact()
    for number in range(2):
        account.api.add_event("forwards", sent, one, created=NOW - HOUR - number)
    account.api.add_event(
        "forwards",
        sent,
        other,
        created=NOW - 2,
        visible_from=NOW + HOUR,
        counted_from=NOW - 2,
    )
    account.sync(streams=("forwards",))
    assert account.counter_mark("forwards", sent).unsettled
    account.advance(0.25)
    account.sync(streams=("forwards",))
    assert account.counter_mark("forwards", sent).settled
    assert account.wrong("forwards") == []


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("kind", ["sends", "optouts", "forwards"])
def test_rows_of_one_second_in_changing_order_are_noticed_and_read_again(
    account: Account,
    kind: str,
    stays: bool,  # noqa: FBT001 - a parameter: each page keeps its order for a run
) -> None:
    """Of 1,200 rows of one second some come twice and others not: not `equal`."""
    account.api.set_policy(time_format="seconds")
    sent = campaign(account, recipients=1200 if kind == "sends" else 1)
    for _ in range(1200 if kind != "sends" else 0):
        account.api.add_event(kind, sent, created=NOW - HOUR)
    rows: list[Any] = []

    def collect(request: Any, reply: Any) -> None:
        if request.path.endswith(f"/tracking/{kind}"):
            rows.extend(json.loads(reply.body)["tracking_activities"])

    stop = account.world.on_reply(collect)
    account.sync(streams=(kind,))
    stop()
    assert len(rows) == 1200
    account.state = {}
    account.target.rows.clear()
    shuffle = random.Random(7)  # noqa: S311 - not for secrets

    def reorder(request: Any, reply: Any) -> None:
        if not request.path.endswith(f"/tracking/{kind}"):
            return
        answer = json.loads(reply.body)
        cursor = request.query.get("next") or request.query.get("cursor") or ""
        place = re.search(r"o=(\d+)", base64.b64decode(cursor).decode())
        offset = int(place[1]) if place else 0
        seed = f"{offset} {account.world.clock.now() // HOUR}"
        order = random.Random(seed) if stays else shuffle  # noqa: S311 - likewise
        page = order.sample(rows, len(rows))[offset : offset + 500]
        answer["tracking_activities"] = page
        reply.body = json.dumps(answer).encode()

    account.world.on_reply(reorder)
    for _ in range(4):
        run = account.sync()
        found = [
            r["verdict"]
            for r in run.records("email_metrics_reconciliation")
            if r["stream"] == f"constant_contact_{kind}"
        ]
        held = {row["contact_id"] for row in account.rows(kind).values()}
        missing = 1200 - len(held)
        assert missing == 0 or found[-1] != "equal"
        account.advance(0.25)
    assert stays or not missing


def test_a_closing_campaign_is_read_once_more(account: Account) -> None:
    """Three proxy opens became three real ones: no counter moved."""
    sent = campaign(account, 1)
    proxies = [account.api.add_event("opens", sent, created=NOW - i) for i in range(3)]
    account.sync(streams=("opens",))
    account.advance(84)
    account.sync(streams=("opens",))
    for event in proxies:
        account.api.remove_event(event, at=NOW + 84.5 * DAY)
    for number in range(3):
        account.api.add_event(
            "opens", sent, created=NOW + number, visible_from=NOW + 84.5 * DAY
        )
    account.advance(6)
    account.sync(streams=("opens",))
    assert account.wrong("opens") == []
    assert account.entry("opens")["marks"] == {}
    account.advance(1)
    account.sync(streams=("opens",))
    assert account.paths("/opens") == []


def test_links_are_read_again_after_another_send(account: Account) -> None:
    """A campaign that is sent again may have other links."""
    sent = campaign(account)
    account.sync(streams=("links",))
    activity = account.api.activities_of(sent)["primary_email"]
    for _ in range(4):
        account.api.add_link(activity)
    account.advance(1)
    account.api.send(activity)
    account.sync(streams=("links",))
    assert len(account.rows("links")) == 5


@pytest.mark.parametrize("name", ["list_empty", "list_short"])
def test_an_incomplete_list_of_campaigns_does_not_move_their_checks(
    account: Account, name: str
) -> None:
    """Without counters, an empty list may be empty only once."""
    for day in range(1, 4):
        campaign(account, day)
    account.sync(streams=EVENTS)
    checked = account.world.clock.now()
    odd = account.world.odd(name)
    account.advance(1)
    for activity in account.api.activities.values():
        account.api.add_event("forwards", activity.activity_id, created=NOW + HOUR)
    run = account.sync(streams=EVENTS)
    behind = run.reports["constant_contact_forwards"]["behind_since"]
    assert from_iso(behind) <= checked
    account.world.odds.remove(odd)
    account.advance(1)
    run = account.sync(streams=EVENTS)
    behind = run.reports["constant_contact_forwards"]["behind_since"]
    assert from_iso(behind) > checked + DAY
    assert account.wrong(*EVENTS) == []


# Clocks


@pytest.mark.parametrize("name", ["date_ahead", "date_behind", "date_words"])
@pytest.mark.parametrize("path", ["", "/stats/"])
def test_an_absurd_date_header_closes_no_campaign_and_skips_no_change(
    account: Account, name: str, path: str
) -> None:
    streams = ("opens", "campaigns")
    campaign(account)
    account.sync(streams=streams)
    odd = account.world.odd(name, path=path)
    for _ in range(2):
        account.advance(1)
        now = account.world.clock.now()
        sent = account.api.add_campaign(sent=now - HOUR, recipients=2)
        account.api.update_campaign(sent, at=now, name="New")
        account.api.add_event("opens", sent, created=now)
        run = account.sync(streams=streams)
        assert account.wrong("opens") == []
        behind = run.reports["constant_contact_opens"]["behind_since"]
        assert from_iso(behind) <= account.world.clock.now()
    account.world.odds.remove(odd)
    for _ in range(3):
        account.advance(1)
        account.sync(streams=streams)
    assert account.wrong(*streams) == []


@pytest.mark.parametrize("shown", [16, 19])
def test_a_row_whose_time_was_cut_once_is_not_mistaken_for_a_new_one(
    account: Account, shown: int
) -> None:
    """The counter rose by one, and the newest known row now has a later time."""
    sent = campaign(account)
    account.api.add_event("opens", sent, created=NOW - HOUR + 0.5)

    def cut_times(answer: Any) -> Any:
        for row in answer["tracking_activities"]:
            row["created_time"] = row["created_time"][:shown] + "Z"
        return answer

    show_whole = change(account, "/opens", cut_times)
    account.sync(streams=("opens",))
    show_whole()
    account.advance(1 / 24)
    account.api.add_event("opens", sent, created=NOW - 2.9 * DAY)
    run = account.sync(streams=("opens",))
    assert len(run.records("constant_contact_opens")) == 2
