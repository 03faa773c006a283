"""The HTTP endpoints of LuxSci: authentication, limits, refusals and all reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from simulator.luxsci.answer import Answer, Ask
from simulator.luxsci.auth import PATH as AUTH
from simulator.luxsci.auth import RefusalError
from simulator.luxsci.facts import ENDPOINTS, KINDS, MOST_ROWS, PREFIX
from simulator.luxsci.policy import REFUSALS
from simulator.luxsci.store import is_computed
from simulator.luxsci.tables import NOWHERE, Interval, after
from simulator.messages import Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.clock import SimClock
    from simulator.luxsci.facts import Endpoint
    from simulator.luxsci.store import Store

_DATETIME = re.compile(r"(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}:\d{2}))?")
_TRUE = ("1", "true", "yes")
_LIMITS = {"throttled": "throttled", "quota_exceeded": "exhausted"}


@dataclass(frozen=True)
class _Route:
    endpoint: Endpoint
    pattern: re.Pattern[str]


class Face:
    """Answers requests like the vendor, with the rows of the account at present."""

    def __init__(self, account: Store, clock: SimClock) -> None:
        self._account = account
        self._clock = clock
        self._paths: Mapping[str, str] | None = None
        self._routes: list[_Route] = []
        self._answered = 0

    def serves(self, path: str) -> bool:
        """Return True if a request for the path belongs to LuxSci."""
        return path.startswith(f"{PREFIX}/")

    def revoke_tokens(self) -> None:
        """Refuse every auth code issued so far."""
        self._account.auth.revoke_all()

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request."""
        try:
            self._limit()
            if request.path == AUTH:
                return self._authenticate(request)
            return self._report(request)
        except RefusalError as refusal:
            return self._refuse(refusal.reason)

    def _limit(self) -> None:
        policy = self._account.policy
        error = self._account.limits.refuse(
            self._account.ticker(), policy.requests_per_minute, policy.requests_per_day
        )
        if error:
            raise RefusalError(_LIMITS[error])

    def _refuse(self, reason: str) -> Reply:
        policy = self._account.policy
        text = policy.texts.get(reason, REFUSALS[reason])
        reply = json_reply(
            policy.status(reason), {"success": 0, policy.error_field: text}
        )
        if reason in _LIMITS.values() and policy.retry_after is not None:
            reply.headers["Retry-After"] = policy.retry_after
        return reply

    def _authenticate(self, request: Request) -> Reply:
        authority = self._account.auth
        if request.method == "POST":
            code = authority.authenticate(request)
            return json_reply(201, {"auth": code, "success": 1})
        if request.method == "DELETE":
            authority.revoke(request)
            return json_reply(200, {"success": 1})
        raise RefusalError("method")

    # Reports

    def _report(self, request: Request) -> Reply:
        account = self._account
        own = account.auth.admit(request)
        wrong = {"plain": "%40", "encoded": "@"}.get(account.policy.at_sign)
        if wrong is not None and wrong in request.path:
            raise RefusalError("signature")
        endpoint, where = self._find(request.path)
        if request.method != "GET":
            raise RefusalError("method")
        login = self._permit(endpoint, where, own)
        ask = read(request.query)
        self._answered += 1
        renewed = self._renew(own)
        kind, at = KINDS[endpoint.kind], self._clock.now()
        reply = Answer(account, kind, ask, self._answered)
        if is_computed(endpoint.kind):
            rows = account.computed(endpoint.kind, at, ask.interval, login)
            return reply.build(rows, at, renewed)
        found = account.entries(
            endpoint.kind, endpoint.channel, at, ask.interval, login
        )
        return reply.build(found, at, renewed)

    def _find(self, path: str) -> tuple[Endpoint, str]:
        """Return the endpoint of a path and the account or login in the path."""
        policy = self._account.policy
        if self._paths is not policy.paths:
            self._paths = policy.paths
            self._routes = [_route(one, policy.paths) for one in ENDPOINTS]
        for route in self._routes:
            if match := route.pattern.fullmatch(path):
                if route.endpoint.operation in policy.absent:
                    break
                return route.endpoint, unquote(match[1])
        raise RefusalError("missing")

    def _permit(self, endpoint: Endpoint, where: str, own: str | None) -> str | None:
        """Return the login of the requested report, or None for the account."""
        account = self._account
        if endpoint.operation in account.policy.denied:
            raise RefusalError("denied")
        if endpoint.is_of_account:
            is_right = own is None and where == str(account.account_id)
            login = None
        else:
            is_known = where in account.passwords
            is_of_account = own is None and endpoint.is_marketing
            is_right = is_known and (own == where or is_of_account)
            login = where
        if not is_right:
            raise RefusalError("scope")
        return login

    def _renew(self, own: str | None) -> str | None:
        """Return a new auth code if this answer carries one, else None."""
        every = self._account.policy.renew_every
        return self._account.auth.issue(own) if self._is_turn(every) else None

    def _is_turn(self, every: int) -> bool:
        return every > 0 and self._answered % every == 0


def _route(endpoint: Endpoint, paths: Mapping[str, str]) -> _Route:
    path = paths.get(endpoint.operation, endpoint.path)
    escaped = re.sub(r"\\\{(?:account|login)\\\}", "([^/]+)", re.escape(path))
    return _Route(endpoint, re.compile(re.escape(PREFIX) + escaped))


def read(query: Mapping[str, str]) -> Ask:
    """Return the parsed query; RefusalError for an invalid parameter."""
    lows = ["", *_dates(query, "from_date"), *map(after, _dates(query, "after_date"))]
    highs = [NOWHERE, *_dates(query, "before_date")]
    highs += map(after, _dates(query, "through_date"))
    return Ask(
        Interval(max(lows), min(highs)),
        _number(query, "first_row", 0, None),
        _number(query, "matches", MOST_ROWS, MOST_ROWS),
        tracked_headers=query.get("tracked_headers", "") in _TRUE,
        detail=query.get("detail", "") in _TRUE,
    )


def _dates(query: Mapping[str, str], name: str) -> list[str]:
    """Return a list with the DATETIME of a parameter if given; a DATE is midnight."""
    if name not in query:
        return []
    match = _DATETIME.fullmatch(query[name])
    if match is None:
        raise RefusalError("invalid")
    return [f"{match[1]} {match[2] or '00:00:00'}"]


def _number(query: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or (most is not None and int(text) > most):
        raise RefusalError("invalid")
    return int(text)
