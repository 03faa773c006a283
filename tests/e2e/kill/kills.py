"""Kill tap and target under Meltano at random moments; Postgres must hold the truth.

`python -m tests.e2e.kill.kills --kills 50 --seed 1` runs the pipeline while the world
changes, until so many runs were ended with `kill -9`: mostly the whole process group,
otherwise the tap or the target alone. A run that ends before its moment does not count.
A last run then ends normally, and Postgres is compared with the truth by key and
content. The command prints one line per run and one line of JSON; the exit code is 1 if
a row differs. Its files are in `.cache/kill-test`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from scripts.demo import (
    move_constant_contact_on,
    move_encompass_on,
    move_luxsci_on,
    requests_by_stream,
)
from simulator.clock import DAY
from tap_email_metrics.clock import iso
from tests.support.comparison import READINGS, SNAPSHOTS, by_key, compare, digest
from tests.support.postgres import Postgres
from tests.support.processes import say
from tests.support.project import CACHE, MELTANO, CommandFailedError, Project
from tests.support.world import KEYS, PACE, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.support.comparison import Row

FOLDER = CACHE / "kill-test"
SCHEMA = "email_metrics"
SIZE, CAMPAIGNS, EMAILS = 20, 8, 20
TAP, TARGET = "tap-email-metrics", "target-postgres"
#: A killed run leaves a lock of Meltano's that would delay the next run.
RUN = (MELTANO, "run", "--force", TAP, TARGET)
VICTIMS = {"everything": 6, TAP: 2, TARGET: 2}
EARLY = 0.2
"""Share of the kills that come within START_UP seconds of the start."""
START_UP = 5.0
FIRST_GUESS = 6.0
"""Assumed seconds for which the tap reads, until a run has ended."""
LONGER = 1.1
"""Assumed growth of the length from run to run, so that some runs end."""
TRIES = 3
"""At most so many runs per kill: the others end before their moment."""
ENDING = 120.0
"""Seconds within which Meltano must notice that a plugin is dead."""
LOOK = 0.1
"""Seconds between two checks whether the tap has sent a request."""
BETWEEN = 0.02
"""Days between two runs; with more, daily reports would be missed."""
SETTLING = 301.0
"""Seconds after which every row is read; LuxSci's rows take longest."""
LOOKBACK = 4 * DAY
"""Seconds before the last run whose summaries are read again, with a margin."""
EVENTFUL = 5
"""After so many runs something new is added for every provider."""


@dataclass
class Outcome:
    """The kills, and the rows in Postgres at the end.

    Attributes:
        kills: number of runs that were killed.
        before_first_record: runs killed before the tap had requested any record.
        mid_run: runs killed later.
        ended: runs that ended before their moment and were not killed.
        failed: runs that failed before their moment and were not killed.
        victims: number of kills by what was killed.
        rows: number of rows in Postgres.
        differences: a line for each difference from the truth.
    """

    seed: int
    kills: int = 0
    before_first_record: int = 0
    mid_run: int = 0
    ended: int = 0
    failed: int = 0
    victims: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    differences: list[str] = field(default_factory=list)

    def runs(self, kills: int) -> Iterator[int]:
        """Yield the numbers of runs until `kills` of them were killed.

        Raises:
            CommandFailedError: too many runs were not killed.
        """
        for number in range(1, TRIES * kills + 1):
            if self.kills < kills:
                yield number
        if self.kills < kills:
            raise CommandFailedError(
                f"{self.kills} of {TRIES * kills} runs were killed, not {kills}:"
                f" {self.ended} ended before, {self.failed} failed."
            )

    def count(self, code: int, victim: str, stage: str) -> str:
        """Count a run; return a text about it.

        Args:
            code: its exit code; 0 also if the kill came too late.
            victim: what was killed, or empty.
            stage: `before_first_record` or `mid_run`.
        """
        if victim and code:
            self.kills += 1
            self.victims[victim] += 1
        else:
            victim, stage = "nothing", "failed" if code else "ended"
        setattr(self, stage, getattr(self, stage) + 1)
        return f"{victim} ({stage.replace('_', ' ')})"

    def line(self) -> str:
        """Return the outcome as JSON."""
        found = vars(self) | {"differences": len(self.differences)}
        return json.dumps(found)


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of moments and victims")
    options = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    say(f"seed {options.seed}")
    with (
        Postgres(FOLDER / "postgres") as postgres,
        World(
            FOLDER, seed=options.seed, size=SIZE, campaigns=CAMPAIGNS, luxsci=EMAILS
        ) as world,
    ):
        try:
            found = KillTest(FOLDER, world, postgres, options.seed).run(options.kills)
        except CommandFailedError as problem:
            sys.exit(str(problem))
    for difference in found.differences:
        say(difference)
    say(found.line())
    return 1 if found.differences else 0


