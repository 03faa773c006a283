"""`tap-email-metrics-login`: authorise Constant Contact in a browser, on any machine.

This is the device flow: the command shows an address and a code, and a person opens the
address and confirms the code. The tokens are stored, but never shown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
from msgspec.structs import replace

from tap_email_metrics.clock import Clock, SystemClock
from tap_email_metrics.command import Command, Failed, Refused
from tap_email_metrics.errors import Fatal, InvalidInput, Retriable, TapError
from tap_email_metrics.providers.constant_contact.auth import (
    TokenAnswer,
    error_code,
    life,
    lifetime,
)
from tap_email_metrics.providers.constant_contact.settings import (
    SCHEMA,
    SUMMARY,
    ConstantContactSettings,
)
from tap_email_metrics.providers.constant_contact.tokens import (
    LOGIN,
    Tokens,
    TokenStore,
    label_fingerprint,
    owner_fingerprint,
    seed_fingerprint,
)
from tap_email_metrics.settings.check import conformed, errors, without_empty
from tap_email_metrics.settings.environment import from_environment
from tap_email_metrics.transport.bounds import decode_as
from tap_email_metrics.transport.client import new_session, request_id, send

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from requests.adapters import BaseAdapter

Parsed = TypeVar("Parsed")

SCOPES = "campaign_data contact_data account_read offline_access"
VARIABLE_PREFIX = "TAP_EMAIL_METRICS_"
VARIABLE = f"{VARIABLE_PREFIX}CONSTANT_CONTACT"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL = 5.0
CODE_LIFE = 600.0
"""Seconds for which a code is valid if the server does not say."""
EXPIRED = "the code expired; run this command again"


class Device(msgspec.Struct):
    """The authorisation server's response to a device."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None
    interval: float = _INTERVAL
    expires_in: float | str | None = None


class Summary(msgspec.Struct):
    """The account, of which only the id is read."""

    encoded_account_id: str


