"""Simulated days, one provider at a time; `make soak` lets many more pass."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from scripts import soak
from tap_email_metrics.run.report import StreamReport
from tests.days.broken import broken
from tests.days.claims import CLAIMS
from tests.days.mutations import MUTATIONS
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
ODD = [
    ("encompass", 1, 34, ("list_null", "list_empty", "total_high", "total_text")),
    ("encompass", 2, 34, ("list_absent", "list_one_object", "field_wrapped")),
    ("encompass", 7, 16, ()),
    ("constant_contact", 15, 12, ()),
    ("luxsci", 1, 9, ()),
    ("luxsci", 5, 9, ()),
]
"""Provider, seed, days and oddities of odd worlds; (): all that its API can have."""
FOUND_IN = sorted(
    {(m.provider, m.seed, m.days, m.length, m.odd or ()) for m in MUTATIONS.values()}
)
"""Provider, seed, days, length and oddities of the worlds in which a broken tap is
found out."""


@pytest.mark.parametrize(("provider", "seed"), SEEDS)
def test_nothing_is_lost_and_nothing_invented(provider: str, seed: int) -> None:
    length = LENGTH[provider]
    summary = run(provider, seed, length, length)
    assert summary.broken == []
    assert summary.days == length
    assert summary.events > 0


@pytest.mark.parametrize(("provider", "seed", "days", "length", "odd"), FOUND_IN)
def test_the_tap_breaks_nothing_where_a_broken_one_is_found_out(
    provider: str, seed: int, days: int, length: int, odd: tuple[str, ...]
) -> None:
    summary = run(
        provider, seed, days, length, steady=True, odd=odd or None, calm=bool(odd)
    )
    assert summary.broken == []
    assert summary.days == days


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_tap_that_is_broken_on_purpose_is_found_out(name: str) -> None:
    fault = MUTATIONS[name]
    with broken(fault):
        summary = run(
            fault.provider,
            fault.seed,
            fault.days,
            fault.length,
            steady=True,
            odd=fault.odd,
            calm=fault.odd is not None,
        )
    assert summary.lost + (summary.unsaid if fault.odd else 0) > 0


def test_faults_of_all_providers_claim_what_the_tap_does_not_know() -> None:
    found = Counter(fault.provider for fault in CLAIMS.values())
    assert found.keys() == set(LENGTH)
    assert found.total() >= 15
    assert all(fault.odd for fault in CLAIMS.values())


@pytest.mark.parametrize(("provider", "seed", "days", "odd"), ODD)
def test_what_an_oddity_hid_is_said_and_comes_later(
    provider: str, seed: int, days: int, odd: tuple[str, ...]
) -> None:
    summary = run(provider, seed, days, 34, steady=True, odd=odd)
    assert summary.broken == []
    assert summary.days == days
    assert summary.faults > 0


def test_a_run_that_hides_what_it_could_not_read_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StreamReport, "summary", _hushed)
    odd = ("parent_404",)
    summary = run("encompass", 2, 34, 34, steady=True, odd=odd, calm=True)
    assert summary.unsaid > 0
    assert "unsaid: encompass_" in summary.broken[0]
    assert "--odd parent_404 --calm" in summary.broken[0]


def _hushed(report: StreamReport) -> dict[str, Any]:
    """Return the summary of a stream that never says that anything is missing."""
    return {"outcome": "complete", "records": report.records}


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
