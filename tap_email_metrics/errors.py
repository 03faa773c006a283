"""Errors, named by what the caller does next.

- `TapError`
    - `InvalidInput`: stop before reading; the user must fix settings, catalog or state
    - `Fatal`: end this stream; none of its other requests can succeed
        - `AuthenticationFailed`: end every stream of the provider
    - `Unavailable`: leave this stream out with a warning; the others go on
    - `Skippable`: leave this parent out, count it and go on
        - `Gone`: the parent does not exist
        - `Denied`: these credentials may not read the parent
        - `NotUnderstood`: status 200 with a body of an unknown shape
        - `Broken`: every try failed in a way that may pass
        - `Lost`: no request can read the list; go on, then fail the stream
        - `LostRow`: the same for one row; other windows of its list may be readable
    - `Retriable`: wait, then try the same request again
        - `Throttled`: let all requests of the provider wait
        - `TimedOut`: ask for fewer rows
    - `Exhausted`: the budget of requests or time is spent; pause and exit with 0
        - `HistoryLeft`: this stream's share of the budget is spent
    - `Terminated`: a signal, or the end of the run; stop at the next safe point

A message says what failed, where, and how to fix it. It contains the method, the path
template, the status and the request id, but never a body, a query or a secret.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Ending = Literal["well", "paused", "refused", "failed", "terminated"]
"""How a command's questions to one provider ended."""


class TapError(Exception):
    """Base of all errors that the tap raises on purpose."""


class InvalidInput(TapError):  # noqa: N818 - named by the next step, like its kin
    """Settings, catalog or state that the user must fix before anything is read."""


class Fatal(TapError):  # noqa: N818
    """This stream cannot go on."""


class AuthenticationFailed(Fatal):
    """The provider refused the credentials, or cannot be reached at all."""


class Unavailable(TapError):  # noqa: N818
    """The stream does not exist for this account, or may not be read by it."""


class Skippable(TapError):  # noqa: N818
    """This parent cannot be read now; others may be readable."""


class Gone(Skippable):
    """The parent does not exist, or no longer exists."""


class Denied(Skippable):
    """The credentials are accepted, but may not read the parent."""


class NotUnderstood(Skippable):
    """A response with status 200 and an unknown shape. It proves nothing."""


class Broken(Skippable):
    """Every try failed in a way that may pass, such as with a 5xx."""


class Lost(Skippable):
    """No request can read this list. The stream fails after the other lists."""


class LostRow(Skippable):
    """No request can read this row. The stream fails after all other rows."""


class Retriable(TapError):  # noqa: N818
    """The same request may succeed after a wait.

    Attributes:
        retry_after: seconds that the server asks the client to wait, or None.
        ends_as: class of the error after the last try.
        most_tries: number of tries, if fewer than usual make sense; None otherwise.
    """

    ends_as: ClassVar[type[TapError]] = Broken
    most_tries: ClassVar[int | None] = None

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Retriable):
    """Too many requests: all requests of the provider have to wait."""


class TimedOut(Retriable):
    """The server took too long; a smaller request may succeed."""


class Exhausted(TapError):  # noqa: N818
    """The budget of requests or time is spent."""


class HistoryLeft(Exhausted):
    """This stream's share of the budget is spent; only history is left to read."""


class Terminated(TapError):  # noqa: N818
    """The run is ending; no more requests may be sent."""


def ending(error: TapError) -> Ending:
    """Return how a command's questions to a provider ended by an error."""
    match error:
        case AuthenticationFailed():
            return "refused"
        case Exhausted():
            return "paused"
        case Terminated():
            return "terminated"
    return "failed"
