"""The token store: a refresh token that changes with each use and never gets lost.

A rotating refresh token is void once it was used; its successor exists in one answer
only. So it is on disk before anything else happens with that answer, and nothing is
asked for while the disk cannot take it.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import msgspec

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.transport.files import SharedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


LOGIN = "login"
"""What stands for a refresh token in settings that never had one."""


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept between runs.

    Attributes:
        seed: fingerprint of the refresh token in the settings when this began.
        refresh_token: the next one to use.
        access_token: the one in use, empty for none.
        expires_at: UTC seconds at which it ends.
        refreshed_at: UTC seconds of the last refresh.
    """

    version: Literal[1] = 1
    seed: str
    refresh_token: str
    access_token: str = ""
    expires_at: float = 0.0
    refreshed_at: float = 0.0


def seed_fingerprint(refresh_token: str) -> str:
    """Return 16 hex digits that tell seeds apart and do not give them away."""
    text = b"tap-email-metrics seed\0" + refresh_token.encode()
    return hashlib.sha256(text).hexdigest()[:16]


class TokenStore:
    """A file of tokens; one process at a time may hold it.

    Args:
        path: of the file.
        former: where an earlier version of the tap kept them, None for nowhere else.
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
        """Shut out other processes, from reading a token to storing its successor.

        Args:
            check: called while another process holds it; raises once the run ends.

        Raises:
            InvalidInput: the file system refuses.
            TapError: what `check` raises.
        """
        return self._file.locked(check)

    def load(self, seed: str) -> Tokens:
        """Return the stored tokens, or the seed where there are none of it.

        A stored token is preferred to the seed it came from, unless the user has
        put a new seed into the settings since.

        Raises:
            InvalidInput: the file is damaged.
        """
        fresh = Tokens(seed=seed_fingerprint(seed), refresh_token=seed)
        content = self._file.read()
        if content is None:
            return self._taken_over(fresh) or fresh
        try:
            stored = msgspec.json.decode(content, type=Tokens)
        except msgspec.DecodeError as error:
            raise InvalidInput(
                f"{self._file} is damaged, or of a newer version. Authorise again with "
                "tap-email-metrics-login, or delete it and put a new "
                "constant_contact.refresh_token into the settings"
            ) from error
        return stored if stored.seed == fresh.seed else fresh

    def _taken_over(self, fresh: Tokens) -> Tokens | None:
        """Return the tokens of the former file, moved here, if they are surely ours.

        Several accounts could share a name then. The seed tells whose they are, unless
        it is the word that all have who authorised in a browser.
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
        """Make sure that tokens can be kept, also in the place of a damaged file.

        Raises:
            OSError: they cannot.
        """
        self._file.probe()

    def save(self, tokens: Tokens) -> None:
        """Put tokens on disk; they are safe once this returns."""
        self._file.write(msgspec.json.encode(tokens))


class NoStore:
    """For long-lived refresh tokens: nothing is kept between runs."""

    def __init__(self) -> None:
        self._tokens: Tokens | None = None

    def __str__(self) -> str:
        return "token_store: none"

    def held(self, check: Callable[[], None]) -> AbstractContextManager[None]:  # noqa: ARG002 - nothing to wait for
        """Do nothing: nobody else can have it."""
        return nullcontext()

    def load(self, seed: str) -> Tokens:
        """Return this run's tokens, the seed at first."""
        return self._tokens or Tokens(seed=seed_fingerprint(seed), refresh_token=seed)

    def save(self, tokens: Tokens) -> None:
        """Keep tokens for this run."""
        self._tokens = tokens
