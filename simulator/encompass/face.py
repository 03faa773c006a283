"""The HTTP endpoints of Encompass: authentication and the Email Metric API v2."""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from simulator.encompass.account import CHILD_KINDS
from simulator.messages import Reply, Request, encode, json_reply, message_reply
from simulator.rows import reshuffled

if TYPE_CHECKING:
    from simulator.clock import SimClock
    from simulator.encompass.account import Account
    from simulator.rows import Row

AUTHENTICATE = "/apiservices/authenticate"
FAR = 2**63
DEFAULT_PAGE = 1000
_MESSAGE = re.compile(r"/v2/messages/(\d+)(?:/(\w+))?")


class Face:
    """Answers requests like the vendor, with the rows of the account at present."""

    def __init__(self, account: Account, clock: SimClock) -> None:
        self._account = account
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._issued = 0
        self._asked: Counter[str] = Counter()

    def serves(self, path: str) -> bool:
        """Return True if a request for the path belongs to Encompass."""
        return path in (AUTHENTICATE, "/v2") or path.startswith("/v2/")

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request."""
        if request.path == AUTHENTICATE:
            return self._authenticate(request)
        if request.method != "GET":
            reply = message_reply(405)
            reply.headers["Allow"] = "GET"
            return reply
        if not self._is_authorized(request):
            return message_reply(self._account.policy.auth_failure_status)
        try:
            return self._read(request)
        except ValueError:
            return message_reply(400, "The request is invalid.")

    # Authentication

    def revoke_tokens(self) -> None:
        """Refuse every token issued so far."""
        self._tokens.clear()

    def _authenticate(self, request: Request) -> Reply:
        if request.method != "POST":
            return message_reply(405)
        form: dict[str, list[str]] = {}
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("application/x-www-form-urlencoded"):
            form = parse_qs(request.body.decode("ascii", "replace"))
        if form.get("grant_type") != ["email_api_auth_key"]:
            return json_reply(400, {"error": "unsupported_grant_type"})
        if form.get("client_id") != [self._account.client_id]:
            return json_reply(400, {"error": "invalid_client"})
        if form.get("client_secret") != [self._account.client_secret]:
            return json_reply(400, {"error": "invalid_grant"})
        return json_reply(200, self._issue())

    def _issue(self) -> dict[str, object]:
        """Return the answer with a new token, which only has the form of a JWT."""
        lifetime = self._account.policy.token_lifetime
        self._issued += 1
        expires = self._clock.now() + lifetime
        claims = {"siteId": self._account.client_id, "exp": int(expires)}
        parts = ({"alg": "none"}, claims, {"serial": self._issued})
        token = ".".join(
            base64.urlsafe_b64encode(encode(part)).decode().rstrip("=")
            for part in parts
        )
        self._tokens[token] = expires
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": int(lifetime),
        }

    def _is_authorized(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expires = self._tokens.get(token, 0.0)
        return scheme == "Bearer" and self._clock.now() < expires

    # Reading

    def _read(self, request: Request) -> Reply:
        if request.path == "/v2/messages":
            return self._list_messages(request)
        match = _MESSAGE.fullmatch(request.path)
        if match is None or match[2] not in (None, *CHILD_KINDS):
            return message_reply(404)
        at = self._clock.now()
        message_id = int(match[1])
        message = self._account.message(message_id, at)
        if message is None:
            return message_reply(404)
        if match[2] is None:
            return _json(message.text(at))
        if match[2] == "links":
            return self._list_links(request, message_id)
        return self._list_children(request, match[2], message_id)

    def _list_messages(self, request: Request) -> Reply:
        start = int(request.query.get("fromTimestamp", -FAR))
        end = int(request.query.get("toTimestamp", FAR))
        at = self._clock.now()
        rows = self._account.messages_between(start, end, at)
        return self._page(request, self._shuffle(request, "messages", 0, rows))

    def _list_children(self, request: Request, kind: str, message_id: int) -> Reply:
        rows = self._account.places(kind, message_id, self._clock.now())
        rows = self._shuffle(request, kind, message_id, rows)
        return self._page(request, rows, kind)

    def _list_links(self, request: Request, message_id: int) -> Reply:
        policy = self._account.policy
        if policy.links_envelope:
            return self._list_children(request, "links", message_id)
        at = self._clock.now()
        rows = self._account.places("links", message_id, at)
        rows = self._shuffle(request, "links", message_id, rows)
        if policy.links_paged:
            first, size = self._slice(request)
            rows = rows[first : first + size]
        return _json(b"[" + b",".join(row.text(at) for row in rows) + b"]")

    def _shuffle(
        self, request: Request, kind: str, message_id: int, rows: list[Row]
    ) -> list[Row]:
        """Return the rows; in a new order at each request if the order says so."""
        if self._account.order(kind, message_id) != "reshuffled":
            return rows
        identity = request.identity
        self._asked[identity] += 1
        seed = f"{self._account.seed}|{identity}|{self._asked[identity]}"
        return reshuffled(rows, seed)

    def _slice(self, request: Request) -> tuple[int, int]:
        """Return (start, size) in rows; ValueError if they are not numbers."""
        size = int(request.query.get("maxResults", DEFAULT_PAGE))
        first = int(request.query.get("startAt", 0))
        return max(first, 0), min(max(size, 1), self._account.policy.max_page)

    def _page(self, request: Request, rows: list[Row], kind: str = "messages") -> Reply:
        first, size = self._slice(request)
        at = self._clock.now()
        texts = [
            row.text(at)
            for row in rows[first : first + size]
            if at < self._account.shown_until(kind, row)
        ]
        tail = f'],"maxResults":{size},"startAt":{first},"total":{len(rows)}}}'
        return _json(b'{"data":[' + b",".join(texts) + tail.encode())


def _json(body: bytes) -> Reply:
    return Reply(200, body, {"Content-Type": "application/json"})
