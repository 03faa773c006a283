"""Personal data in a whole run: what is emitted in each mode, also by old catalogs."""

from __future__ import annotations

from typing import Any

import pytest
from harness import NOW, Site, Sync
from jsonschema import Draft7Validator

from simulator.world import World

RECIPIENTS = "encompass_recipients"


def schema_of(run: Sync) -> dict[str, Any]:
    schemas = [m for m in run.messages if m["type"] == "SCHEMA"]
    return next(m["schema"] for m in schemas if m["stream"] == RECIPIENTS)


@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
@pytest.mark.parametrize("old_catalog", [False, True])
def test_records_fit_the_schema_and_hold_no_address(
    mode: str,
    old_catalog: bool,  # noqa: FBT001
) -> None:
    site = Site(World.generate(3, 6, NOW))
    catalog = site.tap().catalog_dict if old_catalog else None
    site.common["pii"] = {"mode": mode, "pepper": "a pepper of the tests"}
    run = site.sync(catalog=catalog)
    records = run.records(RECIPIENTS)
    validator = Draft7Validator(schema_of(run))
    assert records
    assert not [error for record in records for error in validator.iter_errors(record)]
    assert not [r for r in records if "@" in str(r["email_address"])]
    assert {r["additional_fields"] for r in records} == {None}
    keys = {(r["message_id"], r["id"]) for r in records}
    plain = Site(World.generate(3, 6, NOW)).sync().records(RECIPIENTS)
    assert keys == {(r["message_id"], r["id"]) for r in plain}
