"""Constant Contact client: links to the next page, three error forms, two of 429."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
from typing_extensions import override

from tap_email_metrics.errors import (
    Denied,
    Exhausted,
    NotUnderstood,
    Retriable,
    Skippable,
    Throttled,
    Unavailable,
)
from tap_email_metrics.records.builder import Envelope
from tap_email_metrics.records.values import decode_json
from tap_email_metrics.streams.digests import digest
from tap_email_metrics.transport.client import TRIES, Client, request_id, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import requests

    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row

SomeRows = TypeVar("SomeRows", bound="list[Row] | Page")
Parsed = TypeVar("Parsed")

MOST_PAGES = 10_000
"""Most pages of a list. An API key has as many requests in a day."""
MOST_AGAIN = 10
"""Most pages of a list that show only what an earlier page has shown."""
MOST_ROWS = 1_000_000
"""Most rows of a list that is held in memory."""
_PENDING, _NO_CONTENT, _DENIED, _TOO_MANY = 202, 204, 403, 429
_QUOTA = "quota_exceeded"
MOST_DEEP = 4
"""Levels of a response that are searched for a link to the next page."""
_BESIDE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MORE = re.compile(
    r"(has|is|any|are)?(there)?more(available|data|items|pages|records|results|rows)?"
    r"|(is)?truncated"
)
"""A field that is true if more rows follow, in lower case and without signs."""
_LAST = re.compile(r"(is)?last(page)?")
"""A field that is false if more rows follow."""
_CURSOR = re.compile(
    r"(end|page|paging|scroll)?cursor|(page|continuation)token|scrollid"
)
"""A field that is not empty if more rows follow and no other field denies it."""
_YES = frozenset({"true", "yes", "1"})


class NoList(Retriable):
    """A successful response without the requested list."""

    ends_as = NotUnderstood
    most_tries = 2


class OtherObject(Retriable):
    """A successful response with another object than the requested one."""

    ends_as = NotUnderstood
    most_tries = 2


class NoWayOn(NotUnderstood):
    """A page says that more rows follow, but has no link that leads to them."""


class Pending(Retriable):
    """The API is still preparing the response, which can happen for segments."""

    ends_as = Unavailable


class PendingParent(Retriable):
    """The API is still preparing the response for one campaign or contact only."""

    most_tries = 2


@dataclass(frozen=True, slots=True)
class LinkedPage(Generic[SomeRows]):
    """One page of a list.

    Attributes:
        rows: the rows in the order of the response.
        href: link to the next page, None at the end.
        is_listed: the response has a list; without one, `rows` is empty.
        more: the response says that more rows follow.
    """

    rows: SomeRows
    href: str | None
    is_listed: bool = True
    more: bool = False

    @property
    def is_last(self) -> bool:
        """Whether the list ends with this page."""
        return self.href is None and not self.more


class Trail:
    """Remembers the pages of one list, to detect circles and endless lists."""

    def __init__(self) -> None:
        self._followed: set[int] = set()
        self._shown: set[Hashable] = set()
        self._again = 0

    def follow(self, page: LinkedPage[Any]) -> str | None:
        """Return the link of a page, None at the end of the list.

        Raises:
            NoWayOn: more rows follow, but no link leads to them.
            Skippable: the link was followed before, or there are too many links or
                pages that show nothing new.
        """
        if page.href is None and page.more:
            raise NoWayOn(
                "Constant Contact: a page says that more rows follow, but has no link "
                "to them"
            )
        if page.href is not None:
            shown = _shown_by(page.rows)
            self._again += shown in self._shown
            self._shown.add(shown)
            if hash(page.href) in self._followed or self._again > MOST_AGAIN:
                raise Skippable("Constant Contact: the pages of a list go in circles")
            if len(self._followed) >= MOST_PAGES:
                raise Skippable(
                    f"Constant Contact: a list of more than {MOST_PAGES} pages"
                )
            self._followed.add(hash(page.href))
        return page.href


class ConstantContactClient(Client):
    """Reads objects and lists; lists are read by their links."""

    # A 403 is final, because a new token has the same scopes.
    refusals = frozenset({401})

    @cached_property
    def _origin(self) -> tuple[str, str | None, int | None]:
        return _origin(self._base_url)

    @override
    def check(self, response: requests.Response, what: str) -> None:
        """Raise the error for a response; see the base class.

        Raises:
            Exhausted: the quota of the day is spent.
            Denied: the token, its user or its app may not read this (403).
        """
        status = response.status_code
        where = f"{what} answered {status}{request_id(response)}"
        if status == _NO_CONTENT:
            return  # the parser decides what an empty body means
        if status == _PENDING:
            kind = PendingParent if "{}" in what else Pending
            raise kind(f"{where}: not ready yet")
        if status == _TOO_MANY:
            if error_key(response) == _QUOTA:
                self.limits.spend_day()
                raise Exhausted(
                    f"{where} {_QUOTA}: the quota of this day is spent; it resets at "
                    "00:00 UTC"
                )
            raise Throttled(where, retry_after(response, self._clock.now()))
        if status == _DENIED:
            raise Denied(where)
        super().check(response, what)

    @override
    def parsed(
        self, response: requests.Response, parse: Callable[[bytes], Parsed]
    ) -> Parsed:
        """Return the parsed body; a page may have its link in the header `Link`."""
        found = super().parsed(response, parse)
        if isinstance(found, LinkedPage) and found.href is None:
            found = replace(found, href=_header_link(response))
        return found

    def one(
        self,
        template: str,
        ids: Sequence[object] = (),
        params: Mapping[str, int | str] | None = None,
        *,
        id_field: str | None = None,
        tries: int = TRIES,
    ) -> Row:
        """Return the object in the response to a GET.

        Args:
            template: path with a `{}` for each id.
            ids: values for the path.
            params: the query.
            id_field: field that the object must have, with the last of `ids` if there
                are any; None to accept any object.
            tries: total number of tries.

        Raises:
            Skippable: the object cannot be read.
        """
        wanted = str(ids[-1]) if ids else None
        parse = partial(_parse_object, id_field=id_field, wanted=wanted)
        return self.get(template, ids, dict(params or {}), parse=parse, tries=tries)

    def many(self, template: str, ids: Sequence[object] = ()) -> list[object]:
        """Return the array in the response to a GET.

        Raises:
            Skippable: the array cannot be read.
        """
        return self.get(template, ids, parse=_parse_array)

    def page(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[object] = (),
        params: Mapping[str, int | str] | None = None,
        *,
        parse: Callable[[bytes], LinkedPage[SomeRows]],
        href: str | None = None,
        may_lack: bool = False,
        tries: int = TRIES,
    ) -> LinkedPage[SomeRows]:
        """Return one page of a list.

        Args:
            template: path with a `{}` for each id. With a link it is used for messages
                only.
            ids: values for the path.
            params: the query of the first page.
            parse: parses a body: `parse_page` or `parse_rows`.
            href: the link to this page, None for the first page.
            may_lack: a first page without a list counts as an empty list. Set it only
                if nothing indicates that there are rows.
            tries: total number of tries.

        Raises:
            NotUnderstood: the response has no list, or the link leads to another host.
            Skippable: the page cannot be read.
        """
        if href is None:
            query = dict(params or {})
            strict = parse if may_lack else partial(_listed, parse=parse)
            return self.get(template, ids, query, parse=strict, tries=tries)
        url = self.link(template, href, ids)
        strict = partial(_listed, parse=parse)
        return self.retrying(
            lambda: self.once(url, template, None, strict), tries=tries
        )

    def link(self, template: str, href: str, ids: Sequence[object] = ()) -> str:
        """Return the URL of a link to a next page.

        Args:
            template: path of the list; of messages.
            href: the link.
            ids: go into the path.

        Raises:
            NotUnderstood: it leads to another host.
        """
        try:
            url = urljoin(self.url_of(template, ids), href)
        except ValueError:
            url = ""  # the text is not a URL
        is_whole = href.startswith(("/", "?", "http://", "https://"))
        if not is_whole or _origin(url) != self._origin:
            raise NotUnderstood(
                f"GET {template}: the link to the next page leaves the API"
            )
        return url

    def pages(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[object] = (),
        params: Mapping[str, int | str] | None = None,
        *,
        parse: Callable[[bytes], LinkedPage[SomeRows]],
        may_lack: bool = False,
        tries: int = TRIES,
    ) -> Iterator[LinkedPage[SomeRows]]:
        """Yield the pages of a list; see `page`."""
        trail = Trail()
        href: str | None = None
        while True:
            page = self.page(
                template,
                ids,
                params,
                parse=parse,
                href=href,
                may_lack=may_lack,
                tries=tries,
            )
            yield page
            href = trail.follow(page)
            if href is None:
                return

    def rows(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[object] = (),
        params: Mapping[str, int | str] | None = None,
        *,
        field: str,
        may_lack: bool = False,
        tries: int = TRIES,
    ) -> list[Row]:
        """Return all rows of a list; see `page`.

        Raises:
            Skippable: the list cannot be read, or has too many rows.
        """
        found: list[Row] = []
        parse = partial(parse_page, field=field)
        for page in self.pages(
            template, ids, params, parse=parse, may_lack=may_lack, tries=tries
        ):
            found += page.rows
            if len(found) > MOST_ROWS:
                raise Skippable(f"GET {template}: more than {MOST_ROWS} rows")
        return found


def _header_link(response: requests.Response) -> str | None:
    """Return the link to the next page in the header `Link`, None without one."""
    for link in response.links.values():
        if "next" in link.get("rel", "").lower().split():
            return str(link.get("url"))
    return None


def _shown_by(rows: list[Row] | Page) -> Hashable:
    """Return the same for pages with the same rows in the same order."""
    return digest(rows) if isinstance(rows, list) else hash((*rows.identities,))


def error_key(response: requests.Response) -> object:
    """Return the key of an error. Compare it, but never log it.

    The body is an array of errors, a single error, or empty.
    """
    try:
        body = decode_json(response.content)
    except msgspec.DecodeError:
        return None
    first = body[0] if isinstance(body, list) and body else body
    return first.get("error_key") if isinstance(first, dict) else None


def envelope(field: str) -> Envelope:
    """Return the envelope of pages whose rows are in a field."""
    beside = (("links", "_links"), ("plain", "links"), ("following", "next"))
    return Envelope(field, tuple((*names, Any, None) for names in beside))


def parse_rows(body: bytes, field: str, maker: PageMaker) -> LinkedPage[Page]:
    """Parse a page into rows with their records, and its link.

    Raises:
        NoList: the body may have the rows under another name.
        NotUnderstood: the link has an unknown form.
        Retriable: the body is not a page.
    """
    found = maker.decode(body)
    if found is None:
        page = parse_page(body, field)
        made = maker.page(page.rows)
        return LinkedPage(made, page.href, page.is_listed, page.more)
    table, answer = found
    beside = {"_links": answer.links, "links": answer.plain, "next": answer.following}
    href = link_of(beside)
    if href is not None:
        return LinkedPage(table, href)
    # Perhaps a link under another name.
    others = _beside(body, field)
    return LinkedPage(table, link_of(others), more=_says_more(others))


def _beside(body: bytes, field: str) -> Row:
    """Return the fields beside the rows, without decoding the rows."""
    try:
        parts = _BESIDE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = _parse_object(body)
        return {name: answer[name] for name in answer.keys() - {field}}
    found: Row = {}
    for name in parts.keys() - {field}:
        with suppress(msgspec.DecodeError):
            found[name] = decode_json(bytes(parts[name]))
    return found


def parse_page(body: bytes, field: str) -> LinkedPage[list[Row]]:
    """Parse a page into decoded rows, and its link.

    Raises:
        NoList: the body may have the rows under another name.
        NotUnderstood: the link has an unknown form.
        Retriable: the body is not a page.
    """
    answer = _parse_object(body or b"{}")
    rows = answer.get(field)
    beside = {name: answer[name] for name in answer.keys() - {field}}
    href = link_of(beside)
    more = _says_more(beside)
    if rows is None and href is None:
        # Any other field may hold the rows under another name, or an error.
        others = [answer[name] for name in answer.keys() - {"_links", "links"}]
        if field in answer or not any(others):
            return LinkedPage([], None, is_listed=False, more=more)
    if not isinstance(rows, list) or not (rows == [] or any(map(_is_row, rows))):
        raise NoList(f"an answer without a list of {field}")
    # An entry that is no object counts as a row without a key: the others are read.
    return LinkedPage([row if _is_row(row) else {} for row in rows], href, more=more)


def _is_row(entry: object) -> bool:
    return isinstance(entry, dict)


def _listed(
    body: bytes, parse: Callable[[bytes], LinkedPage[SomeRows]]
) -> LinkedPage[SomeRows]:
    """Parse a page that must have a list.

    Raises:
        NoList: the page has no list.
    """
    page = parse(body)
    if not page.is_listed:
        raise NoList("an answer without a list")
    return page


def link_of(answer: Row) -> str | None:
    """Return the link to the next page, None if the response has none.

    The documented form is `{"_links": {"next": {"href": ...}}}`. The link may also be
    plain text, an entry in a list of links with a `rel`, or under another name with
    "next" in it.

    Args:
        answer: the response, without its rows.

    Raises:
        NotUnderstood: the link has another form. The list must not end there.
    """
    found: list[object] = []
    for name in ("_links", "links"):
        links = answer.get(name)
        if links and not _is_searchable(links):
            found.append(links)
    # The documented place counts first.
    places = sorted(answer, key=lambda name: (name != "_links", name))
    found += _named_next({name: answer[name] for name in places})
    for following in found:
        href = following.get("href") if isinstance(following, dict) else following
        if isinstance(href, str) and href:
            return href
        if _says_something(following):
            raise NotUnderstood(
                "Constant Contact: the link to the next page is not a link"
            )
    return None


def _named_next(part: object, depth: int = MOST_DEEP) -> Iterator[object]:
    """Yield the values under names with "next", and the links with such a `rel`."""
    if isinstance(part, list) and _is_searchable(part):
        part = {one["rel"]: one for one in part}
    if not isinstance(part, dict) or not depth:
        return
    for name, value in part.items():
        if "next" in name.lower():
            yield value
        else:
            yield from _named_next(value, depth - 1)


def _says_more(answer: Row) -> bool:
    """Return whether a response without a link says that more rows follow.

    Args:
        answer: the response, without its rows.
    """
    fields = [*_fields(answer)]
    flags = [_is_yes(value) for name, value in fields if _MORE.fullmatch(name)]
    last = [value for name, value in fields if _LAST.fullmatch(name)]
    flags += [not value for value in last if isinstance(value, bool)]
    flags += [False for _ in _named_next(answer)]  # none of these has a link
    cursors = [value for name, value in fields if _CURSOR.fullmatch(name)]
    return any(flags) if flags else any(map(_says_something, cursors))


def _fields(part: object, depth: int = MOST_DEEP) -> Iterator[tuple[str, object]]:
    """Yield all fields of an object and of those in it.

    Their names are in lower case and without signs.
    """
    if isinstance(part, dict) and depth:
        for name, value in part.items():
            yield re.sub(r"[\W_]", "", name).lower(), value
            yield from _fields(value, depth - 1)


def _is_yes(value: object) -> bool:
    """Return whether a value means yes, or counts something."""
    counts = isinstance(value, (int, float)) and value > 0
    return counts or str(value).strip().lower() in _YES


def _is_searchable(links: object) -> bool:
    """Return whether links have names: an object, or a list of links with a `rel`."""
    if isinstance(links, list):
        return all(map(_has_rel, links))
    return isinstance(links, dict)


def _has_rel(link: object) -> bool:
    return isinstance(link, dict) and isinstance(link.get("rel"), str)


def _says_something(value: object) -> bool:
    """Return whether a value has anything but nulls, false and empty parts."""
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return the scheme, the host and the port of a URL."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return "", None, None  # the port is not a number, or out of range
    port = port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _parse_object(
    body: bytes, id_field: str | None = None, wanted: str | None = None
) -> Row:
    answer = _parse(body)
    if not isinstance(answer, dict):
        raise Retriable("Constant Contact answered with a body that is not an object")
    if id_field is not None:
        found = answer.get(id_field)
        if not found:
            raise Retriable(
                f"Constant Contact answered with an object without {id_field}"
            )
        if wanted is not None and str(found).lower() != wanted.lower():
            raise OtherObject(f"an object with another {id_field}")
    return answer


def _parse_array(body: bytes) -> list[object]:
    answer = _parse(body)
    if not isinstance(answer, list):
        raise Retriable("Constant Contact answered with a body that is not an array")
    return answer


def _parse(body: bytes) -> object:
    try:
        return decode_json(body)
    except msgspec.DecodeError as error:
        raise Retriable(
            "Constant Contact answered with a body that is not JSON"
        ) from error
