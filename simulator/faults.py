"""Faults on demand, which depend on request and attempt and not on arrival order."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from simulator.messages import Reply, encode, json_reply, message_reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.messages import Request

TIMED_OUT = "Endpoint request timed out"
KINDS = (
    "status",
    "message_body",
    "not_json",
    "wrong_shape",
    "cut",
    "half_body",
    "slow",
    "expire_token",
    "max_rows",
    "shift_total",
    "repeat_row",
    "skip_row",
)
SHAPES: Mapping[str, object] = {
    "list": ["unexpected"],
    "string": "unexpected",
    "number": 7,
    "null": None,
    "no_data": {"maxResults": 1000, "startAt": 0, "total": 1},
    "data_string": {"data": "x", "maxResults": 1000, "startAt": 0, "total": 1},
    "data_strings": {"data": ["x"], "maxResults": 1000, "startAt": 0, "total": 1},
    "no_total": {"data": []},
    "no_rows": {"_links": {"next": {"href": "/v3/nowhere"}}},
    "tracking_strings": {"tracking_activities": ["x"]},
}
ROWS = (
    *("data", "tracking_activities", "bulk_email_campaign_summaries", "results"),
    *("link_click_counts", "campaigns", "contacts", "lists", "tags", "custom_fields"),
    *("segments", "campaign_activities"),
)
"""Keys under which a page holds its rows."""
DEFAULT_ROWS = 1000
"""Rows of a request without a page size."""


@dataclass(eq=False)
class Rule:
    """A fault: the requests it matches, when it fires, and its effect.

    A rule counts the attempts of each request identity from 1 since the rule was added.
    It does not count attempts that an earlier rule changed.
    """

    kind: str
    path: str = "^/v2/"
    """Regular expression searched for in the path."""
    message_id: int | None = None
    """Only requests below `/v2/messages/{message_id}`."""
    times: int | None = None
    """Number of first attempts of each identity on which it fires; None for all."""
    probability: float = 1.0
    seed: int = 0
    status: int = 503
    """For `status`; a 504 has the time-out message of the gateway."""
    body: object = None
    """For `status`, the JSON body; "" for an empty body, None for a message."""
    retry_after: str | None = None
    """For `status`, the `Retry-After` header, unchanged."""
    shape: str = "no_data"
    """For `wrong_shape`, one of SHAPES."""
    seconds: float = 0.0
    """For `slow`."""
    rows: int = 100
    """For `max_rows`: requests for more rows get a 504."""
    by: int = 1
    """For `shift_total`."""
    _seen: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape: {self.shape}")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        numbers = (
            *(self.message_id or 0, self.times or 0, self.probability, self.seed),
            *(self.status, self.seconds, self.rows, self.by),
        )
        if not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("a number is given as something else")

    @classmethod
    def from_json(cls, value: object) -> Rule:
        """Return the rule of a JSON object; ValueError names the wrong part."""
        if not isinstance(value, dict) or "kind" not in value:
            raise ValueError("a rule is an object with a kind")
        known = {item.name for item in fields(cls) if item.init}
        if unknown := sorted(value.keys() - known):
            raise ValueError(f"unknown keys in a rule: {unknown}")
        return cls(**value)

    def as_json(self) -> dict[str, object]:
        """Return the rule as an object for `from_json`."""
        return {
            item.name: getattr(self, item.name) for item in fields(self) if item.init
        }

    def fires(self, request: Request) -> bool:
        """Count the attempt if it matches; return whether the rule fires."""
        if not self._matches(request):
            return False
        identity = request.identity
        self._seen[identity] += 1
        attempt = self._seen[identity]
        if self.times is not None and attempt > self.times:
            return False
        return _chance(self.seed, identity, attempt) < self.probability

    def _matches(self, request: Request) -> bool:
        if not re.search(self.path, request.path):
            return False
        if self.kind == "max_rows" and _rows_asked(request) <= self.rows:
            return False
        if self.message_id is None:
            return True
        return f"{request.path}/".startswith(f"/v2/messages/{self.message_id}/")

    def replace(self) -> Reply | None:
        """Return the reply that replaces the provider's, or None if it shall answer."""
        if self.kind == "status":
            text = TIMED_OUT if self.status == 504 else None  # noqa: PLR2004
            reply = message_reply(self.status, text)
            if self.body is not None:
                reply.body = encode(self.body) if self.body != "" else b""
            if self.retry_after is not None:
                reply.headers["Retry-After"] = str(self.retry_after)
            return reply
        if self.kind == "max_rows":
            return message_reply(504, TIMED_OUT)
        if self.kind == "message_body":
            return message_reply(200, TIMED_OUT)
        if self.kind == "not_json":
            return Reply(200, b"<html>Oops</html>", {"Content-Type": "text/html"})
        if self.kind == "wrong_shape":
            return json_reply(200, SHAPES[self.shape])
        return Reply(0, cut=True) if self.kind == "cut" else None

    def spoil(self, reply: Reply) -> None:
        """Change the reply of the provider in place."""
        if self.kind == "half_body":
            reply.half = True
        elif self.kind == "slow":
            reply.delay = self.seconds
        elif self.kind in ("shift_total", "repeat_row", "skip_row"):
            try:
                page = json.loads(reply.body)
            except ValueError:
                return  # an oddity has put another page in place of the list
            if isinstance(page, dict):
                self._falsify(page)
                reply.body = encode(page)

    def _falsify(self, page: dict[str, object]) -> None:
        for name in ("total", "count"):
            total = page.get(name)
            is_shifted = self.kind == "shift_total" and page.get("data")
            if is_shifted and isinstance(total, int):
                page[name] = total + self.by
        name = next((name for name in ROWS if page.get(name)), "")
        rows = page.get(name)
        if isinstance(rows, dict):
            page, name = rows, "rows"
            rows = page.get(name)
        if self.kind != "shift_total" and isinstance(rows, list) and rows:
            again = self.kind == "repeat_row"
            page[name] = [rows[0], *rows[:-1]] if again else rows[1:]


class Faults:
    """The active rules; the first that fires wins."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def add(self, kind: str, **settings: object) -> Rule:
        """Append a rule with fields of Rule as settings, and return it."""
        rule = Rule.from_json({"kind": kind, **settings})
        self.rules.append(rule)
        return rule

    def set(self, rules: Iterable[Rule]) -> None:
        """Replace all rules by these."""
        self.rules = list(rules)

    def clear(self) -> None:
        """Remove every rule."""
        self.rules = []

    def pick(self, request: Request) -> Rule | None:
        """Return the rule that fires for this request, if any."""
        return next((rule for rule in self.rules if rule.fires(request)), None)


def _chance(seed: int, identity: str, attempt: int) -> float:
    """Return a number in [0, 1) for this attempt, the same on every machine."""
    text = f"{seed}|{identity}|{attempt}".encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest()) / 2**56


def _rows_asked(request: Request) -> int:
    try:
        names = ("maxResults", "limit", "matches")
        asked = next((request.query[n] for n in names if n in request.query), None)
        return DEFAULT_ROWS if asked is None else int(asked)
    except ValueError:
        return DEFAULT_ROWS
