"""Serves pages in the format of Encompass, with far less CPU than a client needs.

All rows are encoded before the port opens, so that a request costs one search and one
join. The server checks no credentials and refuses no request. `/_seen` returns the
number of requests and their cost. It runs as a process of its own:

    python -m benchmarks.server --parents 20 --rows 5000 --latency 0.05
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUEST = re.compile(
    rb"(GET|POST) ([^ ?]+)(?:\?([^ ]*))? HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL
)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_OPENS = re.compile(rb"/v2/messages/(\d+)/opens")
_MESSAGES = b"/v2/messages"
_MAX_RESULTS = 1000
_FIRST_ID = 1_000_001
_DAY_MS = 86_400_000
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/128.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Firefox/11.0 (via ggpht.com ImageProxy)",
)
_TOKEN = b'{"access_token":"benchmark","expires_in":"86400","token_type":"bearer"}'


@dataclass(slots=True)
class Seen:
    """The requests since the start or the last `/_forget`.

    Attributes:
        requests: number of requests, without those for control paths.
        first: time of the first request, in UTC seconds.
        cpu: CPU seconds of this process.
    """

    requests: int = 0
    first: float | None = None
    cpu: float = 0.0


@dataclass(slots=True)
class Pages:
    """The encoded rows of all lists."""

    messages: list[bytes]
    opens: dict[int, list[bytes]]
    most: int = _MAX_RESULTS
    seen: Seen = field(default_factory=Seen)
    _began: float = field(default_factory=time.process_time)

    def answer(self, path: bytes, query: bytes) -> bytes:
        """Return the body of the answer to a request."""
        if path == b"/_seen":
            self.seen.cpu = time.process_time() - self._began
            return json.dumps(asdict(self.seen)).encode()
        if path == b"/_forget":
            self.seen, self._began = Seen(), time.process_time()
            return b"{}"
        self.seen.requests += 1
        self.seen.first = self.seen.first or time.time()
        found = _OPENS.fullmatch(path)
        if found:
            return _page(self.opens[int(found[1])], query, self.most)
        if path == _MESSAGES:
            return _page(self.messages, query, _MAX_RESULTS)
        return _TOKEN


def make_pages(parents: int, rows: int, most: int, now: float) -> Pages:
    """Make `parents` messages of the last three weeks with `rows` opens each."""
    now_ms = int(now * 1000)
    ids = range(_FIRST_ID, _FIRST_ID + parents)
    messages = [_message(number, message, now_ms) for number, message in enumerate(ids)]
    serial = iter(range(1, parents * rows + 1))
    opens = {
        message: [_open(next(serial), number, now_ms) for number in range(rows)]
        for message in ids
    }
    return Pages(messages, opens, most)


def _message(number: int, message_id: int, now_ms: int) -> bytes:
    sent = now_ms - _DAY_MS - number % 20 * _DAY_MS
    return _encoded(
        {
            "id": message_id,
            "subCommunityId": 7,
            "emailName": f"Newsletter {number}",
            "fromName": "Alumni Office",
            "fromAddress": "alumni@example.edu",
            "subjectLine": f"News of the week, number {number}",
            "preHeader": "What happened, and what is to come",
            "categoryName": "News",
            "sentCount": 5000,
            "scheduledDateTimestamp": sent,
            "actualSendTimestamp": sent + 60_000,
            "dateAdded": sent - 3_600_000,
        }
    )


def _open(serial: int, number: int, now_ms: int) -> bytes:
    at = now_ms - 12 * 3_600_000 + number * 37
    return _encoded(
        {
            "id": serial,
            "recipientId": 40_000_000 + serial * 7 % 9_999_991,
            "timestamp": at,
            "dateAdded": at + 1_873,
            "ipAddress": f"203.0.{serial % 113}.{serial % 251}",
            "userAgent": _AGENTS[serial % 3],
        }
    )


def _encoded(row: dict[str, object]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


def _page(rows: list[bytes], query: bytes, most: int) -> bytes:
    fields = dict(part.split(b"=", 1) for part in query.split(b"&") if b"=" in part)
    start = int(fields.get(b"startAt", 0))
    size = min(int(fields.get(b"maxResults", most)), most)
    head = b'{"startAt":%d,"maxResults":%d,"total":%d,"data":[' % (
        start,
        size,
        len(rows),
    )
    return b"".join((head, b",".join(rows[start : start + size]), b"]}"))


class Connection(asyncio.Protocol):
    """A connection; each request is answered after the latency."""

    def __init__(self, pages: Pages, latency: float) -> None:
        self._pages = pages
        self._latency = latency
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for path, query in self._requests():
            body = self._pages.answer(path, query)
            if self._latency and not path.startswith(b"/_"):
                loop = asyncio.get_running_loop()
                loop.call_later(self._latency, self._send, body)
            else:
                self._send(body)

    def _requests(self) -> Iterator[tuple[bytes, bytes]]:
        while (found := _REQUEST.match(self._buffer)) is not None:
            length = _LENGTH.search(found[4])
            end = found.end() + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            yield found[2], found[3] or b""

    def _send(self, body: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Date: {formatdate(usegmt=True)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


async def serve(pages: Pages, latency: float) -> None:
    """Serve until the process ends; print the port as the only line of stdout."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(pages, latency), "127.0.0.1", 0, backlog=256
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parents", type=int, default=1, help="messages")
    parser.add_argument("--rows", type=int, default=1, help="opens of each")
    parser.add_argument("--page", type=int, default=_MAX_RESULTS, help="rows of a page")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    given = parser.parse_args()
    pages = make_pages(given.parents, given.rows, given.page, time.time())
    asyncio.run(serve(pages, given.latency))


if __name__ == "__main__":
    main()
