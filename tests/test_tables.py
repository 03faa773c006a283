"""Records made a page at a time are those made one by one, digit for digit."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import harness
import msgspec
import pytest
from harness import DAY, NOW, Site
from harness_cc import Account
from harness_luxsci import Clinic
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from simulator.world import World
from tap_email_metrics.bookmarks import iso
from tap_email_metrics.catalog import load_schema
from tap_email_metrics.codec import RowCodec, to_integer
from tap_email_metrics.privacy import MODES, Privacy
from tap_email_metrics.providers.encompass.client import parse_list
from tap_email_metrics.streams import EmailMetricsStream
from tap_email_metrics.tables import TableDecoder
from tap_email_metrics.writer import Writer

if TYPE_CHECKING:
    from tap_email_metrics.tap import TapEmailMetrics

KEY = ("account", "message_id", "id")
KINDS = ("opens", "clicks", "bounces", "delivers", "recipients", "links")
EXTRACTED = re.compile(rb',"time_extracted":"[^"]+"}$')
OWN = b'"stream":"email_metrics_'
SIGNPOST = re.compile(rb'(?<="replication_key_signpost":)"[^"]+"')
PATH = {"message_id": 7}


def codec_of(kind: str, selected: set[str] | None, mode: str) -> RowCodec:
    privacy = Privacy(mode, None if mode == "plain" else "pepper")
    schema = load_schema(f"encompass_{kind}")
    return RowCodec(schema, key=KEY, selected=selected, account="a", privacy=privacy)


def tables_of(kind: str, codec: RowCodec) -> TableDecoder:
    assert codec.plan is not None
    schema = load_schema(f"encompass_{kind}")
    return TableDecoder(schema, codec.plan, KEY, ("id", "dateAdded"))


def sources_of(kind: str) -> list[str]:
    every = load_schema(f"encompass_{kind}")["properties"].values()
    return sorted({c["x-source"] for c in every if "x-source" in c})


NUMBERS = st.one_of(
    st.integers(0, 2_000_000_000_000),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 253402300800000]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "\0", "é\U0001f600", "12", "true", "A <a@b.org>"]),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    NUMBERS,
    TEXTS,
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=2),
)
IS_TEXT = re.compile("name|address|Agent|year|url|reason|constituent", re.IGNORECASE)


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, set[str] | None, str, list[dict[str, Any]]]:
    """A list, a selection, a mode, and rows of which most fit their types."""
    kind = draw(st.sampled_from(KINDS))
    names = list(load_schema(f"encompass_{kind}")["properties"])
    selected = draw(st.one_of(st.none(), st.sets(st.sampled_from(names))))
    fields: dict[str, st.SearchStrategy[Any]] = {
        name: st.one_of(st.none(), TEXTS if IS_TEXT.search(name) else NUMBERS)
        for name in sources_of(kind)
    }
    fields["id"] = st.integers(1, 10**6)
    row = st.fixed_dictionaries({}, optional=fields)
    rows = [{"id": 5, **draw(row)} for _ in range(draw(st.integers(0, 3)))]
    is_odd = draw(st.booleans())
    if rows and is_odd:
        name = draw(st.sampled_from([*fields, "unknown", "dateAdded"]))
        rows[-1][name] = draw(ODD)
    return kind, selected, draw(st.sampled_from(MODES)), rows


def lines(records: Any) -> list[bytes]:
    writer = Writer()
    writer.write_records("s", list(records), NOW)
    return [EXTRACTED.sub(b"", line) for line in writer._buffer.splitlines()]  # noqa: SLF001


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@example(("opens", None, "plain", [{"id": 1, "dateAdded": 0, "userAgent": "\0"}]))
@example(("opens", {"added_at"}, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example(("opens", None, "plain", [{"id": 1, "dateAdded": 2**60}]))
@example(("links", None, "plain", [{"id": 1, "dateAdded": 5}]))
@given(pages())
def test_a_table_holds_what_the_codec_makes(
    page: tuple[str, set[str] | None, str, list[dict[str, Any]]],
) -> None:
    kind, selected, mode, rows = page
    codec = codec_of(kind, selected, mode)
    body = msgspec.json.encode({"data": rows, "total": 9, "maxResults": 1000})
    made = tables_of(kind, codec).decode(body, PATH)
    if made is None:
        return
    table, total, size = made
    wanted = [codec.record(row, **PATH) for row in parse_list(body)[0]]
    assert lines(table.records) == lines(wanted)
    assert table.integers["id"] == [to_integer(row.get("id")) for row in rows]
    dates = [to_integer(row.get("dateAdded")) for row in rows]
    assert table.integers["dateAdded"] == dates
    assert (total, size) == (9, 1000)
    # Nothing was left out, kept elsewhere, or to be warned of.
    assert (codec.rejected, codec.uncoercible, codec.unknown) == (0, {}, {})


FINE = {"id": 3, "recipientId": 4, "timestamp": 5, "dateAdded": 6, "ipAddress": "i"}


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_fit_are_made_a_table(mode: str) -> None:
    body = msgspec.json.encode({"data": [FINE, {"id": 4}], "total": 2})
    made = tables_of("opens", codec_of("opens", None, mode)).decode(body, PATH)
    assert made is not None
    assert len(made[0]) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"id": None},
        {"recipientId": 1},
        {"id": "3"},
        {"id": 3.0},
        {"id": 2**63},
        {"id": 3, "unknown": 1},
        {"id": 3, "ipAddress": 1},
        {"id": 3, "ipAddress": "\0"},
        {"id": 3, "timestamp": "5"},
        [],
        None,
    ],
)
def test_one_row_that_does_not_fit_leaves_the_page_to_the_codec(row: Any) -> None:
    body = msgspec.json.encode({"data": [FINE, row], "total": 2})
    tables = tables_of("opens", codec_of("opens", None, "plain"))
    assert tables.decode(body, PATH) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[]}',
        b'{"data":[],"total":-1}',
        b'{"data":[],"total":true}',
        b'{"message":"Endpoint request timed out"}',
        b'{"total":1,"data":[{"id":1,"ipAddress":"\\ud83d"}]}',
        b'{"total":1,"data":[{"id":1,"ipAddress":"\xff"}]}',
        b'{"total":1,"data":[{"id":1,"ipAddress":' + b"[" * 100_000,
    ],
)
def test_another_answer_is_left_to_the_ordinary_way(body: bytes) -> None:
    tables = tables_of("opens", codec_of("opens", None, "plain"))
    assert tables.decode(body, PATH) is None


def test_what_is_not_selected_is_not_in_a_table() -> None:
    codec = codec_of("recipients", {"class_year"}, "plain")
    row = {"id": 1, "emailAddress": "a@b.org", "classYear": "1999", "memberId": "x"}
    body = msgspec.json.encode({"data": [row], "total": 1})
    made = tables_of("recipients", codec).decode(body, PATH)
    assert made is not None
    (line,) = lines(made[0].records)
    assert b"a@b.org" not in line
    assert b'"class_year":"1999"' in line


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
    """Select columns at random; every other time all of them."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for name in sorted(tap.streams):
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


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
@pytest.mark.parametrize(("seed", "mode"), [(1, "plain"), (2, "hash"), (3, "domain")])
def test_both_ways_write_the_same(
    provider: str, seed: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "MemoryWriter", Lines)
    decode, tables = TableDecoder.decode, []

    def noted(self: TableDecoder, *arguments: Any) -> Any:
        tables.append(decode(self, *arguments))
        return tables[-1]

    monkeypatch.setattr(TableDecoder, "decode", noted)
    quick = runs(site_of(provider, seed, mode), seed)
    if provider == "encompass":
        # The simulated account has something odd in every second list.
        assert sum(table is not None for table in tables) > len(tables) / 4
        assert None in tables
    tables.clear()
    monkeypatch.setattr(EmailMetricsStream, "fast", False)
    stock = runs(site_of(provider, seed, mode), seed)
    assert not tables
    assert len([line for line in stock if line.startswith(b'{"type":"RECORD"')]) > 50
    assert quick == stock


OPENS = "encompass_opens"
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
    assert (stream.tables("id") is None) is bool(reason)
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
