"""Simulated days, one provider at a time; `make soak` lets many more pass."""

from __future__ import annotations

import json

import pytest

from scripts import soak
from tests.days.mutations import MUTATIONS, broken
from tests.days.worlds import run

pytestmark = pytest.mark.slow

LENGTH = {"encompass": 100, "constant_contact": 40, "luxsci": 20}
"""Days of a world, by provider: the dearer a run, the fewer."""
WORLDS = {"encompass": 3, "constant_contact": 2, "luxsci": 2}
SEEDS = [
    (provider, 1000 + number)
    for provider, worlds in WORLDS.items()
    for number in range(worlds)
]
FOUND_IN = sorted({(m.provider, m.seed, m.days) for m in MUTATIONS.values()})
"""Provider, seed and days of the worlds in which a broken tap is found out."""


@pytest.mark.parametrize(("provider", "seed"), SEEDS)
def test_nothing_is_lost_and_nothing_invented(provider: str, seed: int) -> None:
    length = LENGTH[provider]
    summary = run(provider, seed, length, length)
    assert summary.broken == []
    assert summary.days == length
    assert summary.events > 0


@pytest.mark.parametrize(("provider", "seed", "days"), FOUND_IN)
def test_the_tap_breaks_nothing_where_a_broken_one_is_found_out(
    provider: str, seed: int, days: int
) -> None:
    summary = run(provider, seed, days, days, steady=True)
    assert summary.broken == []
    assert summary.days == days


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_tap_that_is_broken_on_purpose_is_found_out(name: str) -> None:
    fault = MUTATIONS[name]
    with broken(name):
        summary = run(fault.provider, fault.seed, fault.days, fault.days, steady=True)
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
