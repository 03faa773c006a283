"""Worlds of simulated days of one provider at a time."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.days.constant_contact import ConstantContactDays
from tests.days.days import BrokenError, Days, Summary, quiet
from tests.days.encompass import EncompassDays
from tests.days.luxsci import LuxSciDays
from tests.days.spells import drawn
from tests.days.taps import in_a_hurry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.days.days import Account

ACCOUNTS: dict[str, type[Account]] = {
    "encompass": EncompassDays,
    "constant_contact": ConstantContactDays,
    "luxsci": LuxSciDays,
}


def run(  # noqa: PLR0913 -- what a world is made of
    provider: str,
    seed: int,
    days: int,
    length: int,
    *,
    steady: bool = False,
    odd: Sequence[str] | None = None,
    calm: bool = False,
) -> Summary:
    """Let days pass in the world of a seed, which has `length` days.

    A broken promise ends it; the summary names the promise and the replay command.

    Args:
        provider: provider of the account.
        seed: seed of the world and its events.
        days: number of days that pass.
        length: number of days for which the world is made.
        steady: use one reader, so that each run sends the same requests at the same
            times. Otherwise the order of threads depends on the machine.
        odd: names of oddities that may occur; empty: all; None: no oddity occurs.
        calm: no other faults and no kills.
    """
    spells = [] if odd is None else drawn(provider, seed, length, odd)
    options = "" if odd is None else f" --odd {','.join(odd) or 'all'}"
    options += " --calm" if calm else ""
    quiet()
    random.seed(seed)  # the tap draws its waits between tries from it
    with tempfile.TemporaryDirectory() as folder, in_a_hurry():
        os.environ["XDG_STATE_HOME"] = str(Path(folder))
        account = ACCOUNTS[provider](seed, length)
        if steady:
            account.site.settings["max_concurrency"] = 1
        some = Days(account, seed, length, spells=spells, options=options, calm=calm)
        try:
            return some.run(days)
        except BrokenError as error:
            some.summary.broken = [str(error)]
            return some.summary
