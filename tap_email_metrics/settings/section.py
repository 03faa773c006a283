"""A provider's section of the settings: what every one has, and how it is parsed."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Section(abc.ABC):
    """Parsed settings that every provider has; see its schema for what they mean."""

    account: str
    api_url: str
    max_concurrency: int
    daily_requests: int | None
    daily_reserve: int

    @property
    @abc.abstractmethod
    def rate(self) -> float:
        """Requests that may start in a second."""

    @property
    @abc.abstractmethod
    def api_key(self) -> str:
        """What the provider counts a day's requests by; it is fingerprinted."""

    @property
    @abc.abstractmethod
    def ledger_folder(self) -> Path:
        """Where a day's requests are counted."""


def account_setting(otherwise: str) -> th.Property[Any]:
    """Return the setting of the `account` column.

    Args:
        otherwise: what the column holds where it is not set.
    """
    return th.Property(
        "account",
        th.StringType,
        title="Account",
        description=f"Value of the `account` column; {otherwise}",
    )


def limit_settings(
    *,
    workers: int,
    rate: tuple[str, int],
    daily: int | None,
    reserve: int,
    shared_by: str = "over all runs on this machine",
) -> tuple[th.Property[Any], ...]:
    """Return the settings of what a provider allows.

    Args:
        workers: requests in flight, by default.
        rate: the unit, second or minute, and requests started in one, by default.
        daily: requests of a UTC day, by default; None for no limit.
        reserve: how many of them are left to others, by default.
        shared_by: what the day's requests are counted over.
    """
    unit, per_unit = rate
    unlimited = "; no limit if not set" if daily is None else ""
    return (
        th.Property(
            "max_concurrency",
            th.IntegerType(minimum=1, maximum=64),
            default=workers,
            title="Concurrency",
            description="Requests in flight at most.",
        ),
        th.Property(
            f"requests_per_{unit}",
            th.NumberType(exclusive_minimum=0),
            default=per_unit,
            title=f"Requests per {unit}",
            description=f"Requests started in any one {unit} at most.",
        ),
        th.Property(
            "daily_requests",
            th.IntegerType(minimum=1),
            default=daily,
            title="Daily requests",
            description=f"Requests in a UTC day at most, {shared_by}{unlimited}.",
        ),
        th.Property(
            "daily_reserve",
            th.IntegerType(minimum=0),
            default=reserve,
            title="Daily reserve",
            description="Requests of the day that are left to others.",
        ),
    )


def is_off(section: Mapping[str, Any], credentials: Sequence[str]) -> bool:
    """Return whether no credential of a provider is set."""
    return not any(section.get(name) for name in credentials)


def require(
    provider: str, section: Mapping[str, Any], names: Sequence[str], hint: str = ""
) -> None:
    """Check that a section is not half-filled.

    Args:
        provider: its name.
        section: its settings, without empty values.
        names: what it needs.
        hint: how to obtain it, for the message.

    Raises:
        InvalidInput: something is missing.
    """
    for name in names:
        if not section.get(name):
            raise InvalidInput(
                f"{provider}.{name} is missing: {provider} needs {', '.join(names)}"
                f"{hint}; to leave it out, set none of them"
            )


def with_defaults(
    provider: str, schema: Mapping[str, Any], section: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a section with its defaults.

    Raises:
        InvalidInput: the reserve leaves nothing of the day's requests.
    """
    defaults = {
        name: part.get("default") for name, part in schema["properties"].items()
    }
    values = defaults | dict(section)
    daily = values["daily_requests"]
    if daily is not None and values["daily_reserve"] >= daily:
        raise InvalidInput(
            f"{provider}.daily_reserve leaves nothing of {provider}.daily_requests: "
            "make it smaller"
        )
    return values
