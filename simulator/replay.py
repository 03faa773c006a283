"""Answers in the shapes that a contract report recorded from an account.

`tap-email-metrics-doctor --record FOLDER` writes the shapes: structure, types and
rounded lengths. This module fills them with invented values. `python -m simulator
--replay FOLDER` serves them instead of the GET answers of the generated account.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from simulator.messages import Reply, encode

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.messages import Request

_PLACE = re.compile(r"\\\{[^{}]*\\\}")
_BASES = r"(?:/v3|/perl/api/v2)?"
_LIST = {"list", "of"}
_SAMPLES: dict[str, object] = {
    "null": None,
    "boolean": True,
    "number": 0.5,
    "empty text": "",
    "epoch milliseconds as text": "1767225600000",
    "YYYY-MM-DD": "2026-01-01",
    "0000-00-00 00:00:00": "0000-00-00 00:00:00",
    "YYYY-MM-DD hh:mm:ss": "2026-01-01 00:00:00",
    "YYYY-MM-DDThh:mm:ssZ": "2026-01-01T00:00:00Z",
    "YYYY-MM-DDThh:mm:ss.fZ": "2026-01-01T00:00:00.000Z",
    "YYYY-MM-DDThh:mm:ss±hh:mm": "2026-01-01T00:00:00+00:00",
    "another date-time": "2026-01-01 00:00:00 GMT",
    "month/day/year or day/month/year": "01/02/2026",
}
_EPOCH = 1_767_225_600_000


class Replay:
    """The recorded shapes of a folder.

    Args:
        folder: the folder written by the doctor, with a folder for each provider.
    """

    def __init__(self, folder: Path) -> None:
        self._shapes: list[tuple[re.Pattern[str], list[Any]]] = []
        self._turns = itertools.count()
        for file in sorted(folder.glob("*/*.shape.json")):
            content = json.loads(file.read_text(encoding="utf-8"))
            escaped = _PLACE.sub("[^/]+", re.escape(content["path"]))
            self._shapes.append((re.compile(_BASES + escaped), content["shapes"]))

    def answer(self, request: Request) -> Reply | None:
        """Return an answer in a recorded shape, or None for a path without one."""
        if request.method != "GET":
            return None
        for pattern, shapes in self._shapes:
            if pattern.fullmatch(request.path):
                shape = shapes[next(self._turns) % len(shapes)]
                body = encode(made_up(shape, itertools.count(1)))
                return Reply(200, body, {"Content-Type": "application/json"})
        return None


def made_up(shape: Any, numbers: itertools.count[int]) -> Any:  # noqa: ANN401 -- JSON
    """Return a value of a shape; `numbers` makes values different."""
    if isinstance(shape, dict) and shape.keys() == _LIST:
        items = itertools.islice(itertools.cycle(shape["of"]), shape["list"])
        return [made_up(one, numbers) for one in items]
    if isinstance(shape, dict):
        return {name: made_up(one, numbers) for name, one in shape.items()}
    if shape in _SAMPLES:
        return _SAMPLES[shape]
    if shape == "epoch milliseconds":
        return _EPOCH + next(numbers)
    kind, _, length = str(shape).rpartition(" ")
    return _of_length(kind, int(length), next(numbers))


def _of_length(kind: str, length: int, number: int) -> object:
    """Return a text or a number of a length."""
    if kind == "text":
        return f"{number}{'x' * length}"[-length:]
    digits = 10 ** (length - 1) + number % (9 * 10 ** (length - 1))
    return digits if kind == "integer" else str(digits)
