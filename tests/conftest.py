"""Shared by all tests."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

from tap_email_metrics.privacy import RedactingFilter

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Let no test that silences the log silence the others."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """All that is logged at DEBUG, by whomever, as a handler of the root shows it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
    for one in root.handlers:
        for masking in [f for f in one.filters if isinstance(f, RedactingFilter)]:
            one.removeFilter(masking)
