"""Personal data in a whole run in each mode, also with old catalogs."""

from __future__ import annotations

import hmac
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

from simulator.world import World
from tap_email_metrics.clock import iso
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site, Sync, key_of
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from simulator.messages import Reply, Request

RECIPIENTS = "encompass_recipients"
OPENS = "constant_contact_opens"


def schema_of(run: Sync) -> dict[str, Any]:
    schemas = [m for m in run.messages if m["type"] == "SCHEMA"]
    return next(m["schema"] for m in schemas if m["stream"] == RECIPIENTS)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
@pytest.mark.parametrize("old_catalog", [False, True])
def test_records_fit_the_schema_and_hold_no_address(
    mode: str,
    old_catalog: bool,  # noqa: FBT001
) -> None:
    site = Site(World.generate(3, 6, NOW))
    catalog = site.tap().catalog_dict if old_catalog else None
    site.common["pii"] = {"mode": mode, "pepper": "a pepper of the tests"}
    run = site.sync(catalog=catalog)
    records = run.records(RECIPIENTS)
    validator = Draft7Validator(schema_of(run))
    assert records
    assert not [error for record in records for error in validator.iter_errors(record)]
    assert not [r for r in records if "@" in str(r["email_address"])]
    assert {r["additional_fields"] for r in records} == {None}
    keys = {(r["message_id"], r["id"]) for r in records}
    plain = Site(World.generate(3, 6, NOW)).sync().records(RECIPIENTS)
    assert keys == {(r["message_id"], r["id"]) for r in plain}


PEOPLE = {
    "encompass": (RECIPIENTS, "email_address"),
    "constant_contact": ("constant_contact_contacts", "email_address"),
    "luxsci": ("luxsci_sent", "to_addresses"),
}


def one_person() -> World:
    """Return a world in which each API has the same person in another spelling."""
    world = World(NOW)
    sent = NOW - DAY
    message = world.encompass.add_message(sent=sent)
    world.encompass.add_row(
        "recipients", message, date_added=sent, emailAddress="Jane.Doe@X.org"
    )
    world.constant_contact.add_contact(
        created=sent, email_address={"address": "jane.doe@x.org "}
    )
    login = world.luxsci.add_user(created=sent)
    world.luxsci.add_message(
        sent=sent, login=login, recipients=["Jane Doe <JANE.DOE@x.org>"]
    )
    return world


def seen(world: World, pepper: str) -> dict[str, set[str]]:
    """Return the values of the person's address in a stream of each provider."""
    found = {}
    for site in (Site(world), Account(world), Clinic(world)):
        site.common["pii"] = {"mode": "hash", "pepper": pepper}
        site.common["start_date"] = iso(NOW - 3 * DAY)
        stream, column = PEOPLE[site.provider]
        records = site.sync(streams=(stream,)).records(stream)
        found[site.provider] = {str(record[column]) for record in records}
    return found


def test_a_person_has_one_hash_in_all_providers_and_another_with_another_pepper() -> (
    None
):
    first, second = seen(one_person(), "one" * 9), seen(one_person(), "another" * 9)
    address = b"jane.doe@x.org"
    for pepper, found in ((b"one" * 9, first), (b"another" * 9, second)):
        expected = hmac.new(pepper, address, "sha256").hexdigest()
        assert set(found) == set(PEOPLE)
        assert all(hashes == {expected} for hashes in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "run"), [("hash", "plain"), ("drop", "plain"), ("hash", "domain")]
)
@pytest.mark.parametrize("stripped", [False, True])
def test_a_catalog_made_in_another_mode_gives_records_of_the_present_mode(
    made: str,
    run: str,
    stripped: bool,  # noqa: FBT001
) -> None:
    site = Site(World.generate(3, 3, NOW))
    site.common["pii"] = {"mode": made, "pepper": "a pepper of the tests"}
    catalog = site.tap().catalog_dict
    if stripped:  # as in a catalog that Meltano passes back
        for entry in catalog["streams"]:
            for column in entry["schema"]["properties"].values():
                column.pop("x-pii", None)
    site.common["pii"]["mode"] = run
    sync = site.sync(catalog=catalog)
    validator = Draft7Validator(schema_of(sync))
    records = sync.records(RECIPIENTS)
    assert records
    assert not [error for record in records for error in validator.iter_errors(record)]
    assert schema_of(sync)["properties"]["member_id"]["type"] == ["integer", "null"]


