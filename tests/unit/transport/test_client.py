"""The client: errors by status, retries, waits, and the text of messages."""

from __future__ import annotations

import io
import logging
import math
import socket
import threading
import time
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter, HTTPAdapter

from simulator.clock import SimClock
from tap_email_metrics.clock import DAY
from tap_email_metrics.control import Control
from tap_email_metrics.errors import (
    Broken,
    Denied,
    Exhausted,
    Fatal,
    Gone,
    Retriable,
    Skippable,
    TapError,
    Terminated,
    Throttled,
    TimedOut,
)
from tap_email_metrics.transport.client import (
    MAX_WAIT,
    THROTTLED_TRIES,
    TIMEOUT,
    TRIES,
    Client,
    Unreachable,
    http_date,
    new_session,
    request_id,
    retry_after,
    send,
    wait_times,
)
from tap_email_metrics.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def go_on() -> None:
    """Let everything wait: the run has no end."""


NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
URL = "https://api.example.edu"
TEMPLATE = "/v2/messages/{}/opens"
PROPERTY = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def respond(
    request: requests.PreparedRequest,
    status: int,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"{}",
) -> requests.Response:
    """Return a response as the network gives it, with the parts that hold cookies."""
    message = Message()
    for name, value in (headers or {}).items():
        message[name] = value

    class Original:
        msg = message

        def isclosed(self) -> bool:
            return True

    raw = urllib3.HTTPResponse(
        body=io.BytesIO(b"" if status in {204, 304} else body),
        status=status,
        headers=headers or {},
        preload_content=False,
        original_response=Original(),  # type: ignore[arg-type]
    )
    return HTTPAdapter().build_response(request, raw)


