"""Digests of rows: what tells a run that something changed since the last."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from tap_email_metrics.codec import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = dict[str, object]

_BUCKETS = 256
_DIGEST = 8


def digest(value: object) -> str:
    """Return 11 characters for a JSON value: 8 bytes, the same for the same value."""
    text = json.dumps(value, sort_keys=True).encode(errors="replace")
    found = hashlib.blake2b(text, digest_size=_DIGEST).digest()
    return base64.urlsafe_b64encode(found).decode().rstrip("=")


def bucket_of(row_id: object) -> int:
    """Return the bucket of an id."""
    number = to_integer(row_id)
    if number is None and isinstance(row_id, str):
        digest = hashlib.blake2b(row_id.encode(errors="replace"), digest_size=8)
        number = int.from_bytes(digest.digest())
    return 0 if number is None else number % _BUCKETS


def same(known: bytes, digests: list[bytes], bucket: int) -> bool:
    """Return whether the digest of a bucket is what was known of it."""
    start = bucket * _DIGEST
    return known[start : start + _DIGEST] == digests[bucket]


def bucket_digests(rows: Iterable[Row], buckets: Iterable[int]) -> list[bytes]:
    """Return a digest a bucket that does not depend on the order of its rows."""
    sums = [0] * _BUCKETS
    pairs = zip(rows, buckets, strict=True)
    texts = {json.dumps(row, sort_keys=True): bucket for row, bucket in pairs}
    for text, bucket in texts.items():
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=_DIGEST)
        sums[bucket] ^= int.from_bytes(digest.digest())
    return [number.to_bytes(_DIGEST) for number in sums]
