"""Windows that the API refuses for good: all that it serves is read, and soon."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import from_iso
from tests.runs.luxsci.test_reports import HOUR, day, outcome
from tests.support.luxsci import DAY, NOW, Clinic

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.luxsci import Sync

    Refuses = Callable[[float, float], bool]

OPENS = ("opens",)
DELIVERIES = ("delivery_status",)
REFUSED = b'{"success": 0, "error_message": "out of range"}'
NOT_UNDERSTOOD = b'{"success": 1, "header": ["x"], "data": [[1]]}'


def clinic_with_opens(back: int, every: int = 3, **settings: Any) -> Clinic:
    """Return an account with an open now and then since a number of days."""
    clinic = Clinic(**settings)
    clinic.common["start_date"] = day(back)
    for days in (*range(back - 1, 0, -every), 0.5):
        sent = NOW - days * DAY
        message = clinic.api.add_message(sent=sent, channel="smtp")
        clinic.api.add_open(message, at=sent + 60)
    return clinic


def refuse(
    clinic: Clinic, refuses: Refuses, status: int = 400, path: str = "/smtp/opens"
) -> Callable[[], None]:
    """Let windows of a report be refused; return a function that ends it."""

    def change(request: Any, reply: Any) -> None:
        if request.path.endswith(path):
            ends = (request.query[name] for name in ("from_date", "before_date"))
            if refuses(*(from_iso(f"{end}Z") for end in ends)):
                reply.status = status
                reply.body = NOT_UNDERSTOOD if status == 200 else REFUSED

    return clinic.world.on_reply(change)


def keeps(clinic: Clinic, days: float) -> Refuses:
    """Return a refusal of windows that start more than some days before now."""
    return lambda start, _end: start < clinic.world.clock.now() - days * DAY


def left_out(clinic: Clinic) -> list[float]:
    """Return the dates of the opens that the target lacks, in UTC seconds."""
    have = {row["event_id"] for row in clinic.rows("opens").values()}
    missing = [row for row in clinic.truth("opens") if row["event_id"] not in have]
    return [from_iso(row["open_date"]) for row in missing]


def asked(clinic: Clinic, path: str = "/smtp/opens") -> int:
    """Return the number of requests for a report since the last call."""
    entries = clinic.world.log.entries
    found = sum(entry.path.endswith(path) for entry in entries)
    clinic.world.log.reset()
    return found


def unsettled(run: Sync, stream: str = "opens") -> int:
    return int(run.reports[f"luxsci_{stream}"].get("unsettled", 0))


@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_what_the_api_still_keeps_is_read_in_one_run(status: int) -> None:
    """The rest is reported by each run, which tries it by one request."""
    clinic = clinic_with_opens(200)
    heal = refuse(clinic, keeps(clinic, 60), status)
    run = clinic.sync(streams=OPENS)
    limit = clinic.world.clock.now() - 60 * DAY
    assert max(left_out(clinic)) < limit + HOUR
    assert asked(clinic) < 80
    size = len(json.dumps(clinic.entry("opens")))
    for _ in range(3):
        assert (run.code, outcome(run, "opens")) == (0, "incomplete")
        assert unsettled(run) == 1
        assert run.reports["luxsci_opens"]["behind_since"] == day(200)
        clinic.advance(1 / 24)
        run = clinic.sync(streams=OPENS)
        # Two for the look-back, and two with a new auth code after a 403.
        assert asked(clinic) <= 4
        assert len(json.dumps(clinic.entry("opens"))) <= size + 10
    heal()
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("opens") == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_window_that_is_refused_is_not_blamed_on_access_or_the_path(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Other windows of the list are served, so its access and its path are right."""
    clinic = clinic_with_opens(90)
    refuse(clinic, keeps(clinic, 60), status)
    clinic.sync(streams=OPENS)
    warned = [one for one in caplog.records if one.levelno >= logging.WARNING]
    warnings = [one.message for one in warned if "opens: smtp" in one.message]
    assert f"answered {status}" in warnings[-1]
    assert "limited time" in warnings[-1]
    assert not any(
        "access controls" in one or "path_overrides" in one for one in warnings
    )


