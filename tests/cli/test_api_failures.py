"""Failures of the API: the command reports each once and goes on where it can."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from simulator.server import SimulatorServer, serve
from tap_email_metrics.streams.fan_out import FAILURES_IN_A_ROW, SAMPLE
from tests.support.cli import PERSON, config, run, run_here, small_world, write
from tests.support.encompass import STREAMS, Site, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.world import World

pytestmark = pytest.mark.slow

CANARY = "canary-4711"


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with serve(small_world()) as running:
        yield running


class _Page(BaseHTTPRequestHandler):
    """Answers all requests with one status and a page that must not be shown."""

    status = 200

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"<html>{CANARY} {PERSON}</html>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the name that http.server wants

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextmanager
def page(status: int) -> Iterator[str]:
    """Serve a page; yield the URL."""
    handler = type("Page", (_Page,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("client_secret", "check encompass.client_secret (the web services GUID)"),
        ("client_id", "check encompass.client_id (the site id)"),
    ],
)
def test_refused_credentials_name_the_setting_to_check(
    tmp_path: Path, server: SimulatorServer, setting: str, said: str
) -> None:
    ended = run_here(tmp_path, config(server, **{setting: CANARY}))
    assert ended.code == 2
    (line,) = ended.troubles
    assert "POST /apiservices/authenticate answered 400" in line
    assert said in line
    assert CANARY not in ended.err
    assert ended.of("RECORD") == []
    assert {s["outcome"] for s in ended.summary["streams"].values()} == {"failed"}
    # The credentials are refused once, not once per stream.
    assert server.world.log.count("/apiservices/authenticate") == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "answered 404"),
        (302, "redirects are not followed"),
        (200, "answered 200 without a token"),
    ],
)
def test_a_wrong_site_url_is_named_and_nothing_is_read(
    tmp_path: Path, server: SimulatorServer, status: int, said: str
) -> None:
    with page(status) as url:
        ended = run_here(tmp_path, config(server, site_url=url))
    assert ended.code == 2
    (line,) = ended.troubles
    assert said in line
    assert "check encompass.site_url (127.0.0.1)" in line
    assert CANARY not in ended.err
    assert PERSON not in ended.err


def test_a_host_that_does_not_answer_is_exit_code_2(
    tmp_path: Path, server: SimulatorServer
) -> None:
    began = time.monotonic()
    ended = run(tmp_path, config(server, site_url=closed_port()))
    assert time.monotonic() - began < 30
    assert ended.code == 2
    (line,) = ended.troubles
    assert "the connection to 127.0.0.1 failed" in line
    assert "check encompass.site_url (127.0.0.1) and the network" in line


def test_the_body_of_an_error_page_is_never_shown(
    tmp_path: Path, server: SimulatorServer
) -> None:
    with page(400) as url:
        ended = run_here(tmp_path, config(server, api_url=url))
    assert ended.code == 1
    (line,) = ended.troubles
    assert "the list of messages cannot be read: GET /v2/messages answered 400" in line
    assert CANARY not in ended.err
    assert PERSON not in ended.err
    assert ended.rows() == []


def test_a_message_that_always_fails_is_left_out_with_a_warning(
    tmp_path: Path, server: SimulatorServer
) -> None:
    faults = server.world.faults
    faults.add("status", status=400, message_id=2)
    ended = run(tmp_path, config(server))
    assert ended.code == 0, ended.err
    reports = ended.summary["streams"]
    for stream in STREAMS[1:]:
        assert reports[stream]["failed"] == [2]
        assert reports[stream]["parents"] == 2
        (line,) = [line for line in ended.troubles if f"{stream}: " in line]
        assert "message 2 was left out: GET /v2/messages/{}/" in line
    faults.clear()
    state = write(tmp_path, "state.json", ended.state)
    later = run(tmp_path, config(server), "--state", state)
    assert later.code == 0
    assert later.troubles == []
    assert_complete(server.world, ended.messages + later.messages)


def test_a_stream_fails_if_none_of_its_lists_can_be_read(tmp_path: Path) -> None:
    with serve(small_world(messages=30)) as server:
        server.world.faults.add("status", status=400, path="/opens$")
        ended = run(tmp_path, config(server, max_concurrency=1))
        asked = server.world.log.count("/v2/messages/{id}/opens")
    assert ended.code == 1
    report = ended.summary["streams"]["encompass_opens"]
    assert report["outcome"] == "failed"
    failed = len(report["failed"])
    assert f"{failed} messages in a row could not be read" in report["message"]
    # The stream is given up after a sample and the few requests in flight.
    enough = FAILURES_IN_A_ROW + SAMPLE
    assert enough <= failed == asked <= enough + 5
    # The other streams are complete.
    for stream in set(STREAMS) - {"encompass_opens"}:
        assert ended.summary["streams"][stream]["outcome"] == "complete"
        assert ended.of("RECORD", stream)
    assert ended.state


@pytest.mark.parametrize("message_id", [None, 2])
def test_lists_that_are_not_json_are_left_out(
    caplog: pytest.LogCaptureFixture, message_id: int | None
) -> None:
    # In this process with a simulated clock, because each try waits.
    site = Site(small_world())
    site.world.faults.add("not_json", path="/opens$", message_id=message_id)
    with caplog.at_level(logging.WARNING):
        sync = site.sync()
    failed = sync.reports["encompass_opens"]["failed"]
    if message_id:
        assert (sync.code, failed) == (0, [2])
        assert len(sync.records("encompass_opens")) == 6
    else:
        assert (sync.code, sorted(failed)) == (1, [1, 2, 3])
        assert "none of 3 messages could be read" in caplog.text
    assert "a body that is not JSON (3 tries)" in caplog.text
    assert "Oops" not in caplog.text
    assert len(sync.records("encompass_clicks")) == 9
    site.world.faults.clear()
    site.sync()
    assert site.differences() == []


def test_a_start_date_before_the_first_day_of_the_api_logs_a_warning(
    tmp_path: Path, server: SimulatorServer
) -> None:
    ended = run_here(tmp_path, {**config(server), "start_date": "2015-06-01"})
    assert ended.code == 0
    (line,) = ended.troubles
    assert "start_date is before 2016-01-01" in line
    assert_complete(server.world, ended.messages)


def test_a_start_date_on_the_first_day_of_the_api_logs_no_warning(
    tmp_path: Path, server: SimulatorServer
) -> None:
    ended = run_here(tmp_path, {**config(server), "start_date": "2016-01-01"})
    assert ended.code == 0
    assert ended.troubles == []


def test_being_further_behind_than_max_lag_days_is_exit_code_1(
    tmp_path: Path, server: SimulatorServer
) -> None:
    settings = {**config(server), "max_lag_days": 1}
    assert run(tmp_path, settings).code == 0
    server.world.faults.add("status", status=400, message_id=2)
    ended = run(tmp_path, settings)
    assert ended.code == 1
    assert "further behind than max_lag_days (1): encompass_opens" in ended.err
    assert ended.summary["behind_since"]


def test_a_run_out_of_time_pauses_and_the_next_run_continues(
    tmp_path: Path, server: SimulatorServer
) -> None:
    server.world.faults.add("slow", path="/(opens|clicks)$", seconds=1.5)
    settings = config(server, max_concurrency=1)
    first = run(tmp_path, {**settings, "max_run_minutes": 0.04})
    assert first.code == 0, first.err
    (line,) = first.troubles
    assert "paused: max_run_minutes is spent" in line
    assert first.summary["paused"]
    server.world.faults.clear()
    state = write(tmp_path, "state.json", first.state)
    second = run(tmp_path, settings, "--state", state)
    assert second.summary["paused"] == []
    # The second run continues where the first stopped.
    whose, stream = (message["stream"] for message in second.of("SCHEMA")[:2])
    assert whose == "email_metrics_reconciliation"
    assert next(iter(first.summary["paused"])) == stream
    assert_complete(server.world, first.messages + second.messages)


def test_the_log_holds_no_secret_and_no_personal_data(
    tmp_path: Path, server: SimulatorServer
) -> None:
    world = server.world
    world.faults.add("expire_token", path="/clicks$", times=1)
    world.faults.add("status", status=400, path="/1/opens$")
    env = {"TAP_EMAIL_METRICS_LOGLEVEL": "DEBUG"}
    ended = run(tmp_path, config(server), env=env)
    assert "| DEBUG " in ended.err
    assert PERSON in ended.out
    assert PERSON not in ended.err
    assert world.encompass.client_secret not in ended.err + ended.out
    assert world.log.count("/apiservices/authenticate", 200) > 1
    assert "eyJ" not in ended.err + ended.out


def test_the_simulators_tokens_have_the_form_that_the_test_above_looks_for(
    server: SimulatorServer,
) -> None:
    form = (
        f"grant_type=email_api_auth_key&client_id={server.world.encompass.client_id}"
        f"&client_secret={server.world.encompass.client_secret}"
    )
    head = "POST /apiservices/authenticate HTTP/1.0\r\nContent-Type: "
    head += f"application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall((head + form).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    token = json.loads(answer.partition(b"\r\n\r\n")[2])["access_token"]
    assert token.startswith("eyJ")


def assert_complete(world: World, messages: list[dict[str, object]]) -> None:
    """Check that the messages of consecutive runs hold the truth."""
    target = Target()
    target.load(messages)
    assert target.differences(world) == []
