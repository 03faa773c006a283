"""Fairness: failing or huge lists of one message do not hold up other messages."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import from_iso
from tests.support.encompass import DAY, NOW, Site, site_of

if TYPE_CHECKING:
    from pathlib import Path

OPENS = "encompass_opens"
ONLY_OPENS: dict[str, Any] = {"streams": (OPENS,)}
FAULTS: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401},
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404},
    "400": {"kind": "status", "status": 400},
    "202": {"kind": "status", "status": 202},
    "500": {"kind": "status", "status": 500},
    "nonsense": {"kind": "wrong_shape", "shape": "no_data"},
}
IN_DOUBT = 10 + 4 * 8 + 10
"""The most lists that a run requests if none can be read: failures in a row, lists that
eight workers have begun by then, and the sample."""


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tap-email-metrics")


def fail(site: Site, message: int, fault: str) -> None:
    """Make the opens of a message fail for ever."""
    site.world.faults.add(**FAULTS[fault], message_id=message, path="/opens$")


def opens_of(site: Site, message: int) -> int:
    """Return the number of opens of a message in the target."""
    rows = site.target.rows.get(OPENS, {}).values()
    return sum(row["message_id"] == message for row in rows)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("bad", [12, 24])
def test_older_messages_are_read_though_all_of_the_newest_fail(
    fault: str, bad: int
) -> None:
    """Lists of messages that are scheduled but not sent answer 404."""
    site, messages = site_of(*range(1, bad + 13))
    for message in messages[:bad]:
        fail(site, message, fault)
    for _ in range(2):
        run = site.sync(**ONLY_OPENS)
        assert run.reports[OPENS]["outcome"] in {"complete", "incomplete", "empty"}
        assert set(run.reports[OPENS]["failed"]) == {*messages[:bad]}
        assert all(opens_of(site, message) == 3 for message in messages[bad:])
        assert run.requests < 9 * bad + 40
        site.advance(1)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("bad", "outcome"), [(1, "incomplete"), (2, "failed")])
def test_one_failing_list_does_not_fail_a_stream_that_was_read_before(
    fault: str, bad: int, outcome: str
) -> None:
    """If all due lists fail, one failure says nothing about the stream, several do."""
    site, messages = site_of(*range(1, bad + 1))
    site.sync(**ONLY_OPENS)
    for message in messages:
        fail(site, message, fault)
    site.advance(1)
    run = site.sync(**ONLY_OPENS)
    report = run.reports[OPENS]
    assert report["outcome"] == outcome
    assert set(report["failed"]) == {*messages}
    assert run.code == (outcome == "failed")


@settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_every_other_list_is_read_though_some_fail_for_ever(
    data: st.DataObject,
) -> None:
    """It takes two runs, and one more for each twenty bad lists."""
    count = data.draw(st.integers(2, 45))
    site, messages = site_of(
        *(number * 2 for number in range(1, count + 1)), opens=1, revisit="always"
    )
    bad = data.draw(
        st.dictionaries(
            st.sampled_from(messages), st.sampled_from([*FAULTS]), max_size=count - 1
        )
    )
    for message, fault in bad.items():
        fail(site, message, fault)
    good = [message for message in messages if message not in bad]
    for _ in range(2 + len(bad) // 20):
        site.sync(**ONLY_OPENS)
        # The first failure of a list takes six tries, and three of single rows.
        assert len(site.asked("opens")) <= len(good) * 2 + len(bad) * 9
        site.advance(1)
    assert all(opens_of(site, message) == 1 for message in good)
    # Lists that keep failing cost one try each and hide no new rows.
    for message in good:
        site.api.add_row("opens", message)
    site.sync(**ONLY_OPENS)
    assert all(opens_of(site, message) == 2 for message in good)
    # Up to three refusals are tried with a new token.
    assert len(site.asked("opens")) <= len(good) * 2 + len(bad) + 3


@pytest.mark.parametrize("fault", ["403", "500"])
def test_if_no_list_can_be_read_only_a_sample_is_requested(
    fault: str,
) -> None:
    """The sample has messages of all ages; messages not tried keep their marks."""
    site, messages = site_of(*range(1, 101), opens=0)
    for message in messages:
        fail(site, message, fault)
    run = site.sync(**ONLY_OPENS)
    assert len(site.visited("opens")) <= IN_DOUBT
    assert {messages[-1], messages[-30]} & {*site.visited("opens")[-10:]}
    outcome = {"403": "unavailable", "500": "failed"}[fault]
    assert run.reports[OPENS]["outcome"] == outcome
    assert run.code == (fault == "500")
    assert len(site.entry("opens")["marks"]) == len(site.visited("opens"))


def budgeted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *ages: float, **more: Any
) -> tuple[Site, list[int]]:
    """Return a site with a small daily budget and one request at a time."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return site_of(*ages, max_concurrency=1, **more)