def test_summaries_that_the_api_still_keeps_are_read_in_one_run() -> None:
    clinic = Clinic()
    clinic.common["start_date"] = day(200)
    path = "/opens/summary"
    refuse(clinic, keeps(clinic, 60), 403, path)
    clinic.sync(streams=("opens_summary",))
    have = {row["interval_start"] for row in clinic.rows("opens_summary").values()}
    assert len(have) == 59
    assert asked(clinic, path) < 90
    clinic.advance(1 / 24)
    run = clinic.sync(streams=("opens_summary",))
    assert outcome(run, "opens_summary") == "incomplete"
    assert asked(clinic, path) <= 2


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("days", [5, 25])
def test_a_look_back_longer_than_the_api_keeps_rows_is_no_denied_list(
    days: int, status: int
) -> None:
    """The look-back of deliveries is 30 days."""
    clinic = clinic_with_opens(90)
    refuse(clinic, keeps(clinic, days), status, "/smtp/delivery")
    for _ in range(3):
        now = clinic.world.clock.now()
        message = clinic.api.add_message(sent=now, channel="smtp")
        clinic.advance(1 / 24)
        run = clinic.sync(streams=("delivery_status",))
        assert "failed" not in run.reports["luxsci_delivery_status"]
        rows = clinic.rows("delivery_status").values()
        have = {row["sendmail_id"] for row in rows}
        assert message in have
        kept = [
            row["sendmail_id"]
            for row in clinic.truth("delivery_status")
            if from_iso(row["date_sent"]) > now - (days - 0.1) * DAY
        ]
        assert have >= {*kept}
        assert asked(clinic, "/smtp/delivery") < 70


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("days", [25, 29.98])
@pytest.mark.parametrize("interval", [1 / 24, 1])
def test_what_the_look_back_cannot_read_is_looked_for_once(
    interval: float, days: float, status: int
) -> None:
    """Each run says that it is left out, and tries it by one request."""
    clinic = clinic_with_opens(40)
    clinic.sync(streams=DELIVERIES)
    heal = refuse(clinic, keeps(clinic, days), status, "/smtp/delivery")
    clinic.advance(interval)
    clinic.sync(streams=DELIVERIES)
    assert asked(clinic, "/smtp/delivery") < 70
    size = len(json.dumps(clinic.entry("delivery_status")))
    for _ in range(4):
        message = clinic.api.add_message(sent=clinic.world.clock.now(), channel="smtp")
        clinic.advance(interval)
        run = clinic.sync(streams=DELIVERIES)
        assert outcome(run, "delivery_status") == "incomplete"
        assert unsettled(run, "delivery_status") >= 1
        assert asked(clinic, "/smtp/delivery") <= 6
        emitted = run.records("luxsci_delivery_status")
        assert message in {row["sendmail_id"] for row in emitted}
        # Not the whole look-back, but what may have changed.
        assert len(emitted) <= 6
        assert len(json.dumps(clinic.entry("delivery_status"))) <= size + 120
    heal()
    for _ in range(3):
        clinic.advance(1 / 24)
        run = clinic.sync(streams=DELIVERIES)
    assert outcome(run, "delivery_status") == "complete"
    assert clinic.wrong("delivery_status") == []


@pytest.mark.parametrize("length", [1, 12])
def test_hours_that_always_fail_leave_the_look_back_like_others(length: int) -> None:
    """They are not taken for old rows that the API refuses by their age."""
    clinic = clinic_with_opens(10)
    clinic.settings["lookback_days"] = 1
    clinic.sync(streams=OPENS)
    bad = NOW - 20 * HOUR
    refuse(clinic, lambda start, end: start < bad + length * HOUR and end > bad)
    for _ in range(40):
        clinic.advance(1 / 24)
        asked(clinic)
        clinic.sync(streams=OPENS)
    assert asked(clinic) <= 4
    [left] = clinic.coverage("opens", "smtp").todo
    assert bad - HOUR <= left.start <= bad
    assert bad + length * HOUR <= left.end <= bad + (length + 1) * HOUR


