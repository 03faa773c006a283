"""The column `recipient_domain`: the domain of large mailbox providers only."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_email_metrics.records.mailboxes import (
    LARGE_DOMAINS,
    OTHER,
    recipient_domain,
)
from tap_email_metrics.records.privacy import Privacy, domain_of
from tap_email_metrics.records.schemas import load_schema
from tests.support.records import RowBuilder
from tests.support.schemas import schema_names

ROOT = Path(__file__).parents[3]
PEPPER = "pepper-of-the-tests"
SENDERS = ("from_address", "from_email", "reply_email", "reply_to_email")
OWNERS = ("contact_email",)
"""Columns with an address of the account itself."""
SECOND = ("current_email_address",)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ada@gmail.com", "gmail.com"),
        ("Ada Lovelace <ADA@GMail.com>", "gmail.com"),
        ("mailto:ada%40gmail.com", "gmail.com"),
        ("ada@gmail.com (home), ", "gmail.com"),
        ("ada@lovelace.example", OTHER),
        ("ada@mail.gmail.com", OTHER),
        ("ada@gmail.com.example", OTHER),
        ("other@other", OTHER),
        ("", None),
        (" ", None),
        ("gmail.com", None),
        ("redacted", None),
        ("ada@", None),
        (12, None),
        (["ada@gmail.com"], None),
    ],
)
def test_only_large_domains_are_named(address: object, expected: str | None) -> None:
    assert recipient_domain(address) == expected


@given(st.from_regex(r"[a-zA-Z@<> .%]{0,12}(@|%40)?(gmail\.com|x\.org)?[)>, .]{0,3}"))
def test_recipient_domain_is_the_domain_that_mode_domain_writes(text: str) -> None:
    domain = domain_of(text)
    assert recipient_domain(text) == (
        domain if domain is None or domain in LARGE_DOMAINS else OTHER
    )


@pytest.mark.parametrize("stream", schema_names())
def test_every_stream_with_an_address_of_a_recipient_has_recipient_domain(
    stream: str,
) -> None:
    every: dict[str, dict[str, Any]] = load_schema(stream)["properties"]
    names = list(every)
    addresses = [
        name
        for name in names
        if every[name].get("x-pii") == "email"
        and name not in (*SENDERS, *OWNERS, *SECOND)
    ]
    assert ("recipient_domain" in every) == bool(addresses)
    for name in addresses:
        column = every[names[names.index(name) + 1]]
        assert column["x-derived"] == "recipient-domain"
        assert column["x-pii"] == "large_domain"
        assert column["x-source"] == every[name]["x-source"]
        assert f"`{name}`" in column["description"]


@pytest.mark.parametrize("mode", ["plain", "hash", "domain", "drop"])
def test_recipient_domain_is_the_same_in_every_mode_but_drop(mode: str) -> None:
    rows = [{"id": 1, "emailAddress": "ada@gmail.com"}]
    rows += [{"id": 2, "emailAddress": "ada@lovelace.example"}]
    builder = RowBuilder(
        load_schema("encompass_recipients"),
        key=("account", "message_id", "id"),
        selected=None,
        account="a",
        privacy=Privacy(mode, None if mode == "plain" else PEPPER),
    )
    made = [builder.made(row, message_id=7) or {} for row in rows]
    found = [record["recipient_domain"] for record in made]
    assert found == ([None, None] if mode == "drop" else ["gmail.com", OTHER])


def test_recipient_domain_is_written_though_the_address_is_deselected() -> None:
    builder = RowBuilder(
        load_schema("encompass_recipients"),
        key=("account", "message_id", "id"),
        selected={"recipient_domain"},
        account="a",
        privacy=Privacy(),
    )
    record = builder.made({"id": 1, "emailAddress": "ada@gmail.com"}, message_id=7)
    assert record == {
        "account": "a",
        "message_id": 7,
        "id": 1,
        "recipient_domain": "gmail.com",
    }


def test_the_marts_and_the_tap_know_the_same_large_domains() -> None:
    seed = ROOT / "transform" / "seeds" / "mailbox_providers.csv"
    with seed.open(encoding="utf-8") as lines:
        domains = [row["domain"] for row in csv.DictReader(lines)]
    assert sorted(domains) == sorted(LARGE_DOMAINS)
