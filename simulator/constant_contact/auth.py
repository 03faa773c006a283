"""The authorisation server of Constant Contact: refresh tokens and the device flow."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote_plus

from simulator.clock import DAY
from simulator.messages import Reply, Request, encode, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "/oauth2/default/v1"
SCOPES = frozenset(
    {
        *("campaign_data", "contact_data", "account_read"),
        *("account_update", "offline_access"),
    }
)
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_FORM = "application/x-www-form-urlencoded"


class OAuthError(Exception):
    """A refusal of the authorisation server."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.reply = json_reply(
            status, {"error": error, "error_description": description}
        )


@dataclass(eq=False)
class Grant:
    """A consent with its scopes and refresh token."""

    scopes: frozenset[str]
    used: float
    token: str | None = None
    is_revoked: bool = False


@dataclass(eq=False)
class _Device:
    scopes: frozenset[str]
    user_code: str
    expires: float
    interval: float
    polled: float = -math.inf
    decision: bool | None = None


@dataclass(frozen=True)
class Rules:
    """The behaviour of the app and its authorisation server.

    Some of it is chosen by the owner of the app; the vendor leaves the rest open.
    """

    confidential: bool = True
    """Whether the app has a secret for HTTP Basic; otherwise it sends only its id."""
    rotating_tokens: bool = True
    reuse_revokes: bool = False
    """Whether using a refresh token twice revokes its consent."""
    access_token_lifetime: float = DAY
    refresh_token_days: float = 180.0
    """Days after which an unused refresh token expires."""
    scopes: str = "campaign_data contact_data account_read offline_access"
    """Scopes of `consent()` by default."""
    device_code_lifetime: float = 600.0
    device_interval: float = 5.0
    token_requests_per_second: float = 1
    """0 means no limit."""


class App(Protocol):
    """The values of an account that its authorisation server reads."""

    client_id: str
    client_secret: str
    seed: int
    ticker: Callable[[], float]

    @property
    def policy(self) -> Rules:
        """The present rules, which may change between two requests."""


