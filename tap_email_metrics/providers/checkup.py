"""What the doctor learns of one provider: who may read what, and what it would cost."""

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

TRIES = 2
"""Tries of a request that the doctor makes: it is to say soon what does not answer."""
_BEST_FIRST: tuple[Access, ...] = (
    "allowed",
    "failed",
    "denied",
    "missing",
    "not asked",
)
"""A stream of several lists is read where one of them is."""


@dataclass(slots=True)
class Finding:
    """What became of the requests for a stream's lists.

    Attributes:
        access: of the best of them.
        why: what the others answered.
        headroom_days: days until the archive takes what was not read.
    """

    access: Access = "not asked"
    why: list[str] = field(default_factory=list)
    headroom_days: float | None = None

    def note(self, access: Access, why: str = "") -> None:
        """Take in what one list answered."""
        self.access = min(self.access, access, key=_BEST_FIRST.index)
        if why and why not in self.why:
            self.why.append(why)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests that something takes.

    Attributes:
        requests: how many.
        basis: what was measured for it, and what is assumed.
    """

    requests: int
    basis: str


class Checkup:
    """What the doctor asks of one provider, and what it learns.

    Args:
        streams: those that would be read.
        has_state: whether they go on from a state.

    Attributes:
        findings: by stream.
        facts: what was counted or seen beside that, by a name for it.
        notes: what is worth a word, and stops no run.
        problems: what would fail a run.
        next_run: what the next run takes, None where that is not known.
        backfill: what all takes, read for the first time.
    """

    def __init__(
        self, streams: Iterable[EmailMetricsStream], *, has_state: bool
    ) -> None:
        self.streams = {stream.name: stream for stream in streams}
        self.has_state = has_state
        self.findings = {name: Finding() for name in self.streams}
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.next_run: Estimate | None = None
        self.backfill: Estimate | None = None

    def ask(self, names: Sequence[str], work: Callable[[], Result]) -> Result | None:
        """Return what a request answers, noted for streams; None where it fails.

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
    """Return whether nothing else of a provider can be asked."""
    if not isinstance(error, Fatal):
        return False
    # A list that ends a stream in a run is one that could not be read, here.
    return isinstance(error, AuthenticationFailed) or not isinstance(
        error.__cause__, Skippable
    )


def _access(error: TapError) -> Access:
    """Return what an error says of who may read: its cause is more exact."""
    reasons = (error, error.__cause__)
    if any(isinstance(reason, Denied) for reason in reasons):
        return "denied"
    if any(isinstance(reason, Gone) for reason in reasons):
        return "missing"
    return "failed"
