"""Many simulated accounts in one process, several of which share an API key."""

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

#: The column compared with the start date; only accounts of LuxSci have one.
REPLICATION = {
    str(stream.name): stream.replication_key
    for stream in STREAMS
    if isinstance(stream.replication_key, str)
}
#: Days before the present at which worlds begin, and days of LuxSci's rows to read.
DAYS_BEHIND, LUXSCI_DAYS = 20, 12
#: Messages or campaigns per account, days between them, and emails of LuxSci.
MAILINGS, BETWEEN, EMAILS = 4, 9, 30
SPANS = {"encompass": 1.0, "constant_contact": 1.0, "luxsci": 60.0}
TIMEOUT = 60


@dataclass
class Meter:
    """Counts the requests with one API key and refuses none.

    Attributes:
        limits: counters of requests per second or minute in real time, and per day of
            the worlds.
        lock: needed because accounts of a key are read at the same time.
    """

    limits: Limits
    lock: threading.Lock

    @property
    def most_in_a_day(self) -> int:
        """The most requests in any day of the worlds."""
        return max(self.limits.used_by_day.values(), default=0)

    def count(self, _method: str, path: str, _query: Mapping[str, str]) -> None:
        """Count one request; requests for tokens do not count."""
        if not path.startswith((AUTH, AUTHENTICATE)):
            with self.lock:
                self.limits.refuse(time.monotonic(), 0, 0)


@dataclass
class Member:
    """One account with its own world, and its API key.

    Attributes:
        name: name of the account.
        provider: name of its provider.
        key: name of its API key.
        world: the world that holds only this account.
        url: address of its server.
        asked: number of requests so far.
    """

    name: str
    provider: str
    key: str
    world: World
    url: str
    asked: int = 0

    @property
    def streams(self) -> list[str]:
        """The streams that are read."""
        return [stream for stream in KEYS if stream.startswith(self.provider)]

    def settings(self) -> dict[str, Any]:
        """Return the settings of the tap for the account, without secrets."""
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
        """Return the credentials as settings of the tap."""
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
        """Start of the rows to read in UTC seconds; None for all rows."""
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
        """Make changes; return the id of each added object, None for other changes."""
        answer = requests.post(f"{self.url}/_sim/script", json=steps, timeout=TIMEOUT)
        answer.raise_for_status()
        ids: list[Any] = answer.json()
        return ids

    def truth(self, stream: str, at: Iterable[float]) -> list[dict[str, Any]]:
        """Return the rows that readings at these instants must give, in JSON form."""
        reading = Reading(start=self.start)
        found = truth(self.world, stream, list(at), self.name, reading)
        rows = [json.loads(encode(row)) for row in found]
        return [row for row in rows if self._is_read(stream, row)]

    def _is_read(self, stream: str, row: Row) -> bool:
        """Return whether a row is in a list that is read, and not too old.

        Lists that are read in full also have rows from before the start date.
        """
        if f"constant_contact_{row.get('report')}" in ON_REQUEST:
            return False
        key = REPLICATION.get(stream)
        date = None if key is None else row[key]
        return date is None or self.start is None or bool(date >= self._date())

    def move_on(self, days: float) -> None:
        """Let days pass and add new rows."""
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
    """Accounts that each listen on a port until the end of the block.

    Args:
        wanted: provider and number of accounts by key.

    Attributes:
        members: the accounts.
        meters: counters of requests by key.
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
        # The id of an app stands for its key: requests per day are counted by it.
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
        """Return the members with these names."""
        return [member for member in self.members if member.name in names]


def make(provider: str, seed: int, start: float) -> World:
    """Return a world with one account without limits, because its meter counts.

    It is small, because there are many.
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
        # The tap uses the real clock; the clock of the world stands still behind it.
        max_skew=math.inf,
    )
    return world


def fill_encompass(world: World, draw: random.Random, now: float) -> None:
    """Add messages with rows in each list."""
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
    """Add campaigns with events of some of their recipients."""
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
