"""The dbt project on DuckDB: its marts compared with a computation in Python."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulator.clock import DAY
from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.records.schemas import load_schema
from tests.e2e.transform import expected, expected_marts
from tests.e2e.transform.expected import Row, Rows, instant
from tests.support.comparison import by_key
from tests.support.postgres import Postgres
from tests.support.project import CACHE, ROOT
from tests.support.world import KEYS

pytestmark = pytest.mark.meltano

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
FIRST = datetime.fromisoformat("2026-09-21T15:00:00")
SECOND = FIRST + timedelta(days=3)
#: Loaded before the newest row of the first build, but only the second build sees it.
LATE = FIRST - timedelta(hours=20)
#: When a machine loaded rows whose clock was ahead.
AHEAD = datetime.fromisoformat("2100-01-01")
IN_TWO_ACCOUNTS = "twice@example.org"
NOBODY = "nobody"
#: A zone whose summer time begins in March and ends in November.
ZONE = "America/New_York"
STEPS = Path(__file__).with_name("steps.py")
TYPES = {"string": "varchar", "integer": "bigint", "number": "double"}
TYPES |= {"boolean": "boolean", "object": "json", "array": "json"}
FORMATS = {"date-time": "timestamp", "date": "date"}
#: Variables of the user to leave out; PYTHONDONTWRITEBYTECODE doubles dbt's start.
FOREIGN = ("DBT_", "EMAIL_METRICS_", "PYTHONDONTWRITEBYTECODE")
MOMENTS = ("_sdc_received_at", "extracted_at")
BARE = "luxsci_"
"""Streams loaded by a target that adds no columns."""
MIXED = ("encompass_", "constant_contact_")
"""Streams loaded by a target that added columns at times only.

A row that it inserted without them is null there. A row that it changed without them
keeps the time of an earlier load. The tap's column was likewise selected at times only.
"""
EARLIER = timedelta(days=3)
ADDRESSES = ("email_address", "to_address", "email")
RUNS = {
    **dict.fromkeys(("account", "run", "provider", "stream", "outcome"), "varchar"),
    **dict.fromkeys(("behind_since", "started_at", "finished_at"), "timestamp"),
    **dict.fromkeys(("records", "requests", "quota_left"), "bigint"),
    **dict.fromkeys(("headroom_days", "seconds"), "double"),
    "backfill": "boolean",
    "_sdc_received_at": "timestamp",
}


@dataclass
class Load:
    """The rows that one run of a target appends, by stream, with their load times."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, stream: str, row: Row, at: datetime = FIRST) -> None:
        rows = self.rows.setdefault(stream, [])
        rows.append({**row, **times_of(stream, len(rows), at)})

    def write(self, folder: Path) -> None:
        folder.mkdir()
        shapes = {stream: columns(stream) for stream in self.rows}
        (folder / "tables.json").write_text(json.dumps(shapes))
        for stream, rows in self.rows.items():
            lines = (json.dumps(pick(row, shapes[stream])) for row in rows)
            (folder / f"{stream}.jsonl").write_text("\n".join(lines))


def times_of(stream: str, number: int, at: datetime) -> Row:
    """Return the columns of a stream's row that was loaded at a time."""
    found: Row = dict.fromkeys(MOMENTS, at.isoformat())
    if stream.startswith(MIXED):
        earlier = (at - EARLIER).isoformat() if number % 4 < 2 else None
        found[MOMENTS[number % 2]] = earlier
    return found


def columns(stream: str) -> dict[str, str]:
    """Return the columns and types of a table as a target creates them."""
    if stream == "email_metrics_runs":
        return RUNS
    found = {}
    for name, schema in load_schema(stream)["properties"].items():
        [kind] = (
            {schema["type"]}
            if isinstance(schema["type"], str)
            else {*schema["type"]} - {"null"}
        )
        found[name] = FORMATS.get(schema.get("format", ""), TYPES[kind])
        if "x-pii" in schema and kind == "integer":
            found[name] = "varchar"  # with `pii.mode` hash it holds a hash
    added = {} if stream.startswith(BARE) else {"_sdc_received_at": "timestamp"}
    return found | added


