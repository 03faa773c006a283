"""The names of the providers in the report, in the order of the report."""

from __future__ import annotations

NAMES = {
    "encompass": "Encompass",
    "constant_contact": "Constant Contact",
    "luxsci": "LuxSci",
    "all": "All together",
}


def provider_name(provider: str) -> str:
    """Return the display name of a provider, such as Constant Contact."""
    return NAMES.get(provider, provider)
