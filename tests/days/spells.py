"""Spells of oddities: which answers of a world are odd, from which day to which.

A spell strikes all answers of its kind, or those of some parents only; all its days
long, or each path only once or a few times. Between spells the API is ordinary, so that
what was missed has days to come right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.oddities.names import ODDITIES, of_face

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST = 1
_SHARES = (1.0, 1.0, 0.3, 0.1)
_CALM_AT_LAST = 10
"""Days without a spell at the end of a world."""


@dataclass(frozen=True)
class Spell:
    """An oddity over some days.

    Attributes:
        name: of the oddity.
        start: the number of its first day.
        end: the number of the first day after it.
        times: answers of each path that are odd; None: all.
        share: share of the parents, or paths, that are struck.
        seed: decides which ones.
    """

    name: str
    start: int
    end: int
    times: int | None
    share: float
    seed: int

    def __str__(self) -> str:
        often = "always" if self.times is None else f"{self.times} times a path"
        return (
            f"{self.name} on days {self.start + 1} to {self.end}, {often}, "
            f"share {self.share}"
        )


def drawn(
    provider: str, seed: int, days: int, chosen: Sequence[str] = ()
) -> list[Spell]:
    """Return the spells of a world.

    Args:
        provider: whose world it is.
        seed: of the world.
        days: that it has.
        chosen: names of oddities to draw from; all of the provider's if empty.
    """
    rng = random.Random(f"spells {provider} {seed}")  # noqa: S311 -- reproducible
    names = [name for name in chosen or of_face(provider) if _fits(name, provider)]
    spells: list[Spell] = []
    day = _FIRST + rng.randrange(3)
    while names and day < days - _CALM_AT_LAST:
        length = rng.choice((1, 1, 2, 4))
        for _ in range(rng.choice((1, 1, 2))):
            times = rng.choice((1, 1, 3, None, None, None))
            one = rng.choice(names)
            # Of a batch it is the oddity that chooses among the ids.
            shares = (1.0,) if ODDITIES[one].paths == "/stats/" else _SHARES
            share = rng.choice(shares)
            spell = Spell(one, day, day + length, times, share, rng.getrandbits(32))
            spells.append(spell)
        day += length + rng.choice((1, 2, 4))
    return spells


def _fits(name: str, provider: str) -> bool:
    return provider in ODDITIES[name].faces
