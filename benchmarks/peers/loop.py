"""A bare loop of requests and orjson, as in a minimal script."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import orjson
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 1000


def main() -> None:
    """Write one line per open."""
    base = json.loads(sys.argv[1])["api_url"]
    session = requests.Session()
    session.headers["Authorization"] = "Bearer benchmark"
    write = sys.stdout.buffer.write
    for message in rows(session, f"{base}/v2/messages"):
        message_id = message["id"]
        for row in rows(session, f"{base}/v2/messages/{message_id}/opens"):
            row["message_id"] = message_id
            line = {"type": "RECORD", "stream": "opens", "record": row}
            write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def rows(session: requests.Session, url: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a list, page by page."""
    start, total = 0, 1
    while start < total:
        query = {"startAt": start, "maxResults": _SIZE}
        response = session.get(url, params=query, timeout=60)
        response.raise_for_status()
        answer = orjson.loads(response.content)
        total = answer["total"]
        start += _SIZE
        yield from answer["data"]


if __name__ == "__main__":
    main()
