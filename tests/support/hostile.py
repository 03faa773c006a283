"""Hostile servers on real ports: a world's responses, some of them replaced."""

from __future__ import annotations

import re
import threading
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

from simulator.messages import Reply, Request
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, Site
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.world import World

DAY = 86_400.0
GIGABYTE = 2**30
PREFIX = b'{"success":1,"data":['


def bomb(size: int = GIGABYTE) -> bytes:
    """Return gzip that inflates to the beginning of a list and a number of spaces.

    Made of one block, repeated: it is never inflated here either.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(PREFIX) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + first + block * (size // 2**20)


class Front(ThreadingHTTPServer):
    """Answers with a world's responses, unless a strike replaces them.

    Attributes:
        seen: path and headers of each request.
        sent: bytes of endless bodies that somebody took.
    """

    daemon_threads = True  # a connection that is kept open holds its own
    request_queue_size = 64

    def __init__(self, world: World | None) -> None:
        self.world = world
        self.strikes: list[tuple[re.Pattern[str], Callable[[Request, Reply], None]]]
        self.strikes = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def strike(self, path: str, change: Callable[[Request, Reply], None]) -> None:
        """Replace the responses of a path."""
        self.strikes.append((re.compile(path), change))

    def reply(self, request: Request) -> Reply:
        """Return the response to a request."""
        self.seen.append((request.path, dict(request.headers)))
        reply = self.world.answer(request) if self.world else Reply(200, b"{}")
        for pattern, change in self.strikes:
            if pattern.search(request.path):
                change(request, reply)
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = dict(self.headers)
        reply = self.server.reply(Request.parse(self.command, self.path, headers, body))
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.half:
            self._send_for_ever()
            return
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _send_for_ever(self) -> None:
        """Send an endless body until the client closes the connection."""
        self.close_connection = True
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(PREFIX)
        while True:
            self.wfile.write(b" " * 2**16)
            self.server.sent += 2**16

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the name that http.server wants

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextmanager
def front(world: World | None = None) -> Iterator[Front]:
    """Serve until the end of the block."""
    with Front(world) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def network() -> HTTPAdapter:
    """Return an adapter that sends requests over real sockets."""
    return HTTPAdapter(pool_maxsize=16)


class OverHttp:
    """Connects a site's tap to a server over real sockets."""

    def __init__(self, site: Site, server: Front) -> None:
        self.site = site
        self.server = server

    def sync(self, *streams: str) -> Any:
        """Run the tap once; its waits take no real time."""
        return self.site.sync(streams=streams, transport=network())


def encompass(server: Front, **settings: Any) -> OverHttp:
    """An Encompass account of two messages."""
    site = Site(server.world)
    for number in range(2):
        sent = NOW - (2 + number) * DAY
        message = site.api.add_message(sent=sent)
        for kind in ("opens", "clicks"):
            site.api.add_row(kind, message, date_added=sent + 3600)
    site.settings |= {"site_url": server.url, "api_url": server.url, **settings}
    return OverHttp(site, server)


def constant_contact(server: Front, **settings: Any) -> OverHttp:
    """A Constant Contact account of two campaigns."""
    account = Account(server.world)
    for number in range(2):
        sent = NOW - (2 + number) * DAY
        campaign = account.api.add_campaign(sent=sent, recipients=3, links=1)
        for kind in ("opens", "clicks"):
            account.api.add_event(kind, campaign, created=sent + 3600)
    urls = {"api_url": f"{server.url}/v3"}
    urls["auth_url"] = f"{server.url}/oauth2/default/v1"
    account.settings |= {**urls, **settings}
    return OverHttp(account, server)


def luxsci(server: Front, **settings: Any) -> OverHttp:
    """A LuxSci account of three messages."""
    clinic = Clinic(server.world)
    clinic.api.add_user("ann@clinic.example", created=NOW - 400 * DAY)
    for hour in (50, 40, 30):
        message = clinic.api.add_message(sent=NOW - hour * 3600, channel="smtp")
        clinic.api.add_open(message, at=NOW - hour * 3600 + 60)
    clinic.common["start_date"] = "2026-09-18"
    clinic.settings |= {"api_url": f"{server.url}/perl/api/v2", **settings}
    return OverHttp(clinic, server)
