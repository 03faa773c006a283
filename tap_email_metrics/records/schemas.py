"""The streams' JSON Schemas: one file a stream, named after it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


def find_schemas(package: Path) -> Path:
    """Return the folder of schema files that belongs to a package's folder.

    A wheel carries them inside the package; a checkout has them beside it.

    Raises:
        FileNotFoundError: neither is there: the installation is broken.
    """
    for folder in (package / "schemas", package.parent / "schemas"):
        if folder.is_dir():
            return folder
    message = f"No schemas in or beside {package.name}: install the tap again"
    raise FileNotFoundError(message)


def schema_directory() -> Path:
    """Return the folder of the tap's schema files, as `SchemaDirectory` takes it."""
    return find_schemas(Path(__file__).resolve().parents[1])


@cache
def load_schema(stream: str) -> dict[str, Any]:
    """Return the packaged schema of a stream, with the `x-` marks.

    It is read once and shared by all that ask: nobody may change it. The SDK drops
    the marks from a catalog that is passed in: read them from here.

    Raises:
        FileNotFoundError: no stream has that name.
    """
    text = (schema_directory() / f"{stream}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
