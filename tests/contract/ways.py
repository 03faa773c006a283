"""Ways of the APIs that no policy of the simulator has: its answers are changed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from simulator.constant_contact.events import stamp
from simulator.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.messages import Reply, Request
    from simulator.world import World

WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "encompass": {
        "range": ("heeded", "ignored"),
        "bounds": ("as set", "from", "to"),
        "token": ("said", "unsaid"),
        "open_fields": ("both", "one", "none"),
        "deliver_fields": ("all", "some"),
        "child_range": ("ignored", "heeded"),
        "beyond_end": ("empty", "rows", "error"),
        "site_lists": ("absent", "there"),
        "recipient_ids": ("recur", "differ"),
        "limit_headers": ("silent", "announced"),
        "total": ("rows", "differs", "moves"),
    },
    "constant_contact": {
        "next_link": ("relative", "absolute", "elsewhere"),
        "gates": ("as listed", "otherwise"),
        "resends": ("sum", "one"),
        "tracking_order": ("newest first", "another"),
        "updates": ("stays", "moves"),
        "unsubscribes": ("stays", "moves"),
        "limit_headers": ("silent", "announced"),
    },
    "luxsci": {
        "header": ("there", "nowhere"),
        "matches": ("heeded", "ignored"),
        "tracked_headers": ("adds", "otherwise"),
        "detail": ("adds", "otherwise"),
    },
}
"""The readings of questions, by a name for each; the first is the simulator's own."""
_LIST = re.compile(r"/v2/messages/(\d+)/(\w+)")
_LIMIT = "X-RateLimit-Remaining"


