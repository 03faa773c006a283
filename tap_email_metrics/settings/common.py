"""Settings: composed from the providers, validated and parsed once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from singer_sdk import typing as th

from tap_email_metrics.clock import from_iso, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.records.privacy import MODES, Privacy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema import ValidationError

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
                description="Secret key of the hashes; required unless mode is plain.",
            ),
            additional_properties=False,
        ),
        title="Personal data",
        description="How personal data is treated.",
    ),
)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of all settings."""
    schema = th.PropertiesList(*_COMMON, additional_properties=False).to_dict()
    for provider in PROVIDERS:
        schema["properties"][provider.name] = {
            **provider.schema,
            "type": ["object", "null"],
            "title": provider.name.replace("_", " ").capitalize(),
            "description": "Settings of the provider; it is on when its credentials "
            f"({', '.join(provider.credentials)}) are set.",
        }
    return schema


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


def without_empty(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without nulls, empty strings and sections left empty.

    Meltano passes an empty variable on as a value. The SDK reads a fraction in a file
    as a Decimal, which does not mix with other numbers.
    """
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict) and name not in {"stream_maps", "stream_map_config"}:
            section = without_empty(item)
            if section:
                kept[name] = section
        elif isinstance(item, Decimal):
            kept[name] = float(item)
        elif item is not None and item != "":
            kept[name] = item
    return kept


_REFUSED = {
    "batch_config": "the files of BATCH would hold columns that are not selected; "
    "leave it out, records are written as RECORD messages"
}
"""Settings of the SDK that other taps have, and why this one does not."""


def errors(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with settings, a line each; no value is quoted."""
    found = Draft202012Validator(schema).iter_errors(config)
    return sorted(line for error in found for line in _explain(error))


def _explain(error: ValidationError) -> Iterator[str]:
    path = ".".join(str(part) for part in error.absolute_path) or "config"
    wanted: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            schema: Any = error.schema
            given: Any = error.instance
            known = list(schema["properties"])
            for name in sorted(set(given) - set(known)):
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {known}"
                where = name if path == "config" else f"{path}.{name}"
                if where in _REFUSED:
                    yield f"{where} is refused: {_REFUSED[where]}"
                    continue
                yield f"unknown setting {where}; {hint}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            names = " or ".join(kind for kind in kinds if kind != "null")
            yield f"{path} must be of type {names}"
        case "enum":
            choices = [choice for choice in wanted if choice is not None]
            yield f"{path} must be one of {', '.join(map(str, choices))}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            bound = {"minimum": "at least", "maximum": "at most"}
            word = bound.get(str(error.validator), "above")
            yield f"{path} must be {word} {wanted}"
        case _:
            yield f"{path} does not fit the schema ({error.validator})"
