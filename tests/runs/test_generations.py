"""States that were cut, copied or merged: no row stays unread."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tap_email_metrics.run.run
from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.errors import InvalidInput
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site, Sync, Target, site_of
from tests.support.luxsci import Clinic
from tests.support.state import flat, merged

ABOUT_RUN = {"email_metrics_runs", "email_metrics_reconciliation"}
PROVIDERS = ("encompass", "constant_contact", "luxsci")


@dataclass
class Refreshed:
    """An account with an old state, and full refreshes of it.

    Attributes:
        old: the state of the ordinary runs.
        again: the messages of each full refresh.
        whole: the rows of a target after a complete refresh.
    """

    site: Site
    old: dict[str, Any]
    again: list[Sync]
    whole: Target

    def cut(self, which: int, share: float) -> tuple[dict[str, Any], Target]:
        """Return state and target of a refresh cut after a share of its STATEs."""
        messages = self.again[which].messages
        places = [n for n, one in enumerate(messages) if one["type"] == "STATE"]
        place = places[round(share * (len(places) - 1))]
        target = Target()
        state = target.load(messages[: place + 1])
        assert state is not None
        return state, target


def any_site(provider: str) -> Site:
    world = World.generate(5, 6, NOW, campaigns=5, luxsci=12, days_ahead=0)
    if provider == "encompass":
        return Site(world)
    if provider == "constant_contact":
        return Account(world)
    clinic = Clinic(world)
    clinic.common["start_date"] = iso(NOW - 30 * DAY)
    return clinic


@cache
def refreshed(provider: str) -> Refreshed:
    site = any_site(provider)
    assert site.sync().code == 0
    site.advance(1)
    assert site.sync().code == 0
    old = site.state
    again = []
    for _ in range(2):
        site.advance(1)
        site.state = {}
        again.append(site.sync(load=False))
    # At the present time, because the archive takes rows from day to day.
    whole = Target()
    whole.load(site.sync(load=False).messages)
    return Refreshed(site, old, again, whole)


def keys(target: Target) -> dict[str, set[Any]]:
    """Return the keys of the rows in a target, without streams about runs."""
    return {
        stream: set(rows)
        for stream, rows in target.rows.items()
        if not stream.startswith("email_metrics_")
    }


@pytest.fixture
def _many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a STATE whenever anything was written since the last one."""
    monkeypatch.setattr(tap_email_metrics.run.run, "STATE_SHARE", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("_many_states")
@pytest.mark.parametrize("provider", PROVIDERS)
@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=2))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_full_refresh_that_was_cut_is_completed_by_the_next_run(
    provider: str, shares: list[float]
) -> None:
    """One or two refreshes in a row are cut; the state is merged each time."""
    found = refreshed(provider)
    state = found.old
    for which, share in enumerate(shares):
        new, target = found.cut(which, share)
        state = merged(state, new)
    site = found.site
    site.state, site.target = state, target
    assert site.sync().code == 0
    have = keys(site.target)
    missing = {
        s: wanted - have.get(s, set()) for s, wanted in keys(found.whole).items()
    }
    assert {s: len(lost) for s, lost in missing.items() if lost} == {}


def test_a_full_refresh_of_one_stream_lets_the_others_continue() -> None:
    site, messages = site_of(5, 9)
    site.sync()
    old = site.state
    site.advance(1)
    site.state = {}
    site.sync(streams=("opens",))
    site.state = merged(old, site.state)
    late = site.api.add_row("clicks", messages[0])
    site.advance(1)
    run = site.sync()
    assert run.ids("encompass_clicks") == [late]
    assert run.ids("encompass_opens") == []
    assert run.ids("encompass_messages") == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_another_label_does_not_make_another_account(provider: str) -> None:
    site = any_site(provider)
    site.sync()
    site.settings["account"] = "another label"
    site.tap()


def refused(site: Site, **changed: Any) -> str:
    site.settings = {
        key: value
        for key, value in {**site.settings, **changed}.items()
        if value is not None
    }
    with pytest.raises(InvalidInput) as caught:
        site.tap()
    return str(caught.value)


@pytest.mark.parametrize(
    ("provider", "changed"),
    [
        ("encompass", {"client_id": "other"}),
        ("encompass", {"region": "ca"}),
        ("encompass", {"api_url": "https://api.other.example"}),
        ("constant_contact", {"client_id": "other"}),
        ("constant_contact", {"api_url": "https://api.other.example/v3"}),
        ("luxsci", {"account_id": "2"}),
        ("luxsci", {"api_url": "https://rest.other.example/perl/api/v2"}),
        ("luxsci", {"scope": "user", "user": "bob", "password": "p", "logins": None}),
    ],
    ids=str,
)
def test_the_state_of_another_account_is_refused(
    provider: str, changed: dict[str, Any]
) -> None:
    """The error names both accounts and the way out."""
    site = any_site(provider)
    site.sync(streams=("messages", "account", "users"))
    [known] = site.shared["accounts"].values()
    said = refused(site, **changed)
    assert known in said
    assert f"another {provider} account" in said
    assert "--full-refresh" in said


