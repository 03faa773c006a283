"""Requests that each account of a key may use on a day while the list changes."""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrate.grants import granted

DAY = date(2026, 2, 1)
LIMIT = 9_500


def grants(file: Path, accounts: int, day: date = DAY) -> dict[str, int]:
    """Grant each of `accounts` accounts its share."""
    return {
        f"account-{number}": granted(
            file, day, f"account-{number}", LIMIT // accounts, LIMIT
        )
        for number in range(accounts)
    }


def test_a_list_that_grows_during_a_day_stays_within_the_limit(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys" / "north.json"
    before = grants(file, 10)
    after = grants(file, 20)
    assert sum(after.values()) <= LIMIT
    assert after == {**dict.fromkeys(after, 0), **before}
    # From the next day on the shares are those of the new list.
    assert set(grants(file, 20, DAY + timedelta(1)).values()) == {LIMIT // 20}


def test_a_list_that_shrinks_during_a_day_stays_within_the_limit(
    tmp_path: Path,
) -> None:
    file = tmp_path / "north.json"
    before = grants(file, 20)
    after = grants(file, 10)
    assert sum({**before, **after}.values()) <= LIMIT


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_no_series_of_changes_exceeds_the_daily_limit(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        used: dict[str, int] = {}
        for size in sizes:
            used |= grants(Path(folder) / "north.json", size)
        assert sum(used.values()) <= LIMIT


def test_a_damaged_file_of_grants_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "north.json"
    file.write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        grants(file, 1)
