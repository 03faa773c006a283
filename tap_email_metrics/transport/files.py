"""Small files that processes of a machine share, with a lock and atomic replacement."""

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

LOCK_POLL = 0.05
"""Real seconds between two tries to lock a file, because other processes do not share
the tap's clock."""
BRIEF = 10
"""Tries before the end of the run is checked. A lock is usually held for milliseconds,
and a run that ends still has to return its reserved requests."""


class SharedFile:
    """A file that one process at a time reads and replaces.

    Args:
        path: path of the file. Its folder is created with access for the user only. If
            the path is a symbolic link, the file that it points to is replaced.
        what: name of the file in messages.
        remedy: advice for the user if the file cannot be written.

    Raises:
        InvalidInput: the path is no file, or its symbolic links form a circle.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self.path = resolved(path, what)
        self._what = what
        self._remedy = remedy

    def __str__(self) -> str:
        return f"{self._what} {self.path}"

    @contextmanager
    def locked(self, check: Callable[[], None]) -> Iterator[None]:
        """Hold a lock while the file is read and replaced.

        The lock is on a separate file, which is never replaced or deleted. A lock on
        the file itself would be lost when the file is replaced.

        Args:
            check: called while another process holds the lock; raises once the run
                ends.

        Raises:
            InvalidInput: the file cannot be read or written.
            TapError: what `check` raises.
        """
        lock_file = self._beside(".lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_file.touch(mode=0o600)
            with lock_file.open("a") as lock:
                _wait_for(lock, check)
                yield
        except OSError as error:
            raise InvalidInput(
                f"{self} cannot be written: {error.strerror}. {self._remedy}"
            ) from error

    def read(self) -> bytes | None:
        """Return the content of the file, None if there is no file."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def probe(self) -> None:
        """Test whether `write` would succeed, without changing the file.

        Raises:
            OSError: the file could not be replaced.
        """
        self._prepare(b"probe").unlink()

    def write(self, content: bytes) -> None:
        """Replace the file atomically, with mode 0600; return once it is on disk."""
        self._prepare(content).replace(self.path)
        _sync_directory(self.path.parent)

    def _beside(self, ending: str) -> Path:
        """Return a file in the same folder that no file of another name shares."""
        return self.path.with_name(self.path.name + ending)

    def _prepare(self, content: bytes) -> Path:
        """Write the content to a temporary file in the same folder, and return it."""
        temporary = self._beside(".tmp")
        # A process that died may have left it: the lock allows only one writer.
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary


def resolved(path: Path, what: str) -> Path:
    """Return the file that a path leads to through its symbolic links.

    Args:
        path: path of the file, which may not exist.
        what: name of the file in messages.

    Raises:
        InvalidInput: the path is no file, or its symbolic links form a circle, or this
            user may not look into its folder.
    """
    try:
        found = path.resolve()
        # From Python 3.13 on, `resolve` returns a circle of links as it is.
        is_circle = found.is_symlink()
        is_file = found.is_file() or not found.exists()
    except RuntimeError:
        is_circle = True
    except OSError as error:
        raise InvalidInput(f"{what} {path} is not usable: {error.strerror}") from error
    if is_circle:
        raise InvalidInput(f"{what} {path} is a circle of symbolic links")
    if not is_file:
        raise InvalidInput(f"{what} {path} is not a file, but a folder or a device")
    return found


def _wait_for(lock: IO[str], check: Callable[[], None]) -> None:
    """Lock a file; keep trying, because a suspended process may hold the lock."""
    tries = 0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tries += 1
            if tries >= BRIEF:
                check()
            time.sleep(LOCK_POLL)
        else:
            return


def _sync_directory(directory: Path) -> None:
    """Write a rename in a directory to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_directory(
    environment: Mapping[str, str] | None = None, home: Path | None = None
) -> Path:
    """Return the directory for the tap's files on this machine; it may not exist.

    Args:
        environment: environment variables; those of the process if None.
        home: home directory of the user; the system's answer if None.

    Raises:
        InvalidInput: the user has no home, and XDG_STATE_HOME is not set.
    """
    variables = os.environ if environment is None else environment
    base = Path(variables.get("XDG_STATE_HOME", ""))
    # The XDG standard says to ignore relative and empty paths.
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
