"""Contract reports of the simulator in random combinations of its readings.

More of them: `python -m tests.contract.combinations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.world import World
from tap_email_metrics.providers import PROVIDERS
from tests.contract.combinations import (
    CHOICES,
    SITES,
    ask,
    covered,
    covering,
    judge,
    judge_odd,
    world,
)
from tests.support.encompass import DAY, NOW

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = {provider.name: provider.questions for provider in PROVIDERS}
#: Not told by the accounts that the simulator makes up.
RARE = {"archive_clock"}
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
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("provider", CHOICES)
def test_no_report_names_a_wrong_reading_where_every_few_readings_meet(
    provider: str, size: int
) -> None:
    cases = covering(provider, 1, size)
    tally = judge(provider, cases)
    assert tally.wrong == []
    assert tally.failed == []
    assert max(tally.requests) <= 60
    asked = {one.name for one in QUESTIONS[provider] if one.probe} - RARE
    assert {*tally.right} >= asked
    assert covered(provider, cases, size) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("provider", CHOICES)
def test_odd_answers_do_not_deceive_a_probe(provider: str) -> None:
    tally = judge_odd(provider, DECEPTIVE[provider])
    assert tally.wrong == []
    assert tally.right.total() > 10


@pytest.mark.parametrize(
    ("clock", "told"),
    [("send", "send"), ("date_added", "date_added"), ("action", None)],
)
@pytest.mark.parametrize("stays", [True, False])
def test_the_clock_of_the_archive_is_found_from_the_remaining_rows(
    clock: str, told: str | None, *, stays: bool
) -> None:
    made = World(NOW)
    for age in (60, 185, 187):
        sent = NOW - age * DAY
        message = made.encompass.add_message(sent=sent, sentCount=100)
        for number in range(95):
            made.encompass.add_row("delivers", message, date_added=sent + number)
            at = sent + number / 5 * DAY
            # Every fifth open is added to the database a month after it happened.
            late = 30 * DAY if number % 5 == 0 else 60
            fields = {
                "timestamp": round(at * 1000),
                "dateAdded": round((at + late) * 1000),
            }
            if at + late < NOW:
                made.encompass.add_row("opens", message, date_added=at + late, **fields)
    made.encompass.set_policy(archive_on=clock, archived_in_total=stays)
    report = ask(SITES["encompass"](made))
    [found] = [o for o in report["questions"] if o["question"] == "archive_clock"]
    assert found["reading"] == told


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


@pytest.mark.parametrize("most", [2, 3, 4])
def test_tries_to_get_a_token_count_among_the_requests(most: int) -> None:
    site = SITES["constant_contact"](world("constant_contact"))
    site.world.faults.add("status", status=503, path="/token")
    report = ask(site, most)
    assert report["requests"] == site.world.log.count() == min(most - 1, 3)


@pytest.mark.parametrize("provider", CHOICES)
def test_a_report_posts_nothing_but_authentication_and_keeps_no_state(
    provider: str,
) -> None:
    site = SITES[provider](world(provider))
    site.world.log.reset()
    ask(site)
    posts = [e.path for e in site.world.log.entries if e.method != "GET"]
    assert all("auth" in path or "token" in path for path in posts)
    assert site.state == {}
