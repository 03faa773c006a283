"""Hash counts in little memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_email_metrics.streams.digests import HashCounts

LEAST, MOST = -(2**63), 2**63 - 1


@given(st.lists(st.integers(LEAST, MOST) | st.integers(-3, 3) | st.just(1024)))
def test_hash_counts_equal_those_of_a_counter(names: list[int]) -> None:
    tally, counter = HashCounts(), Counter[int]()
    for name in names:
        assert (name in tally) == ((name or 1) in counter)
        assert tally.add(name) == counter[name or 1]
        counter[name or 1] += 1


def test_hash_counts_know_every_hash_after_growing() -> None:
    tally = HashCounts()
    names = [hash(("row", number)) for number in range(5000)]
    assert [tally.add(name) for name in names] == [0] * 5000
    assert all(name in tally for name in names)
    assert hash(("row", 5000)) not in tally


@pytest.mark.slow
def test_hash_counts_of_250_000_rows_take_a_few_megabytes() -> None:
    tracemalloc.start()
    tally = HashCounts()
    for number in range(250_000):
        tally.add(hash(("row", number)))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 5_000_000
    assert peak < 8_000_000
