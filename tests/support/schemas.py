"""The packaged schemas, as files."""

from __future__ import annotations

from tap_email_metrics.records.schemas import schema_directory


def schema_names() -> tuple[str, ...]:
    """Return the names of all streams that have a schema, in alphabetical order."""
    return tuple(sorted(path.stem for path in schema_directory().glob("*.json")))
