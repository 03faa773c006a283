"""A throw-away Meltano project with this repository's `meltano.yml` in it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
MELTANO = CACHE / "meltano" / "bin" / "meltano"
#: Where `tests.support.plugins` installs; other projects link to its plugins.
PLUGINS = CACHE / "plugins"

#: The first Python that dbt does not run on.
DBT_ENDS = (3, 14)

SUMMARY = '{"event": "run_summary"'


class CommandFailedError(Exception):
    """A command of Meltano failed."""


@dataclass(frozen=True)
class Finished:
    """The result of a command of Meltano."""

    code: int
    output: str
    log: str

    def run_summary(self) -> dict[str, Any]:
        """Return the run summary of the tap."""
        found: dict[str, Any] = {}
        for line in self.log.splitlines():
            text = plugin_text(line)
            at = text.find(SUMMARY)
            if at >= 0:
                found, _ = json.JSONDecoder().raw_decode(text, at)
        if not found:
            raise CommandFailedError("The tap's log holds no run summary.\n" + self.log)
        return found


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def plugin_text(line: str) -> str:
    """Return a plugin's line without the JSON that Meltano's log wraps it in."""
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line


def read_settings(file: Path) -> dict[str, str]:
    """Return the tap's config file as the environment variables of its plugin."""
    return dict(flat_settings("TAP_EMAIL_METRICS", json.loads(file.read_text())))


def flat_settings(prefix: str, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of one level and below, named as Meltano names them."""
    flat: list[tuple[str, str]] = []
    for name, value in settings.items():
        variable = f"{prefix}_{name.upper()}"
        if isinstance(value, dict):
            flat += flat_settings(variable, value)
        elif isinstance(value, list):
            flat.append((variable, json.dumps(value)))
        else:
            # Meltano's integers take no fraction, not even that of 4.0.
            text = f"{value:g}" if isinstance(value, float) else str(value)
            flat.append((variable, text))
    return flat


@dataclass(frozen=True)
class Project:
    """A separate Meltano project with its own state, logs and environment.

    Attributes:
        settings: variables of its environment.
        executables: what plugins start in place of their own executables, by these.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    executables: Mapping[str, Path] = field(default_factory=dict)

    def create(self) -> Project:
        """Create the project, with plugins that were installed before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.define()
        system = self.folder / ".meltano"
        system.mkdir()
        for kind in ("extractors", "loaders", "utilities"):
            (system / kind).symlink_to(PLUGINS / ".meltano" / kind)
        return self

    def define(self) -> Project:
        """Write its `meltano.yml`: the repository's, with another path of the tap."""
        definition = (ROOT / "meltano.yml").read_text()
        if definition.count("pip_url: -e .\n") != 1:
            raise CommandFailedError("meltano.yml does not install the tap from here.")
        self.folder.mkdir(parents=True, exist_ok=True)
        transform = self.folder / "transform"
        if not transform.exists():
            transform.symlink_to(ROOT / "transform")
        definition = definition.replace("pip_url: -e .\n", f"pip_url: -e {ROOT}\n")
        if sys.version_info < DBT_ENDS:
            # No second interpreter is needed then.
            definition = definition.replace(
                "namespace: dbt_postgres\n    python: python3.11\n",
                "namespace: dbt_postgres\n",
            )
        for name, file in self.executables.items():
            definition = definition.replace(
                f"executable: {name}\n", f"executable: {file}\n"
            )
        self.folder.joinpath("meltano.yml").write_text(definition)
        return self

    def environment(self) -> dict[str, str]:
        """Return an environment without the user's own settings."""
        foreign = (
            *("MELTANO_", "TAP_", "TARGET_", "DBT_", "EMAIL_METRICS_"),
            *("PYTHONDONTWRITEBYTECODE", "VIRTUAL_"),
        )
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(foreign)},
            "MELTANO_CLI_LOG_FORMAT": "json",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "NO_COLOR": "1",
            **self.settings,
        }

    def try_meltano(self, *arguments: str, timeout: float = 600) -> Finished:
        """Run a command of Meltano and return its result."""
        done = subprocess.run(  # noqa: S603 - our own installation of Meltano
            [MELTANO, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def meltano(self, *arguments: str, timeout: float = 600) -> Finished:
        """Run a command of Meltano that must succeed."""
        done = self.try_meltano(*arguments, timeout=timeout)
        if done.code:
            tail = "\n".join(map(plugin_text, done.log.splitlines()[-40:]))
            raise CommandFailedError(
                f"meltano {' '.join(arguments)} ended with {done.code}:\n"
                f"{done.output}\n{tail}"
            )
        return done
