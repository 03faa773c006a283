"""The streams about the run: comparisons of lists, and a row for each stream."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

import tap_email_metrics.run.run
from simulator.adapter import SimulatorAdapter
from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.providers.encompass.schedule import Mark
from tap_email_metrics.state.marks import is_cut
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Record, Site, Sync, site_of
from tests.support.luxsci import Clinic
from tests.support.reconciled import DATES, complaints
from tests.support.state import flat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HOUR = DAY / 24
LISTS = "email_metrics_reconciliation"
RUNS = "email_metrics_runs"
OPENS = "encompass_opens"
KINDS = ("opens", "clicks", "bounces", "delivers", "recipients", "links")


def lists(run: Sync, stream: str = "") -> dict[str, Record]:
    """Return the rows about the lists of a stream, by parent."""
    found = [r for r in run.records(LISTS) if stream in {"", r["stream"]}]
    rows = {(r["stream"] if not stream else "") + r["parent"]: r for r in found}
    assert len(rows) == len(found)
    return rows


def verdicts(rows: Iterable[Record]) -> dict[str, int]:
    return dict(Counter(row["verdict"] for row in rows))


def numbers(row: Record) -> tuple[int | None, int, int | None, str]:
    """Return the vendor's count, the rows read, their difference and the verdict."""
    return row["api_rows"], row["rows_read"], row["difference"], row["verdict"]


