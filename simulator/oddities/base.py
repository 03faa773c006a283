"""Oddities by name, and those that are in force in a world."""

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
    """An answer that is about to be changed.

    Attributes:
        request: the request that it answers.
        rng: seeded by the odd and the parent, so that equal requests fare alike.
        now: UTC seconds.
        seed: of the odd.
        memory: kept by the odd from answer to answer.
    """

    request: Request
    rng: random.Random
    now: float
    seed: int
    memory: dict[Any, Any]


Change = Callable[[Case, Reply], None]
"""Changes a reply in place; leaves it as it is where the oddity does not apply."""
Ask = Callable[[Case], Request]
"""Returns the request that the face answers instead."""


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """A way in which answers can be odd.

    Attributes:
        name: its name.
        says: what it does, in a line.
        change: makes an answer odd.
        ask: changes the request before the face sees it, if given.
        faces: providers whose answers it can change.
        paths: regular expression of the paths that it changes by default.
        telling: regular expression of the paths on which no row goes missing unless a
            careful reader notices it, by the answer itself or by other answers' counts.
        changes_values: rows can carry other values, so records can differ.
        changes_clock: a reader can take another time for now, whatever the path.
        is_dear: it costs so much memory or time that it is not drawn by chance.
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
        """Return what a person has to know of it."""
        return {"name": self.name, "says": self.says, "faces": self.faces}


@dataclass(eq=False)
class Odd:
    """An oddity in force.

    Attributes:
        oddity: what it does.
        path: regular expression of the paths that it strikes.
        times: the first so many answers of each path are struck; None: all.
        until: UTC seconds at which it ends; None: never.
        share: share of the parents, or of the paths without one, that are struck.
        parent: the only parent that is struck, if given.
        seed: decides which parents are struck, and how.
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
        """Return True if the answer to a request is to be changed; count it."""
        if face not in self.oddity.faces or not re.search(self.path, request.path):
            return False
        if self.until is not None and now >= self.until:
            return False
        if not self._is_chosen(request.path):
            return False
        self._seen[request.path] += 1
        return self.times is None or self._seen[request.path] <= self.times

    def case(self, request: Request, now: float) -> Case:
        """Return what the change gets to know."""
        text = f"{self.seed}/{self.oddity.name}/{parent_of(request.path)}"
        rng = random.Random(text)  # noqa: S311 -- reproducible, not secret
        return Case(request, rng, now, self.seed, self.memory)

    def _is_chosen(self, path: str) -> bool:
        parent = parent_of(path)
        if self.parent is not None:
            return self.parent in parent.split(",")
        return self.share >= 1.0 or chance(self.seed, parent) < self.share

    def as_json(self) -> dict[str, object]:
        """Return the odd as the control interface takes it."""
        names = ("path", "times", "until", "share", "parent", "seed")
        shown = {name: getattr(self, name) for name in names}
        return {"name": self.oddity.name, **shown}


class Odds:
    """The odds in force; each that strikes an answer changes it, in order."""

    def __init__(self) -> None:
        self.rules: list[Odd] = []

    def __iter__(self) -> Iterator[Odd]:
        return iter(self.rules)

    def struck(self, request: Request, face: str, now: float) -> list[Odd]:
        """Return the odds that change the answer to a request."""
        return [odd for odd in self.rules if odd.strikes(request, face, now)]

    def remove(self, odd: Odd) -> None:
        """End an odd."""
        self.rules.remove(odd)

    def clear(self) -> None:
        """End every odd."""
        self.rules = []


def parent_of(path: str) -> str:
    """Return the id in a path: of a message, campaign, activity, contact or login."""
    match = _PARENT.search(path)
    return match[1] if match else path


def chance(seed: int, text: str) -> float:
    """Return a number in [0, 1), the same on every machine."""
    digest = hashlib.blake2b(f"{seed}|{text}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


def of_json(change: Callable[[Case, Any], Any]) -> Change:
    """Return the change of a reply whose JSON body `change` replaces.

    `change` gets the body of a 2xx answer and returns the new one. Other answers stay.
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
