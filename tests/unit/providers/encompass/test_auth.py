"""Encompass tokens: lifetime, renewal, and the text of refusals."""

from __future__ import annotations

import json
import logging
import threading
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from simulator.clock import SimClock
from tap_email_metrics.clock import DAY
from tap_email_metrics.control import Control
from tap_email_metrics.errors import AuthenticationFailed, Terminated
from tap_email_metrics.providers.encompass.auth import EncompassAuthenticator
from tap_email_metrics.providers.encompass.settings import EncompassSettings
from tap_email_metrics.transport.client import Client, new_session
from tap_email_metrics.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_790_000_000.0
SECRET = "canary-secret"
PROPERTY = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)


class Site(BaseAdapter):
    """Issues a token at each request, unless `answer` is set."""

    def __init__(self, clock: SimClock) -> None:
        super().__init__()
        self.clock = clock
        self.sent: list[requests.PreparedRequest] = []
        self.lock = threading.Lock()
        self.expires: Any = 86_400
        self.answer: tuple[int, bytes] | Exception | None = None
        self.headers: dict[str, str] = {}

    def send(
        self, request: requests.PreparedRequest, *_: Any, **__: Any
    ) -> requests.Response:
        with self.lock:
            self.sent.append(request)
            number = len(self.sent)
        if isinstance(self.answer, Exception):
            raise self.answer
        body = {"access_token": f"jwt-{number}", "token_type": "bearer"}
        if self.expires is not None:
            body["expires_in"] = self.expires
        response = requests.Response()
        response.status_code, response._content = self.answer or (  # noqa: SLF001
            200,
            json.dumps(body).encode(),
        )
        response.headers.update(self.headers)
        return response

    def close(self) -> None:
        """Nothing is open."""


class Rig:
    """An authenticator with its client, clock and site."""

    def __init__(self) -> None:
        self.clock = SimClock(NOW)
        self.control = Control(self.clock, logging.getLogger("tap-email-metrics"))
        self.site = Site(self.clock)
        parsed = EncompassSettings.parse(
            {
                "site_url": "https://site.example.edu/",
                "client_id": "1234",
                "client_secret": SECRET,
            }
        )
        assert parsed is not None
        session = new_session(self.site, self.control.check)
        self.authenticator = EncompassAuthenticator(parsed, session, self.control)
        self.limits = Limits(
            clock=self.clock,
            check=self.control.check,
            requests_per_second=None,
            max_concurrency=4,
        )
        self.client = Client(
            parsed.api_url, self.authenticator, self.limits, self.control, session
        )

    def headers(self) -> Mapping[str, str]:
        return self.authenticator.headers(self.client, "")

    def token(self) -> str:
        return self.headers()["Authorization"]

    def refusal(self) -> str:
        with pytest.raises(AuthenticationFailed) as caught:
            self.headers()
        return str(caught.value)


def test_the_token_request_is_the_documented_one() -> None:
    rig = Rig()
    assert rig.headers() == {"Authorization": "Bearer jwt-1"}
    [request] = rig.site.sent
    assert request.method == "POST"
    assert request.url == "https://site.example.edu/apiservices/authenticate"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in request.headers
    assert parse_qs(str(request.body)) == {
        "client_id": ["1234"],
        "client_secret": [SECRET],
        "grant_type": ["email_api_auth_key"],
    }
    assert rig.limits.sent == 1


@given(st.floats(1, 1e9))
@PROPERTY
def test_a_token_is_renewed_shortly_before_it_expires(life: float) -> None:
    rig = Rig()
    rig.site.expires = life
    early = min(300.0, life / 10)
    rig.token()
    rig.clock.advance((life - early) * 0.999)
    assert rig.token() == "Bearer jwt-1"
    rig.clock.advance((life - early) * 0.001 + early / 2)
    assert rig.token() == "Bearer jwt-2"


@pytest.mark.parametrize("expires", ["86400", 86400, 86400.0])
def test_a_lifetime_may_be_text(expires: Any) -> None:
    rig = Rig()
    rig.site.expires = expires
    rig.token()
    rig.clock.advance(86_400 - 301)
    assert rig.token() == "Bearer jwt-1"
    rig.clock.advance(2)
    assert rig.token() == "Bearer jwt-2"


@pytest.mark.parametrize("expires", [None, 0, -5, "", "soon", "NaN", "inf", 63_072_000])
def test_a_token_without_a_readable_lifetime_is_used_until_it_is_refused(
    expires: Any,
) -> None:
    rig = Rig()
    rig.site.expires = expires
    rig.token()
    rig.clock.advance(700 * DAY)
    headers = rig.headers()
    assert headers["Authorization"] == "Bearer jwt-1"
    rig.authenticator.renew(headers, rig.client)
    assert rig.token() == "Bearer jwt-2"


