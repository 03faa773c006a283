"""The comparison of the demo has to see every kind of difference."""

from __future__ import annotations

import pytest

from scripts.comparison import Comparison, Row

KEY = ("account", "id")
TRUTH: list[Row] = [
    {"account": "a", "id": 1, "name": "é", "additional_fields": {"b": 1, "a": None}},
    {"account": "a", "id": 2, "name": None, "additional_fields": None},
]


def compare(held: list[Row]) -> tuple[str, ...]:
    return Comparison.of(held, TRUTH, KEY).differences


def test_the_same_rows_in_any_order_of_rows_and_columns() -> None:
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


def test_an_empty_target() -> None:
    assert compare([]) == ("2 only in the truth: ('a', 1), ('a', 2)",)
