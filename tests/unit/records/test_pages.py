"""Pages: from decoded rows to records, and how records are written."""

from __future__ import annotations

import json
import random
import re
import secrets
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from typing_extensions import override

from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.constant_contact.contact_streams import CONTACT_REPORTS
from tap_email_metrics.records.builder import RecordBuilder
from tap_email_metrics.records.columns import ACCOUNT, EXTRA, EXTRACTED_AT
from tap_email_metrics.records.pages import (
    IDENTITY_MISSING,
    KEY_MISSING,
    KEY_UNREADABLE,
    Page,
)
from tap_email_metrics.records.privacy import MODES, Privacy
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.streams.base import EmailMetricsStream
from tests.support import encompass as harness
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from tap_email_metrics.tap import TapEmailMetrics

EXTRACTED = re.compile(rb',"time_extracted":"[^"]+"}$')
OWN = b'"stream":"email_metrics_'
SIGNPOST = re.compile(rb'(?<="replication_key_signpost":)"[^"]+"')
STREAMS: dict[str, Any] = {}
"""Stream classes by stream name."""
for provider in PROVIDERS:
    STREAMS |= {one.name: one for one in provider.streams}  # type: ignore[misc]
OPENS = "encompass_opens"
PATH = {"message_id": 7}


def builder_of(
    name: str, selected: set[str] | None = None, mode: str = "plain"
) -> RecordBuilder:
    stream = STREAMS[name]
    return RecordBuilder(
        load_schema(name),
        key=stream.primary_keys,
        selected=selected,
        account="a",
        privacy=Privacy(mode, None if mode == "plain" else "pepper-of-the-tests"),
        replication_key=key if isinstance(key := stream.replication_key, str) else None,
        reader_fields=stream.reader_fields,
        envelope=stream.envelope,
    )


def own_columns(name: str) -> dict[str, dict[str, Any]]:
    """Return the columns with a field of the vendor, by the name of the field."""
    every = load_schema(name)["properties"].values()
    own = [column for column in every if "x-derived" not in column]
    return {column["x-source"]: column for column in own if "x-source" in column}


def path_of(name: str) -> dict[str, Any]:
    """Return a value for each column that does not come from a row."""
    made = ("x-source", "x-derived")
    return {
        column: 7 if "integer" in facts["type"] else "2026-07-01T00:00:00Z"
        for column, facts in load_schema(name)["properties"].items()
        if column not in (ACCOUNT, EXTRACTED_AT, EXTRA)
        and not any(mark in facts for mark in made)
    }


NUMBERS = st.one_of(
    st.integers(0, 2_000_000_000_000),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 253402300800000]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "\0", "é\U0001f600", "12", "true", "A <a@b.org>"]),
)
MOMENTS = st.sampled_from(
    [
        *("", "0000-00-00 00:00:00", "2026-07-01", "2026-07-01 12:00:00", "soon"),
        *("2026-07-01T12:00:00.123456+02:00", "2026-02-30T00:00:00Z"),
    ]
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    NUMBERS,
    TEXTS,
    st.just("\ud83d"),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=2),
)


