"""The providers that the tap reads: one entry each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_email_metrics.providers.constant_contact import ConstantContact
from tap_email_metrics.providers.encompass import Encompass
from tap_email_metrics.providers.luxsci import LuxSci

if TYPE_CHECKING:
    from tap_email_metrics.providers.base import Provider

PROVIDERS: tuple[Provider, ...] = (Encompass(), ConstantContact(), LuxSci())
