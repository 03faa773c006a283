"""Verification of LuxSci's signed requests: auth codes, cookies and API keys."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from simulator.clock import DAY
from simulator.luxsci.facts import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.messages import Request

PATH = f"{PREFIX}/auth"


class RefusalError(Exception):
    """A refusal of the API, with one of the reasons in REFUSALS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Rules:
    """The behaviour of authentication."""

    disabled: bool = False
    auth_lifetime: float = DAY
    max_skew: float = 300.0
    """Seconds by which the `date` of an auth request may differ."""


class Integration(Protocol):
    """The values of an account that its authority reads."""

    token: str
    secret: str
    seed: int
    passwords: dict[str, str]
    present: Callable[[], float]

    @property
    def policy(self) -> Rules:
        """The present rules, which may change between two requests."""


@dataclass(eq=False)
class Grant:
    """The meaning of an auth code."""

    login: str | None
    """The login of the user, or None for the account."""
    expires: float
    is_revoked: bool = False


def sign(secret: str, message: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a message."""
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


class Authority:
    """Issues and checks the auth codes of one integration."""

    def __init__(self, account: Integration, now: Callable[[], float]) -> None:
        self._account = account
        self._now = now
        self._grants: dict[str, Grant] = {}
        self.issued = 0
        """Number of issued auth codes, including renewals."""
        self.authenticated = 0
        """Number of successful auth requests."""

    def revoke_all(self) -> None:
        """Refuse every code issued so far."""
        for grant in self._grants.values():
            grant.is_revoked = True

    def is_current(self, code: str) -> bool:
        """Return whether a code would be accepted now."""
        grant = self._grants.get(code)
        return grant is not None and self._is_good(grant)

    def issue(self, login: str | None) -> str:
        """Return a new code."""
        self.issued += 1
        now = self._now()
        seed = f"{self._account.seed}/auth/{self.issued}"
        code = f"{self.issued}-{int(now)}-{hashlib.sha256(seed.encode()).hexdigest()}"
        self._grants[code] = Grant(login, now + self._account.policy.auth_lifetime)
        return code

    # The auth request

    def authenticate(self, request: Request) -> str:
        """Return a code for a signed auth request; RefusalError if it is wrong."""
        if self._account.policy.disabled:
            raise RefusalError("disabled")
        body = _object(request.body)
        login = self._check(body)
        self.authenticated += 1
        return self.issue(login)

    def _check(self, body: dict[str, Any]) -> str | None:
        account = self._account
        names = ["token", "date"]
        if "user" in body or "pass" in body:
            names += ["user", "pass"]
        message = "".join(f"{body.get(name, '')}\n" for name in names)
        if body.get("token") != account.token:
            raise RefusalError("token")
        if body.get("signature") != sign(account.secret, message):
            raise RefusalError("signature")
        self._check_date(body.get("date"))
        if "user" not in names:
            return None
        login = str(body.get("user"))
        if account.passwords.get(login, "") != body.get("pass"):
            raise RefusalError("login")
        return login

    def _check_date(self, date: object) -> None:
        try:
            off = abs(int(str(date)) - self._account.present())
        except ValueError:
            raise RefusalError("date") from None
        if off > self._account.policy.max_skew:
            raise RefusalError("date")

    # Every other request

    def admit(self, request: Request) -> str | None:
        """Return the login of a request's code, or None for the account.

        RefusalError if the signature of the request is wrong.
        """
        if self._account.policy.disabled:
            raise RefusalError("disabled")
        key = request.headers.get("x-api-key")
        if key is not None:
            if key != f"{self._account.token}:{self._account.secret}":
                raise RefusalError("token")
            return None
        return self._signed(request).login

    def revoke(self, request: Request) -> None:
        """Revoke the code with which a request is signed."""
        self._signed(request).is_revoked = True

    def _signed(self, request: Request) -> Grant:
        code, _, signature = _cookie(request).partition(":")
        grant = self._grants.get(code)
        if grant is None:
            raise RefusalError("signature")
        hashes = [body_hash(request.body)]
        if request.method == "DELETE" and not request.body.strip():
            # The hash of an empty body is not documented.
            hashes.append(hashlib.sha256(b"").hexdigest())
        secret = self._account.secret
        if signature not in [sign(secret, to_sign(code, request, h)) for h in hashes]:
            raise RefusalError("signature")
        if not self._is_good(grant):
            raise RefusalError("expired")
        return grant

    def _is_good(self, grant: Grant) -> bool:
        return not grant.is_revoked and self._now() < grant.expires


def to_sign(code: str, request: Request, digest: str) -> str:
    """Return the text of a request to sign, with path and query still encoded."""
    parts = (code, request.method, request.path, request.raw_query, digest)
    return "".join(f"{part}\n" for part in parts)


def body_hash(body: bytes) -> str:
    """Return the hash of a trimmed body, or "" for no body."""
    trimmed = body.strip()
    return hashlib.sha256(trimmed).hexdigest() if trimmed else ""


def _cookie(request: Request) -> str:
    """Return the cookie `signature`; RefusalError if it is missing."""
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "signature":
            return value
    raise RefusalError("signature")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusalError("invalid")
    return value
