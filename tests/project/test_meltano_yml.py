"""`meltano.yml` and `sample_config.json` agree with the tap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.tap import TapEmailMetrics

ROOT = Path(__file__).resolve().parents[2]
MELTANO: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text())
EXTRACTORS = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["extractors"]}
LOADERS = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["loaders"]}
UTILITIES = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["utilities"]}
TAP = EXTRACTORS["tap-email-metrics"]
SETTINGS = {setting["name"]: setting for setting in TAP["settings"]}
#: Settings that the SDK adds to those of the tap.
BUILT_IN = ("stream_map", "faker_", "flattening_")
#: Settings of the SDK that `meltano.yml` offers.
SDK_SETTINGS = [
    "stream_maps",
    "stream_map_config",
    "flattening_enabled",
    "flattening_max_depth",
]


#: Meltano selects streams that the tap deselects by default, unless told not to.
LEFT_OUT = ["!constant_contact_did_not_opens.*"]


def own_schema() -> dict[str, Any]:
    schema = dict(TapEmailMetrics.config_jsonschema)
    schema["properties"] = {
        name: part
        for name, part in schema["properties"].items()
        if not name.startswith(BUILT_IN)
    }
    return schema


def flat(schema: dict[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Return the settings below a schema under their dotted names."""
    found: dict[str, dict[str, Any]] = {}
    for name, part in schema["properties"].items():
        if part.get("properties"):
            found |= flat(part, f"{prefix}{name}.")
        else:
            found[prefix + name] = part
    return found


OWN = flat(own_schema())


def types(part: dict[str, Any]) -> set[str]:
    kinds = part["type"]
    return {kinds} if isinstance(kinds, str) else set(kinds)


def test_meltano_yml_lists_the_settings_of_the_tap() -> None:
    assert list(SETTINGS) == [*OWN, *SDK_SETTINGS]


def test_the_listed_sdk_settings_exist() -> None:
    schema: dict[str, Any] = {"properties": {}}
    TapEmailMetrics.append_builtin_config(schema)
    assert set(SDK_SETTINGS) <= set(schema["properties"])
    assert all(name.startswith(BUILT_IN) for name in schema["properties"])


@pytest.mark.parametrize("name", OWN)
def test_the_kind_of_a_setting_fits_its_type(name: str) -> None:
    setting, part = SETTINGS[name], OWN[name]
    if "enum" in part:
        expected = "options"
        given = [option["value"] for option in setting["options"]]
        assert given == [value for value in part["enum"] if value is not None]
    elif name in {"start_date", "end_date"}:
        expected = "date_iso8601"
    elif types(part) & {"integer", "number"}:
        expected = "integer"
    elif found := types(part) & {"array", "boolean", "object"}:
        [expected] = found
    else:
        expected = "string"
    assert setting["kind"] == expected


def test_secret_settings_are_sensitive_in_meltano() -> None:
    secret = {name for name, part in OWN.items() if part.get("secret")}
    assert secret == {name for name, part in SETTINGS.items() if part.get("sensitive")}
    assert "encompass.client_secret" in secret


def test_no_setting_of_the_tap_has_a_value() -> None:
    """A value in the section of a provider would switch that provider on."""
    assert not [name for name, setting in SETTINGS.items() if "value" in setting]
    assert not [name for name, plugin in EXTRACTORS.items() if plugin.get("config")]


@pytest.mark.parametrize("group", TAP["settings_group_validation"])
def test_each_group_of_required_settings_configures_a_provider(
    group: list[str],
) -> None:
    config: dict[str, Any] = {}
    for name in group:
        outer, _, inner = name.partition(".")
        # A setting with a default is in a group for its other value.
        given = [value for value in OWN[name].get("enum", []) if value is not None]
        value = "https://example.edu" if inner.endswith("url") else "x"
        value = given[-1] if given else value
        config.setdefault(outer, {})[inner] = value
    assert TapEmailMetrics(config=config).catalog_dict["streams"]


def test_meltano_yml_lists_the_capabilities_of_the_tap() -> None:
    offered = {capability.value for capability in TapEmailMetrics.capabilities}
    assert set(TAP["capabilities"]) == offered


def test_every_plugin_is_fully_defined_in_meltano_yml() -> None:
    for plugin in (*EXTRACTORS.values(), *LOADERS.values(), *UTILITIES.values()):
        if "inherit_from" in plugin:
            assert plugin["inherit_from"] in EXTRACTORS
        else:
            wanted = {"namespace", "pip_url", "executable", "settings"}
            assert wanted <= set(plugin), plugin["name"]


