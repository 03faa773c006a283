"""Faults of the simulator: wrong answers, slow answers, expired tokens."""

from __future__ import annotations

import pytest
import requests

from simulator.world import World
from tests.simulator.encompass_client import NOW, Client, connect

PATH = "/messages/1/opens"


@pytest.fixture
def world() -> World:
    world = World(NOW)
    world.encompass.add_message(sent=NOW - 9)
    world.encompass.add_message(sent=NOW - 8)
    for message in (1, 2):
        for _ in range(3):
            world.encompass.add_row("opens", message)
    return world


@pytest.fixture
def client(world: World) -> Client:
    return connect(world)


def statuses(client: Client, starts: list[int]) -> list[int]:
    return [client.get(PATH, startAt=start).status_code for start in starts]


def test_the_first_attempts_of_each_request_fail(world: World, client: Client) -> None:
    world.faults.add("status", status=429, retry_after="7", times=2)
    response = client.get(PATH)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert statuses(client, [0, 1, 0, 1, 1]) == [429, 429, 429, 429, 200]
    assert client.get(PATH).status_code == 429
    assert client.get(PATH).status_code == 200


def test_chance_depends_on_request_and_attempt_and_not_on_the_order(
    world: World,
) -> None:
    outcomes = []
    starts = list(range(12)) * 3
    for order in (starts, sorted(starts), sorted(starts, reverse=True)):
        world.faults.clear()
        world.faults.add("status", status=500, probability=0.5, seed=4)
        got = statuses(connect(world), order)
        pairs = list(zip(order, got, strict=True))
        outcomes.append([[s for one, s in pairs if one == each] for each in range(12)])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    flat = [status for each in outcomes[0] for status in each]
    assert 5 < flat.count(500) < 31


def test_a_rule_matches_a_path_or_a_message(world: World, client: Client) -> None:
    world.faults.add("status", status=502, message_id=2)
    world.faults.add("status", status=500, path="/clicks$")
    assert client.get("/messages/1/opens").status_code == 200
    assert client.get("/messages/2/opens").status_code == 502
    assert client.get("/messages/2").status_code == 502
    assert client.get("/messages/1/clicks").status_code == 500
    assert client.authenticate().status_code == 200
    assert world.log.count("/v2/messages/{id}/opens") == 2
    assert [e.fault for e in world.log.entries] == [
        *(None, None, "status", "status", "status", None)
    ]


def test_each_request_gets_only_the_first_rule_that_is_left(
    world: World, client: Client
) -> None:
    world.faults.add("status", status=504, times=1)
    world.faults.add("message_body", times=1)
    first, second, third = (client.get(PATH) for _ in range(3))
    assert first.json() == second.json() == {"message": "Endpoint request timed out"}
    assert (first.status_code, second.status_code) == (504, 200)
    assert third.json()["total"] == 3


def test_faults_replace_and_change_bodies(world: World, client: Client) -> None:
    world.faults.add("not_json", times=1)
    world.faults.add("wrong_shape", shape="list", times=1)
    world.faults.add("wrong_shape", times=1)
    world.faults.add("shift_total", by=2, times=1)
    world.faults.add("repeat_row", times=1)
    world.faults.add("skip_row", times=1)
    assert client.get(PATH).text.startswith("<html>")
    assert client.get(PATH).json() == ["unexpected"]
    assert "data" not in client.get(PATH).json()
    assert client.page(PATH)["total"] == 5
    assert client.ids(PATH) == [1, 1, 2]
    shorter = client.page(PATH)
    assert ([row["id"] for row in shorter["data"]], shorter["total"]) == ([2, 3], 3)


@pytest.mark.parametrize("kind", ["shift_total", "repeat_row", "skip_row"])
def test_faults_of_lists_leave_other_pages_as_they_are(
    world: World, client: Client, kind: str
) -> None:
    world.odd("page_200", path=PATH)
    world.faults.add(kind)
    assert client.get(PATH).text.startswith("<")


def test_cut_connections_and_half_bodies_raise_errors(
    world: World, client: Client
) -> None:
    world.faults.add("cut", times=1)
    world.faults.add("half_body", times=1)
    with pytest.raises(requests.ConnectionError):
        client.get(PATH)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(PATH)
    assert client.page(PATH)["total"] == 3
    assert [entry.status for entry in world.log.entries[1:]] == [0, 200, 200]


def test_slow_answers_advance_the_clock_of_the_world(
    world: World, client: Client
) -> None:
    world.faults.add("slow", seconds=5, times=1)
    assert client.get(PATH).ok
    assert world.clock.now() == NOW + 5
    world.faults.add("slow", seconds=60, times=1)
    with pytest.raises(requests.ReadTimeout):
        client.get(PATH)
    assert world.clock.now() == NOW + 14


def test_pages_above_a_size_can_be_a_504(world: World, client: Client) -> None:
    world.faults.add("max_rows", rows=2, path="/opens$")
    assert client.get(PATH).status_code == 504
    assert client.get(PATH, maxResults=3).status_code == 504
    assert client.get(PATH, maxResults=2).status_code == 200


def test_tokens_expire_and_are_revoked(world: World, client: Client) -> None:
    world.faults.add("expire_token", times=1)
    assert statuses(client, [0, 0]) == [401, 401]
    assert client.authenticate().json()["expires_in"] == 86_400
    assert statuses(client, [0]) == [200]
    world.clock.advance(86_400)
    world.encompass.set_policy(auth_failure_status=403)
    assert statuses(client, [0]) == [403]
    client.authenticate()
    assert statuses(client, [0]) == [200]
    world.revoke_tokens()
    assert statuses(client, [0]) == [403]


def test_the_word_bearer_is_case_sensitive(client: Client) -> None:
    token = client.session.headers["Authorization"]
    client.session.headers["Authorization"] = str(token).replace("Bearer", "bearer")
    assert client.get(PATH).status_code == 401
    assert client.get("/nothing").json() == {"message": "Unauthorized"}


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("client_id", "invalid_client"),
        ("client_secret", "invalid_grant"),
        ("grant_type", "unsupported_grant_type"),
    ],
)
def test_a_failed_authentication_names_the_error(
    client: Client, field: str, error: str
) -> None:
    response = client.authenticate(**{field: "x"})
    assert (response.status_code, response.json()) == (400, {"error": error})


def test_every_answer_has_the_date_of_the_world_and_its_own_request_id(
    world: World, client: Client
) -> None:
    world.faults.add("status", path="/opens$", times=1)
    responses = [client.get(PATH), client.get(PATH), client.get("/nothing")]
    assert [r.status_code for r in responses] == [503, 200, 404]
    dates = {response.headers["Date"] for response in responses}
    assert dates == {"Tue, 14 Nov 2023 22:13:20 GMT"}
    assert len({r.headers["x-amzn-RequestId"] for r in responses}) == 3


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "flood"},
        {"kind": "cut", "colour": "red"},
        {"kind": "cut", "path": "("},
        {"kind": "cut", "probability": "often"},
        {"kind": "wrong_shape", "shape": "round"},
    ],
)
def test_an_invalid_rule_is_refused(world: World, rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"unknown|regular|number"):
        world.faults.add(**rule)  # type: ignore[arg-type]
