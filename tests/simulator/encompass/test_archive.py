"""The archive of the simulated Encompass."""

from __future__ import annotations

import pytest

from simulator.world import World
from tests.simulator.encompass_client import DAY, NOW, connect

PATH = "/messages/1/opens"


def world_around_the_limit() -> World:
    """Return a world with three opens; each is over 180 days old by fewer clocks."""
    world = World(NOW)
    world.encompass.add_message(sent=NOW - 200 * DAY)
    for action, added in ((190, 185), (182, 179), (170, 169)):
        world.encompass.add_row(
            "opens",
            1,
            timestamp=round((NOW - action * DAY) * 1000),
            date_added=NOW - added * DAY,
        )
    return world


@pytest.mark.parametrize(
    ("clock", "left"), [("send", []), ("action", [3]), ("date_added", [2, 3])]
)
def test_the_archive_uses_the_clock_of_the_policy(clock: str, left: list[int]) -> None:
    world = world_around_the_limit()
    world.encompass.set_policy(archive_on=clock)
    page = connect(world).page(PATH)
    assert [row["id"] for row in page["data"]] == left
    assert page["total"] == len(left)


def test_archived_rows_may_keep_their_positions_and_count() -> None:
    world = world_around_the_limit()
    world.encompass.set_policy(archived_in_total=True)
    client = connect(world)
    first = client.page(PATH, startAt=0, maxResults=1)
    assert (first["data"], first["total"]) == ([], 3)
    assert client.ids(PATH, startAt=1, maxResults=1) == [2]
    assert client.ids(PATH) == [2, 3]


def test_the_archive_takes_a_row_at_180_days_exactly() -> None:
    world = world_around_the_limit()
    client = connect(world)
    world.clock.set(NOW + DAY - 0.001)
    client.authenticate()
    assert client.ids(PATH) == [2, 3]
    world.clock.set(NOW + DAY)
    assert client.ids(PATH) == [3]


def test_recipients_messages_and_links_are_not_archived_by_default() -> None:
    world = World(NOW)
    world.encompass.add_message(sent=NOW - 200 * DAY)
    world.encompass.add_row("recipients", 1, date_added=NOW - 200 * DAY)
    world.encompass.add_row("links", 1)
    client = connect(world)
    assert client.ids("/messages/1/recipients") == [1]
    assert len(client.get("/messages/1/links").json()) == 1
    world.encompass.set_policy(archive_recipients=True)
    assert client.ids("/messages/1/recipients") == []
    assert client.ids("/messages") == [1]
