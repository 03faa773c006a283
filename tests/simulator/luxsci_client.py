"""A minimal client of the simulated LuxSci: it signs requests and reads pages."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from simulator.adapter import SimulatorAdapter

if TYPE_CHECKING:
    from simulator.world import World

NOW = 1_790_000_000.0
DAY = 86_400.0
PASSWORD = "pw-of-a-user"
BASE = "http://simulator.test"
API = "/perl/api/v2"
ACCOUNT = "/account/4711"
DELIVERY = f"{ACCOUNT}/report/email/smtp/delivery"
OPENS = f"{ACCOUNT}/report/email/smtp/opens"


def hmac_of(secret: str, message: str) -> str:
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


class Client:
    def __init__(self, world: World, base: str = BASE) -> None:
        self.world = world
        self.base = base
        self.code = ""
        self.session = requests.Session()
        self.session.trust_env = False
        if base == BASE:
            self.session.mount(BASE, SimulatorAdapter(world))

    def authenticate(
        self, user: str | None = None, password: str = PASSWORD, **body: object
    ) -> requests.Response:
        account = self.world.luxsci
        date = str(int(self.world.clock.now()))
        parts = {"token": account.token, "date": date}
        if user is not None:
            parts |= {"user": user, "pass": password}
        message = "".join(f"{part}\n" for part in parts.values())
        signature = hmac_of(account.secret, message)
        response = self.session.post(
            f"{self.base}{API}/auth",
            json={**parts, "signature": signature, **body},
            timeout=9,
        )
        self.code = response.json().get("auth", self.code)
        return response

    def cookie(self, method: str, path: str, query: str = "") -> str:
        message = f"{self.code}\n{method}\n{path}\n{query}\n\n"
        signature = hmac_of(self.world.luxsci.secret, message)
        return f"signature={self.code}:{signature}"

    def get(self, path: str, **query: object) -> requests.Response:
        text = "&".join(f"{name}={quote(str(one))}" for name, one in query.items())
        cookie = self.cookie("GET", f"{API}{path}", text)
        url = f"{self.base}{API}{path}" + (f"?{text}" if text else "")
        return self.session.get(url, headers={"Cookie": cookie}, timeout=30)

    def revoke(self) -> requests.Response:
        path = f"{API}/auth"
        headers = {"Cookie": self.cookie("DELETE", path)}
        return self.session.delete(f"{self.base}{path}", headers=headers, timeout=9)

    def read(self, path: str, **query: object) -> dict[str, Any]:
        response = self.get(path, **query)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        assert page["success"] == 1, page
        return page

    def rows(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Return the rows of an answer in the default shape, as objects."""
        page = self.read(path, **query)
        header = page["header"]
        return [dict(zip(header, row, strict=True)) for row in page["data"]]


def connect(world: World, base: str = BASE, user: str | None = None) -> Client:
    client = Client(world, base)
    world.luxsci.set_policy(requests_per_minute=0, requests_per_day=0)
    response = client.authenticate(user)
    assert response.status_code == 201, response.text
    return client
