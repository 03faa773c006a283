"""LuxSci authentication: requests signed with an auth code, or an API key."""

from __future__ import annotations

import hashlib
import hmac
import threading
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import requests

from tap_email_metrics.errors import (
    AuthenticationFailed,
    Fatal,
    Retriable,
    Skippable,
    TapError,
)
from tap_email_metrics.providers.luxsci.answers import (
    error_text,
    heed_pace,
    is_success,
    parsed,
    reason_of,
)
from tap_email_metrics.transport.client import (
    Authenticator,
    host,
    http_date,
    request_id,
    retry_after,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_email_metrics.control import Control
    from tap_email_metrics.providers.luxsci.settings import LuxSciSettings
    from tap_email_metrics.transport.client import Client

AUTH_PATH = "/auth"
AUTH_SKEW = 120.0
"""Seconds between the two clocks from which an error message mentions the difference.
The difference that LuxSci tolerates is not documented."""
_CREATED = 201


class ReportAuthenticator(Authenticator, Protocol):
    """An authenticator that may have to release its credentials at the end."""

    def close(self, client: Client) -> None:
        """Release the credentials of the run; a failure is only logged."""


# Signing


def signature(secret: str, *parts: str) -> str:
    """Return the lower-case hex HMAC-SHA-256 of the parts, each with a line feed."""
    message = "".join(f"{part}\n" for part in parts)
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def request_signature(  # noqa: PLR0913 - the parts that LuxSci signs
    secret: str, auth: str, method: str, path: str, query: str, *, body: str = ""
) -> str:
    """Return the signature of a request.

    Args:
        secret: of the API integration.
        auth: the auth code.
        method: GET, DELETE, …
        path: the whole path after the host, as it is sent.
        query: as it is sent, without the question mark.
        body: JSON; empty if the request has none.
    """
    digest = hashlib.sha256(body.strip().encode()).hexdigest() if body else ""
    return signature(secret, auth, method, path, query, digest)


def as_sent(url: str) -> str:
    """Return a URL as `requests` sends it, which is the form to sign."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return str(prepared.url)


# Authenticators


class SecureAuthenticator:
    """One auth code for all threads and streams of a run.

    The vendor documents no lifetime, so the code is used until it is refused.
    """

    def __init__(
        self, settings: LuxSciSettings, session: requests.Session, control: Control
    ) -> None:
        self._settings = settings
        self._session = session
        self._control = control
        self._lock = threading.Lock()
        self._code: str | None = None
        self._failure: AuthenticationFailed | None = None

    def headers(self, client: Client, url: str) -> Mapping[str, str]:
        """Return the cookie that signs a GET.

        Raises:
            AuthenticationFailed: LuxSci refuses the credentials or cannot be reached.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            if self._code is None:
                self._code = self._obtain(client)
            return self._cookie(self._code, "GET", url)

    def renew(self, refused: Mapping[str, str], client: Client) -> None:  # noqa: ARG002 - the next request obtains it
        """Forget a refused code, unless another thread has replaced it."""
        with self._lock:
            if self._code and refused["Cookie"].startswith(f"signature={self._code}:"):
                self._code = None

    def close(self, client: Client) -> None:
        """Revoke the auth code."""
        url = self._settings.api_url + AUTH_PATH
        with self._lock:
            code, self._code = self._code, None
            if code is None:
                return
            headers = self._cookie(code, "DELETE", url)
            what = f"DELETE {AUTH_PATH}"
            try:
                with client.limits.request():
                    send(self._session, "DELETE", url, what, headers=headers)
            except TapError as error:
                self._control.logger.info("the auth code was not revoked: %s", error)

    def _cookie(self, code: str, method: str, url: str) -> dict[str, str]:
        parts = urlsplit(as_sent(url))
        signed = request_signature(
            self._settings.secret, code, method, parts.path, parts.query
        )
        return {"Cookie": f"signature={code}:{signed}"}

    def _obtain(self, client: Client) -> str:
        try:
            code = client.retrying(lambda: self._request(client), tries=4)
        except AuthenticationFailed as error:
            self._failure = error
            raise
        except (Skippable, Fatal) as error:
            where = host(self._settings.api_url)
            self._failure = AuthenticationFailed(
                f"LuxSci: {error}; check luxsci.api_url ({where}) and the network"
            )
            raise self._failure from error
        self._control.hide(code)
        return code

    def _request(self, client: Client) -> str:
        settings, what = self._settings, f"POST {AUTH_PATH}"
        sent = self._control.clock.now()
        parts = [settings.token, str(int(sent))]
        body: dict[str, object] = {"token": settings.token, "date": int(sent)}
        if settings.scope == "user":
            parts += [settings.user or "", settings.password or ""]
            body |= {"user": settings.user, "pass": settings.password}
        signed = signature(settings.secret, *parts)
        with client.limits.request():
            response = send(
                self._session,
                "POST",
                settings.api_url + AUTH_PATH,
                what,
                json={**body, "signature": signed},
            )
        client.note_time(response)
        answer = parsed(response.content)
        where = f"{what} answered {response.status_code}{request_id(response)}"
        wait = retry_after(response, self._control.clock.now())
        heed_pace(error_text(answer), where, client.limits, wait)
        if response.status_code in {200, _CREATED} and isinstance(answer, dict):
            code = answer.get("auth")
            if is_success(answer) and isinstance(code, str) and code:
                return code
            raise AuthenticationFailed(self._refusal(response, answer, sent))
        if response.status_code in {400, 401, 403, 404}:
            raise AuthenticationFailed(self._refusal(response, answer, sent))
        if response.status_code in {200, _CREATED}:
            raise Retriable(f"{what} answered without an auth code")
        client.check(response, what)
        raise Retriable(f"{what} answered {response.status_code}")

    def _refusal(self, response: requests.Response, answer: object, sent: float) -> str:
        where = (
            f"POST {AUTH_PATH} answered {response.status_code}{request_id(response)}"
        )
        server = http_date(response.headers.get("Date"))
        skew = 0.0 if server is None else sent - server
        if abs(skew) > AUTH_SKEW:
            way = "ahead of" if skew > 0 else "behind"
            off = f"{abs(skew):.0f} s {way} LuxSci's"
            hint = f"this machine's clock is {off}: set it (NTP)"
        else:
            hint = reason_of(error_text(answer)) or (
                "check luxsci.token, luxsci.secret, luxsci.scope and, in user scope, "
                "luxsci.user and luxsci.password; that the integration is enabled; and "
                "luxsci.api_url"
            )
        return f"LuxSci refused the credentials: {where}; {hint}"


class KeyAuthenticator:
    """An API key in a header. It needs no request, no renewal and no release."""

    def __init__(self, settings: LuxSciSettings) -> None:
        self._headers = {"X-API-Key": f"{settings.token}:{settings.secret}"}

    def headers(self, client: Client, url: str) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """Return the header that holds the key."""
        return self._headers

    def renew(self, refused: Mapping[str, str], client: Client) -> None:
        """Do nothing: there is only one key."""

    def close(self, client: Client) -> None:
        """Do nothing: a key is not released."""
