"""Rows with an unusable id: they are emitted when the id becomes usable."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.oddities.base import chance
from tests.support.encompass import DAY, NOW, site_of

ONLY_OPENS: dict[str, Any] = {"streams": ("encompass_opens",)}
DAYS = (0.0, 4.0)
"""Days before each of two runs; at the second the rows lie before the look-back."""


@pytest.mark.parametrize("name", ["id_text", "id_huge", "id_null"])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("age", [1, 176])
def test_a_row_is_emitted_when_its_unusable_id_becomes_usable(
    name: str, order: str, age: int
) -> None:
    site, (message,) = site_of(age, opens=0)
    site.settings["revisit"] = "always"
    site.api.set_order(order, "opens", message)
    ids = {
        site.api.add_row("opens", message, date_added=NOW - (age - 0.5) * DAY)
        for _ in range(9)
    }
    odd = site.world.odd(name, seed=3)
    held = set()
    for days in DAYS:
        site.world.clock.advance(days * DAY)
        run = site.sync(**ONLY_OPENS)
        held = site.target_ids("opens")
        assert held < ids
        report = run.reports["encompass_opens"]
        assert report["outcome"] == "incomplete"
        assert report["set_aside"]
    site.world.odds.remove(odd)
    # A new row conceals that the number of the other rows has grown.
    ids.add(site.api.add_row("opens", message, date_added=NOW + 4 * DAY))
    run = site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == ids
    assert "set_aside" not in run.reports["encompass_opens"]


def test_a_new_row_with_an_unusable_id_hides_no_row_that_became_usable() -> None:
    site, (message,) = site_of(10, opens=0)
    site.settings["revisit"] = "always"
    site.api.set_order("shuffled", "opens", message)
    old = site.api.add_row("opens", message, date_added=NOW - 9 * DAY)
    odd = site.world.odd("id_null", path=r"/opens$", seed=_seed_that_strikes(old))
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == set()
    site.world.odds.remove(odd)
    site.world.clock.advance(4 * DAY)
    new = site.api.add_row("opens", message, date_added=NOW + 4 * DAY)
    odd = site.world.odd("id_null", path=r"/opens$", seed=_seed_that_strikes(new, old))
    site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == {old}


def test_rows_with_permanently_unusable_ids_do_not_cost_two_reads_per_run() -> None:
    site, (message,) = site_of(1, opens=5)
    site.settings["revisit"] = "always"
    site.world.odd("id_null", path=rf"/{message}/opens$", seed=3)
    site.sync(**ONLY_OPENS)
    site.world.clock.advance(DAY / 2)
    site.sync(**ONLY_OPENS)
    assert len(site.asked("opens")) == 1


def _seed_that_strikes(row_id: int, *spared: int) -> int:
    """Return a seed with which the oddity changes one row but not the others."""

    def strikes(seed: int, one: int) -> bool:
        return chance(seed, f"/v2/messages/1/opens {one}") < 0.4

    return next(
        seed
        for seed in range(1000)
        if strikes(seed, row_id) and not any(strikes(seed, one) for one in spared)
    )
