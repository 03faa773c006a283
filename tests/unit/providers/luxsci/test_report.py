"""Decoding a report in chunks: shapes, cuts, and bodies that are not a report."""

from __future__ import annotations

import contextlib
import itertools
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_email_metrics.errors import NotUnderstood, Retriable
from tap_email_metrics.providers.luxsci import report as module
from tap_email_metrics.providers.luxsci.report import ROWS_AT_ONCE, Report
from tap_email_metrics.transport.bounds import TooLong

if TYPE_CHECKING:
    from collections.abc import Iterator

PROPERTY = settings(deadline=None, max_examples=200)
COLUMNS = {"opens": "Opens", "to": "to", "date_sent": "date_sent"}
NAMES = ["TO", "opens", "Date_Sent", "code_word"]
KNOWN = ["to", "Opens", "date_sent", "code_word"]
VALUES: list[list[Any]] = [
    ["a@x.example", 3, "2026-09-01 10:00:00", None],
    ['é\U0001f389 \\" ]}', "-1", "", {"a": [1, "]"]}],
    [None, 2.5, "0000-00-00 00:00:00", [[], {}]],
]
ROWS = [dict(zip(KNOWN, values, strict=True)) for values in VALUES]


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))


def decoded(body: bytes, size: int = 7) -> tuple[Report, list[Any]]:
    found = Report(pieces(body, size), COLUMNS)
    return found, [row for rows in found.rows() for row in rows]


def before_cut(found: Report) -> list[Any]:
    """Return the rows that are decoded before the body ends too early."""
    got: list[Any] = []
    try:
        for rows in found.rows():
            got += rows
    except Retriable:
        return got
    raise AssertionError("it was not noticed")


def encoded(parts: dict[str, Any]) -> bytes:
    return json.dumps(parts, ensure_ascii=False).encode()


# Shapes

SHAPES: list[Any] = list(
    itertools.product(
        ("arrays", "objects"),
        ("strings", "objects"),
        ("top", "data"),  # the header
        ("before", "after"),
        ("list", "object"),  # data
        ("data", "rows", "results", "items", "records"),
        ((None, None), ("count", 3), ("total", "3"), ("total_rows", 3.0)),
    )
)


def shaped(  # noqa: PLR0913, PLR0917 - one argument a choice
    rows: str,
    entries: str,
    header_at: str,
    place: str,
    data: str,
    rows_name: str,
    count: tuple[str | None, Any],
    *,
    count_at: str,
) -> bytes | None:
    """Return the body of a combination, or None if the combination is impossible."""
    if data == "list" and (header_at == "data" or count_at == "data"):
        return None
    if data == "object" and rows_name == "data":
        return None
    shown: Any = VALUES
    if rows == "objects":
        shown = [dict(zip(NAMES, values, strict=True)) for values in VALUES]
    header = [{"name": name} if entries == "objects" else name for name in NAMES]
    top: list[tuple[str, Any]] = [("success", 1), ("comment", {"rows": "x"})]
    inner: list[tuple[str, Any]] = [(rows_name, shown)]
    if count[0]:
        (top if count_at == "top" else inner).append((count[0], count[1]))
    if header_at == "data":
        inner.insert(0 if place == "before" else len(inner), ("header", header))
    middle = dict(inner) if data == "object" else shown
    around = [("data" if data == "object" else rows_name, middle)]
    if header_at == "top":
        around.insert(0 if place == "before" else 1, ("header", header))
    return encoded(dict([*around, *top] if place == "after" else [*top, *around]))


@pytest.mark.parametrize("count_at", ["top", "data"])
@pytest.mark.parametrize("size", [1, 64, 10**6])
def test_every_combination_of_shapes_gives_the_same_rows(
    size: int, count_at: str
) -> None:
    seen = 0
    for shape in SHAPES:
        body = shaped(*shape, count_at=count_at)
        if body is None:
            continue
        found, rows = decoded(body, size)
        assert rows == ROWS, shape
        assert found.count == (3 if shape[-1][0] else None), shape
        assert not found.failed
        assert found.is_one
        seen += 1
    assert seen > 100


