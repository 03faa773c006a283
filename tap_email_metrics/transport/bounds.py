"""What an answer may take of this machine: a server has its word, not our memory.

All answers of all providers cross `bounded`, inflated as they are read: neither a body
without an end nor a small one that inflates to gigabytes is ever held whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tap_email_metrics.errors import TimedOut

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

Kind = TypeVar("Kind")

MOST_BODY = 32 * 2**20
"""Inflated bytes of one answer. A page is 1,000 rows at most, and a long row (a contact
in 200 lists, with 25 fields filled in) takes 20 kB; decoded, a body can take 25 times
its size."""
MOST_ANSWER = 128 * 2**20
"""Likewise of an answer that is decoded as it comes, never held whole: LuxSci ends one
at about 50 MB."""
MOST_ERROR = 2**20
"""Likewise of an error, of which only its key is used, and of a redirect."""
LONGEST_TEXT = 1_000
"""Characters of a vendor's error text that are searched for words: a pattern can take
the square of a text's length, and what went wrong is said at its beginning."""
_CHUNK = 64 * 1024


class TooLong(TimedOut):
    """The answer is longer than what is read; one to a smaller request may not be."""

    # Each asks for half as much: rows of 130 kB would pass.
    most_tries = 3


class Bounded:
    """The body of an answer as it comes, up to a limit.

    It takes the place of `Response.raw`, and has what requests uses of that.

    Args:
        raw: what it stands for.
        most: inflated bytes that are read.
    """

    def __init__(self, raw: Any, most: int) -> None:  # noqa: ANN401 - untyped in requests
        self._raw = raw
        self._left = self._most = most

    def stream(self, amt: int, decode_content: bool = True) -> Iterator[bytes]:  # noqa: FBT001, FBT002 - the signature of urllib3
        """Yield the body in parts.

        Raises:
            TooLong: it goes on behind the limit.
        """
        for chunk in self._raw.stream(amt, decode_content=decode_content):
            self._left -= len(chunk)
            if self._left < 0:
                self.close()
                raise TooLong(f"an answer of more than {self._most // 2**20} MB")
            yield chunk

    def read(self, decode_content: bool = True) -> bytes:  # noqa: FBT001, FBT002 - likewise
        """Return the rest; requests drains a body with this that it could not inflate.

        Raises:
            TooLong: it goes on behind the limit.
        """
        return b"".join(self.stream(_CHUNK, decode_content))

    def close(self) -> None:
        """Cut the connection."""
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back."""
        self._raw.release_conn()


def bounded(response: requests.Response, **options: Any) -> None:  # noqa: ANN401 - the sender's
    """Bound what may be read of an answer: a hook of `requests.Session`.

    It comes before requests looks at a redirect, the body of which it would read.
    """
    most = MOST_ANSWER if options.get("stream") else MOST_BODY
    if not 200 <= response.status_code < 300:  # noqa: PLR2004 - success
        most = MOST_ERROR
    response.raw = Bounded(response.raw, most)


def decode_as(body: bytes, kind: type[Kind]) -> Kind:
    """Return what a JSON body says, in a type of ours.

    Raises:
        msgspec.DecodeError: it is not of that type, or not JSON. The message quotes
            nothing of the body.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (RecursionError, UnicodeDecodeError):
        raise msgspec.DecodeError("no JSON that can be read") from None
