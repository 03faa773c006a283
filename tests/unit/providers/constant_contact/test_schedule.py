"""When reports of a campaign are due, and up to when all reports are read."""

from __future__ import annotations

from typing import Any

import pytest

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.constant_contact.schedule import (
    BY_CAMPAIGN,
    CampaignSchedule,
    CounterMark,
    long_id,
    short_id,
)
from tap_email_metrics.state.marks import QUARANTINE_AFTER
from tap_email_metrics.state.plans import Parent, Policy, Visit, history_key
from tap_email_metrics.state.streams import StreamState

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
NAME = "constant_contact_opens"
POLICY = Policy(window=90.0 * DAY)


def campaign(name: str, days: float) -> Parent[str]:
    """Return a campaign that was sent `days` days before now."""
    at = NOW - days * DAY
    return Parent(name, sent=at, newest=at, oldest=at)


def names(visits: list[Visit[str, CounterMark]]) -> list[str]:
    return [visit.parent.id for visit in visits]


def read(days_ago: float, **facts: Any) -> CounterMark:
    """Return the mark of a report that was read in full `days_ago` days before now."""
    at = NOW - days_ago * DAY
    return CounterMark(counter=5, checked=at, verified=at, **facts)


@pytest.mark.parametrize(
    "campaign_id",
    ["21a06e1c-2237-4b8a-9c61-2f5e8d7b6a90", "21A06E1C", "77", "~", "~abc", "~~abc"],
)
def test_the_state_returns_every_campaign_id(campaign_id: str) -> None:
    """Otherwise the next run would refuse the state."""
    assert long_id(short_id(campaign_id)) == campaign_id


def test_a_closed_campaign_is_read_once_as_history_and_never_again() -> None:
    closed = [campaign("young", 100), campaign("old", 400)]
    state = StreamState(NAME, {}, BY_CAMPAIGN)
    schedule = CampaignSchedule(lambda _: 5)
    first = schedule.plan(closed, state, NOW, POLICY)
    assert names(first.history) == ["young", "old"]
    state.set_history(history_key(closed[0]))
    assert names(schedule.plan(closed, state, NOW, POLICY).history) == ["old"]
    state.set_history(history_key(closed[1]))
    again = schedule.plan(closed, state, NOW, POLICY)
    assert names(again.history) == names(again.live) == []


def test_a_full_read_that_failed_is_tried_again_in_full() -> None:
    failed = read(31).failed(NOW - DAY / 24)
    state = StreamState(NAME, {}, BY_CAMPAIGN)
    state.set_mark("ill", failed)
    plan = CampaignSchedule(lambda _: 5).plan([campaign("ill", 40)], state, NOW, POLICY)
    [visit] = plan.live
    assert visit.everything


@pytest.mark.parametrize("counter", [5, 6])
def test_a_campaign_in_quarantine_does_not_hold_back_checked_through(
    counter: int,
) -> None:
    listed = [campaign("good", 20), campaign("ill", 30)]
    marks = {
        "good": read(1),
        "ill": read(25, failures=QUARANTINE_AFTER, tried=NOW - 2 * DAY),
    }
    counters = {"good": 5, "ill": counter}
    schedule = CampaignSchedule(counters.get)
    assert schedule.checked_through(listed, marks, NOW, POLICY) == NOW
    # Before the quarantine it holds it back.
    marks["ill"] = read(25, failures=QUARANTINE_AFTER - 1, tried=NOW - 2 * DAY)
    through = schedule.checked_through(listed, marks, NOW, POLICY)
    assert through == NOW - 25 * DAY


def test_a_full_read_in_the_future_does_not_count() -> None:
    ahead = CounterMark(counter=1, verified=NOW + 400 * DAY)
    assert ahead.verification_due(NOW)
    assert not CounterMark(counter=1, verified=NOW).verification_due(NOW)