def test_the_state_of_another_user_is_refused() -> None:
    clinic = Clinic(scope="user", user="bob@clinic.example", password="p")
    clinic.api.add_user("bob@clinic.example", created=NOW - DAY)
    clinic.sync(streams=("sent",))
    said = refused(clinic, user="eve@clinic.example")
    assert "bob" not in said
    assert "eve" not in said


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_state_of_version_1_gets_an_account_and_is_then_refused_by_others(
    provider: str,
) -> None:
    site = any_site(provider)
    site.sync(streams=("messages", "account", "users"))
    kept = flat(site.state)
    shared = kept.pop("_tap")
    del shared["accounts"]
    site.state = {"bookmarks": {**kept, "_tap": {**shared, "version": 1}}}
    site.sync(streams=("messages", "account", "users"))
    assert refused(site, api_url="https://other.example")


def test_a_side_backfill_of_another_account_is_refused() -> None:
    site = any_site("encompass")
    start, end = iso(NOW - 40 * DAY), iso(NOW - DAY)
    site.common |= {"backfill": True, "start_date": start, "end_date": end}
    site.sync(streams=("opens",))
    assert "another encompass account" in refused(site, client_id="other")


def test_a_bookmark_lowered_by_hand_logs_how_to_read_the_stream_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, _ = site_of(5, 9)
    site.sync()
    site.advance(1)
    site.state["bookmarks"]["encompass_opens"]["replication_key_value"] = 0
    site.sync()
    [said] = [r.message for r in caplog.records if "by hand" in r.message]
    assert "remove bookmarks.encompass_opens from the state" in said
    del site.state["bookmarks"]["encompass_opens"]
    assert len(site.sync().records("encompass_opens")) == 6
    site.sync()
    assert len([r for r in caplog.records if "by hand" in r.message]) == 1


def test_an_earlier_start_date_is_read_though_states_are_merged() -> None:
    """`meltano run --merge-state`, paused half-way."""
    site = Site(World.generate(5, 12, NOW, days_ahead=0), max_concurrency=1)
    site.common["start_date"] = iso(NOW - 20 * DAY)
    site.sync()
    site.advance(1)
    del site.common["start_date"]
    old = site.state
    run = site.sync(load=False)
    states = [n for n, one in enumerate(run.messages) if one["type"] == "STATE"]
    site.state = old
    middle = states[len(states) // 2]
    new = site.target.load(run.messages[: middle + 1])
    assert new is not None
    site.state = merged(old, new)
    for _ in range(2):
        run = site.sync(load=False)
        new = site.target.load(run.messages)
        assert new is not None
        site.state = merged(site.state, new)
    fresh = Site(site.world)
    fresh.sync()
    missing = {
        stream: wanted - keys(site.target).get(stream, set())
        for stream, wanted in keys(fresh.target).items()
    }
    assert {s: len(lost) for s, lost in missing.items() if lost} == {}


# Size of the output


def test_a_quiet_sync_writes_few_states() -> None:
    site, _ = site_of(5, 9, 40)
    site.sync()
    site.advance(1)
    run = site.sync()
    assert run.rows == []
    # Lists that are requested twice, because changes may appear late, add one each.
    assert len(run.states) <= 6
    assert run.messages[-1]["type"] == "STATE"


def test_a_state_follows_new_records_and_ends_the_run() -> None:
    site, (message, *_) = site_of(5, 9, 40)
    site.sync()
    site.advance(1)
    for kind in ("opens", "clicks"):
        site.api.add_row(kind, message)
    run = site.sync()
    written = {
        m["stream"]
        for m in run.messages
        if m["type"] == "RECORD" and not m["stream"].startswith("email_")
    }
    assert len(written) == 2
    assert len(run.states) == len(written) + 1


def test_a_quiet_sync_of_many_campaigns_writes_a_small_state() -> None:
    """10,000 campaigns make at most 3 MB, which is 300 bytes each."""
    account = Account()
    count = 200
    for number in range(count):
        sent = NOW - (10 + 2 * number) * DAY
        account.api.add_campaign(sent=sent, recipients=1)
    for _ in range(4):
        account.sync()
        account.advance(1)
    run = account.sync()
    wrote = {m["stream"] for m in run.messages if m["type"] == "RECORD"}
    # One STATE where a stream wrote records, and one at the end.
    assert len(run.states) <= len(wrote - ABOUT_RUN) + 1
    state = len(json.dumps(run.state, separators=(",", ":")))
    fixed = [m for m in run.messages if m["type"] == "SCHEMA"]
    rest = [m for m in run.messages if m not in fixed]
    assert len(json.dumps(rest)) - state * len(run.states) < 40_000
    still_open = sum(10 + 2 * number <= 93 for number in range(count))
    assert state < 20_000 + 700 * still_open + 60 * count
