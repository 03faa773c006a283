"""LuxSci: reports of secure email and marketing from its REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from tap_email_metrics.providers.base import Provider
from tap_email_metrics.providers.luxsci import doctor
from tap_email_metrics.providers.luxsci.api import LuxSciApi
from tap_email_metrics.providers.luxsci.probes import LuxSciProbes
from tap_email_metrics.providers.luxsci.questions import QUESTIONS
from tap_email_metrics.providers.luxsci.settings import LuxSciSettings
from tap_email_metrics.providers.luxsci.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.streams.base import EmailMetricsStream


class LuxSci(Provider[LuxSciSettings]):
    """LuxSci: sent emails, their delivery, and the reactions to them."""

    name = "luxsci"
    settings = LuxSciSettings
    api = LuxSciApi
    streams = STREAMS
    examine = staticmethod(doctor.examine)
    questions = QUESTIONS
    probes = LuxSciProbes

    @override
    def offers(
        self, settings: LuxSciSettings | None
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that the scope and the logins of the settings allow."""
        if settings is None:
            return STREAMS
        return [stream for stream in STREAMS if stream.is_offered(settings)]