class KillTest:
    """Killed runs of one pipeline, followed by one complete run.

    Args:
        folder: folder for the Meltano project and its logs.
        world: the simulator, which changes from run to run.
        postgres: the database that the target fills.
        seed: seed of the moments and the victims.
    """

    def __init__(
        self, folder: Path, world: World, postgres: Postgres, seed: int
    ) -> None:
        self._world = world
        self._postgres = postgres
        self._random = random.Random(seed)  # noqa: S311 -- reproducible
        self._outcome = Outcome(seed)
        self._seconds = FIRST_GUESS
        self._instants: list[float] = []
        self._project = Project(
            folder / "project",
            {
                **world.settings,
                "TAP_EMAIL_METRICS_ENCOMPASS_REVISIT": "always",
                "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": str(PACE),
                "TARGET_POSTGRES_SQLALCHEMY_URL": postgres.sqlalchemy_url,
                "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMA,
            },
        ).create()

    def run(self, kills: int) -> Outcome:
        """Kill `kills` runs, let one end, and compare.

        Raises:
            CommandFailedError: the last run failed, or too many were not killed.
        """
        # Meltano's first command creates its database in many steps. If it is killed
        # among them, no later command starts. That is a matter of Meltano's, so here
        # only later runs are killed.
        self._project.meltano("state", "list")
        for number in self._outcome.runs(kills):
            self._kill(number)
            self._move_on(number)
        # Lists that are read once a day are due again.
        self._world.advance(1)
        self._instants.append(self._world.now())
        self._project.meltano(*map(str, RUN[1:]))
        self._compare()
        return self._outcome

    def _move_on(self, number: int) -> None:
        before = self._world.now()
        self._world.advance(BETWEEN)
        if number % EVENTFUL == 0:
            move_encompass_on(self._world, before)
            move_constant_contact_on(self._world)
            move_luxsci_on(self._world, before)

    # One kill

    def _kill(self, number: int) -> None:
        """Kill a run, unless it ends before its moment."""
        self._world.forget_requests()
        self._instants.append(self._world.now())
        [victim] = self._random.choices([*VICTIMS], [*VICTIMS.values()])
        is_early, share = self._random.random() < EARLY, self._random.random()
        moment = share * (START_UP if is_early else self._seconds)
        with self._start(number) as process:
            if not is_early:
                self._wait_for_request(process)
            started = time.monotonic()
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                victim = strike(process, victim)
                end(process)
                self._seconds *= LONGER
            else:
                victim = ""
                self._seconds = LONGER * (time.monotonic() - started)
        stage = "mid_run" if self._is_asked() else "before_first_record"
        said = self._outcome.count(process.returncode, victim, stage)
        since = "the start" if is_early else "the first request"
        say(f"{number:3}: {moment:.1f} s after {since}: {said}")

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        log = self._project.folder / f"kill-{number}.log"
        with log.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 - our own installation of Meltano
                RUN,
                cwd=self._project.folder,
                env=self._project.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait_for_request(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None and not self._is_asked():
            time.sleep(LOOK)

    def _is_asked(self) -> bool:
        """Return whether the tap has asked for records."""
        return bool(requests_by_stream(self._world.served()).keys() - {""})

    # The end

    def _compare(self) -> None:
        found = compare(
            lambda stream: undated(self._held(stream)),
            lambda stream: undated(self._world.truth(stream, self._instants[-1:])),
            KEYS,
        )
        self._outcome.rows = sum(one.held for one in found.values())
        self._outcome.differences = [
            f"{stream}: {difference}"
            for stream, one in found.items()
            for difference in one.differences
        ]

    def _held(self, stream: str) -> Sequence[Row]:
        """Return the rows of a table without those that it may but need not hold.

        These are rows that the API no longer shows, which a killed run may have read,
        and rows so new that a run may leave them to the next one.
        """
        rows = self._postgres.rows(SCHEMA, stream)
        if stream in (*SNAPSHOTS, READINGS):
            return rows  # only the last reading counts
        if stream.endswith("_summary"):
            return self._as_now(stream, undated(rows))
        key = KEYS[stream]
        now = by_key(self._world.truth(stream, self._instants[-1:]), key)
        instants = [*self._instants, self._instants[-1] + SETTLING]
        free = by_key(self._world.truth(stream, instants), key).keys() - now.keys()
        return [row for by, row in by_key(rows, key).items() if by not in free]

    def _as_now(self, stream: str, rows: Iterable[Row]) -> list[Row]:
        """Return rows of summaries, old days in their present form.

        A day beyond the look-back is read once and may change after that. Such a row
        is accepted if it was right at some run.
        """
        key, old = KEYS[stream], iso(self._instants[-1] - LOOKBACK)
        now = by_key(undated(self._world.truth(stream, self._instants[-1:])), key)
        seen = {
            digest(row)
            for at in self._instants
            for row in undated(self._world.truth(stream, [at]))
        }
        return [
            now.get(by, row)
            if row["interval_start"] < old and digest(row) in seen
            else row
            for by, row in by_key(rows, key).items()
        ]


def undated(rows: Iterable[Row]) -> list[Row]:
    """Return rows without the time of the summary, which depends on the run."""
    return [
        {name: value for name, value in row.items() if name != "report_date"}
        for row in rows
    ]


def strike(process: subprocess.Popen[bytes], victim: str) -> str:
    """Kill a plugin, or everything if it does not run; return what was killed."""
    with suppress(psutil.Error):
        for one in psutil.Process(process.pid).children(recursive=True):
            if any(part.endswith(f"/{victim}") for part in one.cmdline()):
                one.kill()
                return victim
    os.killpg(process.pid, signal.SIGKILL)
    return "everything"


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for Meltano, which ends after a plugin is dead.

    Raises:
        subprocess.TimeoutExpired: it does not.
    """
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


if __name__ == "__main__":
    sys.exit(main())
