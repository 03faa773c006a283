"""Settings that belong to no provider, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from tap_email_metrics.clock import from_iso, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.records.privacy import MODES, Privacy

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMON = (
    th.Property(
        "start_date",
        th.StringType,
        title="Start date",
        description="Date or date-time (UTC unless it says otherwise) from which on "
        "rows are emitted, by replication key. Not set: all that the API has.",
    ),
    th.Property(
        "end_date",
        th.StringType,
        title="End date",
        description="With backfill: rows before this date or date-time are emitted.",
    ),
    th.Property(
        "backfill",
        th.BooleanType,
        default=False,
        title="Backfill",
        description="Read the interval from start_date to end_date once, resumable, "
        "without touching the live bookmarks.",
    ),
    th.Property(
        "max_run_minutes",
        th.NumberType(minimum=0),
        default=0,
        title="Longest run",
        description="Minutes after which a run pauses, in good order; 0: no limit.",
    ),
    th.Property(
        "max_lag_days",
        th.NumberType(minimum=0),
        default=0,
        title="Longest lag",
        description="A run that ends further behind than this many days exits 1; "
        "0: off. Quiet lists are checked weekly: with less than 8, revisit must be "
        "always.",
    ),
    th.Property(
        "pii",
        th.ObjectType(
            th.Property(
                "mode",
                th.StringType,
                default="plain",
                allowed_values=list(MODES),
                title="Mode",
                description="What becomes of personal data: plain, hash, domain or "
                "drop.",
            ),
            th.Property(
                "pepper",
                th.StringType,
                secret=True,
                title="Pepper",
                description="Secret key of the hashes, of 16 characters at least; "
                "required unless mode is plain.",
            ),
            additional_properties=False,
        ),
        title="Personal data",
        description="How personal data is treated.",
    ),
)


def common_schema() -> dict[str, Any]:
    """Return the JSON Schema of these settings, new each time."""
    return th.PropertiesList(*_COMMON, additional_properties=False).to_dict()


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """Parsed settings that belong to no provider; instants in UTC seconds."""

    start: float | None
    end: float | None
    backfill: bool
    max_run_minutes: float
    max_lag_days: float
    privacy: Privacy

    @classmethod
    def parse(cls, config: Mapping[str, Any], now: float) -> CommonSettings:
        """Return the settings.

        Args:
            config: valid against the schema, without empty values.
            now: UTC seconds; no start lies in the future.

        Raises:
            InvalidInput: values that do not go together.
        """
        start = _instant(config, "start_date")
        end = _instant(config, "end_date")
        backfill = bool(config.get("backfill"))
        if start is not None and start > now:
            raise InvalidInput(
                f"start_date is in the future ({iso(start)}): nothing could be read. "
                "Choose an earlier one, or leave it out for all that the API has"
            )
        if backfill and (start is None or end is None):
            raise InvalidInput("backfill needs start_date and end_date: set both")
        if end is not None and not backfill:
            raise InvalidInput(
                "end_date is for backfills only: set backfill to true, or remove it"
            )
        if start is not None and end is not None and start >= end:
            raise InvalidInput("end_date must be later than start_date")
        pii = config.get("pii", {})
        return cls(
            start=start,
            end=end,
            backfill=backfill,
            max_run_minutes=float(config.get("max_run_minutes", 0)),
            max_lag_days=float(config.get("max_lag_days", 0)),
            privacy=Privacy(pii.get("mode", "plain"), pii.get("pepper")),
        )


def _instant(config: Mapping[str, Any], name: str) -> float | None:
    text = config.get(name)
    if text is None:
        return None
    try:
        moment = from_iso(text)
        iso(moment)  # with its offset it may lie outside the years 1 to 9999
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name} is no date: write it as 2026-01-31 or 2026-01-31T00:00:00Z"
        ) from None
    return moment
