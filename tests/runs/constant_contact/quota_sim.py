"""Simulate a backfill of Constant Contact that takes several daily quotas.

`python -m tests.runs.constant_contact.quota_sim` runs the real tap against the
simulator, in this process and on the simulated clock: each day until its budget is
spent, then on the next day. It prints the cost of each day and compares the target with
the truth. The exit code is 1 if a row differs, a request got a 429, or a day took more
requests than allowed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from simulator.adapter import SimulatorAdapter, jitter
from simulator.clock import ThreadedClock
from simulator.constant_contact.truth import KEYS, truth
from simulator.world import World
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.processes import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY = 86_400
DAYS = 3
CAMPAIGNS = 1_700
"""The number of campaigns that take about 25,000 calls to read."""
DAILY, PER_SECOND = 9_500, 4
SNAPSHOTS = ("constant_contact_unique_opens", "constant_contact_links")
READINGS = "constant_contact_snapshots"
TOO_MANY = 429
FINE = {"complete", "incomplete", "empty", "paused"}
BETWEEN = 60.0
"""Seconds from the end of a run to the start of the next by a scheduler."""
ONE_WAY = (0.14, 0.16)
"""Seconds of the way of a request to the server, and of the answer back."""
URL = "https://api.example.test"
Row = dict[str, Any]
Rows = dict[str, dict[tuple[Any, ...], Row]]


@dataclass
class Today:
    """The cost of one simulated day."""

    runs: int = 0
    calls: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    paused: bool = False

    @property
    def rate(self) -> float:
        """Calls per second while the tap ran, as a share of the limit."""
        return self.calls / self.seconds / PER_SECOND if self.seconds else 0.0


class Target(Writer):
    """Upserts the records of the tap by key and keeps the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Rows = {}
        self.state: dict[str, Any] = {}

    @override
    def flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        for message in map(json.loads, data.splitlines()):
            if message["type"] == "STATE":
                self.state = message["value"]
            elif message["type"] == "RECORD" and message["stream"] in KEYS:
                stream, row = message["stream"], message["record"]
                key = tuple(row[name] for name in KEYS[stream])
                self.rows.setdefault(stream, {})[key] = row


