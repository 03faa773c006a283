"""Warns when a run sees what contradicts a settled answer; it sends no request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from tap_email_metrics.contract.questions import Question


class Contradictions:
    """Compares the answers that a run gets with the documented or confirmed readings.

    Args:
        provider: name of the provider.
        questions: the provider's questions.
        logger: gets one warning for each question.
    """

    def __init__(
        self, provider: str, questions: Iterable[Question], logger: logging.Logger
    ) -> None:
        self._provider = provider
        self._settled = {one.name: one for one in questions if one.is_settled}
        self._logger = logger
        self._lock = threading.Lock()

    def watches(self, name: str) -> bool:
        """Return whether an answer can contradict what is known of a question."""
        with self._lock:
            return name in self._settled

    def saw(self, name: str, *readings: str) -> None:
        """Note the readings that an answer allows; warn if the expected one is missing.

        Args:
            name: name of the question.
            readings: the readings of the question that the answer allows.
        """
        with self._lock:
            question = self._settled.get(name)
            if question is None or question.expects in readings:
                return
            del self._settled[name]
        self._logger.warning(
            "%s: an answer contradicts what is known: question %s, %s (%s) was "
            "expected, and %s was seen. Please run tap-email-metrics-doctor "
            "--contract and report it",
            self._provider,
            name,
            question.expects,
            question.known,
            " or ".join(readings),
        )
