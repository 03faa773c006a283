"""Spells of oddities: the days on which answers of a world are odd.

A spell changes all answers of its kind, or only those of some parents; on all its days,
or only the first answers of each path. Between spells the API is ordinary, so that
missed rows can be read on later days.
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
    """An oddity that lasts some days.

    Attributes:
        name: name of the oddity.
        start: number of its first day.
        end: number of the first day after it.
        times: number of odd answers of each path; None: all.
        share: share of the parents, or of paths, that are odd.
        seed: chooses the parents or paths.
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
        provider: provider of the world.
        seed: seed of the world.
        days: length of the world.
        chosen: names of oddities to draw from; if empty, all of the provider.
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
            # For a batch the oddity itself chooses the ids.
            shares = (1.0,) if ODDITIES[one].paths == "/stats/" else _SHARES
            share = rng.choice(shares)
            spell = Spell(one, day, day + length, times, share, rng.getrandbits(32))
            spells.append(spell)
        day += length + rng.choice((1, 2, 4))
    return spells


def _fits(name: str, provider: str) -> bool:
    return provider in ODDITIES[name].faces
