"""The log of a process that makes many taps."""

from __future__ import annotations

import logging

from tap_email_metrics.records.privacy import RedactingFilter


def remove_masks() -> None:
    """Remove the masks that commands in this process have put on the log."""
    for handler in logging.root.handlers:  # pytest's own live as long as it does
        for mask in [f for f in handler.filters if isinstance(f, RedactingFilter)]:
            handler.removeFilter(mask)
