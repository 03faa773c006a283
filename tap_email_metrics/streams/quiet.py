"""What all streams change in the SDK's: its log lines, and when maps are made."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.singerlib import Catalog
from typing_extensions import override

if TYPE_CHECKING:
    from singer_sdk.mapper import StreamMap


class QuietStream(Stream):
    """Lowers the SDK's information about a stream to debug level.

    The run logs its own line at the end of each stream.
    """

    @property
    @override
    def stream_maps(self) -> list[StreamMap]:
        """The stream maps of this stream, which are made when it is read."""
        mapper = self._tap.mapper
        if self.name not in mapper.stream_maps:
            given = self._tap.input_catalog
            entry = given.get(self.name) if given else None
            entry = entry or self._singer_catalog_entry
            mapper.register_raw_streams_from_catalog(Catalog([(self.name, entry)]))
        return super().stream_maps

    @override
    def log(
        self,
        message: str,
        *args: Any,
        level: int = logging.INFO,
        **kwargs: Any,
    ) -> None:
        """Log a message of the SDK, with level DEBUG instead of INFO."""
        level = logging.DEBUG if level == logging.INFO else level
        super().log(message, *args, level=level, **kwargs)
