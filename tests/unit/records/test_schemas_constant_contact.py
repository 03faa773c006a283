"""The schemas of Constant Contact against the fields that the vendor documents."""

from __future__ import annotations

from typing import Any

import pytest

from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.privacy import MODES, Privacy
from tap_email_metrics.records.schemas import load_schema
from tests.support.records import RowBuilder
from tests.support.schemas import schema_names

PREFIX = "constant_contact_"

COLUMNS = {
    "account": (
        "account encoded_account_id encoded_partner_id organization_name"
        " organization_phone website first_name last_name contact_email contact_phone"
        " country_code state_code time_zone_id physical_address company_logo"
        " additional_fields"
    ),
    "bounces": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " bounce_code email_address current_email_address first_name last_name"
        " created_time deleted_at additional_fields"
    ),
    "campaign_activities": (
        "account campaign_activity_id campaign_id role current_status format_type"
        " from_email from_name reply_to_email subject preheader contact_list_ids"
        " segment_ids document_id permalink_url html_content"
        " physical_address_in_footer document_properties additional_fields"
    ),
    "campaign_activity_stats": (
        "account campaign_activity_id campaign_id campaign_activity_type em_sends"
        " em_opens em_opens_all em_opens_all_computer em_opens_all_mobile"
        " em_opens_all_tablet em_opens_all_other em_opens_all_none em_not_opened"
        " em_clicks em_clicks_all em_clicks_all_computer em_clicks_all_mobile"
        " em_clicks_all_tablet em_clicks_all_other em_clicks_all_none em_forwards"
        " em_optouts em_bounces em_bounces_blocked em_bounces_mailbox_full"
        " em_bounces_nonexistent_address em_bounces_other em_bounces_suspended"
        " em_bounces_undeliverable em_bounces_vacation em_abuse last_refresh_time"
        " additional_fields"
    ),
    "campaign_stats": (
        "account campaign_id em_sends em_opens em_opens_all em_opens_all_computer"
        " em_opens_all_mobile em_opens_all_tablet em_opens_all_other em_opens_all_none"
        " em_not_opened em_clicks em_clicks_all em_clicks_all_computer"
        " em_clicks_all_mobile em_clicks_all_tablet em_clicks_all_other"
        " em_clicks_all_none em_forwards em_optouts em_bounces percent_open"
        " percent_did_not_open percent_desktop_open percent_mobile_open percent_click"
        " percent_desktop_click percent_mobile_click percent_bounce"
        " percent_unsubscribe last_refresh_time additional_fields"
    ),
    "campaign_summaries": (
        "account campaign_id campaign_type last_sent_date sends opens clicks forwards"
        " optouts abuse bounces not_opened additional_fields"
    ),
    "campaigns": (
        "account campaign_id name type type_code current_status created_at updated_at"
        " additional_fields"
    ),
    "clicks": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " url_id link_url device_type email_address first_name last_name created_time"
        " deleted_at additional_fields"
    ),
    "contact_activity_details": (
        "account event_id contact_id campaign_activity_id campaign_activity_name"
        " tracking_activity_type created_time additional_fields"
    ),
    "contact_activity_summary": (
        "account contact_id campaign_activity_id start_on em_sends em_opens em_clicks"
        " em_forwards em_bounces em_unsubscribes additional_fields"
    ),
    "contact_custom_fields": (
        "account custom_field_id label name type version metadata choices created_at"
        " updated_at additional_fields"
    ),
    "contact_lists": (
        "account list_id name description favorite membership_count created_at"
        " updated_at deleted_at additional_fields"
    ),
    "contact_open_and_click_rates": (
        "account contact_id included_activities_count average_open_rate"
        " average_click_rate additional_fields"
    ),
    "contact_tags": (
        "account tag_id name tag_source contacts_count created_at updated_at"
        " additional_fields"
    ),
    "contacts": (
        "account contact_id email_address email_permission_to_send"
        " email_confirm_status email_opt_in_source email_opt_in_date"
        " email_opt_out_source email_opt_out_date email_opt_out_reason"
        " email_created_at email_updated_at first_name last_name job_title"
        " company_name birthday_month birthday_day anniversary create_source"
        " update_source created_at updated_at deleted_at list_memberships taggings"
        " custom_fields phone_numbers street_addresses notes sms_channel"
        " additional_fields"
    ),
    "did_not_opens": (
        "account campaign_activity_id contact_id tracking_activity_type email_address"
        " first_name last_name created_time deleted_at as_of additional_fields"
    ),
    "forwards": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " email_address first_name last_name created_time deleted_at additional_fields"
    ),
    "links": (
        "account campaign_activity_id url_id link_url unique_clicks list_action"
        " list_id link_tag as_of additional_fields"
    ),
    "opens": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " device_type email_address first_name last_name created_time deleted_at"
        " additional_fields"
    ),
    "optouts": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " opt_out_reason email_address first_name last_name created_time deleted_at"
        " additional_fields"
    ),
    "segments": "account segment_id name created_at edited_at additional_fields",
    "send_history": (
        "account campaign_activity_id send_id contact_list_ids segment_ids count"
        " run_date send_status reason_code additional_fields"
    ),
    "sends": (
        "account event_id campaign_activity_id contact_id tracking_activity_type"
        " email_address first_name last_name created_time deleted_at additional_fields"
    ),
    "snapshots": "account report campaign_activity_id as_of rows",
    "unique_opens": (
        "account campaign_activity_id contact_id tracking_activity_type device_type"
        " email_address first_name last_name created_time deleted_at as_of"
        " additional_fields"
    ),
}

