"""The schemas of LuxSci against the columns that the vendor documents."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.privacy import MODES, Privacy
from tap_email_metrics.records.schemas import load_schema
from tests.support.records import RowBuilder
from tests.support.schemas import schema_names

PREFIX = "luxsci_"

# From the vendor's page of report responses: keywords and types of each report, in
# the page's order and spelling. `additional` is the page's row "additional fields".
_HEADERS = (
    " header1:String header1_value:String header2:String header2_value:String"
    " header3:String header3_value:String"
)
_PERCENTAGES = (
    " pct_queued:Float pct_delivered:Float pct_hard_failed:Float pct_soft_failed:Float"
    " pct_failed:Float pct_opened:Float pct_clicked:Float pct_unsubscribed:Float"
    " pct_secureline:Float pct_secureline_escrow:Float pct_secureline_tls:Float"
)
PAGE = {
    "jobs": (
        "job_id:Integer filename:String created:DATETIME updated:DATETIME"
        " completed:DATETIME status:String status_detail:String expected_rows:Integer"
        " completed_rows:Integer uid:Integer current_jobs:Integer max_jobs:Integer"
    ),
    "users": (
        "user_id:Integer domain_id:Integer login:String created:DATETIME"
        " modified:DATETIME name:String"
    ),
    "users_summary": (
        "delta_users:Integer total_users:Integer user_limit:Integer pct_users:Float"
        " report_date:DATETIME"
    ),
    "marketing_lists": (
        "list_id:Integer owner_id:Integer created:DATETIME modified:DATETIME"
        " name:String from_email:String from_name:String reply_email:String"
        " n_subscribers:Integer list_group_id:Integer"
    ),
    "marketing_contacts": (
        "contact_id:Integer list_id:Integer owner_id:Integer created:DATETIME"
        " modified:DATETIME email:String domain:String is_active:Integer"
        " additional:String"
    ),
    "marketing_campaigns": (
        "campaign_id:Integer title:String template_id:Integer send_at:DATETIME"
        " send_started_at:DATETIME hourly_rate_limit:Integer queue_priority:Integer"
        " n_staged:Integer n_sent:Integer n_queued:Integer n_delivered:Integer"
        " n_soft_bounce:Integer n_hard_bounce:Integer n_lost:Integer"
        " n_opened_unique:Integer n_opened_total:Integer n_clicked_unique:Integer"
        " n_clicked_total:Integer n_opened_clicked_unique:Integer"
        " n_suppressed:Integer n_spam:Integer status:String status_detail:String"
        " created:DATETIME modified:DATETIME"
    ),
    "marketing_logs": (
        "log_id:Integer tracking_code:String sendmail_id:String campaign_id:Integer"
        " campaign_title:String sent:DATETIME delivery_status_updated:DATETIME"
        " contact_id:Integer list_id:Integer email:String disposition:String"
        " smtp_code:Integer state_detail:String opens:Integer clicks:Integer"
        " unsubscribed:Integer complained:Integer tls_used:Integer sl_type:Integer"
        " additional:String"
    ),
    "marketing_opens": (
        "log_id:Integer tracking_code:String campaign_id:Integer campaign_title:String"
        " open_date:DATETIME contact_id:Integer list_id:Integer email:String"
        " ip_address:String user_agent:String additional:String"
    ),
    "marketing_clicks": (
        "log_id:Integer tracking_code:String campaign_id:Integer campaign_title:String"
        " click_date:DATETIME contact_id:Integer list_id:Integer email:String"
        " ip_address:String url:String user_agent:String additional:String"
    ),
    "marketing_urls": (
        "campaign_id:Integer campaign_title:String url:String clicks:Integer"
    ),
    "marketing_bounces": (
        "log_id:Integer tracking_code:String sendmail_id:String campaign_id:Integer"
        " campaign_title:String delivery_status_updated:DATETIME contact_id:Integer"
        " list_id:Integer email:String disposition:String smtp_code:Integer"
        " state_detail:String additional:String"
    ),
    "marketing_complaints": (
        "log_id:Integer tracking_code:String campaign_id:Integer campaign_title:String"
        " contact_id:Integer list_id:Integer email:String additional:String"
    ),
    "marketing_unsubscribes": (
        "log_id:Integer tracking_code:String campaign_id:Integer campaign_title:String"
        " unsubscribed_date:DATETIME contact_id:Integer list_id:Integer email:String"
        " note:String additional:String"
    ),
    "delivery_status": (
        f"date_sent:DATETIME from:String from_ip:String{_HEADERS}"
        " last_updated:DATETIME delivery_status_updated:DATETIME"
        " delivery_seconds:Integer n_recipients:Integer secureline:Enum"
        " sendmail_id:String size_bytes:Integer smtp_code:Integer spam:Enum"
        " Opens:Integer Clicks:Integer Unsubscribed:Enum status:Enum details:String"
        " tls_delivery:Enum tls_info:String to:String user:String user_id:Integer"
        " template_id:Integer"
    ),
    "sent": (
        f"date_sent:DATETIME from:String from_ip:String{_HEADERS}"
        " high_volume:Integer n_recipients:Integer notes:String opt_out:Enum"
        " secureline:Integer sendmail_id:String size_bytes:Integer spam:Enum"
        " template_id:Integer to:String used_tls:Enum user:String user_id:Integer"
    ),
    "clicks": (
        f"date_sent:DATETIME from:String{_HEADERS} clicker_ip:String"
        " click_date:DATETIME user_agent:String sendmail_id:String status:Enum"
        " template_id:Integer to:String url:String user:String user_id:Integer"
    ),
    "opens": (
        f"date_sent:DATETIME from:String{_HEADERS} opener_ip:String"
        " open_date:DATETIME user_agent:String sendmail_id:String status:Enum"
        " template_id:Integer to:String user:String user_id:Integer"
    ),
    "complaints": (
        "complaint_date:DATETIME complaint_source:String date_sent:DATETIME"
        " message_type:String sendmail_id:String server_ip:String subject:String"
        " to:String user:String user_id:Integer"
    ),
    "suppressions": (
        "account_id:Integer added:DATETIME domain_id:Integer email:String"
        " expires:Integer note:String sendmail_id:String user_id:Integer"
    ),
    "temporary_failures": (
        "date_sent:DATETIME date_temp_failure:DATETIME temp_fail_message:String"
        " sendmail_id:String msg_to:String user_id:Integer"
    ),
    "delivery_status_summary": (
        "recipients:Integer queued:Integer delivered:Integer hard_failed:Integer"
        " soft_failed:Integer failed:Integer opened:Integer clicked:Integer"
        " unsubscribed:Integer secureline:Integer secureline_escrow:Integer"
        f" secureline_tls:Integer{_PERCENTAGES} report_date:Datetime"
    ),
    "opens_summary": "all_opens:Integer msg_opens:Integer report_date:Datetime",
    "clicks_summary": "all_clicks:Integer msg_clicks:Integer report_date:Datetime",
    "complaints_summary": "complaints:Integer report_date:Datetime",
    "suppressions_summary": "count:Integer report_date:Datetime",
    "login_failures": "date:DATETIME ip:String reason:String user_id:Integer",
}

RENAMED = {"from": "from_address", "to": "to_address", "user": "user_login"}
RENAMED_IN = {
    ("sent", "to"): "to_addresses",
    ("login_failures", "date"): "failed_at",
    ("suppressions_summary", "count"): "suppressions",
}
MOMENT = {"type": "string", "format": "date-time"}
TYPES: dict[str, dict[str, str]] = {
    "Integer": {"type": "integer"},
    "Float": {"type": "number"},
    "String": {"type": "string"},
    "DATETIME": MOMENT,
    "Datetime": MOMENT,
}
ENUMS = {
    **dict.fromkeys(("secureline", "spam", "Unsubscribed", "opt_out"), "Integer"),
    **dict.fromkeys(("tls_delivery", "used_tls"), "Integer"),
    "status": "String",
}
"""The type of the values of each column of the vendor's type Enum."""

