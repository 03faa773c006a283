"""Constant Contact: the V3 API's reports of email campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from tap_email_metrics.providers.constant_contact.campaigns import check_shared
from tap_email_metrics.providers.constant_contact.contact_streams import (
    CONTACT_REPORTS,
)
from tap_email_metrics.providers.constant_contact.doctor import examine
from tap_email_metrics.providers.constant_contact.settings import (
    CREDENTIALS,
    SCHEMA,
    ConstantContactSettings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import ApiContext
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
"""In the order in which they are read; the snapshots come after what they tell of."""
STREAMS = (*ORDINARY, *CONTACT_REPORTS)


class ConstantContact:
    """The provider: campaigns and what became of them."""

    name = "constant_contact"
    schema = SCHEMA
    credentials = CREDENTIALS
    streams = STREAMS
    earliest = None

    def offers(
        self, settings: ConstantContactSettings | None
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that discovery shows."""
        return STREAMS if settings and settings.contact_reports else ORDINARY

    def parse(self, section: Mapping[str, Any]) -> ConstantContactSettings | None:
        """Return the settings, None where the provider is switched off."""
        return ConstantContactSettings.parse(section)

    def check_shared(self, shared: object) -> None:
        """Refuse what the state keeps beside the streams, if it is damaged."""
        check_shared(shared)

    def open(
        self,
        settings: ConstantContactSettings,
        context: ApiContext,
    ) -> ConstantContactApi:
        """Return its api for one run; no request is sent yet."""
        return ConstantContactApi(settings, context)

    def examine(self, api: ConstantContactApi, checkup: Checkup) -> None:
        """Ask what the doctor asks of it."""
        examine(api, checkup)
