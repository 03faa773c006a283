"""Records of single rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec.structs import asdict

from tap_email_metrics.records.builder import RecordBuilder


class RowBuilder(RecordBuilder):
    """Builds the record of one row at a time.

    Attributes:
        set_aside: how many rows had no record, by reason.
    """

    def __init__(self, schema: dict[str, Any], **facts: Any) -> None:
        super().__init__(schema, **facts)
        self.set_aside: Counter[str] = Counter()

    def made(
        self, row: dict[str, Any], occurrence: int = 0, **request: object
    ) -> dict[str, Any] | None:
        """Return the record of a row, None if it has none."""
        made = self.page([row], request).numbered([occurrence]).made()
        self.set_aside += made.set_aside
        return asdict(made.records[0]) if made.records else None

    def identity(self, row: dict[str, Any], **request: object) -> tuple[object, ...]:
        """Return the values that identify a row."""
        [identity] = self.page([row], request).identities
        return identity
