"""LuxSci in process: the harness, with that provider switched on."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from simulator.luxsci.truth import Reading, truth
from simulator.world import World
from tap_email_metrics.clock import from_iso
from tap_email_metrics.providers.luxsci.streams import STREAMS
from tap_email_metrics.state.windows import Coverage
from tests.support.encompass import DAY, NOW, Site, Sync

if TYPE_CHECKING:
    from simulator.luxsci.account import Account as LuxSci

NAMES = tuple(str(stream.name).removeprefix("luxsci_") for stream in STREAMS)
URL = "https://rest.example.test/perl/api/v2"

__all__ = ["DAY", "NAMES", "NOW", "Clinic", "Sync", "World"]


class Clinic(Site):
    """One LuxSci account with its tap, its target and its state."""

    provider = "luxsci"

    def __init__(self, world: World | None = None, **settings: Any) -> None:
        super().__init__(world or World(NOW))
        self.api.set_policy(requests_per_minute=0, requests_per_day=0)
        user = settings.get("scope") == "user"
        login = next(iter(self.api.logins), None)
        whose = {"user": login, "password": self.api.passwords.get(login or "")}
        account = {"account_id": str(self.api.account_id), "logins": self.api.logins}
        self.settings = {
            "token": self.api.token,
            "secret": self.api.secret,
            "api_url": URL,
            "requests_per_minute": 60_000,
            "daily_requests": 1_000_000,
            **(whose if user else account),
            **settings,
        }
        self.settings = {k: v for k, v in self.settings.items() if v is not None}
        # The ledger goes where no other test counts.
        os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()

    @property
    def api(self) -> LuxSci:
        """The simulated account."""
        return self.world.luxsci

    def offered(self) -> list[str]:
        """Return the streams that its settings allow, without the prefix."""
        names = self.tap().streams
        return [n.removeprefix("luxsci_") for n in names if n.startswith("luxsci_")]

    def reading(self) -> Reading:
        """The reports that the settings select."""
        settings, start = self.settings, self.common.get("start_date")
        return Reading(
            start=None if start is None else from_iso(start),
            user=settings["user"] if settings.get("scope") == "user" else None,
            logins=tuple(settings["logins"]) if "logins" in settings else None,
            lookback_days=settings.get("lookback_days", 2),
            delivery_lookback_days=settings.get("delivery_lookback_days", 30),
            tracked_headers=settings.get("tracked_headers", False),
            detail=settings.get("detail", False),
        )

    def truth(self, stream: str, at: list[float] | None = None) -> list[dict[str, Any]]:
        """The rows that a stream must have after the runs so far."""
        found = truth(
            self.api, f"luxsci_{stream}", at or self.times, None, self.reading()
        )
        return [_without_clock(dict(record)) for record in found]

    def rows(self, stream: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The target's rows of a stream, by key."""
        return {key: _without_clock(row) for key, row in super().rows(stream).items()}

    def coverage(self, stream: str, key: str = "all") -> Coverage:
        """The coverage of a list; KeyError if it was never read."""
        return Coverage.unpack(self.entry(stream)["lists"][key])


def _without_clock(row: dict[str, Any]) -> dict[str, Any]:
    """Remove the time of a summary, because the clock advances during a run."""
    return {name: value for name, value in row.items() if name != "report_date"}
