"""From bodies to rows, and from rows to records."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.privacy import Privacy
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.values import (
    decode_json,
    decode_loosely,
    storable,
    to_integer,
    to_milliseconds,
)
from tests.support.records import RowBuilder
from tests.support.schemas import schema_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LARGEST = 2**63 - 1
Json: TypeAlias = Any
BAD = re.compile("[\x00\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STREAMS = (
    *("encompass_messages", "encompass_recipients", "encompass_opens"),
    *("encompass_clicks", "encompass_bounces", "encompass_delivers"),
    "encompass_links",
)
SCHEMAS = {stream: load_schema(stream) for stream in STREAMS}
KEYS = {
    stream: tuple(
        name
        for name in ("account", "message_id", "id")
        if name in SCHEMAS[stream]["properties"]
    )
    for stream in STREAMS
}
HASH = Privacy("hash", "pepper-of-the-tests")

OPEN = {
    "id": 1,
    "recipientId": 2,
    "timestamp": 1_700_000_000_123,
    "dateAdded": 1_700_000_001_000,
    "ipAddress": "203.0.113.77",
    "userAgent": "Mail/1.0",
}


def builder(
    stream: str = "encompass_opens",
    *,
    selected: Collection[str] | None = None,
    privacy: Privacy | None = None,
) -> RowBuilder:
    return RowBuilder(
        SCHEMAS[stream],
        key=KEYS[stream],
        selected=selected,
        account="acme",
        privacy=privacy or Privacy(),
    )


def record_of(row: dict[str, Any], **options: Json) -> dict[str, Any]:
    record = builder(**options).made(row, message_id=9)
    assert record is not None
    return record


def is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return bool(DATE_TIME.fullmatch(value) and datetime.fromisoformat(value))


def validator(schema: dict[str, Any]) -> Draft7Validator:
    checker = FormatChecker()
    checker.checks("date-time", raises=ValueError)(is_date_time)
    return Draft7Validator(schema, format_checker=checker)


def strings(value: object) -> Iterator[str]:
    """Yield every string in a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (name, *strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def clean(value: Json, bad: re.Pattern[str] = BAD) -> Json:
    """Return a JSON value with U+FFFD for bad characters; names stay distinct."""
    if isinstance(value, str):
        return bad.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(name, bad): clean(item, bad) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item, bad) for item in value]
    return value


# JSON values, with many that often cause errors.

