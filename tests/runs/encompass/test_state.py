"""State of Encompass: STATE messages, catalogs, backfills, bookmarks, and costs."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

import tap_email_metrics.run.run
from simulator.adapter import SimulatorAdapter
from simulator.encompass.account import ms
from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers.encompass.schedule import Mark
from tap_email_metrics.state.marks import is_cut
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, STREAMS, Site, Sync, Target
from tests.support.luxsci import Clinic
from tests.support.state import flat, own_part

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENS = "encompass_opens"
KINDS = ("opens", "clicks", "bounces", "delivers", "recipients", "links")
FAN_OUT = STREAMS[1:]


def varied_site(messages: int = 6, rows: int = 4, **settings: Any) -> Site:
    """Return a site of messages with rows in all lists; two messages are closed."""
    world = World(NOW)
    for number in range(messages):
        sent = NOW - (400 + number if number < 2 else 3 * number) * DAY
        message = world.encompass.add_message(sent=sent)
        for kind in KINDS:
            for row in range(rows):
                when = {} if kind == "links" else {"date_added": sent + row}
                world.encompass.add_row(kind, message, **when)
    world.encompass.set_policy(archive_days=10_000)
    world.encompass.set_order("shuffled", "clicks")
    world.encompass.set_order("descending", "bounces")
    return Site(world, **settings)


@pytest.fixture
def _many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a STATE whenever anything was written since the last one."""
    monkeypatch.setattr(tap_email_metrics.run.run, "STATE_SHARE", 0)


def marks(state: dict[str, Any], stream: str) -> dict[str, str]:
    found: dict[str, str] = flat(state).get(stream, {}).get("marks", {})
    return found


def owner_of(message: dict[str, Any]) -> tuple[str, int]:
    """Return stream and parent of the list to which a record belongs."""
    record, stream = message["record"], message["stream"]
    if stream == "email_metrics_reconciliation":
        # A row about a list must be covered together with the rows of the list.
        return record["stream"], int(record["parent"].replace("all", "0"))
    if stream == "email_metrics_runs":
        return stream, 0
    return stream, record.get("message_id", record["id"])


def covered_too_early(before: dict[str, Any], run: Sync) -> Iterator[str]:
    """Yield each STATE that covers a list with a later record."""
    later: dict[str, set[int]] = defaultdict(set)
    for message in reversed(run.messages):
        if message["type"] == "RECORD":
            owner, row_of = owner_of(message)
            later[owner].add(row_of)
        if message["type"] != "STATE":
            continue
        state = message["value"]
        for stream in FAN_OUT:
            known, old = marks(state, stream), marks(before, stream)
            for parent in map(str, later[stream]):
                mark = known.get(parent)
                # The STATE of a list that is half read covers only its first rows.
                if mark != old.get(parent) and not (mark and is_cut(Mark.unpack(mark))):
                    yield f"{stream} {parent}: {known.get(parent)}"
            entry = flat(state).get(stream, {})
            closed = entry.get("history")
            if closed and closed != [0.0, 0] and int(closed[1]) in later[stream]:
                yield f"{stream}: history {closed}"
        digests, old_digests = (
            flat(one).get("encompass_messages", {}).get("digests")
            for one in (state, before)
        )
        if later["encompass_messages"] and digests != old_digests:
            yield "encompass_messages"


def crash_everywhere(site: Site, run: Sync, before: Target) -> int:
    """Cut the output of a run at each line, load it, sync again and compare."""
    start = site.state
    for cut in range(len(run.messages) + 1):
        target = Target({name: dict(rows) for name, rows in before.rows.items()})
        state = target.load(run.messages[:cut])
        again = Site(site.world)
        again.settings = site.settings
        again.target, again.state = target, state or start
        again.sync()
        assert target.differences(site.world) == [], f"cut after {cut} messages"
    return len(run.messages) + 1


