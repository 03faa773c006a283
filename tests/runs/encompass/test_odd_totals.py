"""Totals that stay wrong, and lists that are empty or cut once."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

import pytest

from tap_email_metrics.clock import iso
from tests.support.encompass import DAY, NOW, Site, site_of

OPENS = "encompass_opens"
MESSAGES = "encompass_messages"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS, MESSAGES)}
LIST = "/v2/messages$"


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tap-email-metrics")


def said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    """Return whether the log has a warning with these words, and clear the log."""
    found = any(
        words in record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING"
    )
    caplog.clear()
    return found


@pytest.mark.parametrize("by", [1, -1])
def test_a_quiet_list_with_a_permanently_wrong_total_costs_a_probe(
    by: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not read in full in every run."""
    site, (message,) = site_of(3, opens=1_500)
    site.world.faults.add("shift_total", path="/opens$", by=by)
    run = site.sync(**ONLY_OPENS)
    assert "unsettled" not in run.reports[OPENS]
    assert said(caplog, "still differ from the vendor's count")
    for _ in range(3):
        site.advance(1 / 24)
        late = site.api.add_row("opens", message)
        run = site.sync(**ONLY_OPENS)
        assert run.ids(OPENS) == [late]
        assert len(site.asked("opens")) <= 2
        assert not said(caplog, "still differ from the vendor's count")
    assert len(site.target_ids("opens")) == 1_503


@pytest.mark.parametrize("age", [3, 200], ids=["young", "archived"])
def test_a_total_of_only_the_current_page_does_not_end_a_list(
    age: int,
) -> None:
    """Neither in a list that loses rows to the archive nor after a timeout."""
    site, (message,) = site_of(age, opens=0)
    site.api.set_policy(max_page=4)
    rows = {site.api.add_row("opens", message, date_added=NOW - DAY) for _ in range(11)}
    site.world.odd("total_of_page")
    site.world.faults.add("max_rows", path="/opens$", rows=100)
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == rows


