"""A minimal client of the simulated Constant Contact that refreshes its token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

from simulator.adapter import SimulatorAdapter
from simulator.constant_contact.auth import BASE as AUTH

if TYPE_CHECKING:
    from simulator.world import World

NOW = 1_790_000_000.0
DAY = 86_400.0
BASE = "http://simulator.test"
SUMMARIES = "/reports/summary_reports/email_campaign_summaries"


class Client:
    def __init__(self, world: World, base: str = BASE) -> None:
        self.world = world
        self.base = base
        self.token = world.constant_contact.refresh_token
        self.session = requests.Session()
        if base == BASE:
            self.session.mount(BASE, SimulatorAdapter(world))

    @property
    def basic(self) -> tuple[str, str]:
        account = self.world.constant_contact
        return account.client_id, account.client_secret

    def post(
        self, path: str, auth: tuple[str, str] | None = None, **form: str
    ) -> requests.Response:
        url = f"{self.base}{AUTH}/{path}"
        if auth is None:
            self.session.headers.pop("Authorization", None)
        return self.session.post(url, data=form, auth=auth, timeout=9)

    def refresh(self, token: str | None = None, **form: str) -> requests.Response:
        self.world.clock.advance(1)
        response = self.post(
            "token",
            self.basic,
            grant_type="refresh_token",
            refresh_token=token or self.token,
            **form,
        )
        if response.ok:
            self.accept(response)
        return response

    def accept(self, response: requests.Response) -> None:
        self.token = response.json().get("refresh_token", "")
        token = response.json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: object) -> requests.Response:
        params = {name: str(value) for name, value in query.items()}
        return self.session.get(f"{self.base}/v3{path}", params=params, timeout=9)

    def read(self, path: str, **query: object) -> Any:
        response = self.get(path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    def walk(self, path: str, name: str, **query: object) -> list[dict[str, Any]]:
        page = self.read(path, **query)
        rows: list[dict[str, Any]] = page[name]
        while href := ((page.get("_links") or {}).get("next") or {}).get("href"):
            response = self.session.get(f"{self.base}{href}", timeout=9)
            assert response.status_code == 200, response.text
            page = response.json()
            rows += page[name]
        return rows

    def tracking(
        self, activity: str, kind: str, **query: object
    ) -> list[dict[str, Any]]:
        path = f"/reports/email_reports/{activity}/tracking/{kind}"
        return self.walk(path, "tracking_activities", **query)

    def stats(self, campaign: str) -> dict[str, Any]:
        page = self.read(f"/reports/stats/email_campaigns/{campaign}")
        stats: dict[str, Any] = page["results"][0]["stats"]
        return stats


def connect(world: World, base: str = BASE) -> Client:
    client = Client(world, base)
    if not world.constant_contact.auth.is_current(client.token):
        client.token = world.constant_contact.consent()
    assert client.refresh().ok
    return client


def unlimited(world: World) -> World:
    world.constant_contact.set_policy(
        requests_per_second=0, requests_per_day=0, access_token_lifetime=999 * DAY
    )
    return world