SUMMARIES = (
    *("delivery_status_summary", "opens_summary", "clicks_summary"),
    *("complaints_summary", "suppressions_summary"),
)
PER_CHANNEL = ("delivery_status", "sent", "opens", "clicks")
WITHOUT_LOGIN = ("login_failures", "users", "users_summary")
IDENTITIES = {
    "delivery_status": "login channel sendmail_id to_address date_sent",
    "opens": "login channel sendmail_id to_address open_date opener_ip user_agent",
    "clicks": "login channel sendmail_id to_address click_date url clicker_ip",
    "complaints": "login sendmail_id to_address complaint_date complaint_source",
    "suppressions": "login account_id domain_id user_id email",
    "temporary_failures": "login sendmail_id msg_to date_temp_failure",
    "login_failures": "failed_at ip user_id reason",
    "marketing_opens": "login log_id open_date ip_address user_agent",
    "marketing_clicks": "login log_id click_date ip_address user_agent url",
    "marketing_unsubscribes": "login log_id email unsubscribed_date",
    "marketing_urls": "login campaign_id url",
}
ONE_ROW_THAT_CHANGES = ("delivery_status", "suppressions")
KEYS = {
    **dict.fromkeys(IDENTITIES, "event_id"),
    **dict.fromkeys(SUMMARIES, "scope interval_start"),
    "users_summary": "interval_start",
    "sent": "channel sendmail_id",
    "marketing_campaigns": "campaign_id",
    "marketing_logs": "log_id",
    "marketing_bounces": "log_id",
    "marketing_complaints": "log_id",
    "marketing_lists": "list_id",
    "marketing_contacts": "contact_id",
    "users": "user_id",
    "jobs": "job_id",
}
REPLICATION_KEYS = {
    **dict.fromkeys((*SUMMARIES, "users_summary"), "interval_start"),
    "delivery_status": "last_updated",
    "sent": "date_sent",
    "opens": "open_date",
    "clicks": "click_date",
    "complaints": "complaint_date",
    "suppressions": "added",
    "temporary_failures": "date_temp_failure",
    "login_failures": "failed_at",
    "marketing_campaigns": "modified",
    "marketing_logs": "delivery_status_updated",
    "marketing_opens": "open_date",
    "marketing_clicks": "click_date",
    "marketing_bounces": "delivery_status_updated",
    "marketing_unsubscribes": "unsubscribed_date",
    "marketing_lists": "modified",
    "marketing_contacts": "modified",
    "users": "modified",
    "jobs": "updated",
}
WITHOUT_REPLICATION_KEY = {"marketing_complaints", "marketing_urls"}

