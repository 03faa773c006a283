"""Simulated days of each provider; `make soak` runs many more."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from scripts import soak
from simulator.log import Entry
from tap_email_metrics.run.report import StreamReport
from tests.days import days
from tests.days.broken import broken
from tests.days.claims import CLAIMS
from tests.days.luxsci import LuxSciDays
from tests.days.mutations import MUTATIONS
from tests.days.worlds import run
from tests.support.encompass import DAY

pytestmark = pytest.mark.slow

LENGTH = {"encompass": 100, "constant_contact": 40, "luxsci": 20}
"""Days of a world by provider: fewer if its runs are slow."""
WORLDS = {"encompass": 3, "constant_contact": 2, "luxsci": 2}
SEEDS = [
    pytest.param(provider, 1000 + number, marks=[pytest.mark.nightly] if number else [])
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
"""Provider, seed, days and oddities of odd worlds; () stands for all oddities."""
FOUND_IN = sorted(
    {(m.provider, m.seed, m.days, m.length, m.odd or ()) for m in MUTATIONS.values()}
)
"""Provider, seed, days, length and oddities of the worlds in which a broken tap is
found."""


@pytest.mark.parametrize(("provider", "seed"), SEEDS)
def test_no_row_is_lost_or_invented_over_many_days(provider: str, seed: int) -> None:
    length = LENGTH[provider]
    summary = run(provider, seed, length, length)
    assert summary.broken == []
    assert summary.days == length
    assert summary.events > 0


@pytest.mark.nightly
@pytest.mark.parametrize(("provider", "seed", "days", "length", "odd"), FOUND_IN)
def test_the_tap_keeps_its_promises_in_the_worlds_that_find_faults(
    provider: str, seed: int, days: int, length: int, odd: tuple[str, ...]
) -> None:
    summary = run(
        provider, seed, days, length, steady=True, odd=odd or None, calm=bool(odd)
    )
    assert summary.broken == []
    assert summary.days == days


@pytest.mark.parametrize("name", MUTATIONS)
def test_simulated_days_find_each_fault_of_the_tap(name: str) -> None:
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


def test_every_provider_has_faults_that_count_unknown_rows_as_read() -> None:
    found = Counter(fault.provider for fault in CLAIMS.values())
    assert found.keys() == set(LENGTH)
    assert found.total() >= 15
    assert all(fault.odd for fault in CLAIMS.values())


@pytest.mark.parametrize(("provider", "seed", "days", "odd"), ODD)
def test_rows_hidden_by_an_oddity_are_reported_and_read_later(
    provider: str, seed: int, days: int, odd: tuple[str, ...]
) -> None:
    summary = run(provider, seed, days, 34, steady=True, odd=odd)
    assert summary.broken == []
    assert summary.days == days
    assert summary.faults > 0


def test_a_run_that_does_not_report_missing_rows_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StreamReport, "summary", _hushed)
    odd = ("parent_404",)
    summary = run("encompass", 2, 34, 34, steady=True, odd=odd, calm=True)
    assert summary.unsaid > 0
    assert "unsaid: encompass_" in summary.broken[0]
    assert "--odd parent_404 --calm" in summary.broken[0]


def test_a_row_that_changed_seconds_ago_is_served_but_not_promised() -> None:
    account = LuxSciDays(1, 0)
    api, now = account.site.api, account.site.world.clock.now()
    message = api.add_message(sent=now - DAY)
    api.add_click(message, at=now - 1)
    reports = account.shown(now), account.served(now)
    [shown, served] = [
        [row["clicks"] for row in report["luxsci_delivery_status", None].values()]
        for report in reports
    ]
    assert sum(served) == sum(shown) + 1


def test_a_row_that_an_answer_of_a_long_run_showed_is_not_invented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The judge knows what each answer showed, also days after the run began."""
    account = LuxSciDays(1, 0)
    api, begun = account.site.api, account.site.world.clock.now()
    message = api.add_message(sent=begun - DAY)
    late, stream = begun + 5 * DAY, "luxsci_delivery_status"
    before = account.served(begun)[stream, None]
    api.add_click(message, at=late)
    during = account.served(late + 60)[stream, None]
    api.add_click(message, at=late + DAY)
    after = account.served(late + 2 * DAY)[stream, None]
    key = next(k for k, row in during.items() if row not in (before[k], after[k]))
    path = "/perl/api/v2/account/4711/report/email/smtp/delivery"
    ran = days.Ran(
        code=0,
        messages=[],
        entries=[
            Entry(late + second, "GET", path, path, {}, 200, None)
            for second in range(500)
        ],
        reports={},
        begun=begun,
        ended=begun + 10 * DAY,
    )
    judge = days.Days(account, 1, 1)
    never = {**during[key], "clicks": 7}
    for row, found in ((during[key], 0), (never, 1)):
        monkeypatch.setattr(judge, "_fresh", [(stream, key, row)])
        assert len(judge._invented(ran)) == found  # noqa: SLF001 - without a run of days


def _hushed(report: StreamReport) -> dict[str, Any]:
    """Return the summary of a stream without any sign of missing rows."""
    return {"outcome": "complete", "records": report.records}


def test_soak_with_a_broken_tap_fails_with_its_replay_command(
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
