"""The state: what the tap remembers from run to run, and the only code that writes it.

The state of a stream is

    {"replication_key": …, "replication_key_value": …, "checked_through": …,
     "marks": {"<parent id>": "<packed mark>"}, "history": [ms, id],
     "swept": day, "gaps": [[from, to]], "backfill": {…}, "digests": …, "start": …,
     "readable": true, "lists": {"<list>": {…}}}

and what a provider's streams keep beside that. `_tap` holds what belongs to no
stream: `{"version": 1, "last_stream": …, "<provider>": {…}}`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tap_email_metrics.clock import DAY, from_iso, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.encompass.schedule import Id, Mark, SomeMark
from tap_email_metrics.state.windows import reaches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from tap_email_metrics.state.windows import Reach

Value = TypeVar("Value")

STATE_VERSION = 1
TAP_KEY = "_tap"


@dataclass(frozen=True, slots=True)
class Kind(Generic[Id, SomeMark]):
    """How the marks of a stream, and the ids of its parents, are written.

    Each function raises ValueError, TypeError or AttributeError for what it did not
    write.

    Attributes:
        unpack: makes a mark of text.
        read_id: makes an id of the key of a mark.
        write_id: makes the key of an id.
        read_place: makes an id of its part of the watermark.
        write_place: makes the part of an id.
        lowest: comes before all ids.
    """

    unpack: Callable[[str], SomeMark]
    read_id: Callable[[str], Id]
    write_id: Callable[[Id], str]
    read_place: Callable[[object], Id]
    write_place: Callable[[Id], object]
    lowest: Id


@dataclass(frozen=True, slots=True)
class Memory:
    """What a provider's streams know of earlier runs.

    Attributes:
        selected: the part of each stream that is read in this run.
        others: the part of each that is not, where there is one.
        shared: what belongs to no stream; a provider keeps its own under its name.
    """

    selected: Mapping[str, StreamState[Any, Any]]
    others: Mapping[str, StreamState[Any, Any]]
    shared: dict[str, Any]


class StreamState(Generic[Id, SomeMark]):
    """One stream's part of the state: read into values once, written at commits.

    Args:
        name: of the stream.
        entry: its part; changed in place.
        kind: of its marks; if not given, `Mark` by number.

    Raises:
        InvalidInput: an entry is damaged; the message names its key.
    """

    def __init__(
        self,
        name: str,
        entry: dict[str, Any],
        kind: Kind[Id, SomeMark] | None = None,
    ) -> None:
        self._name = name
        self._entry = entry
        self.kind: Kind[Id, SomeMark] = kind or cast("Kind[Id, SomeMark]", NUMBERED)
        packed = self.read("marks", _dict) or {}
        self.marks: dict[Id, SomeMark] = dict(self._unpacked(packed))
        self._history: tuple[int, Id] | None = self.read("history", self._place)
        self._gaps: list[tuple[float, float]] = self.read("gaps", _intervals) or []
        self._checked_through = self.read("checked_through", from_iso)
        self._swept = self.read("swept", whole_number)
        self._backfill = self.read("backfill", _dict)
        self._digests = self.read("digests", _base64) or ""
        self.reaches: dict[str, Reach] = self.read("lists", reaches) or {}
        self._value = entry.get("replication_key_value")

    def read(self, key: str, convert: Callable[[Any], Value]) -> Value | None:
        """Return what is kept under a key, None where nothing is.

        Raises:
            InvalidInput: `convert` raised a ValueError, TypeError or OverflowError.
        """
        value = self._entry.get(key)
        if value is None:
            self._entry.pop(key, None)
            return None
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise damaged(f"bookmarks.{self._name}.{key}") from error

    def write(self, key: str, value: object) -> None:
        """Keep JSON under a key; None removes it."""
        if value is None:
            self._entry.pop(key, None)
        else:
            self._entry[key] = value

    def _unpacked(self, packed: dict[str, Any]) -> Iterator[tuple[Id, SomeMark]]:
        for key, text in packed.items():
            try:
                yield self.kind.read_id(key), self.kind.unpack(text)
            except (ValueError, TypeError, AttributeError) as error:
                raise damaged(f"bookmarks.{self._name}.marks.{key}") from error

    def _place(self, value: Any) -> tuple[int, Id]:  # noqa: ANN401 - whatever JSON holds
        moment, place = value
        return whole_number(moment), self.kind.read_place(place)

    @property
    def history(self) -> tuple[int, Id] | None:
        """Down to where closed parents are read: ms and id; None: no one."""
        return self._history

    @property
    def readable(self) -> bool:
        """Whether any list of the stream was ever read."""
        return self._entry.get("readable") is True

    @readable.setter
    def readable(self, value: bool) -> None:
        self._entry["readable"] = value

    @property
    def swept(self) -> int | None:
        """Day number of the last completed sweep."""
        return self._swept

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Intervals that the archive took unread, as far as the tap knows."""
        return list(self._gaps)

    @property
    def checked_through(self) -> float | None:
        """Instant up to which every open list was read, at the last run's end."""
        return self._checked_through

    @property
    def digests(self) -> str:
        """Digests of the rows of a list that is read whole in each run."""
        return self._digests

    def set_mark(self, parent_id: Id, mark: SomeMark | None) -> None:
        """Store the mark of a list, or drop it."""
        packed = self._entry.setdefault("marks", {})
        key = self.kind.write_id(parent_id)
        if mark is None:
            self.marks.pop(parent_id, None)
            packed.pop(key, None)
        else:
            packed[key] = text = mark.pack()
            self.marks[parent_id] = self.kind.unpack(text)

    def set_reach(self, name: str, reach: Reach) -> None:
        """Store how far a list is read that is asked for by windows."""
        self.reaches[name] = reach
        self._entry.setdefault("lists", {})[name] = reach.pack()

    def forget_reaches(self) -> None:
        """Take all lists for never read."""
        self.reaches = {}
        self._entry.pop("lists", None)

    def set_history(self, key: tuple[int, Id]) -> None:
        """Store down to where the history is read."""
        self._history = key
        self._entry["history"] = [key[0], self.kind.write_place(key[1])]

    def set_swept(self, day: int) -> None:
        """Store the day of a completed sweep."""
        self._swept = day
        self._entry["swept"] = day

    def set_digests(self, digests: str) -> None:
        """Store the digests of a list."""
        self._digests = self._entry["digests"] = digests

    def set_checked_through(self, moment: float) -> None:
        """Store up to when every open list was read."""
        self._checked_through = moment
        self._entry["checked_through"] = iso(moment)

    def promote(self, key: str, value: int | str | None) -> None:
        """Move the bookmark up to the newest replication key emitted, never back."""
        self._entry["replication_key"] = key
        if value is None:
            value = self._value
        elif isinstance(self._value, type(value)):
            value = max(self._value, value)
        if isinstance(value, int | str):
            self._value = self._entry["replication_key_value"] = value

    def acknowledge(self, gap: tuple[float, float]) -> None:
        """Remember an interval that may be gone; one that touches it, as one."""
        start, end = gap
        kept: list[tuple[float, float]] = []
        for old_start, old_end in self._gaps:
            if start <= old_end and end >= old_start:
                start, end = min(start, old_start), max(end, old_end)
            else:
                kept.append((old_start, old_end))
        self._gaps = sorted([*kept, (start, end)])
        self._entry["gaps"] = [[iso(start), iso(end)] for start, end in self._gaps]

    def knows(self, gap: tuple[float, float]) -> bool:
        """Return whether an interval was acknowledged before, to within a day."""
        return any(
            gap[0] >= start - DAY and gap[1] <= end + DAY for start, end in self._gaps
        )

    def begin_at(self, start: float | None) -> bool:
        """Take over the start of what is read; return whether it moved back.

        Then what was left out before is read as if for the first time.
        """
        old = self.read("start", whole_number)
        new = 0 if start is None else int(start)
        self._entry["start"] = new
        moved = old is not None and new < old
        if moved:
            for key in ("marks", "history", "digests"):
                self._entry.pop(key, None)
            self.marks.clear()
            self._history = None
            self._digests = ""
        return moved

    def backfill(self, start: float, end: float) -> StreamState[Id, SomeMark]:
        """Return the state of a side backfill, kept apart from the live marks."""
        interval = [iso(start), iso(end)]
        if not self._backfill or self._backfill.get("interval") != interval:
            self._backfill = self._entry["backfill"] = {"interval": interval}
        return StreamState(f"{self._name}.backfill", self._backfill, self.kind)