def pick(row: Row, names: dict[str, str]) -> Row:
    return {name: row.get(name) for name in names}


@dataclass(frozen=True)
class Built:
    """The marts after two builds, and the rows of each build.

    Attributes:
        refreshed: a full refresh of the second build with another time zone.
    """

    first: dict[str, list[Row]]
    second: dict[str, list[Row]]
    refreshed: dict[str, list[Row]]
    rows: Rows
    later_rows: Rows
    only_luxsci: dict[str, list[Row]]

    def build(self, name: str) -> tuple[Rows, dict[str, list[Row]], str]:
        """Return the rows, the marts and the time zone of a build."""
        rows = self.rows if name == "first" else self.later_rows
        return rows, getattr(self, name), ZONE if name == "refreshed" else "UTC"


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    folder = tmp_path_factory.mktemp("transform")
    world = World.generate(7, 6, NOW, days_ahead=30, campaigns=5, luxsci=40)
    rows = {stream: mailed(truth(world, stream, [NOW])) for stream in KEYS}
    rows = odd(rows)
    rows = {stream: [*those, *hashed(those)] for stream, those in rows.items()}
    first_load(rows).write(folder / "first")
    later = later_rows(world, rows)
    second_load(rows, later).write(folder / "second")
    luxsci_begin(rows).write(folder / "begin")
    luxsci_load(rows).write(folder / "luxsci")
    if request.param == "duckdb":
        run_steps(folder, DBT_TARGET="duckdb")
    else:
        with Postgres(folder / "postgres") as postgres:
            run_steps(folder, DBT_TARGET="postgres", **postgres.dbt_settings)
    dumps = {name: marts(folder / name) for name in ("m1", "m2", "m3", "m4")}
    return Built(dumps["m1"], dumps["m2"], dumps["m3"], rows, later, dumps["m4"])


def mailed(rows: list[Row]) -> list[Row]:
    """Return the rows with a third of the people moved to a large mailbox provider."""
    for row in rows:
        for name in ADDRESSES:
            address = row.get(name)
            if address and "recipient_domain" in row and digest(address)[0] < "5":
                row[name] = f"{address.partition('@')[0]}@gmail.com"
                row["recipient_domain"] = "gmail.com"
    return rows


def odd(rows: Rows) -> Rows:
    """Return the rows with values that broke marts before."""
    for kind in ("delivery_status", "opens", "clicks", "sent"):
        those = rows[f"luxsci_{kind}"]
        smtp = [row for row in those if row["channel"] == "smtp"][:30]
        for row in smtp:
            also = {**row, "channel": "webmail"}
            if "event_id" in row:
                also["event_id"] = f"webmail-{row['event_id']}"[:32]
                also["sendmail_id"] = f"{row['sendmail_id']} "
                also["to_address"] = row["to_address"].upper()
            those.append(also)
    for number, blank in enumerate(("", " ", None)):
        without = rows["luxsci_delivery_status"][number]
        row = {**without, "event_id": f"blank-{number}", "sendmail_id": blank}
        rows["luxsci_delivery_status"].append(row)
    sent = {**rows["luxsci_sent"][0], "sendmail_id": ""}
    rows["luxsci_sent"].append(sent)
    soft, hard, *_ = rows["luxsci_marketing_campaigns"]
    soft["n_hard_bounce"] = hard["n_soft_bounce"] = None
    corrected(rows)["email_address"] = IN_TWO_ACCOUNTS
    for row in rows["luxsci_opens"][-2:]:
        row["to_address"] = IN_TWO_ACCOUNTS
    rows["constant_contact_opens"][-1]["contact_id"] = None
    nobody = dict.fromkeys(("sendmail_id", "to_address", "recipient_domain"))
    nobody |= {"event_id": NOBODY}
    rows["luxsci_opens"].append({**rows["luxsci_opens"][0], **nobody})
    return rows


