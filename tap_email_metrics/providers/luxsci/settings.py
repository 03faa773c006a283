"""LuxSci settings: their schema, and the parsed values."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from singer_sdk import typing as th
from typing_extensions import override

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.luxsci.paths import (
    BASE,
    KNOWN,
    checked,
    described_paths,
)
from tap_email_metrics.settings.section import (
    REPLACED,
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

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS = ("token", "secret")
IDENTIFIED_BY = {"account": ("account_id",), "user": ("user", "password")}
"""Settings that are required in addition to the credentials, by scope."""

SCHEMA = th.PropertiesList(
    th.Property(
        "auth",
        th.StringType,
        default="secure",
        allowed_values=["secure", "api_key"],
        title="Authentication",
        description="secure: LuxSci Secure, signed requests. api_key: the X-API-Key "
        "header, in account scope only.",
    ),
    th.Property(
        "token",
        th.StringType,
        secret=True,
        title="Token",
        description="The API integration's token.",
    ),
    th.Property(
        "secret",
        th.StringType,
        secret=True,
        title="Secret",
        description="The API integration's secret. It signs requests and is sent only "
        "if auth is api_key.",
    ),
    th.Property(
        "scope",
        th.StringType,
        default="account",
        allowed_values=["account", "user"],
        title="Scope",
        description="Read the reports of the account, or of one user.",
    ),
    th.Property(
        "account_id",
        th.StringType,
        title="Account ID",
        description="The account's number. Required in account scope.",
    ),
    th.Property(
        "user",
        th.StringType,
        title="User",
        description="The user's login. Required in user scope.",
    ),
    th.Property(
        "password",
        th.StringType,
        secret=True,
        title="Password",
        description="The user's password. Required in user scope.",
    ),
    th.Property(
        "logins",
        th.ArrayType(th.StringType),
        title="Logins",
        description="Logins whose marketing reports are read in account scope. In "
        "user scope the tap reads the marketing reports of luxsci.user.",
    ),
    th.Property(
        "path_overrides",
        th.ObjectType(additional_properties=th.StringType),
        title="Path overrides",
        description="Paths of reports, by the vendor's name of the report "
        '(operationId), such as {"getEmailSMTPOpenReportAccount": '
        '"/account/{account}/report/…"}. They override all other sources of paths.',
    ),
    th.Property(
        "openapi_path",
        th.StringType,
        title="OpenAPI file",
        description="Your copy of the vendor's OpenAPI file (luxsci-api.yaml). Its "
        "paths override the paths that the tap assumes.",
    ),
    th.Property(
        "lookback_days",
        th.IntegerType(minimum=0),
        default=2,
        title="Look-back",
        description="Days before the last read that each run reads again, because "
        "rows can be late.",
    ),
    th.Property(
        "delivery_lookback_days",
        th.IntegerType(minimum=0),
        default=30,
        title="Look-back of deliveries",
        description="The look-back in days for reports whose rows change later: "
        "delivery status, marketing logs and bounces.",
    ),
    th.Property(
        "tracked_headers",
        th.BooleanType,
        default=False,
        title="Tracked headers",
        description="Ask for the email headers that the account captures. The tap "
        "sends tracked_headers=1, which the vendor does not document.",
    ),
    th.Property(
        "detail",
        th.BooleanType,
        default=False,
        title="Detail",
        description="Ask marketing reports for custom fields, which are stored in "
        "additional_fields. The tap sends detail=1, which the vendor does not "
        "document.",
    ),
    account_setting(
        "the account id; in user scope, 16 hex digits of the login's SHA-256."
    ),
    th.Property(
        "api_url",
        th.StringType,
        default=f"https://rest.luxsci.com{BASE}",
        title="API URL",
        description="Base URL of the API. Customers with dedicated servers have their "
        "own host.",
    ),
    *limit_settings(workers=2, rate=("minute", 60), daily=5_800),
    additional_properties=False,
).to_dict()


@dataclass(frozen=True, slots=True)
class LuxSciSettings(Section):
    """Parsed settings; see the schema for what each one means."""

    schema: ClassVar[Mapping[str, Any]] = SCHEMA
    credentials: ClassVar[tuple[str, ...]] = CREDENTIALS
    replaced: ClassVar[Mapping[str, str]] = {
        **REPLACED,
        "host": f"write luxsci.api_url, as https://your.host.example{BASE}",
        "window_days": "leave it out: the first window of the history is one day, and "
        "the tap adapts the length of the next ones",
    }

    auth: str
    token: str
    secret: str
    scope: str
    account_id: str | None
    user: str | None
    password: str | None
    logins: tuple[str, ...]
    path_overrides: Mapping[str, str]
    lookback_days: int
    delivery_lookback_days: int
    tracked_headers: bool
    detail: bool
    requests_per_minute: float
    described: Mapping[str, str] = field(default_factory=dict)

    @property
    @override
    def rate(self) -> float:
        return self.requests_per_minute / 60

    @property
    @override
    def api_key(self) -> str:
        return self.token

    @property
    @override
    def identity(self) -> str:
        own = login_digest(self.user or "") if self.scope == "user" else self.account_id
        return f"{self.scope} {own}"

    @classmethod
    @override
    def parse(cls, section: Mapping[str, Any]) -> Self | None:
        """Return the settings, or None if the provider is switched off.

        Args:
            section: valid against the schema, without empty values.

        Raises:
            InvalidInput: a required setting is missing, or two settings contradict
                each other.
        """
        if is_off(section, (*CREDENTIALS, "account_id", "user", "password")):
            return None
        values = with_defaults(SCHEMA, section)
        scope = values["scope"]
        hint = f" (scope is {scope})"
        require("luxsci", section, (*CREDENTIALS, *IDENTIFIED_BY[scope]), hint)
        if values["auth"] == "api_key" and scope == "user":
            raise InvalidInput(
                "luxsci.auth api_key works in account scope only: set luxsci.scope to "
                "account, or luxsci.auth to secure"
            )
        if values["auth"] == "api_key":
            for name in CREDENTIALS:
                check_sendable(f"luxsci.{name}", values[name])
        values["api_url"] = base_url("luxsci.api_url", values["api_url"])
        values["logins"] = _logins(values)
        values["account"] = values["account"] or _account(values)
        values["path_overrides"] = _overrides(values["path_overrides"] or {})
        if file := values.pop("openapi_path"):
            values["described"] = described_paths(file_of("luxsci.openapi_path", file))
        return cls(**values)


def login_digest(login: str) -> str:
    """Return 16 hex digits that replace a login where addresses are not allowed."""
    return hashlib.sha256(login.encode()).hexdigest()[:16]


def _account(values: Mapping[str, Any]) -> str:
    if values["scope"] == "user":
        return login_digest(values["user"])
    return str(values["account_id"])


def _logins(values: Mapping[str, Any]) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(values["logins"] or ()))
    if values["scope"] == "account":
        return given
    own = (values["user"],)
    if given not in {(), own}:
        raise InvalidInput(
            "luxsci.logins: in user scope only the user's own reports can be read; "
            "leave it out, or set luxsci.scope to account"
        )
    return own


def _overrides(given: Mapping[str, str]) -> dict[str, str]:
    for operation in given:
        if operation not in KNOWN:
            close = difflib.get_close_matches(operation, KNOWN, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/luxsci.md lists them"
            raise InvalidInput(
                f"luxsci.path_overrides names an unknown report {operation}; {hint}"
            )
    return {
        operation: checked(f"luxsci.path_overrides.{operation}", path)
        for operation, path in given.items()
    }
