"""The settings that every provider has, and helpers to parse a provider's section."""

from __future__ import annotations

import abc
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import requests
from singer_sdk import typing as th

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


REPLACED = {
    "daily_reserve": "daily_requests is the number of requests that the tap may send: "
    "subtract the reserve from it, and leave daily_reserve out"
}
"""Former settings of every provider, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Section(abc.ABC):
    """The parsed settings that every provider has; its schema describes them.

    Attributes:
        schema: JSON Schema of the section.
        credentials: names of the settings that switch the provider on.
        replaced: former settings, and what to write instead.
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
        """Return the settings, None if the provider is switched off.

        Args:
            section: valid against the schema, without empty values.

        Raises:
            InvalidInput: a required setting is missing, or a value is not valid.
        """

    @property
    @abc.abstractmethod
    def rate(self) -> float:
        """Largest number of requests per second."""

    @property
    @abc.abstractmethod
    def api_key(self) -> str:
        """The key whose requests the provider counts. Only a fingerprint is stored."""

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """Identifies the account on its host; unlike `account` it is not a label."""

    def fingerprint(self, provider: str) -> str:
        """Return the API's host and 16 hex digits of a digest, for the state.

        The digest is the SHA-256 of provider, host and identity.
        """
        host = str(urlsplit(self.api_url).hostname)
        text = f"{provider}\n{host}\n{self.identity}"
        return f"{host} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def account_setting(otherwise: str) -> th.Property[Any]:
    """Return the setting of the `account` column.

    Args:
        otherwise: the value without this setting, as part of the description.
    """
    return th.Property(
        "account",
        th.StringType,
        title="Account",
        description=f"Value of the `account` column. If not set: {otherwise}",
    )


def limit_settings(
    *,
    workers: int,
    rate: tuple[str, int],
    daily: int | None,
    shared_by: str = "over all runs on this machine with these credentials",
) -> tuple[th.Property[Any], ...]:
    """Return the settings of a provider's limits.

    Args:
        workers: default number of requests in flight.
        rate: the unit, second or minute, and the default number of requests in it.
        daily: default number of requests in a UTC day, None for no limit.
        shared_by: which runs share the daily requests, as part of the description.
    """
    unit, per_unit = rate
    unlimited = ". If not set: no limit" if daily is None else ""
    return (
        th.Property(
            "max_concurrency",
            th.IntegerType(minimum=1, maximum=64),
            default=workers,
            title="Concurrency",
            description="Largest number of requests in flight.",
        ),
        th.Property(
            f"requests_per_{unit}",
            th.NumberType(exclusive_minimum=0),
            default=per_unit,
            title=f"Requests per {unit}",
            description=f"Largest number of requests that start within a {unit}.",
        ),
        th.Property(
            "daily_requests",
            th.IntegerType(minimum=1),
            default=daily,
            title="Daily requests",
            description=f"Largest number of requests in a UTC day, {shared_by}"
            f"{unlimited}.",
        ),
    )


def is_off(section: Mapping[str, Any], credentials: Sequence[str]) -> bool:
    """Return whether none of a provider's credentials is set."""
    return not any(section.get(name) for name in credentials)


def require(
    provider: str, section: Mapping[str, Any], names: Sequence[str], hint: str = ""
) -> None:
    """Check that a section has all required settings.

    Args:
        provider: name of the provider.
        section: its settings, without empty values.
        names: names of the required settings.
        hint: how to obtain them, for the message.

    Raises:
        InvalidInput: a required setting is missing.
    """
    for name in names:
        if not section.get(name):
            raise InvalidInput(
                f"{provider}.{name} is missing: {provider} needs {', '.join(names)}"
                f"{hint}; to leave it out, set none of them"
            )


def check_sendable(name: str, value: str | None) -> None:
    """Check a credential that is sent in a header.

    Raises:
        InvalidInput: it has other characters than the visible ones of ASCII.
    """
    if value and not (value.isascii() and value.isprintable()):
        raise InvalidInput(
            f"{name} has a character that cannot be sent in a header: copy it again, "
            "without formatting"
        )


def file_of(name: str, text: str) -> Path:
    """Return the file that a setting names.

    Raises:
        InvalidInput: its path begins with the home directory of an unknown user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidInput(
            f"{name} begins with ~, but that user has no home directory: write the "
            "whole path"
        ) from None


def with_defaults(
    schema: Mapping[str, Any], section: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a section with its defaults."""
    properties = schema["properties"]
    return {name: part.get("default") for name, part in properties.items()} | {
        **section
    }


def base_url(name: str, url: str) -> str:
    """Return a URL that secrets may be sent to, without a trailing slash.

    Args:
        name: name of the setting, for messages.
        url: an https URL; http is allowed for this machine only.

    Raises:
        InvalidInput: the URL is not valid or not allowed.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port is None or parts.port else None
        requests.Request("GET", url).prepare()
    except ValueError:  # requests raises it for an invalid URL, too
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidInput(
            f"{name} is not a URL: write it as https://your.site.example"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput(
            f"{name} must be a plain base URL, without user, query or fragment"
        )
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise InvalidInput(
            f"{name} must start with https://, because secrets and data are sent to it"
        )
    return url.rstrip("/")
