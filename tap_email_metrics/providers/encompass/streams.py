"""Encompass streams: the list of messages, and six lists per message."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from typing_extensions import override

from tap_email_metrics.providers.encompass.api import ARCHIVED
from tap_email_metrics.providers.encompass.archive import headroom_days
from tap_email_metrics.providers.encompass.client import LIST
from tap_email_metrics.providers.encompass.schedule import (
    NUMBERED,
    Mark,
    MessagePolicy,
    MessageSchedule,
)
from tap_email_metrics.state.streams import whole_number
from tap_email_metrics.streams.fan_out import FanOutStream, Part
from tap_email_metrics.streams.lists import ListStream

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tap_email_metrics.providers.encompass.api import EncompassApi
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.run.reconciliation import Count
    from tap_email_metrics.state.plans import Policy, Visit
    from tap_email_metrics.state.streams import Keys


_ORDERS = {"a": "ascending", "d": "descending"}
_ORDERED = 8
"""Rows that show an order: fewer are in one by chance."""
_SHORTFALL = "shortfall"
"""State key: number of messages that the API counts but does not serve."""


class Messages(ListStream):
    """Emails sent; `sent_count` is the metric "Sent". `GET /v2/messages`."""

    provider = "encompass"
    name = "encompass_messages"
    primary_keys = ("account", "id")
    replication_key = "date_added"
    state_keys: ClassVar[Keys] = {_SHORTFALL: whole_number}

    @override
    def rows(self) -> Sequence[Row]:
        return cast("EncompassApi", self.api).messages()

    @override
    def count(self, rows: int) -> Count:
        found = cast("EncompassApi", self.api).message_count()
        difference = (found.api_rows or found.rows) - found.rows
        known = self.bookmark.read(_SHORTFALL, whole_number) or 0
        self.bookmark.write(_SHORTFALL, difference or None)
        return replace(found, noted=difference == known)


class MessageStream(FanOutStream[int, Mark]):
    """One list per message.

    Attributes:
        path: path of the list, with a `{}` for the message id.
        dated: rows carry `dateAdded` and never change.
        archived: rows are archived after 180 days.
        verified_only: the list is read at first sight and at verifications only.
    """

    provider = "encompass"
    primary_keys = ("account", "message_id", "id")
    marks = NUMBERED
    schedule = MessageSchedule()
    parent_noun = "message"
    envelope = LIST
    reader_fields = ("id", "dateAdded")
    path: ClassVar[str]
    dated: ClassVar[bool] = True
    archived: ClassVar[bool] = True
    verified_only: ClassVar[bool] = False

    @property
    @override
    def policy(self) -> MessagePolicy:
        return replace(
            cast("EncompassApi", self.api).policy,
            archived=self.archived,
            verified_only=self.verified_only,
        )

    @property
    @override
    def headroom_days(self) -> float | None:
        through = self.bookmark.checked_through
        if through is None or self.name not in ARCHIVED:
            return None
        return headroom_days(through, self.run.clock.now())

    @override
    def note_through(self, through: float) -> None:
        api = cast("EncompassApi", self.api)
        through = min(through, api.listed_through or through)
        super().note_through(through)
        if self.name in ARCHIVED:
            api.note_headroom(self.name, through)

    @override
    def read(
        self, visit: Visit[int, Mark], policy: Policy
    ) -> Generator[Page | Count | Part[Mark], None, Mark]:
        api = cast("EncompassApi", self.api)
        maker = self.maker(message_id=visit.parent.id)
        reader = api.reader(
            self.path,
            cast("MessagePolicy", policy),
            self.fan_out,
            maker,
            dated=self.dated,
        )
        pages = reader.read(visit)
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                mark: Mark = end.value
                break
            yield page
            if part := reader.part:
                yield Part(part)
        count = reader.count(visit, mark)
        if count.set_aside:
            self.logger.warning(
                "%s: %d rows of message %d cannot be read, because each page that has "
                "one of them fails: all others are read; the last error: %s",
                self.name,
                count.set_aside,
                visit.parent.id,
                reader.unreadable,
            )
        self._compare(mark, count)
        yield replace(count, **self.aggregate(visit.parent.id))
        return mark

    @override
    def reconcile(self, count: Count, stream: str = "", of: object = None) -> None:
        self.set_aside("row that cannot be read", count.set_aside, of)
        super().reconcile(replace(count, set_aside=0), stream, of)

    def _compare(self, mark: Mark, count: Count) -> None:
        """Compare a list with what is known of lists."""
        saw = self.api.contradictions.saw
        if mark.rows >= _ORDERED and mark.order in _ORDERS:
            saw("order", _ORDERS[mark.order])
        if count.verdict == "archived":
            saw("archived_total", "stays")
        if not self.archived or count.archived or count.moved or count.set_aside:
            return
        if count.api_rows is not None and count.api_rows != count.rows:
            saw("total", "differs")

    def aggregate(self, message_id: int) -> dict[str, Any]:  # noqa: ARG002 - few have one
        """Return the vendor's own count of a list's rows, with its name; {} if none."""
        return {}


class Recipients(MessageStream):
    """Recipients of a message. `GET /v2/messages/{id}/recipients`.

    An edit changes neither the total nor the last id. The tap finds it when it reads
    the whole list, at the latest at the next verification.
    """

    name = "encompass_recipients"
    path = "/v2/messages/{}/recipients"
    replication_key = "last_updated"
    dated = False

    @override
    def aggregate(self, message_id: int) -> dict[str, Any]:
        sent = cast("EncompassApi", self.api).sent_counts.get(message_id)
        return (
            {} if sent is None else {"aggregate": sent, "aggregate_name": "sent_count"}
        )


class Opens(MessageStream):
    """Opens, not unique per person. `GET /v2/messages/{id}/opens`."""

    name = "encompass_opens"
    path = "/v2/messages/{}/opens"
    replication_key = "date_added"


class Clicks(MessageStream):
    """Clicks, not unique per person. `GET /v2/messages/{id}/clicks`."""

    name = "encompass_clicks"
    path = "/v2/messages/{}/clicks"
    replication_key = "date_added"


class Bounces(MessageStream):
    """Messages that the recipient's server refused. `GET /v2/messages/{id}/bounces`."""

    name = "encompass_bounces"
    path = "/v2/messages/{}/bounces"
    replication_key = "date_added"


class Delivers(MessageStream):
    """Accepted messages. `GET /v2/messages/{id}/delivers`."""

    name = "encompass_delivers"
    path = "/v2/messages/{}/delivers"
    replication_key = "date_added"


class Links(MessageStream):
    """Links in a message; they have no times. `GET /v2/messages/{id}/links`."""

    name = "encompass_links"
    path = "/v2/messages/{}/links"
    dated = False
    archived = False
    verified_only = True


STREAMS = (Messages, Opens, Clicks, Bounces, Delivers, Recipients, Links)
"""In reading order: lists whose rows are archived come first."""
