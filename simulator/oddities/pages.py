"""The places of rows, totals, labels and links in the vendors' answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.oddities.base import Case, Change, of_json

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = (
    *("data", "tracking_activities", "bulk_email_campaign_summaries", "results"),
    *("link_click_counts", "campaigns", "contacts", "lists", "tags", "custom_fields"),
    *("segments", "campaign_activities", "rows"),
)
TOTALS = ("total", "count", "contacts_count")
LISTS = (
    r"^/v2/messages(?:/\d+/\w+)?$"
    r"|/tracking/|/links$|/contacts$|/contact_lists$|/contact_tags$|/segments$"
    r"|/contact_custom_fields$|/emails$|_summaries$|/send_history$"
    r"|/report/|/marketing/"
)
"""Paths of lists, of all three providers."""
COUNTED = (
    r"^/v2/messages(?:/\d+/(?!links)\w+)?$|/report/|/marketing/"
    r"|/tracking/(?:sends|opens|clicks|forwards|optouts|bounces)$"
)
"""Paths of lists whose rows are counted somewhere."""


class Page:
    """A decoded answer with a list; changes affect `body`."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401 -- any JSON
        self._root: dict[str, Any] = {"": body}
        self._holder, self._name = self._find()

    @property
    def body(self) -> Any:  # noqa: ANN401 -- any JSON
        """The whole answer."""
        return self._root[""]

    @property
    def has_rows(self) -> bool:
        """Whether the answer has a list, which may be empty."""
        return self._holder is not None

    @property
    def rows(self) -> list[Any]:
        """The list in the answer."""
        return [] if self._holder is None else list(self._holder[self._name])

    @rows.setter
    def rows(self, rows: object) -> None:
        if self._holder is not None:
            self._holder[self._name] = rows

    def drop_rows(self) -> None:
        """Remove the list from the answer; a bare list becomes an empty object."""
        if self._holder is self._root:
            self._root[""] = {}
        elif self._holder is not None:
            del self._holder[self._name]

    @property
    def totals(self) -> list[tuple[dict[str, Any], str]]:
        """The objects and keys that hold numbers of rows."""
        return [
            (holder, name)
            for holder in self._objects()
            for name in TOTALS
            if isinstance(holder.get(name), int | str)
        ]

    @property
    def header(self) -> tuple[dict[str, Any], list[Any]] | None:
        """The object that holds LuxSci's header, and the labels."""
        for holder in self._objects():
            if isinstance(holder.get("header"), list):
                return holder, holder["header"]
        return None

    def _objects(self) -> list[dict[str, Any]]:
        found = (
            [self.body, self.body.get("data")] if isinstance(self.body, dict) else []
        )
        return [one for one in found if isinstance(one, dict)]

    def _find(self) -> tuple[dict[str, Any] | None, str]:
        if isinstance(self.body, list):
            return self._root, ""
        for holder in self._objects():
            for name in ROWS:
                if isinstance(holder.get(name), list):
                    return holder, name
        return None, ""


def of_page(change: Callable[[Case, Page], None]) -> Change:
    """Return a change that applies to answers with a list."""

    def changed(case: Case, body: Any) -> Any:  # noqa: ANN401 -- any JSON
        page = Page(body)
        if page.has_rows:
            change(case, page)
        return page.body

    return of_json(changed)


def of_rows(change: Callable[[Case, Page], None]) -> Change:
    """Return a change that applies to answers with rows."""

    def changed(case: Case, page: Page) -> None:
        if page.rows:
            change(case, page)

    return of_page(changed)


def label_of(entry: object) -> str:
    """Return the name in an entry of LuxSci's header."""
    return str(entry.get("name") if isinstance(entry, dict) else entry)
