"""Encompass (iModules, Anthology): the Email Metric API v2."""

from __future__ import annotations

from tap_email_metrics.providers.base import Provider
from tap_email_metrics.providers.encompass import doctor
from tap_email_metrics.providers.encompass.api import FIRST_SEND, EncompassApi
from tap_email_metrics.providers.encompass.probes import EncompassProbes
from tap_email_metrics.providers.encompass.questions import QUESTIONS
from tap_email_metrics.providers.encompass.settings import EncompassSettings
from tap_email_metrics.providers.encompass.streams import STREAMS


class Encompass(Provider[EncompassSettings]):
    """Encompass: messages, and the reactions of their recipients."""

    name = "encompass"
    settings = EncompassSettings
    api = EncompassApi
    streams = STREAMS
    examine = staticmethod(doctor.examine)
    questions = QUESTIONS
    probes = EncompassProbes
    earliest = FIRST_SEND
