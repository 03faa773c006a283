"""Limits on response size: no response can exhaust memory.

Every response passes `bounded`, which counts inflated bytes while they are read. So an
endless body, or a small one that inflates to gigabytes, is never held in memory.
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
"""Most inflated bytes of a response. A page has at most 1,000 rows, and a long row (a
contact in 200 lists, with 25 fields filled in) takes 20 kB. A decoded body can take 25
times its size."""
MOST_ANSWER = 128 * 2**20
"""Most inflated bytes of a response that is decoded while it arrives. LuxSci ends its
responses at about 50 MB."""
MOST_ERROR = 2**20
"""Most inflated bytes of an error, which needs only its error key, or of a redirect."""
LONGEST_TEXT = 1_000
"""Most characters of an error text that are searched for words. A search can take time
in the square of the length, and the reason is at the beginning of the text."""
_CHUNK = 256 * 1024


class TooLong(TimedOut):
    """The response exceeds the size limit. A smaller request may get one that fits."""

    # Each retry asks for half as many rows, so that rows of 130 kB would fit.
    most_tries = 3


class Bounded:
    """The body of a response, up to a limit.

    It replaces `Response.raw` and has the methods that requests uses.

    Args:
        raw: the original `Response.raw`.
        most: the largest number of inflated bytes to read.
    """

    def __init__(self, raw: Any, most: int) -> None:  # noqa: ANN401 - untyped in requests
        self._raw = raw
        self._left = self._most = most

    def stream(self, amt: int, decode_content: bool = True) -> Iterator[bytes]:  # noqa: FBT001, FBT002 - the signature of urllib3
        """Yield the body in parts.

        They are larger than the 10 kB that requests asks for: each costs a call
        through urllib3 and http.client.

        Raises:
            TooLong: the body exceeds the limit.
        """
        size = max(amt, _CHUNK)
        for chunk in self._raw.stream(size, decode_content=decode_content):
            self._left -= len(chunk)
            if self._left < 0:
                self.close()
                raise TooLong(f"a response of more than {self._most // 2**20} MB")
            yield chunk

    def read(self, decode_content: bool = True) -> bytes:  # noqa: FBT001, FBT002 - likewise
        """Return the rest of the body; requests drains a damaged body with this.

        Raises:
            TooLong: the body exceeds the limit.
        """
        return b"".join(self.stream(_CHUNK, decode_content))

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def release_conn(self) -> None:
        """Release the connection for another request."""
        self._raw.release_conn()


def bounded(response: requests.Response, **options: Any) -> None:  # noqa: ANN401 - the sender's
    """Limit the size of a response. This is a hook of `requests.Session`.

    The hook runs before requests reads the body of a redirect.
    """
    most = MOST_ANSWER if options.get("stream") else MOST_BODY
    if not 200 <= response.status_code < 300:  # noqa: PLR2004 - success
        most = MOST_ERROR
    response.raw = Bounded(response.raw, most)


def decode_as(body: bytes, kind: type[Kind]) -> Kind:
    """Decode a JSON body as a type.

    Raises:
        msgspec.DecodeError: the body is not JSON or not of the type. The message does
            not quote the body.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (RecursionError, UnicodeDecodeError):
        raise msgspec.DecodeError("the JSON cannot be decoded") from None
