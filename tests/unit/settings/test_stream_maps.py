"""Stream maps that the SDK would silently ignore or crash on are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tap_email_metrics.settings.stream_maps import stream_map_errors

NAMES = ("encompass_opens", "encompass_clicks")
OPENS = "encompass_opens"


@pytest.mark.parametrize(
    "maps",
    [
        {},
        {OPENS: {"ip_address": "md5(ip_address)", "account": None}},
        {OPENS: None, "__else__": None},
        {OPENS: "__NULL__", "__else__": "__NULL__"},
        {"encompass_*": {"x": "'a'", "__else__": None}},
        {"other": {"__source__": OPENS, "__filter__": "True"}},
        {"other": {"__source__": "*_opens"}},
        {OPENS: {"__alias__": "opened", "__key_properties__": ["id"]}},
    ],
    ids=str,
)
def test_stream_maps_that_the_sdk_understands_are_accepted(
    maps: dict[str, Any],
) -> None:
    assert stream_map_errors(maps, NAMES) == []


@pytest.mark.parametrize(
    ("maps", "line"),
    [
        (
            {"encompass_open": {"ip_address": None}},
            "stream_maps.encompass_open names no stream; did you mean encompass_opens?",
        ),
        ({"zzz_*": None}, "stream_maps.zzz_* names no stream; --discover names all"),
        (
            {"other": {"__source__": "encompass_click"}},
            (
                "stream_maps.other.__source__ names no stream; did you mean "
                "encompass_clicks?"
            ),
        ),
        ({OPENS: {"__source__": 5}}, f"stream_maps.{OPENS}.__source__ must be text"),
        ({OPENS: {"__alias__": None}}, f"stream_maps.{OPENS}.__alias__ must be text"),
        ({OPENS: {"x": 5}}, f"stream_maps.{OPENS}.x must be text: an expression"),
        ({OPENS: {"x": "\0"}}, f"stream_maps.{OPENS}.x is not an expression"),
        ({OPENS: {"__else__": 1}}, f"stream_maps.{OPENS}.__else__ must be null or"),
        (
            {OPENS: {"__key_properties__": "id"}},
            f"stream_maps.{OPENS}.__key_properties__ must be a list of columns",
        ),
        ({OPENS: []}, f"stream_maps.{OPENS} must be an object, or null to leave"),
        ({"__else__": []}, "stream_maps.__else__ must be null or __NULL__"),
        ({"__some__": 1}, "stream_maps.__some__ is not an option of stream maps"),
    ],
    ids=str,
)
def test_a_wrong_stream_map_is_described_in_one_line(
    maps: dict[str, Any], line: str
) -> None:
    (found,) = stream_map_errors(maps, NAMES)
    assert found.startswith(line)
