"""Refresh tokens: rotating tokens are never lost, and long-lived ones need no store."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from simulator.adapter import SimulatorAdapter
from tap_email_metrics.errors import Fatal, InvalidInput
from tap_email_metrics.providers.constant_contact.login import Login
from tap_email_metrics.providers.constant_contact.settings import (
    ConstantContactSettings,
)
from tests.support.constant_contact import NOW, Account, World

ONE = ("account",)
REPORT = "constant_contact_account"


def refreshed(account: Account) -> int:
    return account.api.auth.refreshed


def store(account: Account) -> Path:
    return Path(account.settings["token_store"])


@pytest.mark.slow
def test_a_day_of_hourly_runs_refreshes_at_most_twice() -> None:
    account = Account()
    for _ in range(24):
        assert account.sync(streams=ONE).code == 0
        account.advance(1 / 24)
    assert refreshed(account) <= 2


def test_the_store_holds_the_newest_token_and_only_its_user_may_read_it() -> None:
    account = Account()
    seed = account.settings["refresh_token"]
    account.sync(streams=ONE)
    tokens = json.loads(store(account).read_bytes())
    assert account.api.auth.is_current(tokens["refresh_token"])
    assert not account.api.auth.is_current(seed)
    assert stat.S_IMODE(store(account).stat().st_mode) == 0o600
    assert seed not in store(account).read_text()
    account.advance(2)
    assert account.sync(streams=ONE).code == 0  # with the stored token, not the seed


def test_after_a_crash_between_answer_and_write_the_next_run_says_what_to_do() -> None:
    account = Account()
    before = store(account)

    def crash(request: Any, _reply: Any) -> None:
        if request.path.endswith("/token"):
            raise KeyboardInterrupt

    remove = account.world.on_reply(crash)
    with pytest.raises(KeyboardInterrupt):
        account.sync(streams=ONE)
    remove()
    assert before.exists()
    account.advance(0.01)
    run = account.sync(streams=ONE)
    message = run.reports[REPORT]["message"]
    assert run.code == 2
    assert "tap-email-metrics-login" in message
    assert "killed between an answer and" in message
    account.settings["refresh_token"] = account.api.consent()
    assert account.sync(streams=ONE).code == 0


def test_a_store_that_cannot_be_written_uses_up_no_token() -> None:
    account = Account()
    (account.folder / "file").write_text("no folder")
    account.settings["token_store"] = str(account.folder / "file" / "tokens.json")
    run = account.sync(streams=ONE)
    assert run.code in {1, 2}
    assert refreshed(account) == 0
    assert account.api.auth.is_current(account.settings["refresh_token"])


def test_a_new_token_that_cannot_be_stored_says_what_to_do() -> None:
    account = Account()

    def fill_the_disk(request: Any, _reply: Any) -> None:
        if request.path.endswith("/token"):
            (store(account).parent / f"{store(account).name}.tmp").mkdir()

    remove = account.world.on_reply(fill_the_disk)
    run = account.sync(streams=ONE)
    remove()
    message = run.reports[REPORT]["message"]
    assert run.code == 2
    assert "the old one is void" in message
    assert "tap-email-metrics-login" in message
    assert account.api.used_today == 0  # the access token was not used


def test_short_lived_access_tokens_are_used_for_half_of_their_lifetime() -> None:
    account = Account()
    account.api.set_policy(access_token_lifetime=120)
    account.sync()
    assert account.world.log.count() > 5
    assert refreshed(account) == 1
    account.advance(50 / 86_400)
    account.sync()
    assert refreshed(account) == 1
    account.advance(20 / 86_400)
    account.sync()
    assert refreshed(account) == 2


@pytest.mark.parametrize(
    "life", ["Infinity", "nan", "-5", None, 0, True, [], {}, 10**99]
)
def test_an_invalid_lifetime_does_not_damage_the_store(life: object) -> None:
    account = Account()

    def odd(request: Any, reply: Any) -> None:
        if request.path.endswith("/token"):
            answer = {**json.loads(reply.body), "expires_in": life}
            reply.body = json.dumps(answer).encode()

    account.world.on_reply(odd)
    for _ in range(2):
        assert account.sync(streams=ONE).code == 0
    assert refreshed(account) == 1


def test_two_accounts_of_one_app_have_separate_stores() -> None:
    common = {"client_id": "app", "refresh_token": "seed"}
    parsed = [
        ConstantContactSettings.parse({**common, **more})
        for more in ({}, {"account": "north"}, {"account": "south"})
    ]
    stores = {one.token_store for one in parsed if one is not None}
    assert len(stores) == 3


def test_a_new_refresh_token_in_the_settings_replaces_the_store() -> None:
    account = Account()
    account.sync(streams=ONE)
    account.api.revoke_refresh()
    account.advance(2)
    assert account.sync(streams=ONE).code == 2
    account.settings["refresh_token"] = account.api.consent()
    account.advance(0.01)
    assert account.sync(streams=ONE).code == 0


def test_two_taps_share_a_store_and_a_ledger() -> None:
    account = Account()
    other = Account(account.world, account.folder)
    other.settings["refresh_token"] = account.settings["refresh_token"]
    for one in (account, other, account, other):
        assert one.sync(streams=ONE).code == 0
    assert refreshed(account) == 1
    [ledger] = account.folder.glob("tap-email-metrics/ledger-*.json")
    assert json.loads(ledger.read_bytes())["used"] == account.api.used_today


def test_two_taps_keep_a_second_between_their_refreshes() -> None:
    account = Account()
    other = Account(account.world, account.folder)
    other.settings["refresh_token"] = account.settings["refresh_token"]
    assert account.sync(streams=ONE).code == 0
    account.world.revoke_tokens()
    assert other.sync(streams=ONE).code == 0
    assert account.world.log.count(status=429) == 0
    assert refreshed(account) == 2


def test_a_long_lived_token_needs_no_store() -> None:
    account = Account(token_store="none")
    account.api.set_policy(rotating_tokens=False)
    for _ in range(3):
        assert account.sync(streams=ONE).code == 0
        account.advance(1)
    assert refreshed(account) == 3
    assert list(account.folder.glob("tokens*")) == []


def test_a_rotating_token_without_a_store_is_refused() -> None:
    run = Account(token_store="none").sync(streams=ONE)
    assert run.code == 2
    assert "rotate" in run.reports[REPORT]["message"]


def test_a_public_client_needs_no_secret() -> None:
    account = Account(client_secret=None)
    account.api.set_policy(confidential=False)
    assert account.sync(streams=ONE).code == 0


def test_an_access_token_that_ends_early_is_renewed() -> None:
    account = Account()
    account.sync(streams=ONE)
    account.world.revoke_tokens()
    assert account.sync(streams=ONE).code == 0
    assert refreshed(account) == 2


def login(world: World, folder: Path, said: list[str]) -> Login:
    settings = ConstantContactSettings.parse(
        {
            "client_id": world.constant_contact.client_id,
            "client_secret": world.constant_contact.client_secret,
            "refresh_token": "login",
            "token_store": str(folder / "tokens.json"),
            "auth_url": "https://api.example.test/oauth2/default/v1",
        }
    )
    assert settings is not None
    return Login(settings, world.clock, said.append, SimulatorAdapter(world))


def test_login_fills_the_store(tmp_path: Path) -> None:
    world = World(NOW)
    said: list[str] = []
    approve_after(world, said, 3)
    path = login(world, tmp_path, said).run()
    tokens = json.loads(path.read_bytes())
    assert not any(tokens["refresh_token"] in line for line in said)
    assert not any(tokens["access_token"] in line for line in said)
    account = Account(world, tmp_path, refresh_token="login")
    assert account.sync(streams=ONE).code == 0


def test_a_denied_login_is_an_error(tmp_path: Path) -> None:
    world = World(NOW)
    said: list[str] = []

    def deny(_method: str, path: str, _query: Any) -> None:
        if path.endswith("/token"):
            world.constant_contact.deny_device(said[0].split()[-1])

    world.on_request(deny)
    with pytest.raises(Fatal, match="you refused"):
        login(world, tmp_path, said).run()


def test_login_replaces_a_damaged_store(tmp_path: Path) -> None:
    world = World(NOW)
    damaged = tmp_path / "tokens.json"
    damaged.write_text("{")
    account = Account(world, tmp_path, refresh_token="login")
    run = account.sync(streams=ONE)
    assert run.code == 2
    assert "tap-email-metrics-login" in run.reports[REPORT]["message"]
    said: list[str] = []

    def approve(_method: str, path: str, _query: Any) -> None:
        if path.endswith("/token"):
            world.constant_contact.approve_device(said[0].split()[-1])

    remove = world.on_request(approve)
    login(world, tmp_path, said).run()
    remove()
    assert account.sync(streams=ONE).code == 0


def test_login_sends_no_request_if_it_cannot_store_tokens(tmp_path: Path) -> None:
    world = World(NOW)
    (tmp_path / "tokens.json.tmp").mkdir()
    with pytest.raises(InvalidInput, match="cannot be written"):
        login(world, tmp_path, []).run()
    assert world.log.count() == 0


def approve_after(world: World, said: list[str], polls: int) -> list[str]:
    """Approve the login at that poll; return the polls."""
    seen: list[str] = []

    def count(_method: str, path: str, _query: Any) -> None:
        if path.endswith("/token"):
            seen.append(path)
            if len(seen) == polls:
                world.constant_contact.approve_device(said[0].split()[-1])

    world.on_request(count)
    return seen


@pytest.mark.parametrize(
    "fault",
    [
        *({"kind": "status", "status": status} for status in (408, 500, 503, 504)),
        {"kind": "cut"},
        {"kind": "slow", "seconds": 100.0},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_a_login_outlasts_a_poll_that_fails(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    world, said = World(NOW), list[str]()
    polls = approve_after(world, said, 4)
    world.faults.add(**fault, path="/token$", times=2)
    login(world, tmp_path, said).run()
    assert len(polls) == 4
    assert (tmp_path / "tokens.json").exists()


def test_a_login_ends_with_its_code(tmp_path: Path) -> None:
    """No answer says that the code expired, because no poll gets one."""
    world = World(NOW)
    polls = approve_after(world, [], 0)
    world.faults.add(kind="status", status=500, path="/token$")
    with pytest.raises(Fatal, match="the code expired"):
        login(world, tmp_path, []).run()
    assert 600 <= world.clock.now() - NOW < 700
    assert polls
