"""A damaged key in the state of a stream is refused, whichever key it is."""

from __future__ import annotations

from typing import Any

import pytest

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.state.streams import StreamState

STREAMS = [stream for provider in PROVIDERS for stream in provider.streams]
COMMON = (
    *("replication_key", "replication_key_value", "checked_through", "start"),
    *("gaps", "swept", "backfill", "digests", "readable", "lists"),
)
"""Keys that every stream can have."""
OF_MARKS = ("marks", "history", "sweeping", "sweep_again")
"""Keys of streams that keep marks."""


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: str(stream.name))
@pytest.mark.parametrize("value", [[[]], [1], {"a": [1]}, 1.5], ids=repr)
def test_a_damaged_key_is_refused_when_the_state_is_loaded(
    stream: Any, value: Any
) -> None:
    own = OF_MARKS if stream.marks else ()
    for key in (*COMMON, *own, *stream.state_keys):
        with pytest.raises(InvalidInput, match=f"bookmarks.x.{key}"):
            StreamState("x", {key: value}, stream.marks, stream.state_keys)


def test_a_damaged_key_of_a_backfill_is_refused_when_the_state_is_loaded() -> None:
    part = {"2026-01-01T00:00:00Z/2026-02-01T00:00:00Z": {"start": "soon"}}
    with pytest.raises(InvalidInput, match=r"backfill\.2026-01-01.*start"):
        StreamState("x", {"backfill": part}, None)
