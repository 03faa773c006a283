"""The complete readings of snapshot lists that still need a record, in the state.

Only the last reading of a list counts, so there is at most one per list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.constant_contact.schedule import long_id, short_id
from tap_email_metrics.records.values import to_instant, to_milliseconds
from tap_email_metrics.state.packing import decode_number, encode_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_email_metrics.state.streams import StreamState

PENDING = "pending"
"""State key of the readings."""
_PARTS = 2


class Readings:
    """The readings that still need a record.

    Args:
        state: state of the stream that writes the records.

    Raises:
        InvalidInput: the state is damaged.
    """

    def __init__(self, state: StreamState[Any, Any]) -> None:
        self._state = state
        self._kept: dict[str, dict[str, str]] = (
            state.read(PENDING, pending_readings) or {}
        )

    def __iter__(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield report, activity, instant and number of rows of each reading."""
        for report, kept in self._kept.items():
            for key, text in kept.items():
                at, rows = map(decode_number, text.split("."))
                yield report, long_id(key), to_instant(at), rows

    def add(self, report: str, activity_id: str, as_of: str, rows: int) -> None:
        """Store a reading; it replaces an earlier one of the same list."""
        if not self._kept:
            self._state.write(PENDING, self._kept)
        packed = _packed(as_of, rows)
        self._kept.setdefault(report, {})[short_id(activity_id)] = packed

    def clear(self) -> None:
        """Remove the readings, after their records were written."""
        self._kept = {}
        self._state.write(PENDING, None)


def _packed(as_of: str, rows: int) -> str:
    at = to_milliseconds(as_of)
    if at is None:
        raise ValueError("no time")
    return f"{encode_number(at)}.{encode_number(rows)}"


def pending_readings(value: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 - any JSON
    """Return readings by report and activity.

    The first version of the state had a list of readings; it is converted.

    Raises:
        ValueError, TypeError: the value has another form.
    """
    found: dict[str, dict[str, str]] = {}
    if isinstance(value, list):
        for report, activity_id, as_of, rows in value:
            if not (isinstance(rows, int) and isinstance(report, str)):
                raise TypeError("no reading")
            found.setdefault(report, {})[short_id(activity_id)] = _packed(as_of, rows)
        return found
    if not isinstance(value, dict):
        raise TypeError("no object")
    try:
        for kept in value.values():
            for key, text in kept.items():
                long_id(key)
                if len([*map(decode_number, text.split("."))]) != _PARTS:
                    raise ValueError("no reading")
    except AttributeError as error:
        raise ValueError("no reading") from error
    return value
