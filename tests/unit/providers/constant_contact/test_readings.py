"""Snapshot readings that wait to be written: the last of each list is kept."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.constant_contact.readings import PENDING, Readings
from tap_email_metrics.state.streams import StreamState

NAME = "constant_contact_snapshots"
ONE, OTHER = str(uuid.UUID(int=1)), "not-a-uuid"
EARLY, LATE = "2026-09-21T14:13:20.000Z", "2026-09-22T14:13:20.250Z"


def state(entry: dict[str, Any] | None = None) -> StreamState[Any, Any]:
    return StreamState(NAME, {} if entry is None else entry, None)


def test_the_last_reading_of_each_list_is_kept() -> None:
    """The state does not grow with the number of reads."""
    entry: dict[str, Any] = {}
    readings = Readings(state(entry))
    for as_of in (EARLY, LATE):
        for report in ("links", "unique_opens"):
            readings.add(report, ONE, as_of, 3)
            readings.add(report, OTHER, as_of, 0)
    kept = [*Readings(state(json.loads(json.dumps(entry))))]
    assert kept == [
        ("links", ONE, LATE, 3),
        ("links", OTHER, LATE, 0),
        ("unique_opens", ONE, LATE, 3),
        ("unique_opens", OTHER, LATE, 0),
    ]


def test_adding_a_reading_does_not_read_the_others() -> None:
    """The state is read once, however many readings there are."""
    reads: list[str] = []

    class Counted(StreamState[Any, Any]):
        def read(self, key: str, convert: Any) -> Any:
            reads.append(key)
            return super().read(key, convert)

    kept = Counted(NAME, {}, None)
    readings = Readings(kept)
    before = len(reads)
    for number in range(1000):
        readings.add("links", str(number), LATE, number)
    assert len(reads) == before
    assert len([*readings]) == 1000


def test_a_reading_takes_at_most_55_bytes_of_state() -> None:
    entry: dict[str, Any] = {}
    readings = Readings(state(entry))
    for number in range(100):
        readings.add("links", str(uuid.UUID(int=number)), LATE, 100_000)
    assert len(json.dumps(entry)) < 55 * 100


def test_readings_of_state_version_1_are_taken_over() -> None:
    old = {PENDING: [["links", ONE, EARLY, 3], ["links", ONE, LATE, 4]]}
    assert [*Readings(state(old))] == [("links", ONE, LATE, 4)]


def test_readings_are_forgotten_when_their_records_are_written() -> None:
    entry: dict[str, Any] = {}
    readings = Readings(state(entry))
    readings.add("links", ONE, LATE, 1)
    readings.clear()
    assert not entry[PENDING]
    assert [*readings] == []
    readings.add("links", ONE, LATE, 2)
    assert [*Readings(state(entry))] == [("links", ONE, LATE, 2)]


@pytest.mark.parametrize(
    "value",
    [7, {"links": 7}, {"links": {ONE: "A"}}, {"links": {ONE: "A.§"}}, [["links"]]],
)
def test_damaged_readings_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="pending"):
        Readings(state({PENDING: value}))
