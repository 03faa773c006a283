"""LuxSci: signatures, auth codes, and the text of refusals."""

from __future__ import annotations

import json
import logging
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from singer_sdk.exceptions import ConfigValidationError

from simulator.adapter import SimulatorAdapter
from tap_email_metrics.providers.luxsci.auth import request_signature, signature
from tests.support.luxsci import NOW, Clinic, Sync, World

if TYPE_CHECKING:
    import io

    import requests

    from tap_email_metrics.tap import TapEmailMetrics

SECRET = "the secret"
CODE = "7-1790000000-ab"
SENT, JOBS, OPENS = ("sent",), ("jobs",), ("opens",)
REPORT = "luxsci_sent"
START = "2026-09-18"


# Signing: each signature is compared with that of openssl


def test_an_account_authentication_has_the_signature_of_openssl() -> None:
    # $ printf 'tk-1\n1790000000\n' | openssl dgst -sha256 -hmac 'the secret'
    assert signature(SECRET, "tk-1", "1790000000") == (
        "03045c2051cc3b3139cdcb9947575906cdd346c4189d95cf84f01eba93d68e3c"
    )


def test_a_user_authentication_has_the_signature_of_openssl() -> None:
    # $ printf 'tk-1\n1790000000\nann@clinic.example\npä ss\n' |
    #   openssl dgst -sha256 -hmac 'sécret'
    parts = ("tk-1", "1790000000", "ann@clinic.example", "pä ss")
    assert signature("sécret", *parts) == (
        "764e648c8859230fc12b86f37856de5b279bdbb6a8330e895f326835b40c984d"
    )


def test_a_get_with_a_query_has_the_signature_of_openssl() -> None:
    # openssl's: printf '%s\nGET\n%s\n%s\n\n' "7-1790000000-ab" \
    #   /perl/api/v2/account/4711/report/email/smtp/sent \
    #   'from_date=2026-09-01%2000%3A00%3A00&first_row=0' |
    #   openssl dgst -sha256 -hmac 'the secret'
    path = "/perl/api/v2/account/4711/report/email/smtp/sent"
    query = "from_date=2026-09-01%2000%3A00%3A00&first_row=0"
    assert request_signature(SECRET, CODE, "GET", path, query) == (
        "bd5bf1f9568e437b2160e4289b3015ba7a902eb83f869ac431b606b9bc198573"
    )


def test_a_get_without_a_query_has_the_signature_of_openssl() -> None:
    # openssl's: printf '%s\nGET\n%s\n\n\n' 7-1790000000-ab \
    #   /perl/api/v2/user/ann%2Bx%40clinic.example/report/jobs |
    #   openssl dgst -sha256 -hmac 'the secret'
    path = "/perl/api/v2/user/ann%2Bx%40clinic.example/report/jobs"
    assert request_signature(SECRET, CODE, "GET", path, "") == (
        "204bd0a1087db958951a888428d7ed80904424def576e8e5d615019e40733a7a"
    )


def test_a_delete_has_the_signature_of_openssl() -> None:
    # $ printf '%s\nDELETE\n/perl/api/v2/auth\n\n\n' 7-1790000000-ab |
    #   openssl dgst -sha256 -hmac 'the secret'
    assert request_signature(SECRET, CODE, "DELETE", "/perl/api/v2/auth", "") == (
        "8f03c836b1d4c09f84378b1882abf2d21d40fde1ddaa7358206cc8c958978507"
    )


@pytest.mark.parametrize("body", ['{"a":1}', ' {"a":1}\n'])
def test_a_body_is_signed_as_its_hash(body: str) -> None:
    # openssl's: printf '%s\nPUT\n/perl/api/v2/x\n\n%s\n' 7-1790000000-ab \
    #   $(printf '{"a":1}' | openssl dgst -sha256 -r | cut -c1-64) |
    #   openssl dgst -sha256 -hmac 'the secret'
    made = request_signature(SECRET, CODE, "PUT", "/perl/api/v2/x", "", body=body)
    assert made == "fde16012224df364fa6b504acb4f8fbf38783e90ccb079de8a018818d2fe311f"


# The sent request equals the signed one