def fitting(column: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw values that mostly fit a column."""
    kinds = {*column["type"]} if isinstance(column["type"], list) else {column["type"]}
    if "format" in column and "x-derived" not in column:
        return st.one_of(st.none(), MOMENTS)
    if "string" in kinds and "x-derived" not in column:
        return st.one_of(st.none(), TEXTS)
    if "boolean" in kinds:
        return st.one_of(st.none(), st.booleans())
    if "array" in kinds:
        return st.one_of(st.none(), st.lists(TEXTS, max_size=2))
    if "object" in kinds:
        return st.one_of(st.none(), st.dictionaries(TEXTS, TEXTS, max_size=2))
    return st.one_of(st.none(), NUMBERS)


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, set[str] | None, str, list[dict[str, Any]]]:
    """Draw a stream, a selection, a mode, and rows that mostly fit their types."""
    name = draw(st.sampled_from(sorted(STREAMS)))
    columns = list(load_schema(name)["properties"])
    selected = draw(st.one_of(st.none(), st.sets(st.sampled_from(columns))))
    own = own_columns(name)
    fields = {source: fitting(column) for source, column in own.items()}
    row = st.fixed_dictionaries({}, optional=fields)
    drawn = draw(st.lists(row, max_size=3))
    rows = [whole_row(name) | grouped(one) for one in drawn]
    is_odd = draw(st.booleans())
    if rows and is_odd:
        rows[-1][draw(st.sampled_from([*fields, "unknown"]))] = draw(ODD)
    return name, selected, draw(st.sampled_from(MODES)), rows


def grouped(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the fields of each group in an object."""
    made: dict[str, Any] = {}
    for path, value in row.items():
        group, dot, field = path.partition(".")
        if dot:
            made.setdefault(group, {})[field] = value
        else:
            made[path] = value
    return made


def whole_row(name: str) -> dict[str, Any]:
    """Return a row with a value in each field that identifies a row."""
    every: dict[str, dict[str, Any]] = load_schema(name)["properties"]
    key = {*STREAMS[name].primary_keys}
    key.update(every.get("event_id", {}).get("x-identity", ()))
    row: dict[str, Any] = {}
    for column in key & every.keys():
        facts = every[column]
        if "x-source" in facts:
            text = "2026-07-01 12:00:00" if "format" in facts else "5"
            row[facts["x-source"]] = 5 if "integer" in facts["type"] else text
    return row


def lines(records: Any) -> list[bytes]:
    writer = Writer()
    writer.write_records("s", list(records), NOW)
    return [EXTRACTED.sub(b"", line) for line in writer._buffer.splitlines()]  # noqa: SLF001


def shown(page: Page) -> tuple[Any, ...]:
    """Return everything that a page exposes about its rows."""
    names = page.identities
    made = page.numbered([names[:n].count(one) for n, one in enumerate(names)]).made()
    assert len(page) == len(made.records) + made.set_aside.total()
    return names, page.times, lines(made.records), made.times, made.set_aside


def alone(builder: RecordBuilder, name: str, rows: list[Any]) -> tuple[Any, ...]:
    """Return the same as `shown`, for each row in a page of its own."""
    names: list[Any] = []
    times: list[Any] = []
    records: list[bytes] = []
    made_times: list[Any] = []
    set_aside: Counter[str] = Counter()
    for row in rows:
        page = builder.page([row], path_of(name))
        [one] = page.identities
        made = page.numbered([names.count(one)]).made()
        names.append(one)
        times += page.times
        records += lines(made.records)
        made_times += made.times
        set_aside += made.set_aside
    return names, times, records, made_times, set_aside


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@example((OPENS, None, "plain", [{"id": 1, "dateAdded": 0, "userAgent": "\0"}]))
@example((OPENS, {"added_at"}, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example((OPENS, None, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example(("encompass_links", None, "plain", [{"id": 1, "dateAdded": 5}]))
@example(("luxsci_sent", None, "plain", [{"sendmail_id": "1", "size_bytes": "12"}]))
@given(pages())
def test_a_row_gives_the_same_record_in_any_page_and_by_any_decoder(
    page: tuple[str, set[str] | None, str, list[dict[str, Any]]],
) -> None:
    name, selected, mode, rows = page
    each, whole = builder_of(name, selected, mode), builder_of(name, selected, mode)
    wanted = alone(each, name, rows)
    assert shown(whole.page(rows, path_of(name))) == wanted
    assert (whole.unknown, whole.uncoercible) == (each.unknown, each.uncoercible)
    envelope = STREAMS[name].envelope
    if envelope is None:
        return
    body = json.dumps({envelope.rows: rows, "total": 9, "maxResults": 1000}).encode()
    decoded = builder_of(name, selected, mode)
    found = decoded.decode(body, path_of(name))
    if found is not None:
        made, _ = found
        assert shown(made) == wanted
        assert decoded.unknown == set()
        assert decoded.uncoercible == each.uncoercible
        for field in STREAMS[name].reader_fields:
            assert made.values(field) == [row.get(field) for row in rows]


FINE = {"id": 3, "recipientId": 4, "timestamp": 5, "dateAdded": 6, "ipAddress": "i"}


def body_of(rows: list[Any]) -> bytes:
    return msgspec.json.encode({"data": rows, "total": len(rows)})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(STREAMS))
def test_rows_that_fit_are_decoded_to_their_types(name: str, mode: str) -> None:
    envelope = STREAMS[name].envelope
    builder = builder_of(name, None, mode)
    rows = [whole_row(name)] * 2
    wanted = alone(builder, name, rows)
    assert not wanted[-1]
    if envelope and not any("." in source for source in own_columns(name)):
        body = msgspec.json.encode({envelope.rows: rows, "total": 2})
        found = builder.decode(body, path_of(name))
        assert found is not None
        assert shown(found[0]) == wanted


@pytest.mark.parametrize(
    ("row", "column", "kept"),
    [
        ({"id": "3"}, {}, None),
        ({"id": 3.0}, {}, None),
        ({"ipAddress": 1}, {"ip_address": "1"}, None),
        ({"ipAddress": "\0"}, {"ip_address": "\ufffd"}, None),
        ({"timestamp": "5"}, {}, None),
        ({"ipAddress": []}, {"ip_address": None}, {"ipAddress": []}),
        (
            {"timestamp": "soon"},
            {"timestamp": None, "occurred_at": None},
            {"timestamp": "soon"},
        ),
    ],
)
def test_a_value_that_does_not_fit_is_set_aside_and_its_row_stays(
    row: Any, column: dict[str, Any], kept: Any
) -> None:
    builder = builder_of(OPENS)
    found = builder.decode(body_of([FINE, FINE | row]), PATH)
    assert found is not None
    page, _ = found
    assert page.integers("id") == [3, 3]
    one, other = map(asdict, page.made().records)
    assert other == one | column | {"additional_fields": kept}
    assert builder.uncoercible == {*(kept or {})}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": None}, KEY_MISSING),
        ({"recipientId": 1}, KEY_MISSING),
        ({"id": "x"}, KEY_UNREADABLE),
        ({"id": 3.5}, KEY_UNREADABLE),
        ({"id": 2**63}, KEY_UNREADABLE),
    ],
)
def test_a_row_without_a_usable_key_is_counted_with_its_reason(
    row: Any, reason: str
) -> None:
    found = builder_of(OPENS).decode(body_of([FINE, row, FINE]), PATH)
    assert found is not None
    page, _ = found
    made = page.made()
    assert len(page) == 3
    assert [record.id for record in made.records] == [3, 3]
    assert made.times == [6, 6]
    assert made.set_aside == {reason: 1}


def test_an_event_without_identifying_values_is_counted_with_its_reason() -> None:
    name = "constant_contact_opens"
    rows = [whole_row(name), {"email_address": "a@b.org"}]
    made = builder_of(name).page(rows, {}).numbered([0, 0]).made()
    assert len(made.records) == 1
    assert made.set_aside == {IDENTITY_MISSING: 1}


def test_an_event_without_identifying_values_is_kept_if_no_key_is_required() -> None:
    name = "constant_contact_opens"
    builder = RecordBuilder(
        load_schema(name), key=(), selected=None, account="a", privacy=Privacy()
    )
    made = builder.page([{"email_address": "a@b.org"}], {}).numbered([0]).made()
    [record] = made.records
    assert (record.email_address, record.event_id) == ("a@b.org", None)


@pytest.mark.parametrize("row", [{"unknown": 1}, {"unknown": None, "other": []}])
def test_unknown_fields_are_kept_and_named(row: Any) -> None:
    builder = builder_of(OPENS)
    assert builder.decode(body_of([FINE, FINE | row]), PATH) is None
    one, other = map(asdict, builder.page([FINE, FINE | row], PATH).made().records)
    assert other == one | {"additional_fields": row}
    assert builder.unknown == {*row}


def test_a_page_with_one_odd_value_takes_about_as_many_calls_as_a_clean_one() -> None:
    def calls(body: bytes) -> int:
        builder, count = builder_of(OPENS), Counter[str]()
        sys.setprofile(lambda _frame, event, _argument: count.update([event]))
        try:
            found = builder.decode(body, PATH)
        finally:
            sys.setprofile(None)
        assert found is not None
        return count["call"]

    rows = [FINE | {"id": number} for number in range(1000)]
    clean = calls(body_of(rows))
    rows[500] |= {"ipAddress": [1]}
    assert calls(body_of(rows)) <= clean + 50


def test_the_integers_of_a_page_include_fields_that_have_no_column() -> None:
    rows: list[Any] = [{"id": 1, "dateAdded": "5"}, {"id": 2}]
    made = builder_of("encompass_links").page(rows, PATH)
    assert made.integers("dateAdded") == [5, None]
    assert made.integers("id") == [1, 2]


@pytest.mark.parametrize("odd", ["a@b.org", [{"address": "a@b.org"}, {"address": "c"}]])
def test_a_group_of_another_form_is_kept_and_its_row_stays(odd: Any) -> None:
    name = "constant_contact_contacts"
    group = {"address": "a@b.org", "new": 1}
    rows = [whole_row(name) | {"email_address": one} for one in (group, None, odd)]
    made = builder_of(name).page(rows, {}).made()
    kept = [record.additional_fields for record in made.records]
    assert kept == [{"email_address.new": 1}, None, {"email_address": odd}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[]}',
        b'{"data":[null],"total":1}',
        b'{"data":[[]],"total":1}',
        b'{"data":[],"total":-1}',
        b'{"data":[],"total":true}',
        b'{"data":[],"total":10000001}',
        b'{"message":"Endpoint request timed out"}',
        b'{"total":1,"data":[{"id":1,"ipAddress":"\\ud83d"}]}',
        b'{"total":1,"data":[{"id":1,"ipAddress":"\xff"}]}',
        b'{"total":1,"data":[{"id":1,"ipAddress":' + b"[" * 100_000,
        b'{"total":1,"data":[{"id":1,"ipAddress":' + b"[" * 600 + b"]" * 600 + b"}]}",
    ],
)
def test_a_body_of_another_form_is_left_to_the_caller(body: bytes) -> None:
    assert builder_of(OPENS).decode(body, PATH) is None