# Encompass


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 7])
def test_every_list_that_is_read_has_a_row_with_its_counts(seed: int) -> None:
    site = Site(World.generate(seed, 12, NOW, days_ahead=10), revisit="always")
    for _ in range(3):
        run = site.sync()
        told = lists(run)
        now = [site.times[-1]]
        assert told.pop("encompass_messagesall")["rows_read"] == len(
            site.truth("messages", now)
        )
        truth = {kind: Counter[str]() for kind in KINDS}
        for kind in KINDS:
            truth[kind].update(str(r["message_id"]) for r in site.truth(kind, now))
        for row in told.values():
            kind = row["stream"].removeprefix("encompass_")
            assert row["rows_read"] == truth[kind][row["parent"]], row
            assert row["verdict"] in {"equal", "unknown"}
            assert row["run"] == run.records(RUNS)[0]["run"]
        for kind in KINDS:
            read = [r for r in told.values() if r["stream"] == f"encompass_{kind}"]
            assert len(read) == run.reports[f"encompass_{kind}"].get("parents", 0)
        site.advance(3)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "repeat_row"}, (3, 2, 1, "differs")),
        ({"kind": "shift_total", "by": -1}, (2, 3, -1, "differs")),
        # The page after the last has a total of 3 again.
        ({"kind": "shift_total", "by": 2}, (5, 3, 2, "differs")),
    ],
)
def test_a_list_that_differs_from_its_total_gets_this_verdict(
    fault: dict[str, Any],
    expected: tuple[int, int, int, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, (odd, good) = site_of(3, 4)
    site.world.faults.add(message_id=odd, path="/opens$", **fault)
    run = site.sync()
    rows = lists(run, OPENS)
    assert numbers(rows[str(odd)]) == expected
    assert numbers(rows[str(good)]) == (3, 3, 0, "equal")
    differs = expected[-1] == "differs"
    assert ("after another read: 1;" in caplog.text) is differs
    site.world.faults.clear()
    site.advance(1 / 24)
    assert numbers(lists(site.sync(), OPENS)[str(odd)]) == (3, 3, 0, "equal")


def test_a_list_that_differs_is_named_in_the_run_summary(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tap-email-metrics")
    site, (odd,) = site_of(3)
    site.world.faults.add("repeat_row", message_id=odd, path="/opens$")
    site.sync(streams=("opens",))  # also if the stream of lists is not selected
    [line] = [r.getMessage() for r in caplog.records if "run_summary" in r.getMessage()]
    summary = json.loads(line)
    assert summary["reconciliation"] == {"differs": 1}
    named = {"stream": OPENS, "parent": str(odd), "counted": 3, "read": 2}
    assert summary["differing"] == [named]


@pytest.mark.parametrize("in_total", [True, False])
def test_archived_rows_are_not_reported_as_lost(
    in_total: bool,  # noqa: FBT001
) -> None:
    site, (old, new) = site_of(179, 3)
    site.api.set_policy(archived_in_total=in_total)
    assert numbers(lists(site.sync(), OPENS)[str(old)]) == (3, 3, 0, "equal")
    site.advance(1.00002)  # the first of three rows is older than 180 days
    site.settings["revisit"] = "always"
    told = lists(site.sync(), OPENS)
    wanted = (3, 2, 1, "archived") if in_total else (2, 2, 0, "equal")
    assert numbers(told[str(old)]) == wanted
    assert numbers(told[str(new)]) == (3, 3, 0, "equal")


def test_recipients_are_compared_with_the_sent_count() -> None:
    site, (message,) = site_of(3)
    for _ in range(4):
        site.api.add_row("recipients", message)
    site.api.correct("messages", message, sentCount=6)
    row = lists(site.sync(), "encompass_recipients")[str(message)]
    assert numbers(row) == (4, 4, 0, "equal")
    assert row["aggregate_name"] == "sent_count"
    assert (row["aggregate"], row["aggregate_difference"]) == (6, 2)
    assert lists(site.sync(), OPENS)[str(message)]["aggregate"] is None


def test_after_a_probe_the_row_counts_the_whole_list() -> None:
    site, (message,) = site_of(3)
    site.sync()
    site.api.add_row("opens", message)
    run = site.sync()
    assert site.starts("opens") == [2]
    assert numbers(lists(run, OPENS)[str(message)]) == (4, 4, 0, "equal")


# Order, state, selection


@pytest.fixture
def _many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a STATE whenever anything was written since the last one."""
    monkeypatch.setattr(tap_email_metrics.run.run, "STATE_SHARE", 0)


@pytest.mark.usefixtures("_many_states")
def test_rows_come_before_the_row_about_their_list_and_then_the_state() -> None:
    site = Site(World.generate(4, 8, NOW))
    told: set[tuple[str, str]] = set()
    for message in site.sync().messages:
        record, stream = message.get("record", {}), message.get("stream")
        if stream == LISTS and record:
            told.add((record["stream"], record["parent"]))
        elif "message_id" in record:
            assert (stream, str(record["message_id"])) not in told
        for name, entry in flat(message.get("value", {})).items():
            for parent, mark in entry.get("marks", {}).items():
                # A list that is half read has a mark but no row about it yet.
                assert (name, parent) in told or is_cut(Mark.unpack(mark))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encompass", "constant_contact", "luxsci"])
def test_the_streams_about_the_run_cost_no_request_and_no_state(kind: str) -> None:
    found = []
    for left_out in (False, True):
        site = any_site(kind, max_concurrency=1)
        requests = []
        for _ in range(2):
            catalog = site.tap().catalog_dict
            for entry in catalog["streams"]:
                if left_out and entry["tap_stream_id"] in {LISTS, RUNS}:
                    entry["metadata"][-1]["metadata"]["selected"] = False
                    root = [m for m in entry["metadata"] if not m["breadcrumb"]]
                    root[0]["metadata"]["selected"] = False
            run = site.sync(catalog=catalog)
            assert run.code == 0
            assert bool(run.records(LISTS) and run.records(RUNS)) is not left_out
            schemas = {m["stream"] for m in run.messages if m["type"] == "SCHEMA"}
            assert bool({LISTS, RUNS} & schemas) is not left_out
            requests.append((run.requests, run.lists))
            site.advance(1)
        found.append((requests, flat(site.state)))
    assert found[0] == found[1]
    assert not [key for key in found[0][1] if key.startswith("email_")]


def any_site(kind: str, **settings: Any) -> Site:
    """Return a small account of a provider."""
    if kind == "encompass":
        return Site(World.generate(4, 6, NOW, days_ahead=4), **settings)
    if kind == "constant_contact":
        return Account(World.generate(4, 0, NOW, campaigns=4, days_ahead=4), **settings)
    clinic = Clinic(World.generate(4, 0, NOW, luxsci=15, days_ahead=4), **settings)
    clinic.common["start_date"] = iso(NOW - 20 * DAY)
    return clinic


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encompass", "constant_contact", "luxsci"])
def test_records_fit_their_schemas(kind: str) -> None:
    run = any_site(kind).sync()
    schemas = {m["stream"]: m for m in run.messages if m["type"] == "SCHEMA"}
    for stream in (LISTS, RUNS):
        records = run.records(stream)
        assert records
        validator = Draft7Validator(schemas[stream]["schema"])
        assert not [e for r in records for e in validator.iter_errors(r)]
        key = schemas[stream]["key_properties"]
        assert len({tuple(r[k] for k in key) for r in records}) == len(records)
        assert {r["provider"] for r in records} == {kind}


def test_the_streams_about_the_run_can_be_mapped() -> None:
    site, _ = site_of(3)
    site.common["stream_maps"] = {LISTS: {"__alias__": "counts", "login": None}}
    run = site.sync(load=False)
    assert run.records(LISTS) == []
    assert len(run.records("counts")) == 1 + len(KINDS)
    assert not [row for row in run.records("counts") if "login" in row]


# The run itself


def test_a_run_has_a_row_for_each_stream_equal_to_its_summary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # the folder of the ledger
    site, _ = site_of(3, 400, daily_requests=1000)
    run = site.sync()
    rows = {row["stream"]: row for row in run.records(RUNS)}
    assert list(rows) == list(run.reports)
    assert {row["run"] for row in rows.values()} == {"2026-09-21T14:13:20.000Z"}
    assert {row["account"] for row in rows.values()} == {site.api.client_id}
    for stream, report in run.reports.items():
        for name in ("outcome", "records", "requests"):
            assert rows[stream][name] == report[name]
        assert rows[stream]["parents"] == report.get("parents", 0)
        # Without the requests that this process has reserved.
        assert 950 < rows[stream]["quota_left"] <= 1000 - run.requests
        assert rows[stream]["started_at"] <= rows[stream]["finished_at"]
    assert rows[OPENS]["behind_since"] == run.reports[OPENS]["behind_since"].replace(
        "Z", ".000Z"
    )
    assert rows[OPENS]["headroom_days"] == run.reports[OPENS]["headroom_days"]
    last = [m["type"] for m in run.messages][-len(rows) - 1 :]
    assert last == ["RECORD"] * len(rows) + ["STATE"]
    site.advance(1)
    site.sync()
    assert len(site.target.rows[RUNS]) == 2 * len(rows)


def test_a_run_ended_by_a_signal_is_recorded_so() -> None:
    site, _ = site_of(*range(1, 20), max_concurrency=1)
    tap = site.tap()
    seen = 0

    def end(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 8:
            tap.run.stop.by_signal(15)

    site.world.on_request(end)
    assert tap.execute() == 143
    tap.output.flush()
    messages = tap.output.messages  # type: ignore[attr-defined]
    told = [m["record"] for m in messages if m.get("stream") == RUNS and "record" in m]
    outcomes = {row["stream"]: row["outcome"] for row in told}
    assert outcomes.pop("encompass_messages") == "complete"
    assert set(outcomes) == {f"encompass_{kind}" for kind in KINDS}
    assert set(outcomes.values()) == {"terminated"}
    assert messages[-1]["type"] == "STATE"
    records = [m for m in messages if m["type"] == "RECORD"]
    told = [m["record"] for m in records if m["stream"] == LISTS]
    read = {m["record"]["message_id"] for m in records if m["stream"] == OPENS}
    assert {row["parent"] for row in told} <= {"all", *map(str, read)}


def test_paused_and_failed_runs_are_recorded_so() -> None:
    site, _ = site_of(*range(1, 20), max_concurrency=1)
    site.common["max_run_minutes"] = 0.2
    run = site.sync(transport=SimulatorAdapter(site.world, latency=1.0))
    assert {row["outcome"] for row in run.records(RUNS)} >= {"paused"}
    site.common.clear()
    site.world.faults.add("status", path="/v2/messages$", status=500)
    run = site.sync()
    assert run.code == 1
    assert {row["outcome"] for row in run.records(RUNS)} == {"failed"}
    assert "GET /v2/messages answered 500" in run.records(RUNS)[0]["message"]


def test_a_backfill_is_recorded_as_one() -> None:
    """Otherwise it would pass for a run that has read new rows."""
    site, _ = site_of(3)
    assert {row["backfill"] for row in site.sync().records(RUNS)} == {False}
    site.common |= {
        "backfill": True,
        "start_date": iso(NOW - 30 * DAY),
        "end_date": iso(NOW - 10 * DAY),
    }
    rows = site.sync().records(RUNS)
    assert {row["backfill"] for row in rows} == {True}
    assert {row["outcome"] for row in rows} <= {"complete", "empty"}
    # The mart of the headroom leaves backfills out by this column.
    assert {row["headroom_days"] for row in rows} == {None}


def test_a_run_with_refused_credentials_has_no_rows() -> None:
    """A record would tell `meltano config test` that the credentials are right."""
    site, _ = site_of(3, client_secret="wrong")
    run = site.sync()
    assert run.code == 2
    assert [m for m in run.messages if m["type"] == "RECORD"] == []


# Constant Contact


@pytest.mark.slow
def test_lists_are_compared_with_the_counters_of_their_campaign() -> None:
    account = Account(World.generate(6, 0, NOW, campaigns=6, days_ahead=6))
    streams = ("sends", "opens", "clicks", "forwards", "optouts", "bounces")
    found = set()
    for _ in range(3):
        run = account.sync()
        now = [account.times[-1]]
        truth = Counter[tuple[str, str]]()
        campaign_of = {
            row["campaign_activity_id"]: row["campaign_id"]
            for row in account.truth("campaign_activities", now)
        }
        for name in (*streams, "unique_opens"):
            for row in account.truth(name, now):
                truth[name, campaign_of[row["campaign_activity_id"]]] += 1
        for name in (*streams, "unique_opens"):
            for campaign, row in lists(run, f"constant_contact_{name}").items():
                assert row["rows_read"] == truth[name, campaign], row
                assert row["verdict"] == "equal", row
                assert row["api_rows"] is None
                found.add((name, row["aggregate_name"]))
        account.advance(2)
    assert found == {
        *((n, f"em_{n}") for n in ("sends", "forwards", "optouts", "bounces")),
        *((n, f"em_{n}_all") for n in ("opens", "clicks")),
        ("unique_opens", "em_opens"),
    }


def test_a_counter_of_rows_that_never_appear_differs_in_the_end() -> None:
    account = Account()
    api = account.api
    sent = api.add_campaign(sent=NOW - 3 * DAY, recipients=4, links=1)
    api.add_event("opens", sent, created=NOW - HOUR)
    never = NOW + 999 * DAY
    api.add_event("opens", sent, created=NOW, visible_from=never, counted_from=NOW)
    seen = []
    for _ in range(4):
        row = lists(account.sync(), "constant_contact_opens")[sent]
        assert (row["aggregate"], row["rows_read"], row["difference"]) == (2, 1, 1)
        seen.append(row["verdict"])
        account.advance(1)
    assert seen == ["unsettled"] * 3 + ["differs"]
    # Its counter does not move: nothing is read or reported.
    assert lists(account.sync(), "constant_contact_opens") == {}


def test_counters_of_contacts_are_compared_with_contacts() -> None:
    account = Account()
    api = account.api
    sent = api.add_campaign(sent=NOW - 3 * DAY, recipients=4, links=1)
    contact = api.add_contact()
    for number in range(3):
        api.add_event("forwards", sent, contact, created=NOW - number * HOUR - 1)
    row = lists(account.sync(), "constant_contact_forwards")[sent]
    assert (row["rows_read"], row["contacts_read"], row["aggregate"]) == (3, 1, 1)
    assert (row["difference"], row["verdict"]) == (0, "equal")


# LuxSci


def clinic_of(**settings: Any) -> Clinic:
    clinic = Clinic(World.generate(7, 0, NOW, luxsci=60, days_ahead=4), **settings)
    clinic.common["start_date"] = iso(NOW - 40 * DAY)
    return clinic


@pytest.mark.slow
def test_windows_are_compared_with_counts_and_days_with_summaries() -> None:
    clinic = clinic_of()
    days = set()
    for _ in range(3):
        run = clinic.sync()
        told = lists(run)
        assert verdicts(told.values()) == {"equal": len(told)}
        rows = clinic.truth("opens", [clinic.times[-1]])
        for row in lists(run, "luxsci_opens").values():
            channel, time = row["parent"].split()
            start, _, end = time.partition("/")
            end = end or f"{time}T24"
            mine = [
                one
                for one in rows
                if one["channel"] == channel and start <= one["open_date"] < end
            ]
            assert row["rows_read"] == len(mine), row
            if row["aggregate"] is not None:
                days.add(time)
                assert row["aggregate_name"] == "opens_summary.all_opens"
        clinic.advance(1)
    assert len(days) == 39 + 2  # whole days of the first run, one of each later run


@pytest.mark.slow
def test_a_day_with_fewer_rows_than_its_summary_differs() -> None:
    clinic = clinic_of()
    sent = clinic.api.add_message(sent=NOW - 5 * DAY, recipients=1)
    [to] = [
        str(entry.row.fields(NOW)["to"])
        for entry in clinic.api.entries("delivery_status", "smtp", NOW)
        if entry.row.fields(NOW)["sendmail_id"] == sent
    ]
    late = [NOW - 3 * DAY, NOW - DAY]

    def come_late(_method: str, path: str, _query: Any) -> None:
        while late and path.endswith("/smtp/opens/summary"):
            clinic.api.add_open(sent, to, at=late.pop())

    clinic.world.on_request(come_late)
    told = lists(clinic.sync(), "luxsci_opens")
    odd = {k: row for k, row in told.items() if row["verdict"] != "equal"}
    assert {k: (row["difference"], row["verdict"]) for k, row in odd.items()} == {
        f"smtp {iso(NOW - 3 * DAY)[:10]}": (1, "differs"),
        f"smtp {iso(NOW - DAY)[:10]}": (1, "unsettled"),
    }


def test_days_are_not_compared_if_a_list_is_filtered_by_another_date() -> None:
    clinic = clinic_of()
    clinic.api.set_policy(event_date="date_sent")
    told = lists(clinic.sync(streams=("opens", "opens_summary", LISTS)), "luxsci_opens")
    assert told
    assert {row["aggregate"] for row in told.values()} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", "hash", "domain", "drop"])
def test_no_login_appears_where_the_mode_forbids_it(mode: str) -> None:
    clinic = clinic_of()
    if mode != "plain":
        clinic.common["pii"] = {"mode": mode, "pepper": "a pepper of the tests"}
    told = clinic.sync().records(LISTS)
    own = [row for row in told if row["stream"].startswith("luxsci_marketing_")]
    logins = {row["login"] for row in own}
    owners = {row["parent"].split()[0] for row in own}
    given = clinic.settings["logins"]
    digests = {hashlib.sha256(login.encode()).hexdigest()[:16] for login in given}
    assert len(owners) == len(given)
    if mode == "plain":
        assert (logins, owners) == ({*given}, digests)
        return
    assert not owners & digests
    assert not [login for login in given if login in json.dumps(told)]
    assert len(logins) == (len(given) if mode == "hash" else 1)


# The comparison of the demo


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encompass", "constant_contact", "luxsci"])
def test_the_demo_finds_errors_in_the_streams_about_the_run(kind: str) -> None:
    site = any_site(kind)
    records = []
    for _ in range(2):
        run = site.sync()
        records.append({s: report["records"] for s, report in run.reports.items()})
        site.advance(2)

    def truth(stream: str) -> list[Record]:
        short = stream.removeprefix(f"{kind}_")
        return site.truth(short, [site.times[-1]])

    def held(stream: str) -> Iterable[Record]:
        return site.target.rows[stream].values()

    assert complaints(held, truth, records) == []
    assert complaints(held, truth, records[1:]) != []
    told = [row for row in held(LISTS) if row["aggregate"] or row["api_rows"]]
    last = max(row["run"] for row in told)
    for row in told:
        dated = not row["stream"].startswith("luxsci") or row["stream"] in DATES
        if row["run"] == last and dated and row["parent"] != "all":
            row["rows_read"] += 1
            break
    assert len(complaints(held, truth, records)) == 1
