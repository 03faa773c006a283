"""The definition for Meltano Hub: its JSON schema and the settings of the tap."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scripts.generate import HUB as DEFINITION
from scripts.generate import nested_settings

ROOT = Path(__file__).resolve().parents[2]
HUB: dict[str, Any] = yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))
PLUGINS = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]
[TAP] = [p for p in PLUGINS["extractors"] if p["name"] == "tap-email-metrics"]
STRING = {"type": "string"}
STRINGS = {"type": "array", "items": STRING}
SETTING = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(("name", "label", "description", "placeholder"), STRING),
        "kind": {
            "enum": [
                *("array", "boolean", "date_iso8601", "decimal", "email", "file"),
                *("hidden", "integer", "oauth", "object", "options", "password"),
                "string",
            ]
        },
        "options": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"label": STRING, "value": STRING},
            },
        },
        "sensitive": {"type": "boolean"},
    },
}
#: A JSON schema with the keys of an extractor that are used here.
SCHEMA = {
    "type": "object",
    "required": ["name", "namespace", "variant", "quality"],
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(
            (
                *("name", "namespace", "variant", "label", "description", "repo"),
                *("executable", "pip_url", "prereq"),
            ),
            STRING,
        ),
        "capabilities": {
            "type": "array",
            "items": {
                "enum": [
                    *("about", "activate-version", "batch", "catalog", "discover"),
                    *("log-based", "properties", "schema-flattening", "state"),
                    *("stream-maps", "structured-logging", "test"),
                ]
            },
        },
        "keywords": STRINGS,
        "maintenance_status": {
            "enum": ["active", "beta", "development", "inactive", "unknown"]
        },
        "quality": {"enum": ["gold", "silver", "bronze", "unknown"]},
        "select": STRINGS,
        "settings": {"type": "array", "items": SETTING},
        "settings_group_validation": {"type": "array", "items": STRINGS},
        "supported_python_versions": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^3\.\d+$"},
        },
    },
}


def test_the_definition_fits_the_schema_of_the_hub() -> None:
    jsonschema.validate(HUB, SCHEMA, jsonschema.Draft7Validator)
    assert DEFINITION.parent.name == HUB["name"]
    assert DEFINITION.stem == HUB["variant"]


@pytest.mark.parametrize("key", ["kind", "secret"])
def test_the_schema_of_the_hub_refuses_a_wrong_setting(key: str) -> None:
    wrong = {**HUB, "settings": [{"name": "start_date", key: "decimals"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA, jsonschema.Draft7Validator)


def test_keys_and_settings_are_sorted() -> None:
    assert list(HUB) == sorted(HUB)
    names = [setting["name"] for setting in HUB["settings"]]
    assert names == sorted(names)
    for part in (*HUB["settings"], *HUB["settings_group_validation"]):
        assert list(part) == sorted(part)
    assert HUB["capabilities"] == sorted(HUB["capabilities"])


def test_the_hub_and_meltano_yml_list_the_same_settings() -> None:
    by_name = {setting["name"]: setting for setting in TAP["settings"]}
    assert {setting["name"]: setting for setting in HUB["settings"]} == by_name
    for key in ("capabilities", "executable", "namespace", "select"):
        assert HUB[key] == TAP[key]
    groups = [sorted(group) for group in TAP["settings_group_validation"]]
    assert HUB["settings_group_validation"] == groups


def test_the_hub_lists_the_settings_of_about() -> None:
    """A few settings of the SDK that are of no use here are left out."""
    command = Path(sys.executable).with_name(HUB["executable"])
    done = subprocess.run(  # noqa: S603 - our own tap
        [command, "--about", "--format=json"],
        capture_output=True,
        check=True,
    )
    about = json.loads(done.stdout)
    # An object with keys of the user's choice is one setting in Meltano.
    about["settings"]["properties"]["stream_maps"]["properties"] = {}
    told = dict(nested_settings(about["settings"]))
    offered = {setting["name"]: setting for setting in HUB["settings"]}
    assert set(offered) <= set(told)
    unused = {name for name in told if name not in offered}
    assert all(name.startswith(("faker_", "flattening_")) for name in unused), unused
    secret = {name for name, part in told.items() if part.get("secret")}
    assert secret == {n for n, part in offered.items() if part.get("sensitive")}
    assert sorted(about["capabilities"]) == HUB["capabilities"]
    assert about["supported_python_versions"] == HUB["supported_python_versions"]


def test_the_definition_names_the_package_and_its_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert HUB["pip_url"] == project["name"]
    assert HUB["executable"] in project["scripts"]
