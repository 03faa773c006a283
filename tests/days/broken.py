"""A fault of the tap, put in place for a while."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, partialmethod
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ODD_LENGTH = 30
"""Days of an odd world: so many that oddities begin in its first days."""


@dataclass(frozen=True)
class Mutation:
    """One fault of the tap: a function in place of another, as a careless change.

    Attributes:
        provider: whose days find it.
        seed: of a world in which they do.
        days: within how many of them.
        owner: module or class of what is replaced.
        attribute: its name there.
        broken: gets the original, after `self` if it is a method, and its arguments.
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
        """Days that the world is made for."""
        return self.days if self.odd is None else _ODD_LENGTH


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """Break the tap for as long as the context lasts."""
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
