"""Each oddity changes answers of each provider that it names, and no other paths."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import requests

from simulator.__main__ import main
from simulator.adapter import MOST_WAIT
from simulator.oddities.names import ODDITIES, of_face
from simulator.server import serve
from simulator.world import World
from tests.simulator import constant_contact_client, encompass_client, luxsci_client
from tests.simulator.luxsci_client import ACCOUNT, DELIVERY, OPENS

NOW = 1_790_000_000.0
DAY = 86_400.0
PAIRS = [(name, face) for name, one in ODDITIES.items() for face in one.faces]
Shown = dict[str, tuple[int, bytes, dict[str, str]]]
"""Status, body and headers of answers, by path and query."""


class Faces:
    """A small world of three accounts and a client that requests every path of each."""

    def __init__(self) -> None:
        self.world = World(NOW)
        self._fill_encompass()
        self._fill_constant_contact()
        self._fill_luxsci()
        constant_contact_client.unlimited(self.world)
        self.world.constant_contact.set_policy(rotating_tokens=False)
        self.encompass = encompass_client.connect(self.world)
        self.constant_contact = constant_contact_client.connect(self.world)
        self.luxsci = luxsci_client.connect(self.world)

    def _fill_encompass(self) -> None:
        api = self.world.encompass
        self.messages = [api.add_message(sent=NOW - n * DAY) for n in (1, 2, 3)]
        for message in self.messages:
            for kind in ("opens", "links"):
                for _ in range(4):
                    api.add_row(kind, message, date_added=NOW - DAY)

    def _fill_constant_contact(self) -> None:
        api = self.world.constant_contact
        self.campaigns = [
            api.add_campaign(sent=NOW - n * DAY, recipients=6, links=2)
            for n in range(1, 9)
        ]
        self.activities = [
            api.activities_of(one)["primary_email"] for one in self.campaigns
        ]
        for activity in self.activities:
            for n in range(6):
                at = NOW - DAY / 2 + n // 3
                api.add_event("opens", activity, created=at, device="mobile")

    def _fill_luxsci(self) -> None:
        api = self.world.luxsci
        for n in range(5):
            message = api.add_message(sent=NOW - DAY + n)
            api.add_open(message, at=NOW - DAY / 2)

    def show(self, face: str) -> Shown:
        """Request every path of a provider; return the answers."""
        responses: list[requests.Response] = {
            "encompass": self._ask_encompass,
            "constant_contact": self._ask_constant_contact,
            "luxsci": self._ask_luxsci,
        }[face]()
        return {
            str(r.request.path_url): (r.status_code, r.content, dict(r.headers))
            for r in responses
        }

    def _ask_encompass(self) -> list[requests.Response]:
        get = self.encompass.get
        found = [get("/messages", **encompass_client.FOREVER)]
        for message in self.messages:
            found += [
                get(f"/messages/{message}/opens", startAt=start, maxResults=3)
                for start in (0, 3)
            ]
            found.append(get(f"/messages/{message}/links"))
        url = f"{encompass_client.BASE}/apiservices/authenticate"
        account = self.world.encompass
        form = {
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "grant_type": "email_api_auth_key",
        }
        return [*found, self.encompass.session.post(url, data=form, timeout=9)]

    def _ask_constant_contact(self) -> list[requests.Response]:
        client, get = self.constant_contact, self.constant_contact.get
        stats, reports = "/reports/stats", "/reports/email_reports"
        found = [
            get("/emails", limit=2),
            get("/contacts", limit=3),
            get(constant_contact_client.SUMMARIES, limit=50),
            get(f"{stats}/email_campaigns/{','.join(self.campaigns)}"),
            get(f"{stats}/email_campaign_activities/{','.join(self.activities)}"),
        ]
        for campaign, activity in zip(self.campaigns, self.activities, strict=True):
            found.append(get(f"/emails/{campaign}"))
            found.append(get(f"/emails/activities/{activity}"))
            found.append(get(f"{reports}/{activity}/tracking/opens", limit=4))
        self.world.clock.advance(1)
        form = {"grant_type": "refresh_token", "refresh_token": client.token}
        return [*found, client.post("token", client.basic, **form)]

    def _ask_luxsci(self) -> list[requests.Response]:
        get = self.luxsci.get
        found = [
            get(OPENS, matches=0),
            get(OPENS, matches=3),
            get(OPENS, matches=3, first_row=3),
            get(DELIVERY),
            get(f"{ACCOUNT}/report/email/smtp/opens/summary"),
        ]
        return [*found, self._luxsci_auth()]

    def _luxsci_auth(self) -> requests.Response:
        account = self.world.luxsci
        body = {"token": account.token, "date": str(int(self.world.clock.now()))}
        text = "".join(f"{part}\n" for part in body.values())
        body["signature"] = luxsci_client.hmac_of(account.secret, text)
        url = f"{luxsci_client.BASE}{luxsci_client.API}/auth"
        return self.luxsci.session.post(url, json=body, timeout=9)


def changed(before: Shown, after: Shown) -> set[str]:
    """Return the paths whose answers differ in more than tokens, ids and dates."""
    return {
        path
        for path, (status, body, headers) in after.items()
        if (status, _plain(body)) != (before[path][0], _plain(before[path][1]))
        or {*headers} != {*before[path][2]}
        or headers.get("Date", "")[:16] != before[path][2].get("Date", "")[:16]
    }


def _plain(body: bytes) -> bytes:
    return re.sub(rb'"(access_token|refresh_token|auth)":"[^"]*"', b"", body)


@cache
def faces() -> Faces:
    """Return the accounts shared by the tests, which remove their oddities again."""
    return Faces()


@pytest.mark.parametrize(("name", "face"), PAIRS)
def test_an_oddity_changes_the_paths_that_it_names_and_no_others(
    name: str, face: str
) -> None:
    if ODDITIES[name].is_dear and name != "activities_other":
        pytest.skip("it takes too much memory for each answer")
    here = faces()
    if name.endswith("_late") and name != "device_late":
        pytest.skip("it shows the past, which equals the present here")
    here.world.luxsci.set_policy(
        rows="objects" if name.startswith("field") else "arrays"
    )
    before = here.show(face)
    odd = here.world.odd(name, seed=1)
    try:
        # A cut answer never arrives.
        if name == "parent_silent":
            with pytest.raises(requests.ConnectionError):
                here.show(face)
            return
        # No client waits for a body at a byte per second, unless it is short.
        if name == "drips":
            start = here.world.clock.now()
            with pytest.raises(requests.ConnectionError):
                here.show(face)
            assert here.world.clock.now() - start >= MOST_WAIT - 1
            return
        found = changed(before, here.show(face))
    finally:
        here.world.odds.remove(odd)
    assert found
    paths = [path.partition("?")[0] for path in found]
    assert all(re.search(ODDITIES[name].paths, path) for path in paths)


@pytest.mark.parametrize("face", ["encompass", "constant_contact", "luxsci"])
def test_a_world_without_oddities_repeats_its_answers(face: str) -> None:
    here = faces()
    assert changed(here.show(face), here.show(face)) == set()


def test_every_oddity_has_a_provider_and_a_description() -> None:
    for name, oddity in ODDITIES.items():
        assert oddity.faces
        assert oddity.says
        assert re.compile(oddity.paths)
        for face in oddity.faces:
            assert (name in of_face(face)) != oddity.is_dear


def opens(here: Faces, place: int = 0) -> dict[str, Any]:
    return here.encompass.page(f"/messages/{here.messages[place]}/opens")


def test_an_oddity_can_be_limited_to_the_first_answers_of_each_path() -> None:
    here = Faces()
    here.world.odd("list_empty", times=1)
    assert opens(here)["data"] == []
    assert opens(here, 1)["data"] == []
    assert len(opens(here)["data"]) == 4
    assert opens(here)["total"] == 4


def test_an_oddity_can_end_at_a_time() -> None:
    here = Faces()
    here.world.odd("list_empty", until=NOW + 60)
    assert opens(here)["data"] == []
    here.world.clock.advance(61)
    assert len(opens(here)["data"]) == 4


def test_an_oddity_can_be_limited_to_one_parent_or_a_share_of_parents() -> None:
    here = Faces()
    path = f"/messages/{here.messages[1]}/opens"
    here.world.odd("parent_403", parent=str(here.messages[1]))
    assert here.encompass.get(path).status_code == 403
    assert opens(here)["total"] == 4
    here.world.odds.clear()
    here.world.odd("parent_404", share=0.5, seed=1)
    paths = [f"/messages/{one}/opens" for one in here.messages]
    codes = [here.encompass.get(one).status_code for one in paths]
    assert sorted({*codes}) == [200, 404]
    assert [here.encompass.get(one).status_code for one in paths] == codes


def test_a_bad_id_makes_each_batch_fail_that_contains_it() -> None:
    here = Faces()
    here.world.odd("batch_500", seed=2)
    path = "/reports/stats/email_campaigns"
    get = here.constant_contact.get
    alone = [get(f"{path}/{one}").status_code for one in here.campaigns]
    assert sorted({*alone}) == [200, 500]
    assert get(f"{path}/{','.join(here.campaigns)}").status_code == 500
    fine = [one for one, code in zip(here.campaigns, alone, strict=True) if code == 200]
    assert get(f"{path}/{','.join(fine)}").status_code == 200


def test_an_activity_with_a_new_id_answers_only_under_it() -> None:
    here = Faces()
    here.world.odd("activities_other")
    client = here.constant_contact
    (shown,) = client.read(f"/emails/{here.campaigns[0]}")["campaign_activities"]
    other = shown["campaign_activity_id"]
    old = here.activities[0]
    assert other != old
    assert len(client.tracking(other, "opens")) == 6
    tracking = "/reports/email_reports/{}/tracking/opens"
    assert client.get(tracking.format(old)).status_code == 404


def test_an_oddity_makes_counters_a_day_late() -> None:
    here = Faces()
    api, client = here.world.constant_contact, here.constant_contact
    here.world.odd("counter_late")
    before = client.stats(here.campaigns[0])
    for _ in range(2):
        for kind in ("opens", "clicks", "sends", "bounces", "forwards", "optouts"):
            api.add_event(kind, here.activities[0])
    now = client.stats(here.campaigns[0])
    late = [name for name in before if now[name] == before[name]]
    here.world.clock.advance(2 * DAY)
    client.stats(here.campaigns[0])
    here.world.clock.advance(2 * DAY)
    then = client.stats(here.campaigns[0])
    assert [name for name in late if then[name] != before[name]]


def test_the_log_names_the_oddity_that_changed_an_answer() -> None:
    here = Faces()
    here.world.odd("total_high")
    opens(here)
    assert here.world.log.entries[-1].fault == "odd total_high"


def test_an_answer_that_an_oddity_does_not_change_is_logged_without_it() -> None:
    here = Faces()
    here.world.odd("first_row_again", path="/nowhere")
    here.world.odd("labels_lower")
    opens(here)
    assert here.world.log.entries[-1].fault is None


def test_the_control_interface_lists_and_sets_oddities() -> None:
    with serve(World(NOW)) as server:
        base = f"{server.url}/_sim"
        oddities = requests.get(f"{base}/oddities", timeout=9).json()
        assert [one["name"] for one in oddities] == [*ODDITIES]
        odds = [{"name": "list_null", "times": 2}, {"name": "page_500", "path": "/v2"}]
        assert requests.post(f"{base}/odds", json=odds, timeout=9).ok
        found = requests.get(f"{base}/odds", timeout=9).json()
        assert [one["name"] for one in found] == ["list_null", "page_500"]
        assert found[0]["times"] == 2
        assert requests.get(f"{server.url}/v2/messages", timeout=9).status_code == 500
        assert requests.delete(f"{base}/odds", timeout=9).ok
        assert requests.get(f"{base}/odds", timeout=9).json() == []
        wrong = requests.post(f"{base}/odds", json=[{"name": "no_such"}], timeout=9)
        assert wrong.status_code == 400


def test_the_command_lists_all_oddities(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--oddities"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*ODDITIES]