@dataclass
class Simulation:
    """An account, its quota, and the rows read so far.

    Attributes:
        world: the world at `NOW`, without later events.
        folder: folder for the token store and the ledger.
        daily: requests that the tap may send per day.
        streams: streams that were read.
    """

    world: World
    folder: Path
    daily: int = DAILY
    target: Target = field(default_factory=Target)
    streams: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def run(self, today: Today) -> None:
        """Run the tap once."""
        api, log = self.world.constant_contact, self.world.log
        os.environ["XDG_STATE_HOME"] = str(self.folder)  # the folder of the ledger
        log.reset()
        self.times.append(self.world.clock.now())
        config = {
            "client_id": api.client_id,
            "client_secret": api.client_secret,
            "refresh_token": api.refresh_token,
            "token_store": str(self.folder / "tokens.json"),
            "api_url": f"{URL}/v3",
            "auth_url": f"{URL}/oauth2/default/v1",
            "daily_requests": self.daily,
            "requests_per_second": PER_SECOND,
        }
        tap = TapEmailMetrics(
            config={"constant_contact": config},
            state=json.loads(json.dumps(self.target.state)),
            clock=self.world.clock,
            transport=SimulatorAdapter(self.world, latency=jitter(*ONE_WAY)),
            message_writer=self.target,
        )
        start = self.world.clock.monotonic()
        code = tap.execute()
        today.seconds += self.world.clock.monotonic() - start
        self.target.flush()
        reports = tap.run.reports
        self.streams = [name for name in reports if name in KEYS]
        today.runs += 1
        today.calls += sum("/oauth2/" not in entry.path for entry in log.entries)
        today.refused += log.count(status=TOO_MANY)
        today.failed += code != 0
        for name, report in reports.items():
            if report.outcome not in FINE:
                say(f"{name}: {report.outcome}: {report.message}")
        today.paused = any(report.outcome == "paused" for report in reports.values())

    def day(self) -> Today:
        """Run until the budget of the day is spent or nothing is left to read."""
        today = Today()
        before = -1
        while before < today.calls and (today.paused or not today.runs):
            before = today.calls
            self.run(today)
            self.world.clock.advance(BETWEEN)
        return today

    def next_day(self) -> None:
        """Move the clock to the next midnight in UTC."""
        clock = self.world.clock
        clock.set((clock.now() // DAY + 1) * DAY)

    def compared(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield (stream, rows, rows of the truth, differing rows)."""
        for stream in self.streams:
            if stream == READINGS:
                continue  # it only tells which rows of snapshots count
            key = KEYS[stream]
            times = self.times[-1:] if stream in SNAPSHOTS else self.times
            rows = truth(self.world.constant_contact, stream, times, None)
            wanted = {tuple(row[name] for name in key): row for row in rows}
            held = self.target.rows.get(stream, {})
            if stream in SNAPSHOTS:
                held, wanted = self._current(stream, held), _undated(wanted)
            wrong = wanted.keys() ^ held.keys()
            wrong |= {k for k in wanted.keys() & held.keys() if wanted[k] != held[k]}
            yield stream, len(held), len(wanted), len(wrong)

    def _current(
        self, stream: str, held: dict[tuple[Any, ...], Row]
    ) -> dict[tuple[Any, ...], Row]:
        """Return the rows of the last complete reading of each activity."""
        readings = {
            (row["campaign_activity_id"], row["as_of"])
            for row in self.target.rows.get(READINGS, {}).values()
            if f"constant_contact_{row['report']}" == stream
        }
        return _undated(
            {
                key: row
                for key, row in held.items()
                if (row["campaign_activity_id"], row["as_of"]) in readings
            }
        )


def _undated(rows: dict[tuple[Any, ...], Row]) -> dict[tuple[Any, ...], Row]:
    return {key: {**row, "as_of": None} for key, row in rows.items()}


def simulate(simulation: Simulation, days: int = DAYS) -> bool:
    """Run the days and print them; return whether the result is right."""
    good = True
    api = simulation.world.constant_contact
    api.set_policy(requests_per_day=simulation.daily, requests_per_second=PER_SECOND)
    say(f"{simulation.daily} calls a day, {PER_SECOND} a second\n")
    say(f"{'day':>3} {'runs':>5} {'calls':>7} {'429s':>5} {'rate':>6}  left")
    for number in range(1, days + 1):
        if number > 1:
            simulation.next_day()
        today = simulation.day()
        left = "something" if today.paused else "nothing"
        say(
            f"{number:>3} {today.runs:>5} {today.calls:>7} {today.refused:>5}"
            f" {today.rate:>6.1%}  {left}"
        )
        within = today.calls <= simulation.daily
        good = good and within and not today.refused and not today.failed
    say(f"\n{'stream':<42} {'target':>8} {'truth':>8} {'differ':>7}")
    for stream, held, wanted, wrong in simulation.compared():
        say(f"{stream:<42} {held:>8} {wanted:>8} {wrong:>7}")
        good = good and not wrong
    say(
        "\nEvery row is as in the truth." if good else "\nFAILED: see the tables above."
    )
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="quota_sim", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=CAMPAIGNS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--daily-requests", type=int, default=DAILY)
    options = parser.parse_args(arguments)
    world = World.generate(
        3, 0, NOW, days_ahead=0, campaigns=options.campaigns, clock=ThreadedClock(NOW)
    )
    with tempfile.TemporaryDirectory() as folder:
        simulation = Simulation(world, Path(folder), options.daily_requests)
        return 0 if simulate(simulation, options.days) else 1


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    sys.exit(main())
