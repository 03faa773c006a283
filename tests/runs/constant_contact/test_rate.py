"""The rate with four requests in flight: it is used in full without a 429."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.adapter import SimulatorAdapter, jitter
from simulator.clock import ThreadedClock
from tap_email_metrics.providers.constant_contact.settings import SCHEMA
from tests.support.constant_contact import DAY, NOW, Account, World

if TYPE_CHECKING:
    from collections.abc import Callable

CAMPAIGNS, FEW = 700, 250
"""Campaigns to read: with slower answers the rate takes longer to become steady."""
STREAMS = ("opens", "clicks")
DEFAULTS = {
    name: SCHEMA["properties"][name]["default"]
    for name in ("max_concurrency", "requests_per_second")
}


def closed(campaigns: int) -> Account:
    """Return an account with unread history, on a clock for threads."""
    world = World(NOW, clock=ThreadedClock(NOW))
    account = Account(world, **DEFAULTS)
    contacts = [account.api.add_contact(created=NOW - 999 * DAY) for _ in range(2)]
    for number in range(campaigns):
        sent = NOW - (100 + number) * DAY
        account.api.add_campaign(sent=sent, recipients=contacts, links=1)
    account.api.set_policy(requests_per_second=DEFAULTS["requests_per_second"])
    return account


def rate(account: Account, latency: float | Callable[[], float]) -> float:
    """Read the account; return the requests per second as a share of the limit."""
    start = account.world.clock.monotonic()
    transport = SimulatorAdapter(account.world, latency=latency)
    run = account.sync(streams=STREAMS, transport=transport)
    assert run.code == 0
    assert account.wrong(*STREAMS) == []
    taken = account.world.clock.monotonic() - start
    return run.requests / taken / float(DEFAULTS["requests_per_second"])


def test_the_defaults_are_the_limits_of_the_vendor() -> None:
    assert DEFAULTS == {"max_concurrency": 4, "requests_per_second": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latency", "campaigns"),
    [
        pytest.param(0.05, FEW, id="0.05 s", marks=pytest.mark.nightly),
        pytest.param(0.3, FEW, id="0.3 s"),
        pytest.param(1.0, CAMPAIGNS, id="1 s"),
        pytest.param(
            jitter(0.01, 0.03), FEW, id="0.02 to 0.06 s", marks=pytest.mark.nightly
        ),
        pytest.param(jitter(0.48, 0.5), CAMPAIGNS, id="0.96 to 1 s"),
    ],
)
def test_a_backfill_uses_the_full_rate_without_a_429(
    latency: float | Callable[[], float], campaigns: int
) -> None:
    account = closed(campaigns)
    used = rate(account, latency)
    assert account.api.throttled == 0
    # The first lists are read with one request at a time. The order of the threads
    # depends on the machine: a quiet one gets to 0.95 and more.
    assert used >= 0.9
    assert account.api.limits.busiest == 4


@pytest.mark.slow
def test_strong_jitter_causes_only_a_few_429s() -> None:
    account = closed(FEW)
    used = rate(account, jitter(0.02, 0.15))
    assert 0 < account.api.throttled < 10
    assert used > 0.8


@pytest.mark.slow
def test_the_tap_slows_down_for_another_user_of_the_key() -> None:
    account = closed(FEW)
    account.api.set_policy(requests_per_second=2)  # another user takes the rest
    used = rate(account, 0.1)
    assert 0 < account.api.throttled < 20
    assert used > 0.4
