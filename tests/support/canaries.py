"""Personal data, secrets and tokens planted wherever a simulated API can put them.

Every canary contains the name Zebulon, except for an IP address and a number. The
packaged schemas decide which column gets which canary, so new columns are included.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.adapter import SimulatorAdapter
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.records.columns import EXTRA
from tap_email_metrics.records.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import requests

    from simulator.messages import Reply, Request
    from simulator.world import World

PERSON = "Zebulon.Quirk@canary.example"
NAME = "Zebulonia"
NUMBER = 770_077_007
IP = "198.51.100.77"
NOTE = "Zebulon, a patient of ours, has the gout"
SIGNS = re.compile(rf"zebulon|{NUMBER}|{re.escape(IP)}", re.IGNORECASE)
"""Texts that no log, state or file name may contain."""

TEXTS = {
    "email": PERSON,
    "email_list": f"Quirk, Z. <{PERSON}>; {PERSON}",
    "name": NAME,
    "id": f"{NAME}-7",
    "ip": IP,
    "user_agent": f"Mozilla/5.0 (Zebulon7; {PERSON}) Gecko/7",
    "url": f"https://zebulon:pw@shop.example/{PERSON}/x?token=zebulon#zebulon",
    "text": f"told {PERSON} at https://z:zebulon@shop.example/x?t=zebulon",
    "opaque": NOTE,
    "": f"DONE {PERSON}",
}
"""The canary of a text column, by its mark; "" is the key for no mark."""

ID = re.compile(r"(?:.*_)?(?:u?id|ids)|.*Id")
"""Names of the vendors' own ids, which are not personal."""
READ = {
    "encompass": (),
    "constant_contact": ("role", "current_status", "type", "tracking_activity_type"),
    "luxsci": (),
}
"""Columns that the reader needs unchanged."""
LINKED = "who=Zebulon"
"""A canary in the links to next pages."""

HEADERS = {
    "X-Canary": NAME,
    "x-amzn-RequestId": NAME,
    "x-request-id": PERSON,
    "Server": NAME,
    "Set-Cookie": f"who={NAME}; Path=/",
    "Retry-After": NAME,
    "Location": f"https://other.example/{PERSON}?access_token={NAME}",
    "Link": f"<https://other.example/?token={NAME}>; rel=help",
    "Content-Type": f"application/json; who={NAME}",
    "WWW-Authenticate": f'Bearer error_description="{NAME}"',
}
STATUSES = (302, 400, 401, 403, 404, 409, 429, 500, 503, 504)


def columns(stream: str) -> dict[str, dict[str, Any]]:
    """The columns of a stream that hold canaries, by name."""
    found = {}
    for name, column in load_schema(stream)["properties"].items():
        source = column.get("x-source", "")
        if name != EXTRA and source and _canary(source, column) is not None:
            provider = next(p.name for p in PROVIDERS if stream.startswith(p.name))
            if source not in READ[provider]:
                found[name] = column
    return found


def unmarked_words() -> set[str]:
    """The vendor's names of text columns without a mark, except for ids."""
    return {
        column["x-source"]
        for provider in PROVIDERS
        for stream in provider.streams
        for column in load_schema(str(stream.name))["properties"].values()  # type: ignore[misc]
        if "x-source" in column
        and "x-pii" not in column
        and "format" not in column
        and not {"string", "array", "object"}.isdisjoint(column["type"])
        and not ID.fullmatch(column["x-source"])
    }


def _canary(source: str, column: dict[str, Any]) -> object:
    """The canary for a column, None for no canary."""
    mark, kinds = column.get("x-pii", ""), column["type"]
    # A domain is made of the address, whose own column is planted.
    if mark == "large_domain" or (
        not mark and (ID.fullmatch(source) or "format" in column)
    ):
        return None
    if "string" in kinds:
        return None if "format" in column else TEXTS[mark]
    if "integer" in kinds and mark == "id":
        return NUMBER
    if "object" in kinds:
        return {"of": {"deep": [TEXTS[mark]]}}
    if "array" in kinds:
        item = column["items"]["type"]
        return [{"of": TEXTS[mark]} if "object" in item else TEXTS[mark]]
    return None


