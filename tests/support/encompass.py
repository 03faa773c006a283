"""The real tap in process, against the simulated world: no sockets, no waiting."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.adapter import SimulatorAdapter
from simulator.constant_contact import truth as constant_contact_truth
from simulator.luxsci import truth as luxsci_truth
from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.providers.encompass.schedule import Mark
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.state import own_part

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from simulator.log import Entry

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY = 86_400.0
STREAMS = (
    "encompass_messages",
    "encompass_opens",
    "encompass_clicks",
    "encompass_bounces",
    "encompass_delivers",
    "encompass_recipients",
    "encompass_links",
)
OWN = "email_metrics_"
KEYS = {
    **constant_contact_truth.KEYS,
    **luxsci_truth.KEYS,
    "email_metrics_reconciliation": ("account", "run", "provider", "stream", "parent"),
    "email_metrics_runs": ("account", "run", "provider", "stream"),
}
Record = dict[str, Any]
Key = tuple[Any, ...]


def key_of(stream: str, record: Record) -> Key:
    """Return a record's primary key."""
    if stream in KEYS:
        return tuple(record[part] for part in KEYS[stream])
    if stream == "encompass_messages":
        return (record["account"], record["id"])
    return (record["account"], record["message_id"], record["id"])


class MemoryWriter(Writer):
    """Collects the messages instead of writing them to stdout."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []

    def flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        self.messages += map(msgspec.json.decode, data.splitlines())


@dataclass
class Sync:
    """The result of one run."""

    code: int
    messages: list[dict[str, Any]]
    requests: int
    lists: dict[str, int]
    reports: dict[str, Any]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The values of all STATE messages."""
        return [m["value"] for m in self.messages if m["type"] == "STATE"]

    @property
    def state(self) -> dict[str, Any]:
        """The value of the last STATE."""
        return self.states[-1]

    @property
    def rows(self) -> list[Record]:
        """The records of the provider's streams, without those about the run."""
        found = [m for m in self.messages if m["type"] == "RECORD"]
        return [m["record"] for m in found if not m["stream"].startswith(OWN)]

    def records(self, stream: str) -> list[Record]:
        """The records of a stream, in order."""
        return [
            m["record"]
            for m in self.messages
            if m["type"] == "RECORD" and m["stream"] == stream
        ]

    def ids(self, stream: str) -> list[int]:
        """The ids of a stream's records, in order."""
        return [record["id"] for record in self.records(stream)]


