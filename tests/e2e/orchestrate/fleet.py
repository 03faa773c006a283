"""Many simulated accounts in one process: several share an API key and its limits."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import requests

from scripts.demo import move_constant_contact_on, move_encompass_on, move_luxsci_on
from simulator.clock import DAY
from simulator.constant_contact.auth import BASE as AUTH
from simulator.constant_contact.face import PREFIX as CONSTANT_CONTACT
from simulator.encompass.account import CHILD_KINDS
from simulator.encompass.face import AUTHENTICATE
from simulator.limits import Limits
from simulator.luxsci.facts import PREFIX as LUXSCI
from simulator.luxsci.generate import generate as generate_luxsci
from simulator.luxsci.truth import Reading
from simulator.messages import encode
from simulator.server import serve
from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.providers.luxsci.streams import STREAMS
from tests.support.world import KEYS, ON_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from tests.support.comparison import Row

#: What the start date goes by; only of LuxSci's accounts is one set.
REPLICATION = {
    str(stream.name): stream.replication_key
    for stream in STREAMS
    if isinstance(stream.replication_key, str)
}
#: How far before the present the worlds begin, and how much of LuxSci's is read.
DAYS_BEHIND, LUXSCI_DAYS = 20, 12
#: Messages or campaigns of an account, the days between them, and emails of LuxSci.
MAILINGS, BETWEEN, EMAILS = 4, 9, 30
SPANS = {"encompass": 1.0, "constant_contact": 1.0, "luxsci": 60.0}
TIMEOUT = 60


@dataclass
class Meter:
    """Counts what comes in with one API key, and refuses nothing.

    Attributes:
        limits: count the most requests in any second or minute, in real time, and
            those of each of the worlds' days.
        lock: the accounts of a key are asked at the same time.
    """

    limits: Limits
    lock: threading.Lock

    @property
    def most_in_a_day(self) -> int:
        """The most requests of any of the worlds' days."""
        return max(self.limits.used_by_day.values(), default=0)

    def count(self, _method: str, path: str, _query: Mapping[str, str]) -> None:
        """Count one request; tokens are issued elsewhere, and count nowhere."""
        if not path.startswith((AUTH, AUTHENTICATE)):
            with self.lock:
                self.limits.refuse(time.monotonic(), 0, 0)


@dataclass
class Member:
    """One account: a world of its own, and the key that it is read with.

    Attributes:
        name: of the account.
        provider: whose it is.
        key: name of its API key.
        world: holds nothing but this account.
        url: where it listens.
        asked: requests so far.
    """

    name: str
    provider: str
    key: str
    world: World
    url: str
    asked: int = 0

    @property
    def streams(self) -> list[str]:
        """The streams that are read of it."""
        return [stream for stream in KEYS if stream.startswith(self.provider)]

    def settings(self) -> dict[str, Any]:
        """Return the tap's settings of the account, but for what is secret."""
        found: dict[str, Any]
        match self.provider:
            case "encompass":
                found = {"site_url": self.url, "api_url": self.url, "revisit": "always"}
            case "constant_contact":
                found = {
                    "api_url": self.url + CONSTANT_CONTACT,
                    "auth_url": self.url + AUTH,
                }
            case _:
                account = self.world.luxsci
                found = {
                    "api_url": self.url + LUXSCI,
                    "account_id": str(account.account_id),
                    "logins": account.logins,
                }
        section = {f"{self.provider}.{name}": value for name, value in found.items()}
        return section if self.start is None else section | {"start_date": self._date()}

    def secrets(self) -> dict[str, str]:
        """Return the credentials, as settings of the tap."""
        world = self.world
        match self.provider:
            case "encompass":
                one = world.encompass
                found = {"client_id": one.client_id, "client_secret": one.client_secret}
            case "constant_contact":
                app = world.constant_contact
                found = {
                    "client_id": app.client_id,
                    "client_secret": app.client_secret,
                    "refresh_token": app.refresh_token,
                }
            case _:
                found = {"token": world.luxsci.token, "secret": world.luxsci.secret}
        return {f"{self.provider}.{name}": value for name, value in found.items()}

    @property
    def start(self) -> float | None:
        """UTC seconds from which on it is read; None: all there is."""
        if self.provider != "luxsci":
            return None
        return (time.time() // DAY - DAYS_BEHIND - LUXSCI_DAYS) * DAY

    def _date(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.start))

    def count(self, *_request: object) -> None:
        """Count one request."""
        self.asked += 1

    def now(self) -> float:
        """Return the world's time in UTC seconds."""
        return self.world.clock.now()

    def change(self, *steps: dict[str, Any]) -> list[Any]:
        """Make changes; return the ids of what was added, null for the others."""
        answer = requests.post(f"{self.url}/_sim/script", json=steps, timeout=TIMEOUT)
        answer.raise_for_status()
        ids: list[Any] = answer.json()
        return ids

    def truth(self, stream: str, at: Iterable[float]) -> list[dict[str, Any]]:
        """Return what readings at these instants must have yielded, as JSON has it."""
        reading = Reading(start=self.start)
        found = truth(self.world, stream, list(at), self.name, reading)
        rows = [json.loads(encode(row)) for row in found]
        return [row for row in rows if self._is_read(stream, row)]

    def _is_read(self, stream: str, row: Row) -> bool:
        """Return whether a row is of a list that is read, and not too old.

        Lists that are read whole hold rows from before the start date, too.
        """
        if f"constant_contact_{row.get('report')}" in ON_REQUEST:
            return False
        key = REPLICATION.get(stream)
        date = None if key is None else row[key]
        return date is None or self.start is None or bool(date >= self._date())

    def move_on(self, days: float) -> None:
        """Let days pass in which something new comes."""
        before = self.now()
        self.world.clock.set(before + days * DAY)
        match self.provider:
            case "encompass":
                move_encompass_on(self, before)
            case "constant_contact":
                move_constant_contact_on(self)
            case _:
                move_luxsci_on(self, before)


