"""The log of requests and their answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.messages import Request


@dataclass(frozen=True, slots=True)
class Entry:
    """A request; `at` in UTC seconds, `status` 0 for a cut connection."""

    at: float
    method: str
    path: str
    template: str
    query: Mapping[str, str]
    status: int
    fault: str | None


class RequestLog:
    """Every request since the last reset, in order of arrival."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, at: float, request: Request, status: int, fault: str | None) -> None:
        """Add one request."""
        self.entries.append(
            Entry(
                at,
                request.method,
                request.path,
                request.template,
                request.query,
                status,
                fault,
            )
        )

    def reset(self) -> None:
        """Remove every request."""
        self.entries = []

    def counts(self) -> Counter[tuple[str, str, int]]:
        """Return the number of requests by (method, path template, status)."""
        return Counter((e.method, e.template, e.status) for e in self.entries)

    def count(self, template: str | None = None, status: int | None = None) -> int:
        """Return the number of requests, of one template or status if given."""
        return sum(
            template in (None, e.template) and status in (None, e.status)
            for e in self.entries
        )

    def as_json(self) -> dict[str, object]:
        """Return `total`, `counts` and `requests` for the control interface."""
        counts = [
            {"method": method, "path": path, "status": status, "count": count}
            for (method, path, status), count in sorted(self.counts().items())
        ]
        requests = [asdict(entry) for entry in self.entries]
        return {"total": len(requests), "counts": counts, "requests": requests}
