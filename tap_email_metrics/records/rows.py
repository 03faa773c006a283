"""Rows of a list as the reading sees them, and the records that come of them.

`LooseRows` are objects as they were decoded, of which the codec makes records one by
one; `Table`, in `tables`, has them made already. Whoever reads a list cannot tell them
apart.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from tap_email_metrics.records.columns import RowCodec
    from tap_email_metrics.records.pages import Record, Table, TableDecoder

Row = dict[str, object]


class Records(NamedTuple):
    """Records, and the replication key of each in epoch ms."""

    made: Sequence[Mapping[str, object] | Record]
    times: Sequence[int | None]


class Rows(abc.ABC):
    """Rows of a list, in its order."""

    __slots__ = ()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abc.abstractmethod
    def __getitem__(self, part: slice) -> Rows:
        """Return some of them."""

    @abc.abstractmethod
    def _of(self, places: Sequence[int]) -> Rows:
        """Return those at some places."""

    @abc.abstractmethod
    def values(self, name: str) -> Sequence[object]:
        """Return a field of the vendor's, one that the reading goes by."""

    @abc.abstractmethod
    def integers(self, name: str) -> list[int | None]:
        """Return such a field, None where it is no integer."""

    @property
    @abc.abstractmethod
    def times(self) -> Sequence[int | None]:
        """Return the replication key of each in epoch ms, None where it has none."""

    @property
    @abc.abstractmethod
    def identities(self) -> Sequence[Hashable]:
        """Return what tells each from the others of its list, but for equal ones."""

    @abc.abstractmethod
    def numbered(self, equals: Sequence[int]) -> Rows:
        """Return them, each with how many equal ones came before it in its list."""

    @abc.abstractmethod
    def records(self) -> Records:
        """Return a record of each that has a key."""

    def where(self, chosen: Sequence[bool]) -> Rows:
        """Return the rows that are chosen."""
        if all(chosen):
            return self
        return self._of([place for place, here in enumerate(chosen) if here])


class LooseRows(Rows):
    """Rows as they were decoded.

    Args:
        raw: one object a row.
        maker: makes records of them; None for rows of which none are made.
    """

    __slots__ = ("_equals", "_maker", "raw")

    def __init__(
        self,
        raw: Sequence[Row],
        maker: RowMaker | None = None,
        equals: Sequence[int] | None = None,
    ) -> None:
        self.raw = raw
        self._maker = maker
        self._equals = equals

    @property
    def _made_by(self) -> RowMaker:
        if self._maker is None:
            raise TypeError("Of these rows no records are made")
        return self._maker

    @override
    def __len__(self) -> int:
        return len(self.raw)

    @override
    def __getitem__(self, part: slice) -> LooseRows:
        equals = self._equals
        return LooseRows(self.raw[part], self._maker, equals and equals[part])

    @override
    def _of(self, places: Sequence[int]) -> LooseRows:
        equals = self._equals
        return LooseRows(
            [self.raw[place] for place in places],
            self._maker,
            equals and [equals[place] for place in places],
        )

    @override
    def values(self, name: str) -> Sequence[object]:
        return [row.get(name) for row in self.raw]

    @override
    def integers(self, name: str) -> list[int | None]:
        return [to_integer(row.get(name)) for row in self.raw]

    @property
    @override
    def times(self) -> Sequence[int | None]:
        return [self._made_by.time(row) for row in self.raw]

    @property
    @override
    def identities(self) -> Sequence[Hashable]:
        return [self._made_by.identity(row) for row in self.raw]

    @override
    def numbered(self, equals: Sequence[int]) -> LooseRows:
        return LooseRows(self.raw, self._maker, equals)

    @override
    def records(self) -> Records:
        maker = self._made_by
        equals = self._equals or [0] * len(self.raw)
        every = map(maker.record, self.raw, equals)
        made = [(n, record) for n, record in enumerate(every) if record is not None]
        times = [maker.time(self.raw[n]) for n, _ in made]
        return Records([record for _, record in made], times)


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes rows of what a list answers.

    Args:
        codec: of the stream.
        tables: makes tables of them, where that can be; None: never.
        from_path: the columns that no row carries, by name.
        at: epoch ms of all rows, where they do not say so themselves.
    """

    codec: RowCodec
    tables: TableDecoder | None = None
    from_path: Mapping[str, object] = field(default_factory=dict)
    at: int | None = None

    def decode(self, body: bytes) -> tuple[Table, Any] | None:
        """Return the rows of an answer, and the answer; None where one does not fit."""
        tables = self.tables
        return tables.decode(body, self.from_path, self.at) if tables else None

    def rows(self, raw: Sequence[Row]) -> Rows:
        """Return rows that were decoded already."""
        tables = self.tables
        table = tables.of_rows(raw, self.from_path, self.at) if tables else None
        return LooseRows(raw, self) if table is None else table

    def record(self, row: Row, equals: int) -> dict[str, object] | None:
        """Return the record of a row; None where it has no key."""
        return self.codec.record(row, equals, **self.from_path)

    def identity(self, row: Row) -> Hashable:
        """Return what tells a row from the others of its list."""
        return self.codec.identity(row, **self.from_path)

    def time(self, row: Row) -> int | None:
        """Return the replication key of a row in epoch ms."""
        return self.codec.time(row) if self.at is None else self.at
