"""Several accounts of one app: neither a state nor a token store is used for another.

All of them have the same client id, so only the API says which account a token reads.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from simulator.adapter import SimulatorAdapter
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers.constant_contact.login import Login
from tap_email_metrics.providers.constant_contact.settings import (
    ConstantContactSettings,
)
from tests.support.constant_contact import DAY, NOW, Account, World

if TYPE_CHECKING:
    from pathlib import Path

OPENS = ("opens",)
SUMMARY = "/account/summary"


def account_of(folder: Path, number: int = 0, **settings: Any) -> Account:
    """Return an account of the app with one campaign and one open."""
    account = Account(World(NOW, seed=number), folder, **settings)
    account.api.update_account(at=0.0, encoded_account_id=f"account{number}")
    campaign = account.api.add_campaign(sent=NOW - DAY, recipients=2)
    account.api.add_event("opens", campaign, created=NOW - DAY / 2)
    return account


def asked(account: Account) -> int:
    """Return how often the last run asked which account it is."""
    return len(account.paths(SUMMARY))


def fail(account: Account, status: int) -> Any:
    """Let the API answer with a status when it is asked for the account."""

    def strike(request: Any, reply: Any) -> None:
        if request.path.endswith(SUMMARY):
            reply.status, reply.body = status, b"[]"

    return account.world.on_reply(strike)


@pytest.fixture(params=["tokens.json", "none"], ids=["stored", "long-lived"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> list[Account]:
    """Two accounts with one token store, or with none."""
    one = request.param
    store = one if one == "none" else str(tmp_path / one)
    pair = [account_of(tmp_path, number, token_store=store) for number in (1, 2)]
    for account in pair:
        account.api.set_policy(rotating_tokens=store != "none")
    return pair


def test_the_state_of_another_account_of_the_app_is_refused(
    two: list[Account],
) -> None:
    one, other = two
    assert one.sync(streams=OPENS).code == 0
    [known] = one.shared["accounts"].values()
    other.state = one.state
    run = other.sync(streams=OPENS)
    said = run.reports["constant_contact_opens"]["message"]
    assert run.code == 2
    assert known in said
    assert "another constant_contact account" in said
    assert "--full-refresh" in said
    assert {path for path in other.paths("") if "/token" not in path} == {
        f"/v3{SUMMARY}"
    }
    # The state still fits the first account, and its next rows are read.
    one.state = other.state
    assert [*one.shared["accounts"].values()] == [known]
    campaign = next(iter(one.api.campaigns))
    one.api.add_event("opens", campaign, created=NOW)
    one.advance(1)
    assert one.sync(streams=OPENS).code == 0
    assert one.wrong("opens") == []


def test_a_known_login_is_refused_before_the_run(tmp_path: Path) -> None:
    one, other = (account_of(tmp_path, number) for number in (1, 2))
    one.sync(streams=OPENS)
    other.sync(streams=OPENS)
    other.state = one.state
    with pytest.raises(InvalidInput, match="another constant_contact account"):
        other.tap()


def test_the_api_is_asked_for_the_account_once_per_login(two: list[Account]) -> None:
    account = two[0]
    account.sync(streams=OPENS)
    assert asked(account) == 1
    for _ in range(3):
        account.advance(1)
        account.sync(streams=OPENS)
        assert asked(account) == 0
    account.settings["refresh_token"] = account.api.consent()
    for times in (1, 0):
        account.advance(1)
        assert account.sync(streams=OPENS).code == 0
        assert asked(account) == times


def test_a_run_that_reads_the_account_asks_for_it_once(tmp_path: Path) -> None:
    account = account_of(tmp_path)
    for _ in range(2):
        assert account.sync().code == 0
        assert asked(account) == 1
        account.advance(1)
    assert len(account.rows("account")) == 1


def test_an_old_state_gets_the_account_and_is_then_refused_by_others(
    two: list[Account],
) -> None:
    one, other = two
    one.sync(streams=OPENS)
    name = one.shared["accounts"]["constant_contact"]
    one.shared["accounts"]["constant_contact"] = " ".join(name.split()[:2])
    one.advance(1)
    one.sync(streams=OPENS)
    assert one.shared["accounts"]["constant_contact"] == name
    other.state = one.state
    assert other.sync(streams=OPENS).code == 2


def test_an_account_that_no_scope_tells_is_asked_for_once(
    two: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    """The state keeps what an earlier login told."""
    one, other = two
    scopes = "campaign_data offline_access"
    one.settings["refresh_token"] = one.api.consent(scopes)
    for times in (1, 0):
        assert one.sync(streams=OPENS).code == 0
        assert asked(one) == times
        one.advance(1)
    assert "scope account_read" not in caplog.text
    one.settings["refresh_token"] = one.api.consent()
    one.sync(streams=OPENS)
    known = dict(one.shared["accounts"])
    one.settings["refresh_token"] = one.api.consent(scopes)
    for _ in range(2):
        one.advance(1)
        caplog.clear()
        assert one.sync(streams=OPENS).code == 0
        assert "scope account_read" in caplog.text
        assert one.shared["accounts"] == known
    other.state = one.state
    assert other.sync(streams=OPENS).code == 2


def test_a_state_waits_until_the_account_of_a_new_login_is_known(
    two: list[Account],
) -> None:
    one, other = two
    one.sync(streams=OPENS)
    other.state = one.state
    mend = fail(other, 500)
    run = other.sync(streams=("opens", "clicks"))
    assert run.code == 1
    assert run.rows == []
    assert asked(other) == 2
    assert "answered 500" in run.reports["constant_contact_clicks"]["message"]
    mend()
    assert other.sync(streams=OPENS).code == 2
    one.settings["refresh_token"] = one.api.consent()
    assert one.sync(streams=OPENS).code == 0


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_first_run_does_not_need_the_account(tmp_path: Path, status: int) -> None:
    account = account_of(tmp_path)
    mend = fail(account, status)
    run = account.sync(streams=OPENS)
    assert run.code == 0
    assert len(run.rows) == 1
    mend()
    account.advance(1)
    account.sync(streams=OPENS)
    assert len(account.shared["accounts"]["constant_contact"].split()) == 3
    assert asked(account) == 1


def test_an_app_that_was_deactivated_is_asked_again(tmp_path: Path) -> None:
    account = account_of(tmp_path)

    def deny(request: Any, reply: Any) -> None:
        if not request.path.endswith("/token"):
            reply.status, reply.body = 403, b"[]"

    mend = account.world.on_reply(deny)
    assert account.sync(streams=OPENS).code == 2
    mend()
    assert account.sync(streams=OPENS).code == 0
    assert len(account.shared["accounts"]["constant_contact"].split()) == 3


def test_two_accounts_may_name_one_token_store(tmp_path: Path) -> None:
    """Rotating tokens work once, so the tokens of both must stay in the file."""
    pair = [account_of(tmp_path, number) for number in (1, 2)]
    for _ in range(3):
        for account in pair:
            assert account.sync(streams=OPENS).code == 0
            account.advance(2)
    assert [account.api.auth.refreshed for account in pair] == [3, 3]


# A login in a browser


def log_in(account: Account) -> None:
    """Authorise the app in a browser."""
    account.advance(1 / DAY)
    account.settings["refresh_token"] = "login"
    settings = ConstantContactSettings.parse(account.settings)
    assert settings is not None
    said: list[str] = []

    def approve(_method: str, path: str, _query: Any) -> None:
        if path.endswith("/token"):
            account.api.approve_device(said[0].split()[-1])

    remove = account.world.on_request(approve)
    transport = SimulatorAdapter(account.world)
    try:
        Login(settings, account.world.clock, said.append, transport).run()
    finally:
        remove()


def test_a_login_tells_the_account_so_no_run_has_to_ask(tmp_path: Path) -> None:
    account = account_of(tmp_path)
    for _ in range(2):
        log_in(account)
        assert account.sync(streams=OPENS).code == 0
        assert asked(account) == 0
        assert len(account.shared["accounts"]["constant_contact"].split()) == 3
        account.advance(1)


def test_a_login_does_not_replace_the_one_of_another_account(tmp_path: Path) -> None:
    one, other = (account_of(tmp_path, number) for number in (1, 2))
    log_in(one)
    with pytest.raises(InvalidInput, match="the login of another account"):
        log_in(other)
    assert one.sync(streams=OPENS).code == 0
    (tmp_path / "tokens.json").unlink()
    log_in(other)
    assert other.sync(streams=OPENS).code == 0


def test_a_login_keeps_the_tokens_of_the_settings_of_others(tmp_path: Path) -> None:
    one, other = (account_of(tmp_path, number) for number in (1, 2))
    one.sync(streams=OPENS)
    log_in(other)
    one.advance(2)
    assert one.sync(streams=OPENS).code == 0


def test_the_login_of_another_label_is_refused_unless_the_state_confirms_it(
    tmp_path: Path,
) -> None:
    """Settings that were copied would read one account under the name of another."""
    account = account_of(tmp_path, account="north")
    log_in(account)
    account.sync(streams=OPENS)
    account.settings["account"] = "south"
    assert account.sync(streams=OPENS).code == 0
    account.state = {}
    for _ in range(2):
        run = account.sync(streams=OPENS)
        assert run.code == 2
    said = run.reports["constant_contact_opens"]["message"]
    assert "tap-email-metrics-login" in said
    assert "north" not in said
    log_in(account)
    assert account.sync(streams=OPENS).code == 0


def test_a_run_with_another_label_does_not_take_over_a_login(tmp_path: Path) -> None:
    account = account_of(tmp_path, account="north")
    mend = fail(account, 500)
    log_in(account)
    mend()
    account.settings["account"] = "south"
    for _ in range(2):
        assert account.sync(streams=OPENS).code == 2
    account.settings["account"] = "north"
    assert account.sync(streams=OPENS).code == 0


def test_neither_state_nor_log_nor_store_has_the_id_of_the_account(
    two: list[Account], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = two
    one.sync(streams=OPENS)
    other.state = one.state
    other.sync(streams=OPENS)
    stored = [path.read_text() for path in one.folder.glob("tokens.json")]
    assert "account1" not in f"{one.state}{caplog.text}{stored}"
