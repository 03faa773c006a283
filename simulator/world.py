"""A world: a clock, accounts, faults and a log. Every request passes through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Protocol

from simulator.audience import Senders, add_audience
from simulator.clock import DAY, SimClock
from simulator.constant_contact.account import Account as ConstantContact
from simulator.constant_contact.face import Face as ConstantContactFace
from simulator.constant_contact.generate import generate as generate_constant_contact
from simulator.encompass.account import Account as Encompass
from simulator.encompass.face import Face as EncompassFace
from simulator.encompass.generate import generate as generate_encompass
from simulator.faults import Faults
from simulator.log import RequestLog
from simulator.luxsci.account import Account as LuxSci
from simulator.luxsci.face import Face as LuxSciFace
from simulator.luxsci.generate import generate as generate_luxsci
from simulator.messages import Reply, Request, message_reply
from simulator.oddities.base import Odd, Odds
from simulator.oddities.names import odd
from simulator.sizes import FUTURE_DAYS, LARGEST

if TYPE_CHECKING:
    from simulator.faults import Rule
    from simulator.replay import Replay

AUDIENCE_DAYS = 9.3
"""Days before the start of a world at which its audience gets a mailing."""
Hook = Callable[[str, str, Mapping[str, str]], None]
"""Called with (method, path, query) before a request is answered."""
ReplyHook = Callable[[Request, Reply], None]
"""Called with each request and its reply before the reply is delivered."""


class Face(Protocol):
    """The simulated API of a provider."""

    def serves(self, path: str) -> bool:
        """Return True if a request for the path belongs to this API."""

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request."""

    def revoke_tokens(self) -> None:
        """Refuse every token issued so far."""


class World:
    """All simulated APIs with one clock; thread-safe, with one lock for all."""

    def __init__(
        self, now: float, *, seed: int = 0, clock: SimClock | None = None
    ) -> None:
        self.clock = clock or SimClock(now)
        self.lock = threading.RLock()
        self.encompass = Encompass(self.clock, self.lock, seed)
        self.faults = Faults()
        self.odds = Odds()
        self.log = RequestLog()
        self._encompass = EncompassFace(self.encompass, self.clock)
        self.constant_contact = ConstantContact(self.clock, self.lock, seed)
        self._constant_contact = ConstantContactFace(self.constant_contact, self.clock)
        self.luxsci = LuxSci(self.clock, self.lock, seed)
        self._luxsci = LuxSciFace(self.luxsci, self.clock)
        self._faces: dict[str, Face] = {
            "encompass": self._encompass,
            "constant_contact": self._constant_contact,
            "luxsci": self._luxsci,
        }
        self._hooks: list[Hook] = []
        self._reply_hooks: list[ReplyHook] = []
        self._answered = 0
        self.replay: Replay | None = None

    @classmethod
    def generate(  # noqa: PLR0913 - the parts of a world
        cls,
        seed: int,
        messages: int,
        now: float,
        *,
        days_ahead: float = FUTURE_DAYS,
        campaigns: int = 0,
        luxsci: int = 0,
        largest: int = LARGEST,
        audience: int = 0,
        clock: SimClock | None = None,
    ) -> World:
        """Return a pseudo-random world at `now` with events for `days_ahead` days.

        `messages`, `campaigns` and `luxsci` are the numbers of messages of Encompass,
        campaigns of Constant Contact and emails of LuxSci. One message and one campaign
        have `largest` recipients. If `audience` is not 0, each provider sends one more
        mailing to so many people and machines.
        """
        world = cls(now, seed=seed, clock=clock)
        generate_encompass(
            world.encompass,
            seed,
            messages,
            now,
            days_ahead=days_ahead,
            largest=largest,
        )
        generate_constant_contact(
            world.constant_contact,
            seed,
            campaigns,
            now,
            days_ahead=days_ahead,
            largest=largest,
        )
        generate_luxsci(world.luxsci, seed, luxsci, now, days_ahead=days_ahead)
        if audience:
            senders = Senders(world.encompass, world.constant_contact, world.luxsci)
            add_audience(senders, seed, audience, at=now - AUDIENCE_DAYS * DAY)
        return world

    def on_request(self, hook: Hook) -> Callable[[], None]:
        """Call `hook` before every answer; return a function that removes it."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def on_reply(self, hook: ReplyHook) -> Callable[[], None]:
        """Call `hook` after every answer, before the reply is delivered.

        An exception of the hook reaches a caller in this process and cuts a real
        connection: the world has changed but the caller does not know. Return a
        function that removes the hook.
        """
        self._reply_hooks.append(hook)
        return lambda: self._reply_hooks.remove(hook)

    def odd(self, name: str, **settings: Any) -> Odd:  # noqa: ANN401 -- see `odd`
        """Switch on an oddity with the settings of Odd; return it.

        `world.odds.remove` ends it. KeyError for an unknown name.
        """
        with self.lock:
            found = odd(name, **settings)
            self.odds.rules.append(found)
            return found

    def revoke_tokens(self) -> None:
        """Refuse every access token issued so far."""
        with self.lock:
            for face in self._faces.values():
                face.revoke_tokens()

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request; hooks, faults and log apply."""
        with self.lock:
            for hook in tuple(self._hooks):
                hook(request.method, request.path, request.query)
            rule = self.faults.pick(request)
            reply, kind = self._reply(request, rule)
            status = 0 if reply.cut else reply.status
            self.log.add(self.clock.now(), request, status, kind)
            for replied in tuple(self._reply_hooks):
                replied(request, reply)
            return reply

    def _reply(self, request: Request, rule: Rule | None) -> tuple[Reply, str | None]:
        """Return the reply and the names of the fault and oddities that changed it."""
        if rule and (reply := rule.replace()):
            self._stamp(reply)
            return reply, rule.kind
        if rule and rule.kind == "expire_token":
            self.revoke_tokens()
        if self.replay and (recorded := self.replay.answer(request)):
            self._stamp(recorded)
            return recorded, "replay"
        face = self._face(request.path)
        now = self.clock.now()
        odds = self.odds.struck(request, face, now) if self.odds.rules else []
        cases = [one.case(request, now) for one in odds]
        asked = request
        for one, case in zip(odds, cases, strict=True):
            asked = one.oddity.ask(case) if one.oddity.ask else asked
        reply = self._faces[face].answer(asked) if face else message_reply(404)
        self._stamp(reply)
        before = replace(reply, headers=dict(reply.headers))
        for one, case in zip(odds, cases, strict=True):
            one.oddity.change(case, reply)
        is_odd = asked != request or reply != before
        names = [rule.kind] if rule else []
        names += ["odd", *(one.oddity.name for one in odds)] if is_odd else []
        if rule:
            rule.spoil(reply)
        return reply, " ".join(names) or None

    def _face(self, path: str) -> str:
        """Return the name of the provider that serves a path, or an empty string."""
        found = (name for name, face in self._faces.items() if face.serves(path))
        return next(found, "")

    def _stamp(self, reply: Reply) -> None:
        self._answered += 1
        reply.headers["Date"] = formatdate(self.clock.now(), usegmt=True)
        serial = f"{self._answered:08x}-0000-4000-8000-000000000000"
        reply.headers["x-amzn-RequestId"] = serial