def corrected(rows: Rows) -> Row:
    """Return the recipient whose address is corrected before the second load."""
    opened = rows["encompass_opens"][0]
    return next(
        row
        for row in rows["encompass_recipients"]
        if row["account"] == opened["account"]
        and row["message_id"] == opened["message_id"]
        and row["id"] == opened["recipient_id"]
    )


def hashed(rows: list[Row]) -> list[Row]:
    """Return rows of a second account, loaded with `pii.mode` hash."""
    return [
        {
            name: digest(value) if value and name in ADDRESSES else value
            for name, value in row.items()
        }
        | {"account": "hashed"}
        for row in rows
    ]


def digest(value: str) -> str:
    return hmac.new(
        b"pepper", value.strip().lower().encode(), hashlib.sha256
    ).hexdigest()


def first_load(rows: Rows) -> Load:
    """Return a load of the rows, some of them twice and some with an older version."""
    load = Load()
    for stream, those in rows.items():
        for number, row in enumerate(those):
            load.add(stream, row)
            if number % 10 == 0:
                load.add(stream, row)
    # The older version has the later time of change of the vendor.
    future = {"updated_at": "2030-01-01T00:00:00Z", "last_updated": None}
    for row in rows["encompass_recipients"][:20]:
        old = {**row, **future, "email_address": "old@example.org"}
        load.add("encompass_recipients", old, FIRST - timedelta(days=1))
    for row in rows["luxsci_delivery_status"][:20]:
        old = {**row, "status": "Soft Bounce", "last_updated": "2030-01-01T00:00:00Z"}
        load.add("luxsci_delivery_status", old, FIRST - timedelta(days=1))
    return load


def later_rows(world: World, rows: Rows) -> Rows:
    """Return the rows five days later, with corrections of every kind."""
    later = {}
    for stream, those in rows.items():
        now = {tuple(r[k] for k in KEYS[stream]): r for r in those}
        found = mailed(truth(world, stream, [NOW, NOW + 5 * DAY]))
        now |= {tuple(r[k] for k in KEYS[stream]): r for r in found}
        later[stream] = list(now.values())
    # No event of this recipient is loaded again.
    old = corrected(later)
    later["encompass_recipients"] = [
        {**row, "email_address": "New@Example.org"} if row is old else row
        for row in later["encompass_recipients"]
    ]
    delivered = next(
        r for r in later["luxsci_delivery_status"] if r["status"] == "Delivered"
    )
    later["luxsci_delivery_status"] = [
        {**row, "status": "Post-Delivery Hard Fail"} if row is delivered else row
        for row in later["luxsci_delivery_status"]
    ]
    later["encompass_opens"].append(late_open(later))
    return later


def late_open(rows: Rows) -> Row:
    return {**rows["encompass_opens"][0], "id": 999_999_999}


def second_load(before: Rows, after: Rows) -> Load:
    """Return a load of new and changed rows, with the rows of two runs."""
    load = Load()
    for stream, those in after.items():
        old = by_key(before[stream], KEYS[stream])
        for row in those:
            if old.get(tuple(row[name] for name in KEYS[stream])) != row:
                late = row.get("id") == late_open(after)["id"]
                load.add(stream, row, LATE if late else SECOND)
    run: Row = {"account": "10055", "provider": "encompass", "outcome": "complete"}
    run |= {"stream": "encompass_opens", "run": "1", "headroom_days": 100.0}
    run |= {"started_at": "2026-09-01T00:00:00", "finished_at": "2026-09-01T01:00:00"}
    run |= {"requests": 7, "records": 900, "seconds": 2.5, "quota_left": 5000}
    # A row of an older tap without the column `backfill` counts as a normal run.
    load.add("email_metrics_runs", run)
    run |= {"backfill": False, "run": "2", "outcome": "paused", "headroom_days": 90.0}
    run |= {"started_at": "2026-09-11T00:00:00", "finished_at": "2026-09-11T01:00:00"}
    load.add("email_metrics_runs", {**run, "behind_since": "2026-09-10T00:00:00"})
    load.add("email_metrics_runs", {**run, "stream": "encompass_clicks"})
    load.add("email_metrics_runs", backfill_after(run))
    run |= {"provider": "luxsci", "stream": "luxsci_opens", "headroom_days": None}
    load.add("email_metrics_runs", run)
    return load


