"""The simulated Constant Contact behind a port."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from simulator.server import serve
from simulator.truth import truth
from simulator.world import World
from tests.simulator.constant_contact_client import DAY, NOW, Client, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def world() -> World:
    return World.generate(5, 1, NOW, campaigns=4)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with serve(world, present=lambda: NOW + 10 * DAY) as server:
        client = connect(world, server.url)
        with client.session:
            yield client


def test_one_port_serves_constant_contact_and_encompass(
    world: World, client: Client
) -> None:
    world.constant_contact.set_policy(requests_per_second=0)
    rows = client.walk("/emails", "campaigns", limit=3)
    assert len(rows) == len(truth(world, "constant_contact_campaigns"))
    assert client.session.get(f"{client.base}/v2/messages", timeout=9).status_code == (
        401
    )


def test_a_server_limits_requests_per_second_in_real_time(
    world: World, client: Client
) -> None:
    statuses = [client.get("/emails").status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    url = f"{client.base}/_sim/limits"
    limits = client.session.get(url, timeout=9).json()
    assert limits["throttled"] == world.constant_contact.throttled == 2
    assert limits["used_today"] == limits["busiest_second"] == 4


def test_a_script_of_steps_builds_a_world(world: World, client: Client) -> None:
    def do(name: str, **arguments: object) -> object:
        step = {"do": f"constant_contact.{name}", **arguments}
        url = f"{client.base}/_sim/script"
        response = client.session.post(url, json=[step], timeout=9)
        assert response.ok, response.text
        return response.json()[0]

    do("set_policy", requests_per_second=0)
    campaign = do("add_campaign", sent=NOW - 60, recipients=2, links=1)
    assert isinstance(campaign, str)
    event = do("add_event", kind="clicks", activity=campaign, device="mobile")
    assert client.stats(campaign)["em_clicks_all_mobile"] == 1
    do("remove_event", event=event)
    assert client.stats(campaign)["em_clicks_all"] == 0
    token = do("consent")
    assert token == world.constant_contact.refresh_token
    step = [{"do": "constant_contact.auth"}]
    response = client.session.post(f"{client.base}/_sim/script", json=step, timeout=9)
    assert response.status_code == 400


def test_the_truth_is_served_as_json_lines(world: World, client: Client) -> None:
    url = f"{client.base}/_sim/truth/constant_contact_opens?at={NOW},{NOW + DAY}"
    lines = client.session.get(url, timeout=9).text.splitlines()
    expected = truth(world, "constant_contact_opens", [NOW, NOW + DAY])
    assert [json.loads(line) for line in lines] == expected


@pytest.mark.parametrize("flags", [[], ["--long-lived"]])
def test_the_command_writes_settings_for_the_tap(
    tmp_path: Path, flags: list[str]
) -> None:
    config = tmp_path / "config.json"
    command = [sys.executable, "-m", "simulator", "--size", "1", "--campaigns", "2"]
    command += ["--requests-per-second", "10", *flags, "--config-out", str(config)]
    with subprocess.Popen(  # noqa: S603 -- our own module
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        settings = json.loads(config.read_text(encoding="utf-8"))["constant_contact"]
        response = requests.post(
            f"{settings['auth_url']}/token",
            data={
                "grant_type": "refresh_token",
                "refresh_token": settings["refresh_token"],
            },
            auth=(settings["client_id"], settings["client_secret"]),
            timeout=9,
        )
        token = response.json()["access_token"]
        page = requests.get(
            f"{settings['api_url']}/account/summary",
            headers={"Authorization": f"Bearer {token}"},
            timeout=9,
        )
        process.terminate()
        process.wait(timeout=9)
    assert settings["api_url"] == f"{url}/v3"
    assert page.json()["organization_name"]
    assert settings["requests_per_second"] == 10
    rotated = response.json()["refresh_token"] != settings["refresh_token"]
    assert rotated == (settings["token_store"] != "none")
