"""The truth of Encompass, and generated worlds."""

from __future__ import annotations

import json
import re

import pytest

from simulator.encompass.account import CHILD_KINDS
from simulator.rows import ABSENT
from simulator.truth import STREAMS, truth
from simulator.world import World
from tests.simulator.encompass_client import DAY, NOW, Client, connect


@pytest.fixture(scope="module")
def generated() -> World:
    world = World.generate(7, 12, NOW)
    world.encompass.set_policy(token_lifetime=999 * DAY)
    return world


def ids(world: World, stream: str, at: list[float] | None = None) -> list[object]:
    return [row["id"] for row in truth(world, stream, at)]


def walk_child(client: Client, kind: str, message_id: int) -> list[object]:
    path = f"/messages/{message_id}/{kind}"
    if kind == "links":
        return [row["id"] for row in client.get(path).json()]
    return [row["id"] for row in client.walk(path, 700)]


@pytest.mark.parametrize("days", [0, 45])
def test_the_truth_holds_the_rows_found_by_reading_all_pages(
    generated: World, days: int
) -> None:
    generated.clock.set(NOW + days * DAY)
    generated.encompass.set_order("shuffled")
    client = connect(generated)
    messages = sorted(row["id"] for row in client.walk("/messages"))
    assert ids(generated, "encompass_messages") == messages
    for kind in CHILD_KINDS:
        walked = [
            (message, row_id)
            for message in messages
            for row_id in sorted(walk_child(client, kind, message), key=repr)
        ]
        rows = truth(generated, f"encompass_{kind}")
        assert sorted(walked) == [(row["message_id"], row["id"]) for row in rows]


def test_the_truth_of_two_instants_has_the_rows_of_both(generated: World) -> None:
    later = NOW + 60 * DAY
    for stream in filter(re.compile("encompass_").match, STREAMS):
        first, second = (truth(generated, stream, [at]) for at in (NOW, later))
        both = truth(generated, stream, [later, NOW])
        keys = [(row.get("message_id"), row["id"]) for row in both]
        assert len(keys) == len(set(keys))
        assert [row for row in both if row in second] == second
        assert {repr(row["id"]) for row in first} <= {repr(row["id"]) for row in both}


def test_values_are_those_of_the_latest_instant_that_shows_the_row() -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW, sentCount=1)
    world.encompass.correct("messages", message, at=NOW + 10, sentCount=2)
    world.encompass.delete("messages", message, at=NOW + 20)
    counts = [
        [row["sent_count"] for row in truth(world, "encompass_messages", at)]
        for at in (
            [NOW - 1],
            [NOW],
            [NOW, NOW + 10],
            [NOW + 10, NOW],
            [NOW, NOW + 20],
            [NOW + 20],
        )
    ]
    assert counts == [[], [1], [2], [2], [1], []]


def test_archived_rows_leave_the_truth() -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW)
    world.encompass.add_row("opens", message, date_added=NOW + 1)
    late = NOW + 1 + 180 * DAY
    assert ids(world, "encompass_opens", [late - 0.01]) == [1]
    assert ids(world, "encompass_opens", [late]) == []
    assert ids(world, "encompass_opens", [late - 9, late]) == [1]