PII = {
    **dict.fromkeys(("login", "user_login"), "id"),
    **dict.fromkeys(("from_address", "to_address", "msg_to", "email"), "email"),
    **dict.fromkeys(("from_email", "reply_email"), "email"),
    "to_addresses": "email_list",
    "from_name": "name",
    **dict.fromkeys(("from_ip", "clicker_ip", "opener_ip", "server_ip"), "ip"),
    **dict.fromkeys(("ip", "ip_address"), "ip"),
    "user_agent": "user_agent",
    "url": "url",
    **dict.fromkeys(("details", "state_detail"), "text"),
    **dict.fromkeys(("subject", "notes", "note"), "opaque"),
    **dict.fromkeys(("temp_fail_message", "reason", "status_detail"), "text"),
    **dict.fromkeys(("filename", "campaign_title", "title"), "text"),
    **dict.fromkeys(("header1_value", "header2_value", "header3_value"), "opaque"),
    "domain": "opaque",
    "additional_fields": "opaque",
}
PII_IN = {("users", "name"): "name", ("marketing_lists", "name"): "text"}

_BOTH = "/account/{account}/%s and /user/{login}/%s"
_OF_EMAIL = {
    "delivery_status": "report/email/{smtp,webmail}/delivery",
    "sent": "report/email/{smtp,webmail}/sent",
    "opens": "report/email/{smtp,webmail}/opens",
    "complaints": "report/email/fbl",
    "suppressions": "report/email/suppressions",
    "temporary_failures": "report/email/smtp/tempfail",
    "delivery_status_summary": "report/email/smtp/delivery/summary",
    "opens_summary": "report/email/smtp/opens/summary",
    "clicks_summary": "report/email/smtp/clicks/summary",
    "complaints_summary": "report/email/fbl/summary",
    "suppressions_summary": "report/email/suppressions/summary",
    "jobs": "report/jobs",
}
ENDPOINTS = {
    **{stream: _BOTH % (path, path) for stream, path in _OF_EMAIL.items()},
    "clicks": _BOTH
    % ("report/email/{smtp,webmail}/clicks", "report/email/smtp/clicks"),
    "login_failures": "/account/{account}/report/smtp/loginfailures",
    "users": "/account/{account}/report/users",
    "users_summary": "/account/{account}/report/users/summary",
    "marketing_lists": "/user/{login}/marketing/v3/lists",
    "marketing_contacts": "/user/{login}/marketing/v3/contacts",
    "marketing_campaigns": "/user/{login}/marketing/v3/campaigns",
    "marketing_logs": "/user/{login}/marketing/v3/report/logs",
    "marketing_opens": "/user/{login}/marketing/v3/report/opened",
    "marketing_clicks": "/user/{login}/marketing/v3/report/clicked",
    "marketing_urls": "/user/{login}/marketing/v3/report/urls",
    "marketing_bounces": "/user/{login}/marketing/v3/report/bounces",
    "marketing_complaints": "/user/{login}/marketing/v3/report/complaints",
    "marketing_unsubscribes": "/user/{login}/marketing/v3/report/unsubscribed",
}

