"""A minimal client of the simulated Encompass: it authenticates and reads pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

from simulator.adapter import SimulatorAdapter

if TYPE_CHECKING:
    from simulator.world import World

NOW = 1_700_000_000.0
DAY = 86_400.0
BASE = "http://simulator.test"
FOREVER = {"fromTimestamp": "0", "toTimestamp": "9999703780000"}


class Client:
    def __init__(self, world: World, base: str = BASE) -> None:
        self.world = world
        self.base = base
        self.session = requests.Session()
        if base == BASE:
            self.session.mount(BASE, SimulatorAdapter(world))

    def authenticate(self, **changes: str) -> requests.Response:
        form = {
            "client_id": self.world.encompass.client_id,
            "client_secret": self.world.encompass.client_secret,
            "grant_type": "email_api_auth_key",
        } | changes
        response = self.session.post(
            f"{self.base}/apiservices/authenticate", data=form, timeout=9
        )
        if response.ok:
            token = response.json()["access_token"]
            self.session.headers["Authorization"] = f"Bearer {token}"
        return response

    def get(self, path: str, **query: object) -> requests.Response:
        params = {name: str(value) for name, value in query.items()}
        return self.session.get(f"{self.base}/v2{path}", params=params, timeout=9)

    def page(self, path: str, **query: object) -> dict[str, Any]:
        response = self.get(path, **query)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    def ids(self, path: str, **query: object) -> list[int]:
        return [row["id"] for row in self.page(path, **query)["data"]]

    def walk(self, path: str, size: int = 1000) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        start, total = 0, 1
        while start < total:
            page = self.page(path, startAt=start, maxResults=size, **FOREVER)
            rows += page["data"]
            total = page["total"]
            start += size
        return rows


def connect(world: World, base: str = BASE) -> Client:
    client = Client(world, base)
    assert client.authenticate().ok
    return client
