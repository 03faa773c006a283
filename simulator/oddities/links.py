"""Constant Contact's links to the next page in other forms, and ignored offsets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from simulator.oddities.base import Oddity, of_json
from simulator.oddities.pages import LISTS

if TYPE_CHECKING:
    from simulator.messages import Reply, Request
    from simulator.oddities.base import Case, Change

_PATHS = "^/v3/"
Link = Callable[["Case", str], object]
"""Function that returns `_links`, given the case and the path and query of the link."""


def _links(link: Link) -> Change:
    return of_json(partial(_change_link, link))


def _change_link(link: Link, case: Case, body: Any) -> Any:  # noqa: ANN401 -- any JSON
    found = body.get("_links") if isinstance(body, dict) else None
    following = found.get("next") if isinstance(found, dict) else None
    href = following.get("href") if isinstance(following, dict) else None
    if isinstance(href, str):
        body["_links"] = link(case, href)
    return body


def _next(href: object) -> dict[str, object]:
    return {"next": {"href": href}}


def _absolute(case: Case, href: str) -> object:
    host = case.request.headers.get("host", "api.example.test")
    scheme = "http" if host.startswith("127.") else "https"
    return _next(f"{scheme}://{host}{href}")


def _elsewhere(_case: Case, href: str) -> object:
    return _next(f"https://elsewhere.example.test{href}")


def _relative(_case: Case, href: str) -> object:
    return _next(href[href.index("?") :])


def _nested(_case: Case, href: str) -> object:
    return _next({"href": href, "method": "GET"})


def _text(_case: Case, href: str) -> object:
    return {"next": href}


def _list(_case: Case, href: str) -> object:
    return [{"rel": "next", "href": href}]


def _number(_case: Case, _href: str) -> object:
    return {"next": 2}


def _looping(case: Case, _href: str) -> object:
    query = urlencode(case.request.query)
    return _next(f"{case.request.path}?{query}" if query else case.request.path)


def _first_page(case: Case) -> Request:
    """Return the request without its offset, so that the first page comes again."""
    query = {
        name: value
        for name, value in case.request.query.items()
        if name not in ("startAt", "first_row")
    }
    return replace(case.request, query=query)


def _as_is(_case: Case, _reply: Reply) -> None:
    """Do not change the answer."""


_FORMS: tuple[tuple[str, str, Link], ...] = (
    ("absolute", "an absolute URL of the same host", _absolute),
    ("elsewhere", "an absolute URL of another host", _elsewhere),
    ("relative", "only a query", _relative),
    ("nested", "an object in an object", _nested),
    ("text", "plain text", _text),
    ("list", "in a list of links", _list),
    ("number", "a number", _number),
    ("looping", "the link of the page itself", _looping),
)

ODDITIES = (
    *(
        Oddity(
            name=f"next_{name}",
            says=f"the link to the next page: {says}",
            change=_links(link),
            faces=("constant_contact",),
            paths=_PATHS,
        )
        for name, says, link in _FORMS
    ),
    Oddity(
        name="offset_ignored",
        says="startAt and first_row ignored: the first page comes again",
        change=_as_is,
        ask=_first_page,
        faces=("encompass", "luxsci"),
        paths=LISTS,
    ),
)
