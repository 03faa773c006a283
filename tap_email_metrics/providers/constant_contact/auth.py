"""Constant Contact authorisation, with rotating and with long-lived refresh tokens."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import (
    AuthenticationFailed,
    Exhausted,
    Fatal,
    InvalidInput,
    Retriable,
    Skippable,
    Terminated,
)
from tap_email_metrics.providers.constant_contact.tokens import (
    NoStore,
    Tokens,
    label_fingerprint,
    unused,
)
from tap_email_metrics.records.values import decode_json
from tap_email_metrics.transport.bounds import decode_as
from tap_email_metrics.transport.client import host, new_session, request_id, send
from tap_email_metrics.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from requests.adapters import BaseAdapter

    from tap_email_metrics.control import Control
    from tap_email_metrics.providers.constant_contact.settings import (
        ConstantContactSettings,
    )
    from tap_email_metrics.providers.constant_contact.tokens import TokenStore
    from tap_email_metrics.transport.client import Client

EARLY = 300.0
"""An access token is no longer used in its last seconds: these many, but at most half
of its life."""
SPACING = 1.0
"""Seconds between two requests for a token."""
GRACE = 7.0
"""Seconds to wait for a refresh in flight after the end of the run; the process has to
end within ten."""
AGAIN = (
    "authorise again: run tap-email-metrics-login with the same settings, or put a new "
    "constant_contact.refresh_token into them"
)


class _Grace:
    """Lets a refresh in flight continue for some seconds after the end of the run."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._since: float | None = None

    def __call__(self) -> None:
        """Do nothing while the refresh may go on.

        Raises:
            Terminated, Exhausted: the run ended more than `GRACE` seconds ago.
        """
        try:
            self._control.check()
        except (Terminated, Exhausted):
            now = self._control.clock.monotonic()
            self._since = now if self._since is None else self._since
            if now - self._since >= GRACE:
                raise


class TokenAnswer(msgspec.Struct):
    """The response of the token endpoint."""

    access_token: str
    refresh_token: str | None = None
    # A lifetime of any type must not cost the new refresh token.
    expires_in: object = None


