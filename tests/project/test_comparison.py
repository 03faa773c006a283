"""The comparison of the demo finds every kind of difference."""

from __future__ import annotations

import pytest

from tests.support.comparison import Comparison, Row
from tests.support.comparison import compare as compare_all

KEY = ("account", "id")
TRUTH: list[Row] = [
    {"account": "a", "id": 1, "name": "é", "additional_fields": {"b": 1, "a": None}},
    {"account": "a", "id": 2, "name": None, "additional_fields": None},
]


def compare(held: list[Row]) -> tuple[str, ...]:
    return Comparison.of(held, TRUTH, KEY).differences


def test_rows_are_equal_in_any_order_of_rows_and_columns() -> None:
    shuffled = [dict(reversed(row.items())) for row in reversed(TRUTH)]
    assert compare(shuffled) == ()
    assert Comparison.of(shuffled, TRUTH, KEY) == Comparison(2, 2, ())


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (TRUTH[:1], ["1 only in the truth: ('a', 2)"]),
        ([*TRUTH, {**TRUTH[0], "id": 3}], ["1 only in the target: ('a', 3)"]),
        ([*TRUTH, TRUTH[0]], ["1 rows share a key in the target"]),
        (
            [TRUTH[0], {**TRUTH[1], "name": ""}],
            ["1 with other values: ('a', 2)", "('a', 2): name is '', not None"],
        ),
        (
            [TRUTH[0], {k: v for k, v in TRUTH[1].items() if k != "name"}],
            [
                "1 with other values: ('a', 2)",
                "('a', 2): column name is not in the target",
            ],
        ),
        (
            [TRUTH[0], {**TRUTH[1], "more": 1}],
            [
                "1 with other values: ('a', 2)",
                "('a', 2): column more is not in the truth",
            ],
        ),
    ],
)
def test_a_difference_is_named(held: list[Row], expected: list[str]) -> None:
    assert list(compare(held)) == expected


def test_an_empty_target_lacks_every_row() -> None:
    assert compare([]) == ("2 only in the truth: ('a', 1), ('a', 2)",)


def test_only_the_last_complete_reading_of_a_snapshot_is_compared() -> None:
    links = "constant_contact_links"
    keys = {links: ("campaign_activity_id", "url_id")}

    def world(*links_of: tuple[str, int, str], read: str) -> dict[str, list[Row]]:
        names = ("url_id", "unique_clicks", "as_of")
        at = {"campaign_activity_id": "a"}
        rows = [{**at, **dict(zip(names, one, strict=True))} for one in links_of]
        reading = {**at, "report": "links", "as_of": read}
        return {links: rows, "constant_contact_snapshots": [reading]}

    truth = world(("x", 2, "T2"), ("gone", 1, "T1"), read="T2")
    held = world(("x", 2, "T3"), ("gone", 1, "T0"), read="T3")
    assert compare_all(held.__getitem__, truth.__getitem__, keys)[links] == Comparison(
        1, 1, ()
    )
    late = world(("x", 2, "T3"), ("gone", 1, "T4"), read="T3")
    [line] = compare_all(late.__getitem__, truth.__getitem__, keys)[links].differences
    assert line == "1 newer than the last complete reading: ('a', 'gone')"
