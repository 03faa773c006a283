"""Rewrites all files, and parts of pages, that are generated from code or schemas.

Run it with `python -m scripts.generate`. A test fails if a generated file is outdated.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tap_email_metrics.contract.report import known_page
from tap_email_metrics.providers import PROVIDERS, config_schema
from tap_email_metrics.providers.luxsci.paths import ENDPOINTS, offered
from tap_email_metrics.providers.luxsci.streams import STREAMS as LUXSCI_STREAMS
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.streams.about_run import RUN_STREAMS
from tests.support.interpreters import SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The requirement in the pages' install commands: the reader's checkout until the first
#: release, then the package's name.
PACKAGE = "./tap-email-metrics"

ROOT = Path(__file__).resolve().parent.parent
NAME = "tap-email-metrics"
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
#: A generated part stands between two comments with its name.
PART = re.compile(r"(<!-- (?P<name>[a-z ]+) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)
TITLES = {
    "encompass": "Encompass",
    "constant_contact": "Constant Contact",
    "luxsci": "LuxSci",
    "email_metrics": "The tap itself",
}


def generated() -> dict[Path, str]:
    """Return the wanted content of every generated file."""
    return {
        **{page: filled(page.read_text(encoding="utf-8")) for page in PAGES},
        **{DOCS / f"columns-{slug(name)}.md": columns_page(name) for name in TITLES},
        DOCS / "known.md": known_page(
            (TITLES[provider.name], provider.questions) for provider in PROVIDERS
        ),
        HUB: hub_text(),
        **dbt_descriptions(),
    }


def main() -> None:
    """Rewrite all generated files."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# Parts of the pages


def filled(page: str) -> str:
    """Return a page with its generated parts renewed.

    Raises:
        KeyError: a comment names an unknown part.
    """
    return PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}\n{part[3]}", page)


def install_block() -> str:
    """Return the command that installs the tap."""
    return f"```sh\nuv tool install {PACKAGE}\n```"


def install_report_block() -> str:
    """Return the command that installs the tap with the packages of its report."""
    return f"```sh\nuv tool install '{PACKAGE}[report]'\n```"


def settings_tables() -> str:
    """Return a table of settings for the tap itself and for each provider."""
    found: dict[str, list[str]] = {}
    needless = unnecessary()
    for name, schema in nested_settings(config_schema(PROVIDERS)):
        section = name.partition(".")[0]
        title = TITLES.get(section, "All providers")
        secret = " (secret)" if schema.get("secret") else ""
        row = f"| `{name}`{secret} | {_default(schema)} | {_text(schema)}"
        row += f" {needless[name]} |" if name in needless else " |"
        found.setdefault(title, []).append(row)
    head = "| setting | default | meaning |\n|---|---|---|"
    return "\n\n".join(
        f"### {title}\n\n{head}\n" + "\n".join(rows) for title, rows in found.items()
    )


def unnecessary() -> dict[str, str]:
    """Return settings that a confirmed answer makes unnecessary, with the reason."""
    return {
        setting: f"Unnecessary: the answer to “{question.asks}” was confirmed on "
        f"{question.confirmed}."
        for provider in PROVIDERS
        for question in provider.questions
        if question.confirmed
        for setting in question.settings
    }


