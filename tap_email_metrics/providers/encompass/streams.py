"""Encompass streams: the message list, and six lists of each message."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from typing_extensions import override

from tap_email_metrics.streams import FanOutStream, ListStream

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tap_email_metrics.bookmarks import Mark, Policy, Visit
    from tap_email_metrics.providers.encompass.client import Row
    from tap_email_metrics.providers.encompass.session import EncompassSession


class Messages(ListStream):
    """Emails sent; `sent_count` is the metric "Sent". `GET /v2/messages`."""

    provider = "encompass"
    name = "encompass_messages"
    primary_keys = ("account", "id")
    replication_key = "date_added"

    @override
    def rows(self) -> Sequence[Row]:
        return cast("EncompassSession", self.session).messages()


class MessageStream(FanOutStream):
    """A list of each message.

    Attributes:
        path: of the list, with a `{}` for the message id.
        dated: rows carry `dateAdded` and never change.
    """

    provider = "encompass"
    primary_keys = ("account", "message_id", "id")
    parent_field = "message_id"
    path: ClassVar[str]
    dated: ClassVar[bool] = True

    @override
    def read(self, visit: Visit, policy: Policy) -> Generator[list[Row], None, Mark]:
        session = cast("EncompassSession", self.session)
        return session.reader(self.path, policy, dated=self.dated).read(visit)


class Recipients(MessageStream):
    """Persons that a message went to. `GET /v2/messages/{id}/recipients`.

    Edits move neither the total nor the last id: they are found when a list is
    read whole, at the latest at its next verification.
    """

    name = "encompass_recipients"
    path = "/v2/messages/{}/recipients"
    replication_key = "last_updated"
    dated = False


class Opens(MessageStream):
    """Opens, not unique by person. `GET /v2/messages/{id}/opens`."""

    name = "encompass_opens"
    path = "/v2/messages/{}/opens"
    replication_key = "date_added"


class Clicks(MessageStream):
    """Clicks, not unique by person. `GET /v2/messages/{id}/clicks`."""

    name = "encompass_clicks"
    path = "/v2/messages/{}/clicks"
    replication_key = "date_added"


class Bounces(MessageStream):
    """Refusals by the recipient's server. `GET /v2/messages/{id}/bounces`."""

    name = "encompass_bounces"
    path = "/v2/messages/{}/bounces"
    replication_key = "date_added"


class Delivers(MessageStream):
    """Acceptances by the recipient's server. `GET /v2/messages/{id}/delivers`."""

    name = "encompass_delivers"
    path = "/v2/messages/{}/delivers"
    replication_key = "date_added"


class Links(MessageStream):
    """Links in a message; they carry no times. `GET /v2/messages/{id}/links`."""

    name = "encompass_links"
    path = "/v2/messages/{}/links"
    dated = False
    archived = False
    verified_only = True


STREAMS = (Messages, Opens, Clicks, Bounces, Delivers, Recipients, Links)
"""In the order in which they are read: what the archive takes comes first."""
