"""Encompass (iModules, Anthology): the Email Metric API v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.encompass.api import FIRST_SEND, EncompassApi
from tap_email_metrics.providers.encompass.doctor import examine
from tap_email_metrics.providers.encompass.settings import (
    CREDENTIALS,
    SCHEMA,
    EncompassSettings,
)
from tap_email_metrics.providers.encompass.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import ApiContext
    from tap_email_metrics.streams.base import EmailMetricsStream


class Encompass:
    """The provider: messages and what became of them."""

    name = "encompass"
    schema = SCHEMA
    credentials = CREDENTIALS
    streams = STREAMS
    earliest = FIRST_SEND

    def offers(
        self,
        settings: EncompassSettings | None,  # noqa: ARG002 - the same for all
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that discovery shows."""
        return STREAMS

    def parse(self, section: Mapping[str, Any]) -> EncompassSettings | None:
        """Return the settings, None where the provider is switched off."""
        return EncompassSettings.parse(section)

    def check_shared(self, shared: object) -> None:
        """Return: it keeps nothing beside its streams."""

    def open(
        self,
        settings: EncompassSettings,
        context: ApiContext,
    ) -> EncompassApi:
        """Return its api for one run; no request is sent yet."""
        return EncompassApi(settings, context)

    def examine(self, api: EncompassApi, checkup: Checkup) -> None:
        """Ask what the doctor asks of it."""
        examine(api, checkup)
