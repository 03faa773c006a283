"""Reads the rows of many ids with few calls, even if some ids make their call fail."""

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

FAILED_CALLS_IN_A_ROW = 10
"""After this many failed calls in a row, a sample of single ids is tried."""
SAMPLE_IDS = 10
"""Ids in the sample, spread over the remaining ids."""


class Batches:
    """Reads the rows of many ids, several ids in one call.

    A failed call is split in halves until the ids that make it fail are alone. Each of
    these calls has a single try.

    Args:
        client: sends the requests.
        template: path of the calls, with a `{}` for the ids.
        id_field: the field of a row that holds its id.
        size: largest number of ids in one call.

    Attributes:
        rows: the row of each id that was read.
        others: rows without one of the requested ids.
        failed: the error of each id that has no row.
        given_up: why the remaining ids were not requested, None if all were.
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
        """Ask for ids, with as few calls as possible.

        Raises:
            Exhausted, Terminated, Fatal: no more requests can be sent.
        """
        # Breadth first, to find the readable ids early.
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
            if self._in_a_row >= FAILED_CALLS_IN_A_ROW:
                self._try_sample([one for part in calls for one in part], error)
        if not self.rows:
            self._blame_the_service()

    def read_alone(self, ids: Iterable[str]) -> None:
        """Ask for ids that failed before, each in its own call with one try."""
        for one in ids:
            self._ask([one], 1)

    def _is_done(self, one: str) -> bool:
        return one in self.rows or one in self.failed

    def _try_sample(self, left: Sequence[str], error: Skippable) -> None:
        """Ask for a sample of ids; give up if none of them can be read."""
        left = [one for one in left if not self._is_done(one)]
        step = max(1, len(left) // SAMPLE_IDS)
        for one in left[::step][:SAMPLE_IDS]:
            if self._ask([one], 1) is None:
                return
        if len(left) > SAMPLE_IDS:
            self.given_up = error
            self._blame_the_service()

    def _blame_the_service(self) -> None:
        """Drop the failures whose cause may not be the id."""
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
            # An error that is caused by an id says nothing about other calls.
            self._in_a_row += not _blames_an_id(error)
            if len(ids) == 1:
                self.failed[ids[0]] = error
            return error
        self._in_a_row = 0
        for row in rows:
            one = str(row.get(self._id_field))
            if one not in ids:
                self.others.append(row)
            elif _has_stats(row):
                self.rows[one] = row
                self.failed.pop(one, None)
        for one in ids:
            if one not in self.rows:
                self.failed[one] = NotUnderstood(
                    f"GET {self._template} answered 200 without stats of this id"
                )
        return None


def _blames_an_id(error: Skippable) -> bool:
    """Return whether an error may be caused by one of the ids in the call."""
    return not isinstance(error, Denied) and not isinstance(error.__cause__, Retriable)


def _has_stats(row: Row) -> bool:
    """Return whether a row has counters: absent ones are not 0."""
    stats = row.get("stats")
    return isinstance(stats, dict) and bool(stats)


def _parse_results(body: bytes) -> list[Row]:
    try:
        answer = decode_json(body)
    except msgspec.DecodeError as error:
        raise Retriable("a body that is not JSON") from error
    rows = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise NoList("a response without results")
    return rows


def chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield ids in groups of at most a size."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