WHOLE = st.one_of(
    st.integers(),
    st.integers(-70_000_000_000_000, 260_000_000_000_000),
    st.sampled_from([LARGEST, LARGEST + 1, -LARGEST - 1, -LARGEST - 2, 10**30]),
)
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=9),
    WHOLE.map(str),
    st.sampled_from(["", "007", "-0", " 1", "1 ", "+1", "1_0", "1\u0661", "1e3", "\0"]),
)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), WHOLE.map(lambda n: n / 1)
)
# NUL is the only bad character in names, so that no two names become equal.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=9)
SCALARS = st.one_of(st.none(), st.booleans(), WHOLE, FLOATS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a stream and a row of it, with odd values and odd fields."""
    stream = draw(st.sampled_from(STREAMS))
    properties = SCHEMAS[stream]["properties"].values()
    names = sorted(
        {column["x-source"] for column in properties if "x-source" in column}
    )
    usual = {name: VALUES for name in names if name != "id"}
    known = draw(st.fixed_dictionaries({"id": st.integers(0, LARGEST)}, optional=usual))
    extra = draw(st.dictionaries(NAMES, VALUES, max_size=2))
    return stream, {**extra, **known}


@given(rows())
def test_every_record_is_valid_complete_and_storable(
    drawn: tuple[str, dict[str, Any]],
) -> None:
    stream, row = drawn
    before = repr(row)
    record = record_of(row, stream=stream)
    assert repr(row) == before
    validator(SCHEMAS[stream]).validate(record)
    assert list(record) == list(SCHEMAS[stream]["properties"])
    assert not any(BAD.search(text) for text in strings(record))
    assert msgspec.json.decode(msgspec.json.encode(record)) == record


@given(rows(), st.sampled_from(["hash", "domain", "drop"]))
def test_every_record_is_valid_in_every_mode(
    drawn: tuple[str, dict[str, Any]], mode: str
) -> None:
    stream, row = drawn
    privacy = Privacy(mode, "pepper-of-the-tests")
    record = record_of(row, stream=stream, privacy=privacy)
    validator(privacy.apply_to_schema(SCHEMAS[stream])).validate(record)
    assert record["additional_fields"] is None


def says(shown: Json, raw: Json) -> bool:
    """Return whether the value of a column keeps all information of the raw value."""
    if isinstance(raw, bool):
        return bool(shown == str(raw).lower())
    if isinstance(raw, (int, float)):
        return bool(raw == (float(shown) if isinstance(raw, float) else int(shown)))
    return bool(str(shown) == clean(raw))


@given(rows())
def test_no_value_of_a_row_is_lost(drawn: tuple[str, dict[str, Any]]) -> None:
    stream, row = drawn
    record = record_of(row, stream=stream)
    columns = SCHEMAS[stream]["properties"].items()
    shown = {
        column["x-source"]: record[name]
        for name, column in columns
        if "x-source" in column and "x-derived" not in column
    }
    extra = dict(record["additional_fields"] or {})
    for name, raw in row.items():
        if shown.get(name) is not None:
            assert says(shown[name], raw)
        elif name not in shown or raw is not None:
            assert extra.pop(clean(name)) == clean(raw)
    assert not extra


@given(rows(), st.data())
def test_deselected_columns_do_not_leak(
    drawn: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    stream, row = drawn
    every = list(SCHEMAS[stream]["properties"])
    selected = data.draw(st.sets(st.sampled_from(every)))
    record = record_of(row, stream=stream, selected=selected)
    assert list(record) == [n for n in every if n in {*selected, *KEYS[stream]}]
    everything = record_of(row, stream=stream)
    for name in record.keys() - {"additional_fields"}:
        assert record[name] == everything[name]
    held = (record.get("additional_fields") or {}).keys()
    sources = {
        name: column["x-source"]
        for name, column in SCHEMAS[stream]["properties"].items()
        if "x-source" in column
    }
    asked_for = {sources[name] for name in record if name in sources}
    assert not held & (set(sources.values()) - asked_for)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (12, 12),
        (LARGEST, LARGEST),
        (-LARGEST - 1, -LARGEST - 1),
        (12.0, 12),
        (-0.0, 0),
        (2.0**53, 2**53),
        ("123", 123),
        ("-5", -5),
        ("0", 0),
        (str(LARGEST), LARGEST),
    ],
)
def test_integers_are_read_from_numbers_and_text(raw: object, value: int) -> None:
    record = record_of({**OPEN, "recipientId": raw})
    assert record["recipient_id"] == value
    assert type(record["recipient_id"]) is int
    assert record["additional_fields"] is None


@pytest.mark.parametrize(
    "raw",
    [
        *(True, False, 12.5, 2.0**53 + 2, 1e300, LARGEST + 1, -LARGEST - 2, 10**30),
        *("abc", "", " 1", "1 ", "+1", "12.0", "1e3", "007", "-0", "1_0", "1\u0661"),
        *(str(LARGEST + 1), "9" * 5000, [1], {"a": 1}, []),
    ],
)
def test_a_value_that_is_not_an_integer_is_kept_raw(raw: object) -> None:
    subject = builder()
    record = subject.made({**OPEN, "recipientId": raw}, message_id=9)
    assert record is not None
    assert record["recipient_id"] is None
    held = record["additional_fields"]
    assert held == {"recipientId": raw}
    assert type(held["recipientId"]) is type(raw)
    assert subject.uncoercible == {"recipientId"}
    assert not subject.unknown


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("", ""),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
        (7, "7"),
        (10**30, "1" + "0" * 30),
        (0.1, "0.1"),
        (12.0, "12.0"),
        (1e22, "1e+22"),
        (True, "true"),
        (False, "false"),
        ("a\0b\ud83dc", "a\ufffdb\ufffdc"),
    ],
)
def test_strings_are_read_from_scalars(raw: object, text: str) -> None:
    record = record_of({**OPEN, "userAgent": raw})
    assert record["user_agent"] == text
    assert record["additional_fields"] is None


@pytest.mark.parametrize("raw", [[], ["a"], {}, {"a": None}])
def test_a_value_that_is_not_a_scalar_is_kept_raw(raw: object) -> None:
    record = record_of({**OPEN, "userAgent": raw})
    assert record["user_agent"] is None
    assert record["additional_fields"] == {"userAgent": raw}


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu"])
def _time_zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_time_zone")
@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        (1_300_000_000_000.0, "2011-03-13T07:06:40.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (-62_135_596_800_001, None),
        (253_402_300_800_000, None),
        (LARGEST, None),
        (None, None),
    ],
)
def test_times_from_epochs_do_not_depend_on_the_local_time_zone(
    epoch: object, text: str | None
) -> None:
    record = record_of({**OPEN, "timestamp": epoch})
    assert record["occurred_at"] == text
    assert record["timestamp"] == (
        None if epoch is None else int(str(epoch).split(".")[0])
    )
    assert record["additional_fields"] is None


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_from_epochs_are_exact(epoch: int) -> None:
    text = record_of({**OPEN, "timestamp": epoch})["occurred_at"]
    moment = datetime.fromisoformat(text)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = (delta.days * 86_400 + delta.seconds) * 1000
    assert whole + delta.microseconds // 1000 == epoch


def test_an_epoch_out_of_range_is_kept_if_its_number_is_deselected() -> None:
    selected = ("occurred_at", "additional_fields")
    record = record_of({**OPEN, "timestamp": LARGEST}, selected=selected)
    assert record["additional_fields"] == {"timestamp": LARGEST}


def test_an_unreadable_epoch_is_noted() -> None:
    subject = builder()
    record = subject.made({**OPEN, "timestamp": "soon"}, message_id=9)
    assert record is not None
    assert record["timestamp"] is record["occurred_at"] is None
    assert subject.uncoercible == {"timestamp"}


def test_a_row_becomes_this_record() -> None:
    assert record_of(OPEN) == {
        "account": "acme",
        "extracted_at": None,
        "message_id": 9,
        "id": 1,
        "recipient_id": 2,
        "timestamp": 1_700_000_000_123,
        "occurred_at": "2023-11-14T22:13:20.123Z",
        "date_added": 1_700_000_001_000,
        "added_at": "2023-11-14T22:13:21.000Z",
        "ip_address": "203.0.113.77",
        "user_agent": "Mail/1.0",
        "additional_fields": None,
    }


def test_absent_fields_are_null() -> None:
    record = record_of({"id": 1})
    assert [name for name, value in record.items() if value is not None] == [
        *("account", "message_id", "id")
    ]


def test_unknown_fields_are_kept_under_their_own_names() -> None:
    row = {
        **OPEN,
        "newField": None,
        "additional_fields": {"a": [0.1, 1e22, "x\0"]},
        "account": "theirs",
        "message_id": 5,
        "bad\0name": {"a\ud800": 1, "a\0": 2},
    }
    subject = builder()
    record = subject.made(row, message_id=9)
    assert record is not None
    assert (record["account"], record["message_id"]) == ("acme", 9)
    assert record["additional_fields"] == {
        "newField": None,
        "additional_fields": {"a": [0.1, 1e22, "x\ufffd"]},
        "account": "theirs",
        "message_id": 5,
        "bad\ufffdname": {"a\ufffd": 1, "a\ufffd\ufffd": 2},
    }
    assert subject.unknown == set(record["additional_fields"])


def test_unknown_fields_are_noted_by_name_without_values() -> None:
    subject = builder()
    row = {**OPEN, "recipientId": "jane@x.org", "more": "jane@x.org"}
    subject.made(row, message_id=9)
    assert "jane" not in repr((subject.uncoercible, subject.unknown))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_keep_every_digit(number: float) -> None:
    body = json.dumps({"id": 1, "score": number}).encode()
    row: Json = decode_json(body)
    record = record_of(row)
    line = msgspec.json.encode(record["additional_fields"])
    assert repr(json.loads(line)["score"]) == repr(number)


@pytest.mark.parametrize("depth", [1, 31, 33, 400])
def test_deeply_nested_values_are_kept_as_text(depth: int) -> None:
    body = (
        b'{"id":1,"deep":' + b"[" * depth + b'"\xc3\xa9\\u0000"' + b"]" * depth + b"}"
    )
    row: Json = decode_json(body)
    record = record_of(row)
    held = record["additional_fields"]["deep"]
    assert isinstance(held, str) == (depth > 31)
    assert not any(BAD.search(text) for text in strings(record))
    if depth > 31:
        assert json.loads(held) == json.loads(body)["deep"]


@pytest.mark.parametrize("key", [None, "", "abc", True, 1.5, LARGEST + 1, [1]])
def test_a_row_without_a_usable_key_is_set_aside(key: object) -> None:
    subject = builder()
    assert subject.made({**OPEN, "id": key}, message_id=9) is None
    assert subject.made(OPEN, message_id=key) is None
    assert subject.made(OPEN, message_id=9) is not None
    assert subject.set_aside.total() == 2


def test_keys_are_converted_and_always_selected() -> None:
    record = builder(selected=()).made({"id": "1"}, message_id=9.0)
    assert record == {"account": "acme", "message_id": 9, "id": 1}


def test_a_text_key_may_not_be_empty() -> None:
    schema = {"properties": {"id": {"type": "string", "x-source": "uuid"}}}
    subject = RowBuilder(
        schema, key=("id",), selected=None, account="a", privacy=Privacy()
    )
    assert subject.made({"uuid": ""}) is None
    assert subject.made({"uuid": 0}) == {"id": "0"}


def test_a_missing_column_of_the_request_is_an_error() -> None:
    with pytest.raises(KeyError, match="message_id"):
        builder().made(OPEN)


@pytest.mark.parametrize(
    "column",
    [
        {"type": ["array", "null"]},
        {"type": ["array", "null"], "items": {"type": ["null"]}},
        {"type": ["integer", "string", "null"]},
        {"type": ["string", "null"], "format": "time"},
        {"type": ["integer", "null"], "format": "date-time"},
        {"type": ["string", "null"], "x-source": "a", "x-derived": "epoch-s"},
    ],
)
def test_a_column_without_a_converter_is_refused(column: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="converter"):
        RowBuilder(
            {"properties": {"a": column}},
            key=(),
            selected=None,
            account="a",
            privacy=Privacy(),
        )


def test_a_key_that_the_schema_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        RowBuilder(
            SCHEMAS["encompass_opens"],
            key=("event_id",),
            selected=None,
            account="a",
            privacy=Privacy(),
        )


def test_personal_columns_are_treated_and_no_raw_value_is_kept() -> None:
    row = {
        "id": 1,
        "emailAddress": "Jane@x.org",
        "firstName": "Jane",
        "lastName": ["Doe"],
        "memberId": 44,
        "nickname": "Jane",
    }
    record = record_of(row, stream="encompass_recipients", privacy=HASH)
    assert record["email_address"] == HASH.hashed("jane@x.org")
    assert record["first_name"] == HASH.hashed("jane")
    assert record["member_id"] == HASH.hashed("44")
    assert record["last_name"] is None
    assert record["additional_fields"] is None
    assert record["id"] == 1


def test_marks_come_from_the_packaged_schema_and_not_from_the_catalog() -> None:
    # A catalog that passed through the SDK has lost the marks. The builder gets the
    # packaged schema, which has them.
    from_catalog = {"email_address", "no_such_column"}
    record = record_of(
        {"id": 1, "emailAddress": "jane@x.org", "firstName": ["Jane"], "x": "Jane"},
        stream="encompass_recipients",
        selected=from_catalog,
        privacy=HASH,
    )
    assert list(record) == ["account", "message_id", "id", "email_address"]
    assert "jane" not in repr(record).lower()


@pytest.mark.parametrize("raw", [12, "12", 12.0])
def test_to_integer_reads_an_id_as_a_record_does(raw: object) -> None:
    assert to_integer(raw) == 12


@pytest.mark.parametrize("raw", [None, True, "", "abc", 12.5, LARGEST + 1, [1]])
def test_to_integer_returns_none_for_other_values(raw: object) -> None:
    assert to_integer(raw) is None


# Columns of every type, and groups

SORTS: dict[str, Any] = {
    "properties": {
        "moment": {"type": ["string", "null"], "format": "date-time"},
        "day": {"type": ["string", "null"], "format": "date"},
        "number": {"type": ["number", "null"]},
        "truth": {"type": ["boolean", "null"]},
        "ids": {"type": ["array", "null"], "items": {"type": ["string", "null"]}},
        "things": {"type": ["array", "null"], "items": {"type": ["object", "null"]}},
        "thing": {"type": ["object", "null"]},
        "additional_fields": {"type": ["object", "null"], "x-pii": "opaque"},
    }
}
for _name, _column in SORTS["properties"].items():
    if _name != "additional_fields":
        _column["x-source"] = _name


def sorts(schema: dict[str, Any] = SORTS, **options: Json) -> RowBuilder:
    given_options = {"key": (), "selected": None, "account": "a", "privacy": Privacy()}
    return RowBuilder(schema, **{**given_options, **options})


def shown(name: str, raw: object) -> Json:
    """Return the value of a column of that type; nothing else may be kept."""
    record = sorts().made({name: raw})
    assert record is not None
    assert record["additional_fields"] is None
    return record[name]


@pytest.mark.usefixtures("_time_zone")
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("2020-09-17T06:18:39.000Z", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17T06:18:39Z", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17t06:18:39z", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17 06:18:39", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17T06:18:39.5", "2020-09-17T06:18:39.500Z"),
        ("2020-09-17T06:18:39.123999999Z", "2020-09-17T06:18:39.123Z"),
        ("2020-09-17T06:18:39-04:00", "2020-09-17T10:18:39.000Z"),
        ("2020-09-17T06:18:39.25+05:45", "2020-09-17T00:33:39.250Z"),
        ("2020-09-17T06:18:39+0000", "2020-09-17T06:18:39.000Z"),
        ("2020-01-01T00:30:00+01:00", "2019-12-31T23:30:00.000Z"),
        ("2020-11-01T01:30:00", "2020-11-01T01:30:00.000Z"),
        ("2020-03-08T02:30:00", "2020-03-08T02:30:00.000Z"),
        ("0001-01-01T00:00:00-00:00", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("2020-09-17 06:18:39 GMT", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17 06:18:39 utc", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17 06:18:39 Z", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17 06:18:39+00", "2020-09-17T06:18:39.000Z"),
        ("2020-09-17 06:18:39-04", "2020-09-17T10:18:39.000Z"),
        ("2020-09-17 06:18", "2020-09-17T06:18:00.000Z"),
        ("2020-09-17T06:18+01:00", "2020-09-17T05:18:00.000Z"),
        (" 2020-09-17 06:18:39 ", "2020-09-17T06:18:39.000Z"),
    ],
)
def test_a_moment_is_read_from_these_texts(raw: str, text: str) -> None:
    assert shown("moment", raw) == text
    assert shown("day", raw) == text[:10]


OFFSETS = st.one_of(st.none(), st.just("Z"), st.integers(-23 * 60 - 59, 23 * 60 + 59))


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),  # noqa: DTZ001 - as drawn
    st.text("0123456789", max_size=9),
    OFFSETS,
)
def test_moments_of_any_offset_are_exact_to_the_millisecond(
    moment: datetime, digits: str, offset: int | str | None
) -> None:
    moment = moment.replace(microsecond=0)
    text = moment.isoformat() + (f".{digits}" if digits else "")
    behind = timedelta(0)
    if isinstance(offset, int):
        sign, minutes = "-" if offset < 0 else "+", abs(offset)
        text += f"{sign}{minutes // 60:02}:{minutes % 60:02}"
        behind = timedelta(minutes=offset)
    else:
        text += offset or ""
    expected = (moment - behind).isoformat() + f".{(digits + '000')[:3]}Z"
    assert shown("moment", text) == expected
    assert shown("moment", expected) == expected


def test_emitted_moments_sort_by_time_as_text() -> None:
    zone = timezone(timedelta(hours=-7))
    moments = [datetime(2020, 9, 17, hour, tzinfo=zone) for hour in range(24)]
    texts = [shown("moment", moment.isoformat()) for moment in moments]
    assert texts == sorted(texts)


@pytest.mark.parametrize(
    "raw",
    [
        *("soon", "2020-09-17", "2020-09-17T06", "20200917T061839Z"),
        *("0000-00-00 00:00:01", "0000-00-00 ", " ", "0", 0, False),
        *("2020-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2020-13-01T00:00:00Z"),
        *("2020-09-17T24:00:00Z", "2020-09-17T06:18:60Z", "2020-09-17T06:18:39,5Z"),
        *("2020-09-17T06:18:39.Z", "2020-09-17T06:18:39.1234567890Z"),
        *("2020-09-17T06:18:39+24:00", "2020-09-17T06:18:39+05:60"),
        *("2020-09-17T06:18:39  Z", "2020-09-17T06:18.5Z", "2020-09-17T06:18:39 CET"),
        *("2020-W38-4T06:18:39Z", "\u0662020-09-17T06:18:39Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        *(1_600_000_000, 1.5, True, ["2020-09-17T06:18:39Z"], {}),
    ],
)
def test_a_value_that_is_not_a_moment_is_kept_raw(raw: object) -> None:
    subject = sorts()
    record = subject.made({"moment": raw})
    assert record is not None
    assert record["moment"] is None
    assert record["additional_fields"] == {"moment": raw}
    assert subject.uncoercible == {"moment"}


@given(st.dates())
def test_a_day_is_emitted_unchanged(day: date) -> None:
    assert shown("day", day.isoformat()) == day.isoformat()


@pytest.mark.parametrize(
    "raw",
    ["0000-00-01", "2020-02-30", "20200917", "2020-9-17", "2020-W38-4", 20_200_917, 0],
)
def test_a_value_that_is_not_a_day_is_kept_raw(raw: object) -> None:
    record = sorts().made({"day": raw})
    assert record is not None
    assert record["day"] is None
    assert record["additional_fields"] == {"day": raw}


NEVER = ("", "0000-00-00", "0000-00-00 00:00:00")


@pytest.mark.parametrize("name", ["moment", "day"])
@pytest.mark.parametrize("raw", NEVER)
def test_text_that_means_no_date_is_null(name: str, raw: str) -> None:
    subject = sorts()
    record = subject.made({name: raw})
    assert record is not None
    assert record[name] is record["additional_fields"] is None
    assert not subject.uncoercible


@pytest.mark.parametrize("raw", NEVER)
def test_a_key_that_means_no_date_is_not_usable(raw: str) -> None:
    subject = sorts(key=("day",))
    assert subject.made({"day": raw}) is None
    assert subject.set_aside.total() == 1


@pytest.mark.parametrize("raw", NEVER)
def test_text_that_means_no_date_has_no_milliseconds(raw: str) -> None:
    assert to_milliseconds(raw) is None


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-LARGEST - 1, LARGEST),
    )
)
def test_numbers_are_exact_also_from_text(number: float) -> None:
    for raw in (number, json.dumps(number)):
        value = shown("number", raw)
        assert repr(value) == repr(number)


@pytest.mark.parametrize(
    ("raw", "number"),
    [("40.0", 40.0), ("40", 40), ("1e3", 1000.0), ("-1.50E-1", -0.15), (40, 40)],
)
def test_a_number_is_read_from_these_values(raw: object, number: float) -> None:
    value = shown("number", raw)
    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    "raw",
    [
        *("", "40 %", "40,0", ".5", "5.", "+1", "1_0.0", "0x1", "nan", "Infinity"),
        *("1e400", "01.5", " 1.5", "1.5\n", "\u0661.5", "9" * 5000, 10**30),
        *(True, False, [1], {}),
    ],
)
def test_a_value_that_is_not_a_number_is_kept_raw(raw: object) -> None:
    record = sorts().made({"number": raw})
    assert record is not None
    assert record["number"] is None
    assert record["additional_fields"] == {"number": raw}


@pytest.mark.parametrize(
    ("raw", "truth"), [(True, True), (False, False), ("true", True), ("false", False)]
)
def test_a_boolean_is_read_from_these_values(raw: object, *, truth: bool) -> None:
    assert shown("truth", raw) is truth


@pytest.mark.parametrize("raw", ["", "True", "yes", 0, 1, 1.0, [True], {}])
def test_a_value_that_is_not_a_boolean_is_kept_raw(raw: object) -> None:
    record = sorts().made({"truth": raw})
    assert record is not None
    assert record["truth"] is None
    assert record["additional_fields"] == {"truth": raw}


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("ids", [], []),
        ("ids", ["a", 7, None, "b\0"], ["a", "7", None, "b\ufffd"]),
        ("things", [], []),
        ("things", [{"a": ["b\ud83d"]}, None], [{"a": ["b\ufffd"]}, None]),
        ("things", [{"a\0": 1, "a\ud83d": 2}], [{"a\ufffd": 1, "a\ufffd\ufffd": 2}]),
        ("thing", {}, {}),
        ("thing", {"a": [1, 2.5, None, "c\0"]}, {"a": [1, 2.5, None, "c\ufffd"]}),
    ],
)
def test_lists_and_objects_are_emitted_as_they_are(
    name: str, raw: object, value: object
) -> None:
    assert shown(name, raw) == value


DEEP: Json = {}
for _ in range(40):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *[("ids", "a"), ("ids", 7), ("ids", {"a": "b"}), ("ids", {}), ("ids", True)],
        *[("ids", [["a"]]), ("ids", ["a", {}]), ("things", "a"), ("things", {})],
        *[("things", ["a"]), ("things", [{}, 1]), ("things", [[]]), ("thing", "a")],
        *[("thing", 7), ("thing", False), ("thing", []), ("thing", [{"a": 1}])],
    ],
)
def test_a_value_that_is_not_a_list_or_object_is_kept_raw(
    name: str, raw: object
) -> None:
    record = sorts().made({name: raw})
    assert record is not None
    assert record[name] is None
    assert record["additional_fields"] == {name: raw}


@pytest.mark.parametrize(("name", "raw"), [("thing", DEEP), ("things", [DEEP])])
def test_a_list_or_object_that_is_nested_too_deeply_is_kept_as_text(
    name: str, raw: object
) -> None:
    record = sorts().made({name: raw})
    assert record is not None
    assert record[name] is None
    assert json.loads(record["additional_fields"][name]) == raw


# Constant Contact and LuxSci: groups, and every column at once

CONTACT_STREAMS = tuple(
    name for name in schema_names() if name.startswith("constant_contact_")
)
LUXSCI_STREAMS = tuple(name for name in schema_names() if name.startswith("luxsci_"))
TYPED_STREAMS = CONTACT_STREAMS + LUXSCI_STREAMS
SCHEMAS |= {stream: load_schema(stream) for stream in TYPED_STREAMS}
KEYS |= {
    stream: tuple(
        name
        for name, column in SCHEMAS[stream]["properties"].items()
        if "null" not in column["type"] and name not in ("as_of", "rows")
    )
    for stream in TYPED_STREAMS
}
MOMENT = "2020-09-17T06:18:39.000Z"
STATS = "constant_contact_campaign_activity_stats"
COUNTERS = tuple(
    name for name in SCHEMAS[STATS]["properties"] if name.startswith("em_")
)


def path_of(stream: str) -> dict[str, Json]:
    """Return values for the columns that do not come from a row."""
    known = {"as_of": MOMENT, "rows": 0, "interval_start": MOMENT[:10]}
    return {
        name: known.get(name, "x")
        for name, column in SCHEMAS[stream]["properties"].items()
        if name not in ("account", EXTRACTED_AT, "additional_fields")
        and not column.keys() & {"x-source", "x-derived"}
    }


def contact_record(stream: str, row: dict[str, Any], **options: Json) -> dict[str, Any]:
    record = builder(stream, **options).made(row, **path_of(stream))
    assert record is not None
    return record


FITTING = {
    "date-time": st.sampled_from([MOMENT, "2020-09-17T06:18:39+02:00"]),
    "date": st.sampled_from(["2020-09-17", MOMENT]),
    "integer": st.one_of(st.integers(0, 99), st.integers(0, 99).map(str)),
    "number": st.one_of(st.floats(0, 100), st.floats(0, 100).map(repr)),
    "boolean": st.sampled_from([True, False, "true"]),
    "array": st.just([]),
    "object": st.dictionaries(NAMES, SCALARS, max_size=2),
    "string": TEXTS,
}


def fitting(column: dict[str, Any]) -> st.SearchStrategy[Json]:
    kind = column["type"] if isinstance(column["type"], str) else column["type"][0]
    return FITTING[column.get("format", kind)]


@st.composite
def typed_rows(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a stream and a row of it, with odd values, odd fields and odd groups."""
    stream = draw(st.sampled_from(TYPED_STREAMS))
    row: dict[str, Any] = {}
    for name, column in SCHEMAS[stream]["properties"].items():
        group, _, field = column.get("x-source", "").rpartition(".")
        if not field:
            continue
        if name in KEYS[stream]:
            text = st.text("abc", min_size=1, max_size=3)
            row[field] = draw(text if column["type"] == "string" else fitting(column))
        elif draw(st.booleans()):
            target = row.setdefault(group, {}) if group else row
            target[field] = draw(st.one_of(fitting(column), VALUES))
    if draw(st.booleans()):
        for group in [name for name, value in row.items() if isinstance(value, dict)]:
            row[group] |= draw(st.dictionaries(NAMES, VALUES, max_size=2))
    row |= own_field(stream)
    return stream, {**draw(st.dictionaries(NAMES, VALUES, max_size=2)), **row}


def own_field(stream: str) -> dict[str, Any]:
    """Return one field that identifies an event, if the stream has events."""
    every = SCHEMAS[stream]["properties"]
    for name in every.get("event_id", {}).get("x-identity", ()):
        if "x-source" in every.get(name, {}):
            return {every[name]["x-source"]: MOMENT if "format" in every[name] else "7"}
    return {}


def day_checker(schema: dict[str, Any]) -> Draft7Validator:
    checker = validator(schema)
    assert checker.format_checker is not None
    checker.format_checker.checks("date", raises=ValueError)(
        lambda value: not isinstance(value, str) or bool(date.fromisoformat(value))
    )
    return checker


@given(typed_rows(), st.sampled_from(["plain", "hash", "domain", "drop"]))
def test_every_typed_record_is_valid_in_every_mode(
    drawn: tuple[str, dict[str, Any]], mode: str
) -> None:
    stream, row = drawn
    before = repr(row)
    privacy = Privacy(mode, "pepper-of-the-tests")
    record = contact_record(stream, row, privacy=privacy)
    assert repr(row) == before
    day_checker(privacy.apply_to_schema(SCHEMAS[stream])).validate(record)
    assert list(record) == list(SCHEMAS[stream]["properties"])
    assert not any(BAD.search(text) for text in strings(record))
    assert msgspec.json.decode(msgspec.json.encode(record)) == record
    if mode != "plain":
        assert record.get("additional_fields") is None


@given(typed_rows())
def test_no_value_of_a_typed_row_is_lost(drawn: tuple[str, dict[str, Any]]) -> None:
    stream, row = drawn
    record = contact_record(stream, row)
    columns = {
        column["x-source"]: name
        for name, column in SCHEMAS[stream]["properties"].items()
        if "x-source" in column and "x-derived" not in column
    }
    groups = {path.split(".")[0] for path in columns if "." in path}
    flat = {name: raw for name, raw in row.items() if name not in groups}
    for group in groups & row.keys():
        flat |= {f"{group}.{field}": raw for field, raw in row[group].items()}
    extra = record.get("additional_fields") or {}
    for path, raw in flat.items():
        if path in columns:
            # Either the column shows the value, or the raw value is kept.
            column = SCHEMAS[stream]["properties"][columns[path]]
            says_nothing = raw is None or ("format" in column and raw in NEVER)
            kept = clean(path) in extra
            assert kept == (not says_nothing and record[columns[path]] is None)
        if path not in columns and stream != "constant_contact_snapshots":
            assert clean(path) in extra
        if clean(path) in extra:
            assert extra[clean(path)] == clean(raw)
    assert extra.keys() <= {clean(path) for path in flat}


@given(st.dictionaries(st.sampled_from(COUNTERS), st.tuples(WHOLE, st.booleans())))
def test_counters_may_be_spelled_with_dots(
    drawn: dict[str, tuple[int, bool]],
) -> None:
    stats = {
        re.sub("_(all|computer|mobile|tablet|other|none)", r".\1", name)
        if dotted
        else name: str(count) if dotted else count
        for name, (count, dotted) in drawn.items()
    }
    plain = {name: count for name, (count, _) in drawn.items()}
    row = {"campaign_activity_id": "a"}
    written = contact_record(STATS, {**row, "stats": stats})
    meant = contact_record(STATS, {**row, "stats": plain})
    assert written | {"additional_fields": None} == meant | {"additional_fields": None}


def test_the_vendors_example_of_counters_becomes_this_record() -> None:
    row = {
        "campaign_id": "cd0037ad",
        "campaign_activity_id": "c8cdf384",
        "campaign_activity_type": 10,
        "stats": {"em_opens.all.mobile": 2, "em_opens.all": "6", "em_bounces_other": 1},
        "last_refresh_time": "2020-09-25T16:11:36.000Z",
    }
    record = contact_record(STATS, row)
    assert {name: value for name, value in record.items() if value is not None} == {
        "account": "acme",
        "campaign_id": "cd0037ad",
        "campaign_activity_id": "c8cdf384",
        "campaign_activity_type": 10,
        "em_opens_all_mobile": 2,
        "em_opens_all": 6,
        "em_bounces_other": 1,
        "last_refresh_time": "2020-09-25T16:11:36.000Z",
    }


def test_unknown_counters_keep_their_spelling() -> None:
    row = {
        "campaign_activity_id": "a",
        "stats": {"em_new.all": 1, "em_sends": "many", "em_opens.all": [2]},
        "stats.em_new.all": 3,
    }
    subject = builder(STATS)
    record = subject.made(row)
    assert record is not None
    assert record["additional_fields"] == {
        "stats.em_new.all": 1,
        "stats.em_sends": "many",
        "stats.em_opens_all": [2],
        "stats.em_new.all\ufffd": 3,
    }
    assert subject.uncoercible == {"stats.em_sends", "stats.em_opens_all"}
    assert subject.unknown == {"stats.em_new.all", "stats.em_new.all\ufffd"}


def test_of_a_counter_in_two_spellings_the_documented_one_is_used() -> None:
    stats: dict[str, Json] = {"em_opens.all": 1, "em_opens_all": 2}
    record = contact_record(STATS, {"campaign_activity_id": "a", "stats": stats})
    assert record["em_opens_all"] == 2
    assert record["additional_fields"] == {"stats.em_opens.all": 1}
    stats["em_opens_all"] = None
    record = contact_record(STATS, {"campaign_activity_id": "a", "stats": stats})
    assert record["em_opens_all"] == 1


PERCENTS = {"open": 66.7, "click": "33.3", "bounce": 40}


@pytest.mark.parametrize(
    "percents",
    [
        PERCENTS,
        [PERCENTS],
        [{name: value} for name, value in PERCENTS.items()],
        [PERCENTS, {}],
    ],
)
def test_percents_may_be_an_object_or_a_list_of_objects(percents: object) -> None:
    row = {"campaign_id": "a", "percents": percents}
    record = contact_record("constant_contact_campaign_stats", row)
    found = {name: record[name] for name in record if name.startswith("percent_")}
    assert {name: value for name, value in found.items() if value is not None} == {
        "percent_open": 66.7,
        "percent_click": 33.3,
        "percent_bounce": 40,
    }
    assert record["additional_fields"] is None


@pytest.mark.parametrize("percents", [None, [], {}, "absent"])
def test_a_group_without_fields_is_null(percents: object) -> None:
    row = {"campaign_id": "a", "percents": percents}
    if percents == "absent":
        del row["percents"]
    record = contact_record("constant_contact_campaign_stats", row)
    assert [name for name in record if record[name] is not None] == [
        *("account", "campaign_id")
    ]


ODD_GROUPS = ("x", 7, False, [7], [None], [{"open": 1}, {"open": 1}], [["open"]])


@pytest.mark.parametrize("percents", ODD_GROUPS)
def test_a_value_that_is_not_a_group_is_kept_raw(percents: object) -> None:
    subject = builder("constant_contact_campaign_stats")
    record = subject.made({"campaign_id": "a", "percents": percents})
    assert record is not None
    assert record["additional_fields"] == {"percents": percents}
    assert record["percent_open"] is None
    assert subject.uncoercible == {"percents"}
    assert not subject.unknown


@pytest.mark.parametrize("address", ["jane@x.org", ["jane@x.org"]])
@pytest.mark.parametrize(
    ("selected", "noted"), [({"email_created_at"}, True), (set(), False)]
)
def test_an_odd_group_does_not_leak_deselected_columns(
    address: object, selected: set[str], *, noted: bool
) -> None:
    subject = builder(
        "constant_contact_contacts", selected={*selected, "additional_fields"}
    )
    record = subject.made({"contact_id": "c", "email_address": address})
    assert record is not None
    assert "jane" not in repr(record)
    assert ("email_address" in subject.uncoercible) is noted


@given(typed_rows(), st.data())
def test_deselected_typed_columns_do_not_leak(
    drawn: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    stream, row = drawn
    every = SCHEMAS[stream]["properties"]
    selected = data.draw(st.sets(st.sampled_from(list(every))))
    record = contact_record(stream, row, selected=selected)
    assert list(record) == [n for n in every if n in {*selected, *KEYS[stream]}]
    everything = contact_record(stream, row)
    for name in record.keys() - {"additional_fields"}:
        assert record[name] == everything[name]
    held = (record.get("additional_fields") or {}).keys()
    hidden = {every[name].get("x-source") for name in every.keys() - record.keys()}
    assert not held & hidden


def test_a_contact_becomes_this_record() -> None:
    row = {
        "contact_id": "c",
        "email_address": {
            "address": "Jane@x.org",
            "permission_to_send": "implicit",
            "opt_in_date": "2016-01-23T13:48:44.108-05:00",
            "score": 5,
        },
        "birthday_month": "11",
        "deleted_at": "2016-07-08",
        "list_memberships": ["l1", "l2"],
        "custom_fields": [{"custom_field_id": "f", "value": "red"}],
    }
    record = contact_record("constant_contact_contacts", row)
    assert {name: value for name, value in record.items() if value is not None} == {
        "account": "acme",
        "contact_id": "c",
        "email_address": "Jane@x.org",
        "recipient_domain": "other",
        "email_permission_to_send": "implicit",
        "email_opt_in_date": "2016-01-23T18:48:44.108Z",
        "birthday_month": 11,
        "deleted_at": "2016-07-08",
        "list_memberships": ["l1", "l2"],
        "custom_fields": [{"custom_field_id": "f", "value": "red"}],
        "additional_fields": {"email_address.score": 5},
    }
    record = contact_record("constant_contact_contacts", row, privacy=HASH)
    assert record["email_address"] == HASH.hashed("jane@x.org")
    assert record["custom_fields"] is record["birthday_month"] is None
    assert record["list_memberships"] == ["l1", "l2"]


# Ids of events

CLICKS = "constant_contact_clicks"
CLICK = {
    "contact_id": "4399f5a0-5b89-11e7-ba80-00163e498a37",
    "campaign_activity_id": "c8cdf384-15ca-4dcc-9b6f-4c91121fdc23",
    "tracking_activity_type": "em_clicks",
    "email_address": "jane@x.org",
    "device_type": 'caf\u00e9 "x"\n\u0001\u007f/',
    "url_id": 1234567,
    "link_url": "https://x.org/",
    "created_time": "2019-05-16T17:14:00-04:00",
}
EVENT_STREAMS = tuple(s for s in CONTACT_STREAMS if "event_id" in KEYS[s])


def event_data(stream: str, values: list[Json], occurrence: int) -> bytes:
    whole = ["acme", stream, *values, occurrence]
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def test_event_ids_of_these_rows_never_change() -> None:
    values = [
        *(CLICK["campaign_activity_id"], CLICK["contact_id"], "em_clicks"),
        *("2019-05-16T21:14:00.000Z", "1234567"),
    ]
    found = [
        contact_record(CLICKS, CLICK)["event_id"],
        contact_record("constant_contact_sends", CLICK)["event_id"],
    ]
    assert found == [
        hashlib.sha256(event_data(stream, fields, 0)).hexdigest()[:32]
        for stream, fields in [
            (CLICKS, values),
            ("constant_contact_sends", [*values[:4], None]),
        ]
    ]
    assert found == [
        "085776f8a67db8e63d4cc91a8f0e01b3",
        "6f732d5506af1854e034d37128360e68",
    ]


@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
def test_event_ids_use_the_pepper_in_every_mode_with_a_pepper(mode: str) -> None:
    pepper = "pep\u00e9per-of-the-tests"
    record = contact_record(CLICKS, CLICK, privacy=Privacy(mode, pepper))
    values = list(builder(CLICKS).identity(CLICK))
    data = event_data(CLICKS, values, 0)
    expected = hmac.new(pepper.encode(), data, "sha256").hexdigest()[:32]
    assert record["event_id"] == expected


FIELD = st.one_of(st.none(), TEXTS, WHOLE, st.just(MOMENT))
IDENTITY = (
    *("campaign_activity_id", "contact_id", "tracking_activity_type"),
    *("created_time", "url_id"),
)


@given(
    st.sampled_from([s for s in EVENT_STREAMS if not s.endswith("_details")]),
    st.fixed_dictionaries(dict.fromkeys(IDENTITY, FIELD)),
    st.integers(0, 9),
)
def test_event_ids_are_made_of_the_emitted_values(
    stream: str, fields: dict[str, Json], occurrence: int
) -> None:
    row = {**fields, "contact_id": "c", "email_address": "jane@x.org"}
    record = builder(stream).made(row, occurrence)
    assert record is not None
    # A value that does not fit its column counts as text.
    kept = record["additional_fields"] or {}
    texts = {
        name: kept[name] if isinstance(kept[name], str) else json.dumps(kept[name])
        for name in kept.keys() & record
        if kept[name] and str(kept[name]).strip()
    }
    values = [texts.get(name, record.get(name)) for name in IDENTITY]
    data = event_data(stream, values, occurrence)
    assert record["event_id"] == hashlib.sha256(data).hexdigest()[:32]
    assert builder(stream).identity(row) == tuple(values)
    hash(builder(stream).identity(row))


def test_event_ids_do_not_depend_on_the_selection() -> None:
    record = contact_record(CLICKS, CLICK, selected=())
    assert record == {
        "account": "acme",
        "event_id": contact_record(CLICKS, CLICK)["event_id"],
    }


def test_equal_events_get_different_ids_by_their_number() -> None:
    subject = builder(CLICKS)
    other_clock = {**CLICK, "created_time": "2019-05-16T21:14:00.000999Z"}
    other_link = {**CLICK, "url_id": 7654321}
    rows = [CLICK, other_clock, other_link, {**CLICK, "first_name": "Janet"}]
    seen: Counter[tuple[object, ...]] = Counter()
    ids = []
    for row in rows:
        identity = subject.identity(row)
        record = subject.made(row, occurrence=seen[identity])
        seen[identity] += 1
        assert record is not None
        ids.append(record["event_id"])
    assert sorted(seen.values()) == [1, 3]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("stream", EVENT_STREAMS)
def test_an_event_keeps_its_id_when_its_device_is_filled_in_later(stream: str) -> None:
    ids = {
        contact_record(stream, {**CLICK, "device_type": device})["event_id"]
        for device in (None, "mobile", "tablet")
    }
    assert len(ids) == 1


def test_an_event_without_any_identifying_value_is_set_aside() -> None:
    subject = builder(CLICKS)
    assert subject.made({"email_address": "jane@x.org"}) is None
    assert subject.made({"contact_id": [], "created_time": ""}) is None
    assert subject.set_aside.total() == 2


@pytest.mark.parametrize(
    ("dates", "texts"),
    [
        (["soon", "later", "soon"], ["soon", "later", "soon"]),
        (
            [1758464000, 1758464001.5, 1758464000],
            ["1758464000", "1758464001.5", "1758464000"],
        ),
        ([{"at": 1}, [2], {"at": 1}], ['{"at": 1}', "[2]", '{"at": 1}']),
    ],
)
def test_events_with_unreadable_dates_get_different_ids_by_the_text(
    dates: list[Json], texts: list[str]
) -> None:
    rows = [{**DELIVERY, "date_sent": date} for date in dates]
    page = luxsci("delivery_status").page(rows, ASKED)
    assert [identity[-1] for identity in page.identities] == texts
    assert page.unreadable == 3
    records = page.numbered([0, 0, 1]).made().records
    assert len({record.event_id for record in records}) == 3
    assert {record.date_sent for record in records} == {None}


@pytest.mark.parametrize("date", [" ", 0, [], False])
def test_a_blank_date_counts_as_missing_in_an_event_id(date: Json) -> None:
    page = luxsci("delivery_status").page([{**DELIVERY, "date_sent": date}], ASKED)
    [identity] = page.identities
    assert identity[-1] is None


def test_rows_without_an_event_id_are_identified_by_their_key() -> None:
    assert builder().identity(OPEN, message_id=9) == ("1",)


@pytest.mark.parametrize(
    "column",
    [
        {"type": ["number", "null"], "x-source": "a"},
        {"type": ["array", "null"], "items": {"type": ["string"]}, "x-source": "a"},
        {"type": ["string", "null"], "x-source": "a.b"},
        {"type": ["number", "null"]},
    ],
)
def test_a_column_that_cannot_identify_events_is_refused(
    column: dict[str, Any],
) -> None:
    event_id = {"type": "string", "x-derived": "event-id", "x-identity": ["a"]}
    schema = {"title": "events", "properties": {"event_id": event_id, "a": column}}
    with pytest.raises(ValueError, match="identity"):
        sorts(schema)


# Ids of events that are made partly of the request

DELIVERY = {
    "sendmail_id": "1758464000-0123456789",
    "to": "jane@x.org",
    "date_sent": "2026-09-21 14:13:20",
    "status": "Delivered",
}
ASKED: dict[str, Json] = {"login": "J\u00f6rg@x.org", "channel": "webmail"}


def luxsci(stream: str, **options: Json) -> RowBuilder:
    given_options = {
        "key": ("account", "event_id"),
        "selected": None,
        "account": "12345",
        "privacy": Privacy(),
    }
    return RowBuilder(load_schema(f"luxsci_{stream}"), **{**given_options, **options})


def test_an_event_id_contains_values_of_the_request() -> None:
    record = luxsci("delivery_status").made(DELIVERY, **ASKED)
    assert record is not None
    data = (
        '["12345","luxsci_delivery_status","J\u00f6rg@x.org","webmail",'
        '"1758464000-0123456789","jane@x.org","2026-09-21T14:13:20.000Z",0]'
    )
    expected = hashlib.sha256(data.encode()).hexdigest()[:32]
    assert record["event_id"] == expected == "ad55d09d0d1e4d87dd25a176521d6a9b"
    assert (record["login"], record["channel"]) == ("J\u00f6rg@x.org", "webmail")


def test_an_event_id_may_contain_nulls() -> None:
    row = {**DELIVERY, "date_temp_failure": "0000-00-00 00:00:00"}
    record = luxsci("temporary_failures").made(row, 2, login=None)
    assert record is not None
    data = (
        '["12345","luxsci_temporary_failures",null,"1758464000-0123456789",null,null,2]'
    )
    expected = hashlib.sha256(data.encode()).hexdigest()[:32]
    assert record["event_id"] == expected == "ad541b4dfcc27f651928db4182324f95"


def test_an_identity_contains_values_of_the_request() -> None:
    subject = luxsci("delivery_status")
    assert subject.identity(DELIVERY, **ASKED) == (
        *("J\u00f6rg@x.org", "webmail", "1758464000-0123456789", "jane@x.org"),
        "2026-09-21T14:13:20.000Z",
    )
    assert subject.identity(DELIVERY, login=None, channel="smtp")[:2] == (None, "smtp")


def test_values_of_the_request_alone_do_not_identify_an_event() -> None:
    subject = luxsci("delivery_status")
    assert subject.made({"status": "Delivered"}, **ASKED) is None
    assert subject.made({**DELIVERY, "sendmail_id": None}, **ASKED) is not None
    assert subject.set_aside.total() == 1


def test_values_of_the_request_come_before_those_of_the_row() -> None:
    row = {**DELIVERY, "login": "other", "channel": "smtp"}
    subject = luxsci("delivery_status")
    record = subject.made(row, **ASKED)
    assert record is not None
    assert record["channel"] == "webmail"
    assert record["additional_fields"] == {"login": "other", "channel": "smtp"}
    assert subject.identity(row, **ASKED) == subject.identity(DELIVERY, **ASKED)


def test_event_ids_do_not_depend_on_selecting_columns_of_the_request() -> None:
    record = luxsci("delivery_status", selected=()).made(DELIVERY, **ASKED)
    assert record == {
        "account": "12345",
        "event_id": "ad55d09d0d1e4d87dd25a176521d6a9b",
    }


def test_personal_values_of_the_request_are_treated_in_the_column_only() -> None:
    record = luxsci("delivery_status", privacy=HASH).made(DELIVERY, **ASKED)
    assert record is not None
    values = luxsci("delivery_status").identity(DELIVERY, **ASKED)
    data = json.dumps(
        ["12345", "luxsci_delivery_status", *values, 0],
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    assert (
        record["event_id"]
        == hmac.new(b"pepper-of-the-tests", data, "sha256").hexdigest()[:32]
    )
    assert record["login"] == HASH.hashed(ASKED["login"])


def test_an_identity_without_its_values_of_the_request_is_an_error() -> None:
    subject = luxsci("delivery_status", selected=())
    with pytest.raises(KeyError, match="channel"):
        subject.made(DELIVERY, login=None)
    with pytest.raises(KeyError, match="login"):
        subject.identity(DELIVERY)


# Bodies


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"\ud83d"', "\ufffd"),
        (rb'"\ude00x"', "\ufffdx"),
        (rb'"\uD83Dx\ud83d\ude00"', "\ufffdx\U0001f600"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\\ud83d \ud83d"', r"\ud83d " + "\ufffd"),
        (rb'"\\\ud83d\n"', "\\\ufffd\n"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'\xef\xbb\xbf"a"', "a"),
        (rb'"a\u0000"', "a\0"),
    ],
)
def test_invalid_characters_do_not_break_a_body(body: bytes, text: str) -> None:
    assert decode_json(body) == text


@given(VALUES)
@example({"\ud800": ["\\", "\\ud800", "\ud83d\ude00", '"\udc00"']})
def test_a_body_is_decoded_as_by_the_standard_library(value: Json) -> None:
    body = json.dumps(value).encode()
    assert decode_json(body) == clean(json.loads(body), SURROGATE)


def test_large_numbers_are_exact() -> None:
    assert decode_json(b"9" * 300) == int("9" * 300)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>secret</html>", b"{", b'{"secret": nul}', b'["secret"] x'),
        *(b"NaN", b"[Infinity]", b"1e400", b"-1e400", b"9" * 5000),
        *(b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000),
        b'{"secret":' * 100_000 + b"1" + b"}" * 100_000,
        b'["\\ud83d",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    ],
)
def test_a_body_that_is_not_json_is_a_decode_error_without_quotes(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        decode_json(body)
    assert "secret" not in str(caught.value)


def test_a_value_that_is_not_valid_json_becomes_text() -> None:
    body = b'\xef\xbb\xbf{"a":[NaN,-Infinity,1e400,1.5],"b":"x\ty\xff\\ud83d"}'
    assert decode_loosely(body) == {
        "a": ["NaN", "-Infinity", "1e400", 1.5],
        "b": "x\ty\ufffd\ufffd",
    }


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>secret</html>", b"{", b'["secret"] x', b'["secret",NaN,]'),
        *(b"9" * 5000, b"[NaN," + b"[" * 600 + b"]" * 600 + b"]", b"[" * 100_000),
        b'{"secret":NaN,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_not_json_is_a_decode_error_also_loosely(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        decode_loosely(body)
    assert "secret" not in str(caught.value)


def test_storable_does_not_change_valid_text() -> None:
    assert storable("\U0001f600 caf\u00e9\n") == "\U0001f600 caf\u00e9\n"
