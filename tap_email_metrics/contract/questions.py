"""An open question of an API, its possible answers, and how a probe decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tap_email_metrics.errors import (
    AuthenticationFailed,
    Exhausted,
    TapError,
    Terminated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tap_email_metrics.contract.prober import Prober

Basis = Literal["documented", "seen in clients", "inferred", "guessed"]


class CannotTell(Exception):  # noqa: N818 - named by what the report says then
    """A probe has too little to decide by; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe found.

    Attributes:
        reading: the reading of the question that is true; None if it is unknown.
        observations: number of rows, lists or answers that agree.
        why: what was seen, or why the reading is unknown; never a value of the account.
    """

    reading: str | None
    observations: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about the API that the vendor does not answer.

    Attributes:
        name: its name in reports and warnings.
        asks: the question.
        readings: the possible answers, by a short name.
        does: what the tap does under each reading.
        how: what the probe asks for, and how it decides; or why there is no probe.
        basis: how the expected reading is known.
        expects: the reading that the basis supports, if any.
        confirmed: date of the contract report that confirmed `expects`.
        settings: settings that are unnecessary once it is confirmed.
        probe: returns the answer; None if no request can tell.
    """

    name: str
    asks: str
    readings: Mapping[str, str]
    does: str
    how: str
    basis: Basis = "guessed"
    expects: str | None = None
    confirmed: str | None = None
    settings: tuple[str, ...] = ()
    probe: Callable[[Any], Answer] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether another reading would contradict what is known."""
        stated = self.confirmed is not None or self.basis == "documented"
        return self.expects is not None and stated

    @property
    def known(self) -> str:
        """How the answer is known, in words."""
        return f"confirmed on {self.confirmed}" if self.confirmed else self.basis


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Attributes:
        question: the question.
        answer: its answer.
        requests: number of requests sent for it. Answers that an earlier question has
            read cost nothing.
    """

    question: Question
    answer: Answer
    requests: int


def inquire(
    questions: Iterable[Question], probes: object, prober: Prober
) -> list[Finding]:
    """Ask the questions in order; each gets an answer.

    Args:
        questions: the questions to ask.
        probes: the provider's probes, which the questions call.
        prober: sends the requests.

    Raises:
        AuthenticationFailed: the credentials are refused.
        Terminated: the run is ending.
    """
    found = []
    for question in questions:
        before = prober.sent
        answer = _answer(question, probes)
        if answer.reading is not None and answer.reading not in question.readings:
            raise ValueError(f"{question.name} has no reading {answer.reading}")
        found.append(Finding(question, answer, prober.sent - before))
    return found


def _answer(question: Question, probes: object) -> Answer:
    if question.probe is None:
        return Answer(None, why=question.how)
    try:
        return question.probe(probes)
    except CannotTell as reason:
        return Answer(None, why=str(reason))
    except Exhausted:
        return Answer(None, why="the requests that were allowed are spent")
    except (AuthenticationFailed, Terminated):
        raise
    except TapError:
        return Answer(None, why="the API did not answer")
