"""A run that contradicts a settled answer logs one warning."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tap_email_metrics.providers import PROVIDERS
from tests.contract.combinations import SITES, world

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {provider.name: provider for provider in PROVIDERS}


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def confirm(monkeypatch: pytest.MonkeyPatch, provider: str, **answers: str) -> None:
    """Set answers in the table of a provider as confirmed by a contract report."""
    changed = tuple(
        replace(one, expects=answers[one.name], confirmed="2026-01-01")
        if one.name in answers
        else one
        for one in BY_NAME[provider].questions
    )
    monkeypatch.setattr(type(BY_NAME[provider]), "questions", changed)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    return [line for line in found if "contradicts what is known" in line]


def synced(caplog: pytest.LogCaptureFixture, provider: str, **policy: Any) -> list[str]:
    site = SITES[provider](world(provider))
    order = policy.pop("order", None)
    if order:
        site.api.set_order(order)
    odd = policy.pop("odd", None)
    if odd:
        site.world.odd(odd)
    site.api.set_policy(**policy)
    before = site.world.log.count()
    assert before == 0
    with caplog.at_level(logging.WARNING):
        site.sync()
    return warnings(caplog)


@pytest.mark.parametrize(
    ("provider", "answers", "ways", "name"),
    [
        ("encompass", {"order": "ascending"}, {"order": "descending"}, "order"),
        ("encompass", {"total": "rows"}, {"odd": "total_high"}, "total"),
        ("luxsci", {"event_date": "own"}, {"event_date": "date_sent"}, "event_date"),
        (
            "luxsci",
            {"delivery_date": "own"},
            {"delivery_date": "date_sent"},
            "delivery_date",
        ),
        ("constant_contact", {}, {"odd": "next_absolute"}, "next_link"),
    ],
)
def test_a_contradiction_is_logged_once_and_names_the_question(  # noqa: PLR0913, PLR0917
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    answers: dict[str, str],
    ways: dict[str, Any],
    name: str,
) -> None:
    confirm(monkeypatch, provider, **answers)
    if provider == "constant_contact":
        monkeypatch.setattr(
            "tap_email_metrics.providers.constant_contact.campaign_streams._LARGEST", 5
        )
    [line] = synced(caplog, provider, **ways)
    assert f"question {name}, " in line
    assert "--contract" in line


def test_events_that_do_not_come_newest_first_contradict_the_documentation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = BY_NAME["constant_contact"]
    site = SITES["constant_contact"](world("constant_contact"))
    api = site.tap().run.api(provider.name)
    with caplog.at_level(logging.WARNING):
        api.contradictions.saw("tracking_order", "newest first")
        assert warnings(caplog) == []
        api.contradictions.saw("tracking_order", "another")
        api.contradictions.saw("tracking_order", "another")
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("provider", "answers"),
    [
        ("encompass", {"order": "ascending", "total": "rows"}),
        ("luxsci", {"event_date": "own", "delivery_date": "own"}),
        ("constant_contact", {}),
    ],
)
def test_an_account_that_behaves_as_confirmed_logs_no_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    answers: dict[str, str],
) -> None:
    confirm(monkeypatch, provider, **answers)
    order = {"order": "ascending"} if provider == "encompass" else {}
    assert synced(caplog, provider, **order) == []


def test_a_question_without_a_settled_answer_logs_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert synced(caplog, "encompass", order="descending") == []
