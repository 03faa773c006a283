"""Scripts end the processes that they start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.orchestrate.airflow import Airflow
from tests.support.processes import stop
from tests.support.project import CommandFailedError

if TYPE_CHECKING:
    from pathlib import Path

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
WAITS = "print(flush=True); import time; time.sleep(60)"


@pytest.mark.parametrize(
    ("program", "ended"),
    [(WAITS, -signal.SIGTERM), (f"{DEAF}; {WAITS}", -signal.SIGKILL)],
)
def test_a_process_that_does_not_end_in_time_is_killed(
    program: str, ended: int
) -> None:
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", program], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()  # until the process waits
        stop(process, seconds=5.0 if program == WAITS else 0.1)
        assert process.returncode == ended


@pytest.mark.parametrize("part", ["api-server", "scheduler"])
def test_a_dead_process_of_airflow_is_an_error_at_once(
    part: str, tmp_path: Path
) -> None:
    program = tmp_path / "airflow"
    program.write_text(
        f"#!/bin/sh\ncase $1 in db) ;; {part}) exit 3;; *) exec sleep 60; esac"
    )
    program.chmod(0o755)
    airflow = Airflow(tmp_path / "home", tmp_path, "sqlite://", {}, parallelism=1)
    airflow.program = program
    began = time.monotonic()
    with pytest.raises(CommandFailedError, match=f"{part} ended with 3"), airflow:
        pass
    assert time.monotonic() - began < 30
