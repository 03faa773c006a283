"""What a report says of the simulator in the combinations of its readings.

All combinations: `python -m tests.contract.combinations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.providers import PROVIDERS
from tests.contract.combinations import (
    CHOICES,
    SITES,
    ask,
    drawn,
    judge,
    judge_odd,
    pairs,
    world,
)

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = {provider.name: provider.questions for provider in PROVIDERS}
#: Not told by the accounts that the simulator makes up.
RARE = {"archive_clock", "recipient_ids"}
#: Oddities that a careless probe takes for a reading.
DECEPTIVE = {
    "encompass": ("total_zero", "first_row_again", "id_text", "field_renamed"),
    "constant_contact": ("dates_minutes", "last_row_again", "counter_late"),
    "luxsci": ("last_row_again", "labels_unknown", "total_high"),
}


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("provider", CHOICES)
def test_a_report_never_names_a_wrong_reading(provider: str) -> None:
    cases = [*drawn(provider, 1, 16)]
    tally = judge(provider, cases)
    assert tally.wrong == []
    assert tally.failed == []
    assert max(tally.requests) <= 60
    asked = {one.name for one in QUESTIONS[provider] if one.probe} - RARE
    assert {*tally.right} >= asked
    assert pairs(cases) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("provider", CHOICES)
def test_odd_answers_do_not_deceive_a_probe(provider: str) -> None:
    tally = judge_odd(provider, DECEPTIVE[provider])
    assert tally.wrong == []
    assert tally.right.total() > 10


@pytest.mark.parametrize("provider", CHOICES)
@pytest.mark.parametrize("most", [2, 5, 12])
def test_no_more_requests_are_sent_than_are_allowed(provider: str, most: int) -> None:
    site = SITES[provider](world(provider))
    report = ask(site, most)
    assert report["outcome"] == "well"
    assert report["requests"] <= most
    assert site.world.log.count() <= most
    untold = [one["why"] for one in report["questions"] if one["reading"] is None]
    assert any("spent" in why for why in untold)


@pytest.mark.parametrize("provider", CHOICES)
def test_nothing_is_written_or_posted_beyond_authentication(provider: str) -> None:
    site = SITES[provider](world(provider))
    site.world.log.reset()
    ask(site)
    posts = [e.path for e in site.world.log.entries if e.method != "GET"]
    assert all("auth" in path or "token" in path for path in posts)
    assert site.state == {}
