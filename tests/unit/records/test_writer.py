"""The writer: how many bytes it writes to a pipe at once."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.records.writer import _room

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the ends of a pipe on which a write that does not fit is cut short."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("waiting", [0, 1, 4096, 30_000, 40_000, 61_000])
def test_no_write_is_longer_than_the_free_room_of_the_pipe(
    pipe: tuple[int, int], waiting: int
) -> None:
    _, writing = pipe
    assert os.write(writing, bytes(waiting)) == waiting
    assert select.select([], [writing], [], 0)[1] == [writing]
    length = _room(writing)
    assert os.write(writing, bytes(length)) == length


def test_an_empty_pipe_is_filled_in_few_writes(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    assert _room(writing) >= 32_768