# Every documented field of the stream's answers with its type, without paging and
# without the fields beside the rows (BESIDE_THE_ROWS):
# s text, i integer, n number, b truth value, t date-time, d date, o object,
# as list of scalars, ao list of objects.
FIELDS = {
    "campaign_summaries": (
        "campaign_id:s campaign_type:s last_sent_date:t unique_counts.sends:i"
        " unique_counts.opens:i unique_counts.clicks:i unique_counts.forwards:i"
        " unique_counts.optouts:i unique_counts.abuse:i unique_counts.bounces:i"
        " unique_counts.not_opened:i"
    ),
    "campaign_stats": (
        "campaign_id:s stats.em_bounces:i stats.em_clicks:i stats.em_clicks_all:i"
        " stats.em_clicks_all_computer:i stats.em_clicks_all_mobile:i"
        " stats.em_clicks_all_tablet:i stats.em_clicks_all_other:i"
        " stats.em_clicks_all_none:i stats.em_forwards:i stats.em_not_opened:i"
        " stats.em_opens:i stats.em_opens_all:i stats.em_opens_all_computer:i"
        " stats.em_opens_all_mobile:i stats.em_opens_all_tablet:i"
        " stats.em_opens_all_other:i stats.em_opens_all_none:i stats.em_optouts:i"
        " stats.em_sends:i percents.bounce:n percents.click:n percents.desktop_click:n"
        " percents.desktop_open:n percents.did_not_open:n percents.mobile_click:n"
        " percents.mobile_open:n percents.open:n percents.unsubscribe:n"
        " last_refresh_time:t"
    ),
    "campaign_activity_stats": (
        "campaign_id:s campaign_activity_id:s stats.em_bounces:i stats.em_clicks:i"
        " stats.em_clicks_all:i stats.em_clicks_all_computer:i"
        " stats.em_clicks_all_mobile:i stats.em_clicks_all_tablet:i"
        " stats.em_clicks_all_other:i stats.em_clicks_all_none:i stats.em_forwards:i"
        " stats.em_not_opened:i stats.em_opens:i stats.em_opens_all:i"
        " stats.em_opens_all_computer:i stats.em_opens_all_mobile:i"
        " stats.em_opens_all_tablet:i stats.em_opens_all_other:i"
        " stats.em_opens_all_none:i stats.em_optouts:i stats.em_sends:i"
        " stats.em_abuse:i stats.em_bounces_blocked:i stats.em_bounces_mailbox_full:i"
        " stats.em_bounces_nonexistent_address:i stats.em_bounces_other:i"
        " stats.em_bounces_suspended:i stats.em_bounces_undeliverable:i"
        " stats.em_bounces_vacation:i last_refresh_time:s"
    ),
    "sends": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s created_time:t deleted_at:d"
    ),
    "opens": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s device_type:s created_time:t deleted_at:d"
    ),
    "unique_opens": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s device_type:s created_time:t deleted_at:d"
    ),
    "did_not_opens": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s created_time:t deleted_at:d"
    ),
    "forwards": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s created_time:t deleted_at:d"
    ),
    "clicks": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s device_type:s url_id:s link_url:s created_time:t"
        " deleted_at:d"
    ),
    "optouts": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s opt_out_reason:s created_time:t deleted_at:d"
    ),
    "bounces": (
        "contact_id:s campaign_activity_id:s tracking_activity_type:s email_address:s"
        " first_name:s last_name:s bounce_code:s current_email_address:s"
        " created_time:t deleted_at:d"
    ),
    "links": "link_url:s url_id:s unique_clicks:i list_action:s list_id:s link_tag:s",
    "contact_activity_details": (
        "contact_id:s campaign_activity_id:s created_time:t tracking_activity_type:s"
        " campaign_activity_name:s"
    ),
    "contact_activity_summary": (
        "campaign_activity_id:s start_on:t em_bounces:i em_clicks:i em_forwards:i"
        " em_opens:i em_sends:i em_unsubscribes:i"
    ),
    "contact_open_and_click_rates": (
        "contact_id:s included_activities_count:i average_open_rate:n"
        " average_click_rate:n"
    ),
    "campaigns": (
        "campaign_activities:ao campaign_id:s created_at:t current_status:s name:s"
        " type:s type_code:i updated_at:t"
    ),
    "campaign_activities": (
        "campaign_activity_id:s campaign_id:s role:s contact_list_ids:as"
        " segment_ids:as current_status:s format_type:i from_email:s from_name:s"
        " reply_to_email:s subject:s html_content:s permalink_url:s preheader:s"
        " physical_address_in_footer:o document_id:s document_properties:o"
    ),
    "send_history": (
        "send_id:i contact_list_ids:as segment_ids:as count:i run_date:t"
        " send_status:s reason_code:i"
    ),
    "contacts": (
        "contact_id:s email_address.address:s email_address.permission_to_send:s"
        " email_address.created_at:t email_address.updated_at:t"
        " email_address.opt_in_source:s email_address.opt_in_date:t"
        " email_address.opt_out_source:s email_address.opt_out_date:t"
        " email_address.opt_out_reason:s email_address.confirm_status:s first_name:s"
        " last_name:s job_title:s company_name:s birthday_month:i birthday_day:i"
        " anniversary:s update_source:s create_source:s created_at:t updated_at:t"
        " deleted_at:d custom_fields:ao phone_numbers:ao street_addresses:ao"
        " list_memberships:as taggings:as notes:ao sms_channel:o"
    ),
    "contact_lists": (
        "list_id:s name:s description:s favorite:b created_at:t updated_at:t"
        " deleted_at:t membership_count:i"
    ),
    "contact_tags": (
        "tag_id:s name:s contacts_count:i created_at:t updated_at:t tag_source:s"
    ),
    "contact_custom_fields": (
        "custom_field_id:s label:s name:s type:s metadata:o version:i choices:ao"
        " updated_at:t created_at:t"
    ),
    "segments": "name:s segment_criteria:s segment_id:i created_at:t edited_at:t",
    "account": (
        "contact_email:s contact_phone:s country_code:s encoded_account_id:s"
        " encoded_partner_id:s first_name:s last_name:s organization_name:s"
        " organization_phone:s state_code:s time_zone_id:s website:s"
        " physical_address:o company_logo:o"
    ),
}
LEFT_OUT = {
    ("campaigns", "campaign_activities"): (
        "not in the list that the stream reads; a stream of its own"
    ),
    ("segments", "segment_criteria"): (
        "not in the list that the stream reads; one request a segment would get it"
    ),
}
BESIDE_THE_ROWS = {
    ("campaign_summaries", "aggregate_percents"): "about the rows of one page only",
    ("campaign_stats", "errors"): "refused ids: the run reports them",
    ("campaign_activity_stats", "errors"): "refused ids: the run reports them",
    ("contacts", "contacts_count"): "the number of rows of the stream",
    ("contacts", "status"): "says what the request asked for",
    ("contact_lists", "lists_count"): "the number of rows of the stream",
}

