"""Marks: how far one list of one parent was read.

This module has the interface. Each provider has its own mark class and packed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

QUARANTINE_AFTER = 5
"""Failed runs in a row after which a list is tried only once a day."""


class AnyMark(Protocol):
    """The part of a mark that all providers have."""

    @property
    def checked(self) -> float | None:
        """Start of the last complete check in UTC seconds, None before the first."""

    @property
    def last_seen(self) -> float | None:
        """Last known activity in UTC seconds, for a parent that is no longer listed."""

    @property
    def failures(self) -> int:
        """Runs in a row in which the list could not be read."""

    @property
    def tried(self) -> float | None:
        """Time of the last read, in UTC seconds, if it did not settle the list."""

    @property
    def quarantined(self) -> bool:
        """Whether the list failed so often that it is tried only once a day."""

    @property
    def unsettled(self) -> bool:
        """Whether the last read missed some of the rows."""

    @property
    def settled(self) -> bool:
        """Whether the list was read completely and the last try succeeded."""

    def failed(self, now: float) -> Self:
        """Return the mark after a failed try."""

    def interrupted(self, now: float) -> Self:
        """Return the mark after a read that the end of the run cut short."""

    def pack(self) -> str:
        """Return the mark as one short string."""

    def in_whole_minutes(self) -> Self:
        """Return the mark with its times cut to whole minutes, as packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """The part of a mark that is the same for all providers: checks and failures.

    Attributes:
        checked: start of the last complete check in UTC seconds, None before the first.
        failures: runs in a row in which the list could not be read.
        tried: time of the last read in UTC seconds, if it did not settle the list.
    """

    checked: float | None = None
    failures: int = 0
    tried: float | None = None

    @property
    def quarantined(self) -> bool:
        """Whether the list failed so often that it is tried only once a day."""
        return self.failures >= QUARANTINE_AFTER

    def failed(self, now: float) -> Self:
        """Return the mark after a failed try."""
        return replace(self, failures=self.failures + 1, tried=now)

    def interrupted(self, now: float) -> Self:
        """Return the mark after a read that the end of the run cut short."""
        return replace(self, tried=now)


def is_cut(mark: AnyMark) -> bool:
    """Return whether the end of a run cut the last read of a list short."""
    return mark.tried is not None and not mark.failures and not mark.unsettled


Id = TypeVar("Id", int, str)
"""Type of a parent's id: a number or a name."""
SomeMark = TypeVar("SomeMark", bound=AnyMark)


@dataclass(frozen=True, slots=True)
class MarkFormat(Generic[Id, SomeMark]):
    """The form of a stream's marks and parent ids in the state.

    The functions that read raise ValueError, TypeError or AttributeError for input
    that the tap did not write.

    Attributes:
        first: the mark of a list that was never read.
        unpack: returns the mark of a packed string.
        read_id: returns the parent id of a key in `marks`.
        write_id: returns the key of a parent id.
        read_place: returns the parent id of the second part of `history`.
        write_place: returns the second part of `history` for a parent id.
        lowest: an id that sorts before all others.
    """

    first: SomeMark
    unpack: Callable[[str], SomeMark]
    read_id: Callable[[str], Id]
    write_id: Callable[[Id], str]
    read_place: Callable[[object], Id]
    write_place: Callable[[Id], object]
    lowest: Id