class Planter:
    """Plants canaries in all responses of a provider, and sometimes a fault.

    Args:
        world: whose answers.
        provider: its name.
        faults: every how many answers one is spoilt; 0 for none.
        extras: whether rows have fields that no column is for.

    Attributes:
        secrets: tokens that were issued, and what was written in requests for them.
    """

    def __init__(
        self, world: World, provider: str, *, faults: int, extras: bool
    ) -> None:
        self._provider = provider
        self._faults = faults
        self._extras = extras
        self._turn = 0
        self.kinds: Counter[str] = Counter()
        self.secrets: set[str] = set()
        streams = [
            str(stream.name)  # type: ignore[misc]
            for one in PROVIDERS
            for stream in one.streams
            if one.name == provider
        ]
        self._columns = {stream: columns(stream) for stream in streams}
        world.on_reply(self)

    def __call__(self, request: Request, reply: Reply) -> None:
        """Plant canaries in a response, and perhaps a fault."""
        reply.headers.update(HEADERS if request.method == "GET" else {})
        if request.method != "GET":
            self._learn(reply)
            return
        if reply.status == 200 and reply.body:
            body = json.loads(reply.body)
            self._plant(body, request.path)
            reply.body = json.dumps(body).encode()
        self._turn += 1
        if self._faults and self._turn % self._faults == 0:
            self.spoil(request, reply, self._turn // self._faults)

    def _learn(self, reply: Reply) -> None:
        answer = json.loads(reply.body) if reply.body else {}
        for name in ("access_token", "refresh_token", "auth"):
            if isinstance(answer.get(name), str):
                self.secrets.add(answer[name])

    def spoil(self, request: Request, reply: Reply, number: int) -> None:
        """Replace a response by a fault, or put a fault into it; there are 17."""
        quoted = {
            "error": "zebulon",
            "error_key": "zebulon.quirk",
            "error_message": f"{NAME} asked {request.path}?{request.raw_query}",
            "headers": dict(request.headers),
            "body": request.body.decode(),
            "secrets": sorted(self.secrets),
        }
        said = json.dumps(quoted).encode()
        shapes = (
            b"<html><h1>" + said + b"</h1></html>",
            reply.body[: len(reply.body) * 2 // 3],
            b'{"data": [{"emailAddress": "Zebulon',
            json.dumps({"data": [NAME], "total": 1}).encode(),
            json.dumps({"message": NAME}).encode(),
            json.dumps({"success": 0, "error_message": f"denied: {NAME}"}).encode(),
            json.dumps([{PERSON: NAME}]).encode(),
        )
        kind = number % (len(STATUSES) + len(shapes))
        self.kinds[str(kind)] += 1
        if kind < len(STATUSES):
            reply.status, reply.body = STATUSES[kind], said
        else:
            reply.status, reply.body = 200, shapes[kind - len(STATUSES)]

    # Rows

    def _plant(self, body: Any, path: str) -> None:
        for row in list(_rows(body)):
            # LuxSci has names of users, and of lists.
            users = path.endswith("/users")
            names = {"name": NAME if users else TEXTS["text"]}
            for column in self._of(path):
                source = column["x-source"]
                _put(row, source, names.get(source, _canary(source, column)))
            if self._extras:
                row["unheard_of"] = {"note": NOTE, PERSON: [PERSON]}
                row[f"asked by {NAME}"] = NUMBER
        links = body.get("_links") if isinstance(body, dict) else None
        link = (links or {}).get("next")
        if link and link.get("href"):
            link["href"] += f"&{LINKED}"

    def _of(self, path: str) -> Iterator[dict[str, Any]]:
        """The columns of a path's stream; of all streams if it is ambiguous."""
        found = re.fullmatch(r"/v2/messages(?:/\d+/(\w+))?", path)
        for stream, some in self._columns.items():
            if not found or stream == f"encompass_{found[1] or 'messages'}":
                yield from some.values()


def _rows(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in lists, and objects that were requested by their id."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield item
            yield from _rows(item)
    elif isinstance(value, dict):
        if {"campaign_activity_id", "encoded_account_id"} & value.keys():
            yield value
        for item in value.values():
            yield from _rows(item)


def _put(row: dict[str, Any], source: str, canary: object) -> None:
    """Set a field, unless it has a value of another form."""
    group, dot, field = source.partition(".")
    if dot:
        row, source = row.get(group, {}), field
        if not isinstance(row, dict):
            return
    old = row.get(source)
    if not isinstance(old, dict | list) or type(old) is type(canary):
        row[source] = canary


class Links(SimulatorAdapter):
    """Removes the canary from a link before the simulator, which would refuse it."""

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **more: Any
    ) -> requests.Response:
        """Return the world's response."""
        request.url = (request.url or "").replace(f"&{LINKED}", "")
        return super().send(request, **more)


def leaks(texts: Iterable[str], secrets: Iterable[str] = ()) -> list[str]:
    """Canaries that were found in texts, with a few words around each."""
    found = []
    for text in texts:
        found += [
            text[max(0, m.start() - 90) : m.end() + 40] for m in SIGNS.finditer(text)
        ]
        found += [f"secret: {text[:200]}" for secret in secrets if secret in text]
    return found
