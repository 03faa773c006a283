"""Encompass lists of many pages: pages read ahead give the same rows at no cost."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from simulator.adapter import SimulatorAdapter
from simulator.clock import DAY
from simulator.world import World
from tests.support.encompass import NOW, Site
from tests.support.state import flat

if TYPE_CHECKING:
    import requests

OPENS = "encompass_opens"
GIVE_UP = 20.0


def site_with(
    *lists: int, age: float = 1.0, order: str = "ascending", **policy: object
) -> Site:
    """Return a site with a message for each number of opens."""
    world = World(NOW)
    world.encompass.set_order(order)
    world.encompass.set_policy(**policy)
    for opens in lists:
        message = world.encompass.add_message(sent=NOW - age * DAY)
        for number in range(opens):
            at = NOW - age * DAY + number / 10 + 1
            world.encompass.add_row("opens", message, date_added=at)
    return Site(world)


class AtOnce(SimulatorAdapter):
    """Answers later pages of opens only when `together` requests are in flight."""

    def __init__(self, world: World, together: int) -> None:
        super().__init__(world)
        self.barrier = threading.Barrier(together)

    @override
    def send(self, request: requests.PreparedRequest, *args: Any, **kw: Any) -> Any:
        url = str(request.url)
        if "/opens" in url and "startAt=0&" not in url:
            self.barrier.wait(GIVE_UP)
        return super().send(request, *args, **kw)


def test_all_later_pages_are_requested_at_once() -> None:
    site = site_with(6_500)
    site.settings["max_concurrency"] = 6
    run = site.sync(streams=(OPENS,), transport=AtOnce(site.world, 6))
    assert run.code == 0
    assert run.ids(OPENS) == list(range(1, 6_501))
    assert sorted(site.starts("opens")) == list(range(0, 6_500, 1_000))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("age", [1.0, 175.0])
@pytest.mark.parametrize("served", [None, 300])
def test_reading_ahead_gives_the_same_rows_and_requests_as_reading_one_by_one(
    order: str, age: float, served: int | None
) -> None:
    seen = []
    for workers in (1, 8):
        site = site_with(2_400, 0, 1_000, 3_001, age=age, order=order)
        if served:
            site.api.set_policy(max_page=served)
        site.settings["max_concurrency"] = workers
        for _ in range(2):
            run = site.sync(streams=(OPENS,))
            asked = Counter(
                (entry.path, entry.query.get("startAt"), entry.query.get("maxResults"))
                for entry in site.asked("opens")
            )
            seen.append((workers, run.records(OPENS), flat(site.state), asked))
            site.advance(1)
    one, eight = seen[:2], seen[2:]
    assert [rest for _, *rest in one] == [rest for _, *rest in eight]
    assert len(one[0][1]) > 0