def damaged(key: str) -> InvalidInput:
    """Return the error for a state entry that cannot be understood."""
    return InvalidInput(
        f"The state is damaged at {key}. Restore the last good state (for Meltano: "
        "'meltano state get' and 'meltano state set'), or remove that key to read "
        "its data again."
    )


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def whole_number(value: object) -> int:
    """Return a whole number of JSON; TypeError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def texts(value: object) -> dict[str, str]:
    """Return an object of JSON that holds text; TypeError for anything else."""
    found = _dict(value)
    if not all(isinstance(text, str) for text in found.values()):
        raise TypeError("no text")
    return found


def _intervals(value: Any) -> list[tuple[float, float]]:  # noqa: ANN401 - likewise
    if not isinstance(value, list):
        raise TypeError("no list")
    return [(from_iso(start), from_iso(end)) for start, end in value]


def _base64(value: str) -> str:
    base64.b64decode(value, validate=True)
    return value


def validate_state(state: Mapping[str, Any], prefixes: Collection[str]) -> None:
    """Check that a state is this tap's and of a version that it understands.

    Raises:
        InvalidInput: it is not, with the key and what to do.
    """
    bookmarks = state.get("bookmarks", {})
    if not isinstance(bookmarks, dict):
        raise damaged("bookmarks")
    tap = bookmarks.get(TAP_KEY, {})
    if not isinstance(tap, dict):
        raise damaged(f"bookmarks.{TAP_KEY}")
    version = tap.get("version", STATE_VERSION)
    if not isinstance(version, int) or isinstance(version, bool):
        raise damaged(f"bookmarks.{TAP_KEY}.version")
    if version > STATE_VERSION:
        raise InvalidInput(
            f"The state was written by a newer tap-email-metrics (bookmarks.{TAP_KEY}"
            f".version is {version}, this one knows {STATE_VERSION}). Upgrade the "
            "tap, or start from an older state."
        )
    for name, entry in bookmarks.items():
        if name != TAP_KEY and not name.startswith(tuple(prefixes)):
            raise InvalidInput(
                f"The state is not this tap's: bookmarks.{name} is no stream of "
                "tap-email-metrics. Pass the state that this tap wrote, or none."
            )
        if not isinstance(entry, dict):
            raise damaged(f"bookmarks.{name}")
        if "partitions" in entry:
            raise damaged(f"bookmarks.{name}.partitions")


NUMBERED: Kind[int, Mark] = Kind(Mark.unpack, int, str, whole_number, int, 0)
"""Of streams whose parents have numbers."""
