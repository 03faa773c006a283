"""A world behind an HTTP/1.1 port on the loopback interface."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from simulator.control import PREFIX, Control
from simulator.messages import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.world import World


class SimulatorServer(ThreadingHTTPServer):
    """Serves the APIs of a world and the control interface."""

    daemon_threads = False  # so that server_close() joins them
    request_queue_size = 128

    def __init__(
        self, world: World, port: int = 0, present: Callable[[], float] | None = None
    ) -> None:
        self.world = world
        self.control = Control(world, present)
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        # The clock of the world stands still between calls, so limits use a real clock.
        world.constant_contact.ticker = world.luxsci.ticker = time.monotonic
        world.luxsci.present = present or time.time
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Return the base URL without a trailing slash."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, request: Request) -> Reply:
        """Return the reply of the world or of the control interface."""
        if request.path.startswith(PREFIX):
            return self.control.answer(request)
        return self.world.answer(request)

    def close(self) -> None:
        """Stop listening, cut open connections and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write per reply
    server: SimulatorServer

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        try:
            with suppress(ConnectionError):
                if not self.server.stopping.is_set():
                    super().handle()
        finally:
            self.server.connections.discard(self.connection)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request = Request.parse(self.command, self.path, dict(self.headers), body)
        reply = self.server.answer(request)
        if reply.delay:
            self.server.stopping.wait(reply.delay)
        if reply.cut:
            self.close_connection = True
        else:
            self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.drip:
            self._drip(reply)
        elif reply.half:
            self.close_connection = True
            self.wfile.write(reply.body[: len(reply.body) // 2])
        else:
            self.wfile.write(reply.body)

    def _drip(self, reply: Reply) -> None:
        """Send the body byte by byte until the server stops."""
        for place in range(len(reply.body)):
            if self.server.stopping.wait(reply.drip):
                return
            self.wfile.write(reply.body[place : place + 1])

    def log_message(self, *args: object) -> None:
        """Print nothing: the world keeps the log."""


@contextmanager
def serve(
    world: World, port: int = 0, present: Callable[[], float] | None = None
) -> Iterator[SimulatorServer]:
    """Serve a world in threads until the end of the block; port 0 finds a free port.

    `present` returns the UTC seconds up to which the control interface may move time.
    """
    server = SimulatorServer(world, port, present)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
