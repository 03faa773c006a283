"""Constant Contact in process: the harness, with that provider switched on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.world import World
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.constant_contact.schedule import CounterMark, short_id
from tests.support.encompass import DAY, NOW, Site, Sync

if TYPE_CHECKING:
    from simulator.constant_contact.account import Account as ConstantContact

PREFIX = "constant_contact_"
SNAPSHOTS = ("unique_opens", "did_not_opens", "links")
URL = "https://api.example.test"
NAMES = [
    str(stream.name)  # type: ignore[misc]
    for provider in PROVIDERS
    for stream in provider.streams
    if provider.name == "constant_contact"
]

__all__ = ["DAY", "NAMES", "NOW", "PREFIX", "SNAPSHOTS", "Account", "Sync", "World"]


class Account(Site):
    """One Constant Contact account with its tap, its target and its state."""

    provider = "constant_contact"

    def __init__(
        self,
        world: World | None = None,
        folder: Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(world or World(NOW))
        self.folder = folder or Path(tempfile.mkdtemp())
        os.environ["XDG_STATE_HOME"] = str(self.folder)  # where requests are counted
        self.settings = {
            "client_id": self.api.client_id,
            "client_secret": self.api.client_secret,
            "refresh_token": self.api.refresh_token,
            "token_store": str(self.folder / "tokens.json"),
            "api_url": f"{URL}/v3",
            "auth_url": f"{URL}/oauth2/default/v1",
            "requests_per_second": 1000,
            "daily_requests": 1_000_000,
            **settings,
        }
        self.settings = {k: v for k, v in self.settings.items() if v is not None}
        self.api.set_policy(requests_per_day=0, requests_per_second=0)

    @property
    def api(self) -> ConstantContact:
        """The simulated account."""
        return self.world.constant_contact

    def counter_mark(self, stream: str, campaign_id: str) -> CounterMark:
        """The mark of a campaign; KeyError if there is none."""
        return CounterMark.unpack(self.entry(stream)["marks"][short_id(campaign_id)])

    def templates(self) -> dict[str, int]:
        """Requests of the last run, by path without ids."""
        return dict(self.world.log.counts())  # type: ignore[arg-type]

    def paths(self, end: str) -> list[str]:
        """The paths of the last run's requests with this ending."""
        return [e.path for e in self.world.log.entries if e.path.endswith(end)]