# Fields that only the examples in the vendor's guides show.
IN_EXAMPLES = {("campaign_activity_stats", "campaign_activity_type")}

# Ids that are documented as integers, and a moment that is documented without format.
SHOWN_OTHERWISE = {
    ("segments", "segment_id"): "s",
    ("send_history", "send_id"): "s",
    ("campaign_activity_stats", "last_refresh_time"): "t",
}
TYPES: dict[str, dict[str, Any]] = {
    "s": {"type": "string"},
    "i": {"type": "integer"},
    "n": {"type": "number"},
    "b": {"type": "boolean"},
    "t": {"type": "string", "format": "date-time"},
    "d": {"type": "string", "format": "date"},
    "o": {"type": "object"},
    "as": {"type": "array", "items": {"type": ["string", "null"]}},
    # target-snowflake fails on a list of objects without properties, and it drops
    # properties that are not listed.
    "ao": {
        "type": "array",
        "items": {
            "type": ["object", "null"],
            "properties": {},
            "additionalProperties": True,
        },
    },
}

# Columns that come from the request or the run and not from a row.
FROM_THE_RUN = {
    "links": "campaign_activity_id as_of",
    "unique_opens": "as_of",
    "did_not_opens": "as_of",
    "send_history": "campaign_activity_id",
    "contact_activity_summary": "contact_id",
    "snapshots": "report campaign_activity_id as_of rows",
}

