"""Instants to text and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_email_metrics.clock import from_iso, iso

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
PROPERTY = settings(deadline=None)
instants = st.floats(1_451_606_400.0, NOW)


@given(st.integers(-30_000_000_000, 200_000_000_000))
@PROPERTY
def test_an_instant_is_the_same_after_text(seconds: int) -> None:
    assert from_iso(iso(seconds)) == seconds


@given(instants)
@PROPERTY
def test_text_drops_fractions_of_a_second(seconds: float) -> None:
    assert 0 <= seconds - from_iso(iso(seconds)) < 1


@pytest.fixture(params=["UTC", "Asia/Kathmandu", "America/St_Johns"])
def zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_instants_do_not_depend_on_the_local_time_zone() -> None:
    assert iso(NOW) == "2026-09-21T14:13:20Z"
    assert from_iso("2026-09-21T14:13:20Z") == NOW
    assert from_iso("2026-09-21T14:13:20") == NOW
    assert from_iso("2026-09-21T19:58:20+05:45") == NOW
    assert from_iso("2026-09-21") == NOW - 51_200
    assert from_iso("1970-01-01") == 0


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-09-21T25:00"])
def test_text_that_is_not_an_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_iso(text)
