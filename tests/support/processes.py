"""Processes that a script has started, and what it says of them."""

from __future__ import annotations

import subprocess
import sys

ENDING = 60.0
"""Seconds in which a server has to end once it is asked to."""


def stop(*processes: subprocess.Popen[bytes], seconds: float = ENDING) -> None:
    """End processes, the last one first; those that do not end in time are killed."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
