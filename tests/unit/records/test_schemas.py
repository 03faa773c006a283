"""The schemas of Encompass, the marks of columns, and the folder of the schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator
from singer_sdk.schema.source import SchemaDirectory

from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.privacy import MARKS, Privacy
from tap_email_metrics.records.schemas import (
    find_schemas,
    load_schema,
    schema_directory,
)
from tests.support.records import RowBuilder
from tests.support.schemas import schema_names

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "encompass_messages": (
        "account id sub_community_id email_name from_name from_address subject_line"
        " pre_header category_name sent_count scheduled_date_timestamp scheduled_at"
        " actual_send_timestamp sent_at date_added added_at additional_fields"
    ),
    "encompass_recipients": (
        "account message_id id email_address recipient_domain first_name last_name"
        " class_year member_id constituent_id date_added added_at last_updated"
        " updated_at additional_fields"
    ),
    "encompass_opens": (
        "account message_id id recipient_id timestamp occurred_at date_added added_at"
        " ip_address user_agent additional_fields"
    ),
    "encompass_clicks": (
        "account message_id id recipient_id link_id timestamp occurred_at date_added"
        " added_at ip_address user_agent additional_fields"
    ),
    "encompass_bounces": (
        "account message_id id recipient_id type reason timestamp occurred_at"
        " date_added added_at additional_fields"
    ),
    "encompass_delivers": (
        "account message_id id recipient_id timestamp occurred_at date_added added_at"
        " additional_fields"
    ),
    "encompass_links": "account message_id id name url additional_fields",
}

SOURCES = {
    "encompass_messages": (
        "id subCommunityId emailName fromName fromAddress subjectLine preHeader"
        " categoryName sentCount scheduledDateTimestamp actualSendTimestamp dateAdded"
    ),
    "encompass_recipients": (
        "id emailAddress firstName lastName classYear memberId constituentId dateAdded"
        " lastUpdated"
    ),
    "encompass_opens": "id recipientId timestamp dateAdded ipAddress userAgent",
    "encompass_clicks": "id recipientId linkId timestamp dateAdded ipAddress userAgent",
    "encompass_bounces": "id recipientId type reason timestamp dateAdded",
    "encompass_delivers": "id recipientId timestamp dateAdded",
    "encompass_links": "id name url",
}

INTEGERS = (
    *("sub_community_id", "member_id", "recipient_id", "link_id", "sent_count"),
    *("scheduled_date_timestamp", "actual_send_timestamp", "date_added"),
    *("last_updated", "timestamp"),
)
KEYS = {"account": "string", "message_id": "integer", "id": "integer"}
COMPANIONS = {
    "scheduled_at": "scheduled_date_timestamp",
    "sent_at": "actual_send_timestamp",
    "added_at": "date_added",
    "updated_at": "last_updated",
    "occurred_at": "timestamp",
}
PII = {
    "email_name": "text",
    "from_name": "name",
    "from_address": "email",
    "subject_line": "text",
    "pre_header": "text",
    "email_address": "email",
    "recipient_domain": "large_domain",
    "first_name": "name",
    "last_name": "name",
    "member_id": "id",
    "constituent_id": "id",
    "ip_address": "ip",
    "user_agent": "user_agent",
    "reason": "text",
    "name": "text",
    "url": "url",
    "additional_fields": "opaque",
}
POSTGRES_NAME = 63

schemas = pytest.mark.parametrize("stream", schema_names())
encompass = pytest.mark.parametrize("stream", COLUMNS)


def columns(stream: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a stream without `extracted_at`, which all streams have."""
    properties = load_schema(stream)["properties"]
    return {n: column for n, column in properties.items() if n != EXTRACTED_AT}


def expected_type(name: str) -> str | list[str]:
    if name in KEYS:
        return KEYS[name]
    if name == "additional_fields":
        return ["object", "null"]
    return ["integer" if name in INTEGERS else "string", "null"]


def test_every_encompass_stream_has_a_schema_and_no_other() -> None:
    found = [name for name in schema_names() if name.startswith("encompass_")]
    assert found == sorted(COLUMNS)


