"""Looks at the first answers of a run for what contradicts a settled answer."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from tap_email_metrics.contract.survey import limiting
from tap_email_metrics.records.values import decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import requests

    from tap_email_metrics.contract.contradictions import Contradictions

LOOKS = 20
"""Answers of each path that are looked at: each is decoded once more for this, and
the first few may be empty."""
LARGEST = 2**20
"""Longest body that is looked at, in bytes."""


@dataclass(frozen=True, slots=True)
class Look:
    """An answer of the API.

    Attributes:
        template: the path with a `{}` for each id.
        query: the query of the request.
        body: the decoded body.
        limiting: names of the headers about limits.
    """

    template: str
    query: Mapping[str, str]
    body: Any
    limiting: Iterable[str]


if TYPE_CHECKING:
    Observer = Callable[[Look], Iterable[str]]
    """Returns the readings that an answer allows, none if it says nothing."""


class Watch:
    """Compares answers with documented or confirmed readings; it sends no request.

    Args:
        contradictions: warns of readings that contradict the expected ones.
        observers: the observers, by the name of the question that they answer.
    """

    def __init__(
        self, contradictions: Contradictions, observers: Mapping[str, Observer]
    ) -> None:
        self._contradictions = contradictions
        self._observers = {
            name: one for name, one in observers.items() if contradictions.watches(name)
        }
        self._looks: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, template: str, response: requests.Response) -> None:
        """Look at an answer that was understood, unless enough were looked at."""
        if not self._observers or len(response.content) > LARGEST:
            return
        with self._lock:
            self._looks[template] += 1
            if self._looks[template] > LOOKS:
                return
        try:
            body = decode_json(response.content)
        except msgspec.DecodeError:
            return
        query = dict(parse_qsl(urlsplit(response.request.url or "").query))
        look = Look(template, query, body, limiting(response.headers))
        for name, observe in self._observers.items():
            if readings := [*observe(look)]:
                self._contradictions.saw(name, *readings)


def rows_of(body: object, field: str) -> list[dict[str, Any]]:
    """Return the rows in a field of a body, none if it has no list of objects."""
    rows = body.get(field) if isinstance(body, dict) else None
    is_list = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    return rows if is_list and rows else []


def announced(look: Look) -> Iterable[str]:
    """Whether headers say how many requests are allowed."""
    return ("announced",) if look.limiting else ("silent",)
