"""Compare the tap with its peers: `make bench`, or `make bench-quick`.

Runs are interleaved, so that what slows the machine slows all alike; what counts is
the median. CPU is what the kernel says of a process, less that of a run with one row.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import contestants
from benchmarks.measure import (
    FOLDER,
    Contestant,
    Ran,
    Server,
    World,
    median,
    output_of,
    run,
    serving,
)
from benchmarks.report import print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGES = World(parents=20, rows=5_000)
SMALL = World(parents=480, rows=20)
LARGE = World(parents=4, rows=12_000, page=100)
HEAVY = World(parents=4, rows=40_000)
"""Decoding and writing these takes longer than the latency of their requests."""
LATENCIES = (0.05, 0.2)
WORKERS = (8, 16, 32)
GROWTH = (250, 4_000)
LONGEST = 250_000
MESSAGES, FEW_MESSAGES = 1_000, 200
_NAIVE, _SINGER, _LOOP = "singer-sdk", "singer-python", "requests+orjson"

Results = dict[str, Any]


def main() -> None:
    """Run what was asked for, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three contestants only")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results = quick(given.rounds) if given.quick else full(given.rounds)
    results["seconds"] = round(time.monotonic() - began)
    results["cpus"] = os.cpu_count()
    results["rounds"] = given.rounds
    results["versions"] = contestants.versions()
    name = "quick" if given.quick else "full"
    (FOLDER / f"{name}.json").write_text(json.dumps(results, indent=1))
    sys.stdout.write(json.dumps(results) + "\n")


def quick(rounds: int) -> Results:
    """Compare the tap, the naive tap and the bare loop."""
    field = [contestants.tap(), contestants.naive(), contestants.loop()]
    return compare_cpu(field, rounds) | {
        "latency_bound_ratio": latency_bound(1, (0.05,), (16,)),
        "requests": requests_saved(FEW_MESSAGES),
    }


def full(rounds: int) -> Results:
    """Compare everybody in everything."""
    field = [
        contestants.tap(),
        contestants.tap("tap, all columns", fields=None),
        contestants.naive(),
        contestants.singer(),
        contestants.dlt(None),
        contestants.dlt(16),
        contestants.airbyte_cdk(None),
        contestants.airbyte_cdk(16),
        contestants.loop(),
        contestants.download(),
    ]
    return compare_cpu(field, rounds) | {
        "latency_bound_ratio": latency_bound(rounds, LATENCIES, WORKERS),
        "wall_ratio": compare_wall(rounds),
        "growth": growth(rounds),
        "memory": memory(),
        "start_up": start_up(rounds),
        "requests": requests_saved(MESSAGES),
    }


# CPU


def compare_cpu(field: Sequence[Contestant], rounds: int) -> Results:
    """Return CPU per record on pages of 1,000 records, and its ratios."""
    say(f"CPU: {PAGES.parents * PAGES.rows:,} opens in pages of 1,000, no latency")
    with serving(PAGES) as pages, serving(World()) as start:
        begun = interleaved(field, start, rounds)
        runs = interleaved(field, pages, rounds)
    table = {name: _cpu(runs[name], begun[name]) for name in runs}
    mine = table["tap"]["us_per_record"]
    for row in table.values():
        row["ratio"] = round(row["us_per_record"] / mine, 2)
    columns = ("us_per_record", "ratio", "start_up_s", "wall_s", "rss_mb")
    print_table("contestant", table, columns)
    others = {"naive": _NAIVE, "singer": _SINGER, "loop": _LOOP}
    ratios = {
        f"cpu_ratio_{short}": table[name]["ratio"]
        for short, name in others.items()
        if name in table
    }
    # Of the loop the tap's share is asked for, of the others how many times more.
    ratios["cpu_ratio_loop"] = round(1 / ratios["cpu_ratio_loop"], 2)
    above = median(runs["tap"], "rss") - median(begun["tap"], "rss")
    return ratios | {"peak_rss_mb_above_start": round(above, 1), "cpu": table}


def _cpu(runs: Sequence[Ran], begun: Sequence[Ran]) -> dict[str, float]:
    start_up = median(begun, "cpu")
    spent = max(median(runs, "cpu") - start_up, 0.0)
    return {
        "us_per_record": round(1e6 * spent / runs[0].records, 2),
        "start_up_s": round(start_up, 2),
        "wall_s": round(median(runs, "wall"), 2),
        "rss_mb": round(median(runs, "rss"), 1),
        "server_s": round(median(runs, "server_cpu"), 2),
    }


def interleaved(
    field: Sequence[Contestant], server: Server, rounds: int
) -> dict[str, list[Ran]]:
    """Run everybody once, then everybody again."""
    runs: dict[str, list[Ran]] = {one.name: [] for one in field}
    for _ in range(rounds):
        for one in field:
            runs[one.name].append(run(one, server))
    return runs


# Wall


