"""Encompass settings: what the user may say, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.urls import base_url

if TYPE_CHECKING:
    from collections.abc import Mapping

API_URLS = {
    "us": "https://emapi.imodules.com",
    "ca": "https://emapi-ca.imodules.com",
}
CREDENTIALS = ("site_url", "client_id", "client_secret")

SCHEMA = th.PropertiesList(
    th.Property(
        "site_url",
        th.StringType,
        title="Site URL",
        description="Any of the site's own URLs, where tokens are issued; https.",
    ),
    th.Property(
        "client_id",
        th.StringType,
        title="Client ID",
        description="The site id.",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="Client secret",
        description="The web services GUID.",
    ),
    th.Property(
        "region",
        th.StringType,
        default="us",
        allowed_values=["us", "ca"],
        title="Region",
        description="Which API host to read: us or ca.",
    ),
    th.Property(
        "api_url",
        th.StringType,
        title="API URL",
        description="Base URL of the API, in place of the region's.",
    ),
    th.Property(
        "account",
        th.StringType,
        title="Account",
        description="Value of the `account` column; the client id if not set.",
    ),
    th.Property(
        "activity_window_days",
        th.IntegerType(minimum=1),
        default=365,
        title="Activity window",
        description="Days of silence after which a message's lists are closed: "
        "read only by the sweep from then on.",
    ),
    th.Property(
        "sweep_days",
        th.IntegerType(minimum=1),
        default=90,
        title="Sweep",
        description="Days in which each closed list is read once.",
    ),
    th.Property(
        "lookback_days",
        th.IntegerType(minimum=0),
        default=2,
        title="Look-back",
        description="Days before a list's last check whose rows are emitted again "
        "when the list is read whole.",
    ),
    th.Property(
        "revisit",
        th.StringType,
        default="decaying",
        allowed_values=["decaying", "always"],
        title="Revisit",
        description="decaying: every run for 7 days after the last activity, daily "
        "up to 30 days, then weekly. always: every open list in every run.",
    ),
    th.Property(
        "on_archive_gap",
        th.StringType,
        default="warn",
        allowed_values=["warn", "fail"],
        title="On archive gap",
        description="What to do when actions may have been archived unread: warn, "
        "or fail before reading.",
    ),
    th.Property(
        "max_concurrency",
        th.IntegerType(minimum=1, maximum=64),
        default=4,
        title="Concurrency",
        description="Requests in flight at most.",
    ),
    th.Property(
        "requests_per_second",
        th.NumberType(exclusive_minimum=0),
        default=10,
        title="Requests per second",
        description="Requests started in any one second at most.",
    ),
    th.Property(
        "daily_requests",
        th.IntegerType(minimum=1),
        title="Daily requests",
        description="Requests in a UTC day at most, over all runs on this machine; "
        "no limit if not set.",
    ),
    th.Property(
        "daily_reserve",
        th.IntegerType(minimum=0),
        default=0,
        title="Daily reserve",
        description="Requests of the day that are left to others.",
    ),
    additional_properties=False,
).to_dict()


@dataclass(frozen=True, slots=True)
class EncompassSettings:
    """Parsed settings; see the schema for what each one means."""

    site_url: str
    client_id: str
    client_secret: str
    region: str
    api_url: str
    account: str
    activity_window_days: int
    sweep_days: int
    lookback_days: int
    revisit: str
    on_archive_gap: str
    max_concurrency: int
    requests_per_second: float
    daily_requests: int | None
    daily_reserve: int

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> EncompassSettings | None:
        """Return the settings, or None where the provider is switched off.

        Args:
            section: valid against the schema, without empty values.

        Raises:
            InvalidInput: it is half-filled, or a URL is unfit.
        """
        present = [name for name in CREDENTIALS if section.get(name)]
        if not present:
            return None
        for name in CREDENTIALS:
            if name not in present:
                raise InvalidInput(
                    f"encompass.{name} is missing: Encompass needs "
                    f"{', '.join(CREDENTIALS)}; to leave it out, set none of them"
                )
        defaults = {
            name: schema.get("default") for name, schema in SCHEMA["properties"].items()
        }
        values = defaults | dict(section)
        values["api_url"] = base_url(
            "encompass.api_url", values["api_url"] or API_URLS[values["region"]]
        )
        values["site_url"] = base_url("encompass.site_url", values["site_url"])
        values["account"] = values["account"] or values["client_id"]
        reserve, daily = values["daily_reserve"], values["daily_requests"]
        if daily is not None and reserve >= daily:
            raise InvalidInput(
                "encompass.daily_reserve leaves nothing of encompass.daily_requests: "
                "make it smaller"
            )
        return cls(**values)
