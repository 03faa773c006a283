"""Runs `meltano run` for one account, isolated from the runs of other accounts."""

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
FOREIGN = ("AIRFLOW", "MELTANO_CLI_LOG_")
"""Prefixes of variables that are hidden from a run. Airflow's hold secrets, and in a
log of another format or level the run summary would not be found."""
KINDS = ("extractors", "loaders", "mappers", "utilities")
_SUMMARY = '{"event": "run_summary"'
_STREAM = (
    *("outcome", "records", "requests", "parents", "parents_left"),
    *("unsettled", "behind_since", "headroom_days"),
)
"""Facts of a stream that go into the XCom. Those that may name messages, contacts or
logins stay out."""
_RUN = ("paused", "behind_since", "requests", "seconds", "reconciliation")


NO_SNAPSHOTS = [
    f"!constant_contact_{report}"
    for report in ("unique_opens", "links", "did_not_opens")
]
"""Streams that a backfill leaves out: they show the present, whatever the month.

Their rows are current only while another table names the same reading. Overlapping
runs of one account would each name their own reading.
"""


SELECTION = "_select_filter"
"""Meltano's setting that selects and deselects streams."""


class RunFailedError(Exception):
    """`meltano run` failed, wrote no run summary, or could not read all lists."""


@dataclass(frozen=True)
class Place:
    """The paths and the target of runs, the same on each worker.

    Attributes:
        meltano: the executable of Meltano.
        project: folder of the Meltano project, with its plugins installed.
        home: folder for logs, ledgers and tokens. All workers must share it if Constant
            Contact rotates tokens, or if a key has `runs_a_day` 1.
        loader: name of the target.
    """

    meltano: str
    project: Path
    home: Path
    loader: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the place from a worker's environment variables.

        Raises:
            KeyError: the variable of the project, the home or the loader is missing.
        """
        return cls(
            environment.get("EMAIL_METRICS_MELTANO", "meltano"),
            Path(environment["EMAIL_METRICS_PROJECT"]),
            Path(environment["EMAIL_METRICS_HOME"]),
            environment["EMAIL_METRICS_LOADER"],
        )

    def prepare(self, state: str) -> Path:
        """Create the system folder of a run, with links to the plugins; return it.

        Two runs in the same system folder would overwrite each other's configuration.
        """
        system = self.home / "runs" / state
        system.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            plugins, link = self.project / ".meltano" / kind, system / kind
            if not plugins.is_dir():
                continue
            # A release may have moved the project: the old plugins would go on running.
            if link.is_symlink() and link.resolve() != plugins.resolve():
                link.unlink()
            if not link.exists():
                link.symlink_to(plugins.resolve())
        return system

    def command(self, state: str) -> list[str]:
        """Return the command of a run.

        It never has --force, so Meltano refuses to start a second run of a state id,
        on any machine, until the heartbeat of the first is 5 minutes old.
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

        Airflow's variables are removed, because its connections hold the secrets of all
        accounts. The tap's ledger and tokens are in a folder per account: accounts with
        the same key would otherwise all count in one ledger, up to the share of one.
        """
        return {
            **{k: v for k, v in base.items() if not k.startswith(FOREIGN)},
            **variables(settings),
            "MELTANO_SYS_DIR_ROOT": str(self.home / "runs" / state),
            "XDG_STATE_HOME": str(self.home / "accounts" / account),
            "NO_COLOR": "1",
        }


def plain(setting: str) -> str:
    """Return the normal form of a setting's name, the same for all its spellings."""
    return setting.lower().replace(".", "_")


