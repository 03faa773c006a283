"""Writes Singer messages to stdout, buffered and in order.

A blocked target must not keep a terminated tap alive. Python repeats a write that a
signal interrupts. Therefore the writer waits for room before each write, and writes no
more than the pipe takes at once.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import select
import stat
import struct
import sys
import termios
import time
from dataclasses import fields
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.singerlib import SchemaMessage, StateMessage
from singer_sdk.singerlib.encoding.base import GenericSingerWriter
from singer_sdk.singerlib.encoding.simple import Message
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.control import Stop

logger = logging.getLogger("tap-email-metrics")

_BLOCK = 256 * 1024
_PIPE_ATOM = 4096  # bytes that a pipe with room takes without blocking
_PATIENCE = 5.0  # seconds for the target to take the rest, once the run has to end
_LOOK = 0.2


def _room(descriptor: int) -> int:
    """Return the number of bytes that can be written without blocking."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return _BLOCK
    if not stat.S_ISFIFO(mode) or not hasattr(fcntl, "F_GETPIPE_SZ"):
        return _PIPE_ATOM
    (waiting,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    # Half of an empty pipe, because stderr may use the same one.
    size = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) // 2
    return _PIPE_ATOM if waiting else max(_PIPE_ATOM, size)


class _RecordLine(msgspec.Struct, tag="RECORD", tag_field="type", gc=False):
    """A RECORD message, with the fields in the order of the SDK's `RecordMessage`."""

    stream: str
    record: Any
    time_extracted: datetime


class Writer(GenericSingerWriter[bytes, Message]):
    """Writes messages to stdout. A STATE flushes all messages before it.

    Attributes:
        written: number of bytes since the last STATE.
        state_size: number of bytes of the last STATE.
        stop: checked while stdout blocks, and set when stdout is closed.
        closed: stdout is closed by its reader; further messages are dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._buffer = bytearray()
        self.written = 0
        self.state_size = 0
        self.closed = False
        self.stop: Stop | None = None
        self._given_up_at: float | None = None

    @override
    def serialize_message(self, message: Message) -> bytes:
        """Return a message as one line of JSON."""
        if isinstance(message, StateMessage | SchemaMessage):
            # `to_dict` would copy each mark and each column.
            parts = {part.name: getattr(message, part.name) for part in fields(message)}
            shown = {name: value for name, value in parts.items() if value is not None}
            return self._encoder.encode(shown) + b"\n"
        return self._encoder.encode(message.to_dict()) + b"\n"

    @override
    def write_message(self, message: Message) -> None:
        """Buffer a message; write the buffer when it is large, or ends in a STATE."""
        line = self.serialize_message(message)
        self._buffer += line
        is_state = isinstance(message, StateMessage)
        if is_state:
            self.written, self.state_size = 0, len(line)
        else:
            self.written += len(line)
        if is_state or len(self._buffer) >= _BLOCK:
            self.flush()

    def write_records(
        self, stream: str, records: Iterable[object], extracted: float
    ) -> None:
        """Buffer one RECORD message per record.

        Args:
            stream: name of the stream.
            records: the records, as dictionaries or structs.
            extracted: time of the extraction in UTC seconds.
        """
        moment = datetime.fromtimestamp(extracted, UTC)
        messages = map(_RecordLine, repeat(stream), records, repeat(moment))
        lines = self._encoder.encode_lines(messages)
        self._buffer += lines
        self.written += len(lines)
        if len(self._buffer) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the buffered messages."""
        data, self._buffer = self._buffer, bytearray()
        if self.closed or not data:
            return
        if sys.stdout is None:  # it was closed before the run
            self._close("it is closed")
            return
        try:
            descriptor = sys.stdout.fileno()
        except io.UnsupportedOperation:  # a test's stdout
            sys.stdout.write(data.decode())
            return
        sys.stdout.flush()
        try:
            self._write(descriptor, memoryview(data))
        except OSError as error:  # most often BrokenPipeError; also a full disk
            self._close(error.strerror or type(error).__name__)

    def check(self) -> None:
        """Check, without writing, whether the reader has closed stdout."""
        if self.closed or sys.stdout is None or isinstance(sys.stdout, io.StringIO):
            return
        try:
            descriptor = sys.stdout.fileno()
        except io.UnsupportedOperation:
            return
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)):
            self._close("its reader has closed it")

    def _close(self, reason: str) -> None:
        logger.error(
            "stdout cannot be written (%s): check why the target ended; the next run "
            "reads again what the target did not store",
            reason,
        )
        self.closed = True
        if self.stop:
            self.stop.set()

    def _write(self, descriptor: int, data: memoryview) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data:
            ready = poll.poll(_LOOK * 1000)
            ending = self.stop is not None and self.stop.is_set()
            if ending:
                # A target may also read only a little now and then.
                self._give_up_in_time()
            if ready:
                # Never write more than there is room for: a signal just before a
                # longer write could block it.
                data = data[os.write(descriptor, data[: _room(descriptor)]) :]

    def _give_up_in_time(self) -> None:
        now = time.monotonic()
        self._given_up_at = self._given_up_at or now + _PATIENCE
        if now >= self._given_up_at and self.stop:
            # Write no STATE: it would cover records that the target has not read.
            sys.stderr.write("stdout is blocked: ending without a last STATE\n")
            sys.stderr.flush()
            os._exit(128 + (self.stop.signal or 15))
