"""The schedule of Encompass: revisits, verifications, failures, sweep, and order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from simulator.adapter import SimulatorAdapter
from simulator.encompass.account import ms
from tests.support.encompass import DAY, NOW, STREAMS, Site, site_of

OPENS = "encompass_opens"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS,)}


# Failures


def test_a_list_that_always_fails_does_not_affect_others() -> None:
    site, (bad, good, other) = site_of(1, 2, 3)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == [bad]
    assert {record["message_id"] for record in run.records(OPENS)} == {good, other}
    for stream in STREAMS:
        assert stream == OPENS or "failed" not in run.reports[stream]
    assert site.mark("opens", bad).failures == 1
    assert site.mark("opens", good).settled


def test_a_failed_list_comes_last_with_fewer_tries_in_the_next_run() -> None:
    site, (bad, *_) = site_of(60, 1, 2, max_concurrency=1)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    site.sync()
    # Six tries, and three of single rows: one of them might make the page fail.
    assert len(site.asked("opens", bad)) == 9
    site.advance(0.01)
    site.sync()
    assert site.visited("opens")[-1] == bad
    assert len(site.asked("opens", bad)) <= 2


@pytest.mark.slow
def test_a_list_in_quarantine_is_tried_daily_and_reported_in_each_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, (bad, _) = site_of(60, 1)
    fault = site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    tried = 0
    for number in range(1, 30):
        caplog.clear()
        run = site.sync()
        assert run.code == 0
        tried += bool(site.asked("opens", bad))
        if number < 5:
            assert "quarantined" not in run.reports[OPENS]
        else:
            assert run.reports[OPENS]["quarantined"] == [bad]
            assert f"quarantine (tried daily): [{bad}]" in caplog.text
        site.advance(1 / 6)
    assert tried == 5 + 4  # the first five runs, and one run in each of 4 days
    assert fault in site.world.faults.rules


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("runs", [1, 4, 8])
def test_a_list_that_failed_recovers_without_losing_a_row(
    runs: int, order: str
) -> None:
    site, (bad, _) = site_of(20, 1)
    site.api.set_order(order)
    site.sync()
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    added = []
    for _ in range(runs):
        site.advance(1)
        added.append(site.api.add_row("opens", bad))
        site.sync()
    assert site.target_ids("opens").isdisjoint(added)
    site.world.faults.clear()
    site.advance(1)
    run = site.sync()
    assert not site.differences()
    assert site.mark("opens", bad).settled
    assert "quarantined" not in run.reports[OPENS]


def test_a_list_that_needs_small_pages_recovers_after_it_failed() -> None:
    site, (large, _) = site_of(3.5, 1, opens=300)
    site.world.faults.add("max_rows", message_id=large, rows=100)
    assert site.sync().code == 0
    assert not site.differences()
    outage = site.world.faults.add("status", message_id=large, status=500)
    site.world.faults.rules.reverse()
    site.advance(1)
    site.sync()
    site.world.faults.rules.remove(outage)
    new = site.api.add_row("opens", large)
    for _ in range(8):
        site.advance(1)
        site.sync()
    assert new in site.target_ids("opens")


def test_a_list_of_many_pages_recovers_though_one_request_in_ten_fails() -> None:
    site, (large, _) = site_of(3.5, 1, opens=1_500)
    site.api.set_policy(max_page=20)
    outage = site.world.faults.add("status", message_id=large, status=500)
    site.sync()
    site.world.faults.rules.remove(outage)
    site.world.faults.add("status", probability=0.1, status=503)
    for _ in range(6):
        site.advance(1)
        site.sync()
    assert not site.differences()


def test_a_failed_verification_is_repeated() -> None:
    site, (bad, _) = site_of(1, 1)
    site.sync()
    site.api.correct("opens", 1, userAgent="Corrected")
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    site.advance(2.5)
    site.sync()
    site.world.faults.clear()
    site.advance(0.1)
    site.sync()
    assert not site.differences()


def test_a_stream_whose_lists_all_fail_does_not_affect_other_streams() -> None:
    site, messages = site_of(1, 2, 3)
    site.world.faults.add("status", path="/opens$", status=500)
    run = site.sync()
    assert run.code == 1
    assert run.reports[OPENS]["outcome"] == "failed"
    assert run.reports[OPENS]["failed"] == messages
    assert run.reports["encompass_messages"]["outcome"] == "complete"
    assert run.reports["encompass_clicks"]["outcome"] == "empty"


def test_a_stream_is_given_up_after_ten_failures_in_a_row_and_a_failed_sample() -> None:
    site, messages = site_of(*range(1, 41), max_concurrency=1)
    site.world.faults.add("status", path="/opens$", status=500)
    run = site.sync()
    assert run.code == 1
    assert run.reports[OPENS]["outcome"] == "failed"
    failed = run.reports[OPENS]["failed"]
    assert failed[:10] == messages[:10]
    assert failed[-1] == messages[-1]
    assert len(failed) <= 10 + 4 + 10
    assert run.reports[OPENS]["parents_left"] == 40 - len(failed)
    assert site.visited("opens") == failed
    site.world.faults.clear()
    site.sync()
    assert not site.differences()


def test_ten_failures_that_are_not_in_a_row_do_not_fail_the_stream() -> None:
    site, messages = site_of(*range(1, 26), max_concurrency=2)
    for message in messages[::2]:
        site.world.faults.add("status", message_id=message, path="/opens$", status=500)
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == messages[::2]


# Revisits


def test_an_open_the_day_after_a_weekly_check_is_found_within_seven_days() -> None:
    site, (message,) = site_of(100)
    site.sync()
    site.advance(1)
    late = site.api.add_row("opens", message)
    days = []
    for day in range(1, 8):
        if late in site.sync().ids(OPENS):
            days.append(day)
        site.advance(1)
    assert days in ([6], [7])
    assert not site.differences()


@pytest.mark.parametrize("number", range(1, 40, 13))
def test_weekly_checks_are_never_more_than_seven_days_apart(
    number: int,
) -> None:
    site, _ = site_of()
    message = site.api.add_message(id=number, sent=NOW - 60 * DAY)
    checked = []
    for day in range(40):
        site.sync(**ONLY_OPENS)
        checked += [day] * bool(site.asked("opens", message))
        site.advance(1)
    waits = {two - one for one, two in pairwise(checked)}
    assert waits <= {6, 7}


def test_lists_are_read_in_every_run_then_daily_then_weekly_as_they_age() -> None:
    site, (young, middle, old) = site_of(1, 10, 60)
    visits = dict.fromkeys((young, middle, old), 0)
    for _ in range(5 * 4):
        site.sync(**ONLY_OPENS)
        for message in site.visited("opens"):
            visits[message] += 1
        site.advance(0.25)
    assert visits == {young: 20, middle: 5, old: 1}


def test_an_old_list_with_a_new_row_is_read_in_every_run_again() -> None:
    site, (message,) = site_of(60)
    site.sync()
    site.advance(7)
    site.api.add_row("opens", message)
    site.sync()
    for _ in range(3):
        site.advance(0.1)
        site.sync()
        assert site.visited("opens") == [message]


def test_revisit_always_reads_every_open_list_in_every_run() -> None:
    site, messages = site_of(1, 10, 60, revisit="always")
    for _ in range(3):
        site.sync()
        assert sorted(site.visited("opens")) == messages
        site.advance(0.1)


def test_lists_are_read_after_a_clock_that_was_ahead_is_corrected() -> None:
    site, (message,) = site_of(60)
    site.advance(30)
    site.sync()
    site.world.clock.set(NOW)
    site.sync()
    assert site.visited("opens") == [message]


def test_a_clock_that_was_ahead_for_one_run_does_not_delay_the_sweep() -> None:
    site, messages = closed_site(24, sweep_days=5)
    site.sync()
    site.advance(1)
    odd = site.world.odd("date_ahead")
    site.sync()
    site.world.odds.remove(odd)
    visits: list[int] = []
    for _ in range(4):
        site.advance(1)
        site.sync()
        visits += site.visited("opens")
    assert {*visits} == {*messages}


# Verifications


def test_verifications_count_from_the_send_though_new_rows_keep_a_list_young() -> None:
    site, (message,) = site_of(0.001)
    site.api.set_policy(archive_days=10_000)
    first = 1
    verified = []
    days = [0, 1, 2, 3, 4, 29, 30, 31, 60, 120, 169, 170, 171, 229, 230, 231, 289, 290]
    for before, day in zip([0, *days], days, strict=False):
        site.advance(day - before)
        # Rows of the minute of a check may cause a full read later.
        site.api.add_row("opens", message, date_added=site.world.clock.now() - 60)
        verified += [day] * (first in site.sync(**ONLY_OPENS).ids(OPENS))
    assert verified == [0, 3, 30, 170, 230, 290]


@pytest.mark.slow
def test_every_row_is_verified_before_the_archive_takes_it() -> None:
    # A verification follows within the 180 days of each row.
    site, (message,) = site_of(0, opens=0)
    site.api.set_policy(archive_days=10_000)
    added: dict[int, int] = {}
    seen: dict[int, list[int]] = {}
    for day in range(0, 480, 4):
        for row in site.sync(**ONLY_OPENS).ids(OPENS):
            seen.setdefault(row, []).append(day)
        added[site.api.add_row("opens", message)] = day
        site.advance(4)
    for row, day in added.items():
        if day < 290:
            assert any(4 < at - day < 180 for at in seen[row]), (row, day, seen[row])


def test_a_list_that_is_not_due_for_a_revisit_is_still_verified() -> None:
    site, (message,) = site_of(28)
    site.sync()
    site.advance(2.1)
    assert sorted(site.sync().ids(OPENS)) == [1, 2, 3]
    assert site.mark("opens", message).verified == 2


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_an_edited_recipient_is_emitted_again_at_the_next_verification(
    order: str,
) -> None:
    site, (message,) = site_of(4)
    site.api.set_order(order)
    for _ in range(5):
        site.api.add_row("recipients", message, date_added=NOW - 3.9 * DAY)
    site.sync()
    site.advance(1)
    site.api.correct(
        "recipients", 2, message_id=message, emailAddress="new@example.org"
    )
    for _ in range(4):
        site.advance(6.4)
        site.sync()
    assert site.world.clock.now() > NOW + 26 * DAY
    assert not site.differences()


def test_a_full_read_of_recipients_emits_every_row_and_so_every_edit() -> None:
    site, (message,) = site_of(20)
    site.api.set_order("shuffled")
    for _ in range(5):
        site.api.add_row("recipients", message, date_added=NOW - 19 * DAY)
    site.sync()
    site.advance(1)
    site.api.correct("recipients", 2, message_id=message, lastName="Byron")
    assert sorted(site.sync().ids("encompass_recipients")) == [1, 2, 3, 4, 5]
    assert not site.differences()


# Messages


def test_only_a_corrected_message_is_emitted_again() -> None:
    site, (first, second) = site_of(1, 200)
    assert site.sync().ids("encompass_messages") == [first, second]
    site.advance(1)
    assert site.sync().ids("encompass_messages") == []
    site.api.correct("messages", second, sentCount=123)
    assert site.sync().ids("encompass_messages") == [second]
    assert not site.differences()


@pytest.mark.parametrize(
    "change",
    [{"subjectLine": None}, {"newField": 1}, {"actualSendTimestamp": ms(NOW)}],
)
def test_any_change_of_a_message_emits_it_again(change: dict[str, Any]) -> None:
    site, (message,) = site_of(1)
    site.sync()
    site.api.correct("messages", message, **change)
    assert site.sync().ids("encompass_messages") == [message]
    assert not site.differences()


@pytest.mark.parametrize("order", ["shuffled", "reshuffled", "descending"])
def test_the_order_of_the_message_list_changes_nothing(order: str) -> None:
    site, _ = site_of(*range(1, 60), opens=1)
    site.sync()
    site.api.set_order(order, "messages")
    assert site.sync().ids("encompass_messages") == []
    site.api.add_message()
    site.sync()
    assert not site.differences()


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_messages_that_arrive_between_two_pages_hide_no_other(order: str) -> None:
    site, _ = site_of(*[5 + n / 100 for n in range(1_200)], opens=0)
    site.api.set_order(order, "messages")

    def hook(_method: str, path: str, query: Any) -> None:
        if path == "/v2/messages" and query["startAt"] != "0":
            remove()
            site.api.add_message()
            site.api.add_message()

    remove = site.world.on_request(hook)
    site.sync(streams=("encompass_messages",))
    site.times.append(site.world.clock.now())
    assert len(site.target.rows["encompass_messages"]) == 1_202


def test_a_message_that_leaves_the_list_is_read_while_it_is_open() -> None:
    site, (gone, _) = site_of(1, 2)
    site.sync()
    site.api.correct("messages", gone, actualSendTimestamp=10**15)  # out of any range
    site.advance(0.5)
    new = site.api.add_row("opens", gone)
    run = site.sync()
    assert run.ids("encompass_messages") == []
    assert new in run.ids(OPENS)
    assert run.code == 0


def test_a_deleted_message_is_dropped_after_a_404() -> None:
    site, (gone, kept) = site_of(1, 2)
    site.sync()
    site.api.delete("messages", gone)
    site.advance(0.5)
    run = site.sync()
    assert run.code == 0
    assert "failed" not in run.reports[OPENS]
    assert list(site.entry(OPENS)["marks"]) == [str(kept)]
    site.advance(0.5)
    site.sync()
    assert site.visited("opens") == [kept]
    assert len(site.target.rows[OPENS]) == 6  # nothing is deleted


def test_a_listed_message_that_answers_404_fails_and_is_not_dropped() -> None:
    site, (bad, _) = site_of(1, 2)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=404)
    run = site.sync()
    assert run.reports[OPENS]["failed"] == [bad]
    site.world.faults.clear()
    site.advance(0.1)
    site.sync()
    assert not site.differences()


def test_the_intervals_of_the_schedule_do_not_count_as_lag() -> None:
    site, _ = site_of(100, 20, 1)
    site.common["max_lag_days"] = 10
    for _ in range(20):
        assert site.sync().code == 0
        site.advance(1)


# Closed messages


def closed_site(count: int, **settings: Any) -> tuple[Site, list[int]]:
    """Return a site whose messages are all closed but still shown by the API."""
    site, messages = site_of(*[400 + n for n in range(count)], opens=1, **settings)
    site.api.set_policy(archive_days=10_000)
    return site, messages


def test_closed_messages_are_read_once_newest_first_and_leave_no_mark() -> None:
    site, messages = closed_site(12, max_concurrency=1)
    site.sync()
    assert site.visited("opens") == messages
    assert not site.differences()
    assert site.entry(OPENS).get("marks", {}) == {}
    site.advance(0.2)
    site.sync()
    assert site.visited("opens") == []


@pytest.mark.slow
def test_each_closed_list_is_swept_once_per_sweep_days() -> None:
    site, messages = closed_site(24, sweep_days=5)
    site.sync()
    for _ in range(2):
        visits = []
        for _ in range(5):
            site.advance(0.9)
            run = site.sync()
            visits += site.visited("opens")
            assert len(run.ids(OPENS)) == len(site.visited("opens"))
            site.advance(0.1)
            site.sync()
            assert site.visited("opens") == []
        assert sorted(visits) == messages


def test_the_sweep_finds_new_rows_of_a_closed_list() -> None:
    site, messages = closed_site(6, sweep_days=4)
    site.sync()
    for message in messages:
        site.api.add_row("opens", message)
    for _ in range(4):
        site.advance(1)
        site.sync()
    assert not site.differences()


def test_sweeps_missed_in_a_pause_are_made_in_the_next_run() -> None:
    site, messages = closed_site(24, sweep_days=5)
    site.sync()
    site.advance(17)
    site.sync()
    assert sorted(site.visited("opens")) == messages
    site.advance(2)
    site.sync()
    first = site.visited("opens")
    site.advance(3)
    site.sync()
    assert sorted(first + site.visited("opens")) == messages


def test_a_closed_list_that_fails_keeps_a_mark_until_it_is_read() -> None:
    site, (bad, *others) = closed_site(4)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    run = site.sync()
    assert run.reports[OPENS]["failed"] == [bad]
    assert list(site.entry(OPENS)["marks"]) == [str(bad)]
    site.world.faults.clear()
    site.advance(0.1)
    site.sync()
    assert site.visited("opens") == [bad]
    assert not site.differences()
    assert site.entry(OPENS)["marks"] == {}
    assert others


def test_a_failed_sweep_of_a_list_is_repeated() -> None:
    site, (bad, *_) = closed_site(4, sweep_days=3)
    site.sync()
    site.api.add_row("opens", bad)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    for _ in range(3):
        site.advance(1)
        site.sync()
    assert site.differences()
    site.world.faults.clear()
    site.advance(0.1)
    site.sync()
    assert not site.differences()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_history_cut_by_max_run_minutes_continues_where_it_stopped(
    workers: int,
) -> None:
    site, messages = closed_site(40, max_concurrency=workers)
    site.common["max_run_minutes"] = 0.3
    visits: list[int] = []
    outcomes = []
    while "complete" not in outcomes:
        run = site.sync(**ONLY_OPENS, transport=SimulatorAdapter(site.world, latency=1))
        assert run.code == 0
        visits += site.visited("opens")
        outcomes.append(run.reports[OPENS]["outcome"])
        assert len(outcomes) < 20
        site.advance(0.001)
    assert outcomes[:-1] == ["paused"] * (len(outcomes) - 1)
    assert len(outcomes) >= 3
    if workers == 1:
        assert visits == messages  # each once, newest first
    else:
        assert sorted(set(visits)) == messages
        assert len(visits) <= len(messages) + 4 * len(outcomes)
    assert site.target_ids("opens") == set(range(1, 41))


def test_a_paused_run_reports_the_lists_left_and_the_next_run_starts_there() -> None:
    site, _ = closed_site(30, max_concurrency=1)
    site.common["max_run_minutes"] = 0.5
    slow = SimulatorAdapter(site.world, latency=1)
    run = site.sync(streams=(OPENS, "encompass_clicks"), transport=slow)
    assert run.code == 0
    assert run.reports[OPENS]["outcome"] == "paused"
    assert run.reports[OPENS]["parents_left"] == 30 - len(run.ids(OPENS))
    assert "left to read" in run.reports[OPENS]["message"]
    # The stream used about half of the time: the other stream got the rest.
    assert 8 <= len(run.ids(OPENS)) <= 16
    assert site.visited("clicks")
    assert site.shared["last_stream"] == OPENS


def test_open_lists_come_before_the_history() -> None:
    site, _ = closed_site(10, max_concurrency=1)
    fresh = site.api.add_message(sent=NOW - DAY)
    site.sync()
    assert site.visited("opens")[0] == fresh
    site.advance(1)
    newer = site.api.add_message()
    site.sync()
    assert newer in site.visited("opens")


def test_a_list_without_new_rows_closes_and_is_not_read_as_new_again() -> None:
    site, (message,) = site_of(300, activity_window_days=365)
    site.sync()
    for _ in range(12):
        site.advance(7)
        site.sync()
    assert "marks" not in site.entry(OPENS) or not site.entry(OPENS)["marks"]
    site.advance(0.1)
    site.sync()
    assert site.visited("opens") == []
    assert message
