"""Generated worlds of LuxSci."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.luxsci.facts import KINDS, epoch
from simulator.luxsci.generate import generate
from simulator.truth import truth
from simulator.world import World
from tests.simulator.luxsci_client import DAY, NOW


@pytest.fixture(scope="module")
def world() -> World:
    world = World(NOW, seed=1)
    generate(world.luxsci, 1, 80, NOW, days_ahead=20)
    return world


def values(world: World, kind: str, column: str) -> list[Any]:
    """Return the values of a column in 20 days, in every row visible by then."""
    at = NOW + 20 * DAY
    channels = ("smtp", "webmail") if KINDS[kind].has_channels else (None,)
    return [
        entry.row.value(at, column)
        for channel in channels
        for entry in world.luxsci.entries(kind, channel, at)
    ]


@pytest.mark.parametrize(
    ("kind", "column", "odd"),
    [
        ("sent", "from_ip", "MobileSync"),
        ("sent", "opt_out", -1),
        ("delivery_status", "from_ip", None),
        ("delivery_status", "Opens", -1),
        ("delivery_status", "Clicks", -1),
        ("delivery_status", "secureline", -2),
        ("delivery_status", "tls_delivery", 0),
        ("delivery_status", "status", "In Queue"),
        ("delivery_status", "status", "Soft Bounce"),
        ("delivery_status", "last_updated", None),
        ("delivery_status", "last_updated", ""),
        ("delivery_status", "delivery_status_updated", "0000-00-00 00:00:00"),
        ("delivery_status", "smtp_code", "n/a"),
        ("delivery_status", "Unsubscribed", 1),
        ("delivery_status", "spam", 1),
        ("opens", "opener_ip", None),
        ("opens", "user_agent", None),
        ("clicks", "url", None),
        ("login_failures", "ip", None),
        ("marketing_clicks", "ip_address", None),
        ("marketing_opens", "log_id", None),
        ("marketing_unsubscribes", "log_id", None),
        ("jobs", "status", "failed"),
    ],
)
def test_a_generated_world_contains_each_odd_value(
    world: World, kind: str, column: str, odd: object
) -> None:
    assert odd in values(world, kind, column)


def test_a_world_has_two_redacted_complaints_of_one_second(world: World) -> None:
    pairs = zip(
        values(world, "complaints", "to"),
        values(world, "complaints", "complaint_date"),
        strict=True,
    )
    dates = [date for to, date in pairs if to == "redacted"]
    assert len(dates) == 4
    assert len(set(dates)) == 2


def test_some_rows_of_a_generated_world_are_late_and_some_change(world: World) -> None:
    sent = world.luxsci.entries("sent", "smtp", NOW)
    late = [
        entry.row.visible_from - epoch(str(entry.row.value(NOW, "date_sent")))
        for entry in sent
    ]
    assert 0 < max(late) < 2 * DAY
    before = truth(world, "luxsci_delivery_status", [NOW])
    after = truth(world, "luxsci_delivery_status", [NOW, NOW + 10 * DAY])
    changed = {record["event_id"]: record for record in after}
    assert any(changed[record["event_id"]] != record for record in before)


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    again, other = World(NOW, seed=1), World(NOW, seed=2)
    generate(again.luxsci, 1, 80, NOW, days_ahead=20)
    generate(other.luxsci, 2, 80, NOW, days_ahead=20)
    stream = "luxsci_delivery_status"
    assert truth(again, stream) == truth(world, stream)
    assert truth(other, stream) != truth(world, stream)
    generate(other.luxsci, 2, 0, NOW)
    assert not truth(World(NOW), stream)
