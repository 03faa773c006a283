"""Generations and accounts of a state, and what a merge must not bring back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.state.generations import (
    check_account,
    new_generation,
    packed,
    unpacked,
    validate_state,
)
from tap_email_metrics.state.streams import StreamState
from tests.support.state import merged

FIRST = new_generation(1_790_000_000.9, "aaaaaa")
SECOND = new_generation(1_790_086_400.0, "bbbbbb")
THIRD = new_generation(1_790_172_800.0, "cccccc")
DAY = 86_400.0
FLAT: dict[str, Any] = {
    "_tap": {"accounts": {"north": "host 12"}, "north": {"kept": [1]}},
    "north_opens": {
        "replication_key": "at",
        "replication_key_value": 7,
        "marks": {"1": "a", "2": "b"},
        "history": [5, 1],
    },
    "north_clicks": {"marks": {"1": "c"}},
}


def written(bookmarks: dict[str, Any], generation: str) -> dict[str, Any]:
    state = {"bookmarks": packed(bookmarks, generation)}
    validate_state(state, ["north_"])
    return json.loads(json.dumps(state))  # type: ignore[no-any-return]


def test_a_written_state_is_read_back_unchanged() -> None:
    state = written(FLAT, FIRST)
    found = unpacked(state["bookmarks"], SECOND, ["north"])
    assert (found.generation, found.bookmarks) == (FIRST, FLAT)
    assert found.changed == []


def test_the_replication_key_stands_where_the_sdk_looks_for_it() -> None:
    entry = written(FLAT, FIRST)["bookmarks"]["north_opens"]
    assert (entry["replication_key"], entry["replication_key_value"]) == ("at", 7)


@pytest.mark.parametrize("read", [0, 1, 2])
def test_old_marks_do_not_come_back_when_states_are_merged(read: int) -> None:
    """A full refresh that paused after some streams keeps no old mark of the others."""
    old = written(FLAT, FIRST)
    new: dict[str, Any] = {"_tap": {}, "north_opens": {}, "north_clicks": {}}
    if read:
        new["north_opens"] = {"marks": {"2": "z"}}
    if read > 1:
        new["north_clicks"] = {"history": [1, 1]}
    found = unpacked(merged(old, written(new, SECOND))["bookmarks"], THIRD, ["north"])
    assert found.generation == SECOND
    assert {k: v for k, v in found.bookmarks.items() if k != "_tap"} == {
        k: v for k, v in new.items() if k != "_tap"
    }
    assert "north" not in found.bookmarks["_tap"]
    assert found.changed == []


def test_of_two_refreshes_in_a_row_the_last_counts() -> None:
    state = merged(written(FLAT, FIRST), written(FLAT, SECOND))
    last = {"_tap": {}, "north_opens": {}, "north_clicks": {"marks": {"9": "x"}}}
    state = merged(state, written(last, THIRD))
    found = unpacked(state["bookmarks"], FIRST, ["north"])
    assert found.bookmarks["north_clicks"] == {"marks": {"9": "x"}}
    assert found.bookmarks["north_opens"] == {}


def test_a_refresh_of_one_stream_leaves_the_others_as_they_are() -> None:
    old = written(FLAT, FIRST)
    new: dict[str, Any] = {
        "_tap": {"accounts": {"north": "host 12"}, "north": {"kept": [2]}},
        "north_clicks": {"marks": {"9": "x"}},
    }
    found = unpacked(merged(old, written(new, SECOND))["bookmarks"], THIRD, ["north"])
    assert found.generation == SECOND
    assert found.bookmarks["north_opens"] == FLAT["north_opens"]
    assert found.bookmarks["north_clicks"] == new["north_clicks"]
    # The older stream must still notice that the account changed.
    assert found.bookmarks["_tap"]["north"] == {"kept": [1]}
    again = merged(written(FLAT, FIRST), written(found.bookmarks, SECOND))
    found = unpacked(again["bookmarks"], THIRD, ["north"])
    assert found.bookmarks["north_clicks"] == new["north_clicks"]
    assert found.bookmarks["north_opens"] == FLAT["north_opens"]


def test_a_refresh_of_one_stream_keeps_the_account_of_the_others() -> None:
    other: dict[str, Any] = {
        "_tap": {"accounts": {"north": "host 13"}},
        "north_clicks": {},
    }
    state = merged(written(FLAT, FIRST), written(other, SECOND))
    found = unpacked(state["bookmarks"], THIRD, ["north"])
    assert found.accounts == {"north": {"host 12", "host 13"}}
    state = merged(state, written({**other, "north_opens": {}}, THIRD))
    found = unpacked(state["bookmarks"], FIRST, ["north"])
    assert found.accounts == {"north": {"host 13"}}


def test_marks_of_an_old_version_do_not_come_back_in_a_merge() -> None:
    old = {"bookmarks": {**FLAT, "_tap": {"version": 1, "north": {"kept": [1]}}}}
    new = {"_tap": {}, "north_opens": {"history": [3, 3]}, "north_clicks": {}}
    found = unpacked(merged(old, written(new, SECOND))["bookmarks"], THIRD, ["north"])
    assert found.generation == SECOND
    assert found.bookmarks["north_opens"] == {"history": [3, 3]}
    assert found.bookmarks["north_clicks"] == {}
    assert "north" not in found.bookmarks["_tap"]


def test_a_state_of_version_1_is_taken_over_in_full() -> None:
    old = {**FLAT, "_tap": {"version": 1, "north": {"kept": [1]}}}
    found = unpacked(old, FIRST, ["north"])
    assert found.generation == FIRST
    assert found.bookmarks == {**old, "_tap": {"north": {"kept": [1]}}}


def test_a_new_state_merged_with_a_later_one_of_version_1_is_ignored() -> None:
    new = {"bookmarks": {**FLAT, "_tap": {"version": 1}}}
    state = merged(written(FLAT, FIRST), new)
    found = unpacked(state["bookmarks"], SECOND, ["north"])
    assert found.bookmarks["north_clicks"] == FLAT["north_clicks"]


def test_a_stream_that_begins_anew_does_not_get_its_old_marks_back() -> None:
    """`--merge-state` with a start_date that moved back."""
    old = written(FLAT, FIRST)
    found = unpacked(old["bookmarks"], SECOND, ["north"]).bookmarks
    entry = found["north_clicks"]
    state: StreamState[Any, Any] = StreamState("north_clicks", entry, None)
    state.begin_at(DAY)
    assert state.begin_at(0)
    again = merged(old, written(found, FIRST))
    found = unpacked(again["bookmarks"], SECOND, ["north"]).bookmarks
    assert "marks" not in found["north_clicks"]
    assert found["north_opens"] == FLAT["north_opens"]
    state = StreamState("north_clicks", found["north_clicks"], None)
    assert state.begin_at(-DAY)
    assert written(found, FIRST)["bookmarks"]["north_clicks"]["generation"].endswith(
        ".2"
    )


def test_a_backfill_gets_no_marks_of_another_interval_back() -> None:
    entry: dict[str, Any] = {}
    state: StreamState[Any, Any] = StreamState("north_opens", entry, None)
    state.backfill(0, DAY).write("cycle", "done")
    old = written({"north_opens": entry}, FIRST)
    entry = json.loads(json.dumps(entry))
    state = StreamState("north_opens", entry, None)
    state.backfill(0, 2 * DAY)
    again = merged(old, written({"north_opens": entry}, FIRST))
    [entry] = [
        part
        for name, part in unpacked(
            again["bookmarks"], FIRST, ["north"]
        ).bookmarks.items()
        if name == "north_opens"
    ]
    state = StreamState("north_opens", entry, None)
    assert state.backfill(0, 2 * DAY).read("cycle", str) is None


def test_a_backfill_of_version_1_goes_on() -> None:
    interval = ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"]
    entry = {"backfill": {"interval": interval, "cycle": "here"}}
    state: StreamState[Any, Any] = StreamState("north_opens", entry, None)
    assert state.backfill(0, DAY).read("cycle", str) == "here"


@pytest.mark.parametrize("value", [6, 8, None])
def test_a_replication_key_changed_by_hand_is_noticed(value: int | None) -> None:
    state = written(FLAT, FIRST)
    entry = state["bookmarks"]["north_opens"]
    del entry["replication_key_value"]
    if value is not None:
        entry["replication_key_value"] = value
    found = unpacked(state["bookmarks"], SECOND, ["north"])
    assert found.changed == ["north_opens"]
    assert found.bookmarks == FLAT


@pytest.mark.parametrize(
    ("tap", "place"),
    [
        ({"version": 2}, "_tap.generation"),
        ({"version": 2, "generation": 5}, "_tap.generation"),
        ({"version": 2, "generation": FIRST, FIRST: []}, f"_tap.{FIRST}"),
        (
            {"version": 2, "generation": FIRST, FIRST: {"accounts": []}},
            f"_tap.{FIRST}.accounts",
        ),
        (
            {"version": 2, "generation": FIRST, FIRST: {"accounts": {"a": 1}}},
            f"_tap.{FIRST}.accounts",
        ),
    ],
)
def test_a_damaged_place_in_the_state_is_named(tap: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput, match=place):
        validate_state({"bookmarks": {"_tap": tap}}, ["north_"])
    damaged = {"_tap": {}, "north_opens": {"generation": FIRST, FIRST: 5}}
    with pytest.raises(InvalidInput, match=f"north_opens.{FIRST}"):
        validate_state({"bookmarks": damaged}, ["north_"])


def test_the_state_of_another_account_is_refused_with_both_names_and_the_way_out() -> (
    None
):
    check_account({"host 12"}, "north", "host 12")
    with pytest.raises(InvalidInput) as caught:
        check_account({"host 12"}, "north", "host 13")
    said = str(caught.value)
    for part in ("host 12", "host 13", "--full-refresh", "remove north from"):
        assert part in said


def test_a_state_without_an_account_fits_any_account() -> None:
    old = {**FLAT, "_tap": {"version": 1}}
    check_account(unpacked(old, FIRST, ["north"]).accounts["north"], "north", "host 13")


def test_an_account_that_the_api_has_not_named_yet_fits_its_state() -> None:
    """The state keeps the name, which is the last word."""
    assert check_account({"host 12 a"}, "north", "host 12") == "host 12 a"
    assert check_account({"host 12"}, "north", "host 12 a") == "host 12 a"
    assert check_account([], "north", "host 12") == "host 12"
    for known, own in ({"host 12 a"}, "host 12 b"), ({"host 12 a"}, "host 13"):
        with pytest.raises(InvalidInput):
            check_account(known, "north", own)


# The whole state


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"bookmarks": {}},
        {"bookmarks": {"_tap": {}}},
        {"bookmarks": {"_tap": {"version": 1}, "encompass_opens": {}}},
        {"bookmarks": {"encompass_gone": {"marks": {}}}},
        {"bookmarks": {}, "other": 1},
    ],
    ids=json.dumps,
)
def test_a_state_of_this_tap_is_accepted(state: dict[str, Any]) -> None:
    validate_state(state, ["encompass_"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"bookmarks": None}, "damaged at bookmarks."),
        ({"bookmarks": []}, "damaged at bookmarks."),
        ({"bookmarks": {"_tap": 5}}, "damaged at bookmarks._tap."),
        ({"bookmarks": {"_tap": {"version": "1"}}}, "bookmarks._tap.version"),
        ({"bookmarks": {"_tap": {"version": True}}}, "bookmarks._tap.version"),
        ({"bookmarks": {"_tap": {"version": None}}}, "bookmarks._tap.version"),
        ({"bookmarks": {"_tap": {"version": 2}}}, "bookmarks._tap.generation"),
        ({"bookmarks": {"_tap": {"version": 3}}}, "newer tap-email-metrics"),
        ({"bookmarks": {"encompass_opens": []}}, "bookmarks.encompass_opens"),
        ({"bookmarks": {"encompass_opens": None}}, "bookmarks.encompass_opens"),
        ({"bookmarks": {"users": {}}}, "bookmarks.users is not a stream"),
        ({"bookmarks": {"encompass": {}}}, "bookmarks.encompass is not a stream"),
    ],
    ids=json.dumps,
)
def test_a_state_of_another_tap_is_refused(state: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_state(state, ["encompass_"])
    assert words in str(caught.value)