class Authority:
    """Issues and checks the tokens of one app."""

    def __init__(self, account: App, now: Callable[[], float]) -> None:
        self._account = account
        self._now = now
        self._issued = 0
        self._access: dict[str, tuple[float, frozenset[str]]] = {}
        self._refresh: dict[str, Grant] = {}
        self._devices: dict[str, _Device] = {}
        self._stamps: list[float] = []
        self.refreshed = 0
        """Number of successful refreshes."""

    # Actions of a person

    def consent(self, scopes: str | None = None) -> str:
        """Give a new consent to space-separated scopes; return a refresh token.

        Earlier consents remain valid. ValueError without the scope offline_access.
        """
        wanted = self._account.policy.scopes if scopes is None else scopes
        grant = Grant(frozenset(wanted.split()), self._now())
        if "offline_access" not in grant.scopes:
            raise ValueError("there is no refresh token without offline_access")
        return self._renew(grant)

    def approve_device(self, user_code: str) -> None:
        """Approve the request of a device; KeyError for an unknown code."""
        self._device(user_code).decision = True

    def deny_device(self, user_code: str) -> None:
        """Deny the request of a device; KeyError for an unknown code."""
        self._device(user_code).decision = False

    def _device(self, user_code: str) -> _Device:
        for device in self._devices.values():
            if device.user_code == user_code:
                return device
        raise KeyError(user_code)

    # Actions of the vendor

    def revoke_access(self) -> None:
        """Refuse every access token issued so far."""
        self._access.clear()

    def revoke_refresh(self) -> None:
        """Refuse every refresh token issued so far."""
        for grant in self._refresh.values():
            grant.is_revoked = True

    def is_current(self, refresh_token: str) -> bool:
        """Return whether a refresh with this token would succeed now."""
        grant = self._refresh.get(refresh_token)
        return grant is not None and self._is_good(grant, refresh_token)

    def scopes(self, request: Request) -> frozenset[str] | None:
        """Return the scopes of a request's bearer token, or None if it is not valid."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expires, scopes = self._access.get(token, (0.0, frozenset()))
        is_good = scheme.lower() == "bearer" and self._now() < expires
        return scopes if is_good else None

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request below BASE."""
        handlers = {
            f"{BASE}/token": self._token,
            f"{BASE}/device/authorize": self._authorize_device,
        }
        handler = handlers.get(request.path)
        if handler is None:
            return json_reply(404, {"errorCode": "E0000022"})
        if request.method != "POST":
            return json_reply(405, {"errorCode": "E0000022"})
        if self._is_too_fast():
            return json_reply(
                429, {"error_key": "throttled", "error_message": "Too many requests."}
            )
        try:
            form = _form(request)
            self._check_client(request, form)
            return json_reply(200, handler(form))
        except OAuthError as error:
            return error.reply

    def _is_too_fast(self) -> bool:
        limit = self._account.policy.token_requests_per_second
        now = self._account.ticker()
        self._stamps = [one for one in self._stamps if now - 1 + 1e-6 < one <= now]
        if limit and len(self._stamps) >= limit:
            return True
        self._stamps.append(now)
        return False

    def _check_client(self, request: Request, form: dict[str, str]) -> None:
        account = self._account
        if account.policy.confidential:
            wanted = (account.client_id, account.client_secret)
            is_known = _basic(request) == wanted
        else:
            is_known = form.get("client_id") == account.client_id
            is_known = is_known and not request.headers.get("authorization")
        if not is_known:
            text = "The client is unknown, or its credentials are not right."
            raise OAuthError("invalid_client", text, 401)

    # Tokens

    def _token(self, form: dict[str, str]) -> dict[str, object]:
        match form.get("grant_type"):
            case "refresh_token":
                return self._refresh_grant(form)
            case _ if form["grant_type"] == DEVICE_GRANT:
                return self._device_grant(form)
        raise OAuthError("unsupported_grant_type", "The grant type is not supported.")

    def _refresh_grant(self, form: dict[str, str]) -> dict[str, object]:
        token = form.get("refresh_token", "")
        grant = self._refresh.get(token)
        if grant is None or not self._is_good(grant, token):
            if grant and self._account.policy.reuse_revokes:
                grant.is_revoked = True
            text = "The refresh token is invalid or expired."
            raise OAuthError("invalid_grant", text)
        scopes = frozenset(form["scope"].split()) if "scope" in form else grant.scopes
        if not scopes <= grant.scopes:
            raise OAuthError("invalid_scope", "A scope was not agreed to.")
        self.refreshed += 1
        return self._issue(grant, scopes, self._renew(grant))

    def _is_good(self, grant: Grant, token: str) -> bool:
        policy = self._account.policy
        if grant.is_revoked or (policy.rotating_tokens and grant.token != token):
            return False
        return self._now() - grant.used < policy.refresh_token_days * DAY

    def _renew(self, grant: Grant) -> str:
        """Return the refresh token of a grant, a new one if tokens rotate."""
        grant.used = self._now()
        if grant.token is None or self._account.policy.rotating_tokens:
            grant.token = f"{self._opaque('refresh')}-aA1_{self._issued}"
            self._refresh[grant.token] = grant
        return grant.token

    def _issue(
        self, grant: Grant, scopes: frozenset[str], refresh_token: str | None
    ) -> dict[str, object]:
        lifetime = self._account.policy.access_token_lifetime
        expires = self._now() + lifetime
        self._issued += 1
        claims = {
            "cid": self._account.client_id,
            "exp": int(expires),
            "scp": sorted(scopes),
        }
        parts = ({"alg": "none"}, claims, {"serial": self._issued})
        token = ".".join(
            base64.urlsafe_b64encode(encode(part)).decode().rstrip("=")
            for part in parts
        )
        self._access[token] = (expires, scopes)
        reply: dict[str, object] = {
            "token_type": "Bearer",
            "expires_in": int(lifetime),
            "access_token": token,
            "scope": " ".join(sorted(scopes)),
        }
        if refresh_token is not None and "offline_access" in grant.scopes:
            reply["refresh_token"] = refresh_token
        return reply

    def _opaque(self, kind: str) -> str:
        self._issued += 1
        text = f"{self._account.seed}/{kind}/{self._issued}".encode()
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    # Device flow

    def _authorize_device(self, form: dict[str, str]) -> dict[str, object]:
        scopes = frozenset(form.get("scope", "").split())
        if not scopes or not scopes <= SCOPES:
            raise OAuthError("invalid_scope", "A scope is missing or unknown.")
        policy = self._account.policy
        code = self._opaque("device")
        user_code = f"{self._issued:04d}WDJB"
        expires = self._account.ticker() + policy.device_code_lifetime
        device = _Device(scopes, user_code, expires, policy.device_interval)
        self._devices[code] = device
        where = "https://identity.example.test/activate"
        return {
            "device_code": code,
            "user_code": user_code,
            "verification_uri": where,
            "verification_uri_complete": f"{where}?user_code={user_code}",
            "expires_in": int(policy.device_code_lifetime),
            "interval": int(policy.device_interval),
        }

    def _device_grant(self, form: dict[str, str]) -> dict[str, object]:
        code = form.get("device_code", "")
        device = self._devices.get(code)
        if device is None:
            raise OAuthError("invalid_grant", "The device code is invalid or expired.")
        now = self._account.ticker()
        since, device.polled = now - device.polled, now
        if now >= device.expires:
            raise OAuthError("expired_token", "The device code has expired.")
        if since < device.interval - 0.05:
            device.interval += 5
            raise OAuthError("slow_down", "Poll less often.")
        if device.decision is None:
            raise OAuthError("authorization_pending", "No decision has been made yet.")
        del self._devices[code]
        if not device.decision:
            raise OAuthError("access_denied", "The request was denied.")
        grant = Grant(device.scopes, self._now())
        keeps = "offline_access" in grant.scopes
        return self._issue(grant, grant.scopes, self._renew(grant) if keeps else None)


def _form(request: Request) -> dict[str, str]:
    if not request.headers.get("content-type", "").startswith(_FORM):
        raise OAuthError("invalid_request", f"The body must be {_FORM}.")
    form = parse_qs(request.body.decode("ascii", "replace"), keep_blank_values=True)
    return {"grant_type": "", **{name: values[-1] for name, values in form.items()}}


def _basic(request: Request) -> tuple[str, str] | None:
    """Return the id and the secret of HTTP Basic, or None."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, _, secret = pair.partition(":")
    return unquote_plus(name), unquote_plus(secret)
