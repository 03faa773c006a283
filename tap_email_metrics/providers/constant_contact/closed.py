"""Closed campaigns in the state: a count and two digests for each bucket of ids.

The number of buckets limits the size of the state, however many campaigns are closed. A
bucket shows that one of its campaigns has changed, but not which one.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_email_metrics.state.packing import (
    decode_number,
    decode_optional,
    encode_number,
    encode_optional,
)
from tap_email_metrics.state.streams import texts

if TYPE_CHECKING:
    from collections.abc import Iterable

BUCKETS = 4096
"""Number of buckets. If a campaign changes, all campaigns of its bucket are read again,
so few campaigns should share one."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The closed campaigns of one bucket.

    Attributes:
        count: number of campaigns.
        rows: digest of their rows.
        counters: digest of their counters, None if a counter is unknown.
    """

    count: int = 0
    rows: int = 0
    counters: int | None = 0

    def plus(self, campaign_id: str, row: str, counters: str) -> Bucket:
        """Return the bucket with one more campaign.

        Args:
            campaign_id: its id.
            row: digest of its row.
            counters: digest of its counters, empty if they are not known.
        """
        known = self.counters if counters else None
        return Bucket(
            self.count + 1,
            self.rows ^ _number(campaign_id, row),
            None if known is None else known ^ _number(campaign_id, counters),
        )

    def pack(self) -> str:
        """Return the bucket as one short string."""
        counters = encode_optional(self.counters)
        return f"{encode_number(self.count)}.{encode_number(self.rows)}.{counters}"

    @classmethod
    def unpack(cls, text: str) -> Bucket:
        """Return the bucket that `pack` wrote.

        Raises:
            ValueError: the text is not a packed bucket.
        """
        count, rows, counters = text.split(".")
        return cls(decode_number(count), decode_number(rows), decode_optional(counters))


def bucket_of(campaign_id: str) -> str:
    """Return the name of the bucket of a campaign."""
    return encode_number(zlib.crc32(campaign_id.encode(errors="replace")) % BUCKETS)


def by_bucket(campaign_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return campaign ids by the names of their buckets."""
    found: dict[str, list[str]] = defaultdict(list)
    for campaign_id in campaign_ids:
        found[bucket_of(campaign_id)].append(campaign_id)
    return found


def packed_buckets(value: object) -> dict[str, str]:
    """Return packed buckets by name; raise ValueError or TypeError for other JSON."""
    found = texts(value)
    for text in found.values():
        Bucket.unpack(text)
    return found


def _number(campaign_id: str, digest: str) -> int:
    # Include the id, or two campaigns with equal counters would cancel each other.
    text = f"{campaign_id} {digest}".encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest())
