"""Runs the real tap through thousands of simulated days, on all processors.

`python -m scripts.soak --days 100000 --seed 1 --odd all` prints each broken promise
with the command that replays it, then one line of JSON: days, syncs, kills, faults,
events, lost, unsaid, invented, broken. The exit code is 1 if a promise was broken.
The same line, so far, goes to stderr after every 30 worlds.

With `--mutation`, or MUTATION in the environment, it runs a tap with a planted fault,
which should break a promise. If odd answers are needed to find that fault, they are
switched on, unless --odd names others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.oddities.names import ODDITIES
from tests.days.broken import broken
from tests.days.days import Summary
from tests.days.mutations import MUTATIONS
from tests.days.worlds import ACCOUNTS, run

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 120
"""Days of a world. More days come from further seeds."""
_PROGRESS = 30
"""Worlds between two lines that say how far the run is."""


@dataclass(frozen=True)
class World:
    """A simulated world to run.

    Attributes:
        provider: name of the provider.
        seed: seed of the world.
        days: number of days to run.
        length: number of days that the world is generated for.
        mutation: name of the planted fault, empty for none.
        odd: names of the oddities that may occur; empty for all, None for none.
        calm: whether other faults and kills are switched off.
    """

    provider: str
    seed: int
    days: int
    length: int
    mutation: str
    odd: tuple[str, ...] | None
    calm: bool


def main() -> int:
    """Run the command; return its exit code."""
    options = _options()
    total = Summary()
    with ProcessPoolExecutor(options.workers) as pool:
        for number, summary in enumerate(pool.map(_world, _worlds(options)), 1):
            total += summary
            for text in summary.broken:
                sys.stderr.write(f"{text}\n")
            if number % _PROGRESS == 0:
                sys.stderr.write(f"{_line(total)}\n")
                sys.stderr.flush()
    sys.stdout.write(f"{_line(total)}\n")
    return 1 if total.broken else 0


def _line(total: Summary) -> str:
    return json.dumps({**vars(total), "broken": len(total.broken)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=1_000, help="days in all")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first world")
    parser.add_argument(
        "--worlds", type=int, help="run this number of worlds, each for --days"
    )
    parser.add_argument("--provider", choices=tuple(ACCOUNTS), help="default: all")
    parser.add_argument("--length", type=int, default=LENGTH, help="days of a world")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--mutation", choices=("", *MUTATIONS), default=os.environ.get("MUTATION", "")
    )
    parser.add_argument(
        "--odd",
        type=_odd,
        metavar="NAMES",
        help="oddities of the API, separated by commas; all, or none (default)",
    )
    parser.add_argument("--calm", action="store_true", help="no other faults, no kills")
    return parser.parse_args()


def _odd(text: str) -> tuple[str, ...] | None:
    if text in {"all", "none"}:
        return () if text == "all" else None
    names = tuple(text.split(","))
    if unknown := sorted({*names} - ODDITIES.keys()):
        raise argparse.ArgumentTypeError(f"unknown oddities: {', '.join(unknown)}")
    return names


def _worlds(options: argparse.Namespace) -> Iterator[World]:
    """Yield worlds until their days add up; the providers take turns."""
    fault = MUTATIONS.get(options.mutation)
    chosen = options.provider or (fault and fault.provider)
    odd = fault.odd if fault and options.odd is None else options.odd
    providers: list[str] = [chosen] if chosen else [*ACCOUNTS]
    left = options.days
    number = 0
    while left > 0 and number != options.worlds:
        provider = providers[number % len(providers)]
        seed = options.seed + number // len(providers)
        days = options.days if options.worlds else min(left, options.length)
        yield World(
            provider, seed, days, options.length, options.mutation, odd, options.calm
        )
        left -= 0 if options.worlds else days
        number += 1


def _world(world: World) -> Summary:
    with ExitStack() as stack:
        if world.mutation:
            stack.enter_context(broken(MUTATIONS[world.mutation]))
        return run(
            world.provider,
            world.seed,
            world.days,
            world.length,
            steady=bool(world.mutation),
            odd=world.odd,
            calm=world.calm,
        )


if __name__ == "__main__":
    sys.exit(main())