def test_deselected_columns_are_not_in_a_record() -> None:
    builder = builder_of("encompass_recipients", {"class_year"})
    row = {"id": 1, "emailAddress": "a@b.org", "classYear": "1999", "memberId": "x"}
    found = builder.decode(body_of([row]), PATH)
    assert found is not None
    for page in (found[0], builder.page([row], PATH)):
        (line,) = lines(page.made().records)
        assert b"a@b.org" not in line
        assert b'"class_year":"1999"' in line


def test_a_slice_of_a_page_holds_the_values_of_its_rows() -> None:
    name = "constant_contact_opens"
    builder = builder_of(name)
    rows = [whole_row(name) | {"contact_id": f"c{n}"} for n in range(5)]
    rows[3] = {"email_address": "a@b.org"}
    whole = builder.page(rows, {})
    for part in (slice(0, 0), slice(1, 3), slice(4, 9), slice(2, 5)):
        wanted = [row.get("contact_id") for row in rows[part]]
        assert whole[part].values("contact_id") == wanted
        assert shown(whole[part]) == alone(builder, name, rows[part])
    chosen = [False, True, False, True, True]
    kept = [row for row, here in zip(rows, chosen, strict=True) if here]
    assert shown(whole.where(chosen)) == alone(builder, name, kept)
    assert whole.where([True] * 5) is whole


