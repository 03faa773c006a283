"""Requests and replies, without sockets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID = re.compile(rf"(?<=/)(?:\d+|{_UUID})(?=/|$)")
_LOGIN = re.compile(r"(?<=/v2/user/)[^/]+")
_LIST = re.compile(r"(?<=/stats/)(email_campaigns|email_campaign_activities)/[^/]+")
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""An encoder for JSON, made once because making it takes longer than encoding a row."""


@dataclass(frozen=True)
class Request:
    """One request: header names in lower case, query decoded, last value wins.

    `raw_query` and the path are still encoded.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw_query: str = ""

    @classmethod
    def parse(
        cls, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Request:
        """Return the request for a URL or a request target."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        lower = {name.lower(): value for name, value in headers.items()}
        return cls(method, parts.path or "/", query, lower, body, parts.query)

    @cached_property
    def identity(self) -> str:
        """Method, path and sorted query, by which faults are chosen."""
        return f"{self.method} {self.path}?{urlencode(sorted(self.query.items()))}"

    @cached_property
    def template(self) -> str:
        """The path without ids, for example `/v2/messages/{id}/opens` or `…/{ids}`."""
        path = _LOGIN.sub("{login}", _LIST.sub(r"\1/{ids}", self.path))
        return _ID.sub("{id}", path)


@dataclass
class Reply:
    """An answer with instructions for the adapter or server that delivers it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds to wait before answering."""
    cut: bool = False
    """Close the connection without an answer."""
    half: bool = False
    """Announce the whole body, send its first half, and close the connection."""
    drip: float = 0.0
    """Seconds before each byte of the body."""


def encode(value: object) -> bytes:
    """Return compact ASCII JSON; a lone surrogate becomes its escape."""
    return _ENCODER.encode(value).encode("ascii")


def json_reply(status: int, value: object) -> Reply:
    """Return a reply whose body is `value` as JSON."""
    return Reply(status, encode(value), {"Content-Type": "application/json"})


def message_reply(status: int, message: str | None = None) -> Reply:
    """Return a gateway's `{"message": …}`, by default with the phrase of the status."""
    return json_reply(status, {"message": message or HTTPStatus(status).phrase})
