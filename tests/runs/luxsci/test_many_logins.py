"""Many logins, most of them without mail: their cost, and finding new rows."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.luxsci.facts import ENDPOINTS
from tests.support.luxsci import DAY, NOW, Clinic, World

MARKETING = tuple(
    sorted({one.kind for one in ENDPOINTS if one.kind.startswith("marketing_")})
)


def of_logins(count: int) -> Clinic:
    world = World(NOW)
    for number in range(count):
        world.luxsci.add_user(f"user{number}@clinic.example", created=NOW - DAY)
    return Clinic(world)


@pytest.mark.parametrize("logins", [40, pytest.param(100, marks=pytest.mark.nightly)])
def test_hourly_runs_take_a_dozen_requests_a_day_for_a_quiet_login(logins: int) -> None:
    """So 100 logins fit into the daily quota: an empty list is not read in each run."""
    clinic = of_logins(logins)
    first = clinic.sync(streams=MARKETING).requests
    assert first <= 31 * logins
    # The rest of that day, then whole days, over which the visits are spread.
    spent = []
    for hour in range(1, 49):
        clinic.advance(1 / 24)
        run = clinic.sync(streams=MARKETING)
        assert run.code == 0
        spent.append(run.requests)
        assert run.reports["luxsci_marketing_opens"]["outcome"] == "empty", hour
    assert sum(spent[24:]) < 12 * logins
    assert max(spent) < 5 * logins


def test_new_rows_of_a_quiet_login_are_found_within_a_day() -> None:
    """From then on it is read in each run."""
    clinic = of_logins(12)
    api = clinic.api
    login = api.logins[5]
    clinic.sync(streams=MARKETING)
    clinic.advance(10)
    clinic.sync(streams=MARKETING)
    now = clinic.world.clock.now()
    contacts = [api.add_contact(login, api.add_list(login, created=now), created=now)]
    campaign = api.add_campaign(login, created=now)
    [log] = api.send_campaign(campaign, contacts, at=now + 600)
    api.log_event("marketing_opens", log, at=now + 900)
    for _ in range(24):
        clinic.advance(1 / 24)
        clinic.sync(streams=MARKETING)
    assert clinic.wrong("marketing_opens", "marketing_campaigns") == []
    assert len(clinic.rows("marketing_opens")) == 1
    api.log_event("marketing_opens", log, at=clinic.world.clock.now() + 60)
    clinic.advance(1 / 24)
    clinic.sync(streams=MARKETING)
    assert len(clinic.rows("marketing_opens")) == 2


@pytest.mark.parametrize("stream", ["marketing_opens", "marketing_urls"])
def test_logins_that_a_small_budget_leaves_out_are_first_in_the_next_run(
    stream: str,
) -> None:
    """All logins have rows, and their newest windows take more than a day's budget."""
    clinic = of_logins(12)
    api = clinic.api
    logs = {}
    for login in api.logins:
        one = api.add_list(login, created=NOW - 5 * DAY)
        contacts = [api.add_contact(login, one, created=NOW - 5 * DAY)]
        campaign = api.add_campaign(login, created=NOW - 5 * DAY)
        [logs[login]] = api.send_campaign(campaign, contacts, at=NOW - 4 * DAY)
        api.log_event("marketing_opens", logs[login], at=NOW - 3 * DAY)
    clinic.sync(streams=(stream,))
    clinic.settings["daily_requests"] = 9
    read = set()
    for _ in range(4):
        for log in logs.values():
            api.log_event("marketing_opens", log, at=clinic.world.clock.now() + 60)
        clinic.advance(1)
        clinic.world.log.reset()
        assert clinic.sync(streams=(stream,)).code == 0
        paths = {entry.path for entry in clinic.world.log.entries}
        read |= {login for login in logs if any(login in path for path in paths)}
    assert read == {*logs}


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404])
def test_a_login_that_is_refused_holds_back_no_other_login(status: int) -> None:
    """It may be the first to be read, before any report has shown that all is well."""
    clinic = of_logins(2)
    api = clinic.api
    gone, login = api.logins
    contacts = [api.add_contact(login, api.add_list(login, created=NOW), created=NOW)]
    [log] = api.send_campaign(api.add_campaign(login, created=NOW), contacts, at=NOW)
    clinic.advance(0.1)

    def refuse(request: Any, reply: Any) -> None:
        if gone in request.path:
            reply.status = status
            reply.body = b'{"success": 0, "error_message": "inactive user"}'

    clinic.world.on_reply(refuse)
    for number in range(2):
        api.log_event("marketing_opens", log, at=clinic.world.clock.now() + 60)
        clinic.advance(0.1)
        assert clinic.sync(streams=("marketing_opens",)).code == 0
        assert len(clinic.rows("marketing_opens")) == number + 1


def test_all_of_a_few_logins_are_read_in_each_run() -> None:
    clinic = of_logins(3)
    clinic.sync(streams=MARKETING)
    for _ in range(3):
        clinic.advance(1 / 24)
        run = clinic.sync(streams=MARKETING)
        # One request for each empty list with a date, and two for the auth code.
        assert run.requests == 2 + 3 * 8


def test_verifying_an_empty_list_costs_one_request() -> None:
    """A list that was empty once may get rows."""
    clinic = Clinic()
    streams = ("login_failures", "opens_summary")
    clinic.sync(streams=streams)
    for _ in range(9):
        clinic.advance(1)
        # Two for the auth code, one for the list, and the days of the look-back.
        assert clinic.sync(streams=streams).requests <= 2 + 1 + 3