@pytest.mark.slow
@pytest.mark.usefixtures("_many_states")
def test_a_first_run_that_is_cut_anywhere_loses_no_row() -> None:
    site = varied_site(4, rows=2, max_concurrency=1)
    run = site.sync(load=False)
    assert len(run.states) > 20
    assert list(covered_too_early({}, run)) == []
    assert crash_everywhere(site, run, Target()) > 70


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.usefixtures("_many_states")
def test_a_later_run_that_is_cut_anywhere_loses_no_row() -> None:
    site = varied_site(5, rows=1, max_concurrency=2, sweep_days=2)
    site.sync()
    site.advance(2)
    for message in (1, 3, 5):
        for kind in KINDS[:4]:
            site.api.add_row(kind, message)
    site.api.correct("messages", 4, sentCount=99)
    site.api.add_message()
    before = Target({name: dict(rows) for name, rows in site.target.rows.items()})
    site.settings["revisit"] = "always"
    start = site.state
    run = site.sync(load=False)
    assert len(run.states) > 10
    assert list(covered_too_early(start, run)) == []
    assert crash_everywhere(site, run, before) > 30


@pytest.mark.slow
@pytest.mark.usefixtures("_many_states")
@pytest.mark.parametrize("seed", range(3))
def test_no_state_covers_a_record_that_comes_after_it(seed: int) -> None:
    site = Site(World.generate(seed, 15, NOW))
    for _ in range(3):
        before = site.state
        run = site.sync()
        assert list(covered_too_early(before, run)) == []
        site.advance(3)


def test_states_come_between_records_and_at_the_end() -> None:
    site = Site(World.generate(2, 15, NOW))
    run = site.sync()
    bytes_of = {"RECORD": 0, "STATE": 0, "SCHEMA": 0}
    for message in run.messages:
        bytes_of[message["type"]] += len(json.dumps(message))
    assert 8 < len(run.states) < 40
    assert bytes_of["STATE"] < bytes_of["RECORD"]
    opens = [n for n, m in enumerate(run.messages) if m.get("stream") == OPENS]
    midst = run.messages[opens[0] : opens[-1]]
    assert any(message["type"] == "STATE" for message in midst)
    assert run.messages[-1]["type"] == "STATE"
    site.advance(0.01)
    assert site.sync().messages[-1]["type"] == "STATE"


def test_paused_runs_continue_at_the_stream_that_stopped() -> None:
    site = varied_site(12)
    slow = SimulatorAdapter(site.world, latency=1.0)
    site.common["max_run_minutes"] = 0.4
    for _ in range(30):
        run = site.sync(transport=slow)
        assert run.code == 0
        if not site.differences():
            break
    else:
        pytest.fail("not all was read")


# Catalogs


def catalog_of(site: Site) -> dict[str, Any]:
    """Return the catalog as a user passes it back in a file."""
    catalog: dict[str, Any] = json.loads(json.dumps(site.tap().catalog_dict))
    return catalog


def test_a_catalog_that_is_passed_back_changes_no_record() -> None:
    site = Site(World.generate(4, 8, NOW))
    plain = site.sync(load=False)
    back = site.sync(load=False, catalog=catalog_of(site))
    for stream in STREAMS:
        one, two = plain.records(stream), back.records(stream)
        assert one, stream
        assert sorted(map(json.dumps, one)) == sorted(map(json.dumps, two))


