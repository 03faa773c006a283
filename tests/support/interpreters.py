"""Print the other supported Pythons on this machine, one per line.

A line holds the version and the interpreter's path. Nothing is ever downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13", "3.14", "3.15")


def main() -> None:
    """Print version and path of each supported interpreter except the running one."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in SUPPORTED:
        if version == running:
            continue
        path = find(version)
        if path is None:
            sys.stderr.write(f"Python {version} is not here: not tested.\n")
        else:
            sys.stdout.write(f"{version} {path}\n")


def find(version: str) -> Path | None:
    """Return a working interpreter of this minor version, if there is one."""
    return next((path for path in candidates(version) if runs(path, version)), None)


def candidates(version: str) -> list[Path]:
    """Return candidates for an interpreter: on PATH, then pyenv's, then uv's."""
    name = f"python{version}"
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    managed = Path.home() / ".local/share/uv/python"
    folders += sorted((pyenv / "versions").glob(f"{version}.*/bin"), reverse=True)
    folders += sorted(managed.glob(f"cpython-{version}.*/bin"), reverse=True)
    return [folder / name for folder in folders if (folder / name).is_file()]


def runs(path: Path, version: str) -> bool:
    """Return whether it starts with the version in its name (pyenv's shims may not)."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run(  # noqa: S603 - an interpreter found on this machine
        [path, "-c", code], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and done.stdout.strip() == version


if __name__ == "__main__":
    main()
