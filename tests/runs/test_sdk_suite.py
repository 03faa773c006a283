"""The standard test suite of the SDK, against the simulator."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from simulator.luxsci.facts import PREFIX
from simulator.server import SimulatorServer
from simulator.world import World
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.cli import config, small_world

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400.0
HISTORY = 75 * DAY
"""Seconds before the simulated present: the account is younger, its users are older."""


def clinic() -> SimulatorServer:
    """Serve a LuxSci account with rows in every report."""
    world = World.generate(3, 0, float(int(time.time() - 20 * DAY)), luxsci=30)
    # The tap uses the real clock; the clock of the world stands still behind it.
    world.luxsci.set_policy(requests_per_minute=0, max_skew=math.inf)
    return SimulatorServer(world)


def luxsci(server: SimulatorServer) -> dict[str, Any]:
    """Return settings to read the account."""
    account = server.world.luxsci
    start = time.gmtime(server.world.clock.now() - HISTORY)
    section = {
        "token": account.token,
        "secret": account.secret,
        "account_id": str(account.account_id),
        "logins": account.logins,
        "api_url": server.url + PREFIX,
        "requests_per_minute": 60_000,
        "daily_requests": 1_000_000,
    }
    return {"start_date": time.strftime("%Y-%m-%d", start), "luxsci": section}


# The suite runs discovery when it is defined, so servers must run from here on. They
# are daemons, because the tests may be collected without running.
_server = SimulatorServer(small_world(unknown="kept"))
_clinic = clinic()
for _one in (_server, _clinic):
    threading.Thread(target=_one.serve_forever, args=(0.05,), daemon=True).start()
# A separate folder for the ledger.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()


# At the end of the session: a worker may get tests of this module after others.
@pytest.fixture(scope="session", autouse=True)
def _served() -> Iterator[None]:
    yield
    _server.close()
    _clinic.close()


TestTapEmailMetrics = get_tap_test_class(
    TapEmailMetrics, config=config(_server), suite_config=SuiteConfig()
)
TestLuxSci = get_tap_test_class(
    TapEmailMetrics, config=luxsci(_clinic), suite_config=SuiteConfig()
)
