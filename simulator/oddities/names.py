"""Every oddity by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.oddities import bodies, counts, fields, labels, links, lists, parents
from simulator.oddities.base import Odd, Oddity

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALL = (
    *lists.ODDITIES,
    *counts.ODDITIES,
    *fields.ODDITIES,
    *labels.ODDITIES,
    *parents.ODDITIES,
    *links.ODDITIES,
    *bodies.ODDITIES,
)
ODDITIES: dict[str, Oddity] = {oddity.name: oddity for oddity in _ALL}


def odd(  # noqa: PLR0913 -- the settings of an odd
    name: str,
    *,
    path: str | None = None,
    times: int | None = None,
    until: float | None = None,
    share: float = 1.0,
    parent: str | None = None,
    seed: int = 0,
) -> Odd:
    """Return an odd of the named oddity; see Odd for the settings.

    Raises:
        KeyError: there is no oddity with this name.
    """
    oddity = ODDITIES[name]
    where = oddity.paths if path is None else path
    return Odd(oddity, where, times, until, share, parent, seed)


def of_face(face: str) -> list[str]:
    """Return the names of the oddities of a provider that may be drawn at random."""
    return [one.name for one in _ALL if face in one.faces and not one.is_dear]


def described(oddities: Iterable[Oddity] = _ALL) -> str:
    """Return a line for each oddity with its name and description."""
    return "\n".join(f"  {one.name:<20} {one.says}" for one in oddities)
