"""The rate: all of it is used, and no request is throttled, with four in flight."""

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
"""The slower the answers, the longer it takes until the rate is that of a long read."""
STREAMS = ("opens", "clicks")
DEFAULTS = {
    name: SCHEMA["properties"][name]["default"]
    for name in ("max_concurrency", "requests_per_second")
}


def closed(campaigns: int) -> Account:
    """An account whose history is to be read, on a clock that is right for threads."""
    world = World(NOW, clock=ThreadedClock(NOW))
    account = Account(world, **DEFAULTS)
    contacts = [account.api.add_contact(created=NOW - 999 * DAY) for _ in range(2)]
    for number in range(campaigns):
        sent = NOW - (100 + number) * DAY
        account.api.add_campaign(sent=sent, recipients=contacts, links=1)
    account.api.set_policy(requests_per_second=DEFAULTS["requests_per_second"])
    return account


def rate(account: Account, latency: float | Callable[[], float]) -> float:
    """Read all of it; return requests a second as a share of what is allowed."""
    start = account.world.clock.monotonic()
    transport = SimulatorAdapter(account.world, latency=latency)
    run = account.sync(streams=STREAMS, transport=transport)
    assert run.code == 0
    assert account.wrong(*STREAMS) == []
    taken = account.world.clock.monotonic() - start
    return run.requests / taken / float(DEFAULTS["requests_per_second"])


def test_the_defaults_are_those_of_the_vendor() -> None:
    assert DEFAULTS == {"max_concurrency": 4, "requests_per_second": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latency", "campaigns"),
    [
        pytest.param(0.05, FEW, id="0.05 s"),
        pytest.param(0.3, FEW, id="0.3 s"),
        pytest.param(1.0, CAMPAIGNS, id="1 s"),
        pytest.param(jitter(0.01, 0.03), FEW, id="0.02 to 0.06 s"),
        pytest.param(jitter(0.48, 0.5), CAMPAIGNS, id="0.96 to 1 s"),
    ],
)
def test_a_backfill_uses_the_rate_and_causes_no_429(
    latency: float | Callable[[], float], campaigns: int
) -> None:
    account = closed(campaigns)
    used = rate(account, latency)
    assert account.api.throttled == 0
    # The lists that come first are asked for one request at a time, and which thread
    # comes first is for the machine to say: quiet ones get to 0.95 and more.
    assert used >= 0.9
    assert account.api.limits.busiest == 4


@pytest.mark.slow
def test_jitter_beyond_the_headroom_is_throttled_a_few_times_only() -> None:
    account = closed(FEW)
    used = rate(account, jitter(0.02, 0.15))
    assert 0 < account.api.throttled < 10
    assert used > 0.8


@pytest.mark.slow
def test_another_user_of_the_key_is_made_room_for() -> None:
    account = closed(FEW)
    account.api.set_policy(requests_per_second=2)  # the other takes the rest
    used = rate(account, 0.1)
    assert 0 < account.api.throttled < 20
    assert used > 0.4