class Fleet:
    """Accounts that listen, each on a port; they end with the block.

    Args:
        wanted: the provider of each key, and how many accounts share it.

    Attributes:
        members: the accounts.
        meters: count the requests, by key.
    """

    def __init__(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        self._wanted = wanted
        self._stack = ExitStack()
        self.members: list[Member] = []
        self.meters: dict[str, Meter] = {}

    def __enter__(self) -> Self:
        start = float(int(time.time() - DAYS_BEHIND * DAY))
        for key, (provider, count) in self._wanted.items():
            worlds = [
                make(provider, seed=len(self.members) + number + 1, start=start)
                for number in range(count)
            ]
            limits = Limits(worlds[0].clock.now, SPANS[provider])
            self.meters[key] = Meter(limits, threading.Lock())
            for number, world in enumerate(worlds, 1):
                self._add(f"{key}-{number}", provider, key, world)
        return self

    def _add(self, name: str, provider: str, key: str, world: World) -> None:
        # A key is told by the id of its app, and a day's requests are counted by that.
        world.constant_contact.client_id = world.encompass.client_id = key
        server = self._stack.enter_context(serve(world))
        member = Member(name, provider, key, world, server.url)
        world.on_request(self.meters[key].count)
        world.on_request(member.count)
        self.members.append(member)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def of(self, names: Sequence[str]) -> list[Member]:
        """Return the members of these names."""
        return [member for member in self.members if member.name in names]


def make(provider: str, seed: int, start: float) -> World:
    """Return a world with one account, which limits nothing: its meter counts.

    Small ones, as there are many: those of the demo of one account are larger.
    """
    world = World(start, seed=seed)
    draw = random.Random(seed)  # noqa: S311 -- reproducible
    if provider == "encompass":
        fill_encompass(world, draw, start)
    if provider == "constant_contact":
        fill_constant_contact(world, draw, start)
    if provider == "luxsci":
        generate_luxsci(world.luxsci, seed, EMAILS, start, days_ahead=DAYS_BEHIND)
    world.constant_contact.set_policy(requests_per_second=0, requests_per_day=0)
    world.luxsci.set_policy(
        requests_per_minute=0,
        requests_per_day=0,
        # The tap's clock is the real one; the world's stands still behind it.
        max_skew=math.inf,
    )
    return world


def fill_encompass(world: World, draw: random.Random, now: float) -> None:
    """Add messages, and rows in each of their lists."""
    account = world.encompass
    for number in range(1, MAILINGS + 1):
        sent = now - number * BETWEEN * DAY
        message = account.add_message(
            sent=sent, subjectLine=f"Letter {number}", sentCount=10
        )
        for kind in CHILD_KINDS:
            for _ in range(draw.randint(2, 6)):
                at = sent + draw.random() * BETWEEN * DAY
                account.add_row(kind, message, date_added=at)


def fill_constant_contact(world: World, draw: random.Random, now: float) -> None:
    """Add campaigns, and events of some of those who got them."""
    account = world.constant_contact
    for number in range(1, MAILINGS + 1):
        sent = now - number * BETWEEN * DAY
        campaign = account.add_campaign(
            sent=sent, recipients=draw.randint(5, 9), links=2, name=f"Letter {number}"
        )
        activity = account.activities_of(campaign)["primary_email"]
        for kind in ("opens", "clicks", "forwards", "optouts", "bounces"):
            for _ in range(draw.randint(1, 4)):
                at = sent + draw.random() * BETWEEN * DAY
                account.add_event(kind, activity, created=at)
