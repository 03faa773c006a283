"""A page of a list: the records of its rows, and the fields that the reader needs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_email_metrics.records.columns import Identity
    from tap_email_metrics.records.values import Row

Record = msgspec.Struct
Value = TypeVar("Value")

NOT_A_ROW = "not a row"
"""An entry of a list that is not a row of it, such as null or text."""
KEY_MISSING = "key missing"
"""A row without one of its key columns."""
KEY_UNREADABLE = "key unreadable"
"""A row with a value in a key column that does not fit the column."""
IDENTITY_MISSING = "identity missing"
"""An event without any value that distinguishes it from others."""
IDENTITY_UNREADABLE = "identity unreadable"
"""An event whose id is made from a value that does not fit its column, or is missing.

It has a record, but a later answer may show the value in another form: then the same
event has another id.
"""


class Made(NamedTuple):
    """The records of a page.

    The number of rows served is the number of records plus the total of `set_aside`.

    Attributes:
        records: the records.
        times: the replication key of each record, in epoch ms.
        set_aside: number of rows without a record, by reason.
        unreadable: number of records whose event id is doubtful.
    """

    records: Sequence[Any]
    times: Sequence[int | None]
    set_aside: Counter[str]
    unreadable: int = 0


class Page:
    """Rows of a list, in its order.

    Args:
        records: one record per row.
        fields: the vendor's fields that the reader needs, one value per row.
        times: the replication key of each row, in epoch ms.
        events: the values that the event id of each row is made from.
        identity: makes event ids; None if the vendor gives rows a key.
        key_sources: the vendor's fields that are part of the key.
        reasons: for each row, why it has no record or a doubtful id, or None. None if
            there is no such row.
        typed: the decoder has checked the types of `fields`.
    """

    __slots__ = (
        *("_events", "_fields", "_identity", "_key_sources", "_reasons"),
        *("_records", "_times", "_typed"),
    )

    def __init__(  # noqa: PLR0913 - the columns of a page
        self,
        records: list[Any],
        fields: Mapping[str, list[Any]],
        *,
        times: list[int | None] | None = None,
        events: list[tuple[object, ...]] | None = None,
        identity: Identity | None = None,
        key_sources: Sequence[str] = (),
        reasons: list[str | None] | None = None,
        typed: bool = False,
    ) -> None:
        self._records = records
        self._fields = fields
        self._times: list[int | None] = times or [None] * len(records)
        self._events = events
        self._identity = identity
        self._key_sources = key_sources
        self._reasons = reasons
        self._typed = typed

    @classmethod
    def of_plain(cls, rows: list[Row], reader_fields: Iterable[str]) -> Page:
        """Return rows whose records are the decoded objects themselves."""
        return cls(rows, {name: [r.get(name) for r in rows] for name in reader_fields})

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._records)

    def __getitem__(self, part: slice) -> Page:
        """Return a part of the rows."""
        return Page(
            self._records[part],
            {name: values[part] for name, values in self._fields.items()},
            times=self._times[part],
            events=self._events and self._events[part],
            identity=self._identity,
            key_sources=self._key_sources,
            reasons=self._reasons and self._reasons[part],
            typed=self._typed,
        )

    def where(self, chosen: Sequence[bool]) -> Page:
        """Return the rows that are chosen."""
        if all(chosen):
            return self
        places = [place for place, here in enumerate(chosen) if here]
        return Page(
            _at(self._records, places),
            {name: _at(values, places) for name, values in self._fields.items()},
            times=_at(self._times, places),
            events=self._events and _at(self._events, places),
            identity=self._identity,
            key_sources=self._key_sources,
            reasons=self._reasons and _at(self._reasons, places),
            typed=self._typed,
        )

    def without(self, emitted: Sequence[bool]) -> Page:
        """Return the page without rows that were emitted before.

        Rows without a record stay, so that they are counted.
        """
        pairs = zip(emitted, self.set_aside, strict=True)
        return self.where([not old or reason is not None for old, reason in pairs])

    def values(self, name: str) -> list[Any]:
        """Return the vendor's values of a field that the reader needs."""
        return self._fields[name]

    def integers(self, name: str) -> list[int | None]:
        """Return a field that the reader needs, None where it is not an integer."""
        values = self._fields[name]
        return values if self._typed else [*map(to_integer, values)]

    @property
    def times(self) -> list[int | None]:
        """The replication key of each row in epoch ms, None if it has none."""
        return self._times

    @property
    def identities(self) -> list[tuple[object, ...]]:
        """The values that identify each row; equal rows have equal values."""
        if self._events is not None:
            return self._events
        fields = [map(str, self._fields[name]) for name in self._key_sources]
        return [*zip(*fields, strict=True)] if fields else [()] * len(self)

    def numbered(self, equals: Sequence[int]) -> Page:
        """Set the event ids.

        Args:
            equals: for each row, the number of equal rows before it in the list.
        """
        if self._identity is None:
            return self
        make, column = self._identity.id, self._identity.column
        triples = zip(self._records, self.identities, equals, strict=True)
        for record, values, before in triples:
            setattr(record, column, make(values, before))
        for record, reason in zip(self._records, self._reasons or (), strict=False):
            if reason == IDENTITY_MISSING:
                setattr(record, column, None)
        return self

    @property
    def set_aside(self) -> list[str | None]:
        """Why each row has no record, None if it has one."""
        if not self._reasons:
            return [None] * len(self)
        kept = {IDENTITY_UNREADABLE}
        if self._identity is not None and not self._identity.is_key:
            kept.add(IDENTITY_MISSING)
        return [None if reason in kept else reason for reason in self._reasons]

    def made(self) -> Made:
        """Return the records of the rows that have one."""
        if not self._reasons:
            return Made(self._records, self._times, Counter())
        reasons = self.set_aside
        places = [place for place, reason in enumerate(reasons) if reason is None]
        set_aside = Counter(filter(None, reasons))
        records, times = _at(self._records, places), _at(self._times, places)
        return Made(records, times, set_aside, self.unreadable)

    @property
    def unreadable(self) -> int:
        """The number of rows whose event id is doubtful."""
        return (self._reasons or []).count(IDENTITY_UNREADABLE)

    @property
    def misunderstood(self) -> int:
        """The number of rows that have no record, or a doubtful event id."""
        reasons = self._reasons or []
        return len(reasons) - reasons.count(None)

    def doubt(self, chosen: Sequence[bool]) -> None:
        """Count the event ids of the chosen rows as doubtful."""
        if any(chosen):
            reasons = self._reasons or [None] * len(self)
            self._reasons = [
                IDENTITY_UNREADABLE if here and reason is None else reason
                for here, reason in zip(chosen, reasons, strict=True)
            ]


def _at(values: list[Value], places: Iterable[int]) -> list[Value]:
    return [values[place] for place in places]
