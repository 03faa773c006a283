"""Digests of rows, which show whether a row changed since the last run."""

from __future__ import annotations

import base64
import hashlib
import json
from array import array
from typing import TYPE_CHECKING

from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.records.values import Row


_BUCKETS = 256
_DIGEST = 8


def digest(value: object) -> str:
    """Return the 8-byte digest of a JSON value as 11 characters."""
    text = json.dumps(value, sort_keys=True).encode(errors="replace")
    found = hashlib.blake2b(text, digest_size=_DIGEST).digest()
    return base64.urlsafe_b64encode(found).decode().rstrip("=")


def bucket_of(row_id: object) -> int:
    """Return the bucket of an id, from 0 to 255."""
    number = to_integer(row_id)
    if number is None and isinstance(row_id, str):
        digest = hashlib.blake2b(row_id.encode(errors="replace"), digest_size=8)
        number = int.from_bytes(digest.digest())
    return 0 if number is None else number % _BUCKETS


def same(known: bytes, digests: list[bytes], bucket: int) -> bool:
    """Return whether the digest of a bucket has not changed.

    Args:
        known: the digests of all buckets in the state; empty for none.
        digests: the digest of each bucket now.
        bucket: index of the bucket.
    """
    start = bucket * _DIGEST
    return known[start : start + _DIGEST] == digests[bucket]


def bucket_digests(rows: Iterable[Row], buckets: Iterable[int]) -> list[bytes]:
    """Return one digest per bucket, which does not depend on the order of the rows."""
    sums = [0] * _BUCKETS
    pairs = zip(rows, buckets, strict=True)
    texts = {json.dumps(row, sort_keys=True): bucket for row, bucket in pairs}
    for text, bucket in texts.items():
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=_DIGEST)
        sums[bucket] ^= int.from_bytes(digest.digest())
    return [number.to_bytes(_DIGEST) for number in sums]


class HashCounts:
    """Counts 64-bit hashes in a hash table with 16 to 32 bytes per hash.

    A `Counter` takes five times as much memory.
    """

    def __init__(self) -> None:
        self._table = array("q", [0]) * 1024
        self._size = 0
        self._more: dict[int, int] = {}

    def __contains__(self, name: int) -> bool:
        return self._table[self._place(name or 1)] != 0

    def add(self, name: int) -> int:
        """Count a hash; return its count before."""
        name = name or 1  # 0 marks a free place
        place = self._place(name)
        if self._table[place]:
            before = self._more.get(name, 1)
            self._more[name] = before + 1
            return before
        self._table[place] = name
        self._size += 1
        if 2 * self._size > len(self._table):
            self._grow()
        return 0

    def _place(self, name: int) -> int:
        """Return the place of a hash, or the free place where it belongs."""
        table, last = self._table, len(self._table) - 1
        place = name & last
        while table[place] not in (0, name):
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        old = self._table
        self._table = array("q", [0]) * (2 * len(old))
        for name in old:
            if name:
                self._table[self._place(name)] = name
