"""Conversions of vendors' values to column types; None if a value does not fit."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63 - 1
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_EMITTED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z")
_LARGE_DOMAINS = frozenset({"gmail.com", "icloud.com"})
"""Domains of large mailbox providers among the addresses of simulated worlds."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def to_integer(value: object) -> int | None:
    """Return a 64-bit integer, also from text or a float without a fraction."""
    whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    digits = isinstance(value, str) and _INTEGER.fullmatch(value)
    if type(value) is not int and not whole and not digits:
        return None
    number = int(value)  # type: ignore[call-overload]
    return number if -_LARGEST - 1 <= number <= _LARGEST else None


def to_number(value: object) -> float | None:
    """Return a number, also from text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def to_boolean(value: object) -> bool | None:
    """Return a boolean, also from text."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def to_string(value: object) -> str | None:
    """Return text that a database can store, also from a number or boolean."""
    if isinstance(value, str):
        return _BAD_CHARACTER.sub("\ufffd", value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def to_instant(value: object) -> str | None:
    """Return an RFC 3339 date-time in UTC with milliseconds, from any offset."""
    if not isinstance(value, str):
        return None
    if _EMITTED.fullmatch(value):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{naive.isoformat(timespec='milliseconds')}Z"


def to_date(value: object) -> str | None:
    """Return a date in UTC, also from a date-time."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    instant = to_instant(value)
    return instant and instant[:10]


def to_strings(value: object) -> list[str | None] | None:
    """Return a list of texts."""
    return [to_string(item) for item in value] if isinstance(value, list) else None


def to_objects(value: object) -> list[Any] | None:
    """Return a list of objects."""
    return [clean(item) for item in value] if isinstance(value, list) else None


def to_object(value: object) -> object:
    """Return an object."""
    return clean(value) if isinstance(value, dict) else None


def to_recipient_domain(address: object) -> str | None:
    """Return the domain of an address if it is a large provider, else `other`."""
    if not isinstance(address, str) or "@" not in address:
        return None
    domain = address.rpartition("@")[2].strip().lower()
    return domain if domain in _LARGE_DOMAINS else "other"


def utc(milliseconds: object) -> str | None:
    """Return epoch milliseconds as RFC 3339, or None outside the years 1 to 9999."""
    if not isinstance(milliseconds, int):
        return None
    try:
        instant = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    naive = instant.replace(tzinfo=None)
    return f"{naive.isoformat(timespec='milliseconds')}Z"


def clean(value: object) -> object:
    """Return JSON in which a database can store every string and key."""
    if isinstance(value, dict):
        return {to_string(name): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return to_string(value) if isinstance(value, str) else value
