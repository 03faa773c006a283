"""Combinations of rules: odd pages, times and ids, and pauses of any length."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers.encompass.reading import ListReader
from tap_email_metrics.run import workers
from tap_email_metrics.run.workers import FanOut
from tap_email_metrics.transport.client import Received
from tap_email_metrics.transport.limits import Limits
from tests.support.encompass import DAY, NOW, STREAMS, Site, site_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from tap_email_metrics.providers.encompass.schedule import Mark
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.state.plans import Visit

OPENS = "encompass_opens"
RECIPIENTS = "encompass_recipients"
MESSAGES = "encompass_messages"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS,)}
UNSET = (0, -62_135_596_800_000)  # epoch 0, and the year 1 of .NET


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tap-email-metrics")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings."""
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


# Positions of archived rows


def test_a_list_is_read_on_after_small_pages_of_archived_rows() -> None:
    site, (message,) = site_of(250, opens=0)
    site.api.set_policy(max_page=100, archived_in_total=True)
    for _ in range(250):
        site.api.add_row("opens", message, date_added=NOW - 249 * DAY)
    live = [
        site.api.add_row("opens", message, date_added=NOW - 20 * DAY)
        for _ in range(200)
    ]
    run = site.sync(**ONLY_OPENS)
    assert run.code == 0
    assert site.target_ids("opens") == set(live)


def test_a_few_rows_among_archived_ones_cost_few_requests() -> None:
    site, (message,) = site_of(250, opens=0)
    site.api.set_policy(archived_in_total=True)
    ids = {
        site.api.add_row(
            "opens",
            message,
            date_added=NOW - (2 if number % 2_500 == 2_400 else 249) * DAY,
        ): number
        for number in range(20_000)
    }
    survivors = {row for row, number in ids.items() if number % 2_500 == 2_400}
    assert len(survivors) == 8
    for _ in range(2):
        site.sync(**ONLY_OPENS)
        assert site.target_ids("opens") == survivors
        assert 0 < len(site.asked("opens")) < 4 * 20 + 20
        site.advance(1)


# Pauses


@pytest.mark.parametrize(("window", "pause"), [(90, 200), (365, 400)])
@pytest.mark.parametrize("on_gap", ["warn", "fail"])
def test_a_pause_longer_than_the_window_is_reported_as_a_gap(
    window: int, pause: int, on_gap: str, caplog: pytest.LogCaptureFixture
) -> None:
    site, (message,) = site_of(1, activity_window_days=window, on_archive_gap=on_gap)
    site.sync()
    read = site.mark("opens", message).checked
    assert read is not None
    site.advance(pause)
    limit = site.world.clock.now() - 180 * DAY
    caplog.clear()
    run = site.sync(load=False)
    assert run.code == (1 if on_gap == "fail" else 0)
    (said,) = [
        line for line in warnings(caplog) if line.startswith(f"{OPENS}: ARCHIVE GAP")
    ]
    assert "acknowledged" not in said
    start = said.split(" from ")[1].split(" to ")[0]
    assert iso(read) <= start <= iso(read + 60)
    assert f"to {iso(limit)} " in said
    assert bool(site.asked("opens")) == (on_gap == "warn")


def test_a_closed_list_is_read_once_more_before_its_mark_is_deleted() -> None:
    site, (busy, quiet) = site_of(85, 85, activity_window_days=90)
    site.sync(**ONLY_OPENS)
    late = site.api.add_row("opens", busy, date_added=NOW + DAY)
    site.advance(10)
    run = site.sync(**ONLY_OPENS)
    assert run.ids(OPENS) == [late]
    assert sorted(site.visited("opens")) == [busy, quiet]
    assert site.mark("opens", busy).rows == 4
    with pytest.raises(KeyError):
        site.mark("opens", quiet)
    site.advance(0.5)
    site.sync(**ONLY_OPENS)
    assert quiet not in site.visited("opens")


# Dates


def test_an_earlier_start_date_emits_the_wider_interval_in_the_next_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, (new, old, older) = site_of(10, 60, 100)
    site.common["start_date"] = iso(NOW - 20 * DAY)
    run = site.sync()
    assert run.ids(MESSAGES) == [new]
    assert {row["message_id"] for row in run.records(OPENS)} == {new}
    site.advance(0.1)
    site.common["start_date"] = iso(NOW - 70 * DAY)
    caplog.clear()
    run = site.sync()
    assert f"{OPENS}: start_date has moved back: everything is read again" in warnings(
        caplog
    )
    assert old in run.ids(MESSAGES)
    assert {row["message_id"] for row in run.records(OPENS)} == {new, old}
    site.advance(0.1)
    del site.common["start_date"]
    run = site.sync()
    assert older in run.ids(MESSAGES)
    assert {row["message_id"] for row in run.records(OPENS)} == {new, old, older}
    assert not site.differences()


