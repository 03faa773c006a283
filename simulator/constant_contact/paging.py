"""Parsed requests to Constant Contact, and answers in pages with cursors."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from simulator.constant_contact.facts import ENDS
from simulator.messages import Reply, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.constant_contact.facts import Policy

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CURSORS = ("next", "cursor")
_ENDINGS = {
    "no_links": b"",
    "null_links": b',"_links":null',
    "no_next": b',"_links":{}',
    "null_next": b',"_links":{"next":null}',
    "null_href": b',"_links":{"next":{"href":null}}',
}


class RefusalError(Exception):
    """A refusal of the API with status, error_key and error_message."""

    def __init__(self, status: int, key: str, text: str) -> None:
        super().__init__(key)
        self.status = status
        self.key = key
        self.text = text


def bad(text: str) -> RefusalError:
    """Return the refusal of an invalid request."""
    return RefusalError(400, "query.param.invalid", text)


def missing(text: str = "The resource was not found.") -> RefusalError:
    """Return the refusal of a request for a missing resource."""
    return RefusalError(404, "not_found", text)


def is_uuid(text: str) -> bool:
    """Return whether an id has the vendor's form."""
    return _UUID.fullmatch(text) is not None


@dataclass(frozen=True)
class Ask:
    """A valid request: ids of the path, and parameters of the query or of a cursor."""

    path: str
    ids: tuple[str, ...]
    parameters: Mapping[str, str]
    offset: int
    at: float
    policy: Policy

    @classmethod
    def read(  # noqa: PLR0913, PLR0917
        cls,
        path: str,
        ids: tuple[str, ...],
        query: Mapping[str, str],
        known: frozenset[str],
        at: float,
        policy: Policy,
    ) -> Ask:
        """Return the parsed request; RefusalError for an unknown parameter.

        A cursor must be the only parameter: it holds those of the first request and an
        offset. New rows therefore shift the rows of later pages.
        """
        cursor = next((query[name] for name in _CURSORS if name in query), None)
        if cursor is None:
            if unknown := sorted(query.keys() - known):
                raise bad(f"There are no parameters {unknown}.")
            return cls(path, ids, query, 0, at, policy)
        if len(query) > 1:
            raise bad("A link to a next page is to be followed as it is.")
        parameters = _unseal(cursor)
        if parameters.pop("p", None) != _mark(path):
            raise bad("The link is one of another list.")
        offset = int(parameters.pop("o"))
        return cls(path, ids, parameters, offset, at, policy)

    def limit(self, default: int, largest: int, smallest: int = 1) -> int:
        """Return the requested page size, limited by that of the policy."""
        text = self.parameters.get("limit", str(default))
        if not text.isdecimal() or not smallest <= int(text) <= largest:
            raise bad(f"The limit must be {smallest} to {largest}.")
        return min(int(text), self.policy.max_page or largest)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean parameter."""
        text = self.parameters.get(name, "true" if default else "false")
        if text not in ("true", "false"):
            raise bad(f"{name} must be true or false.")
        return text == "true"

    def instant(self, name: str) -> float | None:
        """Return a date or date-time in UTC seconds, or None if it is missing."""
        text = self.parameters.get(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise bad(f"{name} must be a date-time.") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()

    def required(self, name: str) -> float:
        """Return an instant; RefusalError if it is missing."""
        value = self.instant(name)
        if value is None:
            raise bad(f"{name} is required.")
        return value

    def words(self, name: str, known: Sequence[str]) -> set[str]:
        """Return a comma-separated list of known words."""
        words = {word for word in self.parameters.get(name, "").split(",") if word}
        if not words <= set(known):
            raise bad(f"{name} must be of {', '.join(known)}.")
        return words

    def between(self, name: str, value: float | None) -> bool:
        """Return whether an instant passes `{name}_after` and `{name}_before`."""
        after = self.instant(f"{name}_after")
        before = self.instant(f"{name}_before")
        return self.passes(value, after, before)

    def passes(
        self, value: float | None, after: float | None, before: float | None
    ) -> bool:
        """Return whether an instant is between two bounds."""
        if after is None and before is None:
            return True
        if value is None:
            return False
        if self.policy.after_inclusive and value in (after, before):
            return True
        is_after = after is None or value > after
        return is_after and (before is None or value < before)


def page(  # noqa: PLR0913
    ask: Ask,
    name: str,
    rows: Sequence[bytes],
    size: int,
    total: int,
    *,
    extra: Mapping[str, object] | None = None,
    cursor: str = "next",
) -> Reply:
    """Return a page with `rows` of `total` rows, and the link to the next page."""
    body = b'{"%s":[%s]' % (name.encode(), b",".join(rows))
    for key, value in (extra or {}).items():
        body += b',"%s":%s' % (key.encode(), encode(value))
    body += _links(ask, ask.offset + size, total, cursor) + b"}"
    return Reply(200, body, {"Content-Type": "application/json"})


def _links(ask: Ask, offset: int, total: int, cursor: str) -> bytes:
    if offset < total or (ask.policy.empty_last_page and offset == total):
        sealed = _seal({**ask.parameters, "o": str(offset), "p": _mark(ask.path)})
        href = f"{ask.path}?{cursor}={quote(sealed, safe='')}"
        return b',"_links":%s' % encode({"next": {"href": href}})
    end = ask.policy.paging_end
    if end == "varied":
        end = ENDS[zlib.crc32(ask.path.encode()) % len(ENDS)]  # type: ignore[assignment]
    return _ENDINGS[end]


def _mark(path: str) -> str:
    return f"{zlib.crc32(path.encode()):x}"


def _seal(parameters: Mapping[str, str]) -> str:
    return base64.b64encode(urlencode(parameters).encode()).decode()


def _unseal(cursor: str) -> dict[str, str]:
    try:
        text = base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise bad("The link to the next page is not valid.") from None
    parameters = dict(parse_qsl(text, keep_blank_values=True))
    if not parameters.get("o", "").isdecimal():
        raise bad("The link to the next page is not valid.")
    return parameters
