"""What the scripts start, ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from scripts.processes import stop

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
        process.stdout.readline()  # it has come to its waiting
        stop(process, seconds=5.0 if program == WAITS else 0.1)
        assert process.returncode == ended