def test_a_later_start_date_loses_no_new_row() -> None:
    site, (new, old) = site_of(10, 60)
    site.common["start_date"] = iso(NOW - 70 * DAY)
    site.sync()
    site.common["start_date"] = iso(NOW - 20 * DAY)
    site.advance(8)
    late = site.api.add_row("opens", old)
    run = site.sync()
    assert late in run.ids(OPENS)
    assert site.mark("opens", new).settled
    assert not site.differences()


@pytest.mark.parametrize("unset", UNSET)
@pytest.mark.parametrize("field", ["actualSendTimestamp", "scheduledDateTimestamp"])
def test_a_message_with_an_unset_time_is_read_by_its_other_times(
    unset: int, field: str
) -> None:
    site, (message, other) = site_of(1, 2)
    site.api.correct("messages", message, **{field: unset})
    site.api.set_policy(messages_filter_on="date_added")
    run = site.sync()
    assert run.code == 0
    assert sorted(site.visited("opens")) == [message, other]
    assert site.target_ids("opens") == set(range(1, 7))
    late = site.api.add_row("opens", message)
    site.advance(0.1)
    assert site.sync().ids(OPENS) == [late]
    # It does not count as archived since 1970: it is probed from its known end.
    assert site.starts("opens", message) == [2]


@pytest.mark.parametrize("unset", UNSET)
@pytest.mark.parametrize("opens", [0, 3])
def test_a_row_with_an_unset_time_is_read_and_the_state_still_loads(
    unset: int, opens: int
) -> None:
    site, (message, other) = site_of(20, 1, opens=opens)
    site.api.set_order("shuffled")
    odd = site.api.add_row(
        "opens", message, date_added=NOW - 15 * DAY, dateAdded=unset, timestamp=unset
    )
    run = site.sync()
    assert run.code == 0
    assert odd in run.ids(OPENS)
    newest = site.mark("opens", message).newest
    assert newest is None if not opens else newest is not None
    site.advance(2)
    odder = site.api.add_row("opens", message, date_added=NOW + DAY, dateAdded=unset)
    run = site.sync()
    assert run.code == 0
    assert {odd, odder} <= {*run.ids(OPENS)}
    assert site.mark("opens", other).settled


# The budget of a day


@pytest.mark.slow
def test_a_daily_budget_that_is_always_too_small_starves_no_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    site, messages = site_of(
        *(number / 10 for number in range(1, 31)),
        opens=1,
        daily_requests=20,
        revisit="always",
        max_concurrency=1,
    )
    kinds = [stream.removeprefix("encompass_") for stream in STREAMS[1:]]
    for message in messages:
        for kind in kinds[1:]:
            site.api.add_row(kind, message)
    reads: dict[str, int] = dict.fromkeys(kinds, 0)
    for _ in range(14):
        run = site.sync()
        assert run.code == 0
        for kind in kinds:
            reads[kind] += len(site.asked(kind))
        site.advance(1)
    assert min(reads.values()) > 0, reads
    assert all(site.target_ids(kind) for kind in kinds)


# The list of messages


