"""The streams' JSON Schemas: one file per stream, named after it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


def find_schemas(package: Path) -> Path:
    """Return the folder with the schema files of a package.

    In a wheel it is inside the package, in a checkout beside it.

    Raises:
        FileNotFoundError: there is no such folder, so the installation is broken.
    """
    for folder in (package / "schemas", package.parent / "schemas"):
        if folder.is_dir():
            return folder
    message = f"No schemas in or beside {package.name}: install the tap again"
    raise FileNotFoundError(message)


def schema_directory() -> Path:
    """Return the folder with the tap's schema files."""
    return find_schemas(Path(__file__).resolve().parents[1])


@cache
def load_schema(stream: str) -> dict[str, Any]:
    """Return the packaged schema of a stream, with the `x-` marks.

    It is read once and shared by all callers, so it must not be changed. The SDK drops
    the marks from a catalog that is passed in.

    Raises:
        FileNotFoundError: no stream has this name.
    """
    text = (schema_directory() / f"{stream}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
