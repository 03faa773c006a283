"""Oddities, and those that are active in a world."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.messages import Reply, Request, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

FACES = ("encompass", "constant_contact", "luxsci")
_PARENT = re.compile(
    r"/(?:v2/messages|emails|emails/activities|email_reports|contact_reports|v2/user)"
    r"/([^/]+)"
)


@dataclass(frozen=True)
class Case:
    """An answer to change.

    Attributes:
        request: the request that it answers.
        rng: random numbers seeded by the odd and the parent, so that equal requests get
            equal changes.
        now: UTC seconds.
        seed: seed of the odd.
        memory: storage of the odd for use in later answers.
    """

    request: Request
    rng: random.Random
    now: float
    seed: int
    memory: dict[Any, Any]


Change = Callable[[Case, Reply], None]
"""Function that changes a reply in place, if the oddity applies to it."""
Ask = Callable[[Case], Request]
"""Function that returns the request to answer instead."""


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """A kind of change of answers.

    Attributes:
        name: unique name.
        says: description in one line.
        change: function that changes an answer.
        ask: function that changes the request before it is answered, if given.
        faces: providers whose answers it can change.
        paths: regular expression of the paths whose answers it changes by default.
        telling: regular expression of the paths on which a careful reader notices every
            missing row, in the answer itself or by counts in other answers.
        changes_values: whether rows can have other values, so that records differ.
        changes_clock: whether a reader can take another time for the present.
        is_dear: whether it takes so much memory or time that it is not drawn at random.
    """

    name: str
    says: str
    change: Change
    ask: Ask | None = None
    faces: tuple[str, ...] = FACES
    paths: str = ""
    telling: str = ""
    changes_values: bool = False
    changes_clock: bool = False
    is_dear: bool = False

    def as_json(self) -> dict[str, object]:
        """Return name, description and providers."""
        return {"name": self.name, "says": self.says, "faces": self.faces}


@dataclass(eq=False)
class Odd:
    """An active oddity.

    Attributes:
        oddity: the kind of change.
        path: regular expression of the paths whose answers it changes.
        times: number of first answers of each path that it changes; None: all.
        until: UTC seconds at which it ends; None: never.
        share: share of the parents, or of paths without one, that it changes.
        parent: the only parent that it changes, if given.
        seed: chooses the parents and the random parts of the change.
    """

    oddity: Oddity
    path: str
    times: int | None = None
    until: float | None = None
    share: float = 1.0
    parent: str | None = None
    seed: int = 0
    memory: dict[Any, Any] = field(default_factory=dict, repr=False)
    _seen: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def strikes(self, request: Request, face: str, now: float) -> bool:
        """Count a request; return True if its answer must be changed."""
        if face not in self.oddity.faces or not re.search(self.path, request.path):
            return False
        if self.until is not None and now >= self.until:
            return False
        if not self._is_chosen(request.path):
            return False
        self._seen[request.path] += 1
        return self.times is None or self._seen[request.path] <= self.times

    def case(self, request: Request, now: float) -> Case:
        """Return the case of a request for the change."""
        text = f"{self.seed}/{self.oddity.name}/{parent_of(request.path)}"
        rng = random.Random(text)  # noqa: S311 -- reproducible, not secret
        return Case(request, rng, now, self.seed, self.memory)

    def _is_chosen(self, path: str) -> bool:
        parent = parent_of(path)
        if self.parent is not None:
            return self.parent in parent.split(",")
        return self.share >= 1.0 or chance(self.seed, parent) < self.share

    def as_json(self) -> dict[str, object]:
        """Return the odd in the form of the control interface."""
        names = ("path", "times", "until", "share", "parent", "seed")
        shown = {name: getattr(self, name) for name in names}
        return {"name": self.oddity.name, **shown}


class Odds:
    """The active oddities, which change an answer one after the other."""

    def __init__(self) -> None:
        self.rules: list[Odd] = []

    def __iter__(self) -> Iterator[Odd]:
        return iter(self.rules)

    def struck(self, request: Request, face: str, now: float) -> list[Odd]:
        """Return the odds that change the answer to a request."""
        return [odd for odd in self.rules if odd.strikes(request, face, now)]

    def remove(self, odd: Odd) -> None:
        """Remove an odd."""
        self.rules.remove(odd)

    def clear(self) -> None:
        """Remove every odd."""
        self.rules = []


def parent_of(path: str) -> str:
    """Return the id of a message, campaign, activity, contact or login in a path."""
    match = _PARENT.search(path)
    return match[1] if match else path


def chance(seed: int, text: str) -> float:
    """Return a number in [0, 1), the same on every machine."""
    digest = hashlib.blake2b(f"{seed}|{text}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


def of_json(change: Callable[[Case, Any], Any]) -> Change:
    """Return a change of replies that replaces the JSON body by that of `change`.

    `change` gets the body of a 2xx answer and returns the new one. Other answers stay
    the same.
    """

    def changed(case: Case, reply: Reply) -> None:
        if reply.cut or not 200 <= reply.status < 300 or not reply.body:  # noqa: PLR2004
            return
        try:
            body = json.loads(reply.body)
        except ValueError:
            return
        reply.body = encode(change(case, body))

    return changed