@pytest.mark.parametrize("by_metadata", [True, False])
def test_full_table_in_a_catalog_reads_everything_again_and_keeps_new_marks(
    by_metadata: bool,  # noqa: FBT001
) -> None:
    site = varied_site()
    first = site.sync()
    site.advance(0.01)
    assert site.sync().ids(OPENS) == []
    catalog = catalog_of(site)
    for entry in catalog["streams"]:
        if by_metadata:
            (root,) = [m for m in entry["metadata"] if not m["breadcrumb"]]
            root["metadata"]["forced-replication-method"] = "FULL_TABLE"
            del entry["replication_method"]
        else:
            entry["replication_method"] = "FULL_TABLE"
    old = site.state
    for _ in range(2):
        site.advance(0.01)
        again = site.sync(catalog=catalog)
        for stream in STREAMS:
            if stream != "encompass_links":  # always FULL_TABLE: it has no key
                assert sorted(again.ids(stream)) == sorted(first.ids(stream)), stream
        assert again.code == 0
    for parent, packed in marks(site.state, OPENS).items():
        one, two = Mark.unpack(marks(old, OPENS)[parent]), Mark.unpack(packed)
        assert (one.rows, one.last_id, one.order) == (two.rows, two.last_id, two.order)
        assert (one.checked or 0) < (two.checked or 0)
    site.advance(0.01)
    assert site.sync().ids(OPENS) == []
    assert not site.differences()


def without_keys(catalog: dict[str, Any]) -> dict[str, Any]:
    """Return a catalog without replication keys."""
    for entry in catalog["streams"]:
        entry.pop("replication_key", None)
        (root,) = [m for m in entry["metadata"] if not m["breadcrumb"]]
        root["metadata"].pop("replication-key", None)
    return catalog


def test_a_catalog_without_replication_keys_changes_no_interval() -> None:
    site = varied_site()
    site.common["start_date"] = iso(NOW - 7 * DAY)
    recent = site.world.encompass.add_message(sent=NOW - DAY)
    for days in (1, 30):
        site.world.encompass.add_row("opens", recent, date_added=NOW - days * DAY)
    catalog = without_keys(catalog_of(site))
    plain, run = site.sync(load=False), site.sync(load=False, catalog=catalog)
    assert len(plain.ids(OPENS)) == len(run.ids(OPENS))
    dates = [record["date_added"] for record in run.records(OPENS)]
    assert min(dates) >= ms(NOW - 7 * DAY)


@pytest.mark.parametrize("provider", ["constant_contact", "luxsci"])
def test_a_catalog_without_replication_keys_changes_no_record(provider: str) -> None:
    world = World.generate(4, 0, NOW, campaigns=3, luxsci=6)
    site = Account(world) if provider == "constant_contact" else Clinic(world)
    site.common["start_date"] = iso(NOW - 20 * DAY)
    catalog = without_keys(catalog_of(site))
    plain, run = site.sync(load=False), site.sync(load=False, catalog=catalog)
    assert run.code == 0
    assert sorted(map(repr, all_records(plain))) == sorted(map(repr, all_records(run)))
    assert len(all_records(run)) > 50


def all_records(run: Sync) -> list[dict[str, Any]]:
    """Return the records of a run without those about the run and read times."""
    return [
        {**message["record"], "as_of": None}
        for message in run.messages
        if message["type"] == "RECORD"
        and not message["stream"].startswith("email_metrics_")
    ]


def test_deselected_fields_and_streams_never_appear() -> None:
    site = varied_site()
    catalog = catalog_of(site)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"][-1:] in (["ip_address"], ["date_added"]):
                item["metadata"]["selected"] = False
            if not item["breadcrumb"] and entry["tap_stream_id"] in (
                "encompass_clicks",
                "encompass_messages",
            ):
                item["metadata"]["selected"] = False
    run = site.sync(catalog=catalog)
    assert run.code == 0
    assert site.asked("clicks") == []
    for message in run.messages:
        assert message.get("stream") not in {"encompass_clicks", "encompass_messages"}
        if message["type"] == "RECORD":
            assert not {"ip_address"} & message["record"].keys()
        if message["type"] == "SCHEMA":
            assert "ip_address" not in message["schema"]["properties"]
    assert len(run.ids(OPENS)) == 24
    assert "added_at" in run.records(OPENS)[0]


def test_a_stream_that_is_deselected_for_a_while_keeps_its_marks() -> None:
    site = varied_site()
    site.sync()
    known = marks(site.state, OPENS)
    site.sync(streams=("encompass_links",))
    assert marks(site.state, OPENS) == known


