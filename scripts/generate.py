"""The README's tables of settings, streams and LuxSci's paths, made from the code.

`python -m scripts.tables` rewrites them; a test says when that is due.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.luxsci.paths import ENDPOINTS, offered
from tap_email_metrics.providers.luxsci.streams import STREAMS as LUXSCI_STREAMS
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.settings.common import config_schema
from tap_email_metrics.streams.about_run import RUN_STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

README = Path(__file__).resolve().parent.parent / "README.md"


def settings_table() -> str:
    """Return the table of all settings, a row each."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{name}`{' (secret)' if schema.get('secret') else ''} | "
        f"{_default(schema)} | {_text(schema)} |"
        for name, schema in nested_settings(config_schema())
    ]
    return "\n".join(rows)


def nested_settings(
    schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the settings of a schema under their dotted names."""
    for name, inner in schema["properties"].items():
        # A setting that is an object of the user's own names has none.
        if inner.get("properties"):
            yield from nested_settings(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{str(value).lower()}`"


def _text(schema: Mapping[str, Any]) -> str:
    return str(schema["description"]).replace("|", "\\|").replace("\n", " ")


def streams_table() -> str:
    """Return the table of all streams, a row each."""
    rows = ["| stream | key | replication key | what |", "|---|---|---|---|"]
    streams: list[Any] = [one for p in PROVIDERS for one in p.streams]
    for facts in [*streams, *RUN_STREAMS]:
        key = ", ".join(f"`{name}`" for name in facts.primary_keys)
        bookmark = facts.replication_key
        replication = f"`{bookmark}`" if isinstance(bookmark, str) else ""
        text = _text(load_schema(facts.name))
        rows.append(f"| `{facts.name}` | {key} | {replication} | {text} |")
    return "\n".join(rows)


def paths_table() -> str:
    """Return the table of LuxSci's reports, where each is and how that is known."""
    rows = ["| operationId | stream | path | known |", "|---|---|---|---|"]
    owners = _owners()
    rows += [
        f"| `{one.operation}` | `{owners[one.operation]}` | `{one.path}` | {one.mark} |"
        for one in ENDPOINTS
    ]
    return "\n".join(rows)


def _owners() -> dict[str, str]:
    """Return the streams that read LuxSci's reports, by the vendor's names of these."""
    owners: dict[str, str] = {}
    for stream in LUXSCI_STREAMS:
        for _, name in stream.operations:
            for scope in ("account", "user"):
                owners[offered(name, scope) or name] = str(stream.name)
    return owners


def filled(text: str) -> str:
    """Return the README with its tables as they should be."""
    tables = {
        "settings": settings_table(),
        "streams": streams_table(),
        "luxsci paths": paths_table(),
    }
    for name, table in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table}\n<!-- /{name} -->{after}"
    return text


def main() -> None:
    """Rewrite the README's tables."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