def test_setting_the_clock_back_does_not_end_a_token() -> None:
    rig = Rig()
    rig.token()
    rig.clock.set(NOW - 99 * DAY)
    assert rig.token() == "Bearer jwt-1"


def test_a_refused_token_is_replaced_once() -> None:
    rig = Rig()
    old = rig.headers()
    rig.authenticator.renew(old, rig.client)
    rig.authenticator.renew(old, rig.client)
    assert rig.token() == "Bearer jwt-2"
    rig.authenticator.renew(old, rig.client)
    assert rig.token() == "Bearer jwt-2"
    assert len(rig.site.sent) == 2


def test_many_threads_share_one_token() -> None:
    rig = Rig()
    ready = threading.Barrier(8)
    tokens: list[str] = []

    def work() -> None:
        for _ in range(3):
            ready.wait(20)
            headers = rig.headers()
            tokens.append(headers["Authorization"])
            ready.wait(20)
            rig.authenticator.renew(headers, rig.client)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(tokens) == [f"Bearer jwt-{n}" for n in (1, 2, 3) for _ in range(8)]
    assert len(rig.site.sent) == 3


# Refusals


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("invalid_client", "check encompass.client_id (the site id)"),
        ("invalid_grant", "check encompass.client_secret"),
        ("unsupported_grant_type", "ask the vendor"),
        ("canary-code", "check encompass.client_id and encompass.client_secret"),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_names_the_setting_to_check(
    status: int, code: str, hint: str
) -> None:
    rig = Rig()
    rig.site.answer = (status, json.dumps({"error": code}).encode())
    rig.site.headers["x-request-id"] = "abc1"
    said = rig.refusal()
    assert hint in said
    assert f"POST /apiservices/authenticate answered {status}" in said
    assert "(request 'abc1')" in said
    assert "canary" not in said
    assert len(rig.site.sent) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"no JSON", b"[]", b"5", b'{"error": 5}', b'{"error": ["x"]}', b"\xff"],
)
def test_a_refusal_with_any_body_names_the_settings_to_check(body: bytes) -> None:
    rig = Rig()
    rig.site.answer = (400, body)
    assert "check encompass.client_id and encompass.client_secret" in rig.refusal()


def test_a_refused_authentication_is_not_tried_again() -> None:
    rig = Rig()
    rig.site.answer = (400, b'{"error": "invalid_grant"}')
    first = rig.refusal()
    rig.site.answer = None
    assert rig.refusal() == first
    assert len(rig.site.sent) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"canary-body"),
        (404, b"canary-body"),
        (302, b"canary-body"),
        (200, b"<html>canary-body"),
        (200, b'{"token": "canary-body"}'),
        (200, b"[]"),
        requests.exceptions.ReadTimeout("canary"),
        requests.exceptions.ConnectTimeout("canary"),
        requests.exceptions.ConnectionError("canary"),
    ],
    ids=repr,
)
def test_an_unusable_site_names_the_site_url_setting(
    answer: tuple[int, bytes] | Exception,
) -> None:
    rig = Rig()
    rig.site.answer = answer
    said = rig.refusal()
    assert "check encompass.site_url (site.example.edu)" in said
    assert "canary" not in said
    tries = len(rig.site.sent)
    assert tries <= 6
    assert rig.refusal() == said
    assert len(rig.site.sent) == tries


def test_a_temporary_failure_of_authentication_is_tried_again() -> None:
    rig = Rig()
    rig.site.answer = (503, b"")

    class Patient(SimClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            rig.site.answer = None

    rig.client._clock = Patient(NOW)  # noqa: SLF001
    assert rig.token().startswith("Bearer jwt-")
    assert rig.token() == f"Bearer jwt-{len(rig.site.sent)}"


def test_the_end_of_the_run_does_not_count_as_a_refusal() -> None:
    rig = Rig()
    rig.control.stop.set()
    for _ in range(2):
        with pytest.raises(Terminated):
            rig.headers()
    assert rig.site.sent == []


# The server's clock


@pytest.mark.parametrize("skew", [-7200, 0, 7200])
def test_the_difference_to_the_servers_clock_is_measured(skew: int) -> None:
    rig = Rig()
    assert rig.client.server_time is None
    rig.site.headers["Date"] = formatdate(NOW + skew, usegmt=True)
    rig.token()
    assert rig.client.server_time == skew


@pytest.mark.parametrize("date", [None, "", "today"])
def test_without_a_readable_date_header_the_servers_clock_is_unknown(
    date: str | None,
) -> None:
    rig = Rig()
    if date is not None:
        rig.site.headers["Date"] = date
    rig.token()
    assert rig.client.server_time is None


def test_an_error_holds_no_secret() -> None:
    rig = Rig()
    echo = msgspec.json.encode({"error": "invalid_grant", "message": SECRET})
    rig.site.answer = (400, echo)
    assert SECRET not in rig.refusal()
