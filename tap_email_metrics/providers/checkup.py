"""The doctor's check of one provider: who may read what, and what a run costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Fatal,
    Gone,
    Skippable,
    TapError,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tap_email_metrics.streams.base import EmailMetricsStream

Access = Literal["allowed", "failed", "denied", "missing", "not asked"]
Result = TypeVar("Result")

DOCTOR_TRIES = 2
"""Tries of each request of the doctor: few, so that it reports an outage soon."""
_BEST_FIRST: tuple[Access, ...] = (
    "allowed",
    "failed",
    "denied",
    "missing",
    "not asked",
)
"""The best answer counts: a stream is readable if one of its lists is."""


@dataclass(slots=True)
class StreamAccess:
    """How the requests for a stream's lists were answered.

    Attributes:
        access: the best answer.
        why: the other answers.
        headroom_days: days until unread rows are archived.
    """

    access: Access = "not asked"
    why: list[str] = field(default_factory=list)
    headroom_days: float | None = None

    def note(self, access: Access, why: str = "") -> None:
        """Add the answer of one list."""
        self.access = min(self.access, access, key=_BEST_FIRST.index)
        if why and why not in self.why:
            self.why.append(why)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated number of requests.

    Attributes:
        requests: the number.
        basis: what was measured for it, and what is assumed.
    """

    requests: int
    basis: str


class Checkup:
    """The requests that the doctor sends to one provider, and their answers.

    Args:
        streams: the streams that a run would read.
        has_state: whether they continue from a state.

    Attributes:
        findings: answers by stream.
        facts: other numbers and facts, by name.
        notes: remarks that stop no run.
        problems: reasons why a run would fail.
        next_run: cost of the next run, None if not known.
        backfill: cost of a first run that reads everything.
    """

    def __init__(
        self, streams: Iterable[EmailMetricsStream], *, has_state: bool
    ) -> None:
        self.streams = {stream.name: stream for stream in streams}
        self.has_state = has_state
        self.findings = {name: StreamAccess() for name in self.streams}
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.next_run: Estimate | None = None
        self.backfill: Estimate | None = None

    def ask(self, names: Sequence[str], work: Callable[[], Result]) -> Result | None:
        """Return the answer of a request and note it for streams; None if it fails.

        Raises:
            TapError: no other request of the provider can succeed.
        """
        try:
            result = work()
        except (Skippable, Unavailable, Fatal) as error:
            if _ends_all(error):
                raise
            self._note(names, _access(error), str(error))
            return None
        self._note(names, "allowed")
        return result

    def _note(self, names: Sequence[str], access: Access, why: str = "") -> None:
        for name in names:
            if name in self.findings:
                self.findings[name].note(access, why)


def _ends_all(error: TapError) -> bool:
    """Return whether no other request of the provider can succeed."""
    if not isinstance(error, Fatal):
        return False
    # In a run, one unreadable list ends its stream; the doctor goes on to the next.
    return isinstance(error, AuthenticationFailed) or not isinstance(
        error.__cause__, Skippable
    )


def _access(error: TapError) -> Access:
    """Map an error to an access; the error's cause is more exact than the error."""
    reasons = (error, error.__cause__)
    if any(isinstance(reason, Denied) for reason in reasons):
        return "denied"
    if any(isinstance(reason, Gone) for reason in reasons):
        return "missing"
    return "failed"
