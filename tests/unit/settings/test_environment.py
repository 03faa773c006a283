"""Settings in variables: the names that Meltano gives them, and misspelt names."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.settings.environment import (
    from_environment,
    merged,
    unknown_variables,
)
from tap_email_metrics.tap import TapEmailMetrics

PREFIX = "TAP_EMAIL_METRICS_"
SCHEMA = TapEmailMetrics.config_jsonschema
TapEmailMetrics.append_builtin_config(SCHEMA)


def read(**variables: str) -> dict[str, Any]:
    environ = {PREFIX + name: text for name, text in variables.items()}
    return from_environment(SCHEMA, PREFIX, {"HOME": "/", **environ})


def unknown(*names: str) -> list[str]:
    return unknown_variables(SCHEMA, PREFIX, dict.fromkeys(names, "canary"))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("PII_MODE", "hash", {"pii": {"mode": "hash"}}),
        ("PII_PEPPER", "12", {"pii": {"pepper": "12"}}),
        ("START_DATE", "2026-01-01", {"start_date": "2026-01-01"}),
        ("MAX_RUN_MINUTES", "30", {"max_run_minutes": 30}),
        ("MAX_RUN_MINUTES", "0.5", {"max_run_minutes": 0.5}),
        ("ENCOMPASS_CLIENT_ID", "10055", {"encompass": {"client_id": "10055"}}),
        ("ENCOMPASS_SWEEP_DAYS", "007", {"encompass": {"sweep_days": 7}}),
        ("BACKFILL", "True", {"backfill": True}),
        ("BACKFILL", "1", {"backfill": True}),
        ("LUXSCI_DETAIL", "off", {"luxsci": {"detail": False}}),
        ("LUXSCI_LOGINS", '["a", "b"]', {"luxsci": {"logins": ["a", "b"]}}),
        (
            "LUXSCI_PATH_OVERRIDES",
            '{"a": "/b"}',
            {"luxsci": {"path_overrides": {"a": "/b"}}},
        ),
        ("STREAM_MAPS", '{"x": null}', {"stream_maps": {"x": None}}),
        ("FLATTENING_MAX_KEY_LENGTH", "99", {"flattening_max_key_length": 99}),
        ("FLATTENING_ENABLED", "yes", {"flattening_enabled": True}),
        ("ENCOMPASS", '{"region": "ca"}', {"encompass": {"region": "ca"}}),
        ("ENCOMPASS_CLIENT_SECRET", "abc\n", {"encompass": {"client_secret": "abc"}}),
        ("ENCOMPASS", "", {}),
        ("MAX_RUN_MINUTES", " ", {}),
        ("BACKFILL", "", {}),
    ],
)
def test_a_variable_sets_its_setting(
    name: str, text: str, found: dict[str, Any]
) -> None:
    assert read(**{name: text}) == found


def test_the_variable_of_a_setting_comes_before_that_of_its_section() -> None:
    found = read(ENCOMPASS='{"region": "ca", "account": "a"}', ENCOMPASS_REGION="us")
    assert found == {"encompass": {"region": "us", "account": "a"}}


def test_no_two_settings_share_a_variable() -> None:
    names = Counter(
        f"{section}_{name}".upper()
        for section, part in SCHEMA["properties"].items()
        for name in part.get("properties", {})
    ) + Counter(map(str.upper, SCHEMA["properties"]))
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("MAX_RUN_MINUTES", "canary", "is not a number"),
        ("MAX_RUN_MINUTES", "true", "is not a number"),
        ("ENCOMPASS_SWEEP_DAYS", '"canary"', "is not a number"),
        ("BACKFILL", "canary", "is not true or false"),
        ("ENCOMPASS", "canary", "is not one JSON object"),
        ("ENCOMPASS", '["canary"]', "is not one JSON object"),
        ("STREAM_MAPS", "canary", "is not one JSON object"),
        ("LUXSCI_LOGINS", "canary", "is not a JSON array"),
        ("ENCOMPASS", "[" * 100_000, "is not one JSON object"),
        ("PII_PEPPER", '"canary of the tests"', "is in quotes"),
        ("ENCOMPASS_CLIENT_SECRET", "'canary' ", "is in quotes"),
    ],
    ids=range(11),
)
def test_a_variable_with_a_wrong_value_is_named(
    name: str, text: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**{name: text})
    assert str(caught.value).startswith(f"{PREFIX}{name} {said}")
    assert "canary" not in str(caught.value)


def test_a_misspelt_variable_gets_a_hint() -> None:
    (line,) = unknown(f"{PREFIX}PII_MODUS", f"{PREFIX}PII_MODE", "PATH")
    assert line == (
        f"the variable {PREFIX}PII_MODUS is not a setting; did you mean "
        f"{PREFIX}PII_MODE?"
    )
    (line,) = unknown(f"{PREFIX}XYZXYZXYZXYZXYZXYZ_QQQQQQQQQQQQQQQQQQQQQQQQ")
    assert "see --about for all settings" in line


def test_variables_of_the_sdk_and_of_meltano_are_accepted() -> None:
    known = ("LOGLEVEL", "_SELECT", "_LOAD_SCHEMA", "_DOCTOR_PII_MODE")
    assert unknown(*(PREFIX + name for name in known)) == []


def test_settings_are_merged_section_by_section() -> None:
    file = {"encompass": {"region": "ca", "account": "a"}, "backfill": True}
    given = {"encompass": {"account": "b"}, "pii": {"mode": "drop"}}
    assert merged(file, given) == {
        "encompass": {"region": "ca", "account": "b"},
        "backfill": True,
        "pii": {"mode": "drop"},
    }
    assert merged({"encompass": None}, given)["encompass"] == {"account": "b"}


@pytest.mark.parametrize(
    "name",
    [
        "TAP_EMAIL_METRICS__PII_MODE",
        "TAP_EMAIL_METRICS_pii_mode",
        "tap_email_metrics_pii_mode",
    ],
)
def test_a_setting_in_another_spelling_gets_a_hint(name: str) -> None:
    (line,) = unknown(name)
    assert line.endswith("did you mean TAP_EMAIL_METRICS_PII_MODE?")
