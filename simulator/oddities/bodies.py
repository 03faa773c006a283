"""Error pages with any status, slow and very long bodies, and absurd headers."""

from __future__ import annotations

from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

from simulator.clock import DAY
from simulator.messages import json_reply, message_reply
from simulator.oddities.base import Oddity

if TYPE_CHECKING:
    from simulator.messages import Reply
    from simulator.oddities.base import Case, Change

_TOKENS = r"/authenticate$|/token$|/api/v2/auth$"
_PAGE = b"<!DOCTYPE html><html><body><h1>Scheduled maintenance</h1></body></html>"
_HEAVY = 130_000_000
_LONG = 100_000


def _page(status: int) -> Change:
    return partial(_show_page, status)


def _show_page(status: int, _case: Case, reply: Reply) -> None:
    reply.status, reply.body = status, _PAGE
    reply.headers = {"Content-Type": "text/html; charset=utf-8"}


def _said_no(_case: Case, reply: Reply) -> None:
    reply.body = json_reply(200, {"success": 0, "error": "try again later"}).body


def _drip(_case: Case, reply: Reply) -> None:
    reply.drip = 1.0


def _heavy(_case: Case, reply: Reply) -> None:
    reply.body += b" " * (_HEAVY - len(reply.body))


def _retry_after(text: str) -> Change:
    return partial(_throttle, text)


def _throttle(text: str, case: Case, reply: Reply) -> None:
    """Answer every second request with a 429 and a Retry-After."""
    turn = case.memory["turn"] = case.memory.get("turn", 0) + 1
    if turn % 2:
        other = message_reply(429)
        reply.status, reply.body, reply.headers = 429, other.body, other.headers
        reply.headers["Retry-After"] = text


def _date(text: str | None, days: float = 0.0) -> Change:
    return partial(_date_it, text, days)


def _date_it(text: str | None, days: float, case: Case, reply: Reply) -> None:
    reply.headers["Date"] = text or formatdate(case.now + days * DAY, usegmt=True)


def _long_text(status: int, _case: Case, reply: Reply) -> None:
    other = message_reply(status, "per day " * (_LONG // 8))
    reply.status, reply.body, reply.headers = status, other.body, other.headers


ODDITIES = (
    *(
        Oddity(
            name=f"page_{status}",
            says=f"an error page in HTML with status {status}",
            change=_page(status),
        )
        for status in (200, 202, 403, 404, 500, 503)
    ),
    *(
        Oddity(
            name=f"token_page_{status}",
            says=f"an error page in HTML with status {status} in place of a token",
            change=_page(status),
            paths=_TOKENS,
        )
        for status in (200, 403, 404, 500)
    ),
    Oddity(
        name="says_no",
        says="a 200 with a JSON object that describes an error",
        change=_said_no,
        paths="^/v2/|^/v3/|/report/|/marketing/",
    ),
    Oddity(
        name="drips",
        says="a body that comes at one byte per second",
        change=_drip,
    ),
    Oddity(
        name="heavy",
        says="a body of 130 MB",
        change=_heavy,
        is_dear=True,
    ),
    *(
        Oddity(
            name=f"retry_after_{name}",
            says=f"every second answer 429 with Retry-After: {text}",
            change=_retry_after(text),
        )
        for name, text in (
            ("zero", "0"),
            ("huge", "99999999999"),
            ("negative", "-5"),
            ("past", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("words", "soon"),
        )
    ),
    Oddity(
        name="date_ahead",
        says="the header Date 400 days ahead",
        change=_date(None, 400.0),
        changes_clock=True,
    ),
    Oddity(
        name="date_behind",
        says="the header Date 400 days behind",
        change=_date(None, -400.0),
        changes_clock=True,
    ),
    Oddity(
        name="date_words",
        says="the header Date in words",
        change=_date("yesterday"),
    ),
    *(
        Oddity(
            name=f"long_text_{status}",
            says=f"status {status} with 100 kB of text",
            change=partial(_long_text, status),
        )
        for status in (403, 429)
    ),
)
