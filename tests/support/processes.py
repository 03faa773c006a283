"""Ends the processes of a script, and prints at once."""

from __future__ import annotations

import subprocess
import sys

ENDING = 60.0
"""Seconds that a server has to end after it was asked to."""


def stop(*processes: subprocess.Popen[bytes], seconds: float = ENDING) -> None:
    """End processes, the last one first; kill those that do not end in time."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(text: str) -> None:
    """Print without buffering."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
