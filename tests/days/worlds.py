"""Worlds of simulated days, one of a provider at a time, and their sum."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from simulator import world
from simulator.clock import SimClock, ThreadedClock
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


def run(
    provider: str, seed: int, days: int, length: int, *, steady: bool = False
) -> Summary:
    """Let days pass in the world of a seed, which is made for `length` of them.

    A promise that is broken ends it; the summary says which, and how it is replayed.

    Args:
        provider: whose account it is.
        seed: of the world and of what happens in it.
        days: that pass.
        length: days that the world is made for.
        steady: let one thread read, on a clock that waits for all threads, so that
            each run sends the same requests at the same instants. Otherwise it
            depends on the machine which thread comes first.
    """
    quiet()
    random.seed(seed)  # the tap draws its waits between tries from it
    clock = ThreadedClock if steady else SimClock
    with (
        tempfile.TemporaryDirectory() as folder,
        in_a_hurry(),
        patch.object(world, "SimClock", clock),
    ):
        os.environ["XDG_STATE_HOME"] = str(Path(folder))
        account = ACCOUNTS[provider](seed, length)
        if steady:
            account.site.settings["max_concurrency"] = 1
        some = Days(account, seed, length)
        try:
            return some.run(days)
        except BrokenError as error:
            some.summary.broken = [str(error)]
            return some.summary
