"""A tap built with singer-sdk as its template and its guide to parent streams show.

https://sdk.meltano.com/en/latest/parent_streams.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import BaseOffsetPaginator

if TYPE_CHECKING:
    import requests
    from singer_sdk.streams import Stream

_SIZE = 1000


class EncompassPaginator(BaseOffsetPaginator):
    """Pages by offset, up to the total."""

    def has_more(self, response: requests.Response) -> bool:
        """Return whether rows are left."""
        return bool(self.get_next(response) < response.json()["total"])


class EncompassStream(RESTStream[int]):
    """The base of both streams."""

    records_jsonpath = "$.data[*]"

    @property
    def url_base(self) -> str:
        """The API's base URL."""
        return str(self.config["api_url"])

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """The bearer token."""
        return BearerTokenAuthenticator(token=self.config["auth_token"])

    def get_new_paginator(self) -> EncompassPaginator:
        """Return a paginator for one list."""
        return EncompassPaginator(start_value=0, page_size=_SIZE)

    def get_url_params(
        self,
        context: dict[str, Any] | None,  # noqa: ARG002 - the SDK's
        next_page_token: int | None,
    ) -> dict[str, Any]:
        """Return the query of a page."""
        return {"startAt": next_page_token or 0, "maxResults": _SIZE}


class Messages(EncompassStream):
    """The parent stream."""

    name = "messages"
    path = "/v2/messages"
    primary_keys = ("id",)
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("id", th.IntegerType, required=True),
        th.Property("subCommunityId", th.IntegerType),
        th.Property("emailName", th.StringType),
        th.Property("fromName", th.StringType),
        th.Property("fromAddress", th.StringType),
        th.Property("subjectLine", th.StringType),
        th.Property("preHeader", th.StringType),
        th.Property("categoryName", th.StringType),
        th.Property("sentCount", th.IntegerType),
        th.Property("scheduledDateTimestamp", th.IntegerType),
        th.Property("actualSendTimestamp", th.IntegerType),
        th.Property("dateAdded", th.IntegerType),
    ).to_dict()

    def get_child_context(
        self,
        record: dict[str, Any],
        context: dict[str, Any] | None,  # noqa: ARG002 - the SDK's
    ) -> dict[str, Any]:
        """Return the context of the child stream."""
        return {"message_id": record["id"]}


class Opens(EncompassStream):
    """The child stream."""

    name = "opens"
    path = "/v2/messages/{message_id}/opens"
    primary_keys = ("message_id", "id")
    parent_stream_type = Messages
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("message_id", th.IntegerType, required=True),
        th.Property("id", th.IntegerType, required=True),
        th.Property("recipientId", th.IntegerType),
        th.Property("timestamp", th.IntegerType),
        th.Property("dateAdded", th.IntegerType),
        th.Property("ipAddress", th.StringType),
        th.Property("userAgent", th.StringType),
    ).to_dict()


class TapEncompass(Tap):
    """The tap."""

    name = "tap-encompass"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("api_url", th.StringType, required=True),
        th.Property("auth_token", th.StringType, required=True, secret=True),
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Return the streams."""
        return [Messages(self), Opens(self)]


if __name__ == "__main__":
    TapEncompass.cli()