# Codes of a column: its description explains each.
CODES = {
    ("delivery_status", "secureline"): "0 -2 -1 1 2 3 4",
    ("delivery_status", "spam"): "0 1",
    ("delivery_status", "opens"): "-1 0",
    ("delivery_status", "clicks"): "-1 0",
    ("delivery_status", "unsubscribed"): "0 1",
    ("delivery_status", "tls_delivery"): "1 0 -1",
    ("sent", "high_volume"): "0 1",
    ("sent", "opt_out"): "0 -1 1",
    ("sent", "secureline"): "0 -2 -1 1 2 3 4",
    ("sent", "spam"): "0 1",
    ("sent", "used_tls"): "1 0",
    ("jobs", "status"): "submitted preparing running uploading complete failed",
    ("marketing_campaigns", "status"): (
        "scheduled paused staging sending queued complete running failed"
    ),
    ("marketing_logs", "disposition"): (
        "queued delivered soft_bounce hard_bounce lost"
    ),
    ("marketing_bounces", "disposition"): (
        "queued delivered soft_bounce hard_bounce lost"
    ),
    ("marketing_contacts", "is_active"): "1 0",
    ("marketing_logs", "tls_used"): "1 0",
}
STATUSES = (
    *("Delivered", "Failed", "In Queue", "No Data Available"),
    *("Post-Delivery Hard Fail", "Soft Bounce"),
)

# Words of descriptions that warn of errors, open points and surprises of the page.
WARNINGS = {
    ("users_summary", "total_users"): "not in the interval",
    ("sent", "secureline"): "is inferred",
    ("suppressions", "expires"): "Days until the suppression ends, 0 for never",
    ("complaints", "to_address"): "the word redacted",
    ("delivery_status", "from_ip"): "MobileSync",
    ("sent", "from_ip"): "MobileSync",
    ("sent", "used_tls"): "only SMTP",
    ("marketing_logs", "sl_type"): "(inferred)",
    ("marketing_contacts", "additional_fields"): "custom fields",
}

ROW: dict[str, Any] = {
    "Integer": "7",
    "Float": "0.25",
    "String": 12,
    "DATETIME": "2026-09-21 14:13:20",
    "Datetime": "2026-09-21 14:13:20",
}
"""A value of each type as the vendor might send it, loosely typed."""

REQUEST = {
    "scope": "user",
    "login": "jane@x.org",
    "channel": "smtp",
    "interval_start": "2026-09-21",
}

streams = pytest.mark.parametrize("stream", PAGE)


