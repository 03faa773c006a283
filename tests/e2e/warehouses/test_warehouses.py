"""Warehouses: loading all streams, as `make test-warehouses` does."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from typing_extensions import override

from tap_email_metrics.records.schemas import load_schema
from tests.e2e.warehouses.load import (
    STARTS,
    TYPES,
    chosen,
    kind,
    main,
    warehouses,
    wrong_types,
)
from tests.support.project import ROOT
from tests.support.world import KEYS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def tables() -> dict[str, tuple[dict[str, str], list[Any]]]:
    """Return empty tables with the column types that DuckDB should have."""
    columns = {stream: load_schema(stream)["properties"] for stream in KEYS}
    return {
        stream: (
            {name: TYPES["duckdb"][kind(column)] for name, column in found.items()},
            [],
        )
        for stream, found in columns.items()
    }


def test_a_wrong_column_type_is_named() -> None:
    assert wrong_types("duckdb", tables()) == []
    changed = tables()
    changed["luxsci_users"][0]["account"] = "INTEGER"
    del changed["luxsci_jobs"][0]["account"]
    assert wrong_types("duckdb", changed) == [
        "luxsci_users.account: INTEGER, not VARCHAR",
        "luxsci_jobs.account: None, not VARCHAR",
    ]


def test_an_unknown_warehouse_is_refused_with_the_known_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["postgress"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("postgress", *STARTS))


def test_no_names_mean_all_warehouses() -> None:
    assert chosen([]) == ["postgres", "duckdb", "snowflake", "bigquery"]
    assert chosen(["duckdb"]) == ["duckdb"]


class NoServer(ExitStack):
    """An exit stack that refuses to start a server."""

    @override
    def enter_context(self, cm: AbstractContextManager[Any, Any]) -> NoReturn:
        pytest.fail(f"started: {cm}")


def test_only_servers_of_the_named_warehouses_are_started() -> None:
    with NoServer() as stack:
        [one] = warehouses(stack, ["duckdb"])
    assert one.name == "duckdb"


@pytest.mark.meltano
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "names",
    [
        ["postgres", "duckdb"],
        pytest.param(["snowflake", "bigquery"], marks=pytest.mark.nightly),
    ],
    ids=["databases", "emulators"],
)
def test_every_warehouse_holds_the_truth(names: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "tests.e2e.warehouses.load", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == names
    for counts in found.values():
        assert counts["rows"] == counts["truth"] > 0
        assert counts["mismatches"] == 0