@pytest.mark.parametrize("by", [1, -1])
def test_a_message_list_with_a_permanently_wrong_total_counts_as_complete(
    by: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed lists are swept, and the difference is reported once."""
    site, (closed, _) = site_of(400, 1, sweep_days=3)
    site.api.set_policy(archive_days=10_000)
    site.world.faults.add("shift_total", path=LIST, by=by)
    reported = []
    for _ in range(4):
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        reported.append(said(caplog, "still differ from the vendor's count"))
        site.api.add_row("opens", closed)
        site.advance(1)
    assert reported == [True, False, False, False]
    site.world.faults.clear()
    site.advance(3)
    site.sync(**ONLY_OPENS)
    assert not site_differences(site)


@pytest.mark.parametrize("total", [None, "7", -1, 2.5, True], ids=repr)
def test_a_total_that_is_not_a_number_is_unknown_and_not_0(total: object) -> None:
    """The list is read until a page has no new rows; its count stays unknown."""
    site, (message,) = site_of(3, opens=0)
    rows = [{"id": n, "dateAdded": int((NOW - DAY) * 1000)} for n in range(1, 6)]
    body = {"data": rows, "maxResults": 1000, "startAt": 0, "total": total}
    rule = site.world.faults.add(
        "status", path=f"/{message}/opens$", status=200, body=body
    )
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == {1, 2, 3, 4, 5}
    assert site.mark("opens", message).total is None
    rule.body = {"data": [], "total": total}
    site.advance(0.1)
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["failed"] == [message]
    assert site.mark("opens", message).rows == 5


ODD: dict[str, object] = {
    "null": {"data": None, "total": 3},
    "absent": {"total": 3},
    "nothing": {},
    "renamed": {"rows": [], "total": 0},
    "text": "<html>",
    "number": 7,
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_a_list_that_is_not_understood_keeps_its_mark(body: object) -> None:
    """A 200 of another shape says nothing about its list and stops no other list."""
    site, (odd, good) = site_of(3, 4)
    site.sync(**ONLY_OPENS)
    before = site.mark("opens", odd)
    site.world.faults.add("status", path=f"/{odd}/opens$", status=200, body=body)
    site.advance(0.1)
    late = [site.api.add_row("opens", message) for message in (odd, good)]
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["failed"] == [odd]
    assert run.ids(OPENS) == late[1:]
    assert len(site.asked("opens", odd)) == 7
    after = site.mark("opens", odd)
    assert (after.rows, after.checked) == (before.rows, before.checked)
    site.world.faults.clear()
    site.advance(0.1)
    assert late[0] in site.sync(**ONLY_OPENS).ids(OPENS)


@pytest.mark.parametrize("body", [[], {"data": [], "total": 0, "maxResults": 1000}])
def test_an_empty_message_list_closes_no_message_and_is_reported(
    body: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that is empty once is not empty for ever; the history waits for it."""
    site, messages = site_of(1, 89, 400, 500, opens=2, activity_window_days=90)
    site.api.set_policy(archive_days=10_000)
    # The history is half read when the list is empty.
    site.world.faults.add("status", path="/opens$", message_id=messages[3], status=500)
    site.sync(**ONLY_OPENS)
    entry = site.entry("opens")
    entry["history"] = [int((NOW - 450 * DAY) * 1000), 0]
    entry["marks"].pop(str(messages[3]))
    site.world.faults.clear()
    swept = entry["swept"]
    site.world.faults.add("status", path=LIST, status=200, body=body)
    site.advance(2)
    run = site.sync(**ONLY_OPENS)
    assert run.code == 0
    assert said(caplog, "the list of messages lacks 2 messages")
    entry = site.entry("opens")
    assert entry["swept"] == swept
    assert entry["history"] == [int((NOW - 450 * DAY) * 1000), 0]
    assert {*entry["marks"]} == {str(message) for message in messages[:2]}
    site.world.faults.clear()
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    assert not site_differences(site)


@pytest.mark.parametrize("backfill", [False, True])
def test_a_first_message_list_that_is_empty_ends_no_history(*, backfill: bool) -> None:
    """The next run reads all messages, closed ones, too: no sweep has to find them."""
    site, _ = site_of(1, 100, 400, 500)
    site.api.set_policy(archive_days=10_000)
    if backfill:
        site.common |= {
            "backfill": True,
            "start_date": iso(NOW - 550 * DAY),
            "end_date": iso(NOW + DAY),
        }
    body = {"data": [], "total": 0, "maxResults": 1000}
    site.world.faults.add("status", path=LIST, status=200, body=body)
    site.sync(**ONLY_OPENS)
    site.world.faults.clear()
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    assert len(site.target_ids("opens")) == 12


def test_an_empty_message_list_ends_no_sweep() -> None:
    """All messages are closed, so that no mark contradicts the empty list."""
    site, (message, _) = site_of(400, 401, sweep_days=3)
    site.api.set_policy(archive_days=10_000)
    site.sync(**ONLY_OPENS)
    late = site.api.add_row("opens", message)
    body = {"data": [], "total": 0, "maxResults": 1000}
    site.world.faults.add("status", path=LIST, status=200, body=body)
    site.advance(3)
    site.sync(**ONLY_OPENS)
    site.world.faults.clear()
    site.advance(0.1)
    assert late in site.sync(**ONLY_OPENS).ids(OPENS)


def test_a_message_list_that_was_cut_closes_no_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A few messages may be deleted at once, but not half of the open ones."""
    site, messages = site_of(*range(1, 21))
    site.sync(**ONLY_OPENS)
    swept = site.entry("opens")["swept"]
    rows = [{"id": message} for message in messages[:10]]
    body = {"data": rows, "total": 10, "maxResults": 1000}
    site.world.faults.add("status", path=LIST, status=200, body=body)
    site.advance(2)
    site.sync(**ONLY_OPENS)
    assert said(caplog, "the list of messages lacks 10 messages")
    assert site.entry("opens")["sweep_again"] == [swept, None]
    assert {*site.entry("opens")["marks"]} == {str(message) for message in messages}


def test_closed_lists_are_swept_while_messages_are_missing_and_again_after() -> None:
    """Otherwise all of them would be read in every run, for as long as it lasts."""
    site, messages = site_of(1, 2, 3, *range(400, 412), sweep_days=3, opens=1)
    closed = messages[3:]
    site.api.set_policy(archive_days=10_000)
    site.sync(**ONLY_OPENS)
    missing = {*messages[:2], closed[0]}

    def strike(request: Any, reply: Any) -> None:
        if request.path == "/v2/messages":
            answer = json.loads(reply.body)
            shown = [row for row in answer["data"] if row["id"] not in missing]
            reply.body = json.dumps({**answer, "data": shown, "total": 12}).encode()

    end = site.world.on_reply(strike)
    old = NOW - 390 * DAY
    late = [site.api.add_row("opens", one, date_added=old) for one in closed]
    visits: Counter[int] = Counter()
    for _ in range(12):
        site.advance(0.5)
        run = site.sync(**ONLY_OPENS)
        assert run.reports[OPENS]["outcome"] == "incomplete"
        visits.update({*site.visited("opens")} & {*closed})
    assert visits.keys() == {*closed[1:]}
    assert {*visits.values()} == {2}
    end()
    site.advance(0.1)
    assert late[0] in site.sync(**ONLY_OPENS).ids(OPENS)
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    assert {*site.visited("opens")}.isdisjoint(closed)


SHORT: dict[str, tuple[dict[str, Any], ...]] = {
    "counts 1 that it does not show": ({"kind": "shift_total", "by": 1},),
    "lacks 3 messages": ({"kind": "status", "status": 200, "body": []},),
    "changed while it was read": (
        {"kind": "shift_total", "by": 1, "times": 1},
        {"kind": "shift_total", "by": 2},
    ),
}


@pytest.mark.parametrize("says", SHORT)
def test_no_stream_is_complete_without_the_list_of_all_messages(says: str) -> None:
    """Each stream says so; none is further than the last whole list of messages."""
    site, messages = site_of(1, 2, 3)
    site.sync(**ONLY_OPENS)
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    whole = site.entry("messages")["checked_through"]
    for fault in SHORT[says]:
        site.world.faults.add(path=LIST, **fault)
    for _ in range(1 if says.startswith("changed") else 2):
        site.advance(0.1)
        late = site.api.add_row("opens", messages[0])
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        assert late in run.ids(OPENS)
        for report in (run.reports[OPENS], run.reports[MESSAGES]):
            assert report["outcome"] == "incomplete"
            assert says in report["message"]
        settles = says.startswith("counts")
        behind = run.reports[OPENS]["behind_since"]
        assert (behind == whole) == (not settles)
    site.world.faults.clear()
    site.advance(0.1)
    run = site.sync(**ONLY_OPENS)
    assert {run.reports[name]["outcome"] for name in (OPENS, MESSAGES)} == {"empty"}
    assert run.reports[OPENS]["behind_since"] > whole


def site_differences(site: Site) -> list[str]:
    """Return the differences from the truth in the streams that were read."""
    lines = site.differences()
    return [line for line in lines if line.split(":")[0] in {OPENS, MESSAGES}]


def test_a_list_that_lost_rows_is_read_again_in_the_next_run() -> None:
    """A shortfall counts only after a second run has found it, too."""
    site, (message,) = site_of(20, opens=6)
    site.sync(**ONLY_OPENS)
    site.advance(2)
    site.api.add_row("opens", message)
    checked = site.mark("opens", message).checked
    odd = site.world.odd("list_empty", path="/opens$")
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["unsettled"] == 1
    assert site.mark("opens", message).checked == checked
    site.world.odds.remove(odd)
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    assert len(site.target_ids("opens")) == 7


def test_a_list_that_lost_a_row_counted_but_never_shown_is_read_again() -> None:
    site, (message,) = site_of(20, opens=1)
    hidden = site.world.odd("list_empty", path="/opens$")
    site.sync(**ONLY_OPENS)
    assert site.mark("opens", message).total == 1
    site.world.odds.remove(hidden)
    site.advance(2)
    emptied = site.world.odd("list_emptied", path="/opens$")
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["unsettled"] == 1
    site.world.odds.remove(emptied)
    site.advance(0.1)
    assert site.sync(**ONLY_OPENS).ids(OPENS) == [1]


def test_a_list_that_lost_rows_permanently_settles() -> None:
    """It is reported once and then read as often as any other list."""
    site, (message,) = site_of(20, opens=6)
    site.sync(**ONLY_OPENS)
    site.world.odd("list_empty", path="/opens$")
    for _ in range(2):
        site.advance(2)
        run = site.sync(**ONLY_OPENS)
    assert "unsettled" not in run.reports[OPENS]
    assert site.mark("opens", message).settled
    site.advance(0.1)
    site.sync(**ONLY_OPENS)
    assert site.asked("opens") == []