def nested_settings(
    schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the settings of a schema with their dotted names."""
    for name, inner in schema["properties"].items():
        # An object with names chosen by the user declares no properties.
        if inner.get("properties"):
            yield from nested_settings(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{str(value).lower()}`"


def _text(schema: Mapping[str, Any]) -> str:
    return str(schema["description"]).replace("|", "\\|").replace("\n", " ")


def streams() -> dict[str, list[Any]]:
    """Return the streams by provider, the tap's own last."""
    return {p.name: list(p.streams) for p in PROVIDERS} | {
        "email_metrics": list(RUN_STREAMS)
    }


def streams_tables() -> str:
    """Return a table of streams for each provider."""
    return "\n\n".join(
        f"### {TITLES[name]}\n\n{streams_table(name)}" for name in streams()
    )


def streams_table(owner: str) -> str:
    """Return the table of one provider's streams."""
    rows = ["| stream | key | replication key | what |", "|---|---|---|---|"]
    for facts in streams()[owner]:
        key = ", ".join(f"`{name}`" for name in facts.primary_keys)
        bookmark = facts.replication_key
        replication = f"`{bookmark}`" if isinstance(bookmark, str) else ""
        link = f"[`{facts.name}`](columns-{slug(owner)}.md#{facts.name})"
        text = _text(load_schema(facts.name))
        rows.append(f"| {link} | {key} | {replication} | {text} |")
    return "\n".join(rows)


def paths_table() -> str:
    """Return the table of LuxSci's reports: their paths and how each is known."""
    rows = ["| operationId | stream | path | known |", "|---|---|---|---|"]
    owners = _owners()
    rows += [
        f"| `{one.operation}` | `{owners[one.operation]}` | `{one.path}` | {one.mark} |"
        for one in ENDPOINTS
    ]
    return "\n".join(rows)


def _owners() -> dict[str, str]:
    """Return the stream that reads each report of LuxSci, by the report's name."""
    owners: dict[str, str] = {}
    for stream in LUXSCI_STREAMS:
        for _, name in stream.operations:
            for scope in ("account", "user"):
                owners[offered(name, scope) or name] = str(stream.name)
    return owners


PARTS = {
    "install": install_block,
    "install report": install_report_block,
    "settings": settings_tables,
    "streams": streams_tables,
    "luxsci paths": paths_table,
}


# Pages of columns


def slug(name: str) -> str:
    """Return a name in the form of file names, with hyphens."""
    return name.replace("_", "-")


def columns_page(owner: str) -> str:
    """Return the page with all columns of a provider's streams."""
    title = TITLES[owner]
    sections = [stream_section(facts.name) for facts in streams()[owner]]
    head = (
        f"# Columns: {title}\n\n"
        "This page is generated from `schemas/`. [`pii.mode`](personal-data.md) acts\n"
        "on the class in *personal*. *Vendor's name* is empty if the name is the\n"
        "same, or if the tap adds the column. *Inferred* marks what the vendor does\n"
        "not say, but what follows from other facts.\n"
    )
    return "\n".join([head, *sections])


def stream_section(name: str) -> str:
    """Return the section of a stream: its description and its columns."""
    schema = load_schema(name)
    rows = ["| column | type | personal | vendor's name | meaning |"]
    rows += ["|---|---|---|---|---|"]
    for column, facts in schema["properties"].items():
        source = str(facts.get("x-source", ""))
        known = f"`{source}`" if source not in {"", column} else ""
        personal = facts.get("x-pii", "")
        rows.append(
            f"| `{column}` | {_kind(facts)} | {personal} | {known} | {_text(facts)} |"
        )
    table = "\n".join(rows)
    return f"## {name}\n\n{schema['description']}\n\n{table}\n"


def _kind(facts: Mapping[str, Any]) -> str:
    """Return the type of a column, with `null` if it may be null."""
    kinds = facts["type"] if isinstance(facts["type"], list) else [facts["type"]]
    [main] = [kind for kind in kinds if kind != "null"]
    return f"{facts.get('format', main)}{', null' if 'null' in kinds else ''}"


# The definition for Meltano Hub

#: Meltano's name for a variant without a name of its own.
VARIANT = "original"
HUB = ROOT / "hub" / "extractors" / NAME / f"{VARIANT}.yml"
TAKEN = (
    *("name", "namespace", "label", "executable", "description"),
    *("capabilities", "select"),
)
PREREQUISITES = (
    "Credentials of one provider: the site id and web services GUID of Encompass; an "
    "app of Constant Contact, authorised with `tap-email-metrics-login`; or an API "
    "integration of LuxSci. A provider is on when its credentials are set."
)


def hub_definition() -> dict[str, Any]:
    """Return the Hub's definition of the tap, made from `meltano.yml`."""
    meltano = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    [plugin] = [p for p in meltano["plugins"]["extractors"] if p["name"] == NAME]
    return {
        **{key: plugin[key] for key in TAKEN},
        "variant": VARIANT,
        "pip_url": NAME,
        "supported_python_versions": list(SUPPORTED),
        "settings": sorted(plugin["settings"], key=lambda setting: setting["name"]),
        "settings_group_validation": [
            sorted(group) for group in plugin["settings_group_validation"]
        ],
        "keywords": ["api", "email", "meltano_sdk"],
        "maintenance_status": "beta",
        # The Hub rates plugins itself, by their use.
        "quality": "unknown",
        "prereq": PREREQUISITES,
    }


def hub_text() -> str:
    """Return the definition in the Hub's format, with keys in alphabetical order."""
    return yaml.safe_dump(hub_definition(), allow_unicode=True, width=88)


# Descriptions for the dbt project in `transform/`

MODELS = ROOT / "transform" / "models"
HEADER = "# Generated from schemas/ by `python -m scripts.generate`.\n"
PREFIX = "stg_"
#: Types to which the macro `typed` in transform/macros/dialects.sql casts a column.
#: Objects and lists are missing: they stay as the target loaded them.
TYPES = {"string": "string", "integer": "bigint", "number": "number"}
TYPES |= {"boolean": "boolean"}
FORMATS = {"date-time": "timestamp", "date": "date"}


def dbt_descriptions() -> dict[Path, str]:
    """Return the files that describe every stream with a staging model."""
    staged = {path.stem.removeprefix(PREFIX) for path in MODELS.rglob(f"{PREFIX}*.sql")}
    offered_streams: list[Any] = [one for p in PROVIDERS for one in p.streams]
    offered_streams += RUN_STREAMS
    found = [
        (str(stream.name), list(stream.primary_keys))
        for stream in offered_streams
        if stream.name in staged
    ]
    source = {
        "name": "email_metrics",
        "description": "The tap's streams as the target loaded them.",
        "schema": "{{ env_var('EMAIL_METRICS_SCHEMA', 'email_metrics') }}",
        "tables": [dbt_table(*stream) for stream in found],
    }
    return {
        MODELS / "sources.yml": dbt_document({"sources": [source]}),
        MODELS / "staging" / "staging.yml": dbt_document(
            {"models": [dbt_model(*stream) for stream in found]}
        ),
    }


def dbt_document(content: dict[str, Any]) -> str:
    """Return the text of a file."""
    text = yaml.safe_dump(
        {"version": 2, **content}, sort_keys=False, allow_unicode=True, width=88
    )
    return HEADER + text


def dbt_model(name: str, key: list[str]) -> dict[str, Any]:
    """Return the description of a staging model; `sources.yml` has its columns."""
    return {
        "name": f"{PREFIX}{name}",
        "description": f"The current rows of `{name}`, one row per key.",
        "data_tests": [{"key": {"arguments": {"columns": key}}}],
    }


def dbt_table(name: str, key: list[str]) -> dict[str, Any]:
    """Return the description of one stream."""
    schema = load_schema(name)
    return {
        "name": name,
        "description": schema["description"],
        "config": {"meta": {"key": key}},
        "columns": [dbt_column(*item) for item in schema["properties"].items()],
    }


def dbt_column(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description of one column."""
    [kind] = (
        {*schema["type"]} - {"null"}
        if isinstance(schema["type"], list)
        else [schema["type"]]
    )
    found = FORMATS.get(schema.get("format", ""), TYPES.get(kind))
    if "x-pii" in schema and found == "bigint":
        found = "string"  # `pii.mode` hash replaces the number by a text
    described = {"name": name, "description": schema["description"]}
    return described | ({"data_type": found} if found else {})


if __name__ == "__main__":
    main()
