"""Break the tap on purpose for a while."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, partialmethod
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ODD_LENGTH = 30
"""Days of a world with oddities: enough for oddities to begin in its first days."""


@dataclass(frozen=True)
class Mutation:
    """A fault of the tap: a replaced function, as after a careless change.

    Attributes:
        provider: provider whose simulated days find the fault.
        seed: seed of a world in which they find it.
        days: number of days within which they find it.
        owner: module or class of the replaced function.
        attribute: name of the replaced function.
        broken: replacement, which gets the original, after `self` for a method, and
            its arguments.
        odd: names of the oddities of that world, which then has no other faults and
            no kills; None for a world without oddities.
    """

    provider: str
    seed: int
    days: int
    owner: Any
    attribute: str
    broken: Callable[..., Any]
    odd: tuple[str, ...] | None = None

    @property
    def length(self) -> int:
        """Length of the world in days."""
        return self.days if self.odd is None else _ODD_LENGTH


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """Break the tap until the end of the block."""
    owner, attribute = mutation.owner, mutation.attribute
    original = vars(owner)[attribute]
    plain = original.fget if isinstance(original, property) else original
    replaced: Any
    if isinstance(owner, ModuleType):
        replaced = partial(mutation.broken, plain)
    elif isinstance(original, property):
        replaced = property(partial(_of_self, mutation.broken, plain))
    else:
        replaced = partialmethod(mutation.broken, plain)
    setattr(owner, attribute, replaced)
    try:
        yield
    finally:
        setattr(owner, attribute, original)


def _of_self(function: Callable[..., Any], original: Any, this: Any) -> Any:
    return function(this, original)
