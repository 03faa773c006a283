"""Loads the same opens into warehouses with the tap and its peers: `make bench-load`.

CPU and duration cover all processes from the API to the warehouse, with their start-up
but without the database. The loaders take turns, and the smallest figure of each
counts. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import contestants, loaders
from benchmarks.contestants import FIELDS, TAP, python
from benchmarks.measure import FOLDER, Server, World, serving, wait_for
from benchmarks.report import print_table, say
from tests.support.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.loaders import Loader

_PARENTS = 20
_TAP, _NAIVE, _FLOOR = "tap, target-postgres", "SDK tap, target-postgres", "bare loop"
_SDC = "tap, target-postgres, _sdc_ columns"
"""With the target's own columns in place of the tap's `extracted_at`."""
_DLT = {"dlt, insert_values": "insert_values", "dlt, csv": "csv"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The cost of one run.

    Attributes:
        cpu: CPU seconds of the loader's processes.
        wall: seconds from start to end.
        database: CPU seconds of the database.
    """

    cpu: float
    wall: float
    database: float


def main() -> None:
    """Run all loaders, check the number of rows after each, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="opens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--emulators", action="store_true", help="Snowflake and BigQuery, too"
    )
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    emulators = ("snowflake", "bigquery") if given.emulators else ()
    compile_all(("postgres", "jsonl", "duckdb", *emulators))
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(FOLDER / "postgres"))
        field = contenders(postgres)
        field += [loaders.emulated(name, stack) for name in emulators]
        pages = stack.enter_context(serving(World(_PARENTS, given.rows // _PARENTS)))
        start = stack.enter_context(serving(World()))
        engine = psutil.Process(_pid(FOLDER / "postgres"))
        begun = {one.name: load(one, start, engine).cpu for one in field}
        runs: dict[str, list[Loaded]] = {one.name: [] for one in field}
        for _ in range(given.rounds):
            for one in field:
                runs[one.name].append(load(one, pages, engine))
    results = report(runs, begun, given.rows)
    results["rounds"] = given.rounds
    results["cpus"] = os.cpu_count()
    results["versions"] = contestants.versions() | _target_versions()
    (FOLDER / "load.json").write_text(json.dumps(results, indent=1))
    sys.stdout.write(json.dumps(results) + "\n")


def contenders(postgres: Postgres) -> list[Loader]:
    """Return the loaders that need no emulator."""
    into = loaders.IntoPostgres(postgres)
    return [
        into.tap(_TAP, loaders.SELECTED),
        into.tap(_SDC, FIELDS, add_record_metadata=True, activate_version=True),
        into.tap("tap, all columns, target-postgres", None),
        into.pipelinewise("tap, pipelinewise-target-postgres"),
        loaders.jsonl(),
        loaders.duckdb(),
        into.naive(_NAIVE),
        *(into.dlt(name, file_format) for name, file_format in _DLT.items()),
        into.loop(_FLOOR),
    ]


def load(loader: Loader, server: Server, engine: psutil.Process) -> Loaded:
    """Run a loader once into an empty table.

    Raises:
        RuntimeError: the loader failed, or rows are missing.
    """
    loader.empty()
    out, err = FOLDER / "stdout", FOLDER / "stderr"
    command = [part.replace("{url}", server.url) for part in loader.command]
    before, began = _seconds(engine), time.monotonic()
    status, cpu, _ = wait_for(command, dict(loader.env), out, err)
    wall = time.monotonic() - began
    spent = _seconds(engine) - before
    wanted = server.world.parents * server.world.rows
    held = 0 if status else loader.count()
    if status or held != wanted:
        told = err.read_text(errors="replace")[-2000:]
        raise RuntimeError(
            f"{loader.name}: exit {status}, {held} of {wanted} rows\n{told}"
        )
    return Loaded(cpu, wall, spent)


def report(
    runs: Mapping[str, Sequence[Loaded]], begun: Mapping[str, float], rows: int
) -> dict[str, Any]:
    """Print the table; return it with the ratios of the tap to its peers."""
    say(f"Load: {rows:,} opens, CPU and wall of the smallest of the runs")
    table = {
        name: {
            "cpu_s": round(min(ran.cpu for ran in of), 2),
            "wall_s": round(min(ran.wall for ran in of), 2),
            "start_up_s": round(begun[name], 2),
            "database_s": round(min(ran.database for ran in of), 2),
        }
        for name, of in runs.items()
    }
    mine = table[_TAP]
    for row in table.values():
        row["cpu_ratio"] = round(row["cpu_s"] / mine["cpu_s"], 2)
        row["wall_ratio"] = round(row["wall_s"] / mine["wall_s"], 2)
    print_table("loader", table, tuple(mine))

    def share(name: str, of: str, *others: str) -> float:
        return round(table[name][of] / min(table[one][of] for one in others), 2)

    return {
        "cpu_ratio_dlt": share(_TAP, "cpu_s", *_DLT),
        "wall_ratio_dlt": share(_TAP, "wall_s", *_DLT),
        "cpu_ratio_naive": share(_TAP, "cpu_s", _NAIVE),
        "cpu_ratio_floor": share(_TAP, "cpu_s", _FLOOR),
        "sdc_cpu_ratio_dlt": share(_SDC, "cpu_s", *_DLT),
        "sdc_wall_ratio_dlt": share(_SDC, "wall_s", *_DLT),
        "load": table,
    }


def compile_all(targets: Sequence[str]) -> None:
    """Compile the bytecode of all packages; otherwise the first run would do it."""
    interpreters = [
        *(loaders.plugin(f"target-{name}", "python") for name in targets),
        *map(python, ("sdk", "dlt", "loop", "pipelinewise")),
        TAP.with_name("python"),
    ]
    code = (
        "import compileall, site\n"
        "compileall.compile_dir(site.getsitepackages()[0], quiet=2)"
    )
    for interpreter in interpreters:
        subprocess.run([str(interpreter), "-c", code], check=True)  # noqa: S603 - our own


def _pid(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split()[0])


def _seconds(engine: psutil.Process) -> float:
    """Return the CPU seconds of a database, with its closed connections."""
    return sum(engine.cpu_times()[:4])


def _target_versions() -> dict[str, str]:
    name = "meltanolabs-target-postgres"
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    told = subprocess.run(  # noqa: S603 - our own
        [str(loaders.plugin("target-postgres", "python")), "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: told.stdout.strip()}


if __name__ == "__main__":
    main()
