"""Runs processes one at a time and measures them.

This process has to stay small: Linux counts a parent's memory in the peak of its child.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "bench"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class World:
    """The content and behaviour of a server.

    Attributes:
        parents: number of messages.
        rows: opens per message.
        latency: seconds before each answer.
        page: maximum rows per page.
    """

    parents: int = 1
    rows: int = 1
    latency: float = 0.0
    page: int = 1000


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    world: World

    def ask(self, path: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return the answer of a control path."""
        with urllib.request.urlopen(self.url + path) as answer:  # noqa: S310 - http
            return json.load(answer)


@contextmanager
def serving(world: World) -> Iterator[Server]:
    """Run a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.server"]
    command += ["--parents", str(world.parents), "--rows", str(world.rows)]
    command += ["--latency", str(world.latency), "--page", str(world.page)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            port = process.stdout.readline().decode().strip()
            yield Server(f"http://127.0.0.1:{port}", world)
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command that reads all opens.

    Attributes:
        name: its name in the tables.
        command: the command; `{url}` stands for the server's URL.
        env: additional environment variables.
        counted: text near the start of each record's line; None if the last line has
            the number of records instead.
    """

    name: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    counted: bytes | None = b'"RECORD"'


@dataclass(frozen=True, slots=True)
class Ran:
    """The measurements of one process.

    Attributes:
        records: number of opens emitted.
        wall: seconds from start to end.
        cpu: CPU seconds, user and system.
        rss: peak memory in MB.
        size: bytes of stdout.
        requests: number of requests that the server received.
        first: seconds from the start to the first request.
        server_cpu: CPU seconds of the server during the run.
    """

    records: int
    wall: float
    cpu: float
    rss: float
    size: int
    requests: int
    first: float
    server_cpu: float


def run(contestant: Contestant, server: Server) -> Ran:
    """Run a contestant once.

    Raises:
        RuntimeError: the command failed, or records are missing.
    """
    server.ask("/_forget")
    out, err = FOLDER / "stdout", FOLDER / "stderr"
    command = [part.replace("{url}", server.url) for part in contestant.command]
    began, started = time.monotonic(), time.time()
    status, cpu, rss = wait_for(command, dict(contestant.env), out, err)
    wall = time.monotonic() - began
    seen = server.ask("/_seen")
    records = _count(out, contestant.counted)
    wanted = server.world.parents * server.world.rows
    if status or records != wanted:
        told = err.read_text(errors="replace")[-2000:]
        raise RuntimeError(
            f"{contestant.name}: exit {status}, {records} of {wanted} records\n{told}"
        )
    first = (seen["first"] or started) - started
    size = out.stat().st_size
    return Ran(records, wall, cpu, rss, size, seen["requests"], first, seen["cpu"])


def wait_for(
    command: Sequence[str], env: Mapping[str, str], out: Path, err: Path
) -> tuple[int, float, float]:
    """Run a command; return its exit code, CPU seconds and peak MB.

    The CPU seconds include those of the command's ended children.
    """
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own
            command,
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env},
            cwd=ROOT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _count(file: Path, counted: bytes | None) -> int:
    """Return the number of opens in a file, which is read line by line."""
    last, found = b"{}", 0
    with file.open("rb", buffering=_BLOCK) as lines:
        for line in lines:
            last = line
            # Some taps emit the messages too; only opens count.
            if counted and counted in line[:200]:
                found += b"opens" in line[:200]
    return found if counted else int(json.loads(last)["rows"])


def output_of(command: Sequence[str]) -> bytes:
    """Run a command and return its stdout."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)  # noqa: S603 - our own
    return done.stdout


def median(runs: Sequence[Ran], name: str) -> float:
    """Return the median of one measurement over runs."""
    return float(statistics.median(getattr(ran, name) for ran in runs))