@pytest.mark.parametrize("age_of_hidden", [420, 600])
def test_a_message_hidden_by_changes_during_two_reads_is_read_later(
    age_of_hidden: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(NOW)
    api = world.encompass
    ages = {11: 400, 12: 410, 13: age_of_hidden, 14: 450, 15: 1}
    for message, age in ages.items():
        api.add_message(id=message, sent=NOW - age * DAY)
        api.add_row("recipients", message, date_added=NOW - age * DAY)
    api.set_policy(max_page=2)
    site = Site(world, sweep_days=7)
    reads = 0

    def hook(_method: str, path: str, query: Mapping[str, str]) -> None:
        """Move message 13 from the second page to the first in each of two reads."""
        nonlocal reads
        if path != "/v2/messages":
            return
        if query["startAt"] == "0":
            reads += 1
            if reads == 2:
                api.add_message(id=5, sent=NOW - 500 * DAY)
        elif query["startAt"] == "2" and reads <= 2:
            api.delete("messages", 11 if reads == 1 else 5)

    world.on_request(hook)
    run = site.sync()
    assert run.code == 0
    assert reads == 2
    assert 13 not in run.ids(MESSAGES)
    assert run.reports[MESSAGES]["unsettled"] == 1
    assert len([w for w in warnings(caplog) if "changed while it was read" in w]) == 1
    entry = site.entry(RECIPIENTS)
    assert entry.get("history") != [0, 0]
    site.advance(1)
    run = site.sync()
    assert 13 in run.ids(MESSAGES)
    assert "unsettled" not in run.reports[MESSAGES]
    # If the history is not read so far yet it is read now, otherwise by the sweep.
    assert (13 in site.visited("recipients")) == (age_of_hidden == 600)
    assert site.entry(RECIPIENTS)["history"] == [0, 0]
    for _ in range(7):
        site.advance(1)
        site.sync()
    rows = site.target.rows[RECIPIENTS].values()
    assert 13 in {row["message_id"] for row in rows}


@pytest.mark.parametrize("odd", [{"x": 1}, [1, 2], None, "ten", True])
def test_only_messages_whose_id_is_not_a_number_are_left_out(
    odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site, (good, one, two) = site_of(1, 2, 3)
    for message in (one, two):
        site.api.correct("messages", message, id=odd)
    for _ in range(2):
        caplog.clear()
        run = site.sync()
        assert run.code == 0
        assert site.visited("opens") == [good]
        site.advance(0.1)
        said = f"{MESSAGES}: rows without a record: 2: key"
        assert len([line for line in warnings(caplog) if line.startswith(said)]) == 1
        assert run.reports[MESSAGES]["outcome"] == "incomplete"
    assert run.requests < 20


# Refusals


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirected_list_fails_alone(status: int) -> None:
    site, (bad, good, other) = site_of(1, 2, 3)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=status)
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == [bad]
    assert {row["message_id"] for row in run.records(OPENS)} == {good, other}
    assert len(site.asked("opens", bad)) == 1
    for stream in STREAMS:
        fine = {"incomplete"} if stream == OPENS else {"complete", "empty"}
        assert run.reports[stream]["outcome"] in fine


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 403, 401])
@pytest.mark.parametrize(("count", "age"), [(4, 0), (60, 0), (4, 400), (60, 400)])
def test_a_stream_that_is_refused_for_every_message_is_unavailable(
    status: int, count: int, age: int
) -> None:
    site, messages = site_of(*(age + number / 10 for number in range(1, count + 1)))
    site.world.faults.add("status", path="/delivers$", status=status)
    for _ in range(5):
        run = site.sync()
        assert run.code == 0
        assert run.reports["encompass_delivers"]["outcome"] == "unavailable"
        for stream in STREAMS:
            if stream != "encompass_delivers":
                assert run.reports[stream]["outcome"] in {"complete", "empty"}
        # A few more are requested until the tenth failure in a row; then a sample.
        assert len(site.asked("delivers")) <= 10 + 4 * 8 + 10
        assert run.lists["/apiservices/authenticate"] <= 8
        site.advance(1)
    # After access is granted, no row is missing.
    late = {
        site.api.add_row("delivers", message, date_added=NOW + 2 * DAY)
        for message in messages
    }
    site.world.faults.clear()
    site.sync()
    assert site.target_ids("delivers") == late


# The end of a run


def test_many_waiting_workers_end_within_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_JOIN", 0.2)
    answer = threading.Event()
    all_wait = threading.Barrier(65)
    began = 0.0

    def work(_task: int) -> Generator[list[int], None, None]:
        all_wait.wait(20)
        answer.wait(60)
        yield []

    def refuse() -> None:
        all_wait.wait(20)
        raise ConnectionError

    def read() -> None:
        nonlocal began
        fan_out = FanOut(work, workers=64, received=Received(), stop=threading.Event())
        with fan_out:
            try:
                next(fan_out.read(range(64), refuse))
            finally:
                began = time.monotonic()

    try:
        with pytest.raises(ConnectionError):
            read()
        assert time.monotonic() - began < 5
    finally:
        answer.set()
        for thread in threading.enumerate():
            if thread.name.startswith("reader-"):
                thread.join(20)


# Clocks


def test_after_a_check_in_the_future_the_next_visit_emits_every_row() -> None:
    site, (message,) = site_of(20, opens=30)
    site.api.set_order("shuffled")
    site.sync()
    mark = site.mark("opens", message)
    # The mark of a machine whose clock was ten days ahead.
    ahead = replace(mark, checked=NOW + 10 * DAY)
    site.entry(OPENS)["marks"][str(message)] = ahead.pack()
    site.api.delete("opens", 7)
    late = site.api.add_row("opens", message, date_added=NOW + DAY)
    site.advance(2)
    run = site.sync(**ONLY_OPENS)
    assert set(run.ids(OPENS)) == {*range(1, 31), late} - {7}
    mark = site.mark("opens", message)
    assert mark.checked is not None
    assert mark.checked <= site.world.clock.now()


