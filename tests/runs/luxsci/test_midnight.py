"""A LuxSci summary covers a whole day and is read after the day has settled."""

from __future__ import annotations

import pytest

from tests.support.luxsci import DAY, NOW, Clinic, World

MIDNIGHT = NOW - NOW % DAY
SETTLING = 300


@pytest.mark.parametrize(
    ("seconds", "last"), [(125, "2026-09-19"), (SETTLING + 5, "2026-09-20")]
)
def test_the_summary_of_a_day_is_read_after_it_has_settled(
    seconds: int, last: str
) -> None:
    world = World(MIDNIGHT + seconds)
    world.luxsci.add_user()
    clinic = Clinic(world)
    clinic.common["start_date"] = "2026-09-10"

    assert clinic.sync(streams=["opens_summary"]).code == 0
    assert [row["interval_start"] for row in clinic.truth("opens_summary")][-1] == last
    rows = clinic.rows("opens_summary").values()
    assert max(row["interval_start"] for row in rows) == last
