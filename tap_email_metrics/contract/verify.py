"""Reads lists in two ways and compares the results, as a certificate of an account."""

from __future__ import annotations

import abc
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tap_email_metrics.contract.questions import CannotTell
from tap_email_metrics.errors import AuthenticationFailed, Exhausted, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
    from random import Random

    from tap_email_metrics.contract.prober import Status
    from tap_email_metrics.records.values import Row

_SPENT = "the requests that were allowed are spent"
Comparison = Literal["equal", "differs", "not told"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The results of reading a list in two ways.

    Attributes:
        first: the identities of its rows, read in the first way.
        second: the identities of its rows, read in the second way.
        counted: number of rows by the API's own count, None without one.
        in_state: what the state says about the list, None without a state.
        contradicts_state: how the state contradicts the rows, empty if it does not.
    """

    first: Collection[Hashable]
    second: Collection[Hashable]
    counted: int | None = None
    in_state: int | str | None = None
    contradicts_state: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A list to read in two ways.

    Attributes:
        what: a description of the list, without an id.
        ways: descriptions of the two ways.
        read: reads the list in both ways.
    """

    what: str
    ways: str
    read: Callable[[], Reading]


class Probes(abc.ABC):
    """The probes of one provider.

    Attributes:
        paths: how each path was answered, by the vendor's name of the report. Only for
            an API whose paths are not known.
        path_overrides: paths that were answered although the built-in one was not.
    """

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, Status]] = {}
        self.path_overrides: dict[str, str] = {}

    @abc.abstractmethod
    def checks(self, number: int, rng: Random) -> Iterator[Check]:
        """Yield so many lists to be read twice; `rng` chooses them."""


def verify(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Read lists; return the verdict on each, for the report.

    Raises:
        AuthenticationFailed: the credentials are refused.
        Terminated: the run is ending.
    """
    found = []
    try:
        found += [_verdict(check) for check in checks]
    except CannotTell as reason:
        found.append(
            {"list": "", "ways": "", "verdict": "not told", "why": str(reason)}
        )
    except Exhausted:
        found.append({"list": "", "ways": "", "verdict": "not told", "why": _SPENT})
    return found


def numbered(rows: Iterable[Row]) -> list[tuple[str, int]]:
    """Return rows as texts, equal ones told apart by their number."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        text = repr(sorted(row.items()))
        seen[text] += 1
        found.append((text, seen[text]))
    return found


def too_many(stored: int | None, shown: int) -> str:
    """Return what is wrong if the state counts more rows than a list shows.

    It may count fewer: rows arrive after a run.

    Args:
        stored: number of rows or contacts read, according to the state; None without.
        shown: number of rows or contacts that the list shows.
    """
    if stored is None or stored <= shown:
        return ""
    return f"the state says that {stored} rows were read"


def _verdict(check: Check) -> dict[str, Any]:
    said: dict[str, Any] = {"list": check.what, "ways": check.ways}
    try:
        reading = check.read()
    except (AuthenticationFailed, Terminated):
        raise
    except Exhausted:
        return said | {"verdict": "not told", "why": _SPENT}
    except CannotTell as reason:
        return said | {"verdict": "not told", "why": str(reason)}
    only = {*reading.first} ^ {*reading.second}
    rows = len({*reading.first})
    differences = []
    if only:
        differences.append(f"{len(only)} rows were in one reading only")
    if reading.counted is not None and reading.counted != rows:
        differences.append(f"the API counts {reading.counted} rows")
    if reading.contradicts_state:
        differences.append(reading.contradicts_state)
    verdict: Comparison = "differs" if differences else "equal"
    return said | {
        "verdict": verdict,
        "rows": rows,
        "in_state": reading.in_state,
        "why": "; ".join(differences),
    }
