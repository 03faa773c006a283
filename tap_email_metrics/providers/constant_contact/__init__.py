"""Constant Contact: reports of email campaigns from the V3 API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from tap_email_metrics.providers.base import Provider
from tap_email_metrics.providers.constant_contact import doctor
from tap_email_metrics.providers.constant_contact.account_streams import (
    Account,
    CampaignActivities,
    Campaigns,
    CampaignStats,
    CampaignSummaries,
    ContactCustomFields,
    ContactLists,
    Contacts,
    ContactTags,
    Segments,
)
from tap_email_metrics.providers.constant_contact.api import (
    ConstantContactApi,
)
from tap_email_metrics.providers.constant_contact.campaign_state import check_shared
from tap_email_metrics.providers.constant_contact.campaign_streams import (
    Bounces,
    CampaignActivityStats,
    Clicks,
    DidNotOpens,
    Forwards,
    Links,
    Opens,
    Optouts,
    SendHistory,
    Sends,
    Snapshots,
    UniqueOpens,
)
from tap_email_metrics.providers.constant_contact.contact_streams import (
    CONTACT_REPORTS,
)
from tap_email_metrics.providers.constant_contact.probes import ConstantContactProbes
from tap_email_metrics.providers.constant_contact.questions import QUESTIONS
from tap_email_metrics.providers.constant_contact.settings import (
    ConstantContactSettings,
)
from tap_email_metrics.providers.constant_contact.tokens import TokenStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.streams.base import EmailMetricsStream

ORDINARY = (
    CampaignSummaries,
    CampaignStats,
    Campaigns,
    Opens,
    Clicks,
    Sends,
    Forwards,
    Optouts,
    Bounces,
    UniqueOpens,
    Links,
    DidNotOpens,
    Snapshots,
    CampaignActivityStats,
    SendHistory,
    CampaignActivities,
    Contacts,
    ContactLists,
    ContactTags,
    ContactCustomFields,
    Segments,
    Account,
)
"""In reading order. `Snapshots` comes after the lists whose readings it records."""


class ConstantContact(Provider[ConstantContactSettings]):
    """Constant Contact: campaigns, and the reactions of their recipients."""

    name = "constant_contact"
    settings = ConstantContactSettings
    api = ConstantContactApi
    streams = (*ORDINARY, *CONTACT_REPORTS)
    examine = staticmethod(doctor.examine)
    questions = QUESTIONS
    probes = ConstantContactProbes

    @override
    def offers(
        self, settings: ConstantContactSettings | None
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams; the reports by contact only if the settings ask."""
        return self.streams if settings and settings.contact_reports else ORDINARY

    @override
    def identity(self, settings: ConstantContactSettings) -> str:
        """Return host and fingerprint, and the account as the token store knows it."""
        path = settings.token_store
        seed, account = settings.refresh_token, settings.account
        owner = path and TokenStore(path).owner(seed, account)
        return f"{super().identity(settings)} {owner or ''}".rstrip()

    @override
    def check_shared(self, shared: object) -> None:
        check_shared(shared)
