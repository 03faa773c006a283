"""Watched sockets: no server keeps a read busy behind the run's end."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.errors import Exhausted
from tap_email_metrics.transport.sockets import WHOLE, WatchedSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def dripping(theirs: socket.socket, until: int) -> Callable[[], None]:
    """Return a check that sends a byte, and ends the run after so many."""
    sent = itertools.count(1)

    def check() -> None:
        if next(sent) > until:
            raise Exhausted("max_run_minutes is spent")
        theirs.send(b"x")

    return check


def test_k6_a_read_of_one_byte_a_time_ends_with_the_run(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    watched = WatchedSocket(ours, dripping(theirs, 5))
    with watched.makefile("rb") as file, pytest.raises(Exhausted):
        file.read(100)


def test_k6_all_waits_of_an_answer_are_bounded(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    seconds = itertools.count()
    bytes_at_most = int(WHOLE) + 5
    watched = WatchedSocket(
        ours, dripping(theirs, bytes_at_most), lambda: float(next(seconds))
    )
    with (
        watched.makefile("rb") as file,
        pytest.raises(TimeoutError, match="no whole answer within 180 s"),
    ):
        file.read(bytes_at_most)
    # A new answer has the whole time again.
    watched.begin()
    assert watched.recv_into(bytearray(1)) == 1


def test_k6_silence_ends_with_the_read_time_out(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _theirs = pair
    seconds = itertools.count(step=30)
    watched = WatchedSocket(ours, lambda: None, lambda: float(next(seconds)))
    watched.settimeout(60)
    with pytest.raises(TimeoutError, match="timed out"):
        watched.recv_into(bytearray(1))


def test_what_came_is_read_to_its_end(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"one\r\ntwo")
    theirs.close()
    with WatchedSocket(ours, lambda: None).makefile("rb") as file:
        assert file.readline() == b"one\r\n"
        # The connection may be given up while its answer is still read.
        ours.close()
        assert file.read() == b"two"