class Ways:
    """Changes the requests and answers of one provider of a world.

    Args:
        made: the world.
        provider: of `WAYS`.

    Attributes:
        case: the ways that are in force.
    """

    def __init__(self, made: World, provider: str) -> None:
        self.case: Mapping[str, Any] = {}
        self._made = made
        self._changes: dict[str, Callable[[Request, Any, Reply], Any]] = {
            "encompass": self._encompass,
            "constant_contact": self._constant_contact,
            "luxsci": self._luxsci,
        }
        self._change = self._changes[provider]
        self._usual = {name: some[0] for name, some in WAYS[provider].items()}
        self._last: dict[str, Any] = {}
        made.on_request(self._asked)
        made.on_reply(self._answered)

    def _is(self, name: str, *ways: str) -> bool:
        return self.case.get(name, self._usual.get(name)) in ways

    def _asked(self, _method: str, path: str, query: Any) -> None:
        """Let the API ignore a parameter, or read it in another way."""
        if path == "/v2/messages" and "fromTimestamp" in query:
            if self._is("range", "ignored"):
                del query["fromTimestamp"], query["toTimestamp"]
            elif self._is("bounds", "from"):
                query["toTimestamp"] = str(int(query["toTimestamp"]) - 1)
            elif self._is("bounds", "to"):
                query["fromTimestamp"] = str(int(query["fromTimestamp"]) + 1)
        if self._is("matches", "ignored") and query.get("matches", "0") != "0":
            query["matches"] = "50000"
        for name in ("tracked_headers", "detail"):
            if self._is(name, "otherwise"):
                query.pop(name, None)

    def _answered(self, request: Request, reply: Reply) -> None:
        if self._is("limit_headers", "announced"):
            reply.headers[_LIMIT] = "9"
        if reply.status not in {200, 201, 404} or not reply.body:
            return
        before = json.loads(reply.body)
        reply.body = encode(self._change(request, before, reply))

    # Encompass

    def _encompass(self, request: Request, body: Any, reply: Reply) -> Any:
        if request.method == "POST" and self._is("token", "unsaid"):
            del body["expires_in"]
        elif request.path == "/v2/opens" and self._is("site_lists", "there"):
            reply.status = 200
            return {"data": [{"id": 1}], "maxResults": 1, "startAt": 0, "total": 1}
        place = _LIST.fullmatch(request.path)
        if place is not None and isinstance(body, dict) and "data" in body:
            self._fields(place[2], int(place[1]), body["data"])
            self._page(request, body, reply)
        return body

    def _page(self, request: Request, body: Any, reply: Reply) -> None:
        if body["data"]:
            self._last[request.path] = body["data"][:1]
        is_beyond = body["startAt"] >= body["total"] > 0
        if "fromTimestamp" in request.query and self._is("child_range", "heeded"):
            end = int(request.query["toTimestamp"])
            body["data"] = [r for r in body["data"] if r.get("timestamp", end) < end]
            body["total"] = len(body["data"])
        elif is_beyond and self._is("beyond_end", "rows"):
            body["data"] = self._last.get(request.path, [])
        elif is_beyond and self._is("beyond_end", "error"):
            reply.status = 404
        if self._is("total", "differs"):
            body["total"] += 1
        elif self._is("total", "moves"):
            body["total"] += body["startAt"] > 0

    def _fields(self, kind: str, message: int, rows: list[dict[str, Any]]) -> None:
        gone: tuple[str, ...] = ()
        if kind == "opens" and self._is("open_fields", "one", "none"):
            both = ("userAgent", "dateAdded")
            gone = both[:1] if self._is("open_fields", "one") else both
        elif kind == "delivers" and self._is("deliver_fields", "some"):
            gone = ("recipientId",)
        for row in rows:
            for name in gone:
                row.pop(name, None)
            if kind == "recipients" and self._is("recipient_ids", "differ"):
                row["id"] = row["id"] * 10_000 + message

    # Constant Contact

    def _constant_contact(self, request: Request, body: Any, _reply: Reply) -> Any:
        if not isinstance(body, dict):
            return body
        links = body.get("_links")
        if isinstance(links, dict) and isinstance(links.get("next"), dict):
            self._link(body)
        if self._is("tracking_order", "another") and "tracking_activities" in body:
            body["tracking_activities"].reverse()
        if request.path == "/v3/contacts" and self._is("unsubscribes", "moves"):
            for row in body["contacts"]:
                out = row["email_address"].get("opt_out_date")
                row["updated_at"] = out or row["updated_at"]
        if "/stats/email_campaigns/" in request.path:
            for row in body["results"]:
                self._count(row["campaign_id"], row["stats"])
        return body

    def _link(self, body: dict[str, Any]) -> None:
        href = body["_links"]["next"].get("href")
        if href and self._is("next_link", "absolute"):
            body["_links"]["next"]["href"] = f"https://api.example.test{href}"
        elif href and self._is("next_link", "elsewhere"):
            del body["_links"]
            body["next"] = href

    def _count(self, campaign: str, stats: dict[str, Any]) -> None:
        [opens] = {"em_opens_all", "em_opens.all"} & stats.keys()
        kind = type(stats["em_sends"])
        if self._is("gates", "otherwise"):
            stats[opens] = kind(int(stats[opens]) + 3)
        activities = self._made.constant_contact.campaigns[campaign].activities
        if self._is("resends", "one") and len(activities) > 1:
            first = activities[0].lists["sends"].listed(self._made.clock.now())
            stats["em_sends"] = kind(len(first))

    # LuxSci

    def _luxsci(self, request: Request, body: Any, _reply: Reply) -> Any:
        if request.method == "GET" and self._is("header", "nowhere"):
            for part in (body, body.get("data")):
                if isinstance(part, dict):
                    part.pop("header", None)
        return body


def move_campaigns(made: World) -> None:
    """Let `updated_at` of each campaign be the time of its newest event."""
    now = made.clock.now()
    for campaign in made.constant_contact.campaigns.values():
        times = [
            event.created
            for activity in campaign.activities
            for events in activity.lists.values()
            for event in events.listed(now)
        ]
        if times:
            at = max(times)
            made.constant_contact.update_campaign(
                campaign.campaign_id, at=at, updated_at=stamp(at)
            )
