"""Sources and staging models of the dbt project in `transform/`, made from schemas/.

`python -m scripts.sources` rewrites their descriptions; a test says when that is due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.records.schemas import load_schema
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ROOT / "transform" / "models"
HEADER = "# Made from schemas/ by `python -m scripts.sources`.\n"
PREFIX = "stg_"
#: What `typed` in transform/macros/dialects.sql makes of a column; what is not here, an
#: object or a list, stays as the target has loaded it.
TYPES = {"string": "string", "integer": "bigint", "number": "number"}
TYPES |= {"boolean": "boolean"}
FORMATS = {"date-time": "timestamp", "date": "date"}


def descriptions() -> dict[Path, str]:
    """Return the files: every stream that has a staging model, with all columns."""
    staged = {path.stem.removeprefix(PREFIX) for path in MODELS.rglob(f"{PREFIX}*.sql")}
    offered: list[Any] = [one for provider in PROVIDERS for one in provider.streams]
    streams = [
        (str(stream.name), list(stream.primary_keys))
        for stream in offered
        if stream.name in staged
    ]
    source = {
        "name": "email_metrics",
        "description": "The tap's streams as a target has loaded them.",
        "schema": "{{ env_var('EMAIL_METRICS_SCHEMA', 'email_metrics') }}",
        "tables": [table(*stream) for stream in streams],
    }
    return {
        MODELS / "sources.yml": document({"sources": [source]}),
        MODELS / "staging" / "staging.yml": document(
            {"models": [model(*stream) for stream in streams]}
        ),
    }


def document(content: dict[str, Any]) -> str:
    """Return the text of a file."""
    text = yaml.safe_dump(
        {"version": 2, **content}, sort_keys=False, allow_unicode=True, width=88
    )
    return HEADER + text


def model(name: str, key: list[str]) -> dict[str, Any]:
    """Return the description of a staging model: its columns are the source's."""
    return {
        "name": f"{PREFIX}{name}",
        "description": f"The rows of `{name}` as they stand, one a key.",
        "data_tests": [{"key": {"arguments": {"columns": key}}}],
    }


def table(name: str, key: list[str]) -> dict[str, Any]:
    """Return the description of one stream."""
    schema = load_schema(name)
    return {
        "name": name,
        "description": schema["description"],
        "config": {"meta": {"key": key}},
        "columns": [column(*item) for item in schema["properties"].items()],
    }


def column(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description of one column."""
    [kind] = (
        {*schema["type"]} - {"null"}
        if isinstance(schema["type"], list)
        else [schema["type"]]
    )
    found = FORMATS.get(schema.get("format", ""), TYPES.get(kind))
    if "x-pii" in schema and found == "bigint":
        found = "string"  # a hash, in that `pii.mode`
    described = {"name": name, "description": schema["description"]}
    return described | ({"data_type": found} if found else {})


def main() -> None:
    """Rewrite the files."""
    for path, text in descriptions().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
