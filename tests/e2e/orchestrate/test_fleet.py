"""Conditions under which `make orchestrate-demo` succeeds."""

from __future__ import annotations

from dataclasses import replace

from tests.e2e.orchestrate.demo import Outcome

WELL = Outcome(killed=1, restored=9, keys={"north": {"busiest": 6, "limit": 9}})


def test_a_demo_in_which_everything_happened_succeeds() -> None:
    assert WELL.unshown() == []


def test_a_demo_names_each_event_that_did_not_happen() -> None:
    assert replace(WELL, killed=0).unshown() == ["No worker was killed"]
    [line] = replace(WELL, restored=0).unshown()
    assert "deleted" in line
    unused = replace(WELL, keys={"north": {"busiest": 0, "limit": 9}})
    assert unused.unshown() == ["north was not used"]
