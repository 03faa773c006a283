"""A tap built with singer-python and its Transformer, like older taps.

https://github.com/singer-io/singer-python
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
import singer
from singer import metadata
from singer.utils import now

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 1000
_NUMBER = {"type": ["null", "integer"]}
_TEXT = {"type": ["null", "string"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "message_id": {"type": "integer"},
        "id": {"type": "integer"},
        "recipientId": _NUMBER,
        "timestamp": _NUMBER,
        "dateAdded": _NUMBER,
        "ipAddress": _TEXT,
        "userAgent": _TEXT,
    },
}
KEY = ["message_id", "id"]


def main() -> None:
    """Read the opens of all messages."""
    config = singer.utils.parse_args(["api_url", "auth_token"]).config
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {config['auth_token']}"
    every = metadata.get_standard_metadata(schema=SCHEMA, key_properties=KEY)
    mdata = metadata.to_map(every)
    for name in SCHEMA["properties"]:
        mdata = metadata.write(mdata, ("properties", name), "selected", val=True)
    singer.write_schema("opens", SCHEMA, KEY)
    state: dict[str, Any] = {}
    base = f"{config['api_url']}/v2/messages"
    with singer.Transformer() as transformer:
        for message in rows(session, base):
            extracted = now()
            for row in rows(session, f"{base}/{message['id']}/opens"):
                row["message_id"] = message["id"]
                record = transformer.transform(row, SCHEMA, mdata)
                singer.write_record("opens", record, time_extracted=extracted)
            state = singer.write_bookmark(state, "opens", "message_id", message["id"])
            singer.write_state(state)


def rows(session: requests.Session, url: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a list, page by page."""
    start, total = 0, 1
    while start < total:
        query = {"startAt": start, "maxResults": _SIZE}
        response = session.get(url, params=query, timeout=60)
        response.raise_for_status()
        answer = response.json()
        total = answer["total"]
        start += _SIZE
        yield from answer["data"]


if __name__ == "__main__":
    main()