def test_a_list_whose_newest_days_are_refused_is_read_up_to_them() -> None:
    clinic = clinic_with_opens(60)
    late = NOW - 4 * DAY
    refuse(clinic, lambda _start, end: end > late)
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    assert min(left_out(clinic)) > late - HOUR


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_list_that_is_refused_as_a_whole_costs_few_requests(status: int) -> None:
    """It could be read before, and stays as it was."""
    clinic = clinic_with_opens(60)
    clinic.sync(streams=OPENS)
    before = clinic.coverage("opens", "smtp")
    refuse(clinic, lambda _start, _end: True, status)
    for _ in range(2):
        clinic.advance(1 / 24)
        asked(clinic)
        run = clinic.sync(streams=OPENS)
        assert outcome(run, "opens") == "incomplete"
        assert run.reports["luxsci_opens"]["failed"] == ["smtp"]
        assert asked(clinic) <= (18 if status == 500 else 6)
    after = clinic.coverage("opens", "smtp")
    assert (after.through, after.todo) == (before.through, before.todo)


def test_quiet_logins_are_not_asked_for_what_they_refused() -> None:
    """With many logins that would be most of the requests of a day."""
    clinic = Clinic()
    for number in range(12):
        clinic.api.add_user(f"user{number}@clinic.example", created=NOW - DAY)
    clinic.settings["logins"] = clinic.api.logins
    clinic.common["start_date"] = day(200)
    refuse(clinic, keeps(clinic, 60), 400, "/opened")
    streams = ("marketing_opens",)
    clinic.sync(streams=streams)
    asked(clinic, "/opened")
    requests = 0
    for _ in range(12):
        clinic.advance(1 / 12)
        run = clinic.sync(streams=streams)
        assert unsettled(run, "marketing_opens") == 12
        requests += asked(clinic, "/opened")
    # Each login is read once a day: its look-back, and one place of what it refused.
    assert requests <= 2 * 2 * 12


@pytest.mark.slow
@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.data())
def test_all_that_is_served_is_read_in_two_runs(data: st.DataObject) -> None:
    """Hours that fail, rows that are no longer kept, and windows that are too long."""
    clinic = clinic_with_opens(120, every=2)
    kept = data.draw(st.sampled_from([45, 75, 150]))
    longest = data.draw(st.sampled_from([10, 31, 400])) * DAY
    bad = [
        NOW - hours * HOUR
        for hours in data.draw(st.sets(st.integers(72, 120 * 24), max_size=3))
    ]
    status = data.draw(st.sampled_from([200, 400, 403]))
    is_old = keeps(clinic, kept)

    def refuses(start: float, end: float) -> bool:
        is_bad = any(start <= at < end for at in bad)
        return is_bad or is_old(start, end) or end - start > longest

    heal = refuse(clinic, refuses, status)
    costs = []
    for _ in range(3):
        run = clinic.sync(streams=OPENS)
        costs.append(asked(clinic))
        clinic.advance(1 / 24)
    limit = NOW - kept * DAY + 5 * HOUR
    assert all(
        at < limit or any(abs(at - one) <= HOUR for one in bad)
        for at in left_out(clinic)
    )
    assert outcome(run, "opens") == ("incomplete" if bad or kept < 120 else "complete")
    assert max(costs[:2]) < 250
    assert costs[-1] <= 30
    assert len(json.dumps(clinic.entry("opens"))) < 3_000
    heal()
    clinic.sync(streams=OPENS)
    clinic.advance(1 / 24)
    assert outcome(clinic.sync(streams=OPENS), "opens") == "complete"
    assert clinic.wrong("opens") == []
