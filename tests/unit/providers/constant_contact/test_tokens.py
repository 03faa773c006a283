"""Token stores: the file of each account, symbolic links, and former file names."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.constant_contact.settings import (
    ConstantContactSettings,
    former_store,
)
from tap_email_metrics.providers.constant_contact.tokens import (
    LOGIN,
    Tokens,
    TokenStore,
    seed_fingerprint,
)
from tests.support.constant_contact import DAY, Account

ONE = ("account",)


def go_on() -> None:
    """Let everything wait: the run has no end."""


def parsed(**section: str) -> ConstantContactSettings:
    given = {"client_id": "key", "refresh_token": "seed", **section}
    settings = ConstantContactSettings.parse(given)
    assert settings is not None
    return settings


def tokens(seed: str, refresh_token: str = "next") -> Tokens:  # noqa: S107 - made up
    return Tokens(seed=seed_fingerprint(seed), refresh_token=refresh_token)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "tap-email-metrics"
    folder.mkdir()
    return folder


def test_default_stores_of_two_accounts_are_two_files() -> None:
    accounts = [
        *("acme.us", "acme-us", "acme us", "acme_us", "ACME.us", "acmé.us"),
        *("a" * 100, "a" * 101, "a" * 5000, "/etc/passwd", "../up", ""),
    ]
    stores = [parsed(account=account).token_store for account in accounts]
    stores += [parsed(client_id="key-acme", account="us").token_store]
    assert len(set(stores)) == len(stores)
    assert all(store and len(store.name) < 100 for store in stores)
    assert {store.parent.name for store in stores if store} == {"tap-email-metrics"}


def test_a_store_with_a_former_name_is_found_and_moved() -> None:
    settings = parsed(account="acme.us")
    former = former_store(("key", "acme.us"))
    assert former.name == "constant-contact-key-acme-us.json"
    TokenStore(former).save(tokens("seed"))
    assert settings.token_store
    store = TokenStore(settings.token_store, settings.former_store)
    with store.held(go_on):
        assert store.load("seed") == tokens("seed")
    assert settings.token_store.exists()
    assert not former.exists()


@pytest.mark.parametrize("seed", ["another seed", LOGIN])
def test_a_store_with_a_former_name_of_perhaps_another_account_is_left_alone(
    seed: str,
) -> None:
    settings = parsed(account="acme.us", refresh_token=seed)
    former = former_store(("key", "acme.us"))
    TokenStore(former).save(tokens(LOGIN if seed == LOGIN else "seed"))
    assert settings.token_store
    store = TokenStore(settings.token_store, settings.former_store)
    assert store.load(seed).refresh_token == seed
    assert former.exists()


def test_a_store_named_in_the_settings_has_no_former_name(tmp_path: Path) -> None:
    assert parsed(token_store=str(tmp_path / "own.json")).former_store is None


def test_a_store_that_is_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    link = tmp_path / "tokens.json"
    link.symlink_to(Path("volume") / "real.json")  # a relative path without a file
    account = Account(token_store=str(link))
    assert account.sync(streams=ONE).code == 0
    assert link.is_symlink()
    real = tmp_path / "volume" / "real.json"
    assert not real.is_symlink()
    assert TokenStore(real).load(account.settings["refresh_token"]).access_token
    # Another container mounts the volume and has its own link.
    other = tmp_path / "elsewhere.json"
    other.symlink_to(link)
    account.settings["token_store"] = str(other)
    account.advance(2)
    assert account.sync(streams=ONE).code == 0


def test_a_circle_of_symbolic_links_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "tokens.json"
    link.symlink_to(link)
    with pytest.raises(InvalidInput, match="circle of symbolic links"):
        TokenStore(link)


def test_two_stores_of_one_key_share_the_daily_budget() -> None:
    account = Account(daily_requests=60)
    other = Account(account.world, account.folder, daily_requests=60)
    other.settings["token_store"] = str(account.folder / "other" / "tokens.json")
    other.settings["refresh_token"] = account.api.consent()
    for number in range(40):
        account.api.add_campaign(sent=account.world.clock.now() - number * 3600)
    account.sync()
    other.sync()
    # A reader may have reserved a request that it no longer sends.
    assert 55 <= account.api.used_today <= 60


def test_the_end_of_a_run_waits_for_a_refresh_in_flight() -> None:
    account = Account()
    runs, asked, answered = [], threading.Event(), threading.Event()

    def hold(request: object, _reply: object) -> None:
        if str(getattr(request, "path", "")).endswith("/token"):
            asked.set()
            assert answered.wait(20)

    account.world.on_reply(hold)
    tap = account.tap(streams=ONE)
    whole = threading.Thread(target=lambda: runs.append(tap.execute()))
    whole.start()
    assert asked.wait(20)
    tap.run.stop.by_signal(15)
    # The answer comes long after the readers were abandoned.
    threading.Timer(1.5, answered.set).start()
    whole.join(20)
    assert runs == [143]
    store = TokenStore(Path(account.settings["token_store"]))
    stored = store.load(account.settings["refresh_token"])
    assert account.api.auth.is_current(stored.refresh_token)


def test_a_store_keeps_the_tokens_of_other_seeds_for_half_a_year(
    tmp_path: Path,
) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    for seed, day in (("one", 0), ("two", 100), ("three", 200)):
        found = store.load(seed)
        assert found.refresh_token == seed
        store.save(replace(found, refresh_token=f"{seed}+", refreshed_at=day * DAY))
    assert store.load("three").refresh_token == "three+"
    assert store.load("two").refresh_token == "two+"
    assert store.load("one").refresh_token == "one+"
    store.save(store.load("two"))
    assert store.load("one").refresh_token == "one"


@pytest.mark.parametrize("name", ["tokens.lock", "tokens.tmp", "tokens"])
def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = TokenStore(tmp_path / name)
    with store.held(go_on):
        store.save(tokens("seed"))
    with store.held(go_on):
        store.probe()
        assert store.load("seed") == tokens("seed")


@pytest.mark.parametrize("name", ["/", "/dev/null", "."])
def test_a_store_that_is_no_file_is_refused_with_the_settings(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a file"):
        parsed(token_store=name)


def test_a_store_that_cannot_be_looked_at_is_refused_with_the_settings() -> None:
    """So is one in a folder that is closed to this user."""
    with pytest.raises(InvalidInput, match=r"the token store /long.* is not usable: "):
        parsed(token_store="/" + "long" * 100)