def test_postgres_takes_the_time_of_a_row_from_the_tap() -> None:
    """The target refuses the first setting without the second."""
    config = LOADERS["target-postgres"]["config"]
    assert config["add_record_metadata"] is config["activate_version"] is False
    selections = [one["select"] for one in EXTRACTORS.values() if "select" in one]
    assert len(selections) == 4
    assert not [rule for rules in selections for rule in rules if EXTRACTED_AT in rule]


def test_settings_and_versions_that_prevent_wrong_rows_are_set() -> None:
    assert "duckdb==1.0.0" in LOADERS["target-duckdb"]["pip_url"].split()
    bigquery = LOADERS["target-bigquery"]
    assert "setuptools<81" in bigquery["pip_url"].split()
    assert bigquery["config"]["upsert"] is True
    assert bigquery["config"]["denormalized"] is True
    # Otherwise a row that one run sends twice is inserted twice.
    assert bigquery["config"]["dedupe_before_upsert"] is True
    # Otherwise date-times are stored in the time zone of the database.
    assert LOADERS["target-postgres"]["config"]["use_copy"] is True


def test_plugins_that_need_python_3_11_say_so() -> None:
    plugins = {**LOADERS, **UTILITIES}
    needing = {name for name, one in plugins.items() if "python" in one}
    assert needing == {*UTILITIES, "target-duckdb", "target-bigquery"}
    assert {plugins[name]["python"] for name in needing} == {"python3.11"}


@pytest.mark.parametrize("command", ["doctor", "login"])
def test_plugins_for_commands_have_capabilities_without_discovery(command: str) -> None:
    """Meltano drops an empty list when it rewrites the file and then runs discovery."""
    plugin = EXTRACTORS[f"tap-email-metrics--{command}"]
    assert plugin["executable"] == f"tap-email-metrics-{command}"
    assert plugin["capabilities"]
    assert "discover" not in plugin["capabilities"]


@pytest.mark.parametrize("name", UTILITIES)
def test_meltano_installs_the_tested_versions_of_dbt(name: str) -> None:
    tested = (ROOT / "constraints" / "dbt.txt").read_text().splitlines()
    assert set(UTILITIES[name]["pip_url"].split()) <= set(tested)


def test_dbt_reads_the_database_and_schema_that_the_target_writes() -> None:
    settings = {s["name"]: s for s in LOADERS["target-duckdb"]["settings"]}
    assert settings["add_metadata_columns"]["value"] is True
    dbt = {s["name"]: s for s in UTILITIES["dbt-duckdb"]["settings"]}
    assert dbt["path"]["value"] == settings["path"]["value"]
    [dev, _] = MELTANO["environments"]
    plugins = dev["config"]["plugins"]
    loaded = plugins["loaders"][0]["config"]["default_target_schema"]
    assert plugins["utilities"][0]["config"]["source_schema"] == loaded


def test_every_provider_has_an_inherited_plugin_and_a_schedule() -> None:
    assert TAP["select"] == ["*.*", *LEFT_OUT]
    jobs = {job["name"]: job["tasks"] for job in MELTANO["jobs"]}
    providers = {name.partition(".")[0] for name in OWN if "." in name} - {"pii"}
    for provider in providers:
        plugin = EXTRACTORS[f"tap-email-metrics--{provider.replace('_', '-')}"]
        assert plugin["inherit_from"] == "tap-email-metrics"
        chosen, own, *left_out = plugin["select"]
        assert chosen == f"{provider}_*.*"
        assert own == "email_metrics_*.*"
        fits = ("!*", f"!{provider}")
        assert left_out == [one for one in LEFT_OUT if one.startswith(fits)]
        assert any(plugin["name"] in task for task in jobs[provider])
        assert provider in {schedule["job"] for schedule in MELTANO["schedules"]}


def test_the_environments_are_dev_and_prod() -> None:
    assert [environment["name"] for environment in MELTANO["environments"]] == [
        "dev",
        "prod",
    ]
    assert MELTANO["default_environment"] == "dev"
    assert MELTANO["send_anonymous_usage_stats"] is False


def test_the_sample_config_is_valid() -> None:
    config = json.loads((ROOT / "sample_config.json").read_text())
    jsonschema.validate(config, own_schema())
    assert TapEmailMetrics(config=config).catalog_dict["streams"]


def test_the_sample_config_switches_one_provider_on() -> None:
    """Placeholders of a second provider would fail in each run."""
    config = json.loads((ROOT / "sample_config.json").read_text())
    assert [p.name for p in TapEmailMetrics(config=config).enabled] == ["encompass"]
