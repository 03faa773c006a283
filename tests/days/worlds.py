"""Worlds of simulated days, one of a provider at a time, and their sum."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.days.constant_contact import ConstantContactDays
from tests.days.days import BrokenError, Days, Summary, quiet
from tests.days.encompass import EncompassDays
from tests.days.luxsci import LuxSciDays
from tests.days.taps import in_a_hurry

if TYPE_CHECKING:
    from tests.days.days import Account

ACCOUNTS: dict[str, type[Account]] = {
    "encompass": EncompassDays,
    "constant_contact": ConstantContactDays,
    "luxsci": LuxSciDays,
}


def run(provider: str, seed: int, days: int, length: int) -> Summary:
    """Let days pass in the world of a seed, which is made for `length` of them.

    A promise that is broken ends it; the summary says which, and how it is replayed.
    """
    quiet()
    with tempfile.TemporaryDirectory() as folder, in_a_hurry():
        os.environ["XDG_STATE_HOME"] = str(Path(folder))
        some = Days(ACCOUNTS[provider](seed, length), seed, length)
        try:
            return some.run(days)
        except BrokenError as error:
            some.summary.broken = [str(error)]
            return some.summary
