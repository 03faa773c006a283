"""Records made a page at a time are those made one by one, digit for digit."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.constant_contact.contact_streams import CONTACT_REPORTS
from tap_email_metrics.records.columns import ACCOUNT, EXTRA, RowCodec
from tap_email_metrics.records.pages import Table, TableDecoder
from tap_email_metrics.records.privacy import MODES, Privacy
from tap_email_metrics.records.rows import LooseRows, RowMaker, Rows
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
"""Classes by the name of their stream."""
for provider in PROVIDERS:
    STREAMS |= {one.name: one for one in provider.streams}  # type: ignore[misc]
OPENS = "encompass_opens"
PATH = {"message_id": 7}


def codec_of(name: str, selected: set[str] | None, mode: str) -> RowCodec:
    stream = STREAMS[name]
    return RowCodec(
        load_schema(name),
        key=stream.primary_keys,
        selected=selected,
        account="a",
        privacy=Privacy(mode, None if mode == "plain" else "pepper"),
        replication_key=key if isinstance(key := stream.replication_key, str) else None,
    )


def tables_of(name: str, codec: RowCodec) -> TableDecoder:
    stream = STREAMS[name]
    return TableDecoder(load_schema(name), codec, stream.reader_fields, stream.envelope)


def own_columns(name: str) -> dict[str, dict[str, Any]]:
    """Return the columns that the vendor has, by its names."""
    every = load_schema(name)["properties"].values()
    return {column["x-source"]: column for column in every if "x-source" in column}


def path_of(name: str) -> dict[str, Any]:
    """Return a value for each column that no row carries."""
    made = ("x-source", "x-derived")
    return {
        column: 7 if "integer" in facts["type"] else "2026-07-01T00:00:00Z"
        for column, facts in load_schema(name)["properties"].items()
        if column not in (ACCOUNT, EXTRA) and not any(mark in facts for mark in made)
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
    """Values most of which fit a column."""
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
    """A list, a selection, a mode, and rows of which most fit their types."""
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
    """Return a row with the fields of groups in objects of their own."""
    made: dict[str, Any] = {}
    for path, value in row.items():
        group, dot, field = path.partition(".")
        if dot:
            made.setdefault(group, {})[field] = value
        else:
            made[path] = value
    return made


def whole_row(name: str) -> dict[str, Any]:
    """Return a row with a value in each field that tells rows apart."""
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


def numbered(rows: Rows) -> Rows:
    """Return rows, each with the number of equal ones before it."""
    names = [*rows.identities]
    return rows.numbered([names[:n].count(one) for n, one in enumerate(names)])


def lines(records: Any) -> list[bytes]:
    writer = Writer()
    writer.write_records("s", list(records), NOW)
    return [EXTRACTED.sub(b"", line) for line in writer._buffer.splitlines()]  # noqa: SLF001


def check_table(made: Table, codec: RowCodec, name: str, raw: list[Any]) -> None:
    """Compare a table with what the codec makes of its rows."""
    loose = LooseRows(raw, RowMaker(codec, from_path=path_of(name)))
    assert made.identities == loose.identities
    for field in STREAMS[name].reader_fields:
        assert [*made.values(field)] == [*loose.values(field)]
        if name.startswith("encompass"):
            assert made.integers(field) == loose.integers(field)
    wanted = numbered(loose).records()
    assert numbered(made).records().times == wanted.times
    assert lines(made.records().made) == lines(wanted.made)
    assert len(made) == len(raw)
    assert codec.rejected == 0


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=list(HealthCheck), deadline=None)
@example((OPENS, None, "plain", [{"id": 1, "dateAdded": 0, "userAgent": "\0"}]))
@example((OPENS, {"added_at"}, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example((OPENS, None, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example(("encompass_links", None, "plain", [{"id": 1, "dateAdded": 5}]))
@example(("luxsci_sent", None, "plain", [{"sendmail_id": "1", "size_bytes": "12"}]))
@given(pages())
def test_a_table_holds_what_the_codec_makes(
    page: tuple[str, set[str] | None, str, list[dict[str, Any]]],
) -> None:
    name, selected, mode, rows = page
    codec, stock = codec_of(name, selected, mode), codec_of(name, selected, mode)
    tables, path = tables_of(name, codec), path_of(name)
    made = tables.of_rows(rows, path)
    if made is not None:
        check_table(made, stock, name, rows)
        noted = (codec.unknown, codec.uncoercible)
        assert noted == (stock.unknown, stock.uncoercible)
    envelope = STREAMS[name].envelope
    if envelope is None:
        return
    body = json.dumps({envelope.rows: rows, "total": 9, "maxResults": 1000}).encode()
    found = tables.decode(body, path)
    if found is not None:
        stock = codec_of(name, selected, mode)
        check_table(found[0], stock, name, rows)
        assert (stock.unknown, stock.uncoercible) == (set(), set())


FINE = {"id": 3, "recipientId": 4, "timestamp": 5, "dateAdded": 6, "ipAddress": "i"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(STREAMS))
def test_rows_that_fit_are_made_a_table(name: str, mode: str) -> None:
    tables, rows = tables_of(name, codec_of(name, None, mode)), [whole_row(name)] * 2
    made = tables.of_rows(rows, path_of(name))
    assert made is not None
    check_table(made, codec_of(name, None, mode), name, rows)
    envelope = STREAMS[name].envelope
    if envelope and not codec_of(name, None, mode).has_groups:
        body = msgspec.json.encode({envelope.rows: rows, "total": 2})
        found = tables.decode(body, path_of(name))
        assert found is not None
        check_table(found[0], codec_of(name, None, mode), name, rows)


@pytest.mark.parametrize(
    "row",
    [
        {"id": None},
        {"recipientId": 1},
        {"id": "x"},
        {"id": 3.5},
        {"id": 2**63},
        {"id": 3, "ipAddress": []},
        {"id": 3, "timestamp": "soon"},
    ],
)
def test_one_row_that_does_not_fit_leaves_the_page_to_the_codec(row: Any) -> None:
    body = msgspec.json.encode({"data": [FINE, row], "total": 2})
    codec = codec_of(OPENS, None, "plain")
    tables = tables_of(OPENS, codec)
    assert tables.decode(body, PATH) is None
    assert tables.of_rows([FINE, row], PATH) is None
    assert isinstance(RowMaker(codec, tables, PATH).rows([FINE, row]), LooseRows)
    assert (codec.unknown, codec.uncoercible) == (set(), set())


@pytest.mark.parametrize(
    "row",
    [
        {"id": "3"},
        {"id": 3.0},
        {"id": 3, "unknown": 1},
        {"id": 3, "unknown": None, "other": []},
        {"id": 3, "ipAddress": 1},
        {"id": 3, "ipAddress": "\0"},
        {"id": 3, "timestamp": "5"},
    ],
)
def test_what_a_struct_refuses_is_taken_from_dictionaries(row: Any) -> None:
    body = msgspec.json.encode({"data": [FINE, row], "total": 2})
    tables = tables_of(OPENS, codec_of(OPENS, None, "plain"))
    assert tables.decode(body, PATH) is None
    made = tables.of_rows([FINE, row], PATH)
    assert made is not None
    check_table(made, codec_of(OPENS, None, "plain"), OPENS, [FINE, row])
    assert made.integers("id") == [3, 3]


def test_the_reading_sees_what_no_column_has() -> None:
    name = "encompass_links"
    rows: list[Any] = [{"id": 1, "dateAdded": "5"}, {"id": 2}]
    made = tables_of(name, codec_of(name, None, "plain")).of_rows(rows, PATH)
    assert made is not None
    check_table(made, codec_of(name, None, "plain"), name, rows)
    assert made.integers("dateAdded") == [5, None]


@pytest.mark.parametrize("odd", ["a@b.org", [{"address": "a@b.org"}, {"address": "c"}]])
def test_a_group_that_is_none_leaves_the_rows_to_the_codec(odd: Any) -> None:
    name = "constant_contact_contacts"
    tables = tables_of(name, codec_of(name, None, "plain"))
    group = {"address": "a@b.org", "new": 1}
    rows = [whole_row(name) | {"email_address": one} for one in (group, None)]
    made = tables.of_rows(rows, {})
    assert made is not None
    check_table(made, codec_of(name, None, "plain"), name, rows)
    assert tables.of_rows([*rows, rows[0] | {"email_address": odd}], {}) is None


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
    ],
)
def test_another_answer_is_left_to_the_ordinary_way(body: bytes) -> None:
    tables = tables_of(OPENS, codec_of(OPENS, None, "plain"))
    assert tables.decode(body, PATH) is None


def test_what_is_not_selected_is_not_in_a_table() -> None:
    codec = codec_of("encompass_recipients", {"class_year"}, "plain")
    row = {"id": 1, "emailAddress": "a@b.org", "classYear": "1999", "memberId": "x"}
    tables = tables_of("encompass_recipients", codec)
    body = msgspec.json.encode({"data": [row], "total": 1})
    found = tables.decode(body, PATH)
    assert found is not None
    for made in (found[0], tables.of_rows([row], PATH)):
        assert made is not None
        (line,) = lines(made.records().made)
        assert b"a@b.org" not in line
        assert b'"class_year":"1999"' in line


def test_parts_of_a_table_are_those_of_its_rows() -> None:
    name = "constant_contact_opens"
    tables = tables_of(name, codec_of(name, None, "plain"))
    rows = [whole_row(name) | {"contact_id": f"c{n}"} for n in range(5)]
    table = tables.of_rows(rows, {})
    assert table is not None
    for part in (slice(0, 0), slice(1, 3), slice(4, 9)):
        found = numbered(table[part])
        assert found.values("contact_id") == [row["contact_id"] for row in rows[part]]
        check_table(
            cast("Table", found), codec_of(name, None, "plain"), name, rows[part]
        )
    chosen = [False, True, False, True, True]
    kept = [row for row, here in zip(rows, chosen, strict=True) if here]
    found = table.where(chosen)
    check_table(cast("Table", found), codec_of(name, None, "plain"), name, kept)
    assert table.where([True] * 5) is table


# Whole runs


class Lines(Writer):
    """Keeps the lines that would go to stdout, but for what this machine's clock is."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    @override
    def flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        for line in data.splitlines():
            if OWN in line:
                continue  # when a list was read depends on what threads do
            self.lines.append(SIGNPOST.sub(b"0", EXTRACTED.sub(b"}", line)))