def test_a_backfill_does_not_read_messages_added_after_its_end() -> None:
    ages = range(0, 800, 10)
    site, messages = site_of(*ages, opens=0)
    for message, age in zip(messages, ages, strict=True):
        site.api.add_row("recipients", message, date_added=NOW - age * DAY)
    site.common |= {
        "start_date": iso(NOW - 405 * DAY),
        "end_date": iso(NOW - 305 * DAY),
        "backfill": True,
    }
    run = site.sync(streams=(RECIPIENTS,))
    assert run.code == 0
    by_age = dict(zip(messages, ages, strict=True))
    visited = {by_age[message] for message in site.visited("recipients")}
    assert min(visited) == 310
    assert {by_age[row["message_id"]] for row in run.records(RECIPIENTS)} == {
        *range(310, 410, 10)
    }


def test_a_continued_backfill_reads_no_list_twice() -> None:
    """All its lists are closed, and the sweep does not read them again."""
    site, messages = site_of(*range(310, 400, 10))
    site.common |= {
        "start_date": iso(NOW - 405 * DAY),
        "end_date": iso(NOW - 305 * DAY),
        "backfill": True,
    }
    site.settings["sweep_days"] = 2
    site.sync(streams=("opens",))
    assert sorted(site.visited("opens")) == messages
    for _ in range(4):
        site.advance(1)
        assert site.sync(streams=("opens",)).code == 0
        assert site.visited("opens") == []
    assert "swept" not in site.entry("opens")["backfill"]


# The summary


def test_the_summary_counts_unsettled_lists() -> None:
    site, messages = site_of(1, 2, 3, opens=3)
    rules = [
        site.world.faults.add("shift_total", path=f"/{message}/opens$")
        for message in messages[:2]
    ]

    def drift(_method: str, _path: str, _query: Mapping[str, str]) -> None:
        for rule in rules:
            rule.by += 1

    site.world.on_request(drift)
    run = site.sync(streams=("opens",))
    assert run.code == 0
    assert run.reports["encompass_opens"]["unsettled"] == 2
    site.world.faults.clear()
    run = site.sync(streams=("opens",))
    assert "unsettled" not in run.reports["encompass_opens"]
    assert len(site.target_ids("opens")) == 9


# Throttling, and memory


def test_five_minutes_of_429_cost_time_but_no_list() -> None:
    site, _ = site_of(*(number / 20 for number in range(1, 31)), max_concurrency=4)
    end = NOW + 300

    def throttle(_method: str, path: str, _query: Mapping[str, str]) -> None:
        site.world.faults.clear()
        if path.startswith("/v2/messages/") and site.world.clock.now() < end:
            site.world.faults.add("status", status=429)

    site.world.on_request(throttle)
    run = site.sync()
    assert run.code == 0
    for stream in STREAMS:
        assert run.reports[stream]["outcome"] in {"complete", "empty"}
        assert "failed" not in run.reports[stream]
    assert not site.differences()
    # While one request waits all wait: after each wait each sends at most one.
    struck = [entry for entry in site.world.log.entries if entry.status == 429]
    assert 0 < len(struck) <= 4 * 12


def test_a_429_without_retry_after_delays_all_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, _ = site_of(*(number / 20 for number in range(1, 41)), max_concurrency=4)
    site.world.faults.add("status", message_id=1, path="/opens$", status=429, times=5)
    held: list[float] = []
    hold = Limits.hold

    def noted(limits: Limits, seconds: float) -> None:
        held.append(seconds)
        hold(limits, seconds)

    monkeypatch.setattr(Limits, "hold", noted)
    run = site.sync(**ONLY_OPENS)
    assert run.code == 0
    assert held == [2, 4, 8, 16, 32]
    entries = site.world.log.entries
    struck = [entry.at for entry in entries if entry.status == 429]
    for at, wait in zip(struck, held, strict=True):
        assert min(entry.at for entry in entries if entry.at > at + 0.1) >= at + wait


def test_many_new_rows_of_a_descending_list_are_never_all_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, (message,) = site_of(1, opens=5)
    site.api.set_order("descending")
    site.sync(**ONLY_OPENS)
    assert site.mark("opens", message).order == "d"
    site.advance(0.5)
    for _ in range(30_000):
        site.api.add_row("opens", message, date_added=NOW + DAY / 4)
    sizes: list[int] = []
    read = ListReader.read

    def measured(
        reader: ListReader, visit: Visit[int, Mark]
    ) -> Generator[Page, None, Mark]:
        pages = read(reader, visit)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                mark: Mark = end.value
                return mark
            sizes.append(len(page))
            yield page

    monkeypatch.setattr(ListReader, "read", measured)
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == set(range(1, 30_006))
    assert max(sizes) <= 1_000
    assert sorted(site.starts("opens")) == [0, *range(0, 30_005, 1_000)]
    assert site.mark("opens", message).settled
