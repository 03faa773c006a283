"""Errors, named by what the caller does next.

- `TapError`
    - `InvalidInput`: stop before reading: settings, catalog or state must be mended
    - `Fatal`: end this stream; no other request of it can succeed
        - `AuthenticationFailed`: end every stream of the provider
    - `Unavailable`: leave this stream out, with a warning; the others go on
    - `Skippable`: leave this parent out, count it, carry on
        - `Gone`: the parent does not exist (any more)
        - `Denied`: these credentials may not read it
        - `NotUnderstood`: status 200 with a body of an unknown shape
        - `Broken`: each try failed in a way that may pass
        - `Lost`: it cannot be read by any request: its stream fails
    - `Retriable`: wait, then try the same request again
        - `Throttled`: nobody may ask for a while
        - `TimedOut`: likewise, and ask for less
    - `Exhausted`: the budget of requests or of time is spent: pause, exit 0
        - `HistoryLeft`: only this stream's share of it
    - `Terminated`: a signal, or the end of the run: stop at the next safe point

A message says what, where and how to fix it; it carries method, path template,
status and request id, and never a body, a query or a secret.
"""

from __future__ import annotations

from typing import ClassVar


class TapError(Exception):
    """Base of all errors that the tap raises on purpose."""


class InvalidInput(TapError):  # noqa: N818 - named by the next step, like its kin
    """Settings, catalog or state that must be mended before anything is read."""


class Fatal(TapError):  # noqa: N818
    """This stream cannot go on."""


class AuthenticationFailed(Fatal):
    """The provider refused the credentials, or cannot be reached at all."""


class Unavailable(TapError):  # noqa: N818
    """The stream does not exist for this account, or may not be read by it."""


class Skippable(TapError):  # noqa: N818
    """This parent cannot be read now; the others can."""


class Gone(Skippable):
    """The parent does not exist (any more)."""


class Denied(Skippable):
    """These credentials, fresh as they are, may not read it."""


class NotUnderstood(Skippable):
    """A response with status 200 whose shape is unknown: it tells nothing."""


class Broken(Skippable):
    """Each try failed in a way that may pass, such as with a 5xx."""


class Lost(Skippable):
    """No request can read this list. The others are read, then the stream fails."""


class Retriable(TapError):  # noqa: N818
    """The same request may succeed after a wait.

    Attributes:
        retry_after: seconds that the server asked for, or None.
        ends_as: what it is after the last try.
        most_tries: tries in all, where it is worth fewer than others.
    """

    ends_as: ClassVar[type[TapError]] = Broken
    most_tries: ClassVar[int | None] = None

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Retriable):
    """Too many requests: everybody has to wait."""


class TimedOut(Retriable):
    """The server took too long; a smaller request may succeed."""


class Exhausted(TapError):  # noqa: N818
    """The budget of requests or of time is spent."""


class HistoryLeft(Exhausted):
    """This stream's share is spent; what is left was closed when first seen."""


class Terminated(TapError):  # noqa: N818
    """The run is ending; nothing more may be asked."""
