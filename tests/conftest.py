"""Fixtures for all tests."""

from __future__ import annotations

import io
import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.logs import remove_masks

if TYPE_CHECKING:
    from collections.abc import Iterator

# A change is judged by the same inputs each time. The nightly run draws new ones, and
# prints the line that replays a failure; its input then becomes an @example.
# How long a case takes is the machine's affair: no deadline.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("nightly", derandomize=False, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore the log after a test that silences or masks it."""
    yield
    logging.disable(logging.NOTSET)
    remove_masks()


@pytest.fixture(scope="session", autouse=True)
def _home_untouched(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep ledgers and tokens out of the home of the user who runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that any logger logs at DEBUG, as a handler of the root shows it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
