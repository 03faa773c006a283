"""Catalogs in whole runs: older than the tap, or with streams that are not set up."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from simulator.world import World
from tap_email_metrics.clock import DAY, from_iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.records.columns import EXTRACTED_AT
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, Site, Sync

OPENS = "encompass_opens"
RUNS = "email_metrics_runs"


def site() -> Site:
    return Site(World.generate(3, 6, NOW, campaigns=1, luxsci=1))


def catalog_of(of: Site, *names: str) -> dict[str, Any]:
    """Return the catalog with only these streams."""
    catalog: dict[str, Any] = of.tap().catalog_dict
    streams = [one for one in catalog["streams"] if one["tap_stream_id"] in names]
    assert len(streams) == len(names)
    return {"streams": streams}


def columns(run: Sync, stream: str) -> tuple[set[str], set[str]]:
    """Return the columns in the SCHEMA of a stream, and those in all its RECORDs."""
    (schema,) = [
        message["schema"]["properties"]
        for message in run.messages
        if message["type"] == "SCHEMA" and message["stream"] == stream
    ]
    records = run.records(stream)
    assert records
    return set(schema), {name for record in records for name in record}


def test_stream_maps_are_made_only_for_streams_that_are_read() -> None:
    """Those of all streams take longer than everything else of a start."""
    tap = site().tap(streams=(OPENS,))
    assert tap.mapper.stream_maps == {}
    assert tap.execute() == 0
    assert OPENS in tap.mapper.stream_maps
    assert "encompass_clicks" not in tap.mapper.stream_maps


@pytest.mark.parametrize("stream", [OPENS, RUNS])
@pytest.mark.parametrize(
    "maps", [{}, {"stream_maps": {"*": {"twice": "str(account)"}}}]
)
def test_records_hold_only_the_columns_of_an_older_catalog(
    stream: str, maps: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Targets refuse a record with a column that its SCHEMA does not have."""
    one = site()
    one.common |= maps
    catalog = catalog_of(one, OPENS, RUNS)
    for entry in catalog["streams"]:
        properties = entry["schema"]["properties"]
        for name in ("ip_address", "requests"):
            properties.pop(name, None)
            kept = [m for m in entry["metadata"] if m["breadcrumb"][-1:] != [name]]
            entry["metadata"] = kept
        properties["former"] = {"type": ["string", "null"]}
    with caplog.at_level(logging.WARNING, "tap-email-metrics"):
        run = one.sync(catalog=catalog)
    assert run.code == 0
    in_schema, in_records = columns(run, stream)
    assert in_records <= in_schema
    assert in_schema - in_records == {"former"}
    assert not {"ip_address", "requests"} & in_schema
    new, gone = [line for line in caplog.messages if "catalog" in line]
    assert "--discover" in new
    assert f"{OPENS}: ip_address; {RUNS}: requests" in new
    assert f"{OPENS}: former; {RUNS}: former" in gone


@pytest.mark.parametrize("column", ["date_added", "additional_fields", "added_at"])
def test_a_catalog_may_lack_any_column_except_the_key(column: str) -> None:
    """The replication key may be missing, too."""
    one = site()
    catalog = catalog_of(one, OPENS)
    (entry,) = catalog["streams"]
    del entry["schema"]["properties"][column]
    run = one.sync(catalog=catalog)
    assert run.code == 0
    in_schema, in_records = columns(run, OPENS)
    assert in_schema == in_records
    assert column not in in_schema
    assert one.state["bookmarks"][OPENS]["replication_key_value"]


def test_extracted_at_is_left_out_unless_selected() -> None:
    one = site()
    for catalog in (None, catalog_of(one, OPENS)):
        in_schema, in_records = columns(one.sync(load=False, catalog=catalog), OPENS)
        assert EXTRACTED_AT not in in_schema | in_records


def test_extracted_at_is_the_time_of_the_read() -> None:
    one = site()
    catalog = catalog_of(one, OPENS)
    for item in catalog["streams"][0]["metadata"]:
        if item["breadcrumb"] == ["properties", EXTRACTED_AT]:
            item["metadata"]["selected"] = True
    spans = []
    for _ in range(2):
        before = one.world.clock.now()
        run = one.sync(load=False, catalog=catalog)
        assert EXTRACTED_AT in columns(run, OPENS)[0]
        moments = [from_iso(row[EXTRACTED_AT]) for row in run.records(OPENS)]
        # The text has milliseconds.
        assert int(before) <= min(moments) <= max(moments) <= one.world.clock.now()
        spans.append(moments)
        one.world.clock.advance(DAY)
    assert max(spans[0]) < min(spans[1])


def test_streams_that_the_catalog_does_not_name_are_not_read() -> None:
    one = site()
    run = one.sync(catalog=catalog_of(one, OPENS))
    assert run.code == 0
    assert {m["stream"] for m in run.messages if "stream" in m} == {OPENS}


def test_a_catalog_that_selects_nothing_logs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = site()
    run = one.sync(catalog={"streams": []})
    assert (run.code, run.rows) == (0, [])
    assert "the catalog selects no stream: nothing is read" in caplog.messages


def elsewhere() -> dict[str, Any]:
    """Return the catalog entries of a provider that is not configured."""
    names = ("constant_contact_opens", "constant_contact_clicks")
    return catalog_of(Account(World.generate(3, 6, NOW, campaigns=1)), *names)


def test_selected_streams_of_an_unconfigured_provider_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise the run would succeed without a word about them."""
    one = site()
    both = catalog_of(one, OPENS)["streams"] + elsewhere()["streams"]
    run = one.sync(catalog={"streams": both})
    assert run.code == 0
    assert run.records(OPENS)
    (line,) = [text for text in caplog.messages if "not configured" in text]
    assert "constant_contact.client_id, constant_contact.refresh_token" in line
    assert "constant_contact_opens, constant_contact_clicks" in line


def test_a_catalog_of_unconfigured_providers_alone_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no stream that can be read.*client_id"):
        site().tap(catalog=elsewhere())