class Wire(SimulatorAdapter):
    """Sends requests to the simulated world and keeps them."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> Any:  # type: ignore[override]
        self.sent.append(request)
        return super().send(request, **options)

    @property
    def signed(self) -> list[requests.PreparedRequest]:
        """Return the requests that carry a cookie."""
        return [one for one in self.sent if "Cookie" in one.headers]


LOGINS = [
    *("ann@clinic.example", "ann+news@clinic.example", "100%25@clinic.example"),
    *("jörg@klinik.example", "a b@clinic.example", "a/b?c#d@clinic.example"),
    *("~x_y-z.@clinic.example", "%2F@clinic.example", '"q"@clinic.example'),
]


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("scope", ["account", "user"])
def test_the_sent_request_equals_the_signed_one(login: str, scope: str) -> None:
    world = World(NOW)
    world.luxsci.add_user(login, created=NOW - 9e7, password="pä ß+%&")
    world.luxsci.add_message(sent=NOW - 9e4, login=login)
    world.luxsci.add_job(login=login, created=NOW - 9e4)
    clinic = Clinic(world, scope=scope, logins=[login])
    clinic.common["start_date"] = START
    wire = Wire(world)
    run = clinic.sync(transport=wire, streams=("sent", "marketing_urls", "jobs"))
    assert run.code == 0
    assert clinic.wrong("sent", "jobs") == []
    assert len(clinic.rows("sent")) == 1
    for request in wire.signed:
        target = str(request.path_url)
        path, _, query = target.partition("?")
        code, _, made = str(request.headers["Cookie"])[len("signature=") :].partition(
            ":"
        )
        secret = world.luxsci.secret
        parts = (secret, code, str(request.method), path, query)
        assert made == request_signature(*parts)
        assert "+" not in target
        assert " " not in target
        assert set(target) <= set(map(chr, range(33, 127)))
    dated = [r for r in wire.signed if "from_date" in str(r.url)]
    assert dated
    assert all("from_date=2026-09-" in str(r.url) for r in dated)
    assert all("%20" in str(r.url) and "%3A" in str(r.url) for r in dated)


@pytest.mark.parametrize("scope", ["account", "user"])
def test_the_at_sign_of_a_login_is_neither_encoded_when_signed_nor_when_sent(
    scope: str,
) -> None:
    """The signature is then the same whether a server decodes the path or not."""
    login = "ann@clinic.example"
    world = World(NOW)
    world.luxsci.add_user(login, created=NOW - 9e7)
    clinic = Clinic(world, scope=scope, logins=[login])
    clinic.common["start_date"] = START
    wire = Wire(world)
    run = clinic.sync(transport=wire, streams=("marketing_urls", "marketing_lists"))
    assert run.code == 0
    of_login = [r for r in wire.signed if login in str(r.path_url)]
    assert of_login
    assert not [r for r in wire.signed if "%40" in str(r.url)]
    for request in of_login:
        path, _, query = str(request.path_url).partition("?")
        cookie = str(request.headers["Cookie"]).removeprefix("signature=")
        code, _, made = cookie.partition(":")
        for reading in (path, unquote(path)):
            assert made == request_signature(
                world.luxsci.secret, code, "GET", reading, query
            )


PATHS = [
    *("/account/{account}/sent%2freport", "/account/{account}/sénts"),
    *("/account/{account}/a/../sent", '/account/{account}/"sent"', "/a;b,c=d/{acct}"),
    "/account/{account}/%zz",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_with_special_characters_are_signed_as_they_are_sent(path: str) -> None:
    clinic = Clinic(path_overrides={"getEmailSMTPSentReportAccount": path})
    clinic.common["start_date"] = START
    wire = Wire(clinic.world)
    run = clinic.sync(transport=wire, streams=SENT)
    # There is no such report, but every signature was right.
    assert run.code in {0, 1}
    statuses = {entry.status for entry in clinic.world.log.entries}
    assert statuses <= {200, 201, 404}
    assert 404 in statuses


# One auth code per run


def filled(**settings: Any) -> Clinic:
    clinic = Clinic(**settings)
    clinic.common["start_date"] = START
    for number in range(4):
        clinic.api.add_message(sent=NOW - 9e4 * (number + 1) / 2)
    if settings.get("scope") != "user":
        clinic.settings["logins"] = clinic.api.logins
    return clinic


def codes(clinic: Clinic) -> tuple[int, int]:
    """Return the number of codes that were issued, and of those still valid."""
    auth = clinic.api.auth
    good = [code for code in auth._grants if auth.is_current(code)]  # noqa: SLF001
    return auth.issued, len(good)


def test_one_code_is_used_by_all_streams_and_threads_and_then_revoked() -> None:
    clinic = filled(max_concurrency=8)
    run = clinic.sync()
    assert run.code == 0
    assert codes(clinic) == (1, 0)
    entries = clinic.world.log.entries
    assert [e.method for e in entries].count("POST") == 1
    assert entries[-1].method == "DELETE"
    assert entries[-1].status == 200
    clinic.advance(1)
    assert clinic.sync().code == 0
    assert codes(clinic) == (2, 0)


@pytest.mark.parametrize("text", ["auth has expired", "Access denied: session expired"])
@pytest.mark.parametrize("status", [401, 403, 200])
def test_a_refused_code_is_renewed_once_and_nothing_is_lost(
    status: int, text: str
) -> None:
    clinic = filled(max_concurrency=4)
    clinic.api.set_policy(auth_status=status, texts={"expired": text})
    seen = 0

    def expire(method: str, path: str, _query: Any) -> None:
        nonlocal seen
        seen += method == "GET"
        if seen == 20 and "/report/" in path:
            clinic.api.revoke()

    clinic.world.on_request(expire)
    run = clinic.sync()
    assert run.code == 0
    assert seen > 40
    assert codes(clinic) == (2, 0)
    assert clinic.wrong("delivery_status", "sent", "users") == []


def test_short_lived_codes_are_renewed_each_time() -> None:
    clinic = filled()
    clinic.api.set_policy(auth_lifetime=8.0)
    clinic.settings["requests_per_minute"] = 60
    run = clinic.sync(streams=("sent", "opens"))
    assert run.code == 0
    assert codes(clinic)[0] > 2
    assert clinic.wrong("sent") == []


def test_a_new_code_in_an_answer_does_no_harm() -> None:
    clinic = filled()
    clinic.api.set_policy(renew_every=2)
    assert clinic.sync(streams=SENT).code == 0
    assert clinic.wrong("sent") == []


def test_a_code_is_revoked_after_a_failure_too() -> None:
    clinic = filled()
    clinic.world.faults.add("status", path="/report/", status=500)
    assert clinic.sync(streams=SENT).code == 1
    assert codes(clinic) == (1, 0)


def test_a_code_is_revoked_when_the_writer_breaks() -> None:
    clinic = filled()
    tap = clinic.tap(streams=SENT)

    def broken(_message: Any) -> None:
        if codes(clinic)[0]:
            raise KeyboardInterrupt

    tap.message_writer.write_message = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        tap.execute()
    assert codes(clinic) == (1, 0)


def test_a_run_succeeds_though_its_code_cannot_be_revoked() -> None:
    clinic = filled()

    def refuse(request: Any, reply: Any) -> None:
        if request.method == "DELETE":
            reply.cut = True

    clinic.world.on_reply(refuse)
    assert clinic.sync(streams=SENT).code == 0


# Refusals: each kind has its own message

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "token": ({"token": "tk-of-others"}, "luxsci.token"),
    "secret": ({"secret": "s3cr3t-of-others"}, "luxsci.secret"),
    "password": ({"scope": "user", "password": "pw-of-others"}, "luxsci.password"),
    "scope": ({"account_id": "4712"}, "luxsci.scope"),
    "disabled": ({}, "disabled"),
    "unknown": ({}, "check luxsci.token, luxsci.secret, luxsci.scope"),
    "clock": ({}, "clock"),
}


def refused(name: str, status: int) -> tuple[Clinic, Sync]:
    world = World(NOW)
    world.luxsci.add_user("ann@clinic.example", created=NOW - 9e7)
    changes, _ = REFUSED[name]
    clinic = Clinic(world, **changes)
    clinic.settings |= changes
    clinic.api.set_policy(auth_status=status)
    if name == "scope":
        clinic.api.set_policy(access_status=status)
    if name == "disabled":
        clinic.api.set_policy(disabled=True)
    if name == "unknown":
        clinic.api.set_policy(disabled=True, texts={"disabled": "no"})
    if name == "clock":
        clinic.api.set_policy(max_skew=-1.0)
    clinic.common["start_date"] = START
    return clinic, clinic.sync(streams=("sent", "opens", "jobs"))


@pytest.mark.parametrize("status", [401, 403, 200, 400])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_credentials_are_tried_once_and_the_setting_is_named(
    name: str, status: int
) -> None:
    clinic, run = refused(name, status)
    if name == "scope" and status == 400:  # a 400 may concern one report only
        assert run.code == 1
        return
    assert run.code == 2
    messages = {report["message"] for report in run.reports.values()}
    assert all(REFUSED[name][1] in message for message in messages)
    if name != "scope":
        assert len(messages) == 1
        assert clinic.world.log.count() == 1  # not one for each stream
    others = [text for key, (_, text) in REFUSED.items() if key != name]
    for message in messages:
        assert name == "unknown" or not [t for t in others if t in message]
        assert clinic.settings["secret"] not in message
        assert clinic.settings["token"] not in message
        assert "@" not in message


@pytest.mark.parametrize(("ahead", "word"), [(900.0, "ahead of"), (-900.0, "behind")])
def test_a_wrong_clock_is_reported_with_its_error(ahead: float, word: str) -> None:
    clinic = filled()

    def other_clock(_request: Any, reply: Any) -> None:
        now = clinic.world.clock.now() - ahead
        reply.headers["Date"] = formatdate(now, usegmt=True)

    clinic.world.on_reply(other_clock)
    clinic.api.set_policy(max_skew=-1.0)
    run = clinic.sync(streams=SENT)
    assert run.code == 2
    assert f"900 s {word} LuxSci's: set it (NTP)" in run.reports[REPORT]["message"]


@pytest.mark.parametrize(
    "answer",
    [
        (201, {"success": 1}),
        (201, {"success": 1, "auth": None}),
        (201, {"success": 1, "auth": ""}),
        (201, {"success": 1, "auth": 7}),
        (201, ["x"]),
        (200, None),
        (500, {"error": "oops"}),
        (404, {"error": "not found"}),
    ],
)
def test_an_answer_without_a_code_ends_the_run_with_exit_code_2(
    answer: tuple[int, Any],
) -> None:
    clinic = filled()
    clinic.world.faults.add("status", path="/auth$", status=answer[0], body=answer[1])
    run = clinic.sync(streams=SENT)
    assert run.code == 2
    assert run.reports[REPORT]["message"].startswith("LuxSci")


@pytest.mark.parametrize("success", [1, "1", True])
def test_success_may_be_written_in_several_ways(success: Any) -> None:
    clinic = filled()

    def loosely(_request: Any, reply: Any) -> None:
        body = json.loads(reply.body)
        reply.body = json.dumps({**body, "success": success}).encode()

    clinic.world.on_reply(loosely)
    assert clinic.sync(streams=SENT).code == 0
    assert clinic.wrong("sent") == []


def test_a_throttled_authentication_is_waited_out() -> None:
    for status in (429, 200):
        clinic = filled()
        text = {"success": 0, "error_message": "too many requests"}
        clinic.world.faults.add(
            "status", path="/auth$", status=status, body=text, times=2
        )
        assert clinic.sync(streams=SENT).code == 0
        assert clinic.wrong("sent") == []


# API key


def test_an_api_key_reads_the_account_and_needs_no_code() -> None:
    clinic = filled(auth="api_key")
    wire = Wire(clinic.world)
    run = clinic.sync(transport=wire)
    assert run.code == 0
    assert codes(clinic) == (0, 0)
    key = f"{clinic.api.token}:{clinic.api.secret}"
    assert {request.headers["X-API-Key"] for request in wire.sent} == {key}
    assert {request.method for request in wire.sent} == {"GET"}
    assert clinic.wrong("sent", "delivery_status", "users") == []


@pytest.mark.parametrize("status", [401, 403, 200, 400])
@pytest.mark.parametrize("broken", ["token", "secret", "disabled"])
def test_a_wrong_api_key_fails_the_run(status: int, broken: str) -> None:
    clinic = filled(auth="api_key")
    clinic.api.set_policy(auth_status=status, disabled=broken == "disabled")
    if broken != "disabled":
        clinic.settings[broken] = "of-others-" + "x" * 20
    run = clinic.sync()
    assert run.code == (2 if status != 400 else 1)
    for report in run.reports.values():
        assert report["outcome"] == "failed"
        assert clinic.settings["secret"] not in report["message"]


def test_an_api_key_that_may_not_read_one_report_reads_the_others() -> None:
    clinic = filled(auth="api_key")
    for status in (403, 401, 200):
        clinic.api.set_policy(
            access_status=status, denied={"getEmailSMTPSentReportAccount"}
        )
        run = clinic.sync(streams=("delivery_status", "sent", "users"))
        assert run.code == 0, status
        assert run.reports["luxsci_sent"]["outcome"] in {"empty", "complete"}
        clinic.advance(1)
    assert clinic.wrong("delivery_status", "users") == []


def test_an_api_key_is_refused_in_user_scope() -> None:
    clinic = filled(auth="api_key")
    clinic.settings |= {"scope": "user", "user": "a@b.example", "password": "x"}
    with pytest.raises(ConfigValidationError) as caught:
        clinic.tap()
    assert "account scope only" in caught.value.errors[0]


# User scope


def test_a_run_as_a_user_reads_that_users_rows_only() -> None:
    world = World.generate(5, 0, NOW, luxsci=40, days_ahead=0)
    clinic = Clinic(world, scope="user")
    clinic.common["start_date"] = "2026-09-01"
    assert clinic.sync().code == 0
    names = clinic.offered()
    assert not {"users", "users_summary", "login_failures"} & {*names}
    whole = {"jobs", "marketing_lists", "marketing_contacts", "marketing_campaigns"}
    assert clinic.wrong(*{*names} - whole) == []
    rows = clinic.rows("delivery_status")
    assert rows
    assert {row["login"] for row in rows.values()} == {clinic.settings["user"]}
    assert {len(row["account"]) for row in rows.values()} == {16}
    assert clinic.settings["user"] not in json.dumps(clinic.state)


# Secrets


class Masked(Clinic):
    """An account whose tap masks secrets as the command does."""

    def tap(self, **options: Any) -> TapEmailMetrics:
        tap = super().tap(**options)
        tap.control.hide = tap.masked_log(tap.config).add  # as the command
        return tap


def secrets(clinic: Clinic) -> set[str]:
    settings = clinic.settings
    held = {settings["token"], settings["secret"], settings.get("password")}
    issued = {*clinic.api.auth._grants}  # noqa: SLF001 - all there ever were
    return {one for one in {*held, *issued, *clinic.api.logins} if one}


@pytest.mark.parametrize("scope", ["account", "user"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_secrets_that_an_answer_repeats_are_not_logged_or_written(
    lines: io.StringIO, status: int, scope: str
) -> None:
    world = World(NOW)
    world.luxsci.add_user("ann@clinic.example", created=NOW - 9e7)
    clinic = Masked(world, scope=scope)
    clinic.common["start_date"] = START
    streams = ("sent", "users_summary", "marketing_urls", "jobs")
    clinic.sync(streams=SENT)
    clinic.advance(1)

    def repeat(request: Any, reply: Any) -> None:
        if "/report" in request.path:
            reply.status = status
            said = " ".join(sorted(secrets(clinic)))
            body = {"success": 0, "error_message": said, "header": said, "data": said}
            reply.body = json.dumps(body).encode()

    clinic.world.on_reply(repeat)
    run = clinic.sync(streams=streams)
    said = lines.getvalue() + json.dumps(run.reports) + json.dumps(clinic.state)
    assert "run_summary" in said
    assert not [one for one in secrets(clinic) if one in said]


def test_a_code_is_masked_in_the_log_of_any_library(lines: io.StringIO) -> None:
    clinic = Masked()
    clinic.common["start_date"] = START
    clinic.sync(streams=SENT)
    for one in secrets(clinic):
        logging.getLogger("urllib3").debug("cookie: signature=%s:abc", one)
    said = lines.getvalue()
    assert "[secret]" in said
    assert not [one for one in secrets(clinic) if one in said]


@pytest.mark.parametrize("missing", ["token", "secret", "account_id"])
def test_a_missing_setting_is_refused_by_name(missing: str) -> None:
    clinic = Clinic()
    del clinic.settings[missing]
    with pytest.raises(ConfigValidationError) as caught:
        clinic.tap()
    assert f"luxsci.{missing} is missing" in caught.value.errors[0]