@dataclass
class Target:
    """A target that upserts by key, like a warehouse."""

    rows: dict[str, dict[Key, Record]] = field(default_factory=dict)

    def load(self, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Load messages; return the last STATE among them."""
        state = None
        for message in messages:
            if message["type"] == "RECORD":
                stream, record = message["stream"], message["record"]
                self.rows.setdefault(stream, {})[key_of(stream, record)] = record
            elif message["type"] == "STATE":
                state = message["value"]
        return state

    def differences(self, world: World, at: list[float] | None = None) -> list[str]:
        """Return a line for each stream that differs from the truth."""
        lines = []
        for stream in STREAMS:
            wanted = {
                key_of(stream, record): record
                for record in truth(world, stream, at=at or [world.clock.now()])
            }
            have = self.rows.get(stream, {})
            missing = wanted.keys() - have.keys()
            extra = have.keys() - wanted.keys()
            wrong = [k for k in wanted.keys() & have.keys() if wanted[k] != have[k]]
            if missing or extra or wrong:
                lines.append(
                    f"{stream}: {len(missing)} missing, {len(extra)} extra, "
                    f"{len(wrong)} wrong: {sorted([*missing, *extra, *wrong])[:3]}"
                )
        return lines


class Site:
    """One account with its tap, its target and its state from run to run.

    Streams may be named without the provider's prefix.
    """

    provider = "encompass"

    def __init__(self, world: World | None = None, **settings: Any) -> None:
        self.world = world or World(NOW)
        self.common: dict[str, Any] = {}
        self.settings: dict[str, Any] = {
            "site_url": "https://site.example.edu",
            "client_id": self.world.encompass.client_id,
            "client_secret": self.world.encompass.client_secret,
            "requests_per_second": 1000,
            **settings,
        }
        self.state: dict[str, Any] = {}
        self.target = Target()
        self.times: list[float] = []

    @property
    def api(self) -> Any:
        """The simulated account."""
        return self.world.encompass

    def config(self) -> dict[str, Any]:
        """The settings as a user writes them."""
        return {**self.common, self.provider: self.settings}

    def tap(
        self,
        *,
        streams: tuple[str, ...] = (),
        catalog: dict[str, Any] | None = None,
        transport: BaseAdapter | None = None,
    ) -> TapEmailMetrics:
        """Return a tap that is ready to run, with all streams or only those named."""
        tap = TapEmailMetrics(
            config=self.config(),
            state=json.loads(json.dumps(self.state)),
            catalog=catalog,
            clock=self.world.clock,
            transport=transport or SimulatorAdapter(self.world),
            message_writer=MemoryWriter(),
        )
        for name, stream in tap.streams.items():
            if streams:
                short = name.removeprefix(f"{self.provider}_")
                stream.selected = bool({name, short} & {*streams})
        return tap

    def sync(self, *, load: bool = True, **options: Any) -> Sync:
        """Run the tap once, load its records, and keep its state by default."""
        self.world.log.reset()
        self.times.append(self.world.clock.now())
        tap = self.tap(**options)
        code = tap.execute()
        writer = tap.message_writer
        assert isinstance(writer, MemoryWriter)
        writer.flush()
        lists: dict[str, int] = {}
        for (_, template, _), count in self.world.log.counts().items():
            lists[template] = lists.get(template, 0) + count
        if load:
            state = self.target.load(writer.messages)
            self.state = self.state if state is None else state
        return Sync(
            code,
            writer.messages,
            self.world.log.count(),
            lists,
            {name: report.summary() for name, report in tap.run.reports.items()},
        )

    def truth(self, stream: str, at: list[float] | None = None) -> list[Record]:
        """The rows that a stream must have after the runs so far."""
        return truth(self.world, f"{self.provider}_{stream}", at=at or self.times)

    def rows(self, stream: str) -> dict[Key, Record]:
        """The target's rows of a stream, by key."""
        return self.target.rows.get(f"{self.provider}_{stream}", {})

    def entry(self, stream: str) -> dict[str, Any]:
        """A stream's part of the state; changes affect the next run."""
        short = stream.removeprefix(f"{self.provider}_")
        return own_part(self.state["bookmarks"][f"{self.provider}_{short}"])

    @property
    def shared(self) -> dict[str, Any]:
        """The part of the state that belongs to no stream."""
        return own_part(self.state["bookmarks"]["_tap"])

    def wrong(self, *streams: str) -> list[str]:
        """Compare streams with the truth; return a line for each that differs."""
        lines = []
        for stream in streams:
            name = f"{self.provider}_{stream}"
            wanted = {key_of(name, record): record for record in self.truth(stream)}
            have = self.rows(stream)
            missing, extra = wanted.keys() - have.keys(), have.keys() - wanted.keys()
            differ = [k for k in wanted.keys() & have.keys() if wanted[k] != have[k]]
            if missing or extra or differ:
                lines.append(
                    f"{stream}: {len(missing)} missing, {len(extra)} extra, "
                    f"{len(differ)} differ of {len(wanted)}: "
                    f"{sorted([*missing, *extra, *differ], key=repr)[:2]}"
                )
        return lines

    def advance(self, days: float) -> None:
        """Advance the world's clock."""
        self.world.clock.advance(days * DAY)

    def asked(self, kind: str, message_id: int | None = None) -> list[Entry]:
        """Return the last run's requests for a list, of one or of all messages."""
        one = rf"/v2/messages/{message_id or '[0-9]+'}/{kind}"
        return [e for e in self.world.log.entries if re.fullmatch(one, e.path)]

    def starts(self, kind: str, message_id: int | None = None) -> list[int]:
        """Return the start indexes that the last run asked for."""
        return [int(e.query["startAt"]) for e in self.asked(kind, message_id)]

    def visited(self, kind: str) -> list[int]:
        """Return the messages whose list the last run asked for, once each."""
        return list(dict.fromkeys(int(e.path.split("/")[3]) for e in self.asked(kind)))

    def target_ids(self, kind: str) -> set[int]:
        """Return the ids of a kind's rows in the target."""
        rows = self.target.rows.get(f"encompass_{kind}", {})
        return {record["id"] for record in rows.values()}

    def mark(self, kind: str, message_id: int) -> Mark:
        """Return the mark of a list; KeyError if there is none."""
        return Mark.unpack(self.entry(kind)["marks"][str(message_id)])

    def differences(self) -> list[str]:
        """Compare the target with what the API showed at the runs so far."""
        return self.target.differences(self.world, self.times)


def site_of(*ages: float, opens: int = 3, **settings: Any) -> tuple[Site, list[int]]:
    """Return a site with a message of each age in days, each with some opens."""
    world = World(NOW)
    messages = [world.encompass.add_message(sent=NOW - age * DAY) for age in ages]
    for message, age in zip(messages, ages, strict=True):
        for number in range(opens):
            at = NOW - age * DAY + number + 1
            world.encompass.add_row("opens", message, date_added=at)
    return Site(world, **settings), messages
