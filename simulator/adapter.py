"""A world behind a `requests.Session`, without sockets."""

from __future__ import annotations

import io
import random
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3 import HTTPResponse

from simulator.messages import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.clock import SimClock
    from simulator.world import World

Timeout = float | tuple[float | None, float | None] | None
MOST_WAIT = 180.0
"""Most seconds for a body that comes byte by byte. A careful client waits no longer."""


class SimulatorAdapter(HTTPAdapter):
    """Answers in this process; waiting advances the clock of the world.

    `latency` is the time of a round trip in seconds, or a function that returns the
    seconds of one way and is called for each way.
    """

    def __init__(
        self, world: World, *, latency: float | Callable[[], float] = 0.0
    ) -> None:
        super().__init__()
        self._world = world
        self._latency = latency

    def send(  # noqa: PLR0913, PLR0917 -- the signature of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,  # noqa: ARG002, FBT001, FBT002
        cert: object = None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> requests.Response:
        """Return the response of the world, or raise what a real network would."""
        there = self._one_way()
        self._world.clock.sleep(there)
        reply = self._world.answer(_parse(request))
        self._wait(request, reply, timeout, there)
        if reply.cut:
            text = "Remote end closed connection without response"
            raise requests.ConnectionError(text, request=request)
        return self.build_response(request, _respond(request, reply, self._world.clock))

    def _one_way(self) -> float:
        return (
            self._latency / 2
            if isinstance(self._latency, float | int)
            else (self._latency())
        )

    def _wait(
        self,
        request: requests.PreparedRequest,
        reply: Reply,
        timeout: Timeout,
        there: float,
    ) -> None:
        delay = reply.delay + self._one_way()
        limit = timeout[1] if isinstance(timeout, tuple) else timeout
        if limit is not None and there + delay > limit:
            self._world.clock.sleep(limit - there)
            raise requests.ReadTimeout("Read timed out.", request=request)
        self._world.clock.sleep(delay)


def jitter(low: float, high: float, seed: int = 0) -> Callable[[], float]:
    """Return a function that draws the seconds of one way, uniformly in [low, high]."""
    return partial(random.Random(seed).uniform, low, high)  # noqa: S311 - no secret


def _parse(request: requests.PreparedRequest) -> Request:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    parts = urlsplit(request.url or "")
    target = f"{parts.path}?{parts.query}"
    return Request.parse(request.method or "GET", target, request.headers, bytes(body))


class _Dripping(io.BytesIO):
    """A body whose bytes come one by one, each after a number of seconds."""

    def __init__(self, body: bytes, seconds: float, clock: SimClock) -> None:
        super().__init__(body)
        self._seconds = seconds
        self._clock = clock
        self._waited = 0.0

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next byte.

        Raises:
            TimeoutError: the body takes longer than `MOST_WAIT`.
        """
        found = super().read(1 if size else 0)
        seconds = self._seconds * len(found)
        self._waited += seconds
        if self._waited > MOST_WAIT:
            raise TimeoutError(f"no complete answer within {MOST_WAIT:.0f} s")
        self._clock.sleep(seconds)
        return found


def _respond(
    request: requests.PreparedRequest, reply: Reply, clock: SimClock
) -> HTTPResponse:
    body = reply.body[: len(reply.body) // 2] if reply.half else reply.body
    return HTTPResponse(
        body=_Dripping(body, reply.drip, clock) if reply.drip else io.BytesIO(body),
        headers={**reply.headers, "Content-Length": str(len(reply.body))},
        status=reply.status,
        reason=HTTPStatus(reply.status).phrase,
        version=11,
        preload_content=False,
        request_method=request.method,
    )