@encompass
def test_columns_come_in_the_documented_order(stream: str) -> None:
    assert list(columns(stream)) == COLUMNS[stream].split()


def test_extracted_at_is_the_same_column_in_every_stream_of_a_provider() -> None:
    of_providers = [one for one in schema_names() if not one.startswith("email_")]
    every = [load_schema(one)["properties"][EXTRACTED_AT] for one in of_providers]
    assert len(every) == 58
    assert all(one == every[0] for one in every)
    assert every[0]["type"] == ["string", "null"]
    assert every[0]["format"] == "date-time"


@encompass
def test_every_column_has_the_expected_type(stream: str) -> None:
    actual = {name: column["type"] for name, column in columns(stream).items()}
    assert actual == {name: expected_type(name) for name in actual}


@encompass
def test_the_columns_are_those_of_the_vendors_fields(stream: str) -> None:
    found = [
        column["x-source"]
        for column in columns(stream).values()
        if "x-source" in column and "x-derived" not in column
    ]
    assert sorted(found) == sorted(SOURCES[stream].split())


@encompass
def test_a_time_column_follows_the_epoch_column_it_is_made_from(stream: str) -> None:
    every = columns(stream)
    names = list(every)
    derived = [n for n in names if every[n].get("x-derived") == "epoch-ms"]
    assert derived == [name for name in names if name in COMPANIONS]
    for name in derived:
        epoch = names[names.index(name) - 1]
        assert epoch == COMPANIONS[name]
        assert every[name]["x-source"] == every[epoch]["x-source"]
        assert every[name]["format"] == "date-time"
        assert "Milliseconds since 1970-01-01 UTC" in every[epoch]["description"]


@encompass
def test_personal_columns_are_marked(stream: str) -> None:
    every = columns(stream)
    marks = {name: column.get("x-pii") for name, column in every.items()}
    assert marks == {name: PII.get(name) for name in every}


@schemas
def test_marked_columns_have_a_known_mark_and_are_nullable(stream: str) -> None:
    for column in columns(stream).values():
        if "x-pii" in column:
            assert column["x-pii"] in MARKS
            assert "null" in column["type"]


@schemas
def test_every_column_is_described(stream: str) -> None:
    schema = load_schema(stream)
    assert schema["title"] == stream
    assert "Endpoint: " in schema["description"]
    for name, column in schema["properties"].items():
        assert column["description"].endswith("."), name


@schemas
def test_column_names_are_safe_in_warehouses(stream: str) -> None:
    names = list(columns(stream))
    assert not {"from", "to", "user", "date"} & set(names)
    assert all(name == name.lower() and name.isidentifier() for name in names)
    assert len({name[:POSTGRES_NAME] for name in names}) == len(names)


@schemas
def test_every_schema_is_valid_and_allows_no_other_columns(stream: str) -> None:
    schema = load_schema(stream)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)
    # A record has exactly the columns of its schema; new fields of the vendor go to
    # additional_fields. A closed schema lets any validator check that. Stream maps
    # of the SDK and targets extend the schema together with the records.
    assert schema["additionalProperties"] is False
    # A stream map that drops a column would leave its name in "required".
    assert "required" not in schema


@schemas
def test_the_sdk_reads_the_same_schema(stream: str) -> None:
    assert SchemaDirectory(schema_directory()).get_schema(stream) == load_schema(stream)


@schemas
def test_the_row_builder_can_make_every_column(stream: str) -> None:
    RowBuilder(
        load_schema(stream), key=(), selected=None, account="a", privacy=Privacy()
    )


def test_a_schema_is_read_once() -> None:
    assert load_schema("encompass_links") is load_schema("encompass_links")


def test_an_unknown_stream_has_no_schema() -> None:
    with pytest.raises(FileNotFoundError):
        load_schema("encompass_nothing")


def test_schemas_inside_the_package_come_before_those_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "tap"
    beside, inside = tmp_path / "schemas", package / "schemas"
    package.mkdir()
    with pytest.raises(FileNotFoundError, match="install"):
        find_schemas(package)
    beside.mkdir()
    assert find_schemas(package) == beside
    inside.mkdir()
    assert find_schemas(package) == inside
