"""A wrong clock in one run: no mark goes back and no row is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from simulator.adapter import SimulatorAdapter
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.constant_contact import DAY, NOW, Account
from tests.support.encompass import MemoryWriter, Site, site_of
from tests.support.state import flat

if TYPE_CHECKING:
    from tap_email_metrics.clock import Clock

DAYS = [-400, 400]


@dataclass
class WrongClock:
    """The clock of the world with an error of some days."""

    right: Clock
    days: float

    def now(self) -> float:
        return self.right.now() + self.days * DAY

    def monotonic(self) -> float:
        return self.right.monotonic()

    def sleep(self, seconds: float) -> None:
        self.right.sleep(seconds)


def sync_with_clock(site: Site, days: float) -> int:
    """Run the tap once on a machine whose clock is wrong by some days."""
    return sync_by(site, WrongClock(site.world.clock, days))


def sync_by(site: Site, clock: Clock) -> int:
    """Run the tap once on a machine with this clock."""
    tap = TapEmailMetrics(
        config=site.config(),
        state=site.state,
        clock=clock,
        transport=SimulatorAdapter(site.world),
        message_writer=MemoryWriter(),
    )
    code = tap.execute()
    writer: Any = tap.message_writer
    writer.flush()
    site.times.append(site.world.clock.now())
    site.state = site.target.load(writer.messages) or site.state
    return code


@pytest.mark.parametrize("days", DAYS)
def test_a_wrong_clock_sets_no_check_back_and_reports_no_archive_gap(days: int) -> None:
    site, messages = site_of(5, 20, 60, on_archive_gap="fail")
    assert site.sync().code == 0
    site.advance(1)
    checked = [site.mark("opens", one).checked or 0 for one in messages]
    through = flat(site.state)["encompass_opens"]["checked_through"]
    sync_with_clock(site, days)
    after = [site.mark("opens", one).checked or 0 for one in messages]
    now = site.world.clock.now()
    assert all(a <= b <= now for a, b in zip(checked, after, strict=True))
    assert through <= flat(site.state)["encompass_opens"]["checked_through"]
    site.api.add_row("opens", messages[2])
    for _ in range(8):
        site.advance(1)
        assert site.sync().code == 0
    assert site.differences() == []


@pytest.mark.parametrize("days", DAYS)
def test_a_clock_that_is_set_within_a_run_moves_no_check(days: int) -> None:
    site, messages = site_of(5, 20, 60, on_archive_gap="fail", max_concurrency=1)
    assert site.sync().code == 0
    site.advance(8)
    checked = [site.mark("opens", one).checked or 0 for one in messages]
    clock = WrongClock(site.world.clock, 0)

    def set_clock(_method: str, path: str, _query: object) -> None:
        if path == f"/v2/messages/{messages[0]}/opens":
            clock.days = days

    site.world.on_request(set_clock)
    assert sync_by(site, clock) == 0
    assert clock.days == days
    after = [site.mark("opens", one).checked or 0 for one in messages]
    now = site.world.clock.now()
    assert all(a < b <= now for a, b in zip(checked, after, strict=True))
    site.advance(1)
    assert site.sync().code == 0


@pytest.mark.parametrize("days", DAYS)
def test_campaigns_are_read_in_spite_of_a_wrong_clock(days: int) -> None:
    account = Account()
    campaign = account.api.add_campaign(sent=NOW - 10 * DAY, recipients=3)
    account.sync()
    account.advance(1)
    sync_with_clock(account, days)
    account.api.add_event("opens", campaign)
    account.advance(1)
    assert account.sync().code == 0
    assert account.wrong("opens", "sends") == []
    account.advance(31)
    account.sync()
    mark = account.counter_mark("opens", campaign)
    assert mark.verified is not None
    assert account.world.clock.now() - mark.verified < DAY
