"""Encompass settings: their schema, and the parsed values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from singer_sdk import typing as th
from typing_extensions import override

from tap_email_metrics.settings.section import (
    Section,
    account_setting,
    base_url,
    is_off,
    limit_settings,
    require,
    with_defaults,
)

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
        description="Any https URL of the site; the tap gets its tokens there.",
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
        description="The web services GUID of the site.",
    ),
    th.Property(
        "region",
        th.StringType,
        default="us",
        allowed_values=["us", "ca"],
        title="Region",
        description="The API host to read from: us or ca.",
    ),
    th.Property(
        "api_url",
        th.StringType,
        title="API URL",
        description="Base URL of the API. It overrides region.",
    ),
    account_setting("the client id."),
    th.Property(
        "activity_window_days",
        th.IntegerType(minimum=1),
        default=365,
        title="Activity window",
        description="Days without activity after which the lists of a message are "
        "closed. Closed lists are read once in sweep_days only.",
    ),
    th.Property(
        "sweep_days",
        th.IntegerType(minimum=1),
        default=90,
        title="Sweep",
        description="Each closed list is read once in this many days.",
    ),
    th.Property(
        "lookback_days",
        th.IntegerType(minimum=0),
        default=2,
        title="Look-back",
        description="When a whole list is read, rows of this many days before its "
        "last check are emitted again.",
    ),
    th.Property(
        "revisit",
        th.StringType,
        default="decaying",
        allowed_values=["decaying", "always"],
        title="Revisit",
        description="decaying: read a list in every run for 7 days after the last "
        "activity, daily up to 30 days, then weekly. always: read every open list in "
        "every run.",
    ),
    th.Property(
        "on_archive_gap",
        th.StringType,
        default="warn",
        allowed_values=["warn", "fail"],
        title="On archive gap",
        description="What to do if the vendor may have archived actions before they "
        "were read: warn, or fail before reading.",
    ),
    *limit_settings(workers=4, rate=("second", 10), daily=None),
    additional_properties=False,
).to_dict()


@dataclass(frozen=True, slots=True)
class EncompassSettings(Section):
    """Parsed settings; see the schema for what each one means."""

    schema: ClassVar[Mapping[str, Any]] = SCHEMA
    credentials: ClassVar[tuple[str, ...]] = CREDENTIALS

    site_url: str
    client_id: str
    client_secret: str
    activity_window_days: int
    sweep_days: int
    lookback_days: int
    revisit: str
    on_archive_gap: str
    requests_per_second: float

    @property
    @override
    def rate(self) -> float:
        return self.requests_per_second

    @property
    @override
    def api_key(self) -> str:
        return f"{self.client_id} {self.client_secret}"

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
        if is_off(section, CREDENTIALS):
            return None
        require("encompass", section, CREDENTIALS)
        values = with_defaults(SCHEMA, section)
        of_region = API_URLS[values.pop("region")]
        values["api_url"] = base_url(
            "encompass.api_url", values["api_url"] or of_region
        )
        values["site_url"] = base_url("encompass.site_url", values["site_url"])
        values["account"] = values["account"] or values["client_id"]
        return cls(**values)
