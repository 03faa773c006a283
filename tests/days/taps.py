"""The real tap, without what each run of an account finds out alike.

A simulated day starts it anew, as a schedule does. What a start makes of the packaged
schemas and the settings alone takes longer than all else of a quiet day, and is made
once an account.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.mapper import PluginMapper
    from singer_sdk.singerlib import Catalog, SelectionMask

_SELDOM = (20_000, 20, 50)


@dataclass
class Discovery:
    """What the first start of an account's tap made, and no run changes."""

    catalog: Catalog | None = None
    mapper: PluginMapper | None = None
    masks: dict[str, SelectionMask] = field(default_factory=dict)


class KnownTap(TapEmailMetrics):
    """The tap of an account, which starts with an earlier start's discovery.

    Args:
        discovery: made by the first start.
        options: of the tap.
    """

    def __init__(self, discovery: Discovery, **options: Any) -> None:
        self._discovery = discovery
        super().__init__(**options)

    @override
    def setup_mapper(self) -> None:
        known = self._discovery
        if known.catalog is None:
            super().setup_mapper()
            known.catalog, known.mapper = self.catalog, self.mapper
            known.masks = {name: one.mask for name, one in self.streams.items()}
            return
        self._catalog, self._mapper = known.catalog, known.mapper
        for name, stream in self.streams.items():
            stream._metadata = known.catalog[name].metadata  # noqa: SLF001 -- the SDK's
            stream._mask = known.masks[name]  # noqa: SLF001 -- likewise


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """Collect garbage seldom, while this lasts.

    A collection looks at all modules and worlds again.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as another process would get it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
    return found