class Network(BaseAdapter):
    """Gives the answers in turn and repeats the last one; keeps the requests."""

    def __init__(self, *answers: Any, body: bytes = b"{}") -> None:
        super().__init__()
        self.answers = list(answers)
        self.body = body
        self.sent: list[requests.PreparedRequest] = []
        self.options: list[dict[str, Any]] = []

    def send(
        self, request: requests.PreparedRequest, *_: Any, **options: Any
    ) -> requests.Response:
        self.options.append(options)
        self.sent.append(request)
        answer = self.answers[min(len(self.sent), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return respond(request, status, headers, self.body)

    def close(self) -> None:
        """Nothing is open."""


class Tokens:
    """Gives a new token at each renewal."""

    def __init__(self) -> None:
        self.number = 1
        self.refused: list[Mapping[str, str]] = []

    def headers(self, _client: Client, _url: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer token-{self.number}"}

    def renew(
        self,
        refused: Mapping[str, str],
        client: Client,  # noqa: ARG002 - the next request obtains them
    ) -> None:
        self.refused.append(refused)
        self.number += 1


class Rig:
    """A client with its limits, clock, tokens and network."""

    def __init__(self, *answers: Any, body: bytes = b"{}") -> None:
        self.clock = SimClock(NOW)
        self.control = Control(self.clock, logging.getLogger("tap-email-metrics"))
        self.network = Network(*answers, body=body)
        self.tokens = Tokens()
        self.limits = Limits(
            clock=self.clock,
            check=self.control.check,
            requests_per_second=None,
            max_concurrency=4,
        )
        self.client = Client(
            URL,
            self.tokens,
            self.limits,
            self.control,
            new_session(self.network, self.control.check),
        )

    def get(self, **options: Any) -> bytes:
        return self.client.get(TEMPLATE, (7,), {"startAt": 0}, parse=bytes, **options)


# Errors by status


@pytest.mark.parametrize(
    ("status", "error", "sent"),
    [
        *[(status, Skippable, 1) for status in (201, 204, 400, 402, 405, 409, 422)],
        *[(status, Skippable, 1) for status in (300, 301, 302, 304, 307, 308)],
        *[(status, Denied, 2) for status in (401, 403)],
        *[(status, Gone, 1) for status in (404, 410)],
        *[(s, Broken, TRIES) for s in (408, 500, 501, 502, 503, 504, 599)],
        (429, Broken, THROTTLED_TRIES),
    ],
)
def test_each_status_has_its_error_and_its_number_of_tries(
    status: int, error: type[TapError], sent: int
) -> None:
    rig = Rig(status)
    with pytest.raises(TapError) as caught:
        rig.get()
    assert type(caught.value) is error
    assert len(rig.network.sent) == sent == rig.limits.sent
    assert f"GET {TEMPLATE} answered {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((408, TimedOut), (504, TimedOut), (429, Throttled), (500, Retriable)),
        *((502, Retriable), (503, Retriable), (511, Retriable)),
    ],
)
def test_a_temporary_failure_is_tried_again(status: int, kind: type[Retriable]) -> None:
    rig = Rig(status, 200)
    seen: list[Retriable] = []
    assert rig.get(before_retry=seen.append) == b"{}"
    assert [type(error) for error in seen] == [kind]


def test_a_200_is_returned_after_one_authenticated_request() -> None:
    rig = Rig(200, body=b"[1]")
    assert rig.get() == b"[1]"
    [request] = rig.network.sent
    assert request.url == f"{URL}/v2/messages/7/opens?startAt=0"
    assert request.headers["Authorization"] == "Bearer token-1"
    assert rig.network.options[0]["timeout"] == TIMEOUT
    assert TIMEOUT[1] > 30


def test_ids_are_quoted_and_the_url_has_no_double_slash() -> None:
    rig = Rig(200)
    session = rig.client._session  # noqa: SLF001
    client = Client(f"{URL}//", rig.tokens, rig.limits, rig.control, session)
    client.get("/x/{}/{}", ("a/b?c", "é"), parse=bytes)
    assert rig.network.sent[0].url == f"{URL}/x/a%2Fb%3Fc/%C3%A9"


def test_a_body_that_cannot_be_parsed_is_fetched_again() -> None:
    rig = Rig(200)

    def parse(_: bytes) -> None:
        if len(rig.network.sent) < 3:
            raise TimedOut("a body that is not JSON", 7)

    seen: list[Retriable] = []
    rig.client.get(TEMPLATE, (7,), parse=parse, before_retry=seen.append)
    assert len(rig.network.sent) == 3
    for error in seen:
        assert type(error) is TimedOut
        assert error.retry_after == 7
        assert str(error) == f"GET {TEMPLATE} answered 200 with a body that is not JSON"


@pytest.mark.parametrize("place", ["https://elsewhere.example.org/", "http://[", ""])
def test_a_redirect_is_refused(place: str) -> None:
    rig = Rig((302, {"Location": place}))
    with pytest.raises(Skippable, match="redirects are not followed"):
        rig.get()
    with pytest.raises(Fatal, match="redirects are not followed"):
        rig.client.get("/v2/messages", parse=bytes)
    assert len(rig.network.sent) == 2


# Authentication


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_replaced_once(status: int) -> None:
    rig = Rig(status, 200)
    assert rig.get() == b"{}"
    sent = [request.headers["Authorization"] for request in rig.network.sent]
    assert sent == ["Bearer token-1", "Bearer token-2"]
    assert rig.tokens.refused == [{"Authorization": "Bearer token-1"}]


@pytest.mark.parametrize("status", [401, 403])
def test_tokens_are_not_renewed_for_ever_when_renewal_does_not_help(
    status: int,
) -> None:
    rig = Rig(status)
    for parent in range(5):
        with pytest.raises(Denied, match="with a fresh token"):
            rig.get()
        assert len(rig.tokens.refused) == min(parent + 1, 3)
    with pytest.raises(Denied):
        rig.client.get("/v2/messages", parse=bytes)
    assert len(rig.tokens.refused) == 4


def test_one_success_allows_new_token_renewals() -> None:
    """Three renewals in vain in a row are the limit, not three in the whole run."""
    rig = Rig(*[403] * 4, 200, 403)
    for _ in range(2):
        with pytest.raises(Denied):
            rig.get()
    assert rig.get() == b"{}"
    renewals = []
    for _ in range(4):
        with pytest.raises(Denied):
            rig.get()
        renewals.append(len(rig.tokens.refused))
    assert renewals == [3, 4, 5, 5]


# Connections


def refused() -> Exception:
    pool = urllib3.HTTPSConnectionPool("api.example.edu")
    connection = urllib3.connection.HTTPSConnection("api.example.edu")
    reason = urllib3.exceptions.NewConnectionError(connection, "refused ?startAt=9")
    error = urllib3.exceptions.MaxRetryError(pool, "/v2?startAt=9", reason)
    return requests.exceptions.ConnectionError(error)


def unresolved() -> Exception:
    pool = urllib3.HTTPSConnectionPool("api.example.edu")
    connection = urllib3.connection.HTTPSConnection("api.example.edu")
    reason = urllib3.exceptions.NameResolutionError(
        "api.example.edu", connection, socket.gaierror(-2, "unknown")
    )
    error = urllib3.exceptions.MaxRetryError(pool, "/v2?startAt=9", reason)
    return requests.exceptions.ConnectionError(error)


def untrusted() -> Exception:
    import ssl  # noqa: PLC0415 - for this case alone

    pool = urllib3.HTTPSConnectionPool("api.example.edu")
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    reason = urllib3.exceptions.SSLError(inner)
    error = urllib3.exceptions.MaxRetryError(pool, "/v2?startAt=9", reason)
    return requests.exceptions.SSLError(error)


def without_tls() -> Exception:
    import ssl  # noqa: PLC0415 - likewise

    pool = urllib3.HTTPSConnectionPool("api.example.edu")
    inner = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    reason = urllib3.exceptions.SSLError(inner)
    error = urllib3.exceptions.MaxRetryError(pool, "/v2?startAt=9", reason)
    return requests.exceptions.SSLError(error)


def cut() -> Exception:
    inner = ConnectionResetError(104, "Connection reset by peer")
    reason = urllib3.exceptions.ProtocolError("Connection aborted.", inner)
    return requests.exceptions.ConnectionError(reason)


@pytest.mark.parametrize("make", [refused, unresolved, untrusted, without_tls])
def test_a_host_that_cannot_be_reached_is_fatal(make: Callable[[], Exception]) -> None:
    rig = Rig(make())
    seen: list[Retriable] = []
    with pytest.raises(Fatal, match=r"api\.example\.edu") as caught:
        rig.get(before_retry=seen.append)
    assert {type(error) for error in seen} == {Unreachable}
    assert len(rig.network.sent) == TRIES
    assert f"({TRIES} tries)" in str(caught.value)
    assert "startAt" not in str(caught.value)


def test_a_connection_that_times_out_is_fatal() -> None:
    rig = Rig(requests.exceptions.ConnectTimeout("startAt"))
    with pytest.raises(Fatal, match="cannot connect"):
        rig.get()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.exceptions.ReadTimeout("x?startAt=1"), TimedOut),
        (cut(), Retriable),
        (requests.exceptions.ChunkedEncodingError("x?startAt=1"), Retriable),
        (requests.exceptions.ContentDecodingError("x?startAt=1"), Retriable),
        (requests.exceptions.InvalidHeader("x?startAt=1"), Retriable),
        (requests.exceptions.ConnectionError("x?startAt=1"), Retriable),
    ],
    ids=repr,
)
def test_other_failures_skip_this_path_only(
    error: Exception, kind: type[Retriable]
) -> None:
    rig = Rig(error)
    seen: list[Retriable] = []
    with pytest.raises(Skippable) as caught:
        rig.get(before_retry=seen.append)
    assert {type(error) for error in seen} == {kind}
    assert len(rig.network.sent) == TRIES
    assert "startAt" not in str(caught.value)