# Dates


def test_a_start_date_filters_rows_by_their_own_date() -> None:
    site = varied_site(8)
    start = NOW - 10 * DAY
    late = site.api.add_row("opens", 8)
    old = site.api.add_row("opens", 8, date_added=start - 1)
    edge = site.api.add_row("opens", 8, dateAdded=ms(start))
    site.common["start_date"] = iso(start)
    run = site.sync()
    assert {late, edge} <= set(run.ids(OPENS))
    assert old not in run.ids(OPENS)
    for record in run.records(OPENS) + run.records("encompass_messages"):
        assert record["date_added"] >= ms(start)


def test_messages_are_read_from_the_start_date_less_the_window() -> None:
    site = varied_site(8, activity_window_days=5)
    site.common["start_date"] = iso(NOW - 6 * DAY)
    site.sync()
    assert sorted(site.visited("opens")) == [3, 4]  # 6 and 9 days old; not 12


def backfilled(days: tuple[float, float], site: Site) -> None:
    """Set a backfill of an interval in days before NOW."""
    start, end = days
    site.common |= {
        "backfill": True,
        "start_date": iso(NOW - start * DAY),
        "end_date": iso(NOW - end * DAY),
    }


def live(state: dict[str, Any]) -> dict[str, Any]:
    """Return the bookmarks without the entries of the backfill."""
    return {
        name: {key: value for key, value in entry.items() if key != "backfill"}
        for name, entry in flat(state).items()
    }


def test_a_backfill_emits_its_interval_and_changes_no_live_mark() -> None:
    site = varied_site(8)
    site.sync()
    before = live(site.state)
    backfilled((13, 8), site)
    site.advance(0.5)
    run = site.sync()
    assert run.code == 0
    assert live(site.state) == before
    for stream in ("encompass_messages", *(f"encompass_{k}" for k in KINDS[:4])):
        dates = {record["date_added"] for record in run.records(stream)}
        assert dates, stream
        assert min(dates) >= ms(NOW - 13 * DAY)
        assert max(dates) < ms(NOW - 8 * DAY)
    assert {r["message_id"] for r in run.records(OPENS)} == {4, 5}
    assert len(run.ids(OPENS)) == 8
    site.common.clear()
    site.api.add_row("opens", 3)
    site.sync()
    assert not site.differences()


def test_a_finished_backfill_reads_nothing_more_unless_its_interval_changes() -> None:
    site = varied_site(8)
    site.sync()
    backfilled((13, 8), site)
    site.sync()
    assert site.sync().ids(OPENS) == []
    assert site.asked("opens") == []
    backfilled((16, 8), site)
    assert len(site.sync().ids(OPENS)) == 12


def test_a_backfill_cut_by_max_run_minutes_continues_where_it_stopped() -> None:
    site = varied_site(20, max_concurrency=1)
    site.sync()
    before = live(site.state)
    backfilled((60, 1), site)
    site.common["max_run_minutes"] = 0.15
    slow = SimulatorAdapter(site.world, latency=1.0)
    read: list[int] = []
    runs = 0
    outcome = "paused"
    while outcome == "paused":
        run = site.sync(streams=(OPENS,), transport=slow)
        assert run.code == 0
        read += run.ids(OPENS)
        outcome = run.reports[OPENS]["outcome"]
        runs += 1
        assert runs < 20
    assert runs > 2
    assert len(read) == len(set(read)) == 4 * 18
    after = live(site.state)
    for entries in (before, after):
        entries["_tap"].pop("last_stream", None)
    assert after == before


# Bookmarks


