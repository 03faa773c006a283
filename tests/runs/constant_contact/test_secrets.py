"""Tokens of Constant Contact never reach a log, whatever fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tap_email_metrics.providers.constant_contact.account_streams import is_cursor
from tests.support.constant_contact import Account

if TYPE_CHECKING:
    import io

    from tap_email_metrics.tap import TapEmailMetrics


class Masked(Account):
    """An account whose tap masks secrets as the command does."""

    def tap(self, **options: Any) -> TapEmailMetrics:
        tap = super().tap(**options)
        tap.control.hide = tap.masked_log(tap.config).add  # as the command
        return tap


def tokens(account: Account) -> set[str]:
    """Return all tokens that were issued to the app, and those in the settings."""
    auth = account.api.auth
    issued = {*auth._access, *auth._refresh}  # noqa: SLF001 - all there ever were
    given = {*issued, account.settings["client_secret"]}
    stored = json.loads(Path(account.settings["token_store"]).read_bytes())
    assert {stored["access_token"], stored["refresh_token"]} <= given
    return given


@pytest.mark.slow
def test_an_ordinary_run_logs_no_token(lines: io.StringIO) -> None:
    account = Masked()
    assert account.sync().code == 0
    account.advance(2)
    assert account.sync().code == 0
    said = lines.getvalue()
    assert "run_summary" in said
    assert len(tokens(account)) >= 5
    assert not [token for token in tokens(account) if token in said]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_tokens_that_an_answer_repeats_are_not_logged(
    lines: io.StringIO, status: int
) -> None:
    account = Masked()
    account.sync(streams=("account",))
    account.advance(2)

    def repeat(_request: Any, reply: Any) -> None:
        if not _request.path.endswith("/token"):
            reply.status = status
            reply.body = json.dumps(sorted(tokens(account))).encode()

    account.world.on_reply(repeat)
    run = account.sync(streams=("account", "campaigns"))
    said = lines.getvalue() + json.dumps(run.reports)
    assert not [token for token in tokens(account) if token in said]


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_renewal_that_fails_logs_no_token(lines: io.StringIO, status: int) -> None:
    account = Masked()
    account.sync(streams=("account",))
    account.advance(2)

    def repeat(request: Any, reply: Any) -> None:
        if request.path.endswith("/token"):
            given = sorted(tokens(account))
            reply.status = status
            reply.body = json.dumps({"error": given[0], "said": given}).encode()

    account.world.on_reply(repeat)
    run = account.sync(streams=("account",))
    assert run.code != 0
    said = lines.getvalue() + json.dumps(run.reports)
    assert not [token for token in tokens(account) if token in said]


def test_an_issued_token_is_masked_in_the_log_of_any_library(
    lines: io.StringIO,
) -> None:
    """The mask also covers lines and tracebacks of libraries."""
    account = Masked()
    account.sync(streams=("account",))
    for token in tokens(account) - {account.settings["refresh_token"]}:
        logging.getLogger("urllib3").debug("header: Bearer %s", token)
        try:
            raise ValueError(token)  # noqa: TRY301 - for its traceback
        except ValueError:
            logging.getLogger("other").exception("failed")
    said = lines.getvalue()
    assert "[secret]" in said
    assert not [token for token in tokens(account) if token in said]


def test_only_links_with_known_parameters_are_kept_as_cursors() -> None:
    assert is_cursor("/v3/contacts?cursor=x&limit=5", {"limit"})
    assert is_cursor("/v3/contacts?next=x", {"limit"})
    assert not is_cursor("/v3/contacts?cursor=x&token=y", {"limit"})
    assert not is_cursor("/v3/contacts?cursor=ann%2540example.com", {"limit"})
    assert not is_cursor("https://ann:pw@api.cc.email/v3/contacts?next=x", {"limit"})
