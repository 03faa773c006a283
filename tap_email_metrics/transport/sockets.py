"""Sockets with a time limit for a whole response.

A read timeout limits the wait for the next byte, not for the response: a body of one
byte per second would never end. These sockets cut each wait into short ones, check in
between whether the run has to end, and limit the sum of the waits for one response.
This also covers headers, chunks and encrypted connections.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from urllib3 import PoolManager, ProxyManager

SLICE = 0.5
"""Longest wait in seconds between two checks whether the run has to end."""
MOST_WAIT = 180.0
"""Most seconds of waiting for one response. The time that the caller needs to process
the received part does not count."""


class WatchedSocket:
    """A connected socket whose reads end with the run, and after a time limit.

    Args:
        sock: the connected socket; for TLS, the wrapped one.
        check: called between waits; raises once the run ends.
        monotonic: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        sock: socket.socket,
        check: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sock = sock
        self._check = check
        self._monotonic = monotonic
        self._idle: float | None = None
        self._waited = 0.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)

    def settimeout(self, value: float | None) -> None:
        """Set the longest wait for the next byte, None for the overall limit only."""
        self._idle = value
        self._sock.settimeout(value)

    def begin(self) -> None:
        """Start to count the waits of a new response."""
        self._waited = 0.0

    def makefile(self, *_mode: object, **_options: object) -> io.BufferedReader:
        """Return a file that reads from the socket, as http.client needs it."""
        return io.BufferedReader(_Reader(self, self._sock))

    def recv_into(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        """Return the number of bytes received, 0 at the end.

        Raises:
            TimeoutError: a time limit is exceeded.
            TapError: what `check` raises.
        """
        idle = 0.0
        while True:
            self._check()
            self._sock.settimeout(SLICE)
            before = self._monotonic()
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                count = -1
            waited = self._monotonic() - before
            idle += waited
            self._waited += waited
            if self._waited > MOST_WAIT:
                raise TimeoutError(f"no complete answer within {MOST_WAIT:.0f} s")
            if count >= 0:
                return count
            if self._idle is not None and idle >= self._idle:
                raise TimeoutError("timed out")


class _Reader(io.RawIOBase):
    """The raw file of a response; it keeps the socket open."""

    def __init__(self, watched: WatchedSocket, sock: socket.socket) -> None:
        super().__init__()
        self._watched = watched
        self._held = sock.makefile("rb", buffering=0)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        return self._watched.recv_into(buffer)

    @override
    def close(self) -> None:
        self._held.close()
        super().close()


class _PlainConnection(HTTPConnection):
    check: Callable[[], None]

    @override
    def connect(self) -> None:
        super().connect()
        self.sock: Any = WatchedSocket(self.sock, self.check)

    @override
    def getresponse(self) -> Any:
        self.sock.begin()
        return super().getresponse()


class _SecureConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS: `super().connect()` is that of HTTPSConnection."""


class WatchedAdapter(HTTPAdapter):
    """Sends requests over `WatchedSocket`s.

    Args:
        check: called between waits; raises once the run ends.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        watching = {"check": staticmethod(check)}
        plain = type("_Plain", (_PlainConnection,), watching)
        secure = type("_Secure", (_SecureConnection,), watching)
        self._pools = {
            "http": type("_Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_Pools", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }
        super().__init__(pool_maxsize=64)

    @override
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = self._pools

    @override
    def proxy_manager_for(self, proxy: Any, **options: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager
