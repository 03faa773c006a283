"""Backfills of every stream of each provider, beside the live bookmarks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.world import World
from tap_email_metrics.clock import from_iso, iso
from tap_email_metrics.providers import PROVIDERS
from tests.support.constant_contact import NAMES as CC_NAMES
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, STREAMS, Site, key_of
from tests.support.luxsci import NAMES as LUXSCI_NAMES
from tests.support.luxsci import Clinic
from tests.support.state import flat

#: Start and end of the interval in days before the present.
FROM, TO = 40, 12
pytestmark = pytest.mark.slow
CLASSES: list[Any] = [s for provider in PROVIDERS for s in provider.streams]
KEYS: dict[str, str] = {
    stream.name: stream.replication_key
    for stream in CLASSES
    if isinstance(stream.replication_key, str)
}


def site_of(provider: str) -> tuple[Site, list[str]]:
    """Return an account and the names of its streams without the prefix."""
    world = World.generate(5, 8, NOW, campaigns=6, luxsci=16, days_ahead=0)
    if provider == "encompass":
        return Site(world), [name.removeprefix("encompass_") for name in STREAMS]
    if provider == "constant_contact":
        names = [name.removeprefix("constant_contact_") for name in CC_NAMES]
        return Account(world), [n for n in names if not n.startswith("contact_")]
    return Clinic(world), list(LUXSCI_NAMES)


def live(state: dict[str, Any]) -> dict[str, Any]:
    """Return the bookmarks without the entries of the backfill."""
    return {
        name: {key: value for key, value in entry.items() if key != "backfill"}
        for name, entry in json.loads(json.dumps(flat(state))).items()
    }


def moment(value: Any) -> float:
    return value / 1000 if isinstance(value, int) else from_iso(value)


@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
def test_a_backfill_emits_its_interval_and_moves_no_live_bookmark(
    provider: str,
) -> None:
    site, names = site_of(provider)
    site.common["start_date"] = iso(NOW - 60 * DAY)
    assert site.sync(streams=tuple(names)).code == 0
    before = live(site.state)
    start, end = NOW - FROM * DAY, NOW - TO * DAY
    interval = {"start_date": iso(start), "end_date": iso(end)}
    site.common |= {"backfill": True, **interval}
    run = site.sync(streams=tuple(names))
    assert run.code == 0
    assert live(site.state) == before
    compared = 0
    for name in names:
        stream = f"{provider}_{name}"
        key = KEYS.get(stream)
        if key is None:
            continue
        rows = run.records(stream)
        if name == "contacts":
            # Contacts who opted out are also emitted, whatever their date.
            assert all(moment(row[key]) < end for row in rows)
            continue
        assert all(start <= moment(row[key]) < end for row in rows if row[key])
        wanted = {
            key_of(stream, row)
            for row in site.truth(name, at=site.times[-1:])
            if row[key] and start <= moment(row[key]) < end
        }
        assert {key_of(stream, row) for row in rows if row[key]} == wanted, stream
        compared += len(wanted)
    assert compared > 50


def test_an_end_in_the_future_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    now = site.world.clock.now()
    site.common = {
        "backfill": True,
        "start_date": iso(now - 9 * DAY),
        "end_date": iso(now - DAY),
    }
    site.tap()
    assert "in the future" not in caplog.text
    site.common["end_date"] = iso(now + DAY)
    site.tap()
    assert "end_date is in the future" in caplog.text
