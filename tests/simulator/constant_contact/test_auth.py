"""Tokens, the device flow and privileges of the simulated Constant Contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.constant_contact.auth import DEVICE_GRANT
from simulator.world import World
from tests.simulator.constant_contact_client import DAY, NOW, SUMMARIES, Client, connect

if TYPE_CHECKING:
    import requests

    from simulator.messages import Reply, Request


@pytest.fixture
def world() -> World:
    return World(NOW)


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_a_refresh_issues_a_new_token_and_invalidates_the_old_one(
    world: World, client: Client
) -> None:
    first = client.token
    response = client.refresh().json()
    assert response["expires_in"] == DAY
    assert response["token_type"] == "Bearer"
    assert set(response["scope"].split()) == {
        *("account_read", "campaign_data", "contact_data", "offline_access")
    }
    assert response["refresh_token"] != first
    assert not world.constant_contact.auth.is_current(first)
    assert error(client.refresh(first)) == (400, "invalid_grant")
    assert client.refresh(response["refresh_token"]).ok
    assert world.constant_contact.auth.refreshed == 2


def test_using_an_old_token_can_revoke_the_consent(
    world: World, client: Client
) -> None:
    world.constant_contact.set_policy(reuse_revokes=True)
    first = client.token
    assert client.refresh().ok
    assert error(client.refresh(first)) == (400, "invalid_grant")
    assert error(client.refresh()) == (400, "invalid_grant")
    client.token = world.constant_contact.consent()
    assert client.refresh().ok


def test_a_long_lived_token_is_not_replaced(world: World, client: Client) -> None:
    world.constant_contact.set_policy(rotating_tokens=False)
    first = client.token
    for _ in range(3):
        assert client.refresh(first).json()["refresh_token"] == first


@pytest.mark.parametrize("rotating", [True, False])
def test_a_refresh_token_expires_unused(
    world: World, client: Client, *, rotating: bool
) -> None:
    world.constant_contact.set_policy(rotating_tokens=rotating)
    for _ in range(3):
        world.clock.advance(179 * DAY)
        assert client.refresh().ok
    world.clock.advance(181 * DAY)
    assert error(client.refresh()) == (400, "invalid_grant")


def test_access_tokens_last_a_day_or_as_the_policy_says(
    world: World, client: Client
) -> None:
    assert client.refresh().ok
    world.clock.advance(DAY - 1)
    assert client.get("/emails").ok
    world.clock.advance(1)
    refused = client.get("/emails")
    assert refused.status_code == 401
    assert refused.json()["error_key"] == "unauthorized"
    world.constant_contact.set_policy(access_token_lifetime=60)
    assert client.refresh().json()["expires_in"] == 60
    world.revoke_tokens()
    assert client.get("/emails").status_code == 401
    assert client.refresh().ok


def test_only_a_client_with_the_right_secret_gets_a_token(
    world: World, client: Client
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": client.token}
    name, secret = client.basic
    for auth in ((name, "wrong"), ("wrong", secret), None):
        world.clock.advance(1)
        response = client.post("token", auth, client_id=name, **form)
        assert error(response) == (401, "invalid_client")
    world.constant_contact.set_policy(confidential=False)
    world.clock.advance(1)
    assert error(client.post("token", (name, secret), **form)) == (
        *(401, "invalid_client"),
    )
    world.clock.advance(1)
    assert client.post("token", None, client_id=name, **form).ok


def test_a_malformed_token_request_is_refused(world: World, client: Client) -> None:
    url = f"{client.base}/oauth2/default/v1/token"
    assert client.session.get(url, timeout=9).status_code == 405
    response = client.session.post(url, json={}, auth=client.basic, timeout=9)
    assert error(response) == (400, "invalid_request")
    world.clock.advance(1)
    response = client.post("token", client.basic, grant_type="password")
    assert error(response) == (400, "unsupported_grant_type")
    assert error(client.refresh(scope="everything")) == (400, "invalid_scope")
    assert client.refresh(scope="campaign_data").json()["scope"] == "campaign_data"
    assert client.get("/contacts").status_code == 403


def test_token_requests_are_limited_to_one_per_second(
    world: World, client: Client
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": client.token}
    assert client.post("token", client.basic, **form).ok
    world.clock.advance(0.9)
    assert client.post("token", client.basic, **form).status_code == 429
    world.clock.advance(0.1)
    assert error(client.post("token", client.basic, **form)) == (400, "invalid_grant")
    world.constant_contact.set_policy(token_requests_per_second=0)
    assert error(client.post("token", client.basic, **form)) == (400, "invalid_grant")


def test_a_token_is_used_up_though_its_answer_is_lost(
    world: World, client: Client
) -> None:
    def kill(request: Request, reply: Reply) -> None:
        if request.path.endswith("/token") and reply.status == 200:
            raise KeyboardInterrupt

    remove = world.on_reply(kill)
    with pytest.raises(KeyboardInterrupt):
        client.refresh()
    remove()
    assert error(client.refresh()) == (400, "invalid_grant")
    assert world.log.count("/oauth2/default/v1/token") == 2


def ask_for_a_device(client: Client, scope: str) -> dict[str, str]:
    client.world.clock.advance(1)
    response = client.post("device/authorize", client.basic, scope=scope)
    assert response.ok, response.text
    answer: dict[str, str] = response.json()
    return answer


def poll(client: Client, code: str, seconds: float = 5) -> requests.Response:
    client.world.clock.advance(seconds)
    return client.post("token", client.basic, grant_type=DEVICE_GRANT, device_code=code)


def test_the_device_flow_issues_tokens(world: World, client: Client) -> None:
    asked = ask_for_a_device(client, "campaign_data offline_access")
    assert asked["user_code"] in asked["verification_uri_complete"]
    code = asked["device_code"]
    assert error(poll(client, code)) == (400, "authorization_pending")
    assert error(poll(client, code, 2)) == (400, "slow_down")
    assert error(poll(client, code)) == (400, "slow_down")
    assert error(poll(client, code, 15)) == (400, "authorization_pending")
    world.constant_contact.approve_device(asked["user_code"])
    response = poll(client, code, 15)
    client.accept(response)
    assert client.get("/emails").ok
    assert client.refresh().ok
    assert error(poll(client, code)) == (400, "invalid_grant")


def test_the_device_flow_may_be_denied_expire_or_give_no_refresh_token(
    world: World, client: Client
) -> None:
    asked = ask_for_a_device(client, "campaign_data")
    world.constant_contact.approve_device(asked["user_code"])
    assert "refresh_token" not in poll(client, asked["device_code"]).json()
    asked = ask_for_a_device(client, "campaign_data offline_access")
    world.constant_contact.deny_device(asked["user_code"])
    assert error(poll(client, asked["device_code"])) == (400, "access_denied")
    asked = ask_for_a_device(client, "campaign_data offline_access")
    assert error(poll(client, asked["device_code"], 601)) == (400, "expired_token")
    world.clock.advance(1)
    response = client.post("device/authorize", client.basic, scope="all")
    assert error(response) == (400, "invalid_scope")
    with pytest.raises(KeyError):
        world.constant_contact.approve_device("nobody")


def test_missing_scopes_privileges_and_a_deactivated_app_are_refused(
    world: World,
) -> None:
    account = world.constant_contact
    account.set_policy(requests_per_second=0)
    account.consent("campaign_data offline_access")
    client = connect(world)
    assert client.get(SUMMARIES, limit=50).ok
    for path in ("/contacts", "/segments", "/account/summary"):
        assert client.get(path).status_code == 403
    account.set_policy(privileges=("campaign:read",))
    refused = client.get(SUMMARIES, limit=50)
    assert refused.status_code == 403
    assert refused.json()["error_key"] == "access_denied"
    assert client.get("/emails").ok
    assert client.read("/account/user/privileges") == [
        {"privilege_id": 1, "privilege_name": "campaign:read"}
    ]
    account.set_policy(deactivated=True)
    assert client.get("/account/user/privileges").status_code == 403
    with pytest.raises(ValueError, match="offline_access"):
        account.consent("campaign_data")