@pytest.mark.parametrize("key", ["name", "keyword", "key", "column", "field", "id"])
def test_a_header_may_be_a_list_of_objects(key: str) -> None:
    header = [{"type": 1, key: name} for name in NAMES]
    assert decoded(encoded({"header": header, "data": VALUES}))[1] == ROWS


@pytest.mark.parametrize("header", [[None], [{"x": 1}], ["a", "a"]])
def test_a_header_with_odd_names_keeps_every_value(header: list[Any]) -> None:
    row = [7, 9][: len(header)]
    _, rows = decoded(encoded({"header": header, "data": [row]}))
    assert [*rows[0].values()] == row


@pytest.mark.parametrize("header", ["to", 7, {"0": "to"}])
def test_a_header_that_is_not_a_list_is_not_understood(header: Any) -> None:
    with pytest.raises(NotUnderstood, match="not a list"):
        decoded(encoded({"header": header, "data": [[1]]}))


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_null_header_is_accepted_if_rows_are_objects(place: str) -> None:
    parts: dict[str, Any] = {"header": None, "data": [{"TO": "a"}], "success": 1}
    if place == "after":
        parts = dict(reversed(parts.items()))
    assert decoded(encoded(parts))[1] == [{"to": "a"}]
    parts["data"] = [["a"]]
    with pytest.raises(NotUnderstood, match="without a header"):
        decoded(encoded(parts))


def test_rows_that_are_lists_need_a_header() -> None:
    with pytest.raises(NotUnderstood, match="without a header"):
        decoded(encoded({"success": 1, "data": [["a"]], "count": 1}))


def test_a_row_longer_or_shorter_than_the_header_has_no_record() -> None:
    """It is not known which of its values belongs to which column."""
    rows = [["a"], ["b", 1, "x", "y"], [], ["c", 2]]
    body = encoded({"header": ["TO", "opens"], "data": rows})
    assert decoded(body)[1] == [None, None, None, {"to": "c", "Opens": 2}]


def test_rows_that_are_objects_may_have_different_names() -> None:
    body = encoded({"data": [{"TO": "a"}, {"opens": 2, "New": 1}, {"to": "b"}]})
    assert decoded(body)[1] == [{"to": "a"}, {"Opens": 2, "New": 1}, {"to": "b"}]


def test_an_entry_that_is_not_a_row_still_counts() -> None:
    body = encoded({"header": ["to"], "data": [None, 7, "x", ["a"]]})
    assert decoded(body)[1] == [None, None, None, {"to": "a"}]


# Counts

COUNTS = [
    *("count", "total", "total_count", "total_rows", "total_matches", "matches"),
    *("num_rows", "n_rows", "rows"),
]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [7, "7", 7.0])
@pytest.mark.parametrize("where", ["top", "data"])
def test_an_answer_without_rows_may_hold_a_count(
    name: str, value: Any, where: str
) -> None:
    part = {name: value}
    body = {"success": 1, **part} if where == "top" else {"success": 1, "data": part}
    found, rows = decoded(encoded(body), 1)
    assert found.sole_count() == 7
    assert rows == []


@pytest.mark.parametrize(
    "data", [7, "7", [[7]], [{"n": 7}], {"header": ["n"], "rows": [["7"]]}]
)
def test_the_count_may_be_the_only_value_of_the_data(data: Any) -> None:
    found = Report([encoded({"header": ["n"], "data": data})], COLUMNS)
    assert found.sole_count() == 7


@pytest.mark.parametrize("value", [None, -1, "x", True, [], 7.5])
def test_an_unreadable_count_is_unknown(value: Any) -> None:
    found = Report([encoded({"success": 1, "count": value})], COLUMNS)
    assert found.count is None


def test_the_first_of_two_counts_is_used() -> None:
    body = {"count": 4, "data": {"rows": [], "count": 9}}
    assert decoded(encoded(body))[0].count == 4


# Chunks