def test_the_bookmark_is_the_newest_key_and_never_goes_back() -> None:
    site = varied_site(8)
    site.api.set_order("shuffled")
    newest = site.api.add_row("opens", 8)
    site.sync()
    entry = site.state["bookmarks"][OPENS]
    assert entry["replication_key"] == "date_added"
    value = entry["replication_key_value"]
    assert value == ms(NOW)
    site.api.delete("opens", newest)
    older = site.api.add_row("opens", 8, date_added=NOW - DAY)
    site.advance(1)
    assert older in site.sync().ids(OPENS)
    assert site.state["bookmarks"][OPENS]["replication_key_value"] == value
    site.sync()
    assert site.state["bookmarks"][OPENS]["replication_key_value"] == value


def test_a_date_in_the_future_moves_the_bookmark_only_to_now() -> None:
    site = varied_site(8)
    later = ms(NOW + 300 * DAY)
    site.api.add_row("opens", 8, dateAdded=later, date_added=NOW)
    site.sync()
    assert site.state["bookmarks"][OPENS]["replication_key_value"] <= ms(NOW + 60)
    newest = site.mark("opens", 8).newest
    assert newest is not None
    assert newest <= NOW + 60
    new = site.api.add_row("opens", 8)
    site.advance(0.5)
    assert new in site.sync().ids(OPENS)


# Costs


def steady_site(count: int, rows: int = 3) -> Site:
    """Return a site whose messages, sent over 170 days, have rows in all lists."""
    world = World(NOW)
    for number in range(count):
        sent = NOW - 170 * DAY * (number + 0.5) / count
        message = world.encompass.add_message(sent=sent)
        for kind in KINDS:
            for row in range(rows):
                when = {} if kind == "links" else {"date_added": sent + row + 1}
                world.encompass.add_row(kind, message, **when)
    return Site(world)


@pytest.mark.slow
def test_three_hundred_messages_cost_this_number_of_requests() -> None:
    site = steady_site(300)
    first = site.sync()
    assert first.requests == 1 + 1 + 300 * 5 + 300 * 2  # an array needs a second page
    assert not site.differences()
    site.advance(0.001)
    quiet = site.sync()
    due = sum(len(site.visited(kind)) for kind in KINDS)
    assert due == 12 * 5  # messages sent less than a week ago
    assert quiet.requests == 1 + 1 + due
    assert quiet.ids(OPENS) == []
    site.advance(0.001)
    new = [site.api.add_row("opens", 1) for _ in range(10)]
    busy = site.sync()
    assert busy.ids(OPENS) == new
    assert busy.requests == quiet.requests
    print(  # noqa: T201
        f"requests for 300 messages: {first.requests} at first, {quiet.requests} "
        f"quiet ({due} due lists), {busy.requests} after 10 opens"
    )


def test_a_quiet_run_costs_one_request_per_list() -> None:
    site = steady_site(100)
    site.sync()
    site.settings["revisit"] = "always"
    site.advance(0.001)
    run = site.sync()
    assert run.requests == 1 + 1 + 100 * 5
    assert sum(len(run.ids(stream)) for stream in STREAMS) == 0


def test_a_state_takes_at_most_250_bytes_per_message() -> None:
    count = 10_000
    site = steady_site(20)
    site.sync()
    assert len(json.dumps(site.state)) < 20 * 250 + 4_500
    # The longest marks: many rows, large ids, failures.
    mark = Mark(
        rows=170_000,
        last_id=2_000_000_000,
        newest=NOW,
        checked=NOW,
        order="a",
        verified=5,
        unsettled=True,
        total=171_000,
    )
    packed = {str(5_000_000 + number): mark.pack() for number in range(count)}
    worst = json.loads(json.dumps(site.state))
    for stream in FAN_OUT:
        own_part(worst["bookmarks"][stream])["marks"] = packed
    size = len(json.dumps(worst, separators=(",", ":")).encode())
    usual = json.loads(json.dumps(site.state))
    found = sum(len(json.dumps(marks(usual, s))) for s in FAN_OUT) / 20
    print(  # noqa: T201
        f"state bytes a message: {found:.0f} as read, {size / count:.0f} at worst"
    )
    assert found <= 250
    assert size / count <= 250
