"""Bodies to rows, rows to records."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

from tap_email_metrics.catalog import load_schema
from tap_email_metrics.codec import RowCodec, decode_json, storable, to_integer
from tap_email_metrics.privacy import Privacy

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
HASH = Privacy("hash", "pepper")

OPEN = {
    "id": 1,
    "recipientId": 2,
    "timestamp": 1_700_000_000_123,
    "dateAdded": 1_700_000_001_000,
    "ipAddress": "203.0.113.77",
    "userAgent": "Mail/1.0",
}


def codec(
    stream: str = "encompass_opens",
    *,
    selected: Collection[str] | None = None,
    privacy: Privacy | None = None,
) -> RowCodec:
    return RowCodec(
        SCHEMAS[stream],
        key=KEYS[stream],
        selected=selected,
        account="acme",
        privacy=privacy or Privacy(),
    )


def record_of(row: object, **options: Json) -> dict[str, Any]:
    record = codec(**options).record(row, message_id=9)
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
    """Return a JSON value with U+FFFD for each bad character; no two names collide."""
    if isinstance(value, str):
        return bad.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(name, bad): clean(item, bad) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item, bad) for item in value]
    return value


# What JSON can hold, with an eye to what goes wrong.

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
# Of the bad characters only NUL, so that no two names become one.
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
    privacy = Privacy(mode, "pepper")
    record = record_of(row, stream=stream, privacy=privacy)
    validator(privacy.apply_to_schema(SCHEMAS[stream])).validate(record)
    assert record["additional_fields"] is None


def says(shown: Json, raw: Json) -> bool:
    """Say whether a column's value holds all that the raw one said."""
    if isinstance(raw, bool):
        return bool(shown == str(raw).lower())
    if isinstance(raw, (int, float)):
        return bool(raw == (float(shown) if isinstance(raw, float) else int(shown)))
    return bool(str(shown) == clean(raw))


