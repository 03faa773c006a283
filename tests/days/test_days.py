"""Two thousand simulated days and more, one provider at a time."""

from __future__ import annotations

import json

import pytest

from scripts import soak
from tests.days.mutations import MUTATIONS, broken
from tests.days.worlds import run

pytestmark = pytest.mark.slow

LENGTH = {"encompass": 100, "constant_contact": 40, "luxsci": 20}
"""Days of a world, by provider: the dearer a run, the fewer."""
WORLDS = {"encompass": 17, "constant_contact": 5, "luxsci": 5}
DAYS = sum(LENGTH[provider] * worlds for provider, worlds in WORLDS.items())
CASES = [
    (provider, 1000 + seed)
    for provider, worlds in WORLDS.items()
    for seed in range(worlds)
]


@pytest.mark.parametrize(("provider", "seed"), CASES)
def test_nothing_is_lost_and_nothing_invented(provider: str, seed: int) -> None:
    length = LENGTH[provider]
    summary = run(provider, seed, length, length)
    assert summary.broken == []
    assert summary.days == length
    assert summary.events > 0


def test_the_days_are_two_thousand_and_more() -> None:
    assert DAYS >= 2_000


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_tap_that_is_broken_on_purpose_is_found_out(name: str) -> None:
    mutation = MUTATIONS[name]
    with broken(name):
        summary = run(mutation.provider, mutation.seed, mutation.days, mutation.days)
    assert summary.lost > 0


def test_soak_runs_a_broken_tap_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUTATION", "trust_total")
    fault = MUTATIONS["trust_total"]
    days = ["--days", str(fault.days), "--length", str(fault.days), "--worlds", "1"]
    seed = ["--seed", str(fault.seed), "--workers", "1"]
    monkeypatch.setattr("sys.argv", ["soak", *days, *seed])
    assert soak.main() == 1
    said = capsys.readouterr()
    line = json.loads(said.out)
    assert line["lost"] > 0
    assert "replay: python -m scripts.soak --provider encompass" in said.err
