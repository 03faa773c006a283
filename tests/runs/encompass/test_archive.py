"""The archive of Encompass: endangered rows come first, and every gap is reported."""

from __future__ import annotations

import logging

import pytest

from simulator.adapter import SimulatorAdapter
from simulator.encompass.account import ms
from simulator.world import World
from tap_email_metrics.clock import from_iso, iso
from tests.support.encompass import DAY, NOW, Site

FLOOR = 1_451_606_400.0  # 2016-01-01
OPENS = "encompass_opens"
ARCHIVED = (OPENS, "encompass_clicks", "encompass_bounces", "encompass_delivers")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tap-email-metrics")


def site_of(*ages: float, **settings: object) -> tuple[Site, list[int]]:
    """Return a site with a message of each age in days, with three opens each."""
    world = World(NOW)
    messages = [world.encompass.add_message(sent=NOW - age * DAY) for age in ages]
    for message, age in zip(messages, ages, strict=True):
        for number in range(3):
            at = NOW - age * DAY + number + 1
            world.encompass.add_row("opens", message, date_added=at)
    return Site(world, **settings), messages


def after_an_outage(days: float, **settings: object) -> tuple[Site, int]:
    """Return a site with one message that was read once, and then not for `days`."""
    site, (message,) = site_of(10, **settings)
    site.sync()
    site.advance(days)
    return site, message


