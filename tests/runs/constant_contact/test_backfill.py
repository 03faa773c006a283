"""A backfill of Constant Contact reads the events of its interval only."""

from __future__ import annotations

from typing import Any

from tap_email_metrics.clock import from_iso, iso
from tests.support.constant_contact import DAY, NOW, PREFIX, Account
from tests.support.state import flat

EVENTS = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")


def live(state: dict[str, Any]) -> dict[str, Any]:
    """Return the bookmarks without the entries of the backfill."""
    return {
        name: {key: value for key, value in entry.items() if key != "backfill"}
        for name, entry in flat(state).items()
    }


def moment(value: int | str) -> float:
    return from_iso(value) if isinstance(value, str) else value / 1000


def test_a_backfill_emits_its_interval_and_changes_no_live_mark() -> None:
    account = Account()
    for days in (4, 20, 60, 200, 400):
        sent = NOW - days * DAY
        campaign = account.api.add_campaign(sent=sent, recipients=4, links=1)
        for kind in EVENTS[1:]:
            for after in (0.5, 2.0):
                account.api.add_event(kind, campaign, created=sent + after * DAY)
    assert account.sync(streams=EVENTS).code == 0
    before = live(account.state)
    start, end = NOW - 200 * DAY - 3600, NOW - 199 * DAY
    account.common |= {
        "backfill": True,
        "start_date": iso(start),
        "end_date": iso(end),
    }
    account.advance(0.5)
    run = account.sync(streams=EVENTS)
    assert run.code == 0
    assert live(account.state) == before
    for kind in EVENTS:
        found = [moment(r["created_time"]) for r in run.records(PREFIX + kind)]
        assert found, kind
        assert all(start <= at < end for at in found), kind
        assert len(found) == (4 if kind == "sends" else 1)
    again = account.sync(streams=EVENTS)
    assert not [m for m in again.messages if m["type"] == "RECORD"]
    account.common.clear()
    account.api.add_event("opens", campaign)
    account.advance(1)
    assert account.sync(streams=EVENTS).code == 0
    assert account.wrong(*EVENTS) == []


def test_a_backfill_says_in_each_run_which_lists_lack_rows() -> None:
    """Between two tries the list is not read, and yet is not complete."""
    account = Account()
    sent = NOW - 20 * DAY
    campaign = account.api.add_campaign(sent=sent, recipients=1)
    account.api.add_event(
        "opens",
        campaign,
        created=sent + DAY,
        visible_from=NOW + 999 * DAY,
        counted_from=sent + DAY,
    )
    account.api.add_event("opens", campaign, created=sent + 2 * DAY)
    account.common |= {
        "backfill": True,
        "start_date": iso(sent),
        "end_date": iso(NOW - 10 * DAY),
    }

    def opens() -> tuple[Any, Any]:
        account.advance(1 / 240)
        run = account.sync(streams=("opens",))
        report = run.reports["constant_contact_opens"]
        return report["outcome"], report.get("unsettled", 0)

    assert [opens() for _ in range(5)] == [("incomplete", 1)] * 5
    account.advance(3)
    assert opens() == ("complete", 0)
    assert opens() == ("empty", 0)
