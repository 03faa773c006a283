"""The truth of Constant Contact, and generated worlds."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.constant_contact.events import EVENT_KINDS
from simulator.constant_contact.generate import generate as fill
from simulator.constant_contact.truth import IDENTITY, KEYS, PREFIX, SNAPSHOTS, columns
from simulator.truth import STREAMS, truth
from simulator.world import World
from tests.simulator.constant_contact_client import (
    DAY,
    NOW,
    SUMMARIES,
    Client,
    connect,
    unlimited,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = Path(__file__).parents[3] / "schemas"
FROM_PATH = {"links", "send_history", "contact_activity_summary"}
Rows = list[dict[str, Any]]


def generate(campaigns: int, **options: Any) -> World:
    world = World(NOW)
    fill(world.constant_contact, 3, campaigns, NOW, **options)
    return unlimited(world)


def rows_of(
    world: World, name: str, at: list[float] | None = None, account: str | None = None
) -> Rows:
    return truth(world, f"{PREFIX}{name}", at, account)


# Columns


@pytest.mark.parametrize("stream", KEYS)
def test_the_columns_of_the_truth_are_those_of_the_schema(stream: str) -> None:
    text = (SCHEMAS / f"{stream}.json").read_text(encoding="utf-8")
    schema = json.loads(text)["properties"]
    sources = [
        (name, column["x-source"])
        for name, column in schema.items()
        if "x-source" in column and "x-derived" not in column
    ]
    mine = columns(stream)
    assert mine == sources
    identity = schema.get("event_id", {}).get("x-identity", list(IDENTITY))
    assert identity == list(IDENTITY)


@pytest.fixture(scope="module")
def generated() -> World:
    return generate(12)


@pytest.mark.parametrize("stream", KEYS)
def test_records_have_the_columns_of_the_schema_in_order(
    generated: World, stream: str
) -> None:
    text = (SCHEMAS / f"{stream}.json").read_text(encoding="utf-8")
    # The simulator does not know when the tap reads a row.
    names = [n for n in json.loads(text)["properties"] if n != "extracted_at"]
    records = truth(generated, stream)
    assert records
    assert all(list(record) == names for record in records)
    keys = [tuple(record[part] for part in KEYS[stream]) for record in records]
    assert len(set(keys)) == len(keys)
    assert all(part is not None for key in keys for part in key)


def test_every_stream_with_a_schema_has_a_truth() -> None:
    assert set(KEYS) < set(STREAMS)
    found = {path.stem for path in SCHEMAS.glob(f"{PREFIX}*.json")}
    assert found == set(KEYS)


# Reading all pages


class Walk:
    """Reads everything like a tap without counters and marks."""

    def __init__(self, client: Client) -> None:
        self.client = client
        summaries = "bulk_email_campaign_summaries"
        self.summaries = client.walk(SUMMARIES, summaries, limit=50)
        self.campaigns = client.walk("/emails", "campaigns", limit=500)
        self.activities = [
            row
            for campaign in self.campaigns
            for row in client.read(f"/emails/{campaign['campaign_id']}")[
                "campaign_activities"
            ]
        ]
        self.reported = [
            row["campaign_activity_id"]
            for row in self.activities
            if row["role"] in ("primary_email", "resend")
        ]

    def rows(self, name: str) -> Rows:
        if name in EVENT_KINDS or name in ("unique_opens", "did_not_opens"):
            kind = SNAPSHOTS.get(name, name)
            found = (self.client.tracking(one, kind) for one in self.reported)
            return [row for rows in found for row in rows]
        if name in ("campaign_summaries", "campaigns"):
            return self.campaigns if name == "campaigns" else self.summaries
        if name in ("campaign_activities", "send_history"):
            return list(self._details(name))
        return list(self._reports(name))

    def _reports(self, name: str) -> Iterator[dict[str, Any]]:
        if name == "campaign_stats":
            for row in self.summaries:
                path = f"/reports/stats/email_campaigns/{row['campaign_id']}"
                yield from self.client.read(path)["results"]
            return
        for one in self.reported:
            if name == "links":
                path = f"/reports/email_reports/{one}/links"
                page = self.client.read(path, no_clicks="true")
                yield from page["link_click_counts"]
            else:
                path = f"/reports/stats/email_campaign_activities/{one}"
                yield from self.client.read(path)["results"]

    def _details(self, name: str) -> Iterator[dict[str, Any]]:
        tail = "/send_history" if name == "send_history" else ""
        for row in self.activities:
            one = row["campaign_activity_id"]
            response = self.client.get(f"/emails/activities/{one}{tail}")
            if response.ok:
                found = response.json()
                yield from found if tail else [found]

    def catalog(self, name: str) -> Rows:
        asked: dict[str, dict[str, object]] = {
            "contacts": {
                "status": "all",
                "limit": 500,
                "include": "custom_fields,list_memberships,taggings",
            },
            "contact_lists": {"status": "all", "include_membership_count": "all"},
            "contact_tags": {"include_count": "true"},
        }
        path = name
        name = name.removeprefix("contact_") if name != "contacts" else name
        return self.client.walk(f"/{path}", name, **asked.get(path, {}))


def plain(record: dict[str, Any]) -> dict[str, str]:
    """Return the values that a record and a row have in common, as text."""
    names = {*IDENTITY, "count", "unique_clicks", "email_address", "name", "updated_at"}
    names |= {"campaign_id", "last_sent_date", "last_refresh_time", "first_name"}
    names |= {"membership_count", "contacts_count", "contact_id", "deleted_at"}
    shown = {name: record.get(name) for name in names}
    if isinstance(shown["email_address"], dict):
        shown["email_address"] = shown["email_address"]["address"]
    return {
        name: str(value).replace("\x00", "\ufffd")
        for name, value in shown.items()
        if value is not None
    }


def alike(name: str, walked: Rows, records: Rows) -> None:
    path = {"campaign_activity_id"} if name in FROM_PATH else set()
    ours = [plain({k: v for k, v in row.items() if k not in path}) for row in records]
    theirs = [plain(row) for row in walked]
    order = repr
    assert sorted(ours, key=lambda row: order(sorted(row.items()))) == sorted(
        theirs, key=lambda row: order(sorted(row.items()))
    )


@pytest.mark.slow
@pytest.mark.parametrize("days", [0, 30])
def test_the_truth_holds_the_rows_found_by_reading_all_pages(
    generated: World, days: int
) -> None:
    generated.clock.set(max(NOW + days * DAY, generated.clock.now()))
    walk = Walk(connect(generated))
    catalogs = {"contacts", "contact_lists", "contact_tags", "segments"}
    catalogs.add("contact_custom_fields")
    read = {"campaign_summaries", "campaign_stats", "campaign_activity_stats", "links"}
    read |= {"campaigns", "campaign_activities", "send_history", *EVENT_KINDS}
    read |= {"unique_opens", "did_not_opens"}
    for name in sorted(read):
        alike(name, walk.rows(name), rows_of(generated, name))
    for name in sorted(catalogs):
        alike(name, walk.catalog(name), rows_of(generated, name))
    for reading in rows_of(generated, "snapshots"):
        rows = rows_of(generated, str(reading["report"]))
        one = reading["campaign_activity_id"]
        assert reading["rows"] == sum(
            row["campaign_activity_id"] == one for row in rows
        )


def test_the_truth_holds_the_rows_of_a_contacts_reports(generated: World) -> None:
    client = connect(generated)
    details = rows_of(generated, "contact_activity_details")
    person = max(
        {row["contact_id"] for row in details},
        key=lambda one: sum(row["contact_id"] == one for row in details),
    )
    path = f"/reports/contact_reports/{person}"
    walked = client.walk(f"{path}/activity_details", "tracking_activities", limit=7)
    alike("", walked, [row for row in details if row["contact_id"] == person])
    span = {"start": "1970-01-01", "end": "2027-01-01"}
    walked = client.walk(f"{path}/activity_summary", "campaign_activities", **span)
    rows = rows_of(generated, "contact_activity_summary")
    assert len(walked) == sum(row["contact_id"] == person for row in rows)
    (rates,) = (
        row
        for row in rows_of(generated, "contact_open_and_click_rates")
        if row["contact_id"] == person
    )
    shown = client.read(f"{path}/open_and_click_rates", **span)
    assert shown.items() <= rates.items()


# Ids


def test_event_ids_are_made_of_the_identity_and_a_number() -> None:
    world = World(NOW)
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY, links=1)
    activity = account.activity(campaign)
    person = account.add_contact(created=NOW - DAY)
    (url_id,) = activity.links
    for device in ("tablet", "phone"):  # not in the identity: it may change later
        account.add_event("clicks", campaign, person, created=NOW, device=device)
    clicks = rows_of(world, "clicks", account="ünï")

    def made(turn: int) -> str:
        parts = ["ünï", "constant_contact_clicks", activity.activity_id, person]
        parts += ["em_clicks", "2026-09-21T14:13:20.000Z", url_id]
        text = json.dumps([*parts, turn], separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    assert sorted(row["event_id"] for row in clicks) == sorted(map(made, range(2)))
    assert {row["account"] for row in clicks} == {"ünï"}


def test_the_truth_of_several_instants_has_every_row_seen_at_one() -> None:
    world = World(NOW)
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY)
    person = account.add_contact(created=NOW - DAY)
    first = account.add_event("opens", campaign, person, created=NOW)
    account.add_event("opens", campaign, person, created=NOW, visible_from=NOW + 50)
    account.remove_event(first, at=NOW + 100)
    account.add_event("forwards", campaign, person, created=NOW + 60)

    def opens(*at: float) -> set[object]:
        return {row["event_id"] for row in rows_of(world, "opens", list(at))}

    assert opens(NOW - 1) == set()
    one = opens(NOW)
    two = opens(NOW + 50)
    assert (len(one), len(two)) == (1, 2)
    assert opens(NOW + 100) == one < two
    assert opens(NOW, NOW + 50, NOW + 100) == opens(NOW + 50) == two
    assert opens(NOW, NOW + 100) == one
    assert rows_of(world, "forwards") == []
    snapshots = rows_of(world, "unique_opens", [NOW, NOW + 60])
    assert [row["as_of"] for row in snapshots] == ["2026-09-21T14:14:20.000Z"]


def test_rows_of_deleted_contacts_show_the_date() -> None:
    world = World(NOW)
    account = world.constant_contact
    person = account.add_contact(created=NOW - 9 * DAY)
    account.add_campaign(sent=NOW - 5 * DAY, recipients=[person])
    account.delete_contact(person, at=NOW)
    before, after = (
        rows_of(world, "sends", [at])[0]["deleted_at"] for at in (NOW - 1, NOW)
    )
    assert (before, after) == (None, "2026-09-21")


# Values


def test_values_are_converted_and_the_others_kept_raw() -> None:
    world = World(NOW)
    account = world.constant_contact
    address = {"address": "a\x00b", "permission_to_send": 7, "score": 1.5}
    account.add_contact(
        created=NOW,
        email_address=address,
        birthday_month="2",
        birthday_day="x",
        created_at="2026-09-21T10:13:20-04:00",
        updated_at="yesterday",
        list_memberships=[1, "b"],
    )
    (row,) = rows_of(world, "contacts")
    assert row["email_address"] == "a\ufffdb"
    assert row["email_permission_to_send"] == "7"
    assert row["birthday_month"] == 2
    assert row["created_at"] == "2026-09-21T14:13:20.000Z"
    assert row["list_memberships"] == ["1", "b"]
    assert row["additional_fields"] == {
        "email_address.score": 1.5,
        "birthday_day": "x",
        "updated_at": "yesterday",
    }


@pytest.mark.slow
@pytest.mark.parametrize("style", ["seconds", "offset"])
def test_the_truth_is_the_same_for_every_shape_of_answers(style: str) -> None:
    world = generate(2)
    account = world.constant_contact
    campaign = account.add_campaign(sent=NOW - DAY)
    account.add_event("opens", campaign, created=NOW - 60)
    before = {name: truth(world, name) for name in KEYS}
    account.set_policy(
        time_format="offset",
        counts_as_strings=True,
        stats_keys="dots",
        aggregate_percents="array",
        error_shape="empty",
    )
    assert {name: truth(world, name) for name in KEYS} == before
    account.set_policy(time_format=style)
    (row,) = (
        row
        for row in rows_of(world, "opens")
        if row["created_time"] == "2026-09-21T14:12:20.000Z"
    )
    assert row["account"] == account.client_id


# Generated worlds


def test_the_same_seed_gives_the_same_world() -> None:
    first, second = generate(5), generate(5)
    for name in ("opens", "contacts", "campaign_stats"):
        assert rows_of(first, name) == rows_of(second, name)


def test_a_generated_world_contains_large_lists_and_odd_values(
    generated: World,
) -> None:
    account = generated.constant_contact
    at = NOW + 10 * DAY
    opens = [
        event
        for activity in account.activities.values()
        for event in activity.lists["opens"].events
    ]
    assert max(
        len(one.lists["opens"].events) for one in account.activities.values()
    ) > (2500)
    assert any(event.removed_at < at for event in opens)
    assert any(event.visible_from - event.created > 2 * DAY for event in opens)
    assert any(event.counted_from != event.visible_from for event in opens)
    clear = [
        (one.activity_id, one.contact_id, one.created, one.device) for one in opens
    ]
    assert len(set(clear)) < len(clear)
    assert {one.role for one in account.activities.values()} == {
        *("primary_email", "resend", "permalink")
    }
    statuses = {row["current_status"] for row in rows_of(generated, "campaigns")}
    assert {"Draft", "Done", "Removed"} <= statuses


@pytest.mark.slow
def test_a_world_of_a_thousand_campaigns_is_generated_within_a_minute() -> None:
    began = time.monotonic()
    world = generate(1000)
    assert len(rows_of(world, "campaign_summaries", [NOW])) == 1000
    summaries = rows_of(world, "campaign_summaries", [NOW])
    since = "2026-06-23T14:13:20.000Z"
    assert sum(str(row["last_sent_date"]) > since for row in summaries) == 60
    assert len(rows_of(world, "opens", [NOW])) > 10_000
    assert time.monotonic() - began < 60