@given(rows())
def test_nothing_is_lost(drawn: tuple[str, dict[str, Any]]) -> None:
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
def test_what_is_not_selected_does_not_leak(
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
def test_integers(raw: object, value: int) -> None:
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
def test_what_is_no_integer_is_kept_raw(raw: object) -> None:
    subject = codec()
    record = subject.record({**OPEN, "recipientId": raw}, message_id=9)
    assert record is not None
    assert record["recipient_id"] is None
    held = record["additional_fields"]
    assert held == {"recipientId": raw}
    assert type(held["recipientId"]) is type(raw)
    assert subject.uncoercible == {"recipientId": 1}
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
def test_strings(raw: object, text: str) -> None:
    record = record_of({**OPEN, "userAgent": raw})
    assert record["user_agent"] == text
    assert record["additional_fields"] is None


@pytest.mark.parametrize("raw", [[], ["a"], {}, {"a": None}])
def test_what_is_no_string_is_kept_raw(raw: object) -> None:
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
def test_companions_do_not_know_the_time_zone(epoch: object, text: str | None) -> None:
    record = record_of({**OPEN, "timestamp": epoch})
    assert record["occurred_at"] == text
    assert record["timestamp"] == (
        None if epoch is None else int(str(epoch).split(".")[0])
    )
    assert record["additional_fields"] is None


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_companions_are_exact(epoch: int) -> None:
    text = record_of({**OPEN, "timestamp": epoch})["occurred_at"]
    moment = datetime.fromisoformat(text)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = (delta.days * 86_400 + delta.seconds) * 1000
    assert whole + delta.microseconds // 1000 == epoch


def test_a_moment_out_of_range_is_kept_where_its_number_is_not_selected() -> None:
    selected = ("occurred_at", "additional_fields")
    record = record_of({**OPEN, "timestamp": LARGEST}, selected=selected)
    assert record["additional_fields"] == {"timestamp": LARGEST}


def test_an_uncoercible_moment_is_counted_once() -> None:
    subject = codec()
    record = subject.record({**OPEN, "timestamp": "soon"}, message_id=9)
    assert record is not None
    assert record["timestamp"] is record["occurred_at"] is None
    assert subject.uncoercible == {"timestamp": 1}


def test_a_whole_record() -> None:
    assert record_of(OPEN) == {
        "account": "acme",
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
    subject = codec()
    record = subject.record(row, message_id=9)
    assert record is not None
    assert (record["account"], record["message_id"]) == ("acme", 9)
    assert record["additional_fields"] == {
        "newField": None,
        "additional_fields": {"a": [0.1, 1e22, "x\ufffd"]},
        "account": "theirs",
        "message_id": 5,
        "bad\ufffdname": {"a\ufffd": 1, "a\ufffd\ufffd": 2},
    }
    assert set(subject.unknown) == set(record["additional_fields"])
    subject.record(row, message_id=9)
    assert set(subject.unknown.values()) == {2}


def test_counters_hold_names_and_never_values() -> None:
    subject = codec()
    row = {**OPEN, "recipientId": "jane@x.org", "more": "jane@x.org"}
    subject.record(row, message_id=9)
    assert "jane" not in repr((subject.uncoercible, subject.unknown))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_survive_digit_for_digit(number: float) -> None:
    body = json.dumps({"id": 1, "score": number}).encode()
    record = record_of(decode_json(body))
    line = msgspec.json.encode(record["additional_fields"])
    assert repr(json.loads(line)["score"]) == repr(number)


@pytest.mark.parametrize("depth", [1, 31, 33, 400])
def test_deep_nesting_ends_as_text(depth: int) -> None:
    body = (
        b'{"id":1,"deep":' + b"[" * depth + b'"\xc3\xa9\\u0000"' + b"]" * depth + b"}"
    )
    record = record_of(decode_json(body))
    held = record["additional_fields"]["deep"]
    assert isinstance(held, str) == (depth > 31)
    assert not any(BAD.search(text) for text in strings(record))
    if depth > 31:
        assert json.loads(held) == json.loads(body)["deep"]


@pytest.mark.parametrize("key", [None, "", "abc", True, 1.5, LARGEST + 1, [1]])
def test_a_row_without_a_usable_key_is_rejected(key: object) -> None:
    subject = codec()
    assert subject.record({**OPEN, "id": key}, message_id=9) is None
    assert subject.record(OPEN, message_id=key) is None
    assert subject.record(OPEN, message_id=9) is not None
    assert subject.rejected == 2


@pytest.mark.parametrize("row", [None, 1, "id", [1], ["id"]])
def test_a_row_that_is_no_object_is_rejected(row: object) -> None:
    subject = codec()
    assert subject.record(row, message_id=9) is None
    assert subject.rejected == 1


def test_keys_are_converted_and_always_selected() -> None:
    record = codec(selected=()).record({"id": "1"}, message_id=9.0)
    assert record == {"account": "acme", "message_id": 9, "id": 1}


def test_a_text_key_may_not_be_empty() -> None:
    schema = {"properties": {"id": {"type": "string", "x-source": "uuid"}}}
    subject = RowCodec(
        schema, key=("id",), selected=None, account="a", privacy=Privacy()
    )
    assert subject.record({"uuid": ""}) is None
    assert subject.record({"uuid": 0}) == {"id": "0"}


def test_a_column_of_the_path_must_be_given() -> None:
    with pytest.raises(KeyError, match="message_id"):
        codec().record(OPEN)


@pytest.mark.parametrize(
    "column",
    [
        {"type": ["array", "null"]},
        {"type": ["integer", "string", "null"]},
        {"type": ["string", "null"], "format": "date-time"},
        {"type": ["string", "null"], "x-source": "a", "x-derived": "epoch-s"},
    ],
)
def test_a_column_that_nothing_makes_is_refused(column: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="converter"):
        RowCodec(
            {"properties": {"a": column}},
            key=(),
            selected=None,
            account="a",
            privacy=Privacy(),
        )


def test_a_key_that_the_schema_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        RowCodec(
            SCHEMAS["encompass_opens"],
            key=("event_id",),
            selected=None,
            account="a",
            privacy=Privacy(),
        )


def test_personal_columns_are_treated_and_nothing_raw_is_kept() -> None:
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


def test_selection_and_marks_do_not_hang_on_the_catalogs_schema() -> None:
    # A catalog that passed through the SDK has lost the marks; the packaged schema
    # has them, and is what the codec is given.
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
def test_an_id_outside_a_record_is_read_as_in_one(raw: object) -> None:
    assert to_integer(raw) == 12


@pytest.mark.parametrize("raw", [None, True, "", "abc", 12.5, LARGEST + 1, [1]])
def test_what_is_no_id_is_none(raw: object) -> None:
    assert to_integer(raw) is None


# Bodies.


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
def test_broken_text_does_not_break_a_body(body: bytes, text: str) -> None:
    assert decode_json(body) == text


@given(VALUES)
@example({"\ud800": ["\\", "\\ud800", "\ud83d\ude00", '"\udc00"']})
def test_bodies_say_what_the_standard_library_reads(value: Json) -> None:
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
def test_what_is_not_json_is_a_decode_error_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        decode_json(body)
    assert "secret" not in str(caught.value)


def test_storable_leaves_good_text_alone() -> None:
    assert storable("\U0001f600 caf\u00e9\n") == "\U0001f600 caf\u00e9\n"