class Login:
    """Guides a person through the device flow.

    Args:
        settings: settings of the provider.
        clock: waits between the polls.
        say: shows a line to the person.
        transport: carries the requests; the network if None.
    """

    def __init__(
        self,
        settings: ConstantContactSettings,
        clock: Clock,
        say: Callable[[str], object],
        transport: BaseAdapter | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._say = say
        self._session = new_session(transport, _wait_on)

    def run(self, scopes: str = SCOPES) -> Path:
        """Authorise, and return the file with the tokens.

        Raises:
            InvalidInput: the tokens cannot be stored.
            Fatal: the server or the person refused.
            Retriable: the server cannot be reached.
        """
        path = self._settings.token_store
        if path is None:
            raise InvalidInput(
                "constant_contact.token_store is none: name a file, or leave it out"
            )
        store = TokenStore(path)
        seed = self._settings.refresh_token
        with store.held(_wait_on):
            store.probe()
        device = self._ask(scopes)
        where = device.verification_uri_complete or device.verification_uri
        self._say(f"Open {where}\nand confirm the code {device.user_code}")
        answer = self._poll(device)
        now = self._clock.now()
        if answer.refresh_token is None:
            raise Fatal("the server gave no refresh token: ask for offline_access")
        tokens = Tokens(
            seed=seed_fingerprint(seed),
            refresh_token=answer.refresh_token,
            access_token=answer.access_token,
            expires_at=now + life(answer),
            refreshed_at=now,
            owner=self._owner(answer.access_token),
            label=label_fingerprint(self._settings.account),
        )
        with store.held(_wait_on):
            store.save(self._beside_others(store, tokens))
        return path

    def _beside_others(self, store: TokenStore, tokens: Tokens) -> Tokens:
        """Return the tokens with those of other seeds, which stay in the file.

        Raises:
            InvalidInput: the login would replace the one of another account.
        """
        try:
            stored = store.load(self._settings.refresh_token)
        except InvalidInput:
            return tokens  # a damaged file is replaced
        if stored.owner and tokens.owner and stored.owner != tokens.owner:
            raise InvalidInput(
                f"{store} has the login of another account than the one that you have "
                "just authorised, so nothing was stored. Give each account its own "
                "constant_contact.token_store, or its own constant_contact.account. "
                "To replace the other login, delete the file and run this again"
            )
        return replace(tokens, others=stored.others)

    def _owner(self, access_token: str) -> str | None:
        """Return the digest of the account's id, None if the API does not tell now."""
        headers = {"Authorization": f"Bearer {access_token}"}
        url = self._settings.api_url + SUMMARY
        try:
            response = send(
                self._session, "GET", url, f"GET {SUMMARY}", headers=headers
            )
            if response.status_code != 200:  # noqa: PLR2004 - OK
                return None
            account = decode_as(response.content, Summary)
        except (TapError, msgspec.DecodeError):
            return None  # the tap asks again
        account_id = account.encoded_account_id
        return owner_fingerprint(account_id) if account_id else None

    def _ask(self, scopes: str) -> Device:
        form = {"client_id": self._settings.client_id, "scope": scopes}
        response = self._post("/device/authorize", form)
        if response.status_code != 200:  # noqa: PLR2004 - OK
            raise Fatal(_refusal("POST /device/authorize", response))
        return _parsed(response, Device)

    def _poll(self, device: Device) -> TokenAnswer:
        interval = max(1.0, device.interval)
        until = self._clock.monotonic() + lifetime(device.expires_in, CODE_LIFE)
        form = {
            "client_id": self._settings.client_id,
            "grant_type": _GRANT,
            "device_code": device.device_code,
        }
        while self._clock.monotonic() < until:
            self._clock.sleep(interval)
            try:
                response = self._post("/token", form)
            except Retriable as error:
                self._say(f"{error}; still waiting")
                interval += _INTERVAL
                continue
            if response.status_code == 200:  # noqa: PLR2004 - OK
                return _parsed(response, TokenAnswer)
            match error_code(response):
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += _INTERVAL
                case _ if response.status_code in {408, 429, *range(500, 600)}:
                    interval += _INTERVAL
                case _:
                    raise Fatal(_refusal("POST /token", response))
        raise Fatal(EXPIRED)

    def _post(self, path: str, form: dict[str, str]) -> requests.Response:
        settings = self._settings
        secret = settings.client_secret
        return send(
            self._session,
            "POST",
            settings.auth_url + path,
            f"POST {path}",
            data=form,
            auth=(settings.client_id, secret) if secret else None,
        )


def _wait_on() -> None:
    """Keep waiting: this command has no deadline, and Ctrl-C ends it."""


def _refusal(what: str, response: requests.Response) -> str:
    why = {
        "access_denied": "you refused",
        "expired_token": EXPIRED,
        "invalid_client": "check constant_contact.client_id and client_secret",
        "unauthorized_client": "switch the device flow on in the app's settings",
        "invalid_scope": "the app may not ask for one of these scopes",
    }.get(error_code(response), "the authorisation server refused")
    return f"{why} ({what} answered {response.status_code}{request_id(response)})"


def _parsed(response: requests.Response, kind: type[Parsed]) -> Parsed:
    try:
        return decode_as(response.content, kind)
    except msgspec.DecodeError as error:
        raise Fatal(
            "the response is not from an authorisation server: check "
            "constant_contact.auth_url"
        ) from error


def read_settings(config: Path | None) -> ConstantContactSettings:
    """Return the provider's settings from a file, or from the environment.

    A refresh token is not required: "login" is its placeholder.

    Raises:
        InvalidInput: the settings are missing or not valid.
    """
    schema = _wrapped()
    try:
        if config is None:
            given = from_environment(schema, VARIABLE_PREFIX, os.environ)
        else:
            given = json.loads(config.read_bytes())
        section = without_empty(given)["constant_contact"]
        section = {"refresh_token": LOGIN, **section}
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InvalidInput(
            "no settings: name a config file with an object constant_contact, or set "
            f"the variable {VARIABLE} to such an object"
        ) from error
    checked = conformed({"constant_contact": section}, schema)
    if found := errors(checked, schema):
        raise InvalidInput("; ".join(found))
    section = checked["constant_contact"]
    settings = ConstantContactSettings.parse(section)
    if settings is None:
        raise InvalidInput("constant_contact.client_id is missing")
    return settings


def _wrapped() -> dict[str, Any]:
    return {"type": "object", "properties": {"constant_contact": SCHEMA}}


@click.command(cls=Command)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The tap's config file; without it, {VARIABLE} holds the object.",
)
@click.option("--scopes", default=SCOPES, show_default=True, help="What to ask for.")
def main(config: Path | None, scopes: str) -> None:
    """Authorise Constant Contact in a browser and keep the tokens in the store."""
    try:
        path = Login(read_settings(config), SystemClock(), click.echo).run(scopes)
    except InvalidInput as error:
        raise Refused(str(error)) from error
    except TapError as error:
        raise Failed(str(error)) from error
    click.echo(
        f"Authorised. The tokens are in {path}, and the tap keeps them there. Where "
        f'the settings have no refresh_token yet, set it to "{LOGIN}".'
    )
