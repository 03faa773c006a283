"""The state of a stream from run to run. Only this module changes it.

In memory the part of a stream has the form

    {"replication_key": …, "replication_key_value": …, "checked_through": …,
     "marks": {"<parent id>": "<packed mark>"}, "history": [ms, id],
     "swept": day, "sweeping": [ms, id], "sweep_again": [day, [ms, id]],
     "gaps": [[from, to]],
     "backfill": {"<from>/<to>": {…}},
     "digests": …, "start": …, "readable": true, "lists": {"<list>": {…}},
     "read_all_due": …}

with further keys for the streams of some providers. `_tap` holds what belongs to no
single stream: `{"last_stream": …, "accounts": {…}, "<provider>": {…}}`. The module
`generations` describes the written form.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tap_email_metrics.clock import DAY, from_iso, iso
from tap_email_metrics.state.generations import RESTARTS, damaged
from tap_email_metrics.state.marks import Id, SomeMark
from tap_email_metrics.state.windows import coverages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_email_metrics.state.marks import MarkFormat
    from tap_email_metrics.state.windows import Coverage

Value = TypeVar("Value")
Keys = Mapping[str, Callable[[Any], object]]
"""Keys of the state, each with the function that converts its value. The functions
raise ValueError, TypeError or OverflowError for a value that does not fit."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of a provider's streams.

    Attributes:
        selected: states of the streams that this run reads, by name.
        others: states of other streams of the provider, by name.
        shared: the `_tap` part of the state; a provider's own part is under its name.
    """

    selected: Mapping[str, StreamState[Any, Any]]
    others: Mapping[str, StreamState[Any, Any]]
    shared: dict[str, Any]


class StreamState(Generic[Id, SomeMark]):
    """One stream's part of the state, decoded once and encoded at each change.

    Args:
        name: of the stream.
        entry: its part of the state; changed in place.
        marks: the format of its marks; None for a stream that keeps no marks.
        keys: the stream's own keys, each with the function that converts its value.

    Raises:
        InvalidInput: a key is damaged; the message names it.
    """

    def __init__(
        self,
        name: str,
        entry: dict[str, Any],
        marks: MarkFormat[Id, SomeMark] | None,
        keys: Keys | None = None,
    ) -> None:
        self._name = name
        self._entry = entry
        self._format: MarkFormat[Id, SomeMark] | None = marks
        self._keys: Keys = keys or {}
        packed = self.read("marks", _dict) or {}
        self.marks: dict[Id, SomeMark] = dict(self._unpacked(packed))
        self._history: tuple[int, Id] | None = self.read("history", self._place)
        self._gaps: list[tuple[float, float]] = self.read("gaps", _intervals) or []
        self._checked_through = self.read("checked_through", from_iso)
        self._read_all_due = self.read("read_all_due", from_iso)
        self._swept = self.read("swept", whole_number)
        self._sweeping: tuple[int, Id] | None = self.read("sweeping", self._place)
        self.read("sweep_again", self._sweep)
        self._backfill = self.read("backfill", _backfills)
        self._digests = self.read("digests", _base64) or ""
        self.coverages: dict[str, Coverage] = self.read("lists", coverages) or {}
        self._value = self.read("replication_key_value", _number_or_text)
        # A damaged key is refused here: later, a run would have begun.
        for key, convert in {**_LATER, **self._keys}.items():
            self.read(key, convert)
        for interval, part in (self._backfill or {}).items():
            self._side(interval, part)

    def read(self, key: str, convert: Callable[[Any], Value]) -> Value | None:
        """Return the converted value of a key, None if there is none.

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
        """Store JSON under a key. None becomes null, if the key exists.

        The key is not removed, because a merge of states would bring it back.
        """
        if value is not None or key in self._entry:
            self._entry[key] = value

    @property
    def format(self) -> MarkFormat[Id, SomeMark]:
        """The format of the stream's marks.

        Raises:
            TypeError: the stream keeps no marks.
        """
        if self._format is None:
            raise TypeError(f"{self._name} keeps no marks")
        return self._format

    def _unpacked(self, packed: dict[str, Any]) -> Iterator[tuple[Id, SomeMark]]:
        if self._format is None:
            return
        for key, text in packed.items():
            try:
                yield self._format.read_id(key), self._format.unpack(text)
            except (ValueError, TypeError, AttributeError) as error:
                raise damaged(f"bookmarks.{self._name}.marks.{key}") from error

    def _place(self, value: Any) -> tuple[int, Id] | None:  # noqa: ANN401 - any JSON
        if self._format is None:
            return None
        moment, place = value
        return whole_number(moment), self._format.read_place(place)

    @property
    def history(self) -> tuple[int, Id] | None:
        """Key of the last closed parent that was read, None before the first.

        The history is read newest first: parents below this key are still to be read.
        """
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
    def sweeping(self) -> tuple[int, Id] | None:
        """Key of the last list that the sweep of the day after `swept` has read."""
        return self._sweeping

    @property
    def checked_through(self) -> float | None:
        """UTC seconds up to which every open list was read, as of the last run."""
        return self._checked_through

    @property
    def read_all_due(self) -> float | None:
        """UTC start of the last run that read every list of the stream that was due."""
        return self._read_all_due

    @property
    def digests(self) -> str:
        """Base64 of the digests of a `ListStream`."""
        return self._digests

    def set_mark(self, parent_id: Id, mark: SomeMark | None) -> None:
        """Store the mark of a list; None removes it."""
        packed = self._entry.setdefault("marks", {})
        key = self.format.write_id(parent_id)
        if mark is None:
            self.marks.pop(parent_id, None)
            packed.pop(key, None)
        else:
            packed[key] = mark.pack()
            self.marks[parent_id] = mark.in_whole_minutes()

    def set_coverage(self, name: str, coverage: Coverage) -> None:
        """Store the coverage of a list that is read by windows."""
        self.coverages[name] = coverage
        self._entry.setdefault("lists", {})[name] = coverage.pack()

    def forget_coverages(self) -> None:
        """Forget the coverage of all lists, so that they are read anew."""
        self.coverages = {}
        self._entry.pop("lists", None)

    def set_history(self, key: tuple[int, Id]) -> None:
        """Store the key of the last closed parent that was read."""
        self._history = key
        self._entry["history"] = [key[0], self.format.write_place(key[1])]

    def set_swept(self, day: int, then: tuple[int, Id] | None = None) -> None:
        """Store the day number of a completed sweep.

        Args:
            day: number of the day.
            then: key of the last list that was read in the sweep of the next day,
                None if that sweep has not begun.
        """
        self._swept = day
        self._entry["swept"] = day
        self._sweeping = then
        place = then and [then[0], self.format.write_place(then[1])]
        self.write("sweeping", place)

    def note_parents(self, *, whole: bool) -> None:
        """Note whether the list of parents is whole, before lists are swept.

        While it is not, sweeps go on. Once it is, all of these are repeated, because
        they lacked parents.
        """
        kept = self.read("sweep_again", self._sweep)
        if whole and kept:
            self.set_swept(*kept)
            self.write("sweep_again", None)
        elif not whole and not kept and self._swept is not None:
            place = self._entry.get("sweeping")
            self.write("sweep_again", [self._swept, place])

    def _sweep(self, value: Any) -> tuple[int, tuple[int, Id] | None]:  # noqa: ANN401
        day, place = value
        return whole_number(day), place and self._place(place)

    def set_digests(self, digests: str) -> None:
        """Store the digests of a list, in base64."""
        self._digests = self._entry["digests"] = digests

    def set_checked_through(self, moment: float) -> None:
        """Store the UTC seconds up to which every open list was read."""
        self._checked_through = moment
        self._entry["checked_through"] = iso(moment)

    def set_read_all_due(self, started: float) -> None:
        """Store the UTC start of a run that read every list that was due."""
        self._read_all_due = started
        self._entry["read_all_due"] = iso(started)

    def promote(self, key: str, value: int | str | None) -> None:
        """Raise the bookmark to the newest replication key emitted; never lower it."""
        self._entry["replication_key"] = key
        if value is None:
            value = self._value
        elif isinstance(self._value, type(value)):
            value = max(self._value, value)
        if isinstance(value, int | str):
            self._value = self._entry["replication_key_value"] = value

    def acknowledge(self, gap: tuple[float, float]) -> None:
        """Store an interval whose rows may be lost; join intervals that touch."""
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
        """Return whether an interval was acknowledged before, give or take a day."""
        return any(
            gap[0] >= start - DAY and gap[1] <= end + DAY for start, end in self._gaps
        )

    def begin_at(self, start: float | None) -> bool:
        """Store the start of the data to read; return whether it moved back.

        If it did, marks, cursors and digests are dropped, so that everything is read
        again.
        """
        old = self.read("start", whole_number)
        new = 0 if start is None else int(start)
        self._entry["start"] = new
        moved = old is not None and new < old
        if moved:
            for key in ("marks", "history", "digests", *self._keys):
                self._entry.pop(key, None)
            self._entry[RESTARTS] = self._entry.get(RESTARTS, 0) + 1
            self.marks.clear()
            self._history = None
            self._digests = ""
        return moved

    def backfill(self, start: float, end: float) -> StreamState[Id, SomeMark]:
        """Return the state of a backfill, which is separate from the live marks."""
        interval = f"{iso(start)}/{iso(end)}"
        # A merge can bring another interval back, but only under its own key.
        own = (self._backfill or {}).get(interval, {})
        self._backfill = self._entry["backfill"] = {interval: own}
        return self._side(interval, own)

    def _side(self, interval: str, part: dict[str, Any]) -> StreamState[Id, SomeMark]:
        name = f"{self._name}.backfill.{interval}"
        return StreamState(name, part, self._format, self._keys)


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _backfills(value: object) -> dict[str, Any]:
    """Return the parts of backfills by interval; version 1 had one, with a key."""
    found = _dict(value)
    if "interval" not in found:
        return {interval: _dict(part) for interval, part in found.items()}
    start, end = found["interval"]
    return {f"{start}/{end}": {k: v for k, v in found.items() if k != "interval"}}


def whole_number(value: object) -> int:
    """Return a JSON value that is a whole number; raise TypeError for any other."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def _number_or_text(value: object) -> int | str:
    """Return a whole number or text; raise TypeError for any other value."""
    return value if isinstance(value, str) else whole_number(value)


def text_of(value: object) -> str:
    """Return a JSON text; raise TypeError for any other value."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def instant(value: object) -> str:
    """Return an instant as text; raise ValueError or TypeError for anything else."""
    text = text_of(value)
    from_iso(text)
    return text


def _truth_value(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def texts(value: object) -> dict[str, str]:
    """Return a JSON object whose values are text; raise TypeError for any other."""
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


_LATER: Keys = {
    "replication_key": text_of,
    "start": whole_number,
    "readable": _truth_value,
}
"""Keys of every stream that are read later in a run."""
