"""The cost of a sync with many sent campaigns, 60 of them in the window."""

from __future__ import annotations

import sys

import pytest

from tests.support.constant_contact import DAY, NOW, Account

pytestmark = pytest.mark.slow

OPEN = 60
LISTS = 8


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@pytest.fixture(
    scope="module", params=[pytest.param(1000, marks=pytest.mark.nightly), 200]
)
def campaigns(request: pytest.FixtureRequest) -> int:
    """The number of sent campaigns."""
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def account(campaigns: int) -> Account:
    account = Account()
    api = account.api
    api.add_item("contact_lists", created=NOW - 900 * DAY)
    contacts = [api.add_contact(created=NOW - 2000 * DAY) for _ in range(5)]
    for number in range(campaigns):
        days = 1 + number if number < OPEN else 100 + number
        sent = NOW - days * DAY
        campaign = api.add_campaign(sent=sent, recipients=contacts, links=1)
        for contact in contacts[:3]:
            api.add_event("opens", campaign, contact, created=sent + DAY / 2)
        api.add_event("clicks", campaign, contacts[0], created=sent + DAY / 2)
    first = account.sync()
    assert first.code == 0
    say(f"first sync: {first.requests} requests")
    account.advance(1)
    return account


def test_a_quiet_sync_takes_at_most_twenty_requests(
    account: Account, campaigns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = account.sync()
    everything = campaigns * LISTS + campaigns // 150 + 1 + campaigns // 500
    with capsys.disabled():
        say(f"\nquiet sync: {run.requests} requests; everything: {everything}")
    assert run.code == 0
    assert run.requests <= 20
    assert run.records("constant_contact_opens") == []


def test_one_campaign_that_changed_costs_only_its_own_requests(
    account: Account, campaigns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    account.advance(1)
    quiet = account.sync().requests
    campaign = next(
        one
        for one, found in account.api.campaigns.items()
        if (found.last_sent(NOW) or 0) > NOW - 10 * DAY
    )
    for kind in ("opens", "clicks"):
        account.api.add_event(kind, campaign, created=account.world.clock.now())
    account.advance(1)
    run = account.sync()
    with capsys.disabled():
        say(f"\none campaign moved: {run.requests} requests ({quiet} when quiet)")
    # One page each of opens, clicks, unique opens, links and stats of its activity.
    assert run.requests - quiet == 5
    assert account.wrong("opens", "clicks", "campaign_stats") == []
    entry = len(str(account.state)) / campaigns
    with capsys.disabled():
        say(f"state: {entry:.0f} bytes a campaign")
    assert entry <= 600
