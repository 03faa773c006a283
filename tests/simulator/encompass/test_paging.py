"""Pages and lists of the simulated Encompass."""

from __future__ import annotations

import pytest

from simulator.rows import ABSENT
from simulator.world import World
from tests.simulator.encompass_client import DAY, FOREVER, NOW, connect


def world_with_opens(count: int) -> World:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW - DAY)
    for index in range(count):
        world.encompass.add_row("opens", message, date_added=NOW - DAY + index)
    return world


def test_an_envelope_holds_the_start_size_and_total_of_its_page() -> None:
    client = connect(world_with_opens(5))
    page = client.page("/messages/1/opens", startAt=2, maxResults=2)
    assert [row["id"] for row in page.pop("data")] == [3, 4]
    assert page == {"maxResults": 2, "startAt": 2, "total": 5}


@pytest.mark.parametrize(
    ("asked", "served"),
    [(None, 1000), (5000, 1000), (1000, 1000), (7, 7), (0, 1), (-3, 1)],
)
def test_max_results_is_limited_to_1000(asked: int | None, served: int) -> None:
    client = connect(world_with_opens(1010))
    query = {} if asked is None else {"maxResults": asked}
    page = client.page("/messages/1/opens", **query)
    assert page["maxResults"] == len(page["data"]) == served


def test_a_policy_sets_how_many_rows_a_page_has_at_most() -> None:
    world = world_with_opens(10)
    world.encompass.set_policy(max_page=4)
    page = connect(world).page("/messages/1/opens")
    assert len(page["data"]) == page["maxResults"] == 4


@pytest.mark.parametrize("start", [3, 4, 1000])
def test_a_page_past_the_end_is_empty(start: int) -> None:
    page = connect(world_with_opens(3)).page("/messages/1/opens", startAt=start)
    assert page["data"] == []
    assert page["total"] == 3


def test_bad_numbers_unknown_ids_and_methods_are_refused() -> None:
    client = connect(world_with_opens(1))
    assert client.get("/messages/1/opens", startAt="x").status_code == 400
    assert client.get("/messages/99/opens").json() == {"message": "Not Found"}
    assert client.get("/messages/99").status_code == 404
    assert client.get("/messages/1/sends").status_code == 404
    assert client.session.post(f"{client.base}/v2/messages").status_code == 405


def test_a_list_comes_in_the_order_of_the_policy() -> None:
    world = world_with_opens(40)
    client = connect(world)
    path = "/messages/1/opens"
    assert client.ids(path) == list(range(1, 41))
    world.encompass.set_order("descending", "opens")
    assert client.ids(path) == list(range(40, 0, -1))
    world.encompass.set_order("shuffled", "opens", 1)
    shuffled = client.ids(path)
    assert shuffled == client.ids(path)
    assert sorted(shuffled) == list(range(1, 41)) != shuffled
    world.encompass.add_row("opens", 1)
    assert [one for one in client.ids(path) if one != 41] == shuffled
    world.encompass.set_order("reshuffled")
    assert client.ids(path) != client.ids(path)


def test_a_list_has_the_rows_of_the_time_forward_and_back() -> None:
    world = world_with_opens(0)
    for day in (3, 1, 2):
        world.encompass.add_row("opens", 1, date_added=NOW + day * DAY)
    world.encompass.delete("opens", 2, at=NOW + 2.5 * DAY)
    client = connect(world)
    world.encompass.set_policy(token_lifetime=99 * DAY)
    client.authenticate()
    seen = []
    for day in (0, 1, 2, 3, 2, 0):
        world.clock.set(NOW + day * DAY)
        seen.append(client.ids("/messages/1/opens"))
    assert seen == [[], [2], [2, 3], [1, 3], [2, 3], []]


def test_rows_may_appear_between_two_pages() -> None:
    world = world_with_opens(4)
    client = connect(world)
    seen = []

    def insert(method: str, path: str, query: object) -> None:
        seen.append((method, path))
        assert query == {"startAt": "2", "maxResults": "2"}
        world.encompass.add_row("opens", 1)

    assert client.page("/messages/1/opens", startAt=0, maxResults=2)["total"] == 4
    remove = world.on_request(insert)
    assert client.page("/messages/1/opens", startAt=2, maxResults=2)["total"] == 5
    remove()
    assert client.page("/messages/1/opens")["total"] == 5
    assert seen == [("GET", "/v2/messages/1/opens")]


def test_links_are_an_array_or_an_envelope_with_or_without_pages() -> None:
    world = world_with_opens(0)
    for _ in range(3):
        world.encompass.add_row("links", 1)
    client = connect(world)
    page = {"startAt": 1, "maxResults": 1}
    bare = client.get("/messages/1/links", **page).json()
    assert [link["id"] for link in bare] == [1, 2, 3]
    world.encompass.set_policy(links_paged=True)
    paged = client.get("/messages/1/links", **page).json()
    assert [link["id"] for link in paged] == [2]
    world.encompass.set_policy(links_envelope=True)
    assert client.ids("/messages/1/links", **page) == [2]


@pytest.mark.parametrize(
    ("field", "inclusive", "expected"),
    [
        ("sent", True, [1, 2]),
        ("sent", False, []),
        ("date_added", True, [3]),
        ("scheduled", True, [1, 3]),
    ],
)
def test_messages_are_filtered_by_the_field_of_the_policy(
    field: str, expected: list[int], *, inclusive: bool
) -> None:
    world = World(NOW)
    start, end = NOW - 10 * DAY, NOW - 5 * DAY
    add = world.encompass.add_message
    add(sent=start, date_added=end + 1)
    add(sent=end, date_added=end + 1, scheduledDateTimestamp=round(end * 1000) + 1)
    add(sent=end + 1, date_added=end, scheduledDateTimestamp=round(end * 1000) - 1)
    world.encompass.set_policy(messages_filter_on=field, bounds_inclusive=inclusive)
    client = connect(world)
    query = {
        "fromTimestamp": round(start * 1000),
        "toTimestamp": round(end * 1000),
    }
    assert client.ids("/messages", **query) == expected
    assert client.ids("/messages", **FOREVER) == [1, 2, 3]


def test_a_correction_is_visible_from_its_time_on() -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW, sentCount=5, preHeader=ABSENT)
    world.encompass.correct("messages", message, at=NOW + 10, sentCount=6)
    client = connect(world)
    first = client.page(f"/messages/{message}")
    assert first["sentCount"] == 5
    assert "preHeader" not in first
    world.clock.advance(10)
    assert client.page(f"/messages/{message}") == first | {"sentCount": 6}


def test_messages_before_2016_and_deleted_ones_are_not_served() -> None:
    world = World(NOW)
    old = world.encompass.add_message(sent=1_451_606_399.0)
    kept = world.encompass.add_message(sent=1_451_606_400.0)
    gone = world.encompass.add_message(sent=NOW - DAY)
    world.encompass.delete("messages", gone)
    client = connect(world)
    assert client.ids("/messages", **FOREVER) == [kept]
    assert client.get(f"/messages/{old}/opens").status_code == 404
    assert client.get(f"/messages/{gone}").status_code == 404


def test_a_row_cannot_change_before_it_is_visible() -> None:
    world = World(NOW)
    message = world.encompass.add_message(sent=NOW)
    with pytest.raises(ValueError, match="visible"):
        world.encompass.correct("messages", message, at=NOW - 1, sentCount=1)
    with pytest.raises(ValueError, match="unknown kind"):
        world.encompass.add_row("forwards", message)
    with pytest.raises(ValueError, match="already there"):
        world.encompass.add_message(sent=NOW, id=message)