# Whole runs


class Lines(Writer):
    """Keeps the lines that would go to stdout, without values of the real clock."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    @override
    def flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        for line in data.splitlines():
            if OWN in line:
                continue  # the time at which a list was read depends on threads
            self.lines.append(SIGNPOST.sub(b"0", EXTRACTED.sub(b"}", line)))


def select_some(tap: TapEmailMetrics, seed: int) -> None:
    """Select all streams with random columns, or every second time all columns."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for name in sorted(tap.streams):
        tap.streams[name].selected = True
        metadata = tap.streams[name].metadata
        for breadcrumb in sorted(metadata):
            if len(breadcrumb) == 2 and seed % 2:
                metadata[breadcrumb].selected = chance.random() < 0.6


def runs(site: Site, seed: int) -> list[bytes]:
    """Return all lines of two runs, three days apart."""
    found: list[bytes] = []
    for _ in range(2):
        tap = site.tap()
        select_some(tap, seed)
        assert tap.execute() == 0
        assert isinstance(tap.output, Lines)
        tap.output.flush()
        found += tap.output.lines
        site.state = msgspec.json.decode(msgspec.json.encode(tap.state))
        site.advance(3)
    return found


def site_of(provider: str, seed: int, mode: str) -> Site:
    many = {"encompass": 0, "constant_contact": 0, "luxsci": 0} | {provider: 8}
    world = World.generate(
        seed,
        many["encompass"],
        NOW,
        campaigns=many["constant_contact"],
        luxsci=many["luxsci"],
        days_ahead=7,
    )
    kinds = {"encompass": Site, "constant_contact": Account, "luxsci": Clinic}
    site = kinds[provider](world, max_concurrency=1)
    if provider == "luxsci":  # a year of daily summaries tests nothing more
        site.common["start_date"] = iso(NOW - 30 * DAY)
    if mode != "plain":
        site.common["pii"] = {"mode": mode, "pepper": "pepper-of-the-tests"}
    return site


