"""The providers, in the order and with the names that the whole report has."""

from __future__ import annotations

NAMES = {
    "encompass": "Encompass",
    "constant_contact": "Constant Contact",
    "luxsci": "LuxSci",
    "all": "All together",
}


def provider_name(provider: str) -> str:
    """Return a provider's name as people write it."""
    return NAMES.get(provider, provider)
