"""Encompass (iModules, Anthology): the Email Metric API v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.encompass.session import FIRST_SEND, EncompassSession
from tap_email_metrics.providers.encompass.settings import (
    CREDENTIALS,
    SCHEMA,
    EncompassSettings,
)
from tap_email_metrics.providers.encompass.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests.adapters import BaseAdapter

    from tap_email_metrics.bookmarks import StreamState
    from tap_email_metrics.run import Run
    from tap_email_metrics.settings import CommonSettings


class Encompass:
    """The provider: messages and what became of them."""

    name = "encompass"
    schema = SCHEMA
    credentials = CREDENTIALS
    streams = STREAMS
    earliest = FIRST_SEND

    def parse(self, section: Mapping[str, Any]) -> EncompassSettings | None:
        """Return the settings, None where the provider is switched off."""
        return EncompassSettings.parse(section)

    def open(
        self,
        settings: EncompassSettings,
        common: CommonSettings,
        run: Run,
        states: Mapping[str, StreamState],
        transport: BaseAdapter | None,
    ) -> EncompassSession:
        """Return a session for one run; no request is sent yet."""
        return EncompassSession(settings, common, run, states, transport)