RARE = {
    *("luxsci_clicks", "luxsci_temporary_failures"),
    *("luxsci_marketing_contacts", "luxsci_users"),
}
"""Streams that may have no row in a small world."""
OPTIONAL = {str(one.name) for one in CONTACT_REPORTS}
"""Streams that need a setting and one request per contact."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "mode"),
    [("encompass", "hash"), ("constant_contact", "plain"), ("luxsci", "domain")],
)
def test_the_sdks_own_steps_write_the_same_records(
    provider: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "MemoryWriter", Lines)
    monkeypatch.setattr(secrets, "token_hex", "0".zfill)  # the id of the generation
    quick = runs(site_of(provider, 1, mode), 1)
    monkeypatch.setattr(EmailMetricsStream, "fast", False)
    stock = runs(site_of(provider, 1, mode), 1)
    assert quick == stock
    messages = [msgspec.json.decode(line) for line in stock]
    emitted = {m["stream"] for m in messages if m["type"] == "RECORD"}
    offered = {name for name in STREAMS if name.startswith(provider)}
    assert offered - emitted - OPTIONAL <= RARE


MAPS = {OPENS: {"opened": "id"}}


@pytest.mark.parametrize(
    ("common", "reason"),
    [
        ({}, ""),
        ({"stream_maps": MAPS}, "stream maps"),
        ({"stream_maps": {OPENS: {"__alias__": "o"}}}, "stream maps"),
        ({"stream_maps": {"encompass_clicks": {"c": "id"}}}, ""),
        ({"flattening_enabled": True, "flattening_max_depth": 2}, "flattening"),
    ],
)
def test_settings_that_only_the_sdk_handles_are_left_to_it(
    common: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site = Site()
    site.common = common
    stream = site.tap().streams[OPENS]
    assert isinstance(stream, EmailMetricsStream)
    assert stream.fast is not bool(reason)
    way = f"one by one: {reason}" if reason else "a page at a time"
    told = [r for r in caplog.records if "records are written" in r.getMessage()]
    assert [(r.levelname, r.getMessage().endswith(way)) for r in told] == [
        ("DEBUG", True)
    ]


@pytest.mark.parametrize(
    "breadcrumb",
    [("properties", "id"), ("properties", "additional_fields", "properties", "x")],
)
def test_a_selection_that_only_the_sdk_handles_is_left_to_it(
    breadcrumb: tuple[str, ...],
) -> None:
    stream = Site().tap().streams[OPENS]
    assert isinstance(stream, EmailMetricsStream)
    stream.metadata[breadcrumb].selected = False
    stream.metadata[breadcrumb].inclusion = None
    assert not stream.fast
