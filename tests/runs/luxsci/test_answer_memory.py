"""The benchmark of a large LuxSci answer, small: every row right, and few in memory."""

from __future__ import annotations

import pytest

from tests.runs.luxsci.answer_memory import MOST_MB, allocated, differences

ROWS = 2_000
#: MB that twice as many rows may take more: a few bytes a row, to know it again.
GROWTH = 0.7


def test_every_row_is_that_of_the_source() -> None:
    assert differences(ROWS) == 0


@pytest.mark.slow
def test_memory_does_not_follow_the_length_of_an_answer() -> None:
    peaks = [allocated("tap", rows) for rows in (ROWS, 2 * ROWS)]
    assert max(peaks) <= MOST_MB
    assert peaks[1] - peaks[0] <= GROWTH
    # What holds a whole answer does not pass.
    whole = [allocated("json.loads", rows) for rows in (ROWS, 2 * ROWS)]
    assert whole[1] - whole[0] > 3 * GROWTH
