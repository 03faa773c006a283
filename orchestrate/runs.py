"""One `meltano run` of one account, apart from all others."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXTRACTOR = "tap-email-metrics"
PREFIX = "TAP_EMAIL_METRICS_"
FOREIGN = ("AIRFLOW", "MELTANO_CLI_LOG_FORMAT")
"""How variables begin that a run does not see: in a log of JSON it finds no summary."""
KINDS = ("extractors", "loaders", "mappers", "utilities")
_SUMMARY = '{"event": "run_summary"'
_STREAM = (
    *("outcome", "records", "requests", "parents", "parents_left"),
    *("unsettled", "behind_since", "headroom_days"),
)
"""What is told of a stream. Not what it names: ids of messages, of contacts, logins."""
_RUN = ("paused", "behind_since", "requests", "seconds", "reconciliation")


NO_SNAPSHOTS = [
    f"!constant_contact_{report}"
    for report in ("unique_opens", "links", "did_not_opens")
]
"""What is left out of a backfill: lists that show what is so now, whatever the month.

Their rows count where another table names the same reading; two runs of one account
that overlap, those of two months or a live one, would each name their own.
"""


SELECTION = "_select_filter"
"""Meltano's setting that leaves streams out."""


class RunFailedError(Exception):
    """`meltano run` ended with another code than 0, or did not say what it did."""


@dataclass(frozen=True)
class Place:
    """Where runs take place; the same on each worker.

    Attributes:
        meltano: its executable.
        project: folder of the Meltano project, its plugins installed.
        home: folder of what runs leave; with rotating tokens of Constant Contact, and
            where keys have `runs_a_day` 1, on a disk that all workers share.
        loader: name of the target.
    """

    meltano: str
    project: Path
    home: Path
    loader: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return what a worker's environment says.

        Raises:
            KeyError: the project, the home or the loader is missing.
        """
        return cls(
            environment.get("EMAIL_METRICS_MELTANO", "meltano"),
            Path(environment["EMAIL_METRICS_PROJECT"]),
            Path(environment["EMAIL_METRICS_HOME"]),
            environment["EMAIL_METRICS_LOADER"],
        )

    def prepare(self, state: str) -> Path:
        """Return the system folder of a run, made with links to the plugins.

        Two runs with one system folder write each other's configuration.
        """
        system = self.home / "runs" / state
        system.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            plugins, link = self.project / ".meltano" / kind, system / kind
            if plugins.is_dir() and not link.is_symlink():
                link.symlink_to(plugins.resolve())
        return system

    def command(self, state: str) -> list[str]:
        """Return the command of a run.

        Never with --force: Meltano lets no second run of a state begin while the first
        one's heart beats, on whichever machine. A retry has to wait until that is
        5 minutes ago.
        """
        suffix = f"--state-id-suffix={state}"
        return [self.meltano, "run", suffix, EXTRACTOR, self.loader]

    def environment(
        self,
        base: Mapping[str, str],
        account: str,
        state: str,
        settings: Mapping[str, Any],
    ) -> dict[str, str]:
        """Return the environment of a run.

        What is Airflow's stays out: its connections hold the secrets of everybody. The
        tap's ledger and tokens lie in the account's own folder: accounts that share a
        key would otherwise count in one ledger, each up to a share for all.
        """
        return {
            **{k: v for k, v in base.items() if not k.startswith(FOREIGN)},
            **variables(settings),
            "MELTANO_SYS_DIR_ROOT": str(self.home / "runs" / state),
            "XDG_STATE_HOME": str(self.home / "accounts" / account),
            "NO_COLOR": "1",
        }


def plain(setting: str) -> str:
    """Return the one spelling of a setting's name: two with one variable are one."""
    return setting.lower().replace(".", "_")


