"""The settings that belong to no provider: their schema, and the parsed values."""

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
        description="Date or date-time, in UTC if it has no offset. Rows with an "
        "earlier replication key are not emitted. If not set: everything that the API "
        "has, but only the last 365 days of reports that are read by windows of time.",
    ),
    th.Property(
        "end_date",
        th.StringType,
        title="End date",
        description="End of a backfill, as a date or date-time. Rows with this "
        "replication key or a later one are not emitted.",
    ),
    th.Property(
        "backfill",
        th.BooleanType,
        default=False,
        title="Backfill",
        description="Read the interval from start_date to end_date once, without "
        "changing the live bookmarks. A backfill that was cut short can be resumed.",
    ),
    th.Property(
        "max_run_minutes",
        th.NumberType(minimum=0),
        default=0,
        title="Longest run",
        description="Minutes after which a run pauses at a safe point and exits with "
        "0. 0: no limit.",
    ),
    th.Property(
        "max_lag_days",
        th.NumberType(minimum=0),
        default=0,
        title="Longest lag",
        description="A run that ends further behind than this many days exits with 1. "
        "0: off. Quiet lists are checked weekly, so a value below 8 needs revisit to "
        "be always.",
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
                description="How personal data is emitted: plain, hash, domain or "
                "drop.",
            ),
            th.Property(
                "pepper",
                th.StringType,
                secret=True,
                title="Pepper",
                description="Secret key of the hashes, with at least 16 characters. "
                "Required unless mode is plain.",
            ),
            additional_properties=False,
        ),
        title="Personal data",
        description="How personal data is treated.",
    ),
)


def common_schema() -> dict[str, Any]:
    """Return a new copy of the JSON Schema of these settings."""
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
            now: the current UTC seconds; `start_date` must not be later.

        Raises:
            InvalidInput: a value is not valid, or two values contradict each other.
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
        iso(moment)  # raises if the offset moves it out of the years 1 to 9999
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name} is not a date: write it as 2026-01-31 or 2026-01-31T00:00:00Z"
        ) from None
    # No row is older. Calculations with a much earlier time would leave the calendar.
    return max(0.0, moment)