class ConstantContactAuthenticator:
    """Provides one access token to all threads, streams and processes of a store.

    https://developer.constantcontact.com/api_guide/server_flow.html
    """

    def __init__(
        self,
        settings: ConstantContactSettings,
        store: TokenStore | NoStore,
        transport: BaseAdapter | None,
        control: Control,
    ) -> None:
        self._settings = settings
        self._store = store
        self._session = new_session(transport, _Grace(control))
        self._control = control
        self._lock = threading.Lock()
        self._tokens = unused(settings.refresh_token)
        self._headers: dict[str, str] = {}
        self._expires = float("-inf")
        self._failure: AuthenticationFailed | None = None
        # The token endpoint has its own limit of 1 request per second.
        self.limits = Limits(
            clock=control.clock,
            check=control.check,
            requests_per_second=1 / SPACING,
            max_concurrency=1,
        )

    @property
    def failure(self) -> AuthenticationFailed | None:
        """The error that ended all attempts to get a token, None without one."""
        with self._lock:
            return self._failure

    def headers(self, client: Client, url: str) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """Return the Authorization header; get a new token if the old one ends.

        Raises:
            AuthenticationFailed: the token is refused, or the server cannot be reached.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            if self._control.clock.now() >= self._expires:
                self._obtain(client, refused="")
            return self._headers

    def renew(self, refused: Mapping[str, str], client: Client) -> None:
        """Replace a refused token, unless another thread has done so."""
        with self._lock:
            if self._headers is refused and not self._failure:
                self._obtain(client, refused=refused["Authorization"])

    def login(self, client: Client) -> Tokens:
        """Return the tokens in use, which say what is known of their account.

        Raises:
            AuthenticationFailed: the token is refused, or the server cannot be reached.
        """
        self.headers(client, "")
        with self._lock:
            return self._tokens

    def note_owner(self, owner: str) -> None:
        """Remember which account the tokens belong to, until the next login.

        Args:
            owner: digest of the account's id, empty if the API does not tell.

        Raises:
            InvalidInput: the store cannot be written.
        """
        settings = self._settings
        with self._lock, self._store.held(self._control.check):
            tokens = self._store.load(settings.refresh_token)
            label = tokens.label or label_fingerprint(settings.account)
            self._store.save(replace(tokens, owner=owner, label=label))

    def close(self) -> None:
        """Wait for a refresh in flight, because only its response has the new token."""
        if self._lock.acquire(timeout=GRACE):
            self._lock.release()

    def _obtain(self, client: Client, refused: str) -> None:
        """Use the stored token or get a new one; remember a failure."""
        try:
            with self._store.held(self._control.check):
                tokens = self._store.load(self._settings.refresh_token)
                usable = _serves_until(tokens) > self._control.clock.now()
                if not usable or f"Bearer {tokens.access_token}" == refused:
                    tokens = self._refresh(client, tokens)
        except AuthenticationFailed as error:
            self._failure = error
            raise
        except InvalidInput as error:
            self._failure = AuthenticationFailed(f"Constant Contact: {error}")
            raise self._failure from error
        except (Skippable, Fatal) as error:
            self._failure = AuthenticationFailed(
                f"Constant Contact: {error}; check the network and "
                f"constant_contact.auth_url ({host(self._settings.auth_url)})"
            )
            raise self._failure from error
        self._control.hide(tokens.access_token, tokens.refresh_token)
        self._tokens = tokens
        self._expires = _serves_until(tokens)
        self._headers = {"Authorization": f"Bearer {tokens.access_token}"}

    def _refresh(self, client: Client, tokens: Tokens) -> Tokens:
        # The old token is void once used, so first make sure that the store can be
        # written. This raises if it cannot.
        self._store.save(tokens)
        # Another process may have asked a moment ago, and they share the limit.
        since = self._control.clock.now() - tokens.refreshed_at
        if 0 <= since < SPACING:
            self._control.clock.sleep(SPACING - since)
        answer = client.retrying(lambda: self._request(client, tokens), tries=3)
        self._control.hide(answer.access_token, answer.refresh_token or "")
        now = self._control.clock.now()
        following = answer.refresh_token or tokens.refresh_token
        if isinstance(self._store, NoStore) and following != tokens.refresh_token:
            raise AuthenticationFailed(
                "Constant Contact rotates the refresh tokens of this app, but "
                "constant_contact.token_store is none: the new one cannot be stored "
                f"and the old one is void. Name a file in token_store and {AGAIN}"
            )
        new = replace(
            tokens,
            refresh_token=following,
            access_token=answer.access_token,
            expires_at=now + life(answer),
            refreshed_at=now,
        )
        try:
            self._store.save(new)
        except OSError as error:
            raise AuthenticationFailed(
                f"Constant Contact: {self._store} cannot store the new refresh token "
                f"({error.strerror}), and the old one is void. Once it can, {AGAIN}"
            ) from error
        return new

    def _request(self, client: Client, tokens: Tokens) -> TokenAnswer:
        settings = self._settings
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        basic = None
        if settings.client_secret:
            basic = (settings.client_id, settings.client_secret)
        else:
            form["client_id"] = settings.client_id
        what = "POST /token"
        client.limits.count()
        with self.limits.request():
            response = send(
                self._session,
                "POST",
                f"{settings.auth_url}/token",
                what,
                data=form,
                auth=basic,
            )
        if response.status_code in {400, 401, 403}:
            raise AuthenticationFailed(self._refusal(response))
        client.check(response, what)
        try:
            return decode_as(response.content, TokenAnswer)
        except msgspec.DecodeError as error:
            raise Retriable(f"{what} answered 200 without a token") from error

    def _refusal(self, response: requests.Response) -> str:
        code = error_code(response)
        where = f"POST /token answered {response.status_code}{request_id(response)}"
        if code == "invalid_grant":
            return (
                "Constant Contact refused the refresh token: it is expired (180 days "
                "unused), or was used before and its successor was lost, as when a run "
                f"is killed between an answer and {self._store}. Now {AGAIN} ({where})"
            )
        if code in {"invalid_client", "unauthorized_client"}:
            return (
                "Constant Contact does not know this client: check constant_contact."
                "client_id, and client_secret (leave it out for a public client) "
                f"({where})"
            )
        return f"Constant Contact refused to renew the token: {where}; {AGAIN}"


def error_code(response: requests.Response) -> str:
    """Return an OAuth error code. Compare it, but never log it: it may be any text."""
    try:
        body = decode_json(response.content)
    except msgspec.DecodeError:
        return ""
    code = body.get("error") if isinstance(body, dict) else None
    return code if isinstance(code, str) else ""


def life(answer: TokenAnswer) -> float:
    """Return the lifetime of an access token in seconds."""
    return lifetime(answer.expires_in, DAY)


def lifetime(expires_in: object, otherwise: float) -> float:
    """Return the seconds of an `expires_in`.

    Args:
        expires_in: the value in the response.
        otherwise: the seconds if the value is not usable.
    """
    is_number = isinstance(expires_in, int | float | str)
    try:
        seconds = float(str(expires_in)) if is_number else 0.0
    except ValueError:
        seconds = 0.0
    return seconds if 0 < seconds < math.inf else float(otherwise)


def _serves_until(tokens: Tokens) -> float:
    """Return the UTC seconds up to which the tap uses an access token."""
    whole = tokens.expires_at - tokens.refreshed_at
    return tokens.expires_at - min(EARLY, whole / 2)
