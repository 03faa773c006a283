"""The shape of an answer: its structure with types in place of the values.

A shape is JSON. An object keeps the names of its fields; a list is an object
`{"list": N, "of": [...]}` with its length, rounded, and the different shapes of its
items; any other value is a text such as `text 16` or `integer 4` with the number of
signs, rounded up to a power of two.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tap_email_metrics.contract.survey import kind_of, safe_name

if TYPE_CHECKING:
    from pathlib import Path

MOST_SHAPES = 20
"""Different shapes of items that are kept of a list."""
SUFFIX = ".shape.json"


def shape_of(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return the shape of a decoded body."""
    if isinstance(value, dict):
        return {safe_name(name): shape_of(one) for name, one in value.items()}
    if isinstance(value, list):
        kinds = {json.dumps(shape_of(one), sort_keys=True) for one in value}
        return {
            "list": rounded(len(value)),
            "of": [json.loads(kind) for kind in sorted(kinds)[:MOST_SHAPES]],
        }
    kind = kind_of(value)
    if kind in {"text", "integer", "number as text"}:
        return f"{kind} {rounded(len(str(value)))}"
    return kind


def rounded(length: int) -> int:
    """Return a length rounded up to a power of two; 0 stays."""
    return 0 if length == 0 else 1 << (length - 1).bit_length()


class Recorder:
    """Keeps one shape for each path, in a file of its own.

    Args:
        folder: the folder for the files; it is created.
        provider: name of the provider.
    """

    def __init__(self, folder: Path, provider: str) -> None:
        self._folder = folder
        self._provider = provider
        self._shapes: dict[str, list[Any]] = {}

    def add(self, template: str, body: object) -> None:
        """Keep the shape of an answer.

        Args:
            template: the path with a `{}` for each id.
            body: the decoded body.
        """
        shapes = self._shapes.setdefault(template, [])
        shape = shape_of(body)
        if shape not in shapes and len(shapes) < MOST_SHAPES:
            shapes.append(shape)

    def write(self) -> list[Path]:
        """Write the files; return their paths."""
        folder = self._folder / self._provider
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for number, (template, shapes) in enumerate(sorted(self._shapes.items())):
            path = folder / f"{number:03}{SUFFIX}"
            content = {"path": template, "shapes": shapes}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            written.append(path)
        return written