@PROPERTY
@given(st.lists(st.integers(1, 30), max_size=60), st.sampled_from(SHAPES))
def test_chunks_may_end_anywhere(sizes: list[int], shape: Any) -> None:
    body = shaped(*shape, count_at="top")
    if body is None:
        return
    chunks, at = [], 0
    for size in sizes:
        chunks.append(body[at : at + size])
        at += size
    found = Report([*chunks, b"", body[at:]], COLUMNS)
    assert [row for rows in found.rows() for row in rows] == ROWS
    assert found.count == (3 if shape[-1][0] else None)


@pytest.mark.parametrize("number", ["1.5e3", "-0.25", "1E5", "120", "2.0"])
def test_a_chunk_may_end_within_a_number(number: str) -> None:
    body = f'{{"success":1,"x":{number},"count":{number}}}'.encode()
    for at in range(len(body)):
        found = Report([body[:at], body[at:]], COLUMNS)
        assert found.about["x"] == float(number), at
        assert list(found.rows()) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(JSON, min_size=4, max_size=4), max_size=3), st.booleans())
def test_any_value_is_decoded(values: list[list[Any]], ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps({"header": NAMES, "data": values}, ensure_ascii=ascii_only)
    wanted = [dict(zip(KNOWN, row, strict=True)) for row in values]
    assert decoded(text.encode(), 3)[1] == wanted


# Cut bodies, garbage, and bodies that are not a report

BODY = encoded(
    {"success": 1, "header": NAMES, "data": {"rows": VALUES, "total": 3}, "x": 12}
)


@pytest.mark.parametrize("size", [1, 40])
def test_a_cut_body_is_noticed_wherever_it_is_cut(size: int) -> None:
    for at in range(len(BODY)):
        try:
            got = before_cut(Report(pieces(BODY[:at], size), COLUMNS))
        except Retriable:
            continue
        assert got == ROWS[: len(got)]  # never a part of a row


def test_rows_before_a_cut_are_decoded() -> None:
    rows = [[n, n] for n in range(3 * ROWS_AT_ONCE)]
    body = encoded({"header": ["to", "opens"], "data": rows})
    got = before_cut(Report(pieces(body[:-5], 100), COLUMNS))
    assert len(got) >= 2 * ROWS_AT_ONCE
    assert [row["to"] for row in got] == list(range(len(got)))


NO_REPORTS = [
    *(b"", b" ", b"[]", b"null", b"7", b'"x"', b"<html>Oops</html>", b"{", b"{]"),
    *(b'{"success"}', b'{"success":', b'{"success":1', b"\xff\xfe{}", b"{'a':1}"),
    *(b'{"data":[[1]', b'{"data":[{"a":1}}', b'{"data":[tru]}', b'{"a":tru}'),
    *(b'{"count":12', b'{"a":1.}', b'{"a":--1}', b'{"data":{"rows":[]}'),
]


@pytest.mark.parametrize("body", NO_REPORTS)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_that_is_not_json_is_retriable(body: bytes, size: int) -> None:
    with pytest.raises(Retriable):
        decoded(body, size)


@pytest.mark.parametrize("body", [{}, {"a": 1}, {"error": "x"}, {"header": ["to"]}])
def test_json_without_data_is_not_a_report(body: Any) -> None:
    assert not decoded(encoded(body))[0].is_one


@pytest.mark.parametrize("data", [None, [], {}, "", {"rows": []}, {"rows": None}])
def test_empty_data_is_an_empty_report(data: Any) -> None:
    for extra in ({}, {"header": NAMES}, {"count": 0}):
        found, rows = decoded(encoded({"success": 1, "data": data, **extra}))
        assert rows == []
        assert found.is_one
        assert found.count in {None, 0}


@pytest.mark.parametrize("value", [0, "0", False, None, "no"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_an_unknown_value_of_success_is_a_failure(value: Any, place: str) -> None:
    parts = {"success": value, "data": [{"to": 1}] if place == "last" else None}
    if place == "last":
        parts = dict(reversed(parts.items()))
    assert decoded(encoded(parts))[0].failed


@pytest.mark.parametrize("value", [1, "1", True, 1.0])
def test_every_known_spelling_of_success_is_accepted(value: Any) -> None:
    assert not decoded(encoded({"success": value, "data": []}))[0].failed


def test_bytes_that_are_not_utf_8_cost_one_character() -> None:
    body = b'\xef\xbb\xbf{"data":[{"to":"a\xffb"},{"to":"\xc3\xa9"}]}'
    for size in (1, 2, 100):
        assert decoded(body, size)[1] == [{"to": "a\ufffdb"}, {"to": "é"}]


def test_lone_surrogates_and_control_characters_are_kept() -> None:
    body = b'{"data":[{"to":"\\ud83d"},{"to":"\\ud83d\\ude00"},{"to":"\x01\\u0000"}]}'
    for size in (1, 5, 100):
        values = [row["to"] for row in decoded(body, size)[1]]
        assert values == ["\ud83d", "\U0001f600", "\x01\x00"]


def test_nan_and_infinity_become_text() -> None:
    body = b'{"data":[{"a":NaN,"b":Infinity,"c":-Infinity,"d":1e999}]}'
    for size in (1, 100):
        [row] = decoded(body, size)[1]
        assert (row["a"], row["b"], row["c"]) == ("NaN", "Infinity", "-Infinity")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_retriable_and_not_a_crash(opening: bytes) -> None:
    for body in (
        b'{"x":' + opening * 200_000,
        b'{"data":[' + opening * 200_000,
        b'{"header":' + opening * 200_000,
    ):
        with pytest.raises(Retriable):
            decoded(body, 65_536)


def test_an_endless_value_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_TEXT", 10_000)
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b'{"data":[{"to":"'
        while True:
            taken += 1000
            yield b"x" * 1000

    with pytest.raises(TooLong, match="a value of more than"):
        Report(endless(), COLUMNS)
    assert taken < 30_000


def test_a_value_of_3_mb_is_decoded() -> None:
    text = "x" * 3_000_000
    [row] = decoded(encoded({"data": [{"to": text}]}), 65_536)[1]
    assert row["to"] == text


def test_a_number_of_5000_digits_is_retriable_and_not_a_crash() -> None:
    body = b'{"data":[{"to":' + b"9" * 5000 + b"}]}"
    with pytest.raises(Retriable):
        decoded(body, 65_536)


@PROPERTY
@given(st.binary(max_size=60), st.integers(0, len(BODY)))
@example(b"\x00", 5)
def test_any_garbage_is_a_report_or_an_expected_error(junk: bytes, at: int) -> None:
    body = BODY[:at] + junk + BODY[at + len(junk) :]
    with contextlib.suppress(Retriable, NotUnderstood):
        decoded(body, 11)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["arrays", "objects"])
def test_fifty_thousand_rows_are_never_all_in_memory(rows: str) -> None:
    one: Any = {"to": "patient@example.org", "opens": 1}
    text = json.dumps([*one.values()] if rows == "arrays" else one).encode()

    def chunks() -> Iterator[bytes]:
        yield b'{"success":1,"header":["to","opens"],"data":['
        for _ in range(100):
            yield b",".join([text] * 500) + b","
        yield text + b'],"count":50001}'

    tracemalloc.start()
    found = Report(chunks(), COLUMNS)
    number = 0
    for some in found.rows():
        number += len(some)
        assert some[-1] == {"to": "patient@example.org", "Opens": 1}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == found.count == 50_001
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        (["to", "TO"], {"to": 1, "TO": 2}),
        (["TO", "to"], {"TO": 1, "to": 2}),
        (["OPENS", "opens"], {"Opens": 1, "opens": 2}),
        (["to", "to"], {"to": 1, "column_2": 2}),
        (["", ""], {"": 1, "column_2": 2}),
    ],
)
@pytest.mark.parametrize("as_objects", [False, True])
def test_header_names_that_differ_in_case_keep_both_values(
    labels: list[str],
    row: dict[str, int],
    *,
    as_objects: bool,
) -> None:
    if as_objects and len({*labels}) < len(labels):
        pytest.skip("an object has each name once")
    values: Any = dict(zip(labels, (1, 2), strict=True)) if as_objects else [1, 2]
    _, rows = decoded(encoded({"header": labels, "data": [values]}))
    assert rows == [row]
