"""Answers for many ids in one call, also where some of the ids spoil the call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from tap_email_metrics.errors import Denied, NotUnderstood, Retriable, Skippable
from tap_email_metrics.providers.constant_contact.client import NoList
from tap_email_metrics.records.values import decode_json
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tap_email_metrics.providers.constant_contact.client import (
        ConstantContactClient,
    )
    from tap_email_metrics.records.values import Row

FAILURES_IN_A_ROW = 10
"""Calls in a row that may fail before single ids are tried instead."""
SAMPLE = 10
"""Single ids, spread over all that are left, that tell whether any can be read."""


class Batches:
    """Reads rows of many ids, many of them in one call.

    A call that fails is split in halves, down to the ids that spoil it: about two
    calls for each halving, each with one try.

    Args:
        client: sends the requests.
        template: path of the calls, with a `{}` for the ids.
        id_field: the field of a row that holds its id.
        size: ids in one call at most.

    Attributes:
        rows: the row of each id that was answered.
        others: rows without one of the ids that were asked for.
        failed: why each of the other ids has no row.
        given_up: why the remaining ids were not asked for; None if all were.
    """

    def __init__(
        self,
        client: ConstantContactClient,
        template: str,
        *,
        id_field: str,
        size: int,
    ) -> None:
        self._client = client
        self._template = template
        self._id_field = id_field
        self._size = size
        self._in_a_row = 0
        self.rows: dict[str, Row] = {}
        self.others: list[Row] = []
        self.failed: dict[str, Skippable] = {}
        self.given_up: Skippable | None = None

    def read(self, ids: Sequence[str]) -> None:
        """Ask for ids, in the fewest calls.

        Raises:
            Exhausted, Terminated, Fatal: nothing more can be asked.
        """
        # Breadth first: what can be read is soon found among what cannot.
        calls: deque[Sequence[str]] = deque(chunks(ids, self._size))
        whole = len(calls)
        while calls and self.given_up is None:
            is_whole, whole = whole > 0, whole - 1
            left = [one for one in calls.popleft() if not self._is_done(one)]
            if not left:
                continue
            error = self._ask(left, TRIES if is_whole and not self._in_a_row else 1)
            if error is None:
                continue
            if len(left) > 1:
                half = len(left) // 2
                calls += [left[:half], left[half:]]
            if self._in_a_row >= FAILURES_IN_A_ROW:
                self._try_sample([one for part in calls for one in part], error)
        if not self.rows:
            self._blame_the_service()

    def read_alone(self, ids: Iterable[str]) -> None:
        """Ask for ids that failed before: each alone, with one try."""
        for one in ids:
            self._ask([one], 1)

    def _is_done(self, one: str) -> bool:
        return one in self.rows or one in self.failed

    def _try_sample(self, left: Sequence[str], error: Skippable) -> None:
        """Go on if any of the ids can be read, give up if none can."""
        left = [one for one in left if not self._is_done(one)]
        step = max(1, len(left) // SAMPLE)
        for one in left[::step][:SAMPLE]:
            if self._ask([one], 1) is None:
                return
        if len(left) > SAMPLE:
            self.given_up = error
            self._blame_the_service()

    def _blame_the_service(self) -> None:
        """Forget the failures that may have nothing to do with their ids."""
        for one, error in [*self.failed.items()]:
            if not _blames_an_id(error):
                self.given_up = self.given_up or error
                del self.failed[one]

    def _ask(self, ids: Sequence[str], tries: int) -> Skippable | None:
        """Ask for ids in one call; return the error if the call failed."""
        try:
            rows = self._client.get(
                self._template, [",".join(ids)], parse=_parse_results, tries=tries
            )
        except Skippable as error:
            # What blames its ids does not tell that the others fail, too.
            self._in_a_row += not _blames_an_id(error)
            if len(ids) == 1:
                self.failed[ids[0]] = error
            return error
        self._in_a_row = 0
        for row in rows:
            one = str(row.get(self._id_field))
            if one in ids:
                self.rows[one] = row
                self.failed.pop(one, None)
            else:
                self.others.append(row)
        for one in ids:
            if one not in self.rows:
                self.failed[one] = NotUnderstood(
                    f"GET {self._template} answered 200 without a row of this id"
                )
        return None


def _blames_an_id(error: Skippable) -> bool:
    """Return whether a call was refused because of one of its ids."""
    return not isinstance(error, Denied) and not isinstance(error.__cause__, Retriable)


def _parse_results(body: bytes) -> list[Row]:
    try:
        answer = decode_json(body)
    except msgspec.DecodeError as error:
        raise Retriable("a body that is not JSON") from error
    rows = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise NoList("an answer without results")
    return rows


def chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield ids in groups of a size at most."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