def variable(setting: str) -> str:
    """Return the environment variable from which Meltano reads a setting."""
    return PREFIX + plain(setting).upper()


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings under their normal names; later layers override earlier ones."""
    return {plain(name): value for layer in layers for name, value in layer.items()}


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as the environment variables from which Meltano reads them."""
    return {
        variable(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }


def output(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    """Run a command and yield the lines that it writes.

    The command stays in the caller's process group, so that ending the group ends it.

    Raises:
        RunFailedError: the exit code is not 0.
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
    """Return the run summary in a line of Meltano's log, None if it has none.

    Only counts and the tap's own words are kept: everybody who sees the DAG sees its
    XComs.
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
    # A list in quarantine is among the failed ones only if this run tried it again.
    unread = {*stream.get("failed", ()), *stream.get("quarantined", ())}
    counts["unread"] = len(unread) + stream.get("unsettled", 0)
    counts["set_aside"] = sum(stream.get("set_aside", {}).values())
    facts = {key: stream[key] for key in _STREAM if key in stream}
    return facts | counts


def months(first: str, last: str) -> list[str]:
    """Return the months from the first to the last, each in the form 2026-01.

    Raises:
        ValueError: an argument is not a month, or the last month is before the first.
    """
    start, end = _month(first), _month(last)
    if start > end:
        raise ValueError(f"{first} is later than {last}")
    return [f"{at // 12}-{at % 12 + 1:02}" for at in range(start, end + 1)]


def _month(text: str) -> int:
    day = date.fromisoformat(f"{text}-01")
    return day.year * 12 + day.month - 1


def interval(month: str) -> dict[str, Any]:
    """Return the settings of the backfill of a month."""
    following = _month(month) + 1
    return {
        "backfill": True,
        "start_date": f"{month}-01",
        "end_date": f"{following // 12}-{following % 12 + 1:02}-01",
    }


def selection(settings: Mapping[str, Any], base: Mapping[str, str]) -> dict[str, Any]:
    """Return the selection of a backfill: the account's own, without snapshots.

    Args:
        settings: the account's settings, as `merged` returns them.
        base: the environment, whose selection is used if the account has none.

    Raises:
        ValueError: the selection is not a list.
    """
    own = settings.get(plain(SELECTION)) or base.get(variable(SELECTION)) or []
    found = json.loads(own) if isinstance(own, str) else own
    if not isinstance(found, list):
        raise ValueError(f"{SELECTION} is not a list")  # noqa: TRY004 - of JSON
    return {SELECTION: [*found, *NO_SNAPSHOTS]}


def progress(said: Mapping[str, Any]) -> str:
    """Return the progress of a run in a few words, from its run summary."""
    streams = said["streams"]
    if not streams:
        return "waits for the requests of another day"
    read = len(streams.keys() - set(said["paused"]))
    left = sum(one.get("parents_left", 0) for one in streams.values())
    return f"{read} of {len(streams)} streams, {left} lists left"


def left_out(said: Mapping[str, Any]) -> str:
    """Return what a run could not read, in a few words; "" if it read everything.

    For each stream, it is the number of lists that failed, and of lists and windows
    that were not read whole. Streams without access count only if there is no other.
    """
    streams = said["streams"]
    if streams and set(streams) == set(_unavailable(said)):
        return "all streams"
    return ", ".join(
        f"{name}: {one['unread']}" for name, one in streams.items() if one.get("unread")
    )


def remarks(said: Mapping[str, Any]) -> str:
    """Return what a run says that another run would not mend, in a few words."""
    streams = said["streams"].values()
    counts = {
        "streams without access": len(_unavailable(said)),
        "rows set aside": sum(one.get("set_aside", 0) for one in streams),
        "lists that differ": said.get("reconciliation", {}).get("differs", 0),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _unavailable(said: Mapping[str, Any]) -> list[str]:
    streams = said["streams"].items()
    return [name for name, one in streams if one.get("outcome") == "unavailable"]


def state_of(account: str, *parts: str) -> str:
    """Return the state id of an account's runs, or of one month of a backfill.

    The id is also the name of a folder. Characters that a folder's name cannot have are
    replaced, and long parts are cut; a digest then keeps different ids different.
    """
    return ".".join([account, *map(_named, parts)])


def _named(part: str) -> str:
    name = re.sub("[^0-9A-Za-z]+", "-", part)[:60]
    if name == part:
        return name
    return f"{name}-{hashlib.sha256(part.encode()).hexdigest()[:12]}"


def worker() -> Place:
    """Return the place of this worker's runs."""
    return Place.of(os.environ)
