"""The simulator behind a port, with Encompass and the control interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from simulator.server import serve
from simulator.truth import STREAMS, truth
from simulator.world import World
from tests.simulator.encompass_client import BASE, DAY, NOW, Client, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.server import SimulatorServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def world() -> World:
    world = World.generate(5, 3, NOW)
    world.encompass.set_policy(token_lifetime=99 * DAY)
    return world


@pytest.fixture
def server(world: World) -> Iterator[SimulatorServer]:
    with serve(world, present=lambda: NOW + 10 * DAY) as server:
        yield server


@pytest.fixture
def client(world: World, server: SimulatorServer) -> Iterator[Client]:
    client = connect(world, server.url)
    with client.session:
        yield client


class Remote:
    """A client of the control interface."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(
        self, method: str, path: str, body: object = None
    ) -> requests.Response:
        url = f"{self.client.base}/_sim/{path}"
        return self.client.session.request(method, url, json=body, timeout=9)


@pytest.fixture
def remote(client: Client) -> Remote:
    return Remote(client)


def test_adapter_and_server_answer_alike(world: World, client: Client) -> None:
    world.encompass.set_order("shuffled")
    local = connect(world, BASE)
    paths = ("/messages", "/messages/1", "/messages/2/opens", "/messages/2/links")
    for path in (*paths, "/messages/999", "/nothing"):
        ours, theirs = local.get(path), client.get(path)
        assert ours.content == theirs.content
        assert ours.status_code == theirs.status_code
        assert ours.reason == theirs.reason
        assert ours.headers.keys() == theirs.headers.keys()
        assert ours.headers["Date"] == theirs.headers["Date"]


def test_many_workers_read_the_same_rows(world: World, client: Client) -> None:
    world.encompass.set_order("shuffled")
    starts = range(0, 2400, 100)

    def read(start: int) -> list[int]:
        return client.ids("/messages/2/opens", startAt=start, maxResults=100)

    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(read, starts))
    assert pages == [read(start) for start in starts]
    assert len({row_id for page in pages for row_id in page}) == 2400


def test_the_server_keeps_connections_open(client: Client) -> None:
    with client.session.get(f"{client.base}/_sim/health", timeout=9) as response:
        assert response.raw.version == 11
    assert client.get("/messages").headers.get("Connection") is None


def test_cut_and_half_bodies_reach_a_real_socket(
    world: World, client: Client, remote: Remote
) -> None:
    rules = [{"kind": "cut", "times": 1}, {"kind": "half_body", "times": 1}]
    assert remote("POST", "faults", rules).status_code == 204
    assert [rule["kind"] for rule in remote("GET", "faults").json()] == [
        *("cut", "half_body")
    ]
    with pytest.raises(requests.ConnectionError):
        client.get("/messages")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get("/messages")
    assert client.get("/messages").ok
    assert remote("DELETE", "faults").status_code == 204
    assert world.faults.rules == []
    assert remote("POST", "faults", [{"kind": "flood"}]).status_code == 400
    assert remote("POST", "faults", {"a": 1}).status_code == 400


def test_the_clock_can_be_moved_only_up_to_the_present(remote: Remote) -> None:
    assert remote("GET", "clock").json() == {"now": NOW}
    moved = remote("POST", "clock", {"advance_days": 2})
    assert moved.json() == {"now": NOW + 2 * DAY}
    assert remote("POST", "clock", {"advance_seconds": 5}).json() == {
        "now": NOW + 2 * DAY + 5
    }
    assert remote("POST", "clock", {"now": NOW + 11 * DAY}).status_code == 400
    assert remote("POST", "clock", {"hours": 1}).status_code == 400
    assert remote("POST", "clock", [1]).status_code == 400
    assert remote("POST", "clock", {"now": NOW + 10 * DAY}).status_code == 200
    assert remote("GET", "health").json() == {"status": "ok", "now": NOW + 10 * DAY}


def test_the_truth_is_served_as_json_lines(world: World, remote: Remote) -> None:
    later = NOW + 9 * DAY
    for stream in STREAMS:
        lines = remote("GET", f"truth/{stream}").text.splitlines()
        assert [json.loads(line) for line in lines] == truth(world, stream)
    lines = remote("GET", f"truth/{stream}?at={NOW},{later}").text.splitlines()
    assert [json.loads(line) for line in lines] == truth(world, stream, [NOW, later])


def test_unknown_streams_and_paths_are_404(remote: Remote) -> None:
    assert remote("GET", "truth/opens").status_code == 404
    assert remote("GET", "truth/encompass_opens?at=soon").status_code == 400
    assert remote("GET", "nothing").status_code == 404
    assert remote("PUT", "clock").status_code == 404


def test_requests_are_counted(client: Client, remote: Remote) -> None:
    for start in (0, 1):
        client.get("/messages/2/opens", startAt=start)
    log = remote("GET", "requests").json()
    assert log["total"] == 3
    assert {
        "method": "GET",
        "path": "/v2/messages/{id}/opens",
        "status": 200,
        "count": 2,
    } in log["counts"]
    assert log["requests"][-1]["query"] == {"startAt": "1"}
    remote("DELETE", "requests")
    assert remote("GET", "requests").json()["total"] == 0


def test_a_script_of_steps_changes_the_world(client: Client, remote: Remote) -> None:
    steps = [
        {"do": "add_message", "sent": NOW, "emailName": "Scripted"},
        {"do": "add_row", "kind": "opens", "message_id": 1},
        {"do": "correct", "kind": "messages", "row_id": 1, "sentCount": 77},
        {"do": "set_order", "order": "descending", "kind": "opens"},
        {"do": "set_policy", "max_page": 5},
    ]
    message, opened, *rest = remote("POST", "script", steps).json()
    assert rest == [None, None, None]
    assert client.page(f"/messages/{message}")["emailName"] == "Scripted"
    assert client.page("/messages/1")["sentCount"] == 77
    assert client.ids("/messages/1/opens")[0] == opened
    remote("POST", "script", [{"do": "delete", "kind": "opens", "row_id": opened}])
    assert opened not in client.ids("/messages/1/opens")
    remote("POST", "script", [{"do": "revoke_tokens"}])
    assert client.get("/messages").status_code == 401
    assert remote("POST", "script", [{"do": "sing"}]).status_code == 400


def test_the_command_serves_until_told_to_stop(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    command = [sys.executable, "-m", "simulator", "--size", "1", "--config-out"]
    with subprocess.Popen(  # noqa: S603 -- our own module
        [*command, str(config)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        settings = json.loads(config.read_text(encoding="utf-8"))["encompass"]
        health = requests.get(f"{url}/_sim/health", timeout=9).json()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=9) == 0
    assert health["status"] == "ok"
    assert settings["site_url"] == settings["api_url"] == url
    assert settings["client_id"]
    assert settings["client_secret"]
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_simulator_does_not_mention_the_package_of_the_tap() -> None:
    for path in (ROOT / "simulator").glob("*.py"):
        assert "tap_email_metrics" not in path.read_text(encoding="utf-8")


def test_help_documents_the_control_interface() -> None:
    command = [sys.executable, "-m", "simulator", "--help"]
    shown = subprocess.run(  # noqa: S603 -- our own module
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for path in ("clock", "faults", "truth", "requests", "script", "health"):
        assert f"/_sim/{path}" in shown
    assert "\N{REPLACEMENT CHARACTER}" not in shown
