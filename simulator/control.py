"""The control interface below `/_sim`: clock, faults, truth, log and small changes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.faults import Rule
from simulator.messages import Reply, Request, encode, json_reply, message_reply
from simulator.truth import STREAMS, truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.world import World

PREFIX = "/_sim/"
HELP = """\
Control interface (JSON; not logged, no token needed; 400 says what is wrong):
  GET    /_sim/health            {"status": "ok", "now": epoch seconds}
  GET    /_sim/clock             {"now": epoch seconds}
  POST   /_sim/clock             {"now": s} or {"advance_days": d} or
                                 {"advance_seconds": s}; never past the real present
  GET    /_sim/faults            the rules in force
  POST   /_sim/faults            a list of rules, put in place of all:
           kind     status, message_body, not_json, wrong_shape, cut, half_body,
                    slow, expire_token, max_rows, shift_total, repeat_row
           path     regular expression searched in the path (default "^/v2/")
           message_id, times (first attempts of each request; default all),
           probability and seed (decided by seed, request and attempt number),
           status, retry_after and body (status; body: JSON, "" for none),
           shape (wrong_shape), seconds (slow), by (shift_total),
           rows (max_rows: 504 when more are asked for)
  DELETE /_sim/faults            no more faults
  GET    /_sim/truth/<stream>    JSON lines: the records that a complete reading now,
           ?at=s1,s2             or at these instants (epoch seconds), must yield
  GET    /_sim/requests          {"total", "counts": [...], "requests": [...]}
  DELETE /_sim/requests          forget them
  POST   /_sim/script            a list of changes; answers a list of ids or nulls:
           {"do": "add_message", "sent": s, "date_added": s, <vendor's fields>}
           {"do": "add_row", "kind": "opens", "message_id": n, <vendor's fields>}
           {"do": "correct", "kind": "messages", "row_id": n, "sentCount": n}
           {"do": "delete", "kind": "opens", "row_id": n}
           {"do": "set_policy", "archive_on": "send", ...}
           {"do": "set_order", "order": "shuffled", "kind": "opens"}
           {"do": "revoke_tokens"}
           times in epoch seconds, default now; a row's own fields in milliseconds
         and for Constant Contact any of its building methods, by name:
           {"do": "constant_contact.add_campaign", "sent": s, "recipients": n}
           {"do": "constant_contact.add_event", "kind": "opens", "activity": id,
            "contact": id, "created": s, "visible_from": s, "device": "mobile"}
           {"do": "constant_contact.set_policy", "requests_per_second": 0}
           {"do": "constant_contact.approve_device", "user_code": code}
  GET    /_sim/limits            Constant Contact's: {"used_today", "used_by_day",
                                 "throttled", "refused", "busiest_second"}
"""
_BUILDERS = frozenset(
    {
        *("add_campaign", "add_activity", "add_resend", "send", "update_campaign"),
        *("update_activity", "remove_campaign", "add_link", "add_event"),
        *("remove_event", "add_contact", "update_contact", "unsubscribe"),
        *("delete_contact", "add_item", "update_item", "delete_item"),
        *("update_account", "activities_of", "set_policy", "consent"),
        *("approve_device", "deny_device", "revoke_refresh"),
    }
)


class Control:
    """Answers for one world; `present` returns the real UTC seconds."""

    def __init__(
        self, world: World, present: Callable[[], float] | None = None
    ) -> None:
        self._world = world
        self._present = present or time.time

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request below PREFIX."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        try:
            with self._world.lock:
                return self._route(request, name, rest)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return message_reply(400, f"{type(error).__name__}: {error}")

    def _route(self, request: Request, name: str, rest: str) -> Reply:
        world = self._world
        body: Any = json.loads(request.body) if request.method == "POST" else None
        match request.method, name:
            case "POST", "clock":
                self._move(body)
                return self._show("clock")
            case "POST", "faults":
                world.faults.set([Rule.from_json(rule) for rule in body])
            case "DELETE", "faults":
                world.faults.clear()
            case "DELETE", "requests":
                world.log.reset()
            case "POST", "script":
                return json_reply(200, [self._apply(step) for step in body])
            case "GET", "truth":
                return self._truth(rest, request.query.get("at"))
            case "GET", _:
                return self._show(name)
            case _:
                return message_reply(404)
        return Reply(204)

    def _show(self, name: str) -> Reply:
        world = self._world
        match name:
            case "health":
                return json_reply(200, {"status": "ok", "now": world.clock.now()})
            case "clock":
                return json_reply(200, {"now": world.clock.now()})
            case "faults":
                return json_reply(200, [rule.as_json() for rule in world.faults.rules])
            case "requests":
                return json_reply(200, world.log.as_json())
            case "limits":
                return json_reply(200, world.constant_contact.limits.as_json())
        return message_reply(404)

    def _move(self, wish: dict[str, float]) -> None:
        clock = self._world.clock
        moves = {
            "now": 0.0,
            "advance_seconds": clock.now(),
            "advance_days": clock.now(),
        }
        if len(wish) != 1:
            raise ValueError(f"give one of {', '.join(moves)}")
        ((name, value),) = wish.items()
        target = moves[name] + value * (DAY if name == "advance_days" else 1)
        if target > self._present():
            raise ValueError("the world's clock never passes the real present")
        clock.set(target)

    def _truth(self, stream: str, at: str | None) -> Reply:
        if stream not in STREAMS:
            return message_reply(404, f"streams: {', '.join(STREAMS)}")
        instants = [float(instant) for instant in at.split(",")] if at else None
        rows = truth(self._world, stream, instants)
        lines = b"".join(encode(row) + b"\n" for row in rows)
        return Reply(200, lines, {"Content-Type": "application/x-ndjson"})

    def _apply(self, step: dict[str, Any]) -> object:
        """Make one change; the keys but `do` are the method's arguments."""
        account = self._world.encompass
        changes: dict[str, Callable[..., object]] = {
            "add_message": account.add_message,
            "add_row": account.add_row,
            "delete": account.delete,
            "set_policy": account.set_policy,
            "set_order": account.set_order,
            "revoke_tokens": self._world.revoke_tokens,
        }
        name = step.pop("do")
        provider, _, builder = name.partition(".")
        if provider == "constant_contact" and builder in _BUILDERS:
            return getattr(self._world.constant_contact, builder)(**step)
        if name == "correct":  # its first two are positional only
            return account.correct(step.pop("kind"), step.pop("row_id"), **step)  # type: ignore[func-returns-value]
        return changes[name](**step)
