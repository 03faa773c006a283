"""Rows whose id cannot be used, and what becomes of them once it can be."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.oddities.base import chance
from tests.support.encompass import DAY, NOW, site_of

ONLY_OPENS: dict[str, Any] = {"streams": ("encompass_opens",)}
DAYS = (0.0, 4.0)
"""Young lists are read in every run; the rows lie outside of the look-back by then."""


@pytest.mark.parametrize("name", ["id_text", "id_huge", "id_null"])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("age", [1, 176])
def test_a_row_with_an_unusable_id_comes_once_its_id_is_usable(
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
    # A new row hides among the others that their number has grown.
    ids.add(site.api.add_row("opens", message, date_added=NOW + 4 * DAY))
    run = site.sync(**ONLY_OPENS)
    assert site.target_ids("opens") == ids
    assert "set_aside" not in run.reports["encompass_opens"]


def test_a_new_row_with_an_unusable_id_does_not_hide_an_old_one_that_got_usable() -> (
    None
):
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


def test_rows_whose_ids_stay_unusable_are_not_read_twice_in_every_run() -> None:
    site, (message,) = site_of(1, opens=5)
    site.settings["revisit"] = "always"
    site.world.odd("id_null", path=rf"/{message}/opens$", seed=3)
    site.sync(**ONLY_OPENS)
    site.world.clock.advance(DAY / 2)
    site.sync(**ONLY_OPENS)
    assert len(site.asked("opens")) == 1


def _seed_that_strikes(row_id: int, *spared: int) -> int:
    """Return a seed of the oddity that strikes one row and spares others."""

    def strikes(seed: int, one: int) -> bool:
        return chance(seed, f"/v2/messages/1/opens {one}") < 0.4

    return next(
        seed
        for seed in range(1000)
        if strikes(seed, row_id) and not any(strikes(seed, one) for one in spared)
    )
