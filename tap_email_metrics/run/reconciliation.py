"""Reconciliation: what the API counts in a list, beside what was read of it.

It costs no request: it is made of numbers that the reading has seen in any case.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal[
    "equal", "above", "archived", "set_aside", "unsettled", "differs", "unknown"
]
"""How a list compares; the schema of the stream says what each one means."""

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What the reading of a list to its end has counted.

    Attributes:
        parent: whose list it is, or of which time; a key within its stream.
        rows: distinct rows read.
        api_rows: rows that the API said there were; None: it did not say.
        aggregate: the vendor's own number of them, from elsewhere; None: it has none.
        aggregate_name: what the vendor calls that.
        contacts: distinct contacts among the rows, where `aggregate` counts those.
        moved: `api_rows` changed while the list was read.
        archived: what is missing can be in the vendor's archive.
        verified: it was read again: a difference stays.
        noted: an earlier run has reported the same difference.
        set_aside: rows that the API served and that have no record.
        login: of the user whose list it is; personal.
    """

    parent: str
    rows: int
    api_rows: int | None = None
    aggregate: int | None = None
    aggregate_name: str | None = None
    contacts: int | None = None
    moved: bool = False
    archived: bool = False
    verified: bool = False
    noted: bool = False
    set_aside: int = 0
    login: object = None

    @property
    def expected(self) -> int | None:
        """Return the number that the rows are held against."""
        return self.aggregate if self.api_rows is None else self.api_rows

    @property
    def compared(self) -> int:
        """Return what is held against `expected`."""
        return self.rows if self.contacts is None else self.contacts

    @property
    def verdict(self) -> Verdict:
        """Return how the rows compare with what is counted."""
        if self.set_aside:
            return "set_aside"
        expected = self.expected
        if expected is None:
            return "unknown"
        return "unsettled" if self.moved else self._against(expected)

    def _against(self, expected: int) -> Verdict:
        """Return how the rows compare with their number."""
        compared = self.compared
        if compared == expected:
            return "equal"
        if compared > expected and self.api_rows is None:
            return "above"  # an aggregate is taken before the rows are
        if compared < expected and self.archived:
            return "archived"
        return "differs" if self.verified else "unsettled"

    def columns(self) -> dict[str, object]:
        """Return what the record of the list says of it."""
        expected, aggregate, compared = self.expected, self.aggregate, self.compared
        return {
            "parent": self.parent,
            "login": self.login,
            "api_rows": self.api_rows,
            "rows_read": self.rows,
            "contacts_read": self.contacts,
            "set_aside": self.set_aside,
            "difference": None if expected is None else expected - compared,
            "aggregate_name": self.aggregate_name,
            "aggregate": aggregate,
            "aggregate_difference": None if aggregate is None else aggregate - compared,
            "verdict": self.verdict,
        }


@dataclass(slots=True)
class Verdicts:
    """How the lists of one run compare.

    Attributes:
        counts: lists by verdict.
        new: lists that differ, and did not in an earlier run.
        differing: the first of those that differ.
    """

    counts: Counter[str] = field(default_factory=Counter)
    new: int = 0
    differing: list[dict[str, Any]] = field(default_factory=list)

    def note(self, stream: str, count: Count) -> None:
        """Count one list."""
        verdict = count.verdict
        self.counts[verdict] += 1
        self.new += verdict == "differs" and not count.noted
        if verdict == "differs" and len(self.differing) < _SHOWN:
            found = {"counted": count.expected, "read": count.compared}
            self.differing.append({"stream": stream, "parent": count.parent, **found})

    def summary(self) -> dict[str, Any]:
        """Return what the run summary says of them."""
        counts = dict(sorted(self.counts.items()))
        return {"reconciliation": counts, "differing": self.differing}
