"""Measures the cost of a page with one odd value, as a ratio to a clean page.

    python -m benchmarks.odd_page

It decodes pages of 1,000 opens, builds their records and encodes them. The pages take
turns, and the smallest CPU time of each counts, which keeps the effect of other load on
the machine small.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from tap_email_metrics.providers.encompass.client import parse_rows
from tap_email_metrics.providers.encompass.streams import Opens
from tap_email_metrics.records.builder import PageMaker, RecordBuilder
from tap_email_metrics.records.privacy import MODES, Privacy
from tap_email_metrics.records.schemas import load_schema

_ROWS, _ROUNDS = 1000, 50
_ENCODER = msgspec.json.Encoder()
_OPEN = {
    "recipientId": 2,
    "timestamp": 1_700_000_000_123,
    "dateAdded": 1_700_000_001_000,
    "ipAddress": "203.0.113.77",
    "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Mail/1.0",
}
_ODD: dict[str, dict[str, Any]] = {
    "clean": {},
    "odd value": {"ipAddress": [1]},
    "unknown field": {"new": 1},
}


def _body(odd: dict[str, Any]) -> bytes:
    """Return a page; one of its rows has these fields in addition."""
    rows = [{"id": number, **_OPEN} for number in range(_ROWS)]
    rows[_ROWS // 2] |= odd
    return _ENCODER.encode({"data": rows, "total": _ROWS, "maxResults": _ROWS})


def _milliseconds(body: bytes, maker: PageMaker) -> float:
    begin = time.process_time()
    page, _, _ = parse_rows(body, maker)
    _ENCODER.encode_lines(page.made().records)
    return (time.process_time() - begin) * 1000


def main() -> None:
    """Print the CPU time of each page in each privacy mode."""
    bodies = {name: _body(odd) for name, odd in _ODD.items()}
    for mode in MODES:
        builder = RecordBuilder(
            load_schema(Opens.name),
            key=Opens.primary_keys,
            selected=None,
            account="acme",
            privacy=Privacy(mode, "a pepper of some length"),
            replication_key=Opens.replication_key,
            reader_fields=Opens.reader_fields,
            envelope=Opens.envelope,
        )
        maker = PageMaker(builder, {"message_id": 7})
        least = dict.fromkeys(bodies, float("inf"))
        for _ in range(_ROUNDS):
            for name, body in bodies.items():
                least[name] = min(least[name], _milliseconds(body, maker))
        for name, cost in least.items():
            sys.stdout.write(
                f"{mode:6} {name:13} {cost:6.2f} ms  {cost / least['clean']:.2f}\n"
            )


if __name__ == "__main__":
    main()
