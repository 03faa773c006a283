"""The SDK's own standard test suite, against the simulator."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from cli import config, small_world
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from simulator.server import SimulatorServer
from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

# The suite runs discovery when it is defined, so it is served from here on; by a
# daemon, as the tests below may be collected and not run.
_server = SimulatorServer(small_world(unknown="kept"))
threading.Thread(target=_server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture(scope="module", autouse=True)
def _served() -> Iterator[None]:
    yield
    _server.close()


TestTapEmailMetrics = get_tap_test_class(
    TapEmailMetrics, config=config(_server), suite_config=SuiteConfig()
)
