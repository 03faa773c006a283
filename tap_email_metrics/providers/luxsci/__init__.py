"""LuxSci: the REST API's reports of secure email and marketing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.luxsci.api import LuxSciApi
from tap_email_metrics.providers.luxsci.doctor import examine
from tap_email_metrics.providers.luxsci.settings import (
    CREDENTIALS,
    SCHEMA,
    LuxSciSettings,
)
from tap_email_metrics.providers.luxsci.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import ApiContext
    from tap_email_metrics.streams.base import EmailMetricsStream


class LuxSci:
    """The provider: emails sent and what became of them."""

    name = "luxsci"
    schema = SCHEMA
    credentials = CREDENTIALS
    streams = STREAMS
    earliest = None

    def offers(
        self, settings: LuxSciSettings | None
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that discovery shows: those of the scope and logins."""
        if settings is None:
            return STREAMS
        return [stream for stream in STREAMS if stream.is_offered(settings)]

    def parse(self, section: Mapping[str, Any]) -> LuxSciSettings | None:
        """Return the settings, None where the provider is switched off."""
        return LuxSciSettings.parse(section)

    def check_shared(self, shared: object) -> None:
        """Return: it keeps nothing beside its streams."""

    def open(
        self,
        settings: LuxSciSettings,
        context: ApiContext,
    ) -> LuxSciApi:
        """Return its api for one run; no request is sent yet."""
        return LuxSciApi(settings, context)

    def examine(self, api: LuxSciApi, checkup: Checkup) -> None:
        """Ask what the doctor asks of it."""
        examine(api, checkup)
