"""A run continues from a state of every released version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.state.generations import STATE_VERSION
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Callable

STATES = Path(__file__).with_name("states")
VERSIONS = range(1, STATE_VERSION + 1)


def encompass() -> Site:
    site = Site()
    message = site.api.add_message(sent=NOW - 5 * DAY)
    for _ in range(3):
        site.api.add_row("opens", message, date_added=NOW - 4 * DAY)
    return site


def constant_contact() -> Site:
    account = Account()
    sent = NOW - 20 * DAY
    campaign = account.api.add_campaign(sent=sent, recipients=3, links=1)
    account.api.add_event("opens", campaign, created=sent + DAY)
    return account


def luxsci() -> Site:
    clinic = Clinic()
    clinic.common["start_date"] = "2026-09-10"
    clinic.api.add_user("ann@clinic.example", created=NOW - 400 * DAY)
    clinic.api.add_open(clinic.api.add_message(sent=NOW - 6 * DAY), at=NOW - 5 * DAY)
    return clinic


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("build", [encompass, constant_contact, luxsci])
def test_a_run_continues_from_a_state_of_any_version(
    build: Callable[[], Site], version: int
) -> None:
    site = build()
    site.advance(1)
    site.state = json.loads((STATES / f"version-{version}.json").read_text())
    run = site.sync(streams=("opens",))
    assert run.code == 0
    assert run.records(f"{site.provider}_opens") == []
    assert len(site.truth("opens")) > 0
