"""The dbt project compiles for Snowflake and BigQuery, without a connection to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.transform.test_transform import run_dbt
from tests.support.project import ROOT

pytestmark = pytest.mark.meltano


@pytest.fixture(scope="module")
def dialects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("dialects")
    program = Path(__file__).with_name("dialects.py")
    done = run_dbt(folder, "dbt-dialects", program, "snowflake", "bigquery")
    # dbt first logs that no Snowflake user is configured.
    found: dict[str, Any] = json.loads(done.splitlines()[-1])
    return found


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery"])
def test_every_model_compiles_to_valid_sql_of_the_warehouse(
    dialects: dict[str, Any], dialect: str
) -> None:
    found = dialects[dialect]
    models = {path.stem for path in ROOT.joinpath("transform/models").rglob("*.sql")}

    assert {name: text for name, text in found.items() if text} == {}
    assert models <= set(found)
    assert "no_event_is_missing" in found