@pytest.mark.parametrize("order", ["ascending", "shuffled"])
def test_a_list_larger_than_the_daily_budget_does_not_starve_others(
    order: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cut list waits, and an ascending list continues where it was cut.

    A list in another order cannot continue: the run reports it and its lag.
    """
    ages = range(1, 22)
    site, (huge, *small) = budgeted(
        tmp_path, monkeypatch, *ages, opens=1, daily_requests=16
    )
    site.api.set_policy(max_page=10)
    if order == "shuffled":
        site.api.set_order(order)
    for _ in range(300):
        site.api.add_row("opens", huge, date_added=NOW - DAY + 60)
    said = []
    emitted = 0
    for _ in range(7):
        run = site.sync(**ONLY_OPENS)
        assert run.code == 0
        said.append(run.reports[OPENS].get("unfinished"))
        emitted += sum(r["message_id"] == huge for r in run.records(OPENS))
        site.advance(1)
    assert said[0] == [huge]
    assert all(opens_of(site, message) == 1 for message in small)
    told = f"cut the list of message {huge} again" in caplog.text
    assert told == (order == "shuffled")
    if order == "ascending":
        assert opens_of(site, huge) == 301
        assert emitted < 1.2 * 301
    else:
        assert said[-1] == [huge]
        behind = run.reports[OPENS]["behind_since"]
        assert from_iso(behind) == pytest.approx(NOW - DAY, abs=60)


def test_a_verification_larger_than_the_daily_budget_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run emits the rows after those of the run before, then the new ones."""
    site, (huge,) = budgeted(tmp_path, monkeypatch, 1, opens=1, daily_requests=90)
    site.api.set_policy(max_page=10)
    for _ in range(300):
        site.api.add_row("opens", huge, date_added=NOW - DAY + 60)
    site.sync(**ONLY_OPENS)
    site.settings["daily_requests"] = 16
    site.advance(1)
    site.sync(**ONLY_OPENS)
    late = site.api.add_row("opens", huge)
    emitted: list[int] = []
    for _ in range(3):
        site.advance(1)
        emitted += site.sync(**ONLY_OPENS).ids(OPENS)
    assert emitted == [*range(1, 302), late]
    assert site.mark("opens", huge).verified == 1
    assert site.mark("opens", huge).settled


def test_a_list_read_after_a_cut_list_keeps_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has read a small list while the budget was used up."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    site, (huge, small) = site_of(1, 2, daily_requests=90, max_concurrency=2)
    site.api.set_policy(max_page=10)
    site.api.set_order("shuffled")
    for _ in range(1_000):
        site.api.add_row("opens", huge, date_added=NOW - DAY + 60)
    site.sync(**ONLY_OPENS)
    assert site.mark("opens", small).settled
    assert not site.mark("opens", huge).settled


def test_a_sweep_larger_than_the_daily_budget_continues_the_next_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the same lists would be read each day, and the others never."""
    site, messages = budgeted(
        tmp_path,
        monkeypatch,
        *(400 + number for number in range(40)),
        opens=1,
        sweep_days=2,
    )
    site.api.set_policy(archive_days=10_000)
    site.sync(**ONLY_OPENS)
    site.settings["daily_requests"] = 12
    visited: set[int] = set()
    for _ in range(7):
        site.advance(1)
        site.sync(**ONLY_OPENS)
        visited |= {*site.visited("opens")}
    assert visited == {*messages}
    assert site.entry("opens").get("marks", {}) == {}


def test_lists_that_are_due_in_every_run_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the newest lists would use up each day."""
    site, messages = budgeted(
        tmp_path, monkeypatch, *range(1, 31), opens=1, revisit="always"
    )
    site.sync(**ONLY_OPENS)
    site.settings["daily_requests"] = 13
    # A row of the minute of the last check would cost a read of the whole list.
    site.advance(1 / 24)
    for message in messages:
        site.api.add_row("opens", message)
    for _ in range(4):
        site.advance(1)
        site.sync(**ONLY_OPENS)
    assert all(opens_of(site, message) == 2 for message in messages)


# Lag of a run


@pytest.mark.parametrize("why", ["quota", "403", "time"])
def test_a_run_that_ends_before_reading_its_messages_reports_its_lag(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state holds the time of the last read; too large a lag is exit code 1."""
    site, _ = budgeted(tmp_path, monkeypatch, 1, 2)
    site.common["max_lag_days"] = 10
    assert site.sync().code == 0
    read = site.entry("opens")["checked_through"]
    site.advance(60)
    if why == "quota":
        site.settings["daily_requests"] = 1
    elif why == "403":
        site.world.faults.add("status", status=403)
    else:
        site.common["max_run_minutes"] = 1e-9
    run = site.sync(load=False)
    assert run.reports[OPENS]["behind_since"] == read
    assert 119 < run.reports[OPENS]["headroom_days"] < 121
    assert run.code == (2 if why == "403" else 1)


def test_headroom_is_measured_at_the_end_of_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A first sync that read everything logs no warning."""
    site, _ = site_of(1, 178.5)
    run = site.sync()
    assert run.reports[OPENS]["headroom_days"] == 180.0
    assert "behind_since" in run.reports[OPENS]
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_list_that_closed_unread_counts_as_behind_until_it_is_read() -> None:
    """Lists that closed during an outage are not up to date."""
    site, _ = site_of(60, activity_window_days=90)
    site.sync(**ONLY_OPENS)
    read = site.entry("opens")["checked_through"]
    site.advance(60)
    site.world.faults.add("status", path="/opens$", status=500)
    run = site.sync(**ONLY_OPENS)
    assert run.reports[OPENS]["behind_since"] == read