def select_some(tap: TapEmailMetrics, seed: int) -> None:
    """Select all streams, and columns at random; every other time all of them."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for name in sorted(tap.streams):
        tap.streams[name].selected = True
        metadata = tap.streams[name].metadata
        for breadcrumb in sorted(metadata):
            if len(breadcrumb) == 2 and seed % 2:
                metadata[breadcrumb].selected = chance.random() < 0.6


def runs(site: Site, seed: int) -> list[bytes]:
    """Run twice, three days apart; return all lines."""
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
    if provider == "luxsci":  # a year of its daily summaries is much of the same
        site.common["start_date"] = iso(NOW - 30 * DAY)
    if mode != "plain":
        site.common["pii"] = {"mode": mode, "pepper": "pepper"}
    return site


RARE = {
    *("luxsci_clicks", "luxsci_temporary_failures"),
    *("luxsci_marketing_contacts", "luxsci_users"),
}
"""Streams of which a small world may have no row."""
OPTIONAL = {str(one.name) for one in CONTACT_REPORTS}
"""Those that take a setting, and a request for each contact."""


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
@pytest.mark.parametrize(("seed", "mode"), [(1, "plain"), (2, "hash"), (3, "domain")])
def test_both_ways_write_the_same(
    provider: str, seed: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "MemoryWriter", Lines)
    make = TableDecoder._table  # noqa: SLF001 - both ways end in it
    tables: list[Table | None] = []

    def noted(self: TableDecoder, page: Any) -> Any:
        tables.append(None)
        tables[-1] = table = make(self, page)
        return table

    monkeypatch.setattr(TableDecoder, "_table", noted)
    quick = runs(site_of(provider, seed, mode), seed)
    # The simulated accounts have something odd in many lists.
    assert sum(table is not None for table in tables) > len(tables) / 2
    assert None in tables or provider != "encompass"
    tables.clear()
    monkeypatch.setattr(EmailMetricsStream, "fast", False)
    stock = runs(site_of(provider, seed, mode), seed)
    assert not tables
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
def test_what_only_the_sdk_does_is_left_to_it(
    common: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site = Site()
    site.common = common
    stream = site.tap().streams[OPENS]
    assert isinstance(stream, EmailMetricsStream)
    assert stream.fast is not bool(reason)
    assert (stream.tables is None) is bool(reason)
    way = f"one by one: {reason}" if reason else "a page at a time"
    told = [r for r in caplog.records if "records are written" in r.getMessage()]
    assert [(r.levelname, r.getMessage().endswith(way)) for r in told] == [
        ("DEBUG", True)
    ]


@pytest.mark.parametrize(
    "breadcrumb",
    [("properties", "id"), ("properties", "additional_fields", "properties", "x")],
)
def test_a_selection_that_only_the_sdk_knows_is_left_to_it(
    breadcrumb: tuple[str, ...],
) -> None:
    stream = Site().tap().streams[OPENS]
    assert isinstance(stream, EmailMetricsStream)
    stream.metadata[breadcrumb].selected = False
    stream.metadata[breadcrumb].inclusion = None
    assert not stream.fast
