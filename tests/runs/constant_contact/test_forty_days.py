"""Forty days of Constant Contact: the target holds the rows that the API showed."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.constant_contact.truth import KEYS, STREAMS
from tests.support.constant_contact import DAY, NOW, SNAPSHOTS, Account, World

PLAIN = tuple(
    name
    for name in (stream.removeprefix("constant_contact_") for stream in STREAMS)
    if name not in {*SNAPSHOTS, "snapshots"}
    and name not in {"contact_activity_details", "contact_activity_summary"}
    and name != "contact_open_and_click_rates"
)


def current(account: Account, stream: str) -> dict[Any, Any]:
    """Return the rows of the last complete reading of each list without its time."""
    readings = {
        (r["campaign_activity_id"], r["as_of"])
        for r in account.rows("snapshots").values()
        if r["report"] == stream
    }
    return {
        key: {**row, "as_of": None}
        for key, row in account.rows(stream).items()
        if (row["campaign_activity_id"], row["as_of"]) in readings
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "step"), [pytest.param(3, 2, marks=pytest.mark.nightly), (4, 4)]
)
def test_forty_days_match_the_truth(seed: int, step: int) -> None:
    world = World.generate(seed, 0, NOW, campaigns=14, days_ahead=42)
    account = Account(world)
    assert account.sync().code == 0
    for _ in range(0, 40, step):
        account.advance(step)
        assert account.sync().code == 0
    assert account.wrong(*PLAIN) == []
    for stream in ("unique_opens", "links"):
        key = KEYS[f"constant_contact_{stream}"]
        now = account.truth(stream, [account.times[-1]])
        wanted = {tuple(r[k] for k in key): {**r, "as_of": None} for r in now}
        assert current(account, stream) == wanted


def test_did_not_opens_are_read_only_if_selected() -> None:
    account = Account(World.generate(6, 0, NOW, campaigns=6, days_ahead=12))
    assert "did_not_opens" not in {
        name.removeprefix("constant_contact_")
        for name, stream in account.tap().streams.items()
        if stream.selected
    }
    for _ in range(6):
        assert account.sync(streams=("did_not_opens", "snapshots")).code == 0
        account.advance(2)
    now = account.truth("did_not_opens", [account.times[-1]])
    key = KEYS["constant_contact_did_not_opens"]
    wanted = {tuple(r[k] for k in key): {**r, "as_of": None} for r in now}
    assert current(account, "did_not_opens") == wanted


@pytest.mark.slow
def test_shapes_that_the_vendor_leaves_open_change_no_row() -> None:
    world = World.generate(5, 0, NOW, campaigns=6, days_ahead=10)
    account = Account(world)
    account.api.set_policy(
        counts_as_strings=True,
        stats_keys="dots",
        aggregate_percents="array",
        error_shape="empty",
        empty_last_page=True,
        activity_type_in_stats=True,
    )
    for _ in range(3):
        assert account.sync().code == 0
        account.advance(2)
    assert account.wrong(*PLAIN) == []


def test_contact_reports_are_offered_only_if_switched_on() -> None:
    world = World(NOW)
    sent = world.constant_contact.add_campaign(sent=NOW - DAY, recipients=3, links=1)
    world.constant_contact.add_event("opens", sent, created=NOW - DAY / 2)
    assert not any("contact_activity" in name for name in Account(world).tap().streams)
    account = Account(world, contact_reports=True)
    sync = account.sync()
    assert sync.code == 0
    reports = (
        "contact_activity_details",
        "contact_activity_summary",
        "contact_open_and_click_rates",
    )
    assert account.wrong(*reports) == []
    assert len(account.paths("/activity_details")) == 4
    account.sync()
    assert account.paths("/activity_details") == []


def test_a_click_on_a_second_link_updates_the_links() -> None:
    world = World(NOW)
    api = world.constant_contact
    person = api.add_contact(created=NOW - 9 * DAY)
    sent = api.add_campaign(sent=NOW - 3 * DAY, recipients=[person], links=2)
    first, second = api.activity(sent).links
    account = Account(world)
    for url_id in (first, second):
        api.add_event("clicks", sent, person, url_id=url_id)
        assert account.sync(streams=("links", "snapshots")).code == 0
        account.advance(1)
    assert [row["unique_clicks"] for row in account.rows("links").values()] == [1, 1]
