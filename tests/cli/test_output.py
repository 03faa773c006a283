"""The output of the command: messages on stdout, log lines on stderr."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

from simulator.clock import SimClock
from simulator.server import serve
from simulator.world import World
from tap_email_metrics.control import Control
from tap_email_metrics.run.report import Progress, StreamReport
from tests.support.cli import arguments, config, run, small_world, wait_until
from tests.support.encompass import STREAMS, Target
from tests.support.state import flat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_schema_comes_before_records_and_state_comes_last(tmp_path: Path) -> None:
    world = World.generate(3, 5, small_world().clock.now())
    with serve(world) as server:
        ended = run(tmp_path, config(server))
    assert ended.code == 0, ended.err
    kinds = {message["type"] for message in ended.messages}
    assert kinds == {"SCHEMA", "RECORD", "STATE"}
    described: set[str] = set()
    seen: dict[tuple[str, str], int] = {}
    rows: dict[tuple[str, str], int] = {}
    for message in ended.messages:
        stream = message.get("stream", "")
        if message["type"] == "SCHEMA":
            described.add(stream)
        elif message["type"] == "RECORD":
            assert stream in described
            parent = str(message["record"].get("message_id"))
            seen[stream, parent] = seen.get((stream, parent), 0) + 1
        else:
            # Records covered by a mark were written before it.
            for stream, entry in flat(message["value"]).items():
                for parent, mark in entry.get("marks", {}).items():
                    known = seen.get((stream, parent), 0)
                    rows.setdefault((stream, parent), known)
                    assert rows[stream, parent] == known, mark
    assert rows == {key: count for key, count in seen.items() if key in rows} | {
        key: 0 for key in rows if key not in seen
    }
    assert ended.messages[-1]["type"] == "STATE"
    target = Target()
    target.load(ended.messages)
    assert target.differences(world) == []


def test_the_summary_counts_the_records_and_requests_of_the_run(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        ended = run(tmp_path, config(server))
        asked = server.world.log.count()
    summary = ended.summary
    assert list(summary["streams"]) == list(STREAMS)
    for stream, report in summary["streams"].items():
        assert report["outcome"] == "complete"
        assert report["records"] == len(ended.of("RECORD", stream))
    assert summary["requests"] == asked


def test_a_run_logs_a_line_for_each_stream_and_a_summary(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        ended = run(tmp_path, config(server))
    said = [line.rpartition(" | ")[2] for line in ended.err.splitlines()]
    assert not [line for line in said if line.startswith(("METRIC", "Beginning"))]
    assert said.count("encompass: 7 streams, read for the first time") == 1
    for stream, report in ended.summary["streams"].items():
        [line] = [one for one in said if one.startswith(f"{stream}: complete, ")]
        records, requests = report["records"], report["requests"]
        counts = f"{records} record{'s' * (records != 1)}"
        counts += f", {requests} request{'s' * (requests != 1)}, "
        assert counts in line
    # The table for people comes right before the line for programs.
    count = len(ended.summary["streams"])
    head, *rows = said[-count - 2 : -1]
    assert head.split() == ["stream", "outcome", "records", "requests", "seconds"]
    assert [row.split()[0] for row in rows] == list(ended.summary["streams"])
    assert len({len(row) for row in (head, *rows)}) == 1


def test_the_log_level_debug_shows_the_lines_of_the_sdk(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        ended = run(
            tmp_path,
            config(server),
            env={"TAP_EMAIL_METRICS_LOGLEVEL": "DEBUG"},
        )
    assert "METRIC" in ended.err
    assert "Beginning sync of" in ended.err


def test_progress_is_logged_every_30_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = SimClock(0)
    with (
        caplog.at_level(logging.INFO),
        Progress(
            Control(clock, logging.getLogger("test")), "opens", StreamReport(), 3
        ) as progress,
    ):
        for seconds in (29, 0.5, 0.5, 29.5, 0.5):
            clock.advance(seconds)
            progress.done() if seconds == 0.5 else progress.tick()
    assert [record.getMessage() for record in caplog.records] == [
        "opens: 2 parents done, 1 left, 0 records, 0 requests",
        "opens: 3 parents done, 0 left, 0 records, 0 requests",
    ]


def test_a_terminal_shows_a_progress_bar(tmp_path: Path) -> None:
    shown = bytearray()
    ours, theirs = pty.openpty()
    with serve(small_world()) as server:
        server.world.faults.add("slow", path="/opens$", seconds=0.3)
        process = subprocess.Popen(  # noqa: S603 - our own tap
            arguments(tmp_path, config(server, max_concurrency=1)),
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)

        def ended() -> bool:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the terminal ended with the process
                return True
            shown.extend(data)
            return not data

        with process:
            wait_until(ended)
            assert process.wait(10) == 0
    os.close(ours)
    text = shown.decode()
    assert "encompass_opens  [" in text
    assert "66%" in text
    assert "100%" in text
    assert "parents done" not in text
