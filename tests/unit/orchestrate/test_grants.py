"""What an account may ask of a key on a day, however the list changes meanwhile."""

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
    """Grant each account of a list of so many its share."""
    return {
        f"account-{number}": granted(
            file, day, f"account-{number}", LIMIT // accounts, LIMIT
        )
        for number in range(accounts)
    }


def test_k11_a_list_that_grows_within_a_day_stays_within_the_limit(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys" / "north.json"
    before = grants(file, 10)
    after = grants(file, 20)
    assert sum(after.values()) <= LIMIT
    assert after == {**dict.fromkeys(after, 0), **before}
    # From the next day on the shares are those of the new list.
    assert set(grants(file, 20, DAY + timedelta(1)).values()) == {LIMIT // 20}


def test_k11_a_list_that_shrinks_within_a_day_stays_within_the_limit(
    tmp_path: Path,
) -> None:
    file = tmp_path / "north.json"
    before = grants(file, 20)
    after = grants(file, 10)
    assert sum({**before, **after}.values()) <= LIMIT


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_k11_no_change_of_a_list_exceeds_a_day(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        used: dict[str, int] = {}
        for size in sizes:
            used |= grants(Path(folder) / "north.json", size)
        assert sum(used.values()) <= LIMIT


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "north.json"
    file.write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        grants(file, 1)
