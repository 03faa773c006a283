"""The control interface below `/_sim`: clock, faults, oddities, truth, log, changes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.faults import Rule
from simulator.luxsci.truth import ACCOUNT_SCOPE, Reading
from simulator.messages import Reply, Request, encode, json_reply, message_reply
from simulator.oddities.names import ODDITIES, odd
from simulator.truth import STREAMS, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.limits import Limits
    from simulator.world import World

PREFIX = "/_sim/"
HELP = """\
Control interface (JSON; not logged, no token needed; a 400 names the error):
  GET    /_sim/health            {"status": "ok", "now": epoch seconds}
  GET    /_sim/clock             {"now": epoch seconds}
  POST   /_sim/clock             {"now": s} or {"advance_days": d} or
                                 {"advance_seconds": s}; never past the real present
  GET    /_sim/faults            the active rules
  POST   /_sim/faults            a list of rules that replaces all others:
           kind     status, message_body, not_json, wrong_shape, cut, half_body,
                    slow, expire_token, max_rows, shift_total, repeat_row,
                    skip_row
           path     regular expression searched in the path (default "^/v2/")
           message_id, times (first attempts of each request; default all),
           probability and seed (by seed, request and attempt number),
           status, retry_after and body (status; body: JSON, "" for none),
           shape (wrong_shape), seconds (slow), by (shift_total),
           rows (max_rows: 504 if more are requested)
  DELETE /_sim/faults            remove all rules
  GET    /_sim/oddities          all oddities: name, description, and the providers
                                 whose answers it can change
  GET    /_sim/odds              the active oddities
  POST   /_sim/odds              a list of active oddities that replaces all others:
           name     name of the oddity,
           path     regular expression searched in the path (default: the oddity's),
           times (first answers of each path; default all), until (epoch seconds),
           share (share of the parents, or of paths without one; default 1),
           parent (the only parent it changes), seed (chooses the parents)
  DELETE /_sim/odds              remove all active oddities
  GET    /_sim/truth/<stream>    JSON lines: the records that a complete reading now,
           ?at=s1,s2             or at these instants (epoch seconds), must give;
                                 for LuxSci also user (the login, in user scope),
                                 logins (with commas), start (epoch seconds),
                                 lookback_days, delivery_lookback_days,
                                 tracked_headers=1, detail=1, and now: the clock of
                                 the reader at each instant, if it differs
  GET    /_sim/requests          {"total", "counts": [...], "requests": [...]}
  DELETE /_sim/requests          clear the log
  POST   /_sim/script            a list of changes; the answer lists ids or nulls:
           {"do": "add_message", "sent": s, "date_added": s, <vendor's fields>}
           {"do": "add_row", "kind": "opens", "message_id": n, <vendor's fields>}
           {"do": "correct", "kind": "messages", "row_id": n, "sentCount": n}
           {"do": "delete", "kind": "opens", "row_id": n}
           {"do": "set_policy", "archive_on": "send", ...}
           {"do": "set_order", "order": "shuffled", "kind": "opens"}
           {"do": "revoke_tokens"}
           times in epoch seconds, default now; fields of rows in milliseconds
         for Constant Contact, any method of its account that builds or changes it:
           {"do": "constant_contact.add_campaign", "sent": s, "recipients": n}
           {"do": "constant_contact.add_event", "kind": "opens", "activity": id,
            "contact": id, "created": s, "visible_from": s, "device": "mobile"}
           {"do": "constant_contact.set_policy", "requests_per_second": 0}
           {"do": "constant_contact.approve_device", "user_code": code}
         likewise for LuxSci:
           {"do": "luxsci.add_message", "sent": s, "recipients": 2, "login": login}
           {"do": "luxsci.add_open", "sendmail_id": id, "to": email, "at": s}
           {"do": "luxsci.add_row", "kind": "complaints", "visible_from": s,
            "fields": {"to": "redacted", "complaint_date": s}}
           {"do": "luxsci.correct", "row": n, "at": s, "fields": {"Opens": 3}}
           {"do": "luxsci.set_policy", "rows": "objects", "denied": ["getLists"]}
           (see Policy in simulator/luxsci/policy.py)
  GET    /_sim/limits            for Constant Contact: {"used_today", "used_by_day",
                                 "throttled", "refused", "busiest_second"}
  GET    /_sim/limits/luxsci     for LuxSci, with "busiest_minute"
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


_LUXSCI_BUILDERS = frozenset(
    {
        *("add_row", "correct", "delete", "fields", "add_user", "update_user"),
        *("add_job", "update_job", "add_message", "update_delivery", "deliver"),
        *("add_open", "add_click", "add_complaint", "add_temporary_failure"),
        *("unsubscribe", "add_suppression", "add_login_failure", "add_list"),
        *("add_contact", "add_campaign", "update_item", "send_campaign", "dispose"),
        *("log_event", "set_policy", "revoke"),
    }
)


class Control:
    """Answers for one world; `present` returns the real time in UTC seconds."""

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
            case "POST", "odds":
                world.odds.rules = [odd(**one) for one in body]
            case "DELETE", "odds":
                world.odds.clear()
            case "DELETE", "requests":
                world.log.reset()
            case "POST", "script":
                return json_reply(200, [self._apply(step) for step in body])
            case "GET", "truth":
                return self._truth(rest, request.query)
            case "GET", _:
                return self._show(name, rest)
            case _:
                return message_reply(404)
        return Reply(204)

    def _show(self, name: str, rest: str = "") -> Reply:
        world = self._world
        now = world.clock.now()
        match name:
            case "health":
                found: object = {"status": "ok", "now": now}
            case "clock":
                found = {"now": now}
            case "faults":
                found = [rule.as_json() for rule in world.faults.rules]
            case "oddities":
                found = [oddity.as_json() for oddity in ODDITIES.values()]
            case "odds":
                found = [one.as_json() for one in world.odds]
            case "requests":
                found = world.log.as_json()
            case "limits":
                found = self._limits(rest).as_json()
            case _:
                return message_reply(404)
        return json_reply(200, found)

    def _limits(self, provider: str) -> Limits:
        """Return the counters of a provider; KeyError for a provider without."""
        world = self._world
        accounts: dict[str, Limits] = {
            "": world.constant_contact.limits,
            "constant_contact": world.constant_contact.limits,
            "luxsci": world.luxsci.limits,
        }
        return accounts[provider]

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

    def _truth(self, stream: str, query: Mapping[str, str]) -> Reply:
        if stream not in STREAMS:
            return message_reply(404, f"streams: {', '.join(STREAMS)}")
        at = query.get("at")
        instants = [float(instant) for instant in at.split(",")] if at else None
        rows = truth(self._world, stream, instants, reading=_reading(query))
        lines = b"".join(encode(row) + b"\n" for row in rows)
        return Reply(200, lines, {"Content-Type": "application/x-ndjson"})

    def _apply(self, step: dict[str, Any]) -> object:
        """Make one change; the keys except `do` are the arguments of the method."""
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
        if provider == "luxsci" and builder in _LUXSCI_BUILDERS:
            return getattr(self._world.luxsci, builder)(**step)
        if name == "correct":  # its first two parameters are positional only
            return account.correct(step.pop("kind"), step.pop("row_id"), **step)  # type: ignore[func-returns-value]
        return changes[name](**step)


def _reading(query: Mapping[str, str]) -> Reading:
    """Return the settings of LuxSci in a query; ValueError for a bad number."""
    numbers: dict[str, Any] = {
        name: float(query[name])
        for name in ("start", "lookback_days", "delivery_lookback_days")
        if name in query
    }
    switches = {
        name: query[name] == "1"
        for name in ("tracked_headers", "detail")
        if name in query
    }
    if "now" in query:
        numbers["now"] = tuple(float(now) for now in query["now"].split(","))
    logins = {"logins": tuple(query["logins"].split(","))} if "logins" in query else {}
    settings: dict[str, Any] = {**numbers, **switches, **logins}
    return replace(ACCOUNT_SCOPE, user=query.get("user"), **settings)
