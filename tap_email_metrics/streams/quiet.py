"""A stream whose log lines from the SDK are for debugging only."""

from __future__ import annotations

import logging
from typing import Any

from singer_sdk import Stream
from typing_extensions import override


class QuietStream(Stream):
    """Lowers the SDK's information about a stream to debug level.

    The run logs its own line at the end of each stream.
    """

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