EVENTS = ("sends", "opens", "forwards", "clicks", "optouts", "bounces")
IDENTITY = (
    *("campaign_activity_id", "contact_id", "tracking_activity_type"),
    *("created_time", "url_id"),
)
KEYS = {
    "campaign_summaries": "campaign_id",
    "campaign_stats": "campaign_id",
    "campaigns": "campaign_id",
    "campaign_activities": "campaign_activity_id",
    "campaign_activity_stats": "campaign_activity_id",
    "send_history": "campaign_activity_id send_id",
    **dict.fromkeys(EVENTS, "event_id"),
    "unique_opens": "campaign_activity_id contact_id",
    "did_not_opens": "campaign_activity_id contact_id",
    "links": "campaign_activity_id url_id",
    "snapshots": "report campaign_activity_id",
    "contacts": "contact_id",
    "contact_lists": "list_id",
    "contact_tags": "tag_id",
    "contact_custom_fields": "custom_field_id",
    "segments": "segment_id",
    "account": "",
    "contact_activity_details": "event_id contact_id campaign_activity_id",
    "contact_activity_summary": "contact_id campaign_activity_id",
    "contact_open_and_click_rates": "contact_id",
}

PII = {
    "email_address": "email",
    "current_email_address": "email",
    "from_email": "email",
    "reply_to_email": "email",
    "contact_email": "email",
    "first_name": "name",
    "last_name": "name",
    "from_name": "name",
    "job_title": "name",
    "company_name": "name",
    "contact_phone": "id",
    "organization_phone": "id",
    "link_url": "url",
    "permalink_url": "url",
    "website": "url",
    "opt_out_reason": "opaque",
    "email_opt_out_reason": "opaque",
    "name": "text",
    "label": "text",
    "description": "text",
    "campaign_activity_name": "text",
    "subject": "text",
    "preheader": "text",
    "html_content": "text",
    "physical_address": "opaque",
    "physical_address_in_footer": "opaque",
    "document_properties": "opaque",
    "birthday_month": "opaque",
    "birthday_day": "opaque",
    "anniversary": "opaque",
    "custom_fields": "opaque",
    "phone_numbers": "opaque",
    "street_addresses": "opaque",
    "notes": "opaque",
    "sms_channel": "opaque",
    "additional_fields": "opaque",
}
NOT_PERSONAL = ("metadata", "choices", "company_logo")
"""Objects about the account, not about people."""

GROUPS = ("unique_counts", "stats", "percents", "email_address")

streams = pytest.mark.parametrize("stream", COLUMNS)


