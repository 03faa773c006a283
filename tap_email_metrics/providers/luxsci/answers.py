"""Recognises errors, spent quotas and success in LuxSci's responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from tap_email_metrics.errors import Exhausted, Throttled
from tap_email_metrics.records.values import decode_json
from tap_email_metrics.transport.bounds import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_email_metrics.transport.limits import Limits

_REASONS: tuple[tuple[str, str], ...] = (
    (
        r"disabled|inactive|deactivated|suspended",
        "the API integration is disabled: enable it in LuxSci's settings",
    ),
    (
        r"scope|not an? (account|user)",
        "the token is of another scope: check luxsci.scope (account or user)",
    ),
    (
        r"\bdate\b|\btime|clock",
        "the date was refused: set this machine's clock (NTP)",
    ),
    (r"signature|secret|hmac", "the signature was refused: check luxsci.secret"),
    (
        r"password|login|\buser\b",
        "the user was refused: check luxsci.user and luxsci.password",
    ),
    (r"token|key|integration", "the token is not known: check luxsci.token"),
)
"""Words in error texts, and the hints for them: the vendor documents no error texts."""
_THROTTLED = re.compile(r"too many|rate limit|throttl")
_SPENT = re.compile(r"(daily|per day|day's) .*(limit|quota)|quota")


def error_text(body: object) -> str:
    """Return the start of a body's error text in lower case.

    It is for matching, never for a log.
    """
    if not isinstance(body, dict):
        return ""
    text = body.get("error_message") or body.get("error") or body.get("comment")
    return text[:LONGEST_TEXT].lower() if isinstance(text, str) else ""


def heed_pace(text: str, where: str, limits: Limits, wait: float | None) -> None:
    """Raise if an error text says that there were too many requests.

    LuxSci may say so with any status.

    Args:
        text: the result of `error_text`.
        where: the request and its status, for messages.
        limits: is told when the quota of the day is spent.
        wait: seconds that the response asks the client to wait, if it does.

    Raises:
        Exhausted: the quota of the day is spent.
        Throttled: too many requests at the moment.
    """
    if _SPENT.search(text):
        limits.spend_day()
        raise Exhausted(f"{where}: the quota of this day is spent")
    if _THROTTLED.search(text):
        raise Throttled(f"{where}: throttled", wait)


def is_success(body: Mapping[str, object]) -> bool:
    """Return whether a response claims success, or does not mention it, and no error.

    With an error, even a claimed success does not show that an empty list is empty.
    """
    if body.get("error_message") or body.get("error"):
        return False
    return str(body.get("success", 1)) in {"1", "1.0", "True"}


def reason_of(text: str) -> str | None:
    """Return which setting an error text points to, None if that is unclear."""
    return next((hint for words, hint in _REASONS if re.search(words, text)), None)


def parsed(content: bytes) -> object:
    """Return the decoded body, None if it is not JSON."""
    try:
        return decode_json(content)
    except msgspec.DecodeError:
        return None
