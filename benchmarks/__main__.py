"""Compares the tap with its peers: `make bench`, or `make bench-quick`.

The contestants take turns, so that other load on the machine slows all of them, and the
median of each counts. CPU is the kernel's figure for the process, less that of a run
with one row. The last line of stdout is a JSON object.
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
"""Pages whose decoding and writing takes longer than the latency of a request."""
LATENCIES = (0.05, 0.2)
WORKERS = (8, 16, 32)
GROWTH = (250, 4_000)
LONGEST = 250_000
MESSAGES, FEW_MESSAGES = 1_000, 200
_NAIVE, _SINGER, _LOOP = "singer-sdk", "singer-python", "requests+orjson"

Results = dict[str, Any]


def main() -> None:
    """Run the chosen benchmark, and write its results to a file and to stdout."""
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
    """Compare the tap with the plain SDK tap and the bare loop."""
    field = [contestants.tap(), contestants.naive(), contestants.loop()]
    return compare_cpu(field, rounds) | {
        "latency_bound_ratio": latency_bound(1, (0.05,), (16,)),
        "requests": requests_saved(FEW_MESSAGES),
    }


def full(rounds: int) -> Results:
    """Compare all contestants in all measurements."""
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
    """Measure the CPU per record on pages of 1,000 records; return it with ratios."""
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
    # The goal for the loop is stated the other way round: the tap's CPU over its CPU.
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
    """Run each contestant `rounds` times, one after the other in each round."""
    runs: dict[str, list[Ran]] = {one.name: [] for one in field}
    for _ in range(rounds):
        for one in field:
            runs[one.name].append(run(one, server))
    return runs


# Wall


def latency_bound(
    rounds: int, latencies: Sequence[float], workers: Sequence[int]
) -> dict[str, float]:
    """Measure the duration of runs as a ratio to the least that latency allows.

    That least is 1 + requests / workers latencies. From the duration, that of a run
    with one row is subtracted.
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
    """Measure the duration at 200 ms with 16 workers, as ratios to the tap's."""
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
    """Measure CPU and bytes per parent with many parents, as ratios to few."""
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
    """Measure the peak memory in MB above that of a run with one row."""
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
    """Measure the time to the first request, as a ratio to `import singer_sdk`."""
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
    """Count the requests of a day of hourly syncs of this number of messages."""
    say(f"Requests of a day of hourly syncs, {messages:,} messages over a year")
    # In a process of its own, because this one has to stay small (see measure.py).
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
