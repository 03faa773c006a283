"""The providers that the tap reads, and the schema of all settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_email_metrics.providers.constant_contact import ConstantContact
from tap_email_metrics.providers.encompass import Encompass
from tap_email_metrics.providers.luxsci import LuxSci
from tap_email_metrics.settings.common import common_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_email_metrics.providers.base import Provider

PROVIDERS: tuple[Provider[Any], ...] = (Encompass(), ConstantContact(), LuxSci())
REPLACED = {
    f"{provider.name}.{name}": hint
    for provider in PROVIDERS
    for name, hint in provider.settings.replaced.items()
}
"""Former settings by dotted name, and what to write instead."""


def config_schema(providers: Iterable[Provider[Any]]) -> dict[str, Any]:
    """Return a new copy of the JSON Schema of all settings."""
    schema = common_schema()
    for provider in providers:
        schema["properties"][provider.name] = {
            **provider.settings.schema,
            "type": ["object", "null"],
            "title": provider.name.replace("_", " ").capitalize(),
            "description": "Settings of the provider. It is switched on if its "
            f"credentials ({', '.join(provider.settings.credentials)}) are set.",
        }
    return schema
