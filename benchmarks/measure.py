"""Processes, one at a time: what they wrote, and what that cost.

This process stays small: Linux counts the memory of a parent in a child's peak.
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
    """What a server serves.

    Attributes:
        parents: messages.
        rows: opens of each.
        latency: seconds before each answer.
        page: rows of a page at most.
    """

    parents: int = 1
    rows: int = 1
    latency: float = 0.0
    page: int = 1000


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running."""

    url: str
    world: World

    def ask(self, path: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return what a control path answers."""
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
    """A command that reads all opens, and how its records are counted.

    Attributes:
        name: in the tables.
        command: with `{url}` where the server's goes.
        env: additions to the environment.
        counted: begins a record's line; None: the last line says how many there were.
    """

    name: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    counted: bytes | None = b'"RECORD"'


@dataclass(frozen=True, slots=True)
class Ran:
    """What one process did.

    Attributes:
        records: of the opens.
        wall: seconds from start to end.
        cpu: seconds, user and system.
        rss: peak memory in MB.
        size: bytes of stdout.
        requests: that the server saw.
        first: seconds from the start to the first request.
        server_cpu: seconds that the server spent meanwhile.
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
        RuntimeError: it failed, or did not emit every row.
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

    The CPU of a shell includes that of the commands that it ran.
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
    """Return the records of a file's lines of opens, without holding the file."""
    last, found = b"{}", 0
    with file.open("rb", buffering=_BLOCK) as lines:
        for line in lines:
            last = line
            # The parents of a tap that cannot do without them do not count.
            if counted and counted in line[:200]:
                found += b"opens" in line[:200]
    return found if counted else int(json.loads(last)["rows"])


def output_of(command: Sequence[str]) -> bytes:
    """Return what a command writes to stdout."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)  # noqa: S603 - our own
    return done.stdout


def median(runs: Sequence[Ran], name: str) -> float:
    """Return the median of what runs say under a name."""
    return float(statistics.median(getattr(ran, name) for ran in runs))
