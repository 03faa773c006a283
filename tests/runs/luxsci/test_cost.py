"""The cost of LuxSci's reports in requests, as in the table of the documentation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from simulator.luxsci.facts import ENDPOINTS, KINDS, PREFIX, SUMMARIES
from tests.support.luxsci import DAY, NOW, Clinic, World

pytestmark = pytest.mark.slow

#: Requests per list: (first sync, each run, additional first run of a UTC day).
BY_WINDOWS = (5, 1, 0)
#: Days of a summary in a first sync.
DAYS = 364
COSTS = {
    **{
        kind.name: BY_WINDOWS
        for kind in KINDS.values()
        if kind.date and kind.name not in SUMMARIES
    },
    "users": (2, 2, 0),  # this list has rows
    "jobs": (1, 1, 0),
    **{f"marketing_{n}": (1, 1, 0) for n in ("campaigns", "lists", "contacts")},
    **{f"marketing_{n}": (1, 0, 1) for n in ("urls", "complaints")},
    **dict.fromkeys(SUMMARIES, (DAYS, 0, 3)),
}
LISTS = Counter(one.kind for one in ENDPOINTS if one.is_of_account)
LOGINS = 3
PAGE = Path(__file__).parents[3] / "docs" / "luxsci.md"
TOTALS = (2_339, 41, 24)
OWNERS = {PREFIX + one.path.replace("{account}", "{id}"): one.kind for one in ENDPOINTS}


def spent(world: World) -> Counter[str]:
    """Return the requests since the last call by report; "auth" for auth codes."""
    found: Counter[str] = Counter()
    for entry in world.log.entries:
        found[OWNERS.get(entry.template, entry.template.rpartition("/")[2])] += 1
    world.log.reset()
    return found


def expected(*columns: int) -> dict[str, int]:
    """Return the sum of these columns of the table by report."""
    costs = {
        kind: sum(cost[column] for column in columns)
        * (LOGINS if kind.startswith("marketing_") else LISTS[kind])
        for kind, cost in COSTS.items()
    }
    return {kind: cost for kind, cost in (costs | {"auth": 2}).items() if cost}


def world_of_the_table() -> World:
    """Return a world whose lists are empty, but for that of users."""
    world = World(NOW)
    for number in range(LOGINS):
        world.luxsci.add_user(f"user{number}@clinic.example", created=NOW - DAY)
    return world


def test_a_sync_takes_the_requests_of_the_table() -> None:
    world = world_of_the_table()
    clinic = Clinic(world)

    assert clinic.sync().code == 0
    first = spent(world)
    assert first == expected(0)
    world.clock.set(world.clock.now() + 3600)
    assert clinic.sync().code == 0
    quiet = spent(world)
    assert quiet == expected(1)
    world.clock.set(world.clock.now() + DAY)
    assert clinic.sync().code == 0
    daily = spent(world)
    assert daily == expected(1, 2)

    totals = (first.total(), quiet.total(), (daily - quiet).total())
    assert totals == TOTALS
    page = PAGE.read_text()
    assert "| **{:,}** | **{}** | **{}** |".format(*totals) in page


def test_the_first_run_within_the_daily_budget_leaves_the_end_of_summaries() -> None:
    world = world_of_the_table()
    clinic = Clinic(world, daily_requests=5_800)

    assert clinic.sync().code == 0
    first = spent(world)
    left = {kind: DAYS - first[kind] for kind in SUMMARIES if first[kind] < DAYS}
    assert list(left.values()) == [40] * 5
    told = f"sends {first.total():,} of its {TOTALS[0]:,} requests"
    assert told in " ".join(PAGE.read_text().split())
    world.clock.set(world.clock.now() + 3600)
    assert clinic.sync().code == 0
    assert spent(world) == Counter(expected(1)) + Counter(left)