@pytest.mark.parametrize("mode", ["hash", "domain", "drop"])
def test_keys_stay_distinct_and_the_sdk_writes_the_same_records(mode: str) -> None:
    runs = []
    for settings in (
        {},
        {"pii": {"mode": mode, "pepper": "a pepper of the tests"}},
        {
            "pii": {"mode": mode, "pepper": "a pepper of the tests"},
            "stream_maps": {OPENS: {"mapped": "'1'"}},
        },
    ):
        world = World(NOW)
        sent = world.constant_contact.add_campaign(sent=NOW - DAY, recipients=3)
        for _ in range(3):
            world.constant_contact.add_event("opens", sent, created=NOW - DAY / 2)
        account = Account(world)
        account.common |= settings
        runs.append(account.sync(streams=(OPENS,)).records(OPENS))
    plain, fast, mapped = runs
    keys = [{key_of(OPENS, record) for record in records} for records in runs]
    assert len(keys[0]) == len(keys[1]) == len(plain) >= 3
    assert not keys[0] & keys[1]
    assert [record | {"mapped": "1"} for record in fast] == mapped


SURPRISE = "answer of Jane Doe"
SITES: dict[str, tuple[type[Site], str, str]] = {
    "encompass": (Site, RECIPIENTS, "/recipients$"),
    "constant_contact": (Account, OPENS, "/opens$"),
    "luxsci": (Clinic, "luxsci_sent", "/sent$"),
}


@pytest.mark.parametrize("provider", SITES)
@pytest.mark.parametrize("mode", ["plain", "hash", "domain", "drop"])
def test_fields_without_a_column_are_kept_in_plain_mode_only(
    provider: str, mode: str
) -> None:
    kind, stream, path = SITES[provider]
    world = World.generate(3, 6, NOW, campaigns=2, luxsci=4)
    world.luxsci.set_policy(rows="objects")

    def surprise(request: Request, reply: Reply) -> None:
        if re.search(path, request.path) and reply.status == 200:
            body = json.loads(reply.body)
            rows = body.get("data") or body.get("tracking_activities") or []
            for row in rows:
                row["survey"] = SURPRISE
            reply.body = json.dumps(body).encode()

    world.on_reply(surprise)
    site = kind(world)
    if mode != "plain":
        site.common["pii"] = {"mode": mode, "pepper": "a pepper of the tests"}
    records = site.sync(streams=(stream,)).records(stream)
    assert records
    held = {SURPRISE in str(record) for record in records}
    assert held == {mode == "plain"}


@pytest.mark.parametrize("place", ["key_properties", "table-key-properties"])
def test_an_address_is_treated_though_a_catalog_makes_it_a_key(place: str) -> None:
    site = Site(World.generate(3, 6, NOW))
    site.common["pii"] = {"mode": "hash", "pepper": "a pepper of the tests"}
    catalog = site.tap().catalog_dict
    (entry,) = [e for e in catalog["streams"] if e["tap_stream_id"] == RECIPIENTS]
    (root,) = [one["metadata"] for one in entry["metadata"] if not one["breadcrumb"]]
    entry.pop("key_properties")
    root.pop("table-key-properties", None)
    (entry if place == "key_properties" else root)[place] = ["account", "email_address"]
    run = site.sync(catalog=catalog, streams=(RECIPIENTS,), load=False)
    addresses = [record["email_address"] for record in run.records(RECIPIENTS)]
    assert addresses
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in addresses)


@pytest.mark.parametrize(
    ("pii", "warned"),
    [
        ({"pepper": "a pepper of the tests"}, True),
        ({"pepper": "a pepper of the tests", "mode": "plain"}, True),
        ({"pepper": "a pepper of the tests", "mode": "hash"}, False),
        ({}, False),
    ],
)
def test_a_pepper_that_has_no_effect_is_warned_of(
    pii: dict[str, str],
    warned: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    site.common["pii"] = pii
    site.tap()
    assert ("pii.pepper has no effect" in caplog.text) == warned
    assert "of the tests" not in caplog.text
