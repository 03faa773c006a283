"""The dbt project on fakesnow, by dbt's own adapter: its marts are those of DuckDB."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.transform.test_package import build, load
from tests.e2e.transform.test_transform import run_dbt
from tests.e2e.warehouses.load import SHIMS, Server
from tests.support.project import CACHE, ROOT, free_port

pytestmark = [pytest.mark.meltano, pytest.mark.nightly]

TRANSFORM = ROOT / "transform"
MARTS = sorted(path.stem for path in (TRANSFORM / "models" / "marts").glob("*.sql"))
#: Columns that tell of the build, and those whose numbers go on while the test runs.
PASSING = ("built_at", "loaded_at", "months_silent")
WITHOUT_TESTS = ("--resource-type", "seed", "--resource-type", "model")
Marts = dict[str, list[str]]


def test_marts_on_fakesnow_are_those_of_duckdb(tmp_path: Path) -> None:
    load(tmp_path)
    build(tmp_path, "dbt", ["build", *WITHOUT_TESTS])
    wanted = marts("dbt", "duckdb", "email_marts", tmp_path / "one.duckdb")
    assert len(wanted["email_events"]) > 500

    port, python = free_port(), CACHE / "fakesnow" / "bin" / "python"
    program = Path(__file__).with_name("snowflake_server.py")
    with Server(port, tmp_path / "log", python, program, port, tmp_path / "load"):
        # Not incremental: fakesnow makes no temporary tables in a schema.
        snowflake(tmp_path, port, "build", *WITHOUT_TESTS)
        assert marts("dbt-dialects", "snowflake", "EMAIL_MARTS", port) == wanted


def snowflake(folder: Path, port: int, *arguments: str) -> None:
    """Run dbt with the fakesnow at a port."""
    profiles = yaml.safe_load((TRANSFORM / "profiles.yml").read_text())
    profiles["email_metrics"]["outputs"]["snowflake"] |= {
        "account": "fakesnow",
        "user": "dbt",
        "password": "password",
        "database": "EMAIL",
        "warehouse": "any",
        "role": "any",
        "host": "127.0.0.1",
        "port": port,
        "protocol": "http",
    }
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles))
    program = CACHE / "dbt-dialects" / "bin" / "dbt"
    place = {"DBT_TARGET": "snowflake", "DBT_PROFILES_DIR": str(folder)}
    run_dbt(folder, "dbt-dialects", program, *arguments, **place)


def marts(tool: str, warehouse: str, schema: str, place: object) -> Marts:
    """Return the rows of each mart in one order, each as JSON."""
    program = [str(CACHE / tool / "bin" / "python"), str(SHIMS / "rows.py")]
    command = [*program, warehouse, schema, str(place), *MARTS]
    done = subprocess.run(  # noqa: S603 - our own
        command, capture_output=True, text=True, check=True
    )
    tables = map(json.loads, done.stdout.splitlines())
    return {name: sorted(map(comparable, rows)) for name, _, rows in tables}


def comparable(row: dict[str, Any]) -> str:
    """Return a row as text, without what differs from one build to the next."""
    found = {
        # 1.0 is 1.
        name: round(value, 9) + 0.0 if isinstance(value, int | float) else value
        for name, value in row.items()
        if name not in PASSING
    }
    return json.dumps(found, sort_keys=True)
