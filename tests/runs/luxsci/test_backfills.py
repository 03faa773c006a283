"""Backfills of LuxSci: each run continues the last one, and no event is lost."""

from __future__ import annotations

import json
import logging

import pytest

from tests.runs.luxsci.test_reports import clinic_of, day, outcome
from tests.support.luxsci import DAY, NOW, Clinic

OPENS = ("opens",)


def backfill(clinic: Clinic, start: float, end: float) -> None:
    """Set a backfill of the days from `start` to `end` days ago."""
    clinic.common |= {"start_date": day(start), "end_date": day(end), "backfill": True}


def paused(reports: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, one in reports.items() if one["outcome"] == "paused"]


def test_lists_without_a_date_are_read_once_in_a_backfill() -> None:
    clinic = clinic_of(1)
    streams = ("marketing_urls", "marketing_complaints", "opens")
    backfill(clinic, 90, 1)
    whole = 0
    for _ in range(3):
        clinic.sync(streams=streams)
        whole += sum(
            e.path.endswith(("/urls", "/complaints")) and e.query.get("matches") != "0"
            for e in clinic.world.log.entries
        )
        clinic.advance(0.2)
    assert whole == 2


def test_the_next_run_continues_with_the_width_of_windows() -> None:
    """Otherwise each run would begin with a window of one day."""
    clinic = Clinic()
    backfill(clinic, 400, 1)
    clinic.api.set_policy(requests_per_day=4)
    widths = []
    for _ in range(4):
        clinic.sync(streams=("login_failures",))
        entry = clinic.entry("login_failures")["backfill"]
        [coverage] = _coverages(entry)
        widths.append(coverage.get("width"))
        clinic.advance(1)
    assert widths[0]
    assert widths[0] > 2 * DAY
    assert widths[-1] is None
    assert "todo" not in coverage


def _coverages(entry: dict) -> list[dict]:  # type: ignore[type-arg]
    found = [part for part in [entry, *entry.values()] if isinstance(part, dict)]
    return [one for part in found for one in part.get("lists", {}).values()]


def test_a_backfill_with_a_small_budget_ends_in_about_the_estimated_days() -> None:
    """With 40 requests a day for all streams the opens must not starve."""
    clinic = clinic_of(1)
    for number in range(16):
        sent = clinic.api.add_message(sent=NOW - (30 + number) * DAY)
        clinic.api.add_open(sent, at=NOW - (29 + number) * DAY)
    backfill(clinic, 60, 1)
    clinic.settings |= {"daily_requests": 40}
    streams = tuple(name for name in clinic.offered() if not name.endswith("summary"))
    days = 0
    while paused(clinic.sync(streams=streams).reports):
        clinic.advance(1)
        days += 1
        assert days < 20
    assert days > 1
    assert (
        sum(row["open_date"] < day(20) for row in clinic.rows("opens").values()) == 16
    )


def test_adjoining_backfills_of_a_list_filtered_by_send_date_have_every_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Events of emails that were sent before the interval are found, too."""
    live, clinic = Clinic(), Clinic()
    for one in (live, clinic):
        one.api.set_policy(event_date="date_sent")
        for number in range(12):
            sent = one.api.add_message(sent=NOW - (30 - 2 * number) * DAY)
            one.api.add_open(sent, at=NOW - (24 - 2 * number) * DAY - 60)
    live.common["start_date"] = day(40)
    live.sync(streams=OPENS)
    with caplog.at_level(logging.WARNING):
        for start, end in ((40, 25), (25, 12), (12, 0)):
            backfill(clinic, start, end)
            run = clinic.sync(streams=OPENS)
            dates = [row["open_date"] for row in run.records("luxsci_opens")]
            assert all(day(start) <= date < day(end) for date in dates)
    assert len(live.rows("opens")) == len(clinic.rows("opens")) == 12
    backfills = [r.getMessage() for r in caplog.records if "another date" in r.message]
    assert backfills
    assert all("days before it" in text for text in backfills[1:])
    assert json.dumps(clinic.state)


@pytest.mark.parametrize("first", [True, False])
def test_a_live_window_larger_than_the_daily_budget_is_read_over_days(
    *, first: bool
) -> None:
    """A window that the end of a run cut is read in parts by the next runs."""
    clinic = Clinic(lookback_days=2)
    clinic.common["start_date"] = day(3)
    clinic.api.set_policy(max_rows=1)
    if not first:
        clinic.sync(streams=("login_failures",))
    for number in range(40):
        at = NOW - 1.9 * DAY + number * 4_000
        clinic.api.add_login_failure(at=at, ip="203.0.113.7")
    clinic.settings["daily_requests"] = 25
    clinic.advance(0.1)
    for _ in range(20):
        run = clinic.sync(streams=("login_failures",))
        assert run.code == 0
        clinic.advance(1)
        if clinic.wrong("login_failures") == []:
            break
        assert outcome(run, "login_failures") == "paused"
    assert clinic.wrong("login_failures") == []
    clinic.settings["daily_requests"] = 200
    run = clinic.sync(streams=("login_failures",))
    assert outcome(run, "login_failures") in {"complete", "empty"}
    assert clinic.coverage("login_failures").todo == ()
    assert clinic.coverage("login_failures").cut is None
