"""Authentication, signatures and limits of the simulated LuxSci."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.luxsci.auth import body_hash, sign, to_sign
from simulator.messages import Request
from simulator.world import World
from tests.simulator.luxsci_client import (
    ACCOUNT,
    API,
    DAY,
    DELIVERY,
    NOW,
    PASSWORD,
    Client,
    connect,
)

if TYPE_CHECKING:
    import requests

SECRET = "s3cr3t-of-the-integration-0f1e2d"
LOGIN = "user1@clinic.example"
QUERY = "from_date=2026-09-21%2014%3A13%3A20&matches=0"


@pytest.fixture
def world() -> World:
    world = World(NOW)
    for _ in range(2):
        world.luxsci.add_user(created=NOW - DAY)
    world.luxsci.add_message(sent=NOW - 60, recipients=2)
    return world


@pytest.fixture
def client(world: World) -> Client:
    return connect(world)


def refusal(response: requests.Response) -> tuple[int, str]:
    body = response.json()
    assert body["success"] == 0
    return response.status_code, body["error_message"]


# Signatures printed by openssl:
#   printf 'tk\n1790000000\n' | openssl dgst -sha256 -hmac s3cr3t-of-…
#   printf 'tk\n1790000000\nuser1@clinic.example\npw\n' | (the same)
#   printf '7-1790000000-ab\nGET\n/perl/api/v2/account/4711/report/jobs\n'\
#   'from_date=2026-09-21%%2014%%3A13%%3A20&matches=0\n\n' | (the same)
#   printf '{"a":1}' | openssl dgst -sha256
VECTORS = {
    "account": "fa27b927e36887e81c78a4d0ade28bc3eb5e0fc8e4f17605dd570202692ace4d",
    "user": "74459a86b4adc67ab54b6ae27c056bfedf5f2b08961eb6a81af6342bb38fa915",
    "request": "67aa9e68c8727bd7fd1a12fc39bc9dce0c5471f0e948e3f176a19ec87dc29778",
    "body": "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862",
}


def test_signatures_are_those_of_openssl() -> None:
    assert sign(SECRET, "tk\n1790000000\n") == VECTORS["account"]
    message = f"tk\n1790000000\n{LOGIN}\npw\n"
    assert sign(SECRET, message) == VECTORS["user"]
    target = f"{API}{ACCOUNT}/report/jobs?{QUERY}"
    request = Request.parse("GET", target, {}, b"")
    message = to_sign("7-1790000000-ab", request, body_hash(b""))
    assert sign(SECRET, message) == VECTORS["request"]
    assert body_hash(b' {"a":1}\n') == VECTORS["body"]


def test_an_account_authenticates_and_revokes(world: World, client: Client) -> None:
    response = client.authenticate()
    assert response.status_code == 201
    number, epoch, digits = response.json()["auth"].split("-")
    assert (int(number), int(epoch)) == (2, NOW)
    assert int(digits, 16)
    assert client.read(DELIVERY)["count"] == 2
    assert client.revoke().json() == {"success": 1}
    assert refusal(client.get(DELIVERY)) == (401, "auth has expired")
    assert not world.luxsci.auth.is_current(client.code)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"signature": "0" * 64}, "invalid signature"),
        ({"token": "other"}, "invalid token"),
        ({"date": str(int(NOW) + 1)}, "invalid signature"),
        ({"pass": PASSWORD}, "invalid signature"),
    ],
)
def test_a_request_that_differs_from_its_signature_is_refused(
    client: Client, changed: dict[str, str], text: str
) -> None:
    assert refusal(client.authenticate(**changed)) == (401, text)


def test_the_date_of_an_authentication_may_be_a_number(client: Client) -> None:
    assert client.authenticate(date=int(NOW)).status_code == 201


def test_users_authenticate_with_their_password(client: Client) -> None:
    assert client.authenticate(LOGIN).status_code == 201
    wrong = client.authenticate(LOGIN, "wrong")
    assert refusal(wrong) == (401, "invalid user or password")
    unknown = client.authenticate("nobody@clinic.example")
    assert refusal(unknown) == (401, "invalid user or password")


@pytest.mark.parametrize(("off", "good"), [(-300, True), (301, False), (-301, False)])
def test_a_clock_may_be_a_few_minutes_wrong(world: World, off: int, good: bool) -> None:  # noqa: FBT001
    client = connect(world)
    ahead = World(NOW + off)
    ahead.luxsci.set_policy(disabled=False)
    client.world = ahead
    response = client.authenticate()
    assert response.ok == good
    if not good:
        assert refusal(response) == (401, "date is out of range")


def test_a_query_must_be_signed_as_it_is_sent(world: World, client: Client) -> None:
    plain = "from_date=2026-09-21 14:13:20"
    encoded = "from_date=2026-09-21%2014%3A13%3A20"
    path = f"{API}{DELIVERY}"
    for signed, good in ((encoded, True), (plain, False), ("", False)):
        headers = {"Cookie": client.cookie("GET", path, signed)}
        url = f"{client.base}{path}?{encoded}"
        response = client.session.get(url, headers=headers, timeout=9)
        assert response.ok == good
    headers = {"Cookie": client.cookie("POST", path, encoded)}
    response = client.session.get(url, headers=headers, timeout=9)
    assert refusal(response) == (401, "invalid signature")
    assert world.luxsci.auth.authenticated == 1


def test_a_login_in_a_path_must_be_signed_as_it_is_sent(client: Client) -> None:
    assert client.authenticate(LOGIN).ok
    path = f"{API}/user/user1%40clinic.example/report/jobs"
    headers = {"Cookie": client.cookie("GET", path)}
    url = f"{client.base}{path}"
    assert client.session.get(url, headers=headers, timeout=9).ok
    headers = {"Cookie": client.cookie("GET", path.replace("%40", "@"))}
    response = client.session.get(url, headers=headers, timeout=9)
    assert refusal(response) == (401, "invalid signature")


def test_an_api_key_reads_the_account(world: World, client: Client) -> None:
    key = f"{world.luxsci.token}:{world.luxsci.secret}"
    url = f"{client.base}{API}{DELIVERY}"
    response = client.session.get(url, headers={"X-API-Key": key}, timeout=9)
    assert response.json()["count"] == 2
    response = client.session.get(url, headers={"X-API-Key": f"{key}x"}, timeout=9)
    assert refusal(response) == (401, "invalid token")
    assert refusal(client.session.get(url, timeout=9)) == (401, "invalid signature")


def test_codes_expire_and_are_renewed(world: World, client: Client) -> None:
    world.luxsci.set_policy(auth_lifetime=60, renew_every=2)
    assert client.authenticate().ok
    assert "auth" not in client.read(DELIVERY)
    renewed = client.read(DELIVERY)["auth"]
    world.clock.advance(59)
    assert client.get(DELIVERY).ok
    world.clock.advance(1)
    assert refusal(client.get(DELIVERY)) == (401, "auth has expired")
    client.code = renewed
    assert refusal(client.get(DELIVERY)) == (401, "auth has expired")
    assert client.authenticate().ok
    world.revoke_tokens()
    assert refusal(client.get(DELIVERY)) == (401, "auth has expired")


def test_a_code_reads_what_its_scope_allows(client: Client) -> None:
    jobs, lists = "/user/{}/report/jobs", "/user/{}/marketing/v3/lists"
    assert client.get(lists.format(LOGIN)).ok
    assert refusal(client.get(jobs.format(LOGIN))) == (403, "wrong scope")
    nobody = client.get(lists.format("nobody@clinic.example"))
    assert refusal(nobody) == (403, "wrong scope")
    assert refusal(client.get("/account/1/report/jobs")) == (403, "wrong scope")
    assert client.authenticate(LOGIN).ok
    for path in (jobs, lists):
        assert client.get(path.format(LOGIN)).ok
        other = client.get(path.format("user2@clinic.example"))
        assert refusal(other) == (403, "wrong scope")
    assert refusal(client.get(DELIVERY)) == (403, "wrong scope")


def test_denied_absent_and_moved_operations_and_a_disabled_integration_are_refused(
    world: World, client: Client
) -> None:
    operation = "getEmailSMTPDeliveryStatusReportAccount"
    world.luxsci.set_policy(denied=[operation])
    assert refusal(client.get(DELIVERY)) == (403, "access denied")
    assert client.get(f"{ACCOUNT}/report/email/webmail/delivery").ok
    world.luxsci.set_policy(denied=(), absent=[operation])
    assert refusal(client.get(DELIVERY)) == (404, "not found")
    world.luxsci.set_policy(absent=(), paths={operation: "/account/{account}/x/y"})
    assert refusal(client.get(DELIVERY)) == (404, "not found")
    assert client.read(f"{ACCOUNT}/x/y")["count"] == 2
    world.luxsci.set_policy(disabled=True)
    assert refusal(client.get(DELIVERY)) == (401, "integration is disabled")
    assert refusal(client.authenticate()) == (401, "integration is disabled")


def test_a_policy_sets_status_and_text_of_refusals(
    world: World, client: Client
) -> None:
    world.luxsci.set_policy(
        auth_status=200,
        access_status=200,
        error_field="error",
        texts={"expired": "Session is over."},
        denied=["getAccountJobs"],
    )
    response = client.get(f"{ACCOUNT}/report/jobs")
    assert response.json() == {"success": 0, "error": "access denied"}
    assert response.status_code == 200
    world.revoke_tokens()
    response = client.get(DELIVERY)
    assert response.json() == {"success": 0, "error": "Session is over."}
    assert response.status_code == 200


def test_requests_per_minute_and_day_are_limited(world: World, client: Client) -> None:
    world.luxsci.set_policy(
        requests_per_minute=60, requests_per_day=100, retry_after="7"
    )
    world.clock.advance(60)
    statuses = [client.get(DELIVERY).status_code for _ in range(62)]
    assert statuses == [200] * 60 + [429] * 2
    world.clock.advance(59)
    refused = client.get(DELIVERY)
    assert refusal(refused) == (429, "too many requests")
    assert refused.headers["Retry-After"] == "7"
    world.clock.advance(1)
    statuses = [client.get(DELIVERY).status_code for _ in range(40)]
    assert statuses == [200] * 39 + [429]
    assert refusal(client.get(DELIVERY)) == (429, "daily limit reached")
    assert world.luxsci.used_today == 100
    assert world.luxsci.throttled == 3
    world.luxsci.set_policy(throttle_status=503, retry_after=None)
    refused = client.get(DELIVERY)
    assert refused.status_code == 503
    assert "Retry-After" not in refused.headers
    world.clock.advance(DAY)
    assert client.authenticate().ok
    assert client.get(DELIVERY).ok
