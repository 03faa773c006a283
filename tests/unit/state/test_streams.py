"""The state of a stream, with Encompass's marks as an example of a mark format."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import DAY, from_iso, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.encompass.schedule import NUMBERED, Mark
from tap_email_metrics.state.streams import StreamState
from tests.support.marks import marks

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
NAME = "encompass_opens"
SETTLED = Mark(rows=1, last_id=1, checked=NOW, order="a")
PROPERTY = settings(deadline=None)


def fresh(**entry: Any) -> StreamState[int, Mark]:
    return StreamState(NAME, entry, NUMBERED)


def test_state_is_the_same_after_json() -> None:
    entry: dict[str, Any] = {}
    state = StreamState(NAME, entry, NUMBERED)
    state.set_mark(7, SETTLED)
    state.set_mark(8, SETTLED)
    state.set_mark(8, None)
    state.set_mark(9, None)
    state.set_history((1_790_000_000_123, 4))
    state.set_swept(20_000)
    state.set_digests("QUJD")
    state.set_checked_through(NOW)
    state.promote("date_added", 5)
    state.acknowledge((NOW - DAY, NOW))
    again = StreamState(NAME, json.loads(json.dumps(entry)), NUMBERED)
    assert again.marks == state.marks
    assert list(again.marks) == [7]
    assert again.history == state.history == (1_790_000_000_123, 4)
    assert again.swept == state.swept == 20_000
    assert again.digests == state.digests == "QUJD"
    assert again.checked_through == state.checked_through == NOW
    assert again.knows((NOW - DAY, NOW))
    assert entry["gaps"] == [[iso(NOW - DAY), iso(NOW)]]
    assert entry["replication_key"] == "date_added"
    assert entry["replication_key_value"] == 5


@given(marks)
@PROPERTY
def test_a_mark_is_the_same_for_this_run_and_the_next(mark: Mark) -> None:
    entry: dict[str, Any] = {}
    state = StreamState(NAME, entry, NUMBERED)
    state.set_mark(1, mark)
    assert StreamState(NAME, entry, NUMBERED).marks == state.marks


def test_a_state_whose_keys_are_null_counts_as_empty() -> None:
    keys = ("marks", "history", "swept", "gaps", "backfill", "digests")
    entry: dict[str, Any] = dict.fromkeys((*keys, "checked_through"))
    state = StreamState(NAME, entry, NUMBERED)
    assert state.marks == {}
    assert state.checked_through is None
    state.set_mark(1, SETTLED)
    state.acknowledge((0, 1))
    state.backfill(0, DAY).set_mark(1, SETTLED)
    again = StreamState(NAME, entry, NUMBERED)
    assert list(again.marks) == list(again.backfill(0, DAY).marks) == [1]


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"marks": []}, ".marks"),
        ({"marks": {"7": "?"}}, ".marks.7"),
        ({"marks": {"x": "1...a0"}}, ".marks.x"),
        ({"marks": {"7": 5}}, ".marks.7"),
        ({"marks": {"7": None}}, ".marks.7"),
        ({"marks": {"7": {}}}, ".marks.7"),
        ({"history": {}}, ".history"),
        ({"history": [1]}, ".history"),
        ({"history": ["x", 1]}, ".history"),
        ({"history": [0, None]}, ".history"),
        ({"history": [0, float("inf")]}, ".history"),
        ({"gaps": "x"}, ".gaps"),
        ({"gaps": [1]}, ".gaps"),
        ({"gaps": [["2026-01-01"]]}, ".gaps"),
        ({"gaps": [["2026-01-01", 5]]}, ".gaps"),
        ({"gaps": [["2026-01-01", "x"]]}, ".gaps"),
        ({"checked_through": "x"}, ".checked_through"),
        ({"checked_through": 5}, ".checked_through"),
        ({"swept": "x"}, ".swept"),
        ({"swept": True}, ".swept"),
        ({"swept": 1.5}, ".swept"),
        ({"backfill": []}, ".backfill"),
        ({"digests": 5}, ".digests"),
        ({"digests": "é"}, ".digests"),
        ({"digests": "A"}, ".digests"),
    ],
    ids=json.dumps,
)
def test_a_damaged_entry_is_named(entry: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        StreamState(NAME, entry, NUMBERED)
    assert f"damaged at bookmarks.{NAME}{key}" in str(caught.value)


def test_a_damaged_entry_of_a_backfill_is_named_with_its_interval() -> None:
    interval = [iso(0), iso(DAY)]
    entry = {"backfill": {"interval": interval, "marks": {"7": "?"}}}
    with pytest.raises(InvalidInput) as caught:
        StreamState(NAME, entry, NUMBERED).backfill(0, DAY)
    place = f"bookmarks.{NAME}.backfill.{'/'.join(interval)}.marks.7"
    assert place in str(caught.value)


@given(st.lists(st.none() | st.integers(-5, 5), max_size=8))
@PROPERTY
def test_the_bookmark_never_goes_back(values: list[int | None]) -> None:
    entry: dict[str, Any] = {}
    seen = []
    for value in values:
        StreamState(NAME, entry, NUMBERED).promote("date_added", value)
        seen += [] if value is None else [value]
        assert entry.get("replication_key_value") == max(seen, default=None)
        assert entry["replication_key"] == "date_added"


spans = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(
    lambda span: (span[0] * 60.0, (span[0] + span[1]) * 60.0)
)


@given(st.lists(spans, max_size=10))
@PROPERTY
def test_gaps_that_touch_are_joined_and_others_kept_apart(
    gaps: list[tuple[float, float]],
) -> None:
    entry: dict[str, Any] = {}
    for number, gap in enumerate(gaps):
        state = StreamState(NAME, entry, NUMBERED)
        before = gaps[:number]
        state.acknowledge(gap)
        assert state.knows(gap)
        kept = [(from_iso(start), from_iso(end)) for start, end in entry["gaps"]]
        for one, two in pairwise(kept):
            assert one[0] <= one[1] < two[0] <= two[1]
        for wanted in (*before, gap):
            assert any(s <= wanted[0] and wanted[1] <= e for s, e in kept)
        assert {s for s, _ in kept} <= {s for s, _ in (*before, gap)}
        assert {e for _, e in kept} <= {e for _, e in (*before, gap)}


def test_a_gap_that_grew_by_more_than_a_day_is_a_new_gap() -> None:
    state = fresh()
    assert not state.knows((10 * DAY, 20 * DAY))
    state.acknowledge((10 * DAY, 20 * DAY))
    assert state.knows((10 * DAY, 20 * DAY))
    assert state.knows((9 * DAY, 21 * DAY))
    assert not state.knows((10 * DAY, 21 * DAY + 1))
    assert not state.knows((9 * DAY - 1, 20 * DAY))


def test_an_earlier_start_begins_anew_and_a_later_one_does_not() -> None:
    entry: dict[str, Any] = {}
    for start, moved in ((NOW, False), (NOW, False), (NOW + DAY, False)):
        assert StreamState(NAME, entry, NUMBERED).begin_at(start) is moved
    state = StreamState(NAME, entry, NUMBERED)
    state.set_mark(1, SETTLED)
    state.set_history((1, 1))
    state.set_digests("QUJD")
    state.set_swept(5)
    state.promote("date_added", 5)
    assert state.begin_at(NOW)
    for seen in (state, StreamState(NAME, entry, NUMBERED)):
        assert (seen.marks, seen.history, seen.digests) == ({}, None, "")
        assert seen.swept == 5
    assert entry["replication_key_value"] == 5
    assert state.begin_at(None)
    assert not state.begin_at(None)


def test_sweeps_that_lacked_parents_are_repeated_from_where_they_were() -> None:
    entry: dict[str, Any] = {}
    state = StreamState(NAME, entry, NUMBERED)
    state.note_parents(whole=False)
    assert entry == {}
    state.set_swept(5, (7, 1))
    for day in (6, 8):
        state.note_parents(whole=False)
        state.set_swept(day, (9, 2))
    again = StreamState(NAME, json.loads(json.dumps(entry)), NUMBERED)
    for swept, place in ((5, (7, 1)), (10, None)):
        again.note_parents(whole=True)
        assert (again.swept, again.sweeping) == (swept, place)
        again.set_swept(10)


def test_a_backfill_has_marks_of_its_own() -> None:
    entry: dict[str, Any] = {}
    state = StreamState(NAME, entry, NUMBERED)
    state.set_mark(1, SETTLED)
    live = json.dumps(entry)
    side = state.backfill(0, DAY)
    side.set_mark(2, SETTLED)
    side.set_history((5, 6))
    assert list(state.marks) == [1]
    assert state.history is None
    again = StreamState(NAME, json.loads(json.dumps(entry)), NUMBERED).backfill(0, DAY)
    assert list(again.marks) == [2]
    assert again.history == (5, 6)
    entry.pop("backfill")
    assert json.dumps(entry) == live


def test_a_backfill_of_another_interval_starts_anew() -> None:
    state = fresh()
    state.backfill(0, DAY).set_mark(2, SETTLED)
    assert state.backfill(0, 2 * DAY).marks == {}
    assert state.backfill(0, DAY).marks == {}