def gaps(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about gaps."""
    return [
        record.getMessage()
        for record in caplog.records
        if "ARCHIVE GAP" in record.getMessage() and record.levelname == "WARNING"
    ]


def test_a_first_run_starts_with_messages_near_the_archive() -> None:
    ages = (10, 100, 151, 178, 300, 400, 3)
    site, _ = site_of(*ages, max_concurrency=1)
    site.sync()
    order = [ages[message - 1] for message in site.visited("opens")]
    assert order == [178, 151, 3, 10, 100, 300, 400]


def test_after_an_outage_the_longest_unread_message_comes_first() -> None:
    site, (old, older) = site_of(20, 30, max_concurrency=1)
    site.world.faults.add("status", message_id=older, path="/opens$", status=500)
    site.sync()
    site.world.faults.clear()
    site.advance(151)
    new = site.api.add_message()
    site.sync()
    assert site.visited("opens") == [older, old, new]
    # Without an outage the newest comes first.
    site.advance(7)
    newer = site.api.add_message()
    site.sync()
    assert site.visited("opens")[0] == newer


def test_messages_near_the_archive_come_before_messages_that_failed() -> None:
    site, (failing, old) = site_of(3, 20, max_concurrency=1)
    site.sync()
    site.advance(160)
    site.world.faults.add("status", message_id=failing, path="/opens$", status=500)
    fresh = site.api.add_message(sent=NOW + 155 * DAY)
    site.world.faults.add("status", message_id=fresh, path="/opens$", status=500)
    site.sync(load=False)
    assert site.visited("opens") == [failing, old, fresh]


def test_rows_taken_by_the_archive_stay_in_the_target_and_settle_the_list() -> None:
    site, message = after_an_outage(165, revisit="always")
    site.sync()
    site.advance(8)
    run = site.sync()
    assert run.code == 0
    assert site.mark("opens", message).rows == 0
    assert site.mark("opens", message).settled
    assert "unsettled" not in run.reports[OPENS]
    assert len(site.target.rows[OPENS]) == 3
    assert not any(m["type"] == "ACTIVATE_VERSION" for m in run.messages)
    assert not site.differences()


def test_headroom_is_logged_for_each_stream_with_a_warning_below_30_days(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = after_an_outage(100)
    # Rows that a run reads are safe at its end, so here no list can be read.
    site.world.faults.add("status", path="/messages/[0-9]+/", status=500)
    caplog.clear()
    run = site.sync()
    for stream in ARCHIVED:
        assert run.reports[stream]["headroom_days"] == 80.0
        said = [r for r in caplog.records if r.getMessage().startswith(f"{stream}: ")]
        [line] = [r for r in said if "80.0 days of headroom" in r.getMessage()]
        assert line.levelname == "INFO"
    site.advance(55)
    caplog.clear()
    assert site.sync().reports[OPENS]["headroom_days"] == 25.0
    warning = "25.0 days of headroom until"
    said = [r for r in caplog.records if warning in r.getMessage()]
    assert [r.levelname for r in said] == ["WARNING"] * 4
    assert not gaps(caplog)


@pytest.mark.slow
def test_a_long_time_without_new_rows_is_not_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = site_of(10)
    site.sync()
    for _ in range(40):
        site.advance(6.9)
        site.sync()
    assert not gaps(caplog)


def test_a_first_run_reports_no_gap_for_rows_archived_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = site_of(170, 200, 300, 500)
    assert site.sync().code == 0
    assert not gaps(caplog)


@pytest.mark.slow
def test_a_list_in_quarantine_does_not_count_as_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, (bad, _) = site_of(10, 9)
    site.sync()
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    for _ in range(30):
        site.advance(6.9)
        run = site.sync()
    assert run.reports[OPENS]["quarantined"] == [bad]
    assert not gaps(caplog)


def test_a_list_that_was_never_read_makes_a_gap_even_if_its_message_is_old(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, (bad, _) = site_of(200, 10)
    site.world.faults.add("status", message_id=bad, path="/opens$", status=500)
    began = site.world.clock.now()
    assert site.sync().code == 0
    assert not gaps(caplog)
    site.advance(3)
    limit = site.world.clock.now() - 180 * DAY
    site.sync()
    (said,) = gaps(caplog)
    assert said.startswith(f"{OPENS}: ARCHIVE GAP:")
    assert f"to {iso(limit)}" in said
    ((start, end),) = site.entry(OPENS)["gaps"]
    assert 0 <= from_iso(start) - (began - 180 * DAY) < DAY
    assert end == iso(limit)


def test_a_gap_is_reported_with_its_exact_interval_and_stored_in_the_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, message = after_an_outage(200)
    read = site.mark("opens", message).checked
    assert read is not None
    limit = site.world.clock.now() - 180 * DAY
    new = site.api.add_row("opens", message)
    run = site.sync()
    assert run.code == 0
    assert new in run.ids(OPENS)
    for stream in ARCHIVED:
        (said,) = [line for line in gaps(caplog) if line.startswith(f"{stream}:")]
        assert f"from {iso(read)} to {iso(limit)}" in said
        assert "acknowledged" not in said
        assert site.entry(stream)["gaps"] == [[iso(read), iso(limit)]]
    caplog.clear()
    site.advance(1)
    site.settings["on_archive_gap"] = "fail"
    assert site.sync().code == 0
    assert not gaps(caplog)
    assert site.entry(OPENS)["gaps"] == [[iso(read), iso(limit)]]


def test_with_on_archive_gap_fail_a_new_gap_ends_the_run_before_it_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = after_an_outage(200, on_archive_gap="fail")
    before = dict(site.entry(OPENS)["marks"])
    for _ in range(2):
        caplog.clear()
        run = site.sync()
        assert run.code == 1
        assert not run.rows
        assert set(run.lists) <= {"/apiservices/authenticate", "/v2/messages"}
        assert {report["outcome"] for report in run.reports.values()} == {"failed"}
        assert len(gaps(caplog)) == 4
        assert "on_archive_gap" in run.reports[OPENS]["message"]
        assert "gaps" not in site.entry(OPENS)
        assert site.entry(OPENS)["marks"] == before
        site.advance(1)
    site.settings["on_archive_gap"] = "warn"
    assert site.sync().code == 0
    site.settings["on_archive_gap"] = "fail"
    assert site.sync().code == 0


def test_with_on_archive_gap_fail_a_known_gap_is_reported_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = after_an_outage(200)
    # The run that acknowledges the gap ends before it has read anything.
    site.common["max_run_minutes"] = 0.03
    site.sync(transport=SimulatorAdapter(site.world, latency=1))
    assert site.asked("opens") == []
    assert gaps(caplog)
    del site.common["max_run_minutes"]
    site.settings["on_archive_gap"] = "fail"
    site.advance(0.9)
    caplog.clear()
    assert site.sync().code == 0
    assert all("(acknowledged)" in line for line in gaps(caplog))
    assert len(gaps(caplog)) == 4
    assert site.asked("opens")


def test_a_later_gap_is_a_new_gap() -> None:
    site, _ = after_an_outage(200)
    site.sync()
    site.api.add_message(sent=NOW + 199 * DAY)
    site.sync()
    site.settings["on_archive_gap"] = "fail"
    site.advance(250)
    assert site.sync().code == 1


def test_a_gap_shown_by_a_clock_that_is_ahead_does_not_hide_a_later_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = site_of(10)
    site.sync()
    site.advance(1)
    odd = site.world.odd("date_ahead")
    site.sync()
    site.world.odds.remove(odd)
    site.advance(1)
    site.sync()
    caplog.clear()
    site.advance(200)
    site.settings["on_archive_gap"] = "fail"
    assert site.sync().code == 1
    assert len(gaps(caplog)) == 4
    assert not any("acknowledged" in line for line in gaps(caplog))


def test_gaps_of_deselected_streams_and_of_backfills_do_not_matter() -> None:
    site, _ = after_an_outage(200, on_archive_gap="fail")
    assert site.sync(streams=("encompass_links",), load=False).code == 0
    site.common |= {
        "backfill": True,
        "start_date": iso(NOW),
        "end_date": iso(NOW + 100 * DAY),
    }
    assert site.sync(load=False).code == 0


def test_messages_sent_before_2016_are_not_requested() -> None:
    site, (message,) = site_of(1)
    times = ("actualSendTimestamp", "scheduledDateTimestamp", "dateAdded")
    before = site.api.add_message(**dict.fromkeys(times, ms(FLOOR) - 1))
    after = site.api.add_message(**dict.fromkeys(times, ms(FLOOR)))
    run = site.sync()
    assert run.code == 0
    assert sorted(site.visited("opens")) == [message, after]
    assert run.ids("encompass_messages") == [message, before, after]


def test_a_start_date_before_2016_reads_everything() -> None:
    site, _ = site_of(1, 300)
    site.common["start_date"] = "2010-01-01"
    assert site.sync().code == 0
    assert not site.differences()


def test_a_backfill_reports_the_archived_part_of_its_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise it would find nothing without a word."""
    site, _ = site_of(250)
    site.common |= {
        "backfill": True,
        "start_date": iso(NOW - 260 * DAY),
        "end_date": iso(NOW - 150 * DAY),
    }
    run = site.sync(streams=(OPENS, "encompass_links"))
    taken = f"from {iso(NOW - 260 * DAY)} to {iso(NOW - 180 * DAY)}"
    assert f"this backfill does not find those {taken}" in caplog.text
    assert run.reports[OPENS]["message"] == f"actions {taken} are archived"
    assert "message" not in run.reports["encompass_links"]
    caplog.clear()
    site.common |= {"start_date": iso(NOW - 170 * DAY)}
    run = site.sync(streams=(OPENS,))
    assert "archived" not in caplog.text
    assert "message" not in run.reports[OPENS]
