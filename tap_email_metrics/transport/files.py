"""Small files that the processes of a machine share: locked, replaced as a whole."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

POLL = 0.05
"""Real seconds between two tries to lock a file: other processes live in real time."""
BRIEF = 10
"""Tries before the run's end is looked at: a lock is usually held for milliseconds, and
a run that is ending still gives back what it reserved."""


class SharedFile:
    """A file that one process at a time reads and replaces.

    Args:
        path: of the file; its folder is made for the user alone if it is missing.
            A symbolic link stays one: the file that it leads to is replaced.
        what: what it is, for messages.
        remedy: what to do where it cannot be kept.

    Raises:
        InvalidInput: the path is a circle of links.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self.path = _resolved(path, what)
        self._what = what
        self._remedy = remedy

    def __str__(self) -> str:
        return f"{self._what} {self.path}"

    @contextmanager
    def locked(self, check: Callable[[], None]) -> Iterator[None]:
        """Shut out the other processes while the file is read and replaced.

        The lock has a file of its own, which is never replaced or deleted: a lock on
        the replaced file would shut out nobody.

        Args:
            check: called while another process holds the lock; raises once waiting
                is of no more use.

        Raises:
            InvalidInput: the file system refuses.
            TapError: what `check` raises.
        """
        lock_file = self.path.with_suffix(".lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_file.touch(mode=0o600)
            with lock_file.open("a") as lock:
                _wait_for(lock, check)
                yield
        except OSError as error:
            raise InvalidInput(
                f"{self} cannot be kept: {error.strerror}. {self._remedy}"
            ) from error

    def read(self) -> bytes | None:
        """Return what the file holds, None where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def probe(self) -> None:
        """Write as `write` does, but leave the file alone.

        Raises:
            OSError: it could not be replaced.
        """
        self._prepare(b"probe").unlink()

    def write(self, content: bytes) -> None:
        """Replace the file as a whole, mode 0600, on disk before it is relied upon."""
        self._prepare(content).replace(self.path)
        _sync_directory(self.path.parent)

    def _prepare(self, content: bytes) -> Path:
        """Return a file beside it that holds the content, on disk."""
        temporary = self.path.with_suffix(".tmp")
        # Left by a process that died, if at all: the lock admits one writer.
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary


def _resolved(path: Path, what: str) -> Path:
    try:
        found = path.resolve()
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"{what} {path} is a circle of symbolic links") from error
    # From Python 3.13 on, a circle is left as it is.
    if found.is_symlink():
        raise InvalidInput(f"{what} {path} is a circle of symbolic links")
    return found


def _wait_for(lock: IO[str], check: Callable[[], None]) -> None:
    """Lock a file; a process that was stopped may hold it for ever."""
    tries = 0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tries += 1
            if tries >= BRIEF:
                check()
            time.sleep(POLL)
        else:
            return


def _sync_directory(directory: Path) -> None:
    """Put a rename in that directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_directory(
    environment: Mapping[str, str] | None = None, home: Path | None = None
) -> Path:
    """Return the directory for what the tap keeps on this machine; it may not exist.

    Args:
        environment: variables; the process's own if None.
        home: the user's; found by the system if None.

    Raises:
        InvalidInput: the user has no home, and XDG_STATE_HOME is not set.
    """
    variables = os.environ if environment is None else environment
    base = Path(variables.get("XDG_STATE_HOME", ""))
    # The XDG standard has relative paths ignored, as it has the empty one.
    if not base.is_absolute():
        base = (home or _home()) / ".local" / "state"
    return base / "tap-email-metrics"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InvalidInput(
            "this user has no home directory: set the variable XDG_STATE_HOME to a"
            " directory that the tap may write to"
        ) from error