def variable(setting: str) -> str:
    """Return the name of the variable in which Meltano looks for a setting."""
    return PREFIX + plain(setting).upper()


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their one spelling; those of later layers count."""
    return {plain(name): value for layer in layers for name, value in layer.items()}


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as the variables in which Meltano looks for them."""
    return {
        variable(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }


def output(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield what a command writes, line by line, until it ends.

    It stays in the process group of its caller: whoever ends that ends all of it.

    Raises:
        RunFailedError: it ended with another code than 0.
    """
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        if process.stdout:
            for line in process.stdout:
                yield line.rstrip("\n")
    if process.returncode:
        raise RunFailedError(f"meltano run ended with {process.returncode}.")


def summary(line: str) -> dict[str, Any] | None:
    """Return what a line of Meltano's log holds of the run summary, if it is that.

    Numbers and words of the tap's own only: an XCom is shown to all who see the DAG.
    """
    at = line.find(_SUMMARY)
    if at < 0:
        return None
    try:
        said, _ = json.JSONDecoder().raw_decode(line, at)
    except ValueError:
        return None
    streams = {name: _told(stream) for name, stream in said["streams"].items()}
    differing = len(said.get("differing", ()))
    return {
        **{key: said[key] for key in _RUN if key in said},
        "differing": differing,
        "streams": streams,
    }


def _told(stream: Mapping[str, Any]) -> dict[str, Any]:
    counts = {
        what: len(stream[what]) for what in ("failed", "quarantined") if what in stream
    }
    return {key: stream[key] for key in _STREAM if key in stream} | counts


def months(first: str, last: str) -> list[str]:
    """Return the months from the first to the last, both as 2026-01.

    Raises:
        ValueError: they are no months, or the last one comes first.
    """
    start, end = _month(first), _month(last)
    if start > end:
        raise ValueError(f"{first} is later than {last}")
    return [f"{at // 12}-{at % 12 + 1:02}" for at in range(start, end + 1)]


def _month(text: str) -> int:
    day = date.fromisoformat(f"{text}-01")
    return day.year * 12 + day.month - 1


def interval(month: str) -> dict[str, Any]:
    """Return the settings of a month's backfill."""
    following = _month(month) + 1
    return {
        "backfill": True,
        "start_date": f"{month}-01",
        "end_date": f"{following // 12}-{following % 12 + 1:02}-01",
    }


def selection(settings: Mapping[str, Any], base: Mapping[str, str]) -> dict[str, Any]:
    """Return the setting by which a backfill leaves streams out.

    Args:
        settings: of the account, as `merged` returns them; what they leave out stays
            out.
        base: the environment, which may leave out something for all accounts.

    Raises:
        ValueError: what they leave out is no list.
    """
    own = settings.get(plain(SELECTION)) or base.get(variable(SELECTION)) or []
    found = json.loads(own) if isinstance(own, str) else own
    if not isinstance(found, list):
        raise ValueError(f"{SELECTION} is no list")  # noqa: TRY004 - of JSON
    return {SELECTION: [*found, *NO_SNAPSHOTS]}


def progress(said: Mapping[str, Any]) -> str:
    """Return in a few words how far a run summary says that a run got."""
    streams = said["streams"].values()
    paused = set(said["paused"])
    left = sum(one.get("parents_left", 0) for one in streams)
    return f"{len(streams) - len(paused)} of {len(streams)} streams, {left} lists left"


def left_out(said: Mapping[str, Any]) -> str:
    """Return how many lists of which streams a run could not read, "" for none."""
    streams = said["streams"].items()
    return ", ".join(
        f"{name}: {one['failed']}" for name, one in streams if one.get("failed")
    )


def state_of(account: str, *parts: str) -> str:
    """Return the state id of an account's runs, or of a part of a backfill.

    It names a folder, too. What cannot stand in a name is replaced, so the id of a part
    ends in a digest where that, or a cut, could make one name of two.
    """
    return ".".join([account, *map(_named, parts)])


def _named(part: str) -> str:
    name = re.sub("[^0-9A-Za-z]+", "-", part)[:60]
    if name == part:
        return name
    return f"{name}-{hashlib.sha256(part.encode()).hexdigest()[:12]}"


def worker() -> Place:
    """Return where this worker's runs take place."""
    return Place.of(os.environ)
