"""Other paths that a report may have, made from the vendor's names of the reports."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORDS = {
    "delivery": ("delivery_status", "deliverystatus"),
    "opens": ("open", "opened"),
    "clicks": ("click", "clicked"),
    "fbl": ("feedback_loops", "feedbackloops", "complaints"),
    "suppressions": ("suppression",),
    "tempfail": ("temp_fail", "tempfails", "temporary_failures"),
    "loginfailures": ("login_failures", "loginfailure", "login_failure"),
    "sent": ("sends",),
    "users": ("user",),
    "jobs": ("job",),
    "lists": ("list",),
    "contacts": ("contact",),
    "campaigns": ("campaign",),
    "logs": ("log",),
    "opened": ("opens", "open"),
    "clicked": ("clicks", "click"),
    "urls": ("url",),
    "bounces": ("bounce", "bounced"),
    "complaints": ("complaint", "fbl"),
    "unsubscribed": ("unsubscribes", "unsubscribe"),
}
"""A word of a built-in path, and what the vendor may call it."""
_SWAPS = (
    ("/report/", "/reports/"),
    ("/report/email/suppressions", "/report/suppressions"),
    ("/report/smtp/", "/report/email/smtp/"),
    ("/report/users", "/users"),
    ("/report/jobs", "/jobs"),
    ("/marketing/v3/", "/marketing/"),
    ("/marketing/v3/", "/report/marketing/"),
)
"""Parts of a built-in path that may be others."""


def spellings(path: str) -> Iterator[str]:
    """Yield other paths of a report, each once, the likelier ones first."""
    seen = {path}
    for found in chain(_respelt(path), _swapped(path)):
        if found not in seen:
            seen.add(found)
            yield found


def _respelt(path: str) -> Iterator[str]:
    head, slash, last = path.rpartition("/")
    is_summary = last == "summary"
    if is_summary:
        head, slash, last = head.rpartition("/")
    for word in _WORDS.get(last, ()):
        yield f"{head}{slash}{word}" + ("/summary" if is_summary else "")
    if is_summary:
        yield f"{head}{slash}{last}_summary"
        yield f"{head}{slash}{last}summary"


def _swapped(path: str) -> Iterator[str]:
    for old, new in _SWAPS:
        if old in path:
            yield path.replace(old, new, 1)
