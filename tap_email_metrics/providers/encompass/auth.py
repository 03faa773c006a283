"""Encompass authentication: a bearer token, which is renewed before its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from tap_email_metrics.errors import AuthenticationFailed, Fatal, Retriable, Skippable
from tap_email_metrics.records.values import decode_json
from tap_email_metrics.transport.bounds import decode_as
from tap_email_metrics.transport.client import TRIES, host, request_id, send

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from tap_email_metrics.control import Control
    from tap_email_metrics.providers.encompass.settings import EncompassSettings
    from tap_email_metrics.transport.client import Client

AUTH_PATH = "/apiservices/authenticate"
_FIRST_TRIES = 4  # waits of 14 s in all: a wrong URL is reported soon
_EARLY = 0.1  # share of a token's life that is not used, at most five minutes
_HINTS = {
    "invalid_client": "check encompass.client_id (the site id)",
    "invalid_grant": "check encompass.client_secret (the web services GUID)",
    "unsupported_grant_type": "this site issues no tokens for the Email Metric API: "
    "ask the vendor to switch web services on",
}


class Token(msgspec.Struct):
    """The response of the token endpoint."""

    access_token: str
    expires_in: float | str | None = None


class EncompassAuthenticator:
    """Provides one token to all threads.

    The response has the lifetime of the token: about two years on the vendor's page, 24
    hours according to customers.

    Attributes:
        life: lifetime of the last token in seconds, None if the response has none.
    """

    def __init__(
        self, settings: EncompassSettings, session: requests.Session, control: Control
    ) -> None:
        self._settings = settings
        self._session = session
        self._clock = control.clock
        self._control = control
        self._lock = threading.Lock()
        self._headers: dict[str, str] = {}
        self._expires = float("-inf")
        self._failure: AuthenticationFailed | None = None
        self.life: float | None = None

    def headers(self, client: Client, url: str) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """Return the Authorization header; get a new token if the old one ends.

        Raises:
            AuthenticationFailed: the credentials are refused, or the server cannot be
                reached.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            if self._clock.monotonic() >= self._expires:
                self._authenticate(client)
            return self._headers

    def renew(self, refused: Mapping[str, str], client: Client) -> None:  # noqa: ARG002 - the next request obtains them
        """Forget a refused token, unless another thread has replaced it."""
        with self._lock:
            if self._headers is refused:
                self._expires = float("-inf")

    def _authenticate(self, client: Client) -> None:
        tries = TRIES if self._headers else _FIRST_TRIES
        try:
            token = client.retrying(lambda: self._request(client), tries=tries)
        except AuthenticationFailed as error:
            self._failure = error
            raise
        except (Skippable, Fatal) as error:
            self._failure = AuthenticationFailed(
                f"Encompass: {error}; check encompass.site_url "
                f"({host(self._settings.site_url)}) and the network"
            )
            raise self._failure from error
        self._control.hide(token.access_token)
        try:
            life = float(token.expires_in or 0)
        except ValueError:
            life = 0.0
        self.life = life if life > 0 else None
        # Without a usable lifetime the token is used until it is refused.
        life = life if life > 0 else float("inf")
        early = min(300.0, _EARLY * life)
        self._expires = self._clock.monotonic() + life - early
        self._headers = {"Authorization": f"Bearer {token.access_token}"}

    def _request(self, client: Client) -> Token:
        with client.limits.request():
            response = send(
                self._session,
                "POST",
                self._settings.site_url + AUTH_PATH,
                f"POST {AUTH_PATH}",
                data={
                    "client_id": self._settings.client_id,
                    "client_secret": self._settings.client_secret,
                    "grant_type": "email_api_auth_key",
                },
            )
        client.note_time(response)
        if response.status_code in {400, 401, 403}:
            raise AuthenticationFailed(self._refusal(response))
        client.check(response, f"POST {AUTH_PATH}")
        try:
            return decode_as(response.content, Token)
        except msgspec.DecodeError as error:
            raise Retriable(
                f"POST {AUTH_PATH} answered 200 without a token: is "
                f"{host(self._settings.site_url)} an Encompass site?"
            ) from error

    @staticmethod
    def _refusal(response: requests.Response) -> str:
        try:
            body = decode_json(response.content)
        except msgspec.DecodeError:
            body = None
        error = str(body.get("error")) if isinstance(body, dict) else ""
        code = error if error in _HINTS else ""
        hint = _HINTS.get(code, "check encompass.client_id and encompass.client_secret")
        return (
            f"Encompass refused the credentials: POST {AUTH_PATH} answered "
            f"{response.status_code} {code}".rstrip()
            + f"{request_id(response)}; {hint}"
        )
