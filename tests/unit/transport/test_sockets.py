"""Watched sockets: no server can keep a read busy after the end of the run."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.errors import Exhausted
from tap_email_metrics.transport.sockets import MOST_WAIT, WatchedSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def dripping(theirs: socket.socket, until: int) -> Callable[[], None]:
    """Return a check that sends a byte and ends the run after `until` bytes."""
    sent = itertools.count(1)

    def check() -> None:
        if next(sent) > until:
            raise Exhausted("max_run_minutes is spent")
        theirs.send(b"x")

    return check


def test_a_read_that_gets_one_byte_at_a_time_ends_with_the_run(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    watched = WatchedSocket(ours, dripping(theirs, 5))
    with watched.makefile("rb") as file, pytest.raises(Exhausted):
        file.read(100)


def test_the_whole_time_of_an_answer_is_bounded(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    seconds = itertools.count()
    bytes_at_most = int(MOST_WAIT) + 5
    watched = WatchedSocket(
        ours, dripping(theirs, bytes_at_most), lambda: float(next(seconds))
    )
    with (
        watched.makefile("rb") as file,
        pytest.raises(TimeoutError, match="no complete answer within 180 s"),
    ):
        file.read(bytes_at_most)
    # The next answer has the full time again.
    watched.begin()
    assert watched.recv_into(bytearray(1)) == 1


def test_a_silent_server_ends_the_read_at_the_read_timeout(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _theirs = pair
    seconds = itertools.count(step=30)
    watched = WatchedSocket(ours, lambda: None, lambda: float(next(seconds)))
    watched.settimeout(60)
    with pytest.raises(TimeoutError, match="timed out"):
        watched.recv_into(bytearray(1))


def test_bytes_that_arrived_are_read_to_the_end(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"one\r\ntwo")
    theirs.close()
    with WatchedSocket(ours, lambda: None).makefile("rb") as file:
        assert file.readline() == b"one\r\n"
        # The connection may be released while its answer is still being read.
        ours.close()
        assert file.read() == b"two"
