"""Encompass client: offset paging, page sizes, and timeouts in a 200."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

from tap_email_metrics.errors import NotUnderstood, Retriable, TimedOut
from tap_email_metrics.records.builder import Envelope
from tap_email_metrics.records.pages import Page
from tap_email_metrics.records.values import decode_loosely, to_integer
from tap_email_metrics.transport.client import TRIES, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import requests

    from tap_email_metrics.control import Control
    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.values import Json, Row
    from tap_email_metrics.transport.client import Authenticator
    from tap_email_metrics.transport.limits import Limits

ParsedPage = tuple[Page, int | None, int | None]
"""The rows of a list, its total, and its page size."""

MAX_RESULTS = 1000
MIN_RESULTS = 10
MOST_ROWS = 10_000_000
"""Largest total that is believed. The largest known send had 170,000 recipients."""
LIST = Envelope(
    "data",
    (
        ("total", "total", Annotated[int, msgspec.Meta(ge=0, le=MOST_ROWS)]),
        ("size", "maxResults", int | None, None),
    ),
)
"""The envelope of a page of a message's list."""
_GROW_AFTER = 8  # successes in a row; asking for more may cost a timeout of 29 s


class OddBody(Retriable):
    """A body of an unknown shape. The next try may get a good one."""

    ends_as = NotUnderstood
    most_tries = 3


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list.

    Attributes:
        rows: the rows in the order of the response.
        total: number of rows in the whole list, None for a bare array.
        size: number of indices that the page covers: `maxResults` of the response,
            which may be less than requested, or else the requested number.
        full: the page has as many rows as it covers. More rows may follow, whatever
            the total says.
        shrunk: this page asked for fewer rows, because a request timed out lately or a
            page failed. The starts of the next pages are not known.
        skipped: number of rows before the page that no request can read.
    """

    rows: Page
    total: int | None
    size: int
    full: bool = False
    shrunk: bool = False
    skipped: int = 0


class EncompassClient(Client):
    """Reads pages of lists; asks for fewer rows after a timeout, and later for more."""

    def __init__(
        self,
        base_url: str,
        authenticator: Authenticator,
        limits: Limits,
        control: Control,
        session: requests.Session,
    ) -> None:
        super().__init__(base_url, authenticator, limits, control, session)
        self._size = MAX_RESULTS
        self._successes = 0
        self._size_lock = threading.Lock()

    def page(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[int],
        start: int,
        *,
        parse: Callable[[bytes], ParsedPage],
        query: Mapping[str, int] | None = None,
        size: int = MAX_RESULTS,
        tries: int = TRIES,
    ) -> ListPage:
        """Return the page of a list that starts at an index.

        Args:
            template: path with a `{}` for each id.
            ids: values for the path.
            start: 0-based index of the first row.
            parse: parses a body: `parse_rows` or `parse_loose`.
            query: further query parameters.
            size: largest number of rows to ask for.
            tries: total number of tries.

        Raises:
            Skippable: the page cannot be read.
        """
        with self._size_lock:
            most = min(size, self._size)
        params: dict[str, int | str] = {
            **(query or {}),
            "startAt": start,
            "maxResults": most,
        }
        rows, total, served = self.get(
            template,
            ids,
            params,
            parse=parse,
            tries=tries,
            before_retry=lambda error: self._shrink(error, params),
        )
        self._grow()
        asked = int(params["maxResults"])
        if served is None and rows:
            served = len(rows)  # the response does not say that it covers more
        covered = min(served or asked, asked)
        return ListPage(rows, total, covered, len(rows) == covered, asked < size)

    def _shrink(self, error: Retriable, params: dict[str, int | str]) -> None:
        if not isinstance(error, TimedOut):
            return
        with self._size_lock:
            size = max(MIN_RESULTS, int(params["maxResults"]) // 2)
            params["maxResults"] = size
            self._size = min(self._size, size)
            self._successes = 0

    def _grow(self) -> None:
        with self._size_lock:
            self._successes += 1
            if self._successes >= _GROW_AFTER:
                self._successes = 0
                self._size = min(MAX_RESULTS, self._size * 2)


def parse_rows(body: bytes, maker: PageMaker) -> ParsedPage:
    """Parse a page into rows with their records, the total and the page size.

    Total and page size are None for a bare array.

    Raises:
        TimedOut: the body has a message instead of rows.
        OddBody: the body is neither an envelope nor an array with objects.
    """
    found = maker.decode(body)
    if found is None:
        rows, total, size = parse_list(body)
        return maker.page(rows), total, size
    table, answer = found
    return table, answer.total, answer.size if (answer.size or 0) > 0 else None


def parse_loose(body: bytes) -> ParsedPage:
    """Parse a page like `parse_rows`, but with the decoded rows instead of records.

    An entry that is no object becomes an empty row.
    """
    rows, total, size = parse_list(body)
    objects = [row if isinstance(row, dict) else {} for row in rows]
    return plain_page(objects), total, size


def plain_page(rows: list[Row]) -> Page:
    """Return a page whose records are the decoded rows."""
    return Page.of_plain(rows, ("id", "dateAdded"))


def parse_list(body: bytes) -> tuple[list[Json], int | None, int | None]:
    """Parse a page into decoded rows, the total and the page size.

    Some of the rows may be no objects, such as null.

    Raises:
        TimedOut: the body has a message instead of rows.
        OddBody: the body is neither an envelope nor an array with objects.
    """
    try:
        # One odd value must not hide all other rows: it is invalid in every try.
        answer = decode_loosely(body)
    except msgspec.DecodeError as error:
        raise OddBody("a body that is not JSON") from error
    total = size = None
    if isinstance(answer, dict):
        if answer.get("data") is None and "message" in answer:
            raise TimedOut("a message in place of data")
        total = _total(answer.get("total"))
        size = to_integer(answer.get("maxResults"))
        answer = answer.get("data", {})
        if answer is None and total == 0:
            answer = []  # some servers write an empty list as null
        if answer == [] and total is None:
            raise OddBody("an empty list without a total")
    if not isinstance(answer, list) or not _has_objects(answer):
        raise OddBody("a body that is not a list of objects")
    return answer, total, size if size and size > 0 else None


def _has_objects(rows: list[Json]) -> bool:
    """Return whether a list is empty or has at least one object."""
    return not rows or any(isinstance(row, dict) for row in rows)


def _total(value: object) -> int | None:
    """Return the total of a list, None if the value is not a number of rows.

    Raises:
        OddBody: the number is too large to be believed.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    if value > MOST_ROWS:
        raise OddBody(f"a list with a total of more than {MOST_ROWS}")
    return value
