"""The days of oddities in a world, and the ways to report missing rows."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.oddities.names import of_face
from tap_email_metrics.clock import iso
from tests.days.days import Account, Days, Ran
from tests.days.encompass import EncompassDays
from tests.days.spells import drawn
from tests.days.worlds import ACCOUNTS

STREAM = "encompass_opens"
LIST = (STREAM, 5)
WINDOWS = (STREAM, None)
SHOWN = 1_790_000_000.0
"""UTC seconds at which the missing row was first shown."""


def ran(
    verdict: str | None = None, parent: object = 5, code: int = 0, **report: Any
) -> Ran:
    """Return a run of one stream, which read one list if its verdict is given."""
    record = {"stream": STREAM, "parent": str(parent), "verdict": verdict}
    message = {"type": "RECORD", "stream": "email_metrics_reconciliation"}
    messages = [{**message, "record": record}] if verdict else []
    summary = {"outcome": "complete", "records": 3, "requests": 2, **report}
    return Ran(code, messages, [], {STREAM: summary}, SHOWN, SHOWN + 60)


@pytest.mark.parametrize(
    "run",
    [
        ran("equal"),
        ran("unknown"),
        ran("above", behind_since=iso(SHOWN - 9)),
        ran("equal", behind_since=iso(SHOWN - 9)),
        ran(behind_since=iso(SHOWN + 9)),
        ran(parents=3, headroom_days=3.0),
    ],
)
def test_a_run_that_claims_a_complete_list_does_not_report_missing_rows(
    run: Ran,
) -> None:
    assert not run.says(LIST, SHOWN)


@pytest.mark.parametrize(
    "run",
    [
        ran("equal", code=1),
        ran(outcome="failed"),
        ran(outcome="paused"),
        ran(outcome="unavailable"),
        ran("equal", failed=[5]),
        ran("equal", unsettled=1),
        ran("equal", set_aside=2),
        ran("differs"),
        ran("unsettled"),
        ran(behind_since=iso(SHOWN - 9)),
        ran("equal", parent=6, behind_since=iso(SHOWN - 9)),
    ],
)
def test_each_of_these_runs_reports_missing_rows(run: Ran) -> None:
    assert run.says(LIST, SHOWN)


def test_a_window_that_ends_where_the_run_is_behind_claims_nothing_of_later_rows() -> (
    None
):
    since = iso(SHOWN - 9)
    window = f"smtp {iso(SHOWN - 99)}/{since}"
    assert ran("equal", parent=window, behind_since=since).says(WINDOWS, SHOWN)
    window = f"smtp {iso(SHOWN - 99)}/{iso(SHOWN + 9)}"
    assert not ran("equal", parent=window, behind_since=since).says(WINDOWS, SHOWN)


@pytest.mark.parametrize("provider", ACCOUNTS)
def test_spells_spare_the_last_days_and_are_the_same_for_the_same_seed(
    provider: str,
) -> None:
    for seed in range(20):
        spells = drawn(provider, seed, 40)
        assert spells
        assert spells == drawn(provider, seed, 40)
        assert all(0 < spell.start < spell.end <= 34 for spell in spells)
        assert {spell.name for spell in spells} <= {*of_face(provider)}


def test_spells_are_drawn_from_chosen_oddities_of_the_provider() -> None:
    chosen = ("labels_lower", "list_null")
    assert {one.name for one in drawn("encompass", 1, 60, chosen)} == {"list_null"}
    assert drawn("encompass", 1, 60, ("labels_lower",)) == []


def test_every_oddity_occurs_in_many_worlds() -> None:
    for provider in ACCOUNTS:
        found = {s.name for seed in range(120) for s in drawn(provider, seed, 60)}
        assert found == {*of_face(provider)}


def test_an_oddity_is_active_only_on_the_days_of_its_spell() -> None:
    account: Account = EncompassDays(1, 40)
    spells = drawn("encompass", 1, 40)
    days = Days(account, 1, 40, spells=spells)
    for number in range(40):
        days._turn_odd(number)  # noqa: SLF001 -- without the runs of the day
        expected = [one.name for one in spells if one.start <= number < one.end]
        odds = account.site.world.odds
        assert sorted(odd.oddity.name for odd in odds) == sorted(expected)
