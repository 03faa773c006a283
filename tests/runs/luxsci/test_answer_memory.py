"""The benchmark of a large LuxSci answer in small: rows and memory."""

from __future__ import annotations

import pytest

from tests.runs.luxsci.answer_memory import MOST_MB, allocated, differences

ROWS = 2_000
#: MB that twice as many rows may take in addition: a few bytes per row for its hash.
GROWTH = 0.7


def test_every_row_of_a_large_answer_is_right() -> None:
    assert differences(ROWS) == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_an_answer() -> None:
    peaks = [allocated("tap", rows) for rows in (ROWS, 2 * ROWS)]
    assert max(peaks) <= MOST_MB
    assert peaks[1] - peaks[0] <= GROWTH
    # Code that holds a whole answer in memory would fail.
    whole = [allocated("json.loads", rows) for rows in (ROWS, 2 * ROWS)]
    assert whole[1] - whole[0] > 3 * GROWTH
