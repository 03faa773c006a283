"""The tap's command, against a world that the test process serves.

`run` and `started` give it a process of its own; `run_here` calls it in this one, which
takes a tenth of the time: for what the command line says before anything is read.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from simulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from simulator.server import SimulatorServer

DAY = 86_400.0
COMMAND = str(Path(sys.executable).with_name("tap-email-metrics"))
LIMIT = 300.0
"""Seconds after which a run hangs, on a busy machine too."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
KINDS = ("recipients", "opens", "clicks", "bounces", "delivers", "links")
PERSON = "canary.person@private.example"


def small_world(
    *, days_ago: float = 20, opens: int = 3, messages: int = 3, **more: Any
) -> World:
    """Return a world some days before the present, with `more` in all its rows."""
    world = World(float(int(time.time() - days_ago * DAY)))
    api = world.encompass
    for number in range(messages):
        sent = world.clock.now() - (2 + number) * DAY
        message = api.add_message(sent=sent, **more)
        for kind in KINDS:
            person = {"emailAddress": PERSON} if kind == "recipients" else {}
            fields: dict[str, Any] = person | more
            for _ in range(opens if kind == "opens" else 3):
                api.add_row(kind, message, date_added=sent + 3600, **fields)
    return world


def config(server: SimulatorServer, **changes: Any) -> dict[str, Any]:
    """Return settings that read a server; None removes one of Encompass's."""
    account = server.world.encompass
    section = {
        "site_url": server.url,
        "api_url": server.url,
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "requests_per_second": 1000,
        "revisit": "always",
        **changes,
    }
    kept = {name: value for name, value in section.items() if value is not None}
    return {"encompass": kept}


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every line of stdout: each is a whole Singer message."""
        assert not self.out or self.out.endswith("\n")
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE, which is the last line."""
        last = self.messages[-1]
        assert last["type"] == "STATE"
        value: dict[str, Any] = last["value"]
        return value

    @property
    def troubles(self) -> list[str]:
        """The lines of stderr about problems, each problem once.

        A run that failed says in its last line, too, what it said before.
        """
        marks = ("Error: ", "| ERROR ", "| WARNING ", "| CRITICAL ")
        lines = self.err.splitlines()
        found = [line for line in lines if any(mark in line for mark in marks)]
        repeats = len(found) > 1 and found[-1].startswith("Error: ")
        return found[:-1] if repeats else found

    @property
    def summary(self) -> dict[str, Any]:
        """The run summary: one line of JSON."""
        (line,) = [x for x in self.err.splitlines() if '"run_summary"' in x]
        value: dict[str, Any] = json.loads(line[line.index("{") :])
        assert value["event"] == "run_summary"
        return value

    def rows(self) -> list[dict[str, Any]]:
        """Return the RECORDs of the providers' streams, without those about the run."""
        found = self.of("RECORD")
        return [one for one in found if not one["stream"].startswith("email_metrics_")]

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        """Return the messages of a type, of one stream if given."""
        return [
            message
            for message in self.messages
            if message["type"] == kind and stream in {None, message.get("stream")}
        ]


def write(folder: Path, name: str, value: object) -> Path:
    """Write a value as JSON to a file, or a text as it is; return the file."""
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def arguments(folder: Path, settings: object, *options: str | Path) -> list[str]:
    """Return the command line, with the settings in a file if they are not None."""
    given = [] if settings is None else ["--config", write(folder, "c.json", settings)]
    return [COMMAND, *map(str, given), *map(str, options)]


def run(
    folder: Path,
    settings: object,
    *options: str | Path,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run the tap to its end."""
    done = subprocess.run(  # noqa: S603 - our own tap
        arguments(folder, settings, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr
    if done.returncode in {1, 2}:
        # `meltano config test` shows that line alone.
        assert done.stderr.splitlines()[-1].startswith("Error: ")
    return Ended(done.returncode, done.stdout, done.stderr)


def run_here(
    folder: Path,
    settings: object,
    *options: str | Path,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run the tap's command to its end in this process."""
    (command,) = entry_points(group="console_scripts", name="tap-email-metrics")
    main = command.load()
    out, err = io.StringIO(), io.StringIO()
    with (
        _process_as_it_was(),
        patch.object(sys, "argv", arguments(folder, settings, *options)),
        patch.dict(os.environ, env or {}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    assert "Traceback" not in err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Restore signals and logging, which a command changes for its process."""
    signals = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    known = {name: one for name, one in _loggers() if one is not root}
    before = {name: (one.level, [*one.handlers]) for name, one in known.items()}
    hooks = sys.excepthook, threading.excepthook
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook = hooks
        for number, handler in signals.items():
            signal.signal(number, handler)
        root.setLevel(level)
        root.handlers[:] = handlers
        for name, one in _loggers():
            one.level, one.handlers[:] = before.get(name, (logging.NOTSET, []))
            one.disabled = False


def _loggers() -> list[tuple[str, logging.Logger]]:
    every = [*logging.root.manager.loggerDict.items()]
    return [(name, one) for name, one in every if isinstance(one, logging.Logger)]


class Live:
    """A running tap, whose stdout is read only on request."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._out = bytearray()
        self._err = bytearray()
        self._threads: list[threading.Thread] = []
        self._drain(process.stderr, self._err)

    def _drain(self, stream: Any, into: bytearray) -> None:
        def work() -> None:
            while data := os.read(stream.fileno(), 65_536):
                into.extend(data)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def pipe(self) -> int:
        """The descriptor from which its stdout can be read."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    @property
    def waiting(self) -> int:
        """Number of bytes that wait in its stdout."""
        answer = fcntl.ioctl(self.pipe, termios.FIONREAD, bytes(4))
        size: int = struct.unpack("i", answer)[0]
        return size

    def take(self, size: int) -> None:
        """Read at most a number of bytes of its stdout."""
        self._out.extend(os.read(self.pipe, size))

    def read(self) -> None:
        """Read its stdout continuously from now on."""
        self._drain(self.process.stdout, self._out)

    def end(self, within: float) -> Ended:
        """Wait for its end, at most a number of seconds; return its result."""
        self.process.wait(within)
        if self.process.stdout and not self.process.stdout.closed:
            self.read()
        for thread in self._threads:
            thread.join(5)
        error = self._err.decode()
        assert "Traceback" not in error
        return Ended(self.process.returncode, self._out.decode(), error)


@contextmanager
def started(folder: Path, settings: object, *, into: str = "") -> Iterator[Live]:
    """Start the tap with a pipe or a file as stdout; end it with the block."""
    with (
        Path(into or os.devnull).open("wb") as file,
        subprocess.Popen(  # noqa: S603 - our own tap
            arguments(folder, settings),
            stdout=file if into else subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        try:
            yield Live(process)
        finally:
            process.kill()


def wait_until(condition: Callable[[], object], within: float = 30.0) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
