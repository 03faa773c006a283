"""The part of the state about all campaigns, and its checks."""

from __future__ import annotations

from typing import Any

from tap_email_metrics.providers.constant_contact.closed import (
    packed_buckets,
)
from tap_email_metrics.providers.constant_contact.schedule import long_id
from tap_email_metrics.state.generations import TAP_KEY, damaged


def campaigns_of(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the state about campaigns."""
    mine: dict[str, Any] = shared.setdefault("constant_contact", {})
    for name in ("campaigns", "refused", "closed", "unlisted"):
        mine.setdefault(name, {})
    # The first version of the state had only the day of the last try.
    mine["refused"] = {
        key: days if isinstance(days, list) else [days, days]
        for key, days in mine["refused"].items()
    }
    return mine


def check_shared(mine: object) -> None:
    """Check the part of the state about campaigns.

    Raises:
        InvalidInput: the part is damaged.
    """
    place = f"bookmarks.{TAP_KEY}.constant_contact"
    if not isinstance(mine, dict):
        raise damaged(place)
    parts = (
        ("campaigns", _is_entry),
        ("refused", _is_refusal),
        ("closed", _is_bucket),
        ("unlisted", _is_pair),
    )
    for name, fits in parts:
        part = mine.get(name, {})
        if not isinstance(part, dict):
            raise damaged(f"{place}.{name}")
        for key, value in part.items():
            if not (fits(value) and (name == "closed" or _is_id(key))):
                raise damaged(f"{place}.{name}.{key}")
    if not _is_login(mine.get("login", ["", ""])):
        raise damaged(f"{place}.login")
    for name in ("all_asked", "compared", "missing_since"):
        if not _is_day(mine.get(name, 0)):
            raise damaged(f"{place}.{name}")


def _is_login(value: object) -> bool:
    """Return whether a value is a fingerprint of a token and a digest of an account."""
    if not isinstance(value, list) or len(value) != len(("seed", "owner")):
        return False
    return all(isinstance(part, str) for part in value)


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) >= 3  # noqa: PLR2004 - two digests and a stamp
        and all(isinstance(part, str) for part in entry)
        and all(map(_is_id, entry[3:]))
    )


def _is_id(key: str) -> bool:
    try:
        long_id(key)
    except ValueError:
        return False
    return True


def _is_bucket(value: object) -> bool:
    try:
        packed_buckets({"": value})
    except (ValueError, TypeError):
        return False
    return True


def _is_day(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: object) -> bool:
    if not isinstance(value, list) or len(value) != len(("from", "to")):
        return False
    return all(map(_is_day, value))


def _is_refusal(value: object) -> bool:
    return _is_day(value) or _is_pair(value)
