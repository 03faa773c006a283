"""The simulator as a separate process, controlled through its interface."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, Self

import requests

from simulator.clock import DAY
from simulator.constant_contact.truth import KEYS as CONSTANT_CONTACT_KEYS
from simulator.luxsci.truth import KEYS as LUXSCI_KEYS
from simulator.sizes import LARGEST
from tests.support.project import ROOT, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

#: Streams of Constant Contact that nobody gets without asking for them.
ON_REQUEST = (
    "constant_contact_did_not_opens",
    "constant_contact_contact_activity_details",
    "constant_contact_contact_activity_summary",
    "constant_contact_contact_open_and_click_rates",
)
#: The streams and their keys, as a warehouse has to hold them.
KEYS: dict[str, tuple[str, ...]] = {
    "encompass_messages": ("account", "id"),
    "encompass_recipients": ("account", "message_id", "id"),
    "encompass_opens": ("account", "message_id", "id"),
    "encompass_clicks": ("account", "message_id", "id"),
    "encompass_bounces": ("account", "message_id", "id"),
    "encompass_delivers": ("account", "message_id", "id"),
    "encompass_links": ("account", "message_id", "id"),
    **{s: key for s, key in CONSTANT_CONTACT_KEYS.items() if s not in ON_REQUEST},
    **LUXSCI_KEYS,
}
#: Requests a second that the world allows Constant Contact, and that the tap makes.
PACE = 100
#: The same for LuxSci in a minute, and how many the tap makes in a day: a first sync
#: takes 364 requests for each of the six daily summaries.
LUXSCI_PACE, LUXSCI_DAILY = 60_000, 1_000_000
#: Days before the tap's first run from which on it reads LuxSci's lists.
LUXSCI_DAYS = 365
TIMEOUT = 120


class Moving(Protocol):
    """A simulated world that changes from run to run."""

    def now(self) -> float:
        """Return the world's time in UTC seconds."""

    def change(self, *steps: dict[str, Any]) -> list[Any]:
        """Make changes; return the id of each added object, None for other changes."""

    def truth(self, stream: str, at: Iterable[float]) -> list[dict[str, Any]]:
        """Return the rows that readings of a stream at these instants must give."""


class World:
    """A running simulator; it ends with the block.

    Attributes:
        url: where it listens.
        config: file with the settings that the tap needs to read it.
        environment: what the tap's process needs beside them: the requests of this
            world count in no ledger of the user's.
    """

    def __init__(  # noqa: PLR0913 - the parts of a world
        self,
        folder: Path,
        *,
        seed: int,
        size: int,
        campaigns: int = 0,
        luxsci: int = 0,
        largest: int = LARGEST,
        audience: int = 0,
        days_behind: float = 20,
    ) -> None:
        self.config = folder / "tap.json"
        self.environment = {"XDG_STATE_HOME": str(folder.resolve() / "state")}
        # The tap's first run goes by the real clock: it has asked for nothing yet.
        self._first = time.time() - LUXSCI_DAYS * DAY
        command = [sys.executable, "-m", "simulator"]
        command += ["--days-behind", str(days_behind)]
        command += ["--port", "0", "--seed", str(seed), "--size", str(size)]
        command += ["--largest", str(largest), "--campaigns", str(campaigns)]
        command += ["--requests-per-second", str(PACE)]
        command += ["--luxsci", str(luxsci), "--requests-per-minute", str(LUXSCI_PACE)]
        command += ["--audience", str(audience), "--config-out", str(self.config)]
        self._process = subprocess.Popen(  # noqa: S603 - our own simulator
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        if self._process.stdout is None:
            raise RuntimeError("The simulator has no output.")
        self.url: str = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise RuntimeError("The simulator did not start.")
        self._session = requests.Session()
        if luxsci:
            self.change({"do": "luxsci.set_policy", "requests_per_day": 0})
            self._allow_many_requests()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()
        self._process.terminate()
        self._process.communicate(timeout=30)

    @property
    def settings(self) -> dict[str, str]:
        """The tap's settings for this world, as environment variables of Meltano."""
        return {**read_settings(self.config), **self.environment}

    def _allow_many_requests(self) -> None:
        config = json.loads(self.config.read_text())
        config["luxsci"]["daily_requests"] = LUXSCI_DAILY
        self.config.write_text(json.dumps(config))

    def now(self) -> float:
        """Return the world's time in UTC seconds."""
        return float(self._ask("GET", "clock").json()["now"])

    def advance(self, days: float) -> None:
        """Advance the clock by a number of days."""
        self._ask("POST", "clock", {"advance_days": days})

    def change(self, *steps: dict[str, Any]) -> list[Any]:
        """Make changes; return the id of each added object, None for other changes."""
        ids: list[Any] = self._ask("POST", "script", list(steps)).json()
        return ids

    def truth(self, stream: str, at: Iterable[float]) -> list[dict[str, Any]]:
        """Return the rows that readings of a stream at these instants must give."""
        instants = ",".join(map(repr, at))
        answer = self._ask("GET", f"truth/{stream}?at={instants}&start={self._first}")
        rows = [json.loads(line) for line in answer.iter_lines()]
        # A list that nobody read has no complete reading.
        return [
            row
            for row in rows
            if f"constant_contact_{row.get('report')}" not in ON_REQUEST
        ]

    def forget_requests(self) -> None:
        """Reset the count of requests."""
        self._ask("DELETE", "requests")

    def served(self) -> dict[str, int]:
        """Return the number of requests by path template."""
        counts: dict[str, int] = {}
        for entry in self._ask("GET", "requests").json()["counts"]:
            path = entry["path"]
            counts[path] = counts.get(path, 0) + entry["count"]
        return counts

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response:
        answer = self._session.request(
            method, f"{self.url}/_sim/{path}", json=body, timeout=TIMEOUT
        )
        answer.raise_for_status()
        return answer