def latency_bound(
    rounds: int, latencies: Sequence[float], workers: Sequence[int]
) -> dict[str, float]:
    """Return wall, less that of a run with one row, over its bound.

    The bound is 1 + requests / workers latencies.
    """
    say("Latency-bound: wall less start-up and end, over the bound")
    ratios: dict[str, float] = {}
    shapes = {"small": SMALL, "large": LARGE, "large_1000_a_page": HEAVY}
    for label, shape in shapes.items():
        for latency in latencies:
            for count in workers:
                one = contestants.tap(f"tap-{count}", workers=count)
                with serving(World()) as start:
                    idle = median([run(one, start) for _ in range(rounds)], "wall")
                with serving(replace(shape, latency=latency)) as server:
                    runs = [run(one, server) for _ in range(rounds)]
                turns = 1 + math.ceil(runs[0].requests / count)
                ratio = (median(runs, "wall") - idle) / (turns * latency)
                ratios[f"{label}_{latency * 1000:.0f}ms_{count}"] = round(ratio, 2)
    print_table("pages", {k: {"ratio": v} for k, v in ratios.items()}, ("ratio",))
    return ratios


def compare_wall(rounds: int) -> dict[str, float]:
    """Return how many times longer the peers take at 200 ms with 16 workers."""
    say("Wall at 200 ms, 16 workers, many small parents; start-up included and not")
    field = [
        contestants.tap("tap", workers=16),
        contestants.naive(),
        contestants.dlt(16),
        contestants.airbyte_cdk(16),
    ]
    with serving(World(SMALL.parents, SMALL.rows, 0.2)) as server:
        runs = interleaved(field, server, rounds)
    table = {
        name: {
            "wall_s": median(ran, "wall"),
            "less_start_up_s": median(ran, "wall") - median(ran, "first"),
        }
        for name, ran in runs.items()
    }
    for row in table.values():
        row["ratio"] = round(row["wall_s"] / table["tap"]["wall_s"], 2)
        mine = table["tap"]["less_start_up_s"]
        row["ratio_less_start_up"] = round(row["less_start_up_s"] / mine, 2)
    print_table("contestant", table, tuple(table["tap"]))
    return {name: row["ratio_less_start_up"] for name, row in table.items()}


# Growth, memory, start-up


def growth(rounds: int) -> dict[str, float]:
    """Return what a parent costs of many, over what it costs of few."""
    say(f"Growth from {GROWTH[0]:,} to {GROWTH[1]:,} parents of 20 opens")
    one = contestants.tap()
    with serving(World()) as server:
        start = [run(one, server) for _ in range(rounds)]
    each: list[tuple[float, float]] = []
    for parents in GROWTH:
        with serving(World(parents, 20)) as server:
            runs = [run(one, server) for _ in range(rounds)]
        cpu = (median(runs, "cpu") - median(start, "cpu")) / parents
        each.append((cpu, (median(runs, "size") - median(start, "size")) / parents))
    (few_cpu, few_bytes), (many_cpu, many_bytes) = each
    found = {
        "cpu_ms_per_parent": round(1000 * many_cpu, 3),
        "bytes_per_parent": round(many_bytes),
        "cpu_ratio": round(many_cpu / few_cpu, 3),
        "bytes_ratio": round(many_bytes / few_bytes, 3),
    }
    print_table("", {"tap": found}, tuple(found))
    return found


def memory() -> dict[str, float]:
    """Return the peak memory above that of a run with one row, in MB."""
    say(f"Peak memory above start-up, a list of {LONGEST:,} rows")
    found: dict[str, float] = {}
    opens = contestants.tap("tap, all columns", fields=None)
    with serving(World()) as server:
        start = run(opens, server).rss
    with serving(World(1, LONGEST)) as server:
        found["opens"] = round(run(opens, server).rss - start, 1)
    with serving(World(8, LONGEST // 4)) as server:
        found["opens, eight such lists"] = round(run(opens, server).rss - start, 1)
    print_table("stream", {k: {"mb": v} for k, v in found.items()}, ("mb",))
    return found


def start_up(rounds: int) -> dict[str, float]:
    """Return the time to the first request over that of `import singer_sdk`."""
    say("Start-up to the first request")
    first, bare = [], []
    one = contestants.tap()
    importing = (sys.executable, "-c", "import singer_sdk")
    with serving(World()) as server:
        for _ in range(max(rounds, 5)):
            first.append(run(one, server).first)
            began = time.monotonic()
            output_of(importing)
            bare.append(time.monotonic() - began)
    mine, theirs = statistics.median(first), statistics.median(bare)
    found = {
        "first_request_s": round(mine, 2),
        "import_singer_sdk_s": round(theirs, 2),
        "ratio": round(mine / theirs, 2),
    }
    print_table("", {"tap": found}, tuple(found))
    return found


def requests_saved(messages: int) -> Results:
    """Return what a day of hourly syncs of so many messages costs in requests."""
    say(f"Requests of a day of hourly syncs, {messages:,} messages over a year")
    # A process of its own, as this one has to stay small.
    command = (
        sys.executable,
        "-m",
        "tests.runs.encompass.requests_saved",
        str(messages),
    )
    found: Results = json.loads(output_of(command))
    print_table("", {"tap": found}, tuple(found))
    return found


if __name__ == "__main__":
    main()
