"""Two processes of the tap at the same time with one token store and one ledger."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from simulator.constant_contact.truth import KEYS, truth
from simulator.server import SimulatorServer, serve
from simulator.world import World
from tap_email_metrics.transport.ledger import BLOCK
from tests.support.cli import DAY, LIMIT, Ended, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.messages import Reply, Request

pytestmark = pytest.mark.slow

HOSTS = ("127.0.0.1", "localhost")
"""Two names of the server, which distinguish the processes."""
STREAMS = ("constant_contact_opens", "constant_contact_sends")
CAMPAIGNS = 40


@dataclass
class Two:
    """An account and the requests of two processes.

    Attributes:
        expire_after: counts of API requests after which all access tokens expire.
    """

    server: SimulatorServer
    folder: Path
    expire_after: tuple[int, ...] = ()
    asked: list[tuple[str, int]] = field(default_factory=list)
    refreshes: list[int] = field(default_factory=list)

    def note(self, request: Request, reply: Reply) -> None:
        """Note sender and status of a request, and expire tokens when it is time."""
        if request.path.endswith("/token"):
            self.refreshes.append(reply.status)
        else:
            host = request.headers["host"].partition(":")[0]
            self.asked.append((host, reply.status))
            if len(self.asked) in self.expire_after:
                self.server.world.revoke_tokens()

    def run(self, **settings: Any) -> list[Ended]:
        """Run both processes to their ends."""
        api = self.server.world.constant_contact
        common = {
            "client_id": api.client_id,
            "client_secret": api.client_secret,
            "refresh_token": api.refresh_token,
            "token_store": str(self.folder / "shared" / "tokens.json"),
            "requests_per_second": 60,
            **settings,
        }
        with (
            self._started(HOSTS[0], common) as one,
            self._started(HOSTS[1], common) as other,
        ):
            return [one.end(LIMIT), other.end(LIMIT)]

    @contextmanager
    def _started(self, host: str, common: dict[str, Any]) -> Iterator[Any]:
        folder = self.folder / host
        folder.mkdir()
        base = f"http://{host}:{self.server.server_port}"
        urls = {"api_url": f"{base}/v3", "auth_url": f"{base}/oauth2/default/v1"}
        config = {"constant_contact": {**common, **urls}}
        with started(folder, config) as live:
            live.read()
            yield live

    @property
    def ledger(self) -> dict[str, Any]:
        """The content of the shared ledger."""
        [file] = (self.folder / "tap-email-metrics").glob("ledger-*.json")
        value: dict[str, Any] = json.loads(file.read_bytes())
        return value

    def overlapped(self) -> bool:
        """Whether the requests of the two were interleaved."""
        hosts = [host for host, _ in self.asked]
        return sum(a != b for a, b in itertools.pairwise(hosts)) > 10


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    world = World(float(int(time.time() - 20 * DAY)))
    api = world.constant_contact
    api.set_policy(requests_per_second=0, reuse_revokes=True)
    for number in range(CAMPAIGNS):
        sent = world.clock.now() - (3 + number) * DAY
        campaign = api.add_campaign(sent=sent, recipients=2, links=1)
        api.add_event("opens", campaign, created=sent + 3600)
    with serve(world) as server:
        two = Two(server, tmp_path)
        world.on_reply(two.note)
        yield two


def test_two_processes_share_each_refresh_of_the_token(two: Two) -> None:
    two.expire_after = (60, 150, 260)
    ended = two.run()
    assert [one.code for one in ended] == [0, 0]
    assert two.overlapped()
    # One refresh at first and one for each expiry, not one for each process.
    assert two.refreshes.count(200) == two.server.world.constant_contact.auth.refreshed
    assert two.refreshes == [200] * (1 + len(two.expire_after))
    refused = [status for _, status in two.asked if status == 401]
    assert len(refused) >= len(two.expire_after)
    stored = json.loads((two.folder / "shared" / "tokens.json").read_bytes())
    api = two.server.world.constant_contact
    assert api.auth.is_current(stored["refresh_token"])
    assert two.ledger["used"] == len(two.asked)
    assert two.ledger["used"] - len(refused) == api.used_today
    for one in ended:
        assert_all_there(two.server.world, one)


def assert_all_there(world: World, ended: Ended) -> None:
    for stream in STREAMS:
        key = KEYS[stream]
        records = [message["record"] for message in ended.of("RECORD", stream)]
        wanted = truth(world.constant_contact, stream, [world.clock.now()], None)
        assert {tuple(row[name] for name in key): row for row in records} == {
            tuple(row[name] for name in key): row for row in wanted
        }


def test_two_processes_share_the_daily_budget(two: Two) -> None:
    ended = two.run(daily_requests=200)
    assert [one.code for one in ended] == [0, 0]
    assert two.overlapped()
    for one in ended:
        assert one.summary["paused"]
    used = two.server.world.constant_contact.used_today
    assert two.ledger["used"] == len(two.asked) == used
    # A stream's share is computed without the block that the other has reserved.
    assert 200 - 2 * BLOCK <= used <= 200
    assert two.refreshes == [200]
