"""Answers and variables that could delay the command or cause a traceback."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from simulator.server import serve
from tap_email_metrics.transport.environment import CERTIFICATES
from tests.support.cli import config, run, small_world, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


class _Drip(BaseHTTPRequestHandler):
    """Sends an endless body one byte at a time."""

    ended: threading.Event
    head: bytes

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.wfile.write(self.head)
        while not self.ended.wait(0.05):
            self.wfile.write(b"x")

    do_GET = do_POST = _answer  # noqa: N815 - the name that http.server wants

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, address: object) -> None:
        """Log nothing: the tap cuts connections."""


HEADS = {
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    "header": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "error": b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n",
}


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """Serve an endless answer; yield the URL."""
    ended = threading.Event()
    handler = type("Drip", (_Drip,), {"ended": ended, "head": head})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("url", ["api_url", "site_url"])
def test_an_answer_that_drips_ends_at_max_run_minutes(
    tmp_path: Path, url: str, head: bytes
) -> None:
    with serve(small_world()) as server, dripping(head) as slow:
        settings = config(server, **{url: slow})
        ended = run(tmp_path, {**settings, "max_run_minutes": 0.03})
    assert ended.code == 0
    (line,) = ended.troubles
    assert "paused: max_run_minutes is spent" in line
    assert ended.summary["paused"]


def test_an_answer_that_drips_does_not_delay_a_signal(tmp_path: Path) -> None:
    with (
        serve(small_world()) as server,
        dripping(HEADS["body"]) as slow,
        started(tmp_path, config(server, api_url=slow)) as live,
    ):
        live.read()
        wait_until(server.world.log.count)  # until the token is requested
        live.process.terminate()
        ended = live.end(10)
    assert ended.code == 143
    assert ended.summary


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REQUESTS_CA_BUNDLE", "/nonexistent.pem", "a file that does not exist"),
        ("SSL_CERT_FILE", "/dev/null", "a file that holds no certificates"),
        ("http_proxy", "http://", "is not a usable proxy URL"),
    ],
)
def test_a_variable_that_blocks_every_request_is_one_line_and_exit_code_2(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    clear = dict.fromkeys(("no_proxy", "NO_PROXY", *CERTIFICATES), "")
    with serve(small_world()) as server:
        ended = run(tmp_path, config(server), env={**clear, name: value})
    assert ended.code == 2
    (line,) = ended.troubles
    assert f"the variable {name} " in line
    assert said in line
    assert ended.summary
