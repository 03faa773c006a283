"""A provider's section of the settings: what all share, and how to parse one."""

from __future__ import annotations

import abc
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import requests
from singer_sdk import typing as th

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


REPLACED = {
    "daily_reserve": "daily_requests is what the tap may make: subtract the reserve "
    "from it, and leave daily_reserve out"
}
"""Settings that every provider had, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Section(abc.ABC):
    """Parsed settings that every provider has; see its schema for what they mean.

    Attributes:
        schema: JSON Schema of the section.
        credentials: the settings that switch the provider on.
        replaced: settings that existed, and what to write instead.
    """

    schema: ClassVar[Mapping[str, Any]]
    credentials: ClassVar[tuple[str, ...]]
    replaced: ClassVar[Mapping[str, str]] = REPLACED

    account: str
    api_url: str
    max_concurrency: int
    daily_requests: int | None

    @classmethod
    @abc.abstractmethod
    def parse(cls, section: Mapping[str, Any]) -> Self | None:
        """Return the settings, None where the provider is switched off.

        Args:
            section: valid against the schema, without empty values.

        Raises:
            InvalidInput: it is half-filled, or a value does not fit.
        """

    @property
    @abc.abstractmethod
    def rate(self) -> float:
        """Requests that may start in a second."""

    @property
    @abc.abstractmethod
    def api_key(self) -> str:
        """The key by which the provider counts requests; only a fingerprint is kept."""

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """What tells the account from others of the same host; no label."""

    def fingerprint(self, provider: str) -> str:
        """Return the API's host and 16 hex digits, which the state keeps.

        The digits are of the SHA-256 of provider, host and identity.
        """
        host = str(urlsplit(self.api_url).hostname)
        text = f"{provider}\n{host}\n{self.identity}"
        return f"{host} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def account_setting(otherwise: str) -> th.Property[Any]:
    """Return the setting of the `account` column.

    Args:
        otherwise: says what the column holds if the setting is missing.
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
    shared_by: str = "over all runs on this machine",
) -> tuple[th.Property[Any], ...]:
    """Return the settings of a provider's limits.

    Args:
        workers: requests in flight, by default.
        rate: the unit, second or minute, and requests started in one, by default.
        daily: requests of a UTC day, by default; None for no limit.
        shared_by: says which runs share the day's requests.
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
    )


def is_off(section: Mapping[str, Any], credentials: Sequence[str]) -> bool:
    """Return whether none of a provider's credentials is set."""
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
    schema: Mapping[str, Any], section: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a section with its defaults."""
    properties = schema["properties"]
    return {name: part.get("default") for name, part in properties.items()} | {
        **section
    }


def base_url(name: str, url: str) -> str:
    """Return a URL that secrets may be sent to, without a slash at its end.

    Args:
        name: of the setting that holds it.
        url: https, but for this machine itself.

    Raises:
        InvalidInput: it is unfit.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port is None or parts.port else None
        requests.Request("GET", url).prepare()
    except ValueError:  # also what requests raises for a URL
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidInput(f"{name} is no URL: write it as https://your.site.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput(
            f"{name} must be a plain base URL, without user, query or fragment"
        )
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise InvalidInput(
            f"{name} must start with https://: the secret and the data travel over it"
        )
    return url.rstrip("/")
