"""The rows that a complete reading of a world gives, computed without the tap.

Rows have the columns of the tap: snake_case names, a UTC time beside each epoch in
milliseconds, and values that do not fit their column in `additional_fields`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from simulator.constant_contact import truth as constant_contact_truth
from simulator.luxsci import truth as luxsci_truth
from simulator.values import clean, to_integer, to_recipient_domain, to_string, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from simulator.luxsci.truth import Reading
    from simulator.rows import Row
    from simulator.world import World


@dataclass(frozen=True)
class _Column:
    name: str
    """Name of the vendor's field."""
    convert: Callable[[object], int | str | None]
    companion: str | None = None
    """Name of the next column, which shows the value in another form."""
    show: Callable[[object], str | None] = utc
    """Function that makes the value of the next column."""

    @cached_property
    def column(self) -> str:
        return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", self.name)


def _ints(*names: str) -> tuple[_Column, ...]:
    return tuple(_Column(name, to_integer) for name in names)


def _strings(*names: str) -> tuple[_Column, ...]:
    return tuple(_Column(name, to_string) for name in names)


def _instant(name: str, companion: str) -> _Column:
    return _Column(name, to_integer, companion)


_ADDED = _instant("dateAdded", "added_at")
_ACTION = (
    *_ints("id", "recipientId"),
    _instant("timestamp", "occurred_at"),
    _ADDED,
)
_COLUMNS = {
    "encompass_messages": (
        *_ints("id", "subCommunityId"),
        *_strings("emailName", "fromName", "fromAddress"),
        *_strings("subjectLine", "preHeader", "categoryName"),
        *_ints("sentCount"),
        _instant("scheduledDateTimestamp", "scheduled_at"),
        _instant("actualSendTimestamp", "sent_at"),
        _ADDED,
    ),
    "encompass_recipients": (
        *_ints("id", "memberId"),
        _Column("emailAddress", to_string, "recipient_domain", to_recipient_domain),
        *_strings("firstName", "lastName"),
        *_strings("classYear", "constituentId"),
        _ADDED,
        _instant("lastUpdated", "updated_at"),
    ),
    "encompass_opens": (*_ACTION, *_strings("ipAddress", "userAgent")),
    "encompass_clicks": (
        *_ACTION,
        *_ints("linkId"),
        *_strings("ipAddress", "userAgent"),
    ),
    "encompass_bounces": (*_ACTION, *_strings("type", "reason")),
    "encompass_delivers": _ACTION,
    "encompass_links": (*_ints("id"), *_strings("name", "url")),
}
STREAMS = (*_COLUMNS, *constant_contact_truth.STREAMS, *luxsci_truth.STREAMS)


def truth(
    world: World,
    stream: str,
    at: Iterable[float] | None = None,
    account: str | None = None,
    reading: Reading = luxsci_truth.ACCOUNT_SCOPE,
) -> list[dict[str, object]]:
    """Return every row that the API shows at any of the instants, sorted by key.

    Instants are UTC seconds (default: now). A row has the values of the latest of
    these instants at which it is shown. `reading` holds settings of the reader of
    LuxSci (see `simulator.luxsci.truth`). KeyError for an unknown stream.
    """
    with world.lock:
        instants = sorted([world.clock.now()] if at is None else at)
        if stream in constant_contact_truth.STREAMS:
            return constant_contact_truth.truth(
                world.constant_contact, stream, instants, account
            )
        if stream in luxsci_truth.STREAMS:
            return luxsci_truth.truth(world.luxsci, stream, instants, account, reading)
        if stream not in _COLUMNS:
            raise KeyError(stream)
        kind = stream.removeprefix("encompass_")
        name = world.encompass.client_id if account is None else account
        found = sorted(_shown(world, kind, instants), key=_key)
        return [
            encompass_record(stream, name, message_id, text)
            for message_id, _, text in found
        ]


def encompass_record(
    stream: str, account: str, message_id: int, text: bytes
) -> dict[str, object]:
    """Return the record of a row of Encompass, which is given as JSON."""
    owner = _owner(stream.removeprefix("encompass_"), message_id)
    return {"account": account} | owner | _shape(_COLUMNS[stream], text)


def _key(found: tuple[int, int, bytes]) -> tuple[int, int]:
    return found[:2]


def _owner(kind: str, message_id: int) -> dict[str, object]:
    return {} if kind == "messages" else {"message_id": message_id}


def _shown(
    world: World, kind: str, instants: Sequence[float]
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (message id, row id, JSON) of each row shown at one of the instants."""
    for message_id, row, start, end in _spans(world, kind):
        latest = bisect_left(instants, end) - 1
        if latest >= 0 and instants[latest] >= start:
            yield message_id, row.row_id, row.text(instants[latest])


def _spans(world: World, kind: str) -> Iterator[tuple[int, Row, float, float]]:
    """Yield (message id, row, shown from, shown until), UTC seconds."""
    account = world.encompass
    if kind == "messages":
        for row in account.all_messages():
            yield 0, row, row.visible_from, account.shown_until(kind, row)
        return
    for message_id, message, row in account.children(kind):
        start = max(row.visible_from, message.visible_from)
        end = min(
            account.shown_until(kind, row), account.shown_until("messages", message)
        )
        yield message_id, row, start, end


def _shape(columns: tuple[_Column, ...], text: bytes) -> dict[str, object]:
    """Return a row of the vendor as the columns of a stream."""
    rest = json.loads(text)
    shaped: dict[str, object] = {}
    for column in columns:
        raw = rest.pop(column.name, None)
        value = column.convert(raw)
        shaped[column.column] = value
        if value is None and raw is not None:
            rest[column.name] = raw
        if column.companion:
            shaped[column.companion] = column.show(value)
    shaped["additional_fields"] = clean(rest) if rest else None
    return shaped
