"""Two months of runs on a pseudo-random Encompass account with each policy."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.world import World
from tests.support.encompass import NOW, Site

pytestmark = pytest.mark.slow

POLICIES: tuple[dict[str, Any], ...] = (
    {
        "messages_filter_on": "sent",
        "bounds_inclusive": True,
        "archive_on": "date_added",
        "archived_in_total": False,
    },
    {
        "messages_filter_on": "sent",
        "bounds_inclusive": False,
        "archive_on": "date_added",
        "archived_in_total": True,
        "links_envelope": True,
    },
    {
        "messages_filter_on": "date_added",
        "bounds_inclusive": True,
        "archive_on": "action",
        "archived_in_total": False,
        "links_paged": True,
        "max_page": 100,
    },
    {
        "messages_filter_on": "date_added",
        "bounds_inclusive": False,
        "archive_on": "action",
        "archived_in_total": True,
        "archive_recipients": True,
    },
    {
        "messages_filter_on": "scheduled",
        "bounds_inclusive": True,
        "archive_on": "send",
        "archived_in_total": False,
        "archive_recipients": True,
    },
    {
        "messages_filter_on": "scheduled",
        "bounds_inclusive": False,
        "archive_on": "send",
        "archived_in_total": True,
        "auth_failure_status": 403,
    },
)


@pytest.mark.parametrize(
    "number",
    [
        *(pytest.param(n, marks=pytest.mark.nightly) for n in (0, 1, 2, 4, 5)),
        3,
    ],
)
def test_sixty_days_of_runs_match_the_truth(number: int) -> None:
    world = World.generate(number, 40, NOW, days_ahead=61)
    world.encompass.set_policy(**POLICIES[number])
    site = Site(world)
    every = 2 if number == 0 else 6  # days
    for _ in range(60 // every):
        assert site.sync().code == 0
        site.advance(every)
    site.settings["revisit"] = "always"
    run = site.sync()
    assert run.code == 0
    assert not any("unsettled" in report for report in run.reports.values())
    assert site.differences() == []


def test_a_month_of_runs_with_constant_faults_matches_the_truth() -> None:
    world = World.generate(11, 25, NOW, days_ahead=31)
    site = Site(world)
    faults: tuple[dict[str, Any], ...] = (
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 504},
        {"kind": "cut"},
        {"kind": "half_body"},
        {"kind": "repeat_row"},
        {"kind": "shift_total"},
        {"kind": "expire_token"},
    )
    for number, fault in enumerate(faults):
        world.faults.add(**fault, path="^/v2/", probability=0.02, seed=number)
    for _ in range(30):
        assert site.sync().code == 0
        site.advance(1)
    world.faults.clear()
    site.settings["revisit"] = "always"
    for _ in range(2):
        site.sync()
    assert site.differences() == []


def test_odd_values_reach_the_target_as_in_the_truth() -> None:
    site = Site(World.generate(1, 40, NOW))
    site.sync()
    assert site.differences() == []
    text = str(site.target.rows)
    assert "\U0001f393" in text
    assert "\ufffd" in text
    assert "a" * 900 in text
    assert "preferredName" in text
    assert any(
        row["date_added"] is None
        for row in site.target.rows["encompass_opens"].values()
    )