def test_a_body_that_stalls_counts_as_a_timeout() -> None:
    """`requests` raises ConnectionError if an answer begins and then stalls."""
    pool = urllib3.HTTPSConnectionPool("api.example.edu")
    reason = urllib3.exceptions.ReadTimeoutError(pool, "/v2", "Read timed out.")
    rig = Rig(requests.exceptions.ConnectionError(reason), 200)
    seen: list[Retriable] = []
    rig.get(before_retry=seen.append)
    assert [type(error) for error in seen] == [TimedOut]


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    """A real connection raises the exceptions that the tests above make."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v2/messages/7"
        with pytest.raises(Unreachable) as caught:
            send(
                new_session(None, go_on),
                "GET",
                url,
                "GET /v2/messages/{}",
                {"startAt": 9},
            )
    assert str(caught.value) == (
        "GET /v2/messages/{}: the connection to 127.0.0.1 failed (NewConnectionError)"
    )


# Waiting


@given(st.integers(1, 20))
@PROPERTY
def test_waits_between_tries_are_random_up_to_a_growing_bound(attempt: int) -> None:
    waits = [wait_times(Retriable("x"), attempt) for _ in range(20)]
    assert all(0 <= seconds <= min(2**attempt, MAX_WAIT) for seconds in waits)
    assert len(set(waits)) > 1


@given(st.floats(0, 1e9), st.integers(1, 20))
@PROPERTY
def test_retry_after_is_honoured_up_to_five_minutes(
    seconds: float, attempt: int
) -> None:
    asked, longest = min(seconds, 300), min(2**attempt, MAX_WAIT)
    assert asked <= wait_times(Retriable("x", seconds), attempt) <= max(asked, longest)
    assert wait_times(Throttled("x", seconds), attempt) == max(asked, longest)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("7", 7.0), (" 7 ", 7.0), ("0", 0.0), ("", None), ("soon", None)),
        *(("-5", None), ("1.5", 1.5), ("NaN", None), ("9" * 400, 1e100)),
        *(("inf", math.inf), ("-inf", None), ("1e9", 1e9), ("soon " * 99, None)),
        ("Mon, 21 Sep 1926 14:14:20 GMT", 0.0),
        ("Mon, 99 Sep 2026 99:99:99 GMT", None),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2026 14:12:20 GMT", 0.0),
        ("Mon, 21 Sep 2026 14:14:20 +0000", 60.0),
        ("Mon, 21 Sep 2026 16:14:20 +0200", 60.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    text: str, seconds: float | None
) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = text
    assert retry_after(response, NOW) == pytest.approx(seconds)
    assert retry_after(requests.Response(), NOW) is None


@pytest.mark.parametrize("own", [NOW, NOW - 400 * DAY, NOW + 400 * DAY])
def test_a_date_in_retry_after_is_relative_to_the_servers_clock(own: float) -> None:
    response = requests.Response()
    response.headers["Date"] = "Mon, 21 Sep 2026 14:13:20 GMT"
    response.headers["Retry-After"] = "Mon, 21 Sep 2026 14:14:20 GMT"
    assert retry_after(response, own) == 60


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("asked", ["0", "-1", "NaN", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_no_retry_after_value_switches_the_back_off_off(
    status: int, asked: str
) -> None:
    waits = []
    for _ in range(3):
        rig = Rig((status, {"Retry-After": asked}), body=b"")
        with pytest.raises(Skippable):
            rig.get()
        waits.append(rig.clock.now() - NOW)
    tries = THROTTLED_TRIES if status == 429 else TRIES
    longest = sum(min(2**attempt, MAX_WAIT) for attempt in range(1, tries))
    assert 0.05 * longest < max(waits) <= longest + 1


@pytest.mark.parametrize("asked", ["9" * 300, "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_ends_at_max_run_minutes(asked: str) -> None:
    rig = Rig((503, {"Retry-After": asked}), body=b"")
    rig.control.deadline = NOW + 45
    with pytest.raises(Exhausted, match="max_run_minutes"):
        rig.get()
    assert rig.clock.now() == pytest.approx(NOW + 45, abs=1)


def test_one_absurd_date_does_not_move_the_servers_clock() -> None:
    right = (200, {"Date": "Mon, 21 Sep 2026 14:13:20 GMT"})
    absurd = (200, {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    rig = Rig(right, right, absurd, right, right)
    for _ in range(5):
        rig.get()
        assert rig.client.server_time == pytest.approx(0, abs=1)


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
@pytest.mark.parametrize(
    "text",
    [
        "Mon, 21 Sep 2026 14:13:20 GMT",
        "Monday, 21-Sep-26 14:13:20 GMT",
        "Mon Sep 21 14:13:20 2026",
        "Mon, 21 Sep 2026 14:13:20 -0000",
        "Mon, 21 Sep 2026 14:13:20",
    ],
)
def test_an_http_date_is_in_utc_in_any_time_zone_of_the_machine(text: str) -> None:
    assert http_date(text) == NOW


@given(st.text(st.characters(max_codepoint=255)) | st.text("MonSep:, 0123456789+-GT"))
@PROPERTY
def test_any_header_is_a_date_or_none(text: str) -> None:
    assert http_date(text) is None or isinstance(http_date(text), float)
    assert http_date(None) is None


def at_once(limits: Limits) -> int:
    """Return how many requests may be in flight now."""
    return limits._gate.limit  # noqa: SLF001 - seen from outside only by waiting


@pytest.mark.parametrize("asked", [7, 100, 4000])
def test_a_429_makes_all_requests_wait_as_long_as_retry_after_says(asked: int) -> None:
    rig = Rig((429, {"Retry-After": str(asked)}), 200)
    rig.get()
    waited = rig.clock.now() - NOW
    assert waited == pytest.approx(min(asked, 300), abs=0.01)
    assert at_once(rig.limits) < 4


def test_waits_grow_with_each_429_in_a_row() -> None:
    waits = [wait_times(Throttled("x"), attempt) for attempt in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[0] > 0
    assert waits[-1] == MAX_WAIT
    rig = Rig(429, 200)
    rig.get()
    assert rig.clock.now() - NOW == pytest.approx(waits[0], abs=0.01)


def test_a_wait_ends_when_the_run_is_stopped() -> None:
    rig = Rig((429, {"Retry-After": "200"}), 200)

    class Impatient(SimClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now() >= NOW + 5:
                rig.control.stop.set()

    rig.clock = rig.client._clock = Impatient(NOW)  # noqa: SLF001
    with pytest.raises(Terminated):
        rig.get()
    assert rig.clock.now() <= NOW + 6


def test_the_parameters_may_be_changed_before_a_retry() -> None:
    rig = Rig(504, 504, 200)
    params: dict[str, int | str] = {"maxResults": 1000}

    def halve(_: Retriable) -> None:
        params["maxResults"] = int(params["maxResults"]) // 2

    rig.client.get("/v2/messages", (), params, parse=bytes, before_retry=halve)
    asked = [str(request.url).rpartition("=")[2] for request in rig.network.sent]
    assert asked == ["1000", "500", "250"]


def test_a_request_with_one_try_is_not_repeated() -> None:
    rig = Rig(500)
    with pytest.raises(Skippable, match=r"\(1 tries\)"):
        rig.get(tries=1)
    assert len(rig.network.sent) == 1
    assert rig.clock.now() == NOW


def test_a_timeout_gets_all_tries_because_each_asks_for_fewer_rows() -> None:
    rig = Rig(504)
    with pytest.raises(Skippable, match=rf"\({TRIES} tries\)"):
        rig.get(tries=1, before_retry=lambda _: None)
    assert len(rig.network.sent) == TRIES


@pytest.mark.parametrize("kind", ["InvalidURL", "MissingSchema", "InvalidSchema"])
def test_an_invalid_url_is_fatal_without_a_second_try(kind: str) -> None:
    rig = Rig(getattr(requests.exceptions, kind)("canary"))
    with pytest.raises(Fatal, match="check the settings") as caught:
        rig.get()
    assert "canary" not in str(caught.value)
    assert len(rig.network.sent) == 1


def test_successes_allow_more_requests_at_once_again() -> None:
    rig = Rig(500, 200)
    rig.get()
    before = at_once(rig.limits)
    for _ in range(10):
        rig.get()
    assert at_once(rig.limits) > before


# Sessions


def test_cookies_are_never_sent_back() -> None:
    cookie = {"Set-Cookie": "id=secret; Path=/"}
    careless = requests.Session()
    careless.mount("https://", Network((200, cookie)))
    careless.get(URL, timeout=9)
    assert careless.cookies
    rig = Rig((200, cookie))
    rig.get()
    rig.get()
    assert "Cookie" not in rig.network.sent[1].headers


def test_a_netrc_never_replaces_the_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine api.example.edu login someone password else\n")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    careless, network = requests.Session(), Network(200)
    careless.mount("https://", network)
    careless.get(URL, timeout=9)
    assert network.sent[0].headers["Authorization"].startswith("Basic ")
    rig = Rig(200)
    rig.get()
    assert rig.network.sent[0].headers["Authorization"] == "Bearer token-1"
    session = new_session(rig.network, rig.control.check)
    send(session, "POST", URL, "POST /", data={"a": "b"})
    assert "Authorization" not in rig.network.sent[1].headers


def test_threads_share_a_client() -> None:
    rig = Rig(200)
    threads = [threading.Thread(target=rig.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert rig.limits.sent == len(rig.network.sent) == 8


# The text of messages


CANARIES = ("canary-path", "canary-query", "canary-body", "canary-token", "canary-head")


class Canaries(Tokens):
    def headers(self, _client: Client, _url: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer canary-token-{self.number}"}


bad_statuses = st.integers(201, 599).filter(lambda status: status != 200)
named = (
    *("ReadTimeout", "ConnectTimeout", "ChunkedEncodingError", "ConnectionError"),
    *("InvalidURL", "InvalidHeader", "TooManyRedirects", "ProxyError"),
)
troubles = st.sampled_from([refused, unresolved, untrusted, cut]) | st.sampled_from(
    named
).map(
    lambda name: lambda: getattr(requests.exceptions, name)("canary-path?canary-query")
)


@given(bad_statuses | troubles, st.sampled_from(["x-amzn-requestid", "X-Request-Id"]))
@PROPERTY
def test_messages_hold_only_the_template_status_and_request_id(
    caplog: pytest.LogCaptureFixture, trouble: Any, name: str
) -> None:
    headers = {name: "id-of-request-1", "X-Other": "canary-head"}
    answer = (trouble, headers) if isinstance(trouble, int) else trouble()
    rig = Rig(answer, body=b'{"message": "canary-body"}')
    rig.client._authenticator = Canaries()  # noqa: SLF001
    caplog.clear()
    caplog.set_level(logging.DEBUG, "tap-email-metrics")
    with pytest.raises(TapError) as caught:
        rig.client.get(TEMPLATE, ("canary-path",), {"q": "canary-query"}, parse=bytes)
    error: BaseException | None = caught.value
    said = [record.getMessage() for record in caplog.records]
    while isinstance(error, TapError):
        said.append(str(error))
        error = error.__cause__
    for line in said:
        assert f"GET {TEMPLATE}" in line
        assert not any(canary in line for canary in CANARIES)
        if isinstance(trouble, int):
            assert str(trouble) in line
            assert "(request 'id-of-request-1')" in line


@given(st.text(st.characters(max_codepoint=255), max_size=200))
@PROPERTY
def test_a_request_id_is_short_and_one_line(text: str) -> None:
    response = requests.Response()
    response.headers["x-request-id"] = text
    line = request_id(response)
    assert line in {"", f" (request {text!r})"}
    assert not set(text) & set(" \n@'") or not line
    assert len(line) <= 64 + 13


def test_a_request_id_header_that_may_be_personal_is_not_repeated() -> None:
    response = requests.Response()
    for text in ("Zebulon", "jane@x.org", "Jane 7", "7" * 65):
        response.headers["x-request-id"] = text
        assert not request_id(response)