def test_columns_follow_the_vendors_fields() -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW)
    world.encompass.add_row("clicks", message, timestamp=1_699_999_999_007)
    assert truth(world, "encompass_clicks", account="site") == [
        {
            "account": "site",
            "message_id": 1,
            "id": 1,
            "recipient_id": 1,
            "timestamp": 1_699_999_999_007,
            "occurred_at": "2023-11-14T22:13:19.007Z",
            "date_added": 1_700_000_000_000,
            "added_at": "2023-11-14T22:13:20.000Z",
            "link_id": 1,
            "ip_address": "192.0.2.7",
            "user_agent": "Mozilla/5.0",
            "additional_fields": None,
        }
    ]
    (sent,) = truth(world, "encompass_messages")
    assert sent["account"] == world.encompass.client_id
    assert sent["scheduled_at"] == sent["sent_at"] == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize(
    ("raw", "value", "kept"),
    [
        (12, 12, False),
        ("123", 123, False),
        ("-5", -5, False),
        (12.0, 12, False),
        (12.5, None, True),
        ("abc", None, True),
        ("", None, True),
        (True, None, True),
        ([1], None, True),
        (2**63 - 1, 2**63 - 1, False),
        (2**63, None, True),
        (str(-(2**63) - 1), None, True),
        (None, None, False),
        (ABSENT, None, False),
    ],
)
def test_integers_are_read_from_numbers_and_text(
    raw: object, value: int | None, *, kept: bool
) -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW, sentCount=raw)
    (row,) = truth(world, "encompass_messages")
    assert row["id"] == message
    assert row["sent_count"] == value
    assert row["additional_fields"] == ({"sentCount": raw} if kept else None)


@pytest.mark.parametrize(
    ("raw", "value", "kept"),
    [
        ("", "", None),
        (7, "7", None),
        (1.5, "1.5", None),
        (False, "false", None),
        ("a\x00b\ud83dc", "a\ufffdb\ufffdc", None),
        ("\U0001f393", "\U0001f393", None),
        (["x\x00"], None, {"name": ["x\ufffd"]}),
    ],
)
def test_strings_are_read_from_scalars_and_cleaned(
    raw: object, value: str | None, kept: object
) -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW)
    world.encompass.add_row("links", message, name=raw)
    (row,) = truth(world, "encompass_links")
    assert (row["name"], row["additional_fields"]) == (value, kept)


@pytest.mark.parametrize(
    ("stamp", "companion"),
    [
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (-62_135_596_800_001, None),
        (2**62, None),
    ],
)
def test_a_time_column_is_null_for_an_epoch_out_of_range(
    stamp: int, companion: str | None
) -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW)
    world.encompass.add_row("opens", message, timestamp=stamp)
    (row,) = truth(world, "encompass_opens")
    assert (row["timestamp"], row["occurred_at"]) == (stamp, companion)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_world() -> None:
    one, two, other = (World.generate(seed, 5, NOW) for seed in (3, 3, 4))
    ahead = [NOW, NOW + 30 * DAY]
    for stream in STREAMS:
        assert truth(one, stream, ahead) == truth(two, stream, ahead)
    assert truth(one, "encompass_opens") != truth(other, "encompass_opens")


def test_a_generated_world_contains_large_lists_and_odd_values(
    generated: World,
) -> None:
    until = NOW + 80 * DAY
    rows = {stream: truth(generated, stream, [NOW, until]) for stream in STREAMS}
    sizes = [
        sum(row["message_id"] == message["id"] for row in rows["encompass_opens"])
        for message in rows["encompass_messages"]
    ]
    assert max(sizes) > 2500
    assert min(sizes) == 0
    text = json.dumps(rows, ensure_ascii=False)
    assert "\ufffd" in text
    assert "\U0001f393" in text
    assert len(truth(generated, "encompass_messages", [NOW])) >= 12
    assert len(rows["encompass_messages"]) > 12

    def longest(stream: str, column: str) -> int:
        return max(len(str(row[column])) for row in rows[stream])

    assert longest("encompass_links", "url") > 900
    assert longest("encompass_bounces", "reason") > 1100
    assert longest("encompass_opens", "user_agent") > 450
    for stream in ("messages", "recipients", "opens", "clicks", "delivers"):
        assert any(row["additional_fields"] for row in rows[f"encompass_{stream}"])


def test_the_largest_lists_have_the_requested_size() -> None:
    for largest in (30, 1100):
        world = World.generate(3, 1, NOW, campaigns=1, largest=largest)
        for stream in ("encompass_recipients", "constant_contact_sends"):
            assert len(truth(world, stream, [NOW])) == largest
