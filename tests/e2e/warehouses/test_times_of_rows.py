"""The times in rows that target-postgres loaded with and without its own columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from simulator.server import serve
from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.tap import TapEmailMetrics
from tests.e2e.warehouses.test_hostile_values import (
    LOADER,
    SCHEMA,
    TARGET,
    run,
    write,
)
from tests.support.cli import COMMAND, DAY, config, small_world
from tests.support.postgres import Postgres

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.server import SimulatorServer

pytestmark = pytest.mark.meltano

MESSAGES = "encompass_messages"
OWN_COLUMNS = {"add_record_metadata": True, "activate_version": True}


def test_a_row_that_is_loaded_without_the_columns_of_the_target_has_a_later_time(
    tmp_path: Path,
) -> None:
    """The column that the target adds no more keeps its value, or is null."""
    world = small_world(messages=0)
    sent = world.clock.now() - DAY
    changed = world.encompass.add_message(sent=sent, emailName="old")
    with serve(world) as server, Postgres(tmp_path / "postgres") as postgres:
        load(tmp_path, server, postgres, OWN_COLUMNS, timed=False)
        [before] = rows(postgres)
        world.encompass.correct("messages", changed, emailName="new")
        world.encompass.add_message(sent=sent, emailName="another")
        load(tmp_path, server, postgres, {}, timed=True)
        after, inserted = rows(postgres)
        load(tmp_path, server, postgres, OWN_COLUMNS, timed=False)
        again, _ = rows(postgres)
    assert (before["email_name"], after["email_name"]) == ("old", "new")
    received = "_sdc_received_at"
    assert after[received] == before[received] < after[EXTRACTED_AT]
    assert inserted[received] is None
    assert inserted[EXTRACTED_AT] == after[EXTRACTED_AT]
    # And back: now it is the tap's column that keeps its value.
    assert again[EXTRACTED_AT] == after[EXTRACTED_AT] < again[received]


def load(
    folder: Path,
    server: SimulatorServer,
    postgres: Postgres,
    settings: dict[str, Any],
    *,
    timed: bool,
) -> None:
    """Load all rows with more settings of the target; `timed` selects the time."""
    asked = config(server)
    catalog = TapEmailMetrics(config=asked).catalog_dict
    for stream in catalog["streams"]:
        for item in stream["metadata"]:
            if item["breadcrumb"] == ["properties", EXTRACTED_AT]:
                item["metadata"]["selected"] = timed
            elif not item["breadcrumb"]:
                item["metadata"]["selected"] = stream["tap_stream_id"] == MESSAGES
    files = [write(folder / "tap", asked), write(folder / "catalog", catalog)]
    output = run([COMMAND, "--config", files[0], "--catalog", files[1]])
    place = {
        "sqlalchemy_url": postgres.sqlalchemy_url,
        "default_target_schema": SCHEMA,
    }
    file = write(folder / "target", LOADER["config"] | place | settings)
    run([TARGET, "--config", file], output)


def rows(postgres: Postgres) -> list[dict[str, Any]]:
    """Return the messages with all columns, in the order of their ids."""
    with psycopg.connect(postgres.url, row_factory=dict_row) as connection:
        return connection.execute(
            "select * from email_metrics.encompass_messages order by id"
        ).fetchall()
