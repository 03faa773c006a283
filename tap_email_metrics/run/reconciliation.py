"""Reconciliation: compares the vendor's count of a list with the rows that were read.

It costs no request, because the reading needs the same numbers.
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
    """The counts of a list that was read to its end.

    Attributes:
        parent: the list's parent or time; unique within the stream.
        rows: number of distinct rows read.
        api_rows: number of rows that the list itself reports, None if it does not.
        aggregate: the number of rows in another report of the vendor, None without one.
        aggregate_name: the vendor's name of the aggregate.
        contacts: number of distinct contacts, if the aggregate counts contacts.
        moved: `api_rows` changed while the list was read.
        archived: missing rows may be in the vendor's archive.
        verified: another read has confirmed the numbers.
        noted: an earlier run has reported the same difference.
        set_aside: number of rows served without a record.
        login: the login that owns the list; personal data.
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
        """The number of rows that the vendor counts, None if unknown."""
        return self.aggregate if self.api_rows is None else self.api_rows

    @property
    def compared(self) -> int:
        """The number to compare with `expected`."""
        return self.rows if self.contacts is None else self.contacts

    @property
    def verdict(self) -> Verdict:
        """How the number read compares with the expected number."""
        if self.set_aside:
            return "set_aside"
        expected = self.expected
        if expected is None:
            return "unknown"
        return "unsettled" if self.moved else self._against(expected)

    def _against(self, expected: int) -> Verdict:
        """Return the verdict for a list that did not move."""
        compared = self.compared
        if compared == expected:
            return "equal"
        if compared > expected and self.api_rows is None:
            return "above"  # rows arrived after the aggregate was read
        if compared < expected and self.archived:
            return "archived"
        return "differs" if self.verified else "unsettled"

    def columns(self) -> dict[str, object]:
        """Return the columns of the list's record in the reconciliation table."""
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
    """The verdicts of one run.

    Attributes:
        counts: number of lists by verdict.
        new: number of lists that differ and were not reported by an earlier run.
        differing: the first lists that differ.
    """

    counts: Counter[str] = field(default_factory=Counter)
    new: int = 0
    differing: list[dict[str, Any]] = field(default_factory=list)

    def note(self, stream: str, count: Count) -> None:
        """Add the verdict of one list."""
        verdict = count.verdict
        self.counts[verdict] += 1
        self.new += verdict == "differs" and not count.noted
        if verdict == "differs" and len(self.differing) < _SHOWN:
            found = {"counted": count.expected, "read": count.compared}
            self.differing.append({"stream": stream, "parent": count.parent, **found})

    def summary(self) -> dict[str, Any]:
        """Return the reconciliation part of the run summary."""
        counts = dict(sorted(self.counts.items()))
        return {"reconciliation": counts, "differing": self.differing}