def backfill_after(run: Row) -> Row:
    """Return the row of a later run that backfilled one month."""
    found = {**run, "run": "3", "backfill": True, "outcome": "complete"}
    found |= {"headroom_days": None, "behind_since": None}
    at = "2026-09-12T00:00:00"
    return found | {"started_at": at, "finished_at": at}


def luxsci_begin(rows: Rows) -> Load:
    """Return a load of messages and of opens of nobody, by a clock that was ahead."""
    load = Load()
    for row in rows["luxsci_sent"]:
        load.add("luxsci_sent", row)
    for row in rows["luxsci_opens"]:
        if row["event_id"] == NOBODY:
            load.add("luxsci_opens", row, AHEAD)
    return load


def luxsci_load(rows: Rows) -> Load:
    """Return the load of an account that reads LuxSci's email but not its marketing."""
    load = Load()
    now = datetime.now(UTC).replace(tzinfo=None)
    for stream in ("luxsci_delivery_status", "luxsci_opens"):
        for row in rows[stream]:
            load.add(stream, row, now)
    return load


def run_steps(folder: Path, **environment: str) -> None:
    """Build, load later rows and build again; also build LuxSci alone, in two steps."""
    one, other = "one", "luxsci"
    if environment["DBT_TARGET"] == "duckdb":
        one, other = (str(folder / f"{name}.duckdb") for name in (one, other))
    # As on most days: only models that depend on new rows, and no alerts.
    models = ["email_events+", "stg_email_metrics_runs+", "email_list_daily"]
    quiet = ["--exclude", "tag:alert"]
    only = json.dumps({"providers": ["luxsci"]})
    zone = ["--vars", json.dumps({"timezone": ZONE})]
    steps: list[dict[str, Any]] = [
        {"database": one, "load": str(folder / "first")},
        {"database": one, "dbt": ["build", *quiet]},
        {"database": one, "dump": str(folder / "m1")},
        {"database": one, "load": str(folder / "second")},
        {"database": one, "dbt": ["build", "--select", *models, *quiet]},
        {"database": one, "dump": str(folder / "m2")},
        {"database": one, "dbt": ["run", "--full-refresh", "--select", *models, *zone]},
        {"database": one, "dump": str(folder / "m3")},
        {"database": other, "load": str(folder / "begin")},
        {"database": other, "dbt": ["seed", "--vars", only]},
        {"database": other, "dbt": ["run", "--vars", only]},
        {"database": other, "load": str(folder / "luxsci")},
        {"database": other, "dbt": ["build", "--vars", only, *quiet]},
        {"database": other, "dump": str(folder / "m4")},
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    run_dbt(folder, "dbt", STEPS, folder / "steps.json", **environment)


def run_dbt(
    folder: Path, tool: str, program: Path, *arguments: Path | str, **more: str
) -> str:
    """Run a program in a named environment of dbt; return its output."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)},
        "DBT_PROJECT_DIR": str(ROOT / "transform"),
        "DBT_PROFILES_DIR": str(ROOT / "transform"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_USE_COLORS": "false",
        "DBT_QUIET": "true",
        **more,
    }
    done = subprocess.run(  # noqa: S603 - our own environment
        [CACHE / tool / "bin" / "python", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def marts(folder: Path) -> dict[str, list[Row]]:
    return {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}


def events_of(found: dict[str, list[Row]]) -> dict[str, Row]:
    """Return the events by key without their load times."""
    return {
        row["event_key"]: {
            name: instant(value) if name.endswith("_at") else value
            for name, value in row.items()
            if name not in ("loaded_at", "built_at", "former_recipient_key")
        }
        for row in found["email_events"]
    }


def expected_events(rows: Rows) -> dict[str, Row]:
    """Return the events of these rows with the machines flagged."""
    found = expected.events(rows)
    expected_marts.judge(found, rows)
    return found


def by(found: list[Row], *names: str) -> dict[tuple[Any, ...], Row]:
    """Return rows of a mart by these columns, with times parsed."""
    rows = {}
    for row in found:
        shown = {k: instant(v) if k[-3:] == "_at" else v for k, v in row.items()}
        rows[tuple(shown.pop(name) for name in names)] = shown
    assert len(rows) == len(found)
    return rows


def some(rows: dict[Any, Row], wanted: dict[Any, Row]) -> dict[Any, Row]:
    """Return rows with only the wanted columns, and with comparable numbers."""
    [names, *_] = [list(row) for row in wanted.values()]
    return {key: {name: row[name] for name in names} for key, row in rows.items()}


each_build = pytest.mark.parametrize("build", ["first", "second", "refreshed"])


@each_build
def test_email_events_holds_the_events_of_the_streams(built: Built, build: str) -> None:
    rows, found, _ = built.build(build)
    wanted = expected_events(rows)

    assert events_of(found) == wanted
    assert len(found["email_events"]) == len(wanted)


def test_the_test_data_contains_duplicates_corrections_and_hashes(built: Built) -> None:
    """Otherwise the other tests could not find errors in handling them."""
    first, second = events_of(built.first), events_of(built.second)
    people = {event["recipient_key"] for event in first.values()}
    assert "old@example.org" not in people
    both = {p for p in people if p and "@" in p and digest(p) in people}
    assert both
    assert "new@example.org" in {event["recipient_key"] for event in second.values()}
    twice = [
        {e["provider"] for e in found.values() if e["recipient_key"] == IN_TWO_ACCOUNTS}
        for found in (first, second)
    ]
    assert twice == [{"encompass", "luxsci"}, {"luxsci"}]
    moved = {k for k, e in first.items() if second[k]["event_type"] != e["event_type"]}
    assert [first[key]["event_type"] for key in moved] == ["delivered"]
    assert f"{late_open(built.later_rows)['id']}" in {k.split("/")[-1] for k in second}
    assert len(second) > len(first) + 10


@each_build
def test_email_message_daily_counts_events_by_message_type_and_day(
    built: Built, build: str
) -> None:
    rows, found, zone = built.build(build)
    message = ("provider", "account", "message_key", "event_type", "event_date")
    shown = {
        key: (row["event_count"], row["human_event_count"], row["recipient_count"])
        for key, row in by(found["email_message_daily"], *message).items()
    }

    assert shown == expected.daily(expected_events(rows).values(), zone)


@each_build
def test_email_engagement_sums_up_each_recipient(built: Built, build: str) -> None:
    rows, found, _ = built.build(build)
    who = ("provider", "account", "recipient_key")
    wanted = expected.engagement(expected.events(rows).values())

    assert some(by(found["email_engagement"], *who), wanted) == wanted


@each_build
def test_email_messages_holds_every_message(built: Built, build: str) -> None:
    rows, found, _ = built.build(build)
    wanted = expected.messages(rows, expected.events(rows).values())
    shown = by(found["email_messages"], "provider", "account", "message_key")

    assert {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in shown.items()
    } == {
        key: {name: value for name, value in row.items() if value is not None}
        for key, row in wanted.items()
    }


def test_an_incremental_build_writes_changed_events_and_few_others(
    built: Built,
) -> None:
    before, after = events_of(built.first), events_of(built.second)
    changed = {key for key, event in after.items() if before.get(key) != event}
    newest = max(row["built_at"] for row in built.first["email_events"])
    written = {
        row["event_key"]
        for row in built.second["email_events"]
        if row["built_at"] > newest
    }

    assert changed <= written
    # All events of a recipient whose row was loaded again count as loaded again.
    assert len(written) < len(changed) + 50 < len(after) / 10
    for mart in ("email_message_recipients", "email_engagement"):
        rows = [row for row in built.second[mart] if row["built_at"] > newest]
        assert 0 < len(rows) <= len(written)


PAIR = ("provider", "account", "message_key", "recipient_id")


@each_build
def test_email_message_recipients_sums_up_each_recipient_of_a_message(
    built: Built, build: str
) -> None:
    rows, found, _ = built.build(build)
    wanted = expected_marts.recipients(expected_events(rows).values())
    shown = some(by(found["email_message_recipients"], *PAIR), wanted)

    assert shown.keys() == wanted.keys()
    for name in ("minutes_to_open", "minutes_to_human_open"):
        minutes = {key: row.pop(name) for key, row in wanted.items()}
        assert {k: row.pop(name) for k, row in shown.items()} == pytest.approx(minutes)
    assert shown == wanted


@each_build
def test_email_message_rates_holds_the_rates_of_each_message(
    built: Built, build: str
) -> None:
    rows, found, _ = built.build(build)
    events = expected_events(rows).values()
    pairs = expected_marts.recipients(events)
    wanted = expected_marts.rates(expected.messages(rows, events), pairs)
    shown = by(found["email_message_rates"], *PAIR[:3])

    assert shown.keys() == wanted.keys()
    for key, row in some(shown, wanted).items():
        assert row == pytest.approx(wanted[key]), key
    for person in ("openers", "clickers"):
        said = {row[f"{person}_difference"] for row in shown.values()}
        assert {"equal", "not reported by this vendor"} <= said
        for row in shown.values():
            equal = row[person] == row[f"vendor_{person}"] is not None
            assert (row[f"{person}_difference"] == "equal") == equal


@each_build
def test_email_links_holds_clicks_and_shares_of_each_link(
    built: Built, build: str
) -> None:
    rows, found, _ = built.build(build)
    wanted = expected_marts.links(expected_events(rows).values(), rows)
    shown = some(by(found["email_links"], *PAIR[:3], "link"), wanted)

    assert shown.keys() == wanted.keys()
    for key, row in shown.items():
        assert row == pytest.approx(wanted[key]), key
    assert any(row["clicks"] == 0 for row in wanted.values())


@each_build
def test_email_domains_sums_up_mailbox_providers_by_week(
    built: Built, build: str
) -> None:
    rows, found, zone = built.build(build)
    pairs = expected_marts.recipients(expected_events(rows).values())
    wanted = expected_marts.domains(pairs, zone)
    shown = by(found["email_domains"], "provider", "account", "domain", "week")

    assert some(shown, wanted) == wanted
    assert {key[2] for key in shown if key[1] == "hashed"} >= {"gmail.com", "other"}
    for row in shown.values():
        rate = expected_marts.share(row["complained"], row["delivered"])
        assert row["complaint_rate"] == pytest.approx(rate)


@each_build
def test_email_recipient_health_holds_the_state_of_each_recipient(
    built: Built, build: str
) -> None:
    rows, found, _ = built.build(build)
    pairs = expected_marts.recipients(expected_events(rows).values())
    wanted = expected_marts.health(pairs, rows)
    shown = by(found["email_recipient_health"], "provider", "account", "recipient_key")
    since = {key: instant(row["silent_since"]) for key, row in shown.items()}

    assert since == {key: row.pop("silent_since") for key, row in wanted.items()}
    assert some(shown, wanted) == wanted
    now = datetime.now(UTC).replace(tzinfo=None)
    for key, row in shown.items():
        if at := since[key]:
            months = (now - at) / timedelta(30.4375)
            assert row["months_silent"] == pytest.approx(months, abs=0.1)
        assert row["stop_reason"] == expected_marts.stop_reason(row)


@each_build
def test_email_list_daily_counts_people_who_joined_and_departed(
    built: Built, build: str
) -> None:
    rows, found, zone = built.build(build)
    shown = by(found["email_list_daily"], "provider", "account", "day")

    assert {
        key: (row["joined"], row["departed"]) for key, row in shown.items()
    } == expected_marts.lists(rows, zone)
    assert all(r["net"] == r["joined"] - r["departed"] for r in shown.values())


@each_build
def test_email_hours_counts_events_by_weekday_and_hour(
    built: Built, build: str
) -> None:
    rows, found, zone = built.build(build)
    shown = by(found["email_hours"], "provider", "account", "weekday", "hour")

    assert {
        key: (r["opens"], r["human_opens"], r["clicks"], r["human_clicks"])
        for key, r in shown.items()
    } == expected_marts.hours(expected_events(rows).values(), zone)


def test_email_sync_cost_sums_up_the_runs_of_a_day(built: Built) -> None:
    shown = by(built.second["email_sync_cost"], "day", "provider", "stream")
    row = shown["2026-09-11", "encompass", "encompass_opens"]
    assert (row["runs"], row["requests"], row["records"]) == (1, 7, 900)
    assert row["quota_left"] == 5000
    assert shown["2026-09-12", "encompass", "encompass_opens"]["runs"] == 1


def test_headroom_and_freshness_come_from_the_runs(built: Built) -> None:
    """Days are counted up to the present time."""
    assert built.first["email_freshness"] == built.first["email_archive_headroom"] == []

    found = {row["stream"]: row for row in built.second["email_archive_headroom"]}
    days = (datetime.now(UTC) - datetime(2026, 9, 11, tzinfo=UTC)) / timedelta(1)
    assert set(found) == {"encompass_opens", "encompass_clicks"}
    assert found["encompass_opens"]["measured_days"] == 90
    left = {stream: row["days_left"] for stream, row in found.items()}
    assert left["encompass_opens"] == pytest.approx(180 - (days + 1), abs=0.1)
    assert left["encompass_clicks"] == pytest.approx(90 - days, abs=0.1)

    fresh = {row["stream"]: row for row in built.second["email_freshness"]}
    opens = fresh["encompass_opens"]
    assert instant(opens["complete_at"]) == instant("2026-09-01")
    assert opens["hours_since_complete"] == pytest.approx((days + 10) * 24, abs=2)
    assert (opens["last_outcome"], instant(opens["behind_since"])) == (
        "paused",
        instant("2026-09-10"),
    )
    assert fresh["luxsci_opens"]["complete_at"] is None


def test_the_marts_build_with_one_provider_and_few_streams(built: Built) -> None:
    streams = ("luxsci_delivery_status", "luxsci_opens", "luxsci_sent")
    rows: Rows = {name: [] for name in built.rows} | {n: built.rows[n] for n in streams}
    assert events_of(built.only_luxsci) == expected_events(rows)


def test_marts_that_were_built_without_events_are_filled_later(built: Built) -> None:
    """A first sync may stop before it has read the events of a message."""
    for mart in ("email_message_daily", "email_message_recipients", "email_engagement"):
        assert built.only_luxsci[mart]


def test_the_page_on_the_model_lists_the_event_types_of_each_provider(
    built: Built,
) -> None:
    page = (ROOT / "docs" / "model.md").read_text()
    lines = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    said = {
        (provider, event_type)
        for event_type, *cells in lines
        if event_type in expected.TYPES
        for provider, cell in zip(
            ("encompass", "constant_contact", "luxsci"), cells, strict=True
        )
        if cell.startswith("yes")
    }

    found = built.first["email_events"]
    assert said == {(row["provider"], row["event_type"]) for row in found}
