"""Count the requests of a day of hourly syncs on a simulated clock."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import StateMessage
from typing_extensions import override

from simulator.adapter import SimulatorAdapter
from simulator.world import World as SimulatedWorld
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from singer_sdk.singerlib import Message

NOW = 1_790_000_000.0
DAY = 86_400.0
SYNCS = 24
KINDS = ("recipients", "opens", "clicks", "bounces", "delivers", "links")


class _Nowhere(Writer):
    """Drops the output except for the last state."""

    state: dict[str, Any]

    @override
    def write_message(self, message: Message) -> None:
        if isinstance(message, StateMessage):
            self.state = json.loads(json.dumps(message.value))
        super().write_message(message)

    @override
    def flush(self) -> None:
        self._buffer.clear()


def count_requests(messages: int) -> dict[str, Any]:
    """Return the requests of a first sync, of quiet hourly syncs, and of one with news.

    Args:
        messages: number of messages of the last 365 days, with rows in every list.
    """
    logging.disable(logging.WARNING)
    try:
        return _count(messages)
    finally:
        logging.disable(logging.NOTSET)


def _count(messages: int) -> dict[str, Any]:
    world = SimulatedWorld(NOW)
    api = world.encompass
    for number in range(messages):
        sent = NOW - 365 * DAY * (number + 0.5) / messages
        message = api.add_message(sent=sent)
        for kind in KINDS:
            for late in range(3):
                api.add_row(kind, message, date_added=sent + 600 * (1 + late))
    state: dict[str, Any] = {}
    first = _sync(world, state)
    quiet = []
    for _ in range(SYNCS):
        world.clock.advance(3600)
        quiet.append(_sync(world, state))
    newest = api.all_messages()[0].row_id
    world.clock.advance(3600)
    before = _sync(world, json.loads(json.dumps(state)))
    for late in range(10):
        api.add_row("opens", newest, date_added=world.clock.now() - 60 + late)
    news = _sync(world, state)
    return {
        "encompass_first_sync": first,
        "encompass_24_quiet_hourly_syncs": sum(quiet),
        "encompass_quiet_share": round(sum(quiet) / (SYNCS * first), 4),
        "encompass_10_new_opens_more_than_quiet": news - before,
    }


def _sync(world: SimulatedWorld, state: dict[str, Any]) -> int:
    """Run the tap once and keep its state; return the number of requests."""
    world.log.reset()
    account = world.encompass
    settings = {
        "site_url": "https://site.example.edu",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "requests_per_second": 1000,
    }
    writer = _Nowhere()
    tap = TapEmailMetrics(
        config={"encompass": settings},
        state=json.loads(json.dumps(state)),
        clock=world.clock,
        transport=SimulatorAdapter(world),
        message_writer=writer,
    )
    if tap.execute():
        raise RuntimeError("a simulated sync failed")
    state.clear()
    state.update(writer.state)
    return world.log.count()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count_requests(int(sys.argv[1]))) + "\n")