def columns(stream: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a stream without those that the tap adds."""
    properties = load_schema(PREFIX + stream)["properties"]
    own = (EXTRACTED_AT, "recipient_domain")
    return {n: column for n, column in properties.items() if n not in own}


def key(stream: str) -> tuple[str, ...]:
    return ("account", *KEYS[stream].split())


def keywords(stream: str) -> list[tuple[str, str]]:
    """Return the keywords of a report and their types, Enum resolved."""
    pairs = [pair.split(":") for pair in PAGE[stream].split()]
    return [
        (name, ENUMS[name] if kind == "Enum" else kind)
        for name, kind in pairs
        if name != "additional"
    ]


def column_for(stream: str, keyword: str) -> str:
    """Return the name of the column that shows a keyword."""
    name = RENAMED.get(keyword, keyword.lower())
    return RENAMED_IN.get((stream, keyword), name)


def from_the_request(stream: str) -> list[str]:
    """Return the columns that come from the request, in their order."""
    daily = stream in SUMMARIES or stream == "users_summary"
    return [
        *(["scope"] if stream in SUMMARIES else []),
        *(["login"] if stream not in WITHOUT_LOGIN else []),
        *(["channel"] if stream in PER_CHANNEL else []),
        *(["interval_start"] if daily else []),
    ]


def test_every_stream_has_a_schema_and_no_other() -> None:
    found = [name for name in schema_names() if name.startswith(PREFIX)]
    assert found == sorted(PREFIX + stream for stream in PAGE)


@streams
def test_columns_come_in_the_documented_order(stream: str) -> None:
    assert list(columns(stream)) == [
        "account",
        *(["event_id"] if stream in IDENTITIES else []),
        *from_the_request(stream),
        *(column_for(stream, keyword) for keyword, _ in keywords(stream)),
        "additional_fields",
    ]


@streams
def test_the_columns_are_those_of_the_vendors_keywords(stream: str) -> None:
    found = [
        (column["x-source"], name)
        for name, column in columns(stream).items()
        if "x-source" in column
    ]
    assert found == [
        (keyword, column_for(stream, keyword)) for keyword, _ in keywords(stream)
    ]


@streams
def test_columns_have_the_documented_types(stream: str) -> None:
    every = columns(stream)
    for keyword, kind in keywords(stream):
        name = column_for(stream, keyword)
        shown = {part: every[name].get(part) for part in ("type", "format")}
        base = TYPES[kind]["type"]
        nullable = base if name in key(stream) else [base, "null"]
        assert shown == {"type": nullable, "format": TYPES[kind].get("format")}, name
        assert "enum" not in every[name]


@streams
def test_columns_of_the_request_have_these_types(stream: str) -> None:
    every = columns(stream)
    for name in from_the_request(stream):
        assert every[name]["type"] == (
            ["string", "null"] if name == "login" else "string"
        )
        assert every[name].get("format") == (
            "date" if name == "interval_start" else None
        )
    assert [
        n for n, c in every.items() if not c.keys() & {"x-source", "x-derived"}
    ] == [*("account", *from_the_request(stream), "additional_fields")]


@streams
def test_only_keys_and_columns_of_the_request_are_required(stream: str) -> None:
    every = columns(stream)
    required = {name for name in every if "null" not in every[name]["type"]}
    assert required == {*key(stream), *from_the_request(stream)} - {"login"}
    assert not any("x-pii" in every[name] for name in key(stream))


@streams
def test_event_ids_are_made_of_the_documented_columns(stream: str) -> None:
    every = columns(stream)
    derived = {name: c["x-derived"] for name, c in every.items() if "x-derived" in c}
    assert derived == ({"event_id": "event-id"} if stream in IDENTITIES else {})
    if derived:
        event_id = every["event_id"]
        assert event_id["x-identity"] == IDENTITIES[stream].split()
        listed = ", ".join(f"`{name}`" for name in event_id["x-identity"])
        assert f"of the account, the stream, {listed}, and " in event_id["description"]
        counted = "a number that distinguishes equal rows." in event_id["description"]
        assert counted == (stream not in ONE_ROW_THAT_CHANGES)
        assert set(event_id["x-identity"]) <= every.keys()


def test_identities_contain_the_replication_key_unless_a_row_may_change() -> None:
    """Otherwise equal rows would be numbered from 0 again in each window."""
    assert {
        stream
        for stream, names in IDENTITIES.items()
        if REPLICATION_KEYS.get(stream) not in names.split()
    } == {*ONE_ROW_THAT_CHANGES, "marketing_urls"}


@streams
def test_the_description_of_the_replication_key_says_what_it_is(stream: str) -> None:
    every = columns(stream)
    said = [n for n in every if "The replication key." in every[n]["description"]]
    assert said == [k for k in [REPLICATION_KEYS.get(stream)] if k]
    assert (stream in WITHOUT_REPLICATION_KEY) == (not said)


@streams
def test_personal_columns_are_marked(stream: str) -> None:
    every = columns(stream)
    marks = {name: column.get("x-pii") for name, column in every.items()}
    assert marks == {name: PII_IN.get((stream, name), PII.get(name)) for name in every}


@streams
def test_the_description_names_the_endpoint_and_whether_it_is_confirmed(
    stream: str,
) -> None:
    description = load_schema(PREFIX + stream)["description"]
    how = (
        "confirmed, but for a user's smtp: inferred" if stream == "sent" else "assumed"
    )
    endpoint = f"Endpoint: GET {ENDPOINTS[stream]}, LuxSci REST API version 2"
    before, found, after = description.partition(endpoint)
    assert found
    assert before.startswith("One row per ")
    assert before.endswith(". ")
    assert after == f" (path {how})."


@streams
def test_descriptions_of_times_shares_and_numbers_name_their_unit(stream: str) -> None:
    for name, column in columns(stream).items():
        text = column["description"]
        if column.get("format") == "date-time":
            assert text.endswith("RFC 3339 in UTC with milliseconds."), name
        if column.get("format") == "date":
            assert text.endswith("YYYY-MM-DD."), name
        if name.startswith("pct_"):
            assert text.endswith("0 to 1."), name
        if name.endswith("_seconds"):
            assert "In seconds." in text
        if name.endswith("_bytes"):
            assert "in bytes." in text


def test_the_enum_columns_are_those_of_the_vendors_page() -> None:
    found = {
        pair.split(":")[0]
        for fields in PAGE.values()
        for pair in fields.split()
        if pair.endswith(":Enum")
    }
    assert found == {*ENUMS}


@pytest.mark.parametrize(("stream", "name"), CODES)
def test_descriptions_explain_every_code(stream: str, name: str) -> None:
    words = columns(stream)[name]["description"].replace(":", " ").replace(",", " ")
    assert {*CODES[stream, name].split()} <= {*words.replace(".", " ").split()}


@pytest.mark.parametrize("stream", ["delivery_status", "clicks", "opens"])
def test_descriptions_explain_every_status(stream: str) -> None:
    text = columns(stream)["status"]["description"]
    assert all(status in text for status in STATUSES)


@pytest.mark.parametrize(("stream", "name"), WARNINGS)
def test_descriptions_warn_of_surprises(stream: str, name: str) -> None:
    assert WARNINGS[stream, name] in columns(stream)[name]["description"]


@streams
def test_descriptions_mention_custom_fields_of_the_vendors_page(stream: str) -> None:
    text = columns(stream)["additional_fields"]["description"]
    assert ("`luxsci.detail`" in text) == PAGE[stream].endswith(" additional:String")


@streams
@pytest.mark.parametrize("mode", MODES)
def test_a_row_of_loosely_typed_values_gives_a_valid_record(
    stream: str, mode: str
) -> None:
    schema, privacy = load_schema(PREFIX + stream), Privacy(mode, "p" * 16)
    builder = RowBuilder(
        schema, key=key(stream), selected=None, account="acme", privacy=privacy
    )
    marked = [name for name, c in schema["properties"].items() if "x-pii" in c]
    row = {keyword: ROW[kind] for keyword, kind in keywords(stream)}
    for keyword in row:
        if column_for(stream, keyword) in marked:
            row[keyword] = "jane@x.org"
    path: dict[str, Any] = {n: REQUEST[n] for n in from_the_request(stream)}
    record = builder.made(row, **path)
    assert record is not None
    Draft7Validator(privacy.apply_to_schema(schema)).validate(record)
    assert list(record) == list(schema["properties"])
    assert not builder.uncoercible
    assert not builder.unknown
    del record[EXTRACTED_AT]  # filled in when the row is written
    if mode == "plain":
        assert [n for n in record if record[n] is None] == ["additional_fields"]
    else:
        assert "jane" not in repr(record)
    if mode == "drop":
        assert [n for n in record if record[n] is None] == marked
