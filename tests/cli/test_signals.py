"""The end of a process: signals, a blocked stdout, a target that died."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from singer_sdk.singerlib import StateMessage

from simulator.server import SimulatorServer, serve
from tap_email_metrics.control import Stop
from tap_email_metrics.records.writer import Writer
from tests.support.cli import (
    Ended,
    config,
    run,
    small_world,
    started,
    wait_until,
    write,
)
from tests.support.encompass import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cli import Live

pytestmark = pytest.mark.slow

WITHIN = 10.0
"""Seconds within which a terminated tap must end."""
FULL = 40_000
"""The least number of bytes in a full pipe of 64 KiB that accepts no more blocks."""


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with serve(small_world()) as running:
        yield running


@pytest.fixture
def large() -> Iterator[SimulatorServer]:
    """Serve far more rows than a pipe and the tap's buffers can hold."""
    with serve(small_world(opens=3000, messages=1)) as running:
        yield running


def assert_goes_on(folder: Path, server: SimulatorServer, lines: str) -> None:
    """Check that a run from the last complete STATE adds the missing rows."""
    server.world.faults.clear()
    whole = lines[: lines.rfind("\n") + 1]
    first = Ended(0, whole, "")
    state = write(folder, "state.json", first.of("STATE")[-1]["value"])
    second = run(folder, config(server), "--state", state)
    assert second.code == 0, second.err
    target = Target()
    target.load(first.messages + second.messages)
    assert target.differences(server.world) == []


def torn(ended: Ended) -> str:
    """Return the text after the last complete line."""
    return ended.out[ended.out.rfind("\n") + 1 :]


def fill(live: Live) -> None:
    """Wait until the tap is blocked on its stdout."""
    wait_until(lambda: live.waiting > FULL)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_after_a_signal_while_reading_the_next_run_continues_from_the_state(
    tmp_path: Path, server: SimulatorServer, number: int, code: int
) -> None:
    world = server.world
    world.faults.add("slow", path="/1/clicks$", seconds=60)
    with started(tmp_path, config(server)) as live:
        live.read()
        wait_until(lambda: world.log.count("/v2/messages/{id}/clicks") == 3)
        live.process.send_signal(number)
        ended = live.end(WITHIN)
    assert ended.code == code
    assert ended.state
    assert ended.troubles == []
    assert len(ended.of("RECORD", "encompass_opens")) == 9
    assert ended.of("RECORD", "encompass_recipients") == []
    assert ended.summary["paused"][0] == "encompass_clicks"
    assert_goes_on(tmp_path, server, ended.out)


@pytest.mark.parametrize("kind", ["slow", "status"])
def test_a_signal_while_authenticating_ends_the_run(
    tmp_path: Path, server: SimulatorServer, kind: str
) -> None:
    world = server.world
    world.faults.add(kind, path="authenticate", seconds=60, retry_after="60")
    with started(tmp_path, config(server)) as live:
        live.read()
        wait_until(world.log.count)
        live.process.terminate()
        ended = live.end(WITHIN)
    assert ended.code == 143
    assert ended.rows() == []
    assert_goes_on(tmp_path, server, ended.out)


def test_a_signal_while_stdout_is_blocked_leaves_no_torn_state(
    tmp_path: Path, large: SimulatorServer
) -> None:
    with started(tmp_path, config(large)) as live:
        fill(live)
        live.process.terminate()
        ended = live.end(WITHIN)
    assert ended.code == 143
    assert "stdout is blocked" in ended.err
    # A record may be torn because the pipe was already full; a STATE never is.
    assert torn(ended).startswith('{"type":"RECORD"')
    assert_goes_on(tmp_path, large, ended.out)


def test_a_target_that_reads_again_gets_the_last_state(
    tmp_path: Path, large: SimulatorServer
) -> None:
    with started(tmp_path, config(large)) as live:
        fill(live)
        live.process.terminate()
        before = time.monotonic()
        # The tap waits for the target for longer than between two of its checks.
        wait_until(lambda: time.monotonic() - before > 1)
        assert live.process.poll() is None
        live.read()
        ended = live.end(WITHIN)
    assert ended.code == 143
    assert ended.state
    assert_goes_on(tmp_path, large, ended.out)


def test_a_slow_target_gets_whole_lines(tmp_path: Path, large: SimulatorServer) -> None:
    with started(tmp_path, config(large)) as live:
        fill(live)
        live.process.terminate()
        end = time.monotonic() + WITHIN
        while live.process.poll() is None:
            assert time.monotonic() < end
            live.take(2560)  # so that the pipe is never full for long
            time.sleep(0.1)
        ended = live.end(1)
    assert ended.code == 143
    assert_goes_on(tmp_path, large, ended.out)


def test_a_target_that_is_too_slow_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In this process, because no pipe or buffer is large enough to show it.
    ours, theirs = os.pipe()
    writer = Writer()
    writer.stop = Stop()
    writer.stop.by_signal(signal.SIGTERM)
    ended = threading.Event()

    def leave(code: int) -> None:
        raise SystemExit(code)

    def read() -> None:
        while not ended.wait(0.01) and os.read(ours, 4096):
            pass

    monkeypatch.setattr("tap_email_metrics.records.writer._PATIENCE", 0.5)
    monkeypatch.setattr("os._exit", leave)
    reader = threading.Thread(target=read)
    with os.fdopen(theirs, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        reader.start()
        with pytest.raises(SystemExit) as left:
            writer.write_message(StateMessage(value={"much": "x" * 4_000_000}))
        ended.set()
    reader.join()
    os.close(ours)
    assert left.value.code == 143


def test_a_target_that_dies_while_the_tap_writes_is_one_error_line(
    tmp_path: Path, large: SimulatorServer
) -> None:
    with started(tmp_path, config(large)) as live:
        fill(live)
        assert live.process.stdout is not None
        live.process.stdout.close()
        ended = live.end(WITHIN)
    assert ended.code == 1
    (line,) = ended.troubles
    assert "stdout cannot be written" in line
    assert ended.summary["streams"]["encompass_links"]["outcome"] == "terminated"


@pytest.mark.parametrize("path", ["authenticate", "/v2/messages$", "/1/opens$"])
def test_a_target_that_dies_while_the_tap_waits_is_noticed(
    tmp_path: Path, server: SimulatorServer, path: str
) -> None:
    server.world.faults.add("slow", path=path, seconds=60)
    with started(tmp_path, config(server)) as live:
        wait_until(lambda: any(e.fault for e in server.world.log.entries))
        assert live.process.stdout is not None
        live.process.stdout.close()
        ended = live.end(WITHIN)
    assert ended.code == 1
    (line,) = ended.troubles
    assert "its reader has closed it" in line


def test_a_full_disk_is_one_error_line(tmp_path: Path, server: SimulatorServer) -> None:
    with started(tmp_path, config(server), into="/dev/full") as live:
        ended = live.end(WITHIN)
    assert ended.code == 1
    (line,) = ended.troubles
    assert "stdout cannot be written (No space left on device)" in line