def columns(stream: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a stream without those that the tap adds."""
    properties = load_schema(PREFIX + stream)["properties"]
    own = (EXTRACTED_AT, "recipient_domain")
    return {n: column for n, column in properties.items() if n not in own}


def key(stream: str) -> tuple[str, ...]:
    return ("account", *KEYS[stream].split())


def column_for(path: str) -> str:
    """Return the name of the column that shows a field."""
    group, _, field = path.rpartition(".")
    if group == "percents":
        return f"percent_{field}"
    if group == "email_address":
        return f"email_{field}"
    return field


def documented(stream: str) -> dict[str, str]:
    """Return the documented fields of a stream that have a column, with their types."""
    pairs = (pair.split(":") for pair in FIELDS.get(stream, "").split())
    return {
        path: SHOWN_OTHERWISE.get((stream, path), kind)
        for path, kind in pairs
        if (stream, path) not in LEFT_OUT
    }


def test_every_stream_has_a_schema_and_no_other() -> None:
    found = [name for name in schema_names() if name.startswith(PREFIX)]
    assert found == sorted(PREFIX + stream for stream in COLUMNS)


@streams
def test_columns_come_in_the_documented_order(stream: str) -> None:
    assert list(columns(stream)) == COLUMNS[stream].split()


@streams
def test_the_columns_are_those_of_the_documented_fields(stream: str) -> None:
    expected = {column_for(path): path for path in documented(stream)}
    expected |= {field: field for name, field in IN_EXAMPLES if name == stream}
    found = {
        name: column["x-source"]
        for name, column in columns(stream).items()
        if "x-source" in column
    }
    assert found == expected


@streams
def test_columns_have_the_documented_types(stream: str) -> None:
    every = columns(stream)
    for path, kind in documented(stream).items():
        name = column_for(path)
        shown = {n: every[name][n] for n in every[name].keys() & {"format", "items"}}
        base = TYPES[kind]["type"]
        nullable = base if name in key(stream) else [base, "null"]
        assert {**shown, "type": every[name]["type"]} == {
            **TYPES[kind],
            "type": nullable,
        }


@streams
def test_only_flattened_groups_have_sources_with_dots(stream: str) -> None:
    paths = [column.get("x-source", "") for column in columns(stream).values()]
    assert {path.split(".")[0] for path in paths if "." in path} <= {*GROUPS}
    assert not any(path in GROUPS[:3] for path in paths)


@streams
def test_columns_without_a_source_come_from_the_run(stream: str) -> None:
    assert [
        name
        for name, column in columns(stream).items()
        if not column.keys() & {"x-source", "x-derived"}
    ] == [
        "account",
        *FROM_THE_RUN.get(stream, "").split(),
        *(["additional_fields"] if stream != "snapshots" else []),
    ]


@streams
def test_only_keys_and_columns_of_the_run_are_required(stream: str) -> None:
    every = columns(stream)
    required = {name for name in every if "null" not in every[name]["type"]}
    assert required == {*key(stream), *FROM_THE_RUN.get(stream, "").split()}
    assert not any("x-pii" in every[name] for name in key(stream))
    assert all(every[name]["type"] == "string" for name in key(stream))


@streams
def test_event_ids_are_made_of_the_same_columns_in_every_stream(stream: str) -> None:
    every = columns(stream)
    derived = {name: c["x-derived"] for name, c in every.items() if "x-derived" in c}
    if "event_id" not in key(stream):
        assert not derived
        return
    assert derived == {"event_id": "event-id"}
    assert every["event_id"]["x-identity"] == list(IDENTITY)
    assert "created_time" in every


@streams
def test_personal_columns_are_marked(stream: str) -> None:
    every = columns(stream)
    marks = {name: column.get("x-pii") for name, column in every.items()}
    assert marks == {name: PII.get(name) for name in every}


@streams
def test_objects_are_marked_opaque_unless_they_are_not_personal(stream: str) -> None:
    for name, column in columns(stream).items():
        if "object" in (*column["type"], *column.get("items", {}).get("type", ())):
            mark = None if name in NOT_PERSONAL else "opaque"
            assert column.get("x-pii") == mark
        elif "array" in column["type"]:
            assert "x-pii" not in column


@streams
def test_descriptions_of_times_and_percents_name_their_unit(stream: str) -> None:
    for name, column in columns(stream).items():
        if column.get("format") == "date-time":
            assert "RFC 3339 in UTC with milliseconds." in column["description"]
        if column.get("format") == "date":
            assert "YYYY-MM-DD." in column["description"]
        if name.startswith("percent_"):
            assert "In percent, 0 to 100." in column["description"]


@streams
@pytest.mark.parametrize("mode", MODES)
def test_records_have_their_key_in_every_privacy_mode(stream: str, mode: str) -> None:
    builder = RowBuilder(
        load_schema(PREFIX + stream),
        key=key(stream),
        selected=(),
        account="acme",
        privacy=Privacy(mode, "pepper-of-the-tests"),
    )
    row = {"contact_id": "c", "campaign_activity_id": "a", "url_id": "u"}
    row |= dict.fromkeys(KEYS[stream].split(), "1")
    path: dict[str, Any] = dict.fromkeys(FROM_THE_RUN.get(stream, "").split(), "p")
    record = builder.made(row, **path)
    assert record is not None
    assert set(record) == set(key(stream))


def test_every_exception_above_still_has_its_field() -> None:
    for stream, path in (*LEFT_OUT, *SHOWN_OTHERWISE):
        assert f" {path}:" in f" {FIELDS[stream]}"
    for stream, field in BESIDE_THE_ROWS:
        assert field not in columns(stream)
