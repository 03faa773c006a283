"""Answers with one odd entry or page: the other rows of the list are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.encompass import DAY, NOW, Site, site_of

if TYPE_CHECKING:
    from collections.abc import Callable

OPENS = "encompass_opens"
MESSAGES = "encompass_messages"
RECONCILED = "email_metrics_reconciliation"
UNREAD = "row that cannot be read"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS, MESSAGES)}
LIST = "/v2/messages"


def change(site: Site, end: str, new: Callable[[bytes], bytes]) -> None:
    """Change the bodies of all answers to paths that end so."""
    change_from(site, end, lambda _start, body: new(body))


def change_from(site: Site, end: str, new: Callable[[int, bytes], bytes]) -> None:
    """Change answers to paths that end so, by the index of the first row asked for."""

    def strike(request: Any, reply: Any) -> None:
        if request.path.endswith(end) and reply.status == 200:
            reply.body = new(int(request.query["startAt"]), reply.body)

    site.world.on_reply(strike)


@pytest.mark.parametrize("odd", [b"null", b"7", b'"x"', b"[]", b"[{}]"], ids=repr)
def test_an_entry_that_is_no_row_is_counted_and_the_others_are_read(
    odd: bytes,
) -> None:
    site, _ = site_of(1, 20, 178)
    change(site, "/opens", lambda body: body.replace(b"[", b"[" + odd + b",", 1))
    for _ in range(2):
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        assert len(site.target_ids("opens")) == 9
        assert run.reports[OPENS]["outcome"] == "incomplete"
        assert run.reports[OPENS]["set_aside"].keys() == {"not a row"}
        site.advance(1)


@pytest.mark.parametrize("odd", [b"null", b"7", b'"x"', b"[]"], ids=repr)
def test_an_entry_that_is_no_message_hides_no_other_message(odd: bytes) -> None:
    site, messages = site_of(1, 20, 178)
    change(site, LIST, lambda body: body.replace(b"[", b"[" + odd + b",", 1))
    run = site.sync(**ONLY_OPENS)
    assert run.code == 0
    assert site.target_ids("messages") == {*messages}
    assert len(site.target_ids("opens")) == 9
    assert run.reports[MESSAGES]["set_aside"] == {"key missing": 1}
    assert run.reports[OPENS]["set_aside"] == {"message without an id": 1}


@pytest.mark.parametrize(
    "odd", [b"NaN", b"-Infinity", b"1e999", b'"a\tb\nc"'], ids=repr
)
@pytest.mark.parametrize(
    ("path", "field"),
    [(LIST, b'"sentCount":'), (LIST, b'"dateAdded":'), ("/opens", b'"timestamp":')],
)
def test_a_value_that_is_not_valid_json_hides_no_row(
    odd: bytes, path: str, field: bytes
) -> None:
    """The value is kept as text."""
    site, messages = site_of(1, 20, 178)
    pattern = re.compile(re.escape(field) + rb"[0-9]+")
    change(site, path, lambda body: pattern.sub(field + odd, body, count=1))
    for _ in range(2):
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        assert site.target_ids("messages") == {*messages}
        assert len(site.target_ids("opens")) == 9
        site.advance(1)
    rows = [*site.rows("messages").values(), *site.rows("opens").values()]
    kept = [row["additional_fields"] for row in rows if row["additional_fields"]]
    name = field.decode().strip('":')
    text = odd.decode().strip('"')
    assert {row[name] for row in kept} == {text}


@pytest.mark.parametrize("age", [1, 178])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_page_that_never_has_a_total_hides_none_of_the_later_pages(
    age: int, place: int
) -> None:
    site, _ = site_of(age, opens=43)
    site.api.set_policy(max_page=4)

    def uncounted(start: int, body: bytes) -> bytes:
        here = start <= place < start + 4
        return body.replace(b'"total":', b'"all":') if here else body

    change_from(site, "/opens", uncounted)
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["outcome"] == "complete"
    assert len(site.target_ids("opens")) == 43


@pytest.mark.parametrize("opens", [4, 7])
def test_a_server_that_always_answers_with_the_first_page_costs_two_requests(
    opens: int,
) -> None:
    """The page is as full as it says, so that more rows might follow."""
    site, _ = site_of(1, opens=opens)
    site.api.set_policy(max_page=opens)
    first: dict[str, bytes] = {}
    change(site, "/opens", lambda body: first.setdefault("page", body))
    for _ in range(2):
        run = site.sync(**ONLY_OPENS)
        assert run.reports[OPENS]["outcome"] in {"complete", "empty"}
        assert len(site.target_ids("opens")) == opens
        assert len(site.asked("opens")) == 2
        site.advance(0.1)


@pytest.mark.parametrize("unset", [0, -1, int(NOW), -62_135_596_800_000])
def test_a_start_date_leaves_out_no_row_without_a_usable_date(unset: int) -> None:
    """A date is unusable if it is 0 or less, or in seconds."""
    site, (message,) = site_of(20, opens=2)
    site.common["start_date"] = "2026-01-01"
    odd = site.api.add_row("opens", message, date_added=NOW, dateAdded=unset)
    other = site.api.add_message(sent=NOW - DAY, dateAdded=unset)
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == {1, 2, odd}
    assert site.target_ids("messages") == {message, other}


def test_messages_with_times_in_seconds_are_read() -> None:
    """They do not count as sent in 1970, before the first message of the API."""
    times = ("actualSendTimestamp", "scheduledDateTimestamp", "dateAdded")
    site, (_, message) = site_of(1, 20)
    site.api.correct("messages", message, **dict.fromkeys(times, int(NOW - 20 * DAY)))
    site.sync(**ONLY_OPENS)
    assert len(site.target_ids("opens")) == 6
    late = site.api.add_row("opens", message)
    site.advance(1)
    assert site.sync(**ONLY_OPENS).ids(OPENS) == [late]


# Pages that fail because of one row


def poison(
    site: Site, *places: int, status: int = 500, path: str = LIST
) -> Callable[[], None]:
    """Let each page of a list fail that has one of these rows.

    Return a function that ends it.
    """

    def strike(request: Any, reply: Any) -> None:
        if request.path != path:
            return
        start, size = (int(request.query[n]) for n in ("startAt", "maxResults"))
        if any(start <= place < start + size for place in places):
            reply.status, reply.body = status, b"{}"

    return site.world.on_reply(strike)


@pytest.mark.parametrize("status", [500, 400, 404])
@pytest.mark.parametrize("places", [(0,), (3,), (6,), (3, 4), (0, 6)], ids=repr)
def test_a_message_that_fails_each_page_hides_no_other_message(
    places: tuple[int, ...], status: int
) -> None:
    """It is counted in every run, and read once a page with it can be read."""
    site, messages = site_of(1, 2, 3, 20, 60, 100, 150)
    hidden = {message for place, message in enumerate(messages) if place in places}
    end = poison(site, *places, status=status)
    for _ in range(2):
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        assert site.target_ids("messages") == {*messages} - hidden
        assert {*site.visited("opens")}.isdisjoint(hidden)
        assert len(site.target_ids("opens")) == 3 * (7 - len(hidden))
        count = {"message that cannot be read": len(hidden)}
        assert run.reports[OPENS]["set_aside"] == count
        assert run.reports[MESSAGES]["unsettled"] == 1
        assert "behind_since" not in run.reports[MESSAGES]
        assert run.reports[OPENS]["outcome"] == "incomplete"
        assert run.reports[MESSAGES]["outcome"] == "incomplete"
        assert site.world.log.count() < 60 + 60 * len(places)
        site.advance(1)
    end()
    assert site.sync(**ONLY_OPENS).code == 0
    assert site.target_ids("messages") == {*messages}
    assert len(site.target_ids("opens")) == 21


def test_an_open_message_whose_page_fails_is_still_read() -> None:
    """Its own lists are known by its mark."""
    site, messages = site_of(1, 2, 3)
    site.sync(**ONLY_OPENS)
    poison(site, 1)
    site.advance(0.1)
    late = site.api.add_row("opens", messages[1])
    assert late in site.sync(**ONLY_OPENS).ids(OPENS)


def test_closed_messages_are_swept_beside_one_that_cannot_be_read() -> None:
    """A message that fails for ever neither stops the sweep nor repeats it."""
    swept = []
    for is_poisoned in (False, True):
        site, (first, *closed) = site_of(1, *range(400, 440), sweep_days=3)
        site.api.set_policy(archive_days=10_000)
        site.sync(**ONLY_OPENS)
        if is_poisoned:
            poison(site, 0)
        for _ in range(6):
            site.advance(0.5)
            site.sync(**ONLY_OPENS)
            swept.append({*site.visited("opens")} - {first})
        assert set().union(*swept[-6:]) == {*closed}
    assert swept[:6] == swept[6:]


@pytest.mark.parametrize("status", [500, 400])
def test_a_list_of_messages_that_always_fails_costs_few_requests(status: int) -> None:
    site, _ = site_of(1, 2, 3)
    poison(site, *range(2_000), status=status)
    run = site.sync(**ONLY_OPENS)
    assert run.code == 1
    assert run.reports[OPENS]["outcome"] == "failed"
    assert site.world.log.count() < 40


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("places", [(0,), (3,), (6,), (3, 4), (0, 6)], ids=repr)
@pytest.mark.parametrize("age", [1, 178], ids=["young", "archived"])
def test_a_row_that_fails_each_page_hides_no_other_row(
    age: int, places: tuple[int, ...], status: int
) -> None:
    """It is counted whenever the list is read, and read once a page with it can be."""
    site, (message, _) = site_of(age, 2, opens=7)
    site.api.set_policy(archive_days=10_000)
    hidden = {place + 1 for place in places}
    end = poison(site, *places, status=status, path=f"{LIST}/{message}/opens")
    for _ in range(2):
        run = site.sync(streams=(*ONLY_OPENS["streams"], RECONCILED))
        assert run.code == 0
        assert site.target_ids("opens") == {*range(1, 15)} - hidden
        assert run.reports[OPENS]["outcome"] == "incomplete"
        assert run.reports[OPENS]["set_aside"] == {UNREAD: len(hidden)}
        found = {r["parent"]: r for r in run.records(RECONCILED)}[str(message)]
        assert (found["verdict"], found["difference"]) == ("set_aside", len(hidden))
        assert len(site.asked("opens")) < 2 * (20 + 20 * len(places))
        site.advance(0.5)
    assert site.mark("opens", message).settled
    end()
    site.advance(8)
    run = site.sync(**ONLY_OPENS)
    assert len(site.target_ids("opens")) == 14
    assert "set_aside" not in run.reports[OPENS]


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_new_row_that_fails_each_page_hides_no_other_row(order: str) -> None:
    """A probe fails then, and so does a page of a whole read."""
    site, (message,) = site_of(1, opens=7)
    site.api.set_order(order)
    site.sync(**ONLY_OPENS)
    assert site.mark("opens", message).order == order[0]
    site.advance(0.1)
    at = site.world.clock.now()
    new = [site.api.add_row("opens", message, date_added=at) for _ in range(3)]
    place = 8 if order == "ascending" else 1
    poison(site, place, path=f"{LIST}/{message}/opens")
    run = site.sync(**ONLY_OPENS)
    assert {*new} & site.target_ids("opens") == {new[0], new[2]}
    assert run.reports[OPENS]["set_aside"] == {UNREAD: 1}


def test_a_later_page_that_fails_because_of_a_row_hides_no_other_row() -> None:
    """Other workers have asked for it early."""
    site, (message,) = site_of(1, opens=60)
    site.api.set_policy(max_page=10)
    poison(site, 45, path=f"{LIST}/{message}/opens")
    run = site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == {*range(1, 61)} - {46}
    assert run.reports[OPENS]["set_aside"] == {UNREAD: 1}


def test_a_list_whose_large_pages_fail_is_read_in_small_ones() -> None:
    """No row is to blame, so that the pages get smaller."""
    site, (message,) = site_of(1, opens=2_500)

    def strike(request: Any, reply: Any) -> None:
        large = int(request.query.get("maxResults", 0)) > 300
        if request.path.endswith("/opens") and large:
            reply.status, reply.body = 500, b"{}"

    site.world.on_reply(strike)
    run = site.sync(**ONLY_OPENS)
    assert len(site.target_ids("opens")) == 2_500
    assert run.reports[OPENS]["outcome"] == "complete"
    assert site.mark("opens", message).settled
    assert len(site.asked("opens")) < 80


REFUSALS = {404: 1, 410: 1, 403: 2, 504: 6, 400: 1, 500: 9}
"""Requests for a list that always answers with a status."""


@pytest.mark.parametrize("status", REFUSALS)
def test_a_list_that_fails_as_a_whole_costs_few_requests(status: int) -> None:
    """Once, three more if a single row might be the cause."""
    site, (message, _) = site_of(1, 2)
    path = f"/{message}/opens$"
    site.world.faults.add("status", path=path, status=status)
    for most in (REFUSALS[status], 6 if status == 504 else 2):
        run = site.sync(**ONLY_OPENS)
        assert run.reports[OPENS]["failed"] == [message]
        assert len(site.asked("opens", message)) <= most
        site.advance(0.1)


ODD_TIMES: dict[str, object] = {
    "text": "2026-09-20T10:00:00-04:00",
    "seconds": int(NOW - DAY),
    "American": "9/20/2026 10:00:00 AM",
    "wrapped": f"/Date({int((NOW - DAY) * 1000)})/",
    "object": {"ms": int((NOW - DAY) * 1000)},
}


@pytest.mark.parametrize("value", ODD_TIMES.values(), ids=ODD_TIMES)
def test_a_message_is_open_if_its_send_has_an_odd_form(value: object) -> None:
    """Its other times are old: it was written a year before it was sent."""
    site, (message,) = site_of(400, opens=0)
    site.api.correct("messages", message, actualSendTimestamp=value)
    site.sync(**ONLY_OPENS)
    for _ in range(2):
        late = site.api.add_row("opens", message, date_added=site.world.clock.now())
        site.advance(1)
        assert late in site.sync(**ONLY_OPENS).ids(OPENS)


@pytest.mark.parametrize("unset", [None, 0, "", "0000-00-00", "none", False, {}])
def test_a_value_without_a_time_does_not_open_a_closed_message(unset: object) -> None:
    site, (message,) = site_of(400, opens=0)
    site.api.correct("messages", message, actualSendTimestamp=unset)
    site.sync(**ONLY_OPENS)
    site.advance(1)
    site.sync(**ONLY_OPENS)
    assert site.asked("opens") == []


def test_a_row_dated_in_seconds_is_found_though_the_archive_took_another() -> None:
    """Its date is not one of 1970, before the last check."""
    site, (message,) = site_of(178, opens=0)

    def add() -> int:
        at = site.world.clock.now()
        seconds = {"dateAdded": int(at)}
        number: int = site.api.add_row("opens", message, date_added=at, **seconds)
        return number

    old = [add() for _ in range(3)]
    site.sync(**ONLY_OPENS)
    site.api.delete("opens", old[0])
    late = add()
    site.advance(8)
    assert late in site.sync(**ONLY_OPENS).ids(OPENS)


@pytest.mark.parametrize("age", [1, 178])
def test_a_server_that_ignores_the_start_completes_no_list(age: int) -> None:
    """It shows the first page only: that is no known shortfall, and no archive."""
    site, _ = site_of(age, opens=9)
    site.api.set_policy(max_page=3)
    first: dict[str, bytes] = {}
    change(site, "/opens", lambda body: first.setdefault("page", body))
    for _ in range(3):
        run = site.sync(**ONLY_OPENS)
        assert run.reports[OPENS]["outcome"] == "incomplete"
        assert run.reports[OPENS]["unsettled"] == 1
        assert len(site.asked("opens")) <= 6
        site.advance(0.1)


def test_a_message_list_that_ignores_the_start_is_reported_in_each_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, messages = site_of(1, 2, 3, 4, 5)
    site.api.set_policy(max_page=2)
    first: dict[str, bytes] = {}
    change(site, LIST, lambda body: first.setdefault("page", body))
    for _ in range(2):
        caplog.clear()
        run = site.sync(**ONLY_OPENS)
        assert run.reports[MESSAGES]["outcome"] == "incomplete"
        assert "could not be read to its end" in caplog.text
        site.advance(0.1)
    assert len(site.target_ids("messages")) == 2 < len(messages)
    assert "history" not in site.entry("opens")


@pytest.mark.parametrize(("rows", "total"), [(None, 0), ([], 0.0)])
def test_a_list_is_empty_if_it_counts_no_row(rows: object, total: float) -> None:
    """The lists of a dozen messages without opens do not end the stream."""
    site, (*quiet, read) = site_of(*range(1, 14))
    body = {"data": rows, "maxResults": 1000, "startAt": 0, "total": total}
    for message in quiet:
        path = f"/{message}/opens$"
        site.world.faults.add("status", path=path, status=200, body=body)
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["outcome"] == "complete"
    assert {row["message_id"] for row in run.records(OPENS)} == {read}


@pytest.mark.parametrize(
    "body", [{"data": None}, {"data": None, "message": "Timed out", "total": 0}]
)
def test_a_list_is_not_empty_if_it_is_null_without_a_count_of_none(
    body: dict[str, object],
) -> None:
    site, (message, _) = site_of(1, 2)
    path = f"/{message}/opens$"
    site.world.faults.add("status", path=path, status=200, body=body)
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["failed"] == [message]
