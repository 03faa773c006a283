"""Constant Contact settings: their schema, and the parsed values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from singer_sdk import typing as th
from typing_extensions import override

from tap_email_metrics.settings.section import (
    Section,
    account_setting,
    base_url,
    check_sendable,
    file_of,
    is_off,
    limit_settings,
    require,
    with_defaults,
)
from tap_email_metrics.transport.files import resolved, state_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CREDENTIALS = ("client_id", "refresh_token")
API_URL = "https://api.cc.email/v3"
AUTH_URL = "https://authz.constantcontact.com/oauth2/default/v1"
NO_STORE = "none"
SUMMARY = "/account/summary"
"""Path of the account itself."""

SCHEMA = th.PropertiesList(
    th.Property(
        "client_id",
        th.StringType,
        title="Client ID",
        description="The app's API key.",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="Client secret",
        description="The app's secret. Leave it out for a public client.",
    ),
    th.Property(
        "refresh_token",
        th.StringType,
        secret=True,
        title="Refresh token",
        description="The first refresh token. The tap stores later ones in "
        "token_store.",
    ),
    th.Property(
        "token_store",
        th.StringType,
        title="Token store",
        description="File that stores the rotating refresh token. Default: a file in "
        "the user's state directory. none: the token is long-lived, so nothing is "
        "stored.",
    ),
    account_setting("the client id. Set it if one app reads several accounts."),
    th.Property(
        "activity_window_days",
        th.IntegerType(minimum=1),
        default=90,
        title="Activity window",
        description="For this many days after its last send, every run asks for the "
        "counters of a campaign.",
    ),
    th.Property(
        "lookback_days",
        th.IntegerType(minimum=0),
        default=2,
        title="Look-back",
        description="Days before the newest known row that a report is read again.",
    ),
    th.Property(
        "contact_reports",
        th.BooleanType,
        default=False,
        title="Contact reports",
        description="Also discover the reports by contact. Each of them costs one "
        "request per contact.",
    ),
    th.Property(
        "api_url",
        th.StringType,
        default=API_URL,
        title="API URL",
        description="Base URL of the API.",
    ),
    th.Property(
        "auth_url",
        th.StringType,
        default=AUTH_URL,
        title="Authorisation URL",
        description="Base URL of the authorisation server.",
    ),
    *limit_settings(
        workers=4,
        rate=("second", 4),
        daily=9_500,
        shared_by="over all runs on this machine that use this API key",
    ),
    additional_properties=False,
).to_dict()


@dataclass(frozen=True, slots=True)
class ConstantContactSettings(Section):
    """Parsed settings; see the schema for what each one means."""

    schema: ClassVar[Mapping[str, Any]] = SCHEMA
    credentials: ClassVar[tuple[str, ...]] = CREDENTIALS

    client_id: str
    client_secret: str | None
    refresh_token: str
    token_store: Path | None
    former_store: Path | None
    activity_window_days: int
    lookback_days: int
    contact_reports: bool
    auth_url: str
    requests_per_second: float

    @property
    @override
    def rate(self) -> float:
        return self.requests_per_second

    @property
    @override
    def api_key(self) -> str:
        return self.client_id

    @property
    @override
    def identity(self) -> str:
        return self.client_id

    @classmethod
    @override
    def parse(cls, section: Mapping[str, Any]) -> Self | None:
        """Return the settings, or None if the provider is switched off.

        Args:
            section: valid against the schema, without empty values.

        Raises:
            InvalidInput: a required setting is missing, or a URL is not valid.
        """
        if is_off(section, (*CREDENTIALS, "client_secret")):
            return None
        hint = " (tap-email-metrics-login obtains a refresh token)"
        require("constant_contact", section, CREDENTIALS, hint)
        values = with_defaults(SCHEMA, section)
        for name in ("client_id", "client_secret"):
            check_sendable(f"constant_contact.{name}", values[name])
        for name in ("api_url", "auth_url"):
            values[name] = base_url(f"constant_contact.{name}", values[name])
        values["account"] = values["account"] or values["client_id"]
        name = values["token_store"]
        # Each account of an app has its own token.
        owner = [values["client_id"], values["account"]]
        values["token_store"] = _store(name, owner)
        values["former_store"] = None if name else former_store(owner)
        return cls(**values)


def _store(name: str | None, owner: Sequence[str]) -> Path | None:
    """Return the file of the token store, None for no store.

    Args:
        name: the setting; None for the default file, whose name ends with a digest of
            the owner, so that no two owners share a file.
        owner: client id and account.
    """
    if name == NO_STORE:
        return None
    if name:
        file = file_of("constant_contact.token_store", name)
        return resolved(file, "the token store")
    digest = hashlib.sha256(json.dumps(owner).encode()).hexdigest()[:16]
    return state_directory() / f"constant-contact-{_readable(owner)[:40]}-{digest}.json"


def former_store(owner: Sequence[str]) -> Path:
    """Return the default file of earlier versions, which several owners could share."""
    return state_directory() / f"constant-contact-{_readable(owner)[:100]}.json"


def _readable(owner: Sequence[str]) -> str:
    whole = "-".join(dict.fromkeys(owner))
    return "".join(c if c.isalnum() else "-" for c in whole)
