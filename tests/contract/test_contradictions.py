"""A run that contradicts a settled answer logs one warning."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from simulator.world import World
from tap_email_metrics.contract.watch import Look
from tap_email_metrics.providers import PROVIDERS
from tests.contract.combinations import SITES
from tests.contract.ways import WAYS, Ways
from tests.support.encompass import DAY, NOW

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


STREAMS = {
    "encompass": ("messages", "opens", "delivers", "links"),
    "constant_contact": ("campaigns", "campaign_summaries", "opens", "contacts"),
    "luxsci": ("delivery_status", "opens"),
}
"""What a run reads here: enough to see each contradiction."""


def small(provider: str) -> World:
    """Return a world with few rows of one provider."""
    sizes = {"encompass": (6, 0, 0), "constant_contact": (0, 8, 0)}
    messages, campaigns, luxsci = sizes.get(provider, (0, 0, 40))
    return World.generate(
        *(3, messages, NOW),
        campaigns=campaigns,
        luxsci=luxsci,
        days_ahead=0,
        largest=40,
    )


def synced(caplog: pytest.LogCaptureFixture, provider: str, **policy: Any) -> list[str]:
    site = SITES[provider](small(provider))
    order = policy.pop("order", None)
    if order:
        site.api.set_order(order)
    odd = policy.pop("odd", None)
    if odd:
        site.world.odd(odd)
    ways = {name: policy.pop(name) for name in [*policy] if name in WAYS[provider]}
    Ways(site.world, provider).case = ways
    site.api.set_policy(**policy)
    with caplog.at_level(logging.WARNING):
        site.sync(streams=STREAMS[provider])
    return warnings(caplog)


@pytest.mark.parametrize(
    ("provider", "answers", "ways", "name"),
    [
        ("encompass", {"order": "ascending"}, {"order": "descending"}, "order"),
        ("encompass", {"total": "rows"}, {"odd": "total_high"}, "total"),
        ("encompass", {}, {"max_page": 250}, "page_limit"),
        ("encompass", {"links": "envelope"}, {"links_paged": True}, "links"),
        ("encompass", {"open_fields": "both"}, {"open_fields": "one"}, "open_fields"),
        (
            *("encompass", {"deliver_fields": "all"}),
            *({"deliver_fields": "some"}, "deliver_fields"),
        ),
        (
            *("encompass", {"limit_headers": "silent"}),
            *({"limit_headers": "announced"}, "limit_headers"),
        ),
        ("encompass", {"token_life": "longer"}, {"token": "said"}, "token_life"),
        ("luxsci", {"event_date": "own"}, {"event_date": "date_sent"}, "event_date"),
        (
            "luxsci",
            {"delivery_date": "own"},
            {"delivery_date": "date_sent"},
            "delivery_date",
        ),
        ("luxsci", {"order": "rising"}, {"rows_order": "descending"}, "order"),
        ("luxsci", {"row_form": "arrays"}, {"rows": "objects"}, "row_form"),
        ("luxsci", {"header_place": "top"}, {"header_at": "data"}, "header_place"),
        (
            *("luxsci", {"header_form": "strings"}),
            *({"header_entries": "objects"}, "header_form"),
        ),
        ("luxsci", {"count_place": "top"}, {"count_at": "data"}, "count_place"),
        (
            *("luxsci", {"count_meaning": "all"}),
            *({"count_of": "page", "max_rows": 5}, "count_meaning"),
        ),
        ("luxsci", {"count_meaning": "all"}, {"count_of": "nothing"}, "count_meaning"),
        ("luxsci", {}, {"max_rows": 5}, "page_limit"),
        ("constant_contact", {}, {"next_link": "absolute"}, "next_link"),
        ("constant_contact", {}, {"next_link": "elsewhere"}, "next_link"),
        ("constant_contact", {}, {"tracking_order": "another"}, "tracking_order"),
        (
            *("constant_contact", {"last_page": "no next"}),
            *({"paging_end": "null_next"}, "last_page"),
        ),
        (
            *("constant_contact", {"stats_keys": "underscores"}),
            *({"stats_keys": "dots"}, "stats_keys"),
        ),
        (
            *("constant_contact", {"counts": "numbers"}),
            *({"counts_as_strings": True}, "counts"),
        ),
        (
            *("constant_contact", {"aggregate": "object"}),
            *({"aggregate_percents": "absent"}, "aggregate"),
        ),
        (
            *("constant_contact", {"times": "fractions"}),
            *({"time_format": "seconds"}, "times"),
        ),
        (
            *("constant_contact", {"emails_order": "updated"}),
            *({"emails_order": "created"}, "emails_order"),
        ),
        (
            *("constant_contact", {"unsubscribes": "moves"}),
            *({"unsubscribes": "stays"}, "unsubscribes"),
        ),
        (
            *("constant_contact", {"limit_headers": "silent"}),
            *({"limit_headers": "announced"}, "limit_headers"),
        ),
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
    lines = synced(caplog, provider, **ways)
    [line] = [line for line in lines if f"question {name}, " in line]
    assert "--contract" in line


@pytest.mark.parametrize(
    ("provider", "answers"),
    [
        (
            "encompass",
            {
                "order": "ascending",
                "total": "rows",
                "links": "whole array",
                "open_fields": "both",
                "deliver_fields": "all",
                "limit_headers": "silent",
                "token_life": "a day",
            },
        ),
        (
            "luxsci",
            {
                "event_date": "own",
                "delivery_date": "own",
                "row_form": "arrays",
                "header_place": "top",
                "header_form": "strings",
                "count_place": "top",
                "count_meaning": "all",
                "order": "rising",
            },
        ),
        (
            "constant_contact",
            {
                "last_page": "varied",
                "stats_keys": "underscores",
                "counts": "numbers",
                "aggregate": "object",
                "times": "fractions",
                "emails_order": "updated",
                "unsubscribes": "stays",
                "gates": "as listed",
                "limit_headers": "silent",
            },
        ),
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


def test_a_counter_that_no_read_reaches_contradicts_what_counters_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    confirm(monkeypatch, "constant_contact", gates="as listed")
    made = World(NOW)
    campaign = made.constant_contact.add_campaign(sent=NOW - 5 * DAY, recipients=3)
    contact = made.constant_contact.events_of(
        next(iter(made.constant_contact.catalogs["contacts"]))
    )[0].contact_id
    made.constant_contact.add_event("opens", campaign, contact, created=NOW - 4 * DAY)
    site = SITES["constant_contact"](made)
    Ways(made, "constant_contact").case = {"gates": "otherwise"}
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            site.sync(streams=("opens",))
            site.advance(1)
    [line] = warnings(caplog)
    assert "question gates, " in line


@pytest.mark.parametrize("links", [0, 5, True, "", [], ["next"], {"next": 5}])
@pytest.mark.parametrize("provider", ["encompass", "constant_contact"])
def test_an_odd_body_does_not_break_an_observer(provider: str, links: object) -> None:
    """It was read by the run already, so a look at it must not end the stream."""
    body = {"_links": links, "campaigns": [], "tracking_activities": [], "data": []}
    observers = BY_NAME[provider].api.observers
    for template in ("/emails", "/reports/stats/email_campaigns/{}", "/x/opens"):
        for observe in observers.values():
            assert all(
                isinstance(reading, str)
                for reading in observe(Look(template, {}, body, ()))
            )
