"""The simulated LuxSci behind a port, and its truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from simulator.luxsci.facts import gmt
from simulator.luxsci.truth import Reading
from simulator.server import serve
from simulator.truth import truth
from simulator.world import World
from tests.simulator.luxsci_client import (
    ACCOUNT,
    API,
    DAY,
    DELIVERY,
    NOW,
    Client,
    connect,
    hmac_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PRESENT = NOW + 10 * DAY


@pytest.fixture
def world() -> World:
    world = World(NOW)
    world.luxsci.add_user(created=NOW - DAY)
    return world


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with serve(world, present=lambda: NOW) as server:
        client = connect(world, server.url)
        with client.session:
            yield client


def do(client: Client, name: str, **arguments: object) -> Any:
    step = {"do": f"luxsci.{name}", **arguments}
    url = f"{client.base}/_sim/script"
    response = client.session.post(url, json=[step], timeout=9)
    assert response.ok, response.text
    return response.json()[0]


def lines(client: Client, query: str) -> list[dict[str, Any]]:
    url = f"{client.base}/_sim/truth/luxsci_{query}"
    response = client.session.get(url, timeout=9)
    assert response.ok, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_script_of_steps_builds_a_world(client: Client) -> None:
    message = do(client, "add_message", sent=NOW - 900, recipients=2)
    do(client, "deliver", sendmail_id=message, at=NOW - 800)
    do(client, "add_open", sendmail_id=message, at=NOW - 700)
    row = do(client, "add_row", kind="opens", fields={"to": "x", "open_date": NOW})
    do(client, "correct", row=row, fields={"to": "y"})
    do(client, "set_policy", rows="objects", denied=["getAccountJobs"])
    shown = client.read(f"{ACCOUNT}/report/email/smtp/opens")["data"]
    assert [one["open_date"] for one in shown] == [gmt(NOW - 700), gmt(NOW)]
    assert shown[1]["to"] == "y"
    assert client.get(f"{ACCOUNT}/report/jobs").status_code == 403
    step = [{"do": "luxsci.auth"}]
    response = client.session.post(f"{client.base}/_sim/script", json=step, timeout=9)
    assert response.status_code == 400


def test_the_truth_takes_the_settings_of_the_reader(
    world: World, client: Client
) -> None:
    world.luxsci.add_message(sent=NOW - 900, header1="x-clinic")
    stream = "luxsci_sent"
    assert lines(client, "sent") == truth(world, stream)
    asked = lines(client, f"sent?at={NOW},{NOW + DAY}&tracked_headers=1&start=0")
    assert asked[0]["header1"] == "x-clinic"
    assert not lines(client, f"sent?start={NOW}")
    login = "user1@clinic.example"
    assert lines(client, f"sent?user={login}") == truth(
        world, stream, reading=Reading(user=login)
    )
    assert not lines(client, "marketing_lists?logins=nobody")


def test_the_truth_takes_a_clock_of_the_reader_that_is_ahead(world: World) -> None:
    account = world.luxsci
    for sent in (NOW - 60, NOW + 5 * DAY):
        account.add_message(sent=sent)
    now = (PRESENT, PRESENT + 60)
    at = [NOW, NOW + 6 * DAY]
    assert len(truth(world, "luxsci_sent", at[:1])) == 0
    ahead = Reading(now=now)
    assert len(truth(world, "luxsci_sent", at, reading=ahead)) == 1
    wide = Reading(now=now, lookback_days=12)
    assert len(truth(world, "luxsci_sent", at, reading=wide)) == 2
    days = truth(world, "luxsci_opens_summary", at, reading=ahead)
    assert days[-1]["interval_start"] == gmt(PRESENT - DAY)[:10]
    assert {day["report_date"] for day in days} == {"2026-09-21T14:13:20.000Z"}
    with pytest.raises(ValueError, match="zip"):
        truth(world, "luxsci_sent", at, reading=Reading(now=now[:1]))


def test_a_server_checks_dates_against_the_present(world: World) -> None:
    with serve(world, present=lambda: PRESENT) as server:
        client = Client(world, server.url)
        with client.session:
            refused = client.authenticate()
    assert refused.json()["error_message"] == "date is out of range"


def test_a_server_limits_requests_per_minute_in_real_time(
    world: World, client: Client
) -> None:
    world.luxsci.set_policy(requests_per_minute=4)
    statuses = [client.get(DELIVERY).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    url = f"{client.base}/_sim/limits/luxsci"
    limits = client.session.get(url, timeout=9).json()
    assert limits["throttled"] == world.luxsci.throttled == 1
    assert limits["used_today"] == limits["busiest_minute"] == 4
    other = client.session.get(f"{client.base}/_sim/limits", timeout=9).json()
    assert "busiest_second" in other


def test_the_command_writes_settings_for_the_tap(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    command = [sys.executable, "-m", "simulator", "--size", "1", "--luxsci", "9"]
    command += ["--requests-per-minute", "600", "--config-out", str(config)]
    with subprocess.Popen(  # noqa: S603 -- our own module
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        settings = json.loads(config.read_text(encoding="utf-8"))["luxsci"]
        token, date = settings["token"], str(int(time.time()))
        signature = hmac_of(settings["secret"], f"{token}\n{date}\n")
        response = requests.post(
            f"{url}{API}/auth",
            json={"token": token, "date": date, "signature": signature},
            timeout=9,
        )
        process.terminate()
        process.wait(timeout=9)
    assert response.status_code == 201
    assert settings["requests_per_minute"] == 600
    assert len(settings["logins"]) == 3
