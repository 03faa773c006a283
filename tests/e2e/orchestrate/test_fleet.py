"""What `make orchestrate-demo` takes for a success."""

from __future__ import annotations

from dataclasses import replace

from tests.e2e.orchestrate.demo import Outcome

WELL = Outcome(killed=1, restored=9, keys={"north": {"busiest": 6, "limit": 9}})


def test_a_demo_in_which_all_happened_shows_it() -> None:
    assert WELL.unshown() == []


def test_a_demo_in_which_nothing_happened_shows_nothing() -> None:
    assert replace(WELL, killed=0).unshown() == ["No worker was killed"]
    [line] = replace(WELL, restored=0).unshown()
    assert "deleted" in line
    unused = replace(WELL, keys={"north": {"busiest": 0, "limit": 9}})
    assert unused.unshown() == ["north was not used"]
