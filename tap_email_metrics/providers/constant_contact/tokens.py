"""The token store: keeps a refresh token that changes with each use.

A rotating refresh token is void once it was used, and only one response has the next
one. Therefore the next token is written to disk before anything else happens, and no
token is requested if the file cannot be written.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from tap_email_metrics.clock import DAY
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.transport.files import SharedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


LOGIN = "login"
"""Placeholder for the refresh token in settings that never had one."""


EXPIRY = 180 * DAY
"""Seconds after which the vendor refuses a refresh token that was not used."""


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tokens that are stored between runs.

    Attributes:
        version: version of the file's format.
        seed: fingerprint of the refresh token in the settings that these came from.
        refresh_token: the refresh token to use next.
        access_token: the current access token, empty for none.
        expires_at: end of the access token, in UTC seconds.
        refreshed_at: time of the last refresh, in UTC seconds.
        owner: digest of the id of the account that the tokens belong to; empty if the
            API does not tell, None if it was not asked.
        label: fingerprint of the setting `account` at the login.
        others: tokens of other seeds, because several accounts may name one file.
    """

    version: Literal[1] = 1
    seed: str
    refresh_token: str
    access_token: str = ""
    expires_at: float = 0.0
    refreshed_at: float = 0.0
    owner: str | None = None
    label: str | None = None
    others: tuple[Tokens, ...] = ()

    def is_for(self, account: str) -> bool:
        """Return whether a login was for this value of the setting `account`.

        A refresh token in the settings belongs to them, whatever they call it.
        """
        is_placeholder = self.seed == seed_fingerprint(LOGIN)
        return not is_placeholder or self.label in {None, label_fingerprint(account)}

    def of(self, fresh: Tokens) -> Tokens:
        """Return the tokens of a seed, with all others beside them.

        Other tokens that were not used for half a year are void and left out.

        Args:
            fresh: the seed, for the case that none of its tokens are stored.
        """
        every = (replace(self, others=()), *self.others)
        newest = max(one.refreshed_at for one in every)
        own = [one for one in every if one.seed == fresh.seed]
        others = tuple(
            one
            for one in every
            if one.seed != fresh.seed and one.refreshed_at > newest - EXPIRY
        )
        return replace(own[0] if own else fresh, others=others)


def unused(seed: str) -> Tokens:
    """Return the tokens of a seed that was not used yet."""
    return Tokens(seed=seed_fingerprint(seed), refresh_token=seed)


def seed_fingerprint(refresh_token: str) -> str:
    """Return 16 hex digits that identify a seed without revealing it."""
    return _fingerprint("seed", refresh_token)


def label_fingerprint(account: str) -> str:
    """Return 16 hex digits that identify a value of the setting `account`."""
    return _fingerprint("label", account)


def owner_fingerprint(account_id: str) -> str:
    """Return 16 hex digits that identify an account by the vendor's id."""
    return _fingerprint("account", account_id)


def _fingerprint(kind: str, text: str) -> str:
    whole = f"tap-email-metrics {kind}\0{text}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


class TokenStore:
    """A file of tokens; only one process at a time can hold it.

    Args:
        path: path of the file.
        former: path of the file in earlier versions of the tap, None without one.
    """

    def __init__(self, path: Path, former: Path | None = None) -> None:
        self._former = former
        self._file = SharedFile(
            path,
            "the token store",
            "Let this user write there, or name another file with "
            "constant_contact.token_store",
        )

    def __str__(self) -> str:
        return str(self._file)

    def held(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Lock the store, from reading a token until the next one is stored.

        Args:
            check: called while another process holds it; raises once the run ends.

        Raises:
            InvalidInput: the file cannot be read or written.
            TapError: what `check` raises.
        """
        return self._file.locked(check)

    def load(self, seed: str) -> Tokens:
        """Return the stored tokens, or the seed if none of its tokens are stored.

        Stored tokens are used until the user puts another seed into the settings.

        Raises:
            InvalidInput: the file is damaged.
        """
        fresh = unused(seed)
        stored = self._stored()
        if stored is None:
            return self._taken_over(fresh) or fresh
        return stored.of(fresh)

    def owner(self, seed: str, account: str) -> str | None:
        """Return the `owner` of the stored tokens, None if it is not known.

        Does not change the file, and needs no lock.

        Args:
            seed: the refresh token in the settings.
            account: the setting `account`. The login of another one does not count.
        """
        try:
            stored = self._stored()
        except (InvalidInput, OSError):
            return None
        tokens = (stored or unused(seed)).of(unused(seed))
        return tokens.owner if tokens.is_for(account) else None

    def _stored(self) -> Tokens | None:
        """Return the tokens that were used last, None without a file.

        Raises:
            InvalidInput: the file is damaged.
        """
        content = self._file.read()
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Tokens)
        except msgspec.DecodeError as error:
            raise InvalidInput(
                f"{self._file} is damaged, or of a newer version. Authorise again with "
                "tap-email-metrics-login, or delete it and put a new "
                "constant_contact.refresh_token into the settings"
            ) from error

    def _taken_over(self, fresh: Tokens) -> Tokens | None:
        """Move the tokens of the former file here, if they have the same seed.

        Several accounts could share a former file. The seed identifies the owner,
        except for the placeholder, which all accounts authorised in a browser have.
        """
        if self._former is None or fresh.refresh_token == LOGIN:
            return None
        try:
            stored = msgspec.json.decode(self._former.read_bytes(), type=Tokens)
            if stored.seed != fresh.seed:
                return None
            self._former.replace(self._file.path)
        except (OSError, msgspec.DecodeError):
            return None
        return stored

    def probe(self) -> None:
        """Check that tokens can be stored, even if the file is damaged.

        Raises:
            OSError: tokens cannot be stored.
        """
        self._file.probe()

    def save(self, tokens: Tokens) -> None:
        """Write tokens to disk; return once they are there."""
        self._file.write(msgspec.json.encode(tokens))


class NoStore:
    """Stores nothing between runs, for long-lived refresh tokens.

    Args:
        owner: the `owner` of the tokens, as far as the state knows it.
    """

    def __init__(self, owner: str | None) -> None:
        self._owner = owner
        self._tokens: Tokens | None = None

    def __str__(self) -> str:
        return "token_store: none"

    def held(self, check: Callable[[], None]) -> AbstractContextManager[None]:  # noqa: ARG002 - nothing to wait for
        """Do nothing: nobody else can have it."""
        return nullcontext()

    def load(self, seed: str) -> Tokens:
        """Return this run's tokens, the seed at first."""
        return self._tokens or replace(unused(seed), owner=self._owner)

    def save(self, tokens: Tokens) -> None:
        """Keep tokens for this run."""
        self._tokens = tokens
