"""Parents that answer differently from others, and bad ids that fail a whole batch."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.messages import json_reply, message_reply
from simulator.oddities.base import Oddity, chance, of_json

if TYPE_CHECKING:
    from simulator.messages import Reply, Request
    from simulator.oddities.base import Case, Change

_PATHS = (
    r"^/v2/messages/\d+/|/email_reports/|/emails/[^/]+$|/emails/activities/"
    r"|/contact_reports/|/report/email/|/marketing/"
)
_BATCHES = "/stats/"
_POISONED = 0.2
"""Share of the ids that make a batch fail."""
_OTHER = "0d1d0d1d-"
"""The beginning of the new id of an activity."""


def _status(status: int) -> Change:
    return partial(_answer, status)


def _answer(status: int, _case: Case, reply: Reply) -> None:
    _become(reply, message_reply(status))


def _nothing(_case: Case, reply: Reply) -> None:
    reply.body = b""


def _no_content(_case: Case, reply: Reply) -> None:
    reply.status, reply.body = 204, b""


def _silent(_case: Case, reply: Reply) -> None:
    reply.cut = True


def _become(reply: Reply, other: Reply) -> None:
    reply.status, reply.body, reply.headers = other.status, other.body, other.headers


def _poison(status: int) -> Change:
    return partial(_answer_poisoned, status)


def _answer_poisoned(status: int, case: Case, reply: Reply) -> None:
    if _is_poisoned(case):
        _become(reply, message_reply(status))


def _is_poisoned(case: Case) -> bool:
    """Return True if a batch contains a bad id; a hash decides which ids are bad."""
    ids = case.request.path.rpartition("/")[2].split(",")
    return any(chance(case.seed, one) < _POISONED for one in ids)


def _activities(change: str) -> Change:
    return of_json(partial(_change_activities, change))


def _change_activities(change: str, _case: Case, body: Any) -> Any:  # noqa: ANN401
    if not isinstance(body, dict) or "campaign_activities" not in body:
        return body
    match change:
        case "absent":
            del body["campaign_activities"]
        case "empty":
            body["campaign_activities"] = []
        case "null":
            body["campaign_activities"] = None
        case "upper":
            for activity in body["campaign_activities"]:
                activity["role"] = activity["role"].upper()
    return body


def _asked_by_new_id(case: Case) -> Request:
    """Return the request with the old id of an activity; the old id is unknown."""
    path = case.request.path
    if _OTHER in path:
        old = case.memory.get(path.partition(_OTHER)[2][:27], "")
        return replace(case.request, path=re.sub(f"{_OTHER}.{{27}}", old, path))
    if "/email_reports/" in path or "/emails/activities/" in path:
        return replace(case.request, path=re.sub(r"[0-9a-f]{8}-", "ffffffff-", path))
    return case.request


def _with_new_ids(case: Case, reply: Reply) -> None:
    """Replace the beginning of every id of an activity."""

    def other(match: re.Match[bytes]) -> bytes:
        rest = match[2][9:]
        case.memory[rest.decode()] = match[2].decode()
        return match[1] + _OTHER.encode() + rest

    pattern = rb'("campaign_activity_id":")([0-9a-f-]{36})(?=")'
    reply.body = re.sub(pattern, other, reply.body)


def _unprocessable(_case: Case, reply: Reply) -> None:
    _become(reply, json_reply(422, {"error": "unprocessable"}))


ODDITIES = (
    *(
        Oddity(
            name=f"parent_{status}",
            says=f"some parents answer {status}",
            change=_status(status),
            paths=_PATHS,
        )
        for status in (202, 400, 401, 403, 404, 410, 500)
    ),
    Oddity(
        name="parent_nothing",
        says="some parents answer 200 with an empty body",
        change=_nothing,
        paths=_PATHS,
    ),
    Oddity(
        name="parent_204",
        says="some parents answer 204 without a body",
        change=_no_content,
        paths=_PATHS,
    ),
    Oddity(
        name="parent_silent",
        says="the connection is cut for some parents",
        change=_silent,
        paths=_PATHS,
    ),
    Oddity(
        name="parent_422",
        says="some parents answer 422",
        change=_unprocessable,
        paths=_PATHS,
    ),
    *(
        Oddity(
            name=f"batch_{status}",
            says=f"a batch that contains a bad id answers {status}",
            change=_poison(status),
            faces=("constant_contact",),
            paths=_BATCHES,
        )
        for status in (400, 404, 500)
    ),
    *(
        Oddity(
            name=f"activities_{name}",
            says=f"a campaign's activities {says}",
            change=_activities(name),
            faces=("constant_contact",),
            paths=r"/emails/[^/]+$",
        )
        for name, says in (
            ("absent", "left out"),
            ("empty", "an empty list"),
            ("null", "null"),
            ("upper", "with their roles in upper case"),
        )
    ),
    Oddity(
        name="activities_other",
        says="activities with another id than before; the old one answers 404",
        change=_with_new_ids,
        ask=_asked_by_new_id,
        faces=("constant_contact",),
        paths="/emails/|/email_reports/|/stats/email_campaign_activities/",
        changes_values=True,
        is_dear=True,
    ),
)
