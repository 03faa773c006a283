"""A stream that leaves it to the run to say what it does."""

from __future__ import annotations

import logging
from typing import Any

from singer_sdk import Stream
from typing_extensions import override


class QuietStream(Stream):
    """Logs what the SDK says of a stream for debugging alone.

    The run has a line of its own for each stream, at its end.
    """

    @override
    def log(
        self,
        message: str,
        *args: Any,
        level: int = logging.INFO,
        **kwargs: Any,
    ) -> None:
        """Log a message of the SDK; its information is for debugging."""
        level = logging.DEBUG if level == logging.INFO else level
        super().log(message, *args, level=level, **kwargs)
