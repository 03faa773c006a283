"""The report in a browser: its charts and tables against the marts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest

from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.report.marts import Marts, MartsError
from tap_email_metrics.report.page import page
from tap_email_metrics.report.sections import SECTIONS
from tests.e2e.transform.browser import Page, opened
from tests.e2e.transform.expected import Row, instant
from tests.e2e.transform.test_transform import (
    NOW,
    STEPS,
    Load,
    first_load,
    marts,
    run_dbt,
)
from tests.support.postgres import Postgres
from tests.support.project import ROOT
from tests.support.world import KEYS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.meltano

MADE = datetime(2026, 9, 21, 15, tzinfo=UTC)
MARKUP = "<script>document.title = 'run'</script>"
ADDRESS = "jane@example.org"
#: What the bars of a section stand for, and in which direction they grow.
HORIZONTAL = {
    "messages": "messages",
    "funnel": "recipients of a message",
    "bounces": "bounces",
    "headroom": "days left",
}
VERTICAL = {"opens": ("opens",), "cost": ("records", "requests")}


@dataclass(frozen=True)
class Reported:
    """A file of DuckDB with the marts, their rows, and the report of them."""

    database: Path
    marts: dict[str, list[Row]]
    runs: list[Row]
    html: str
    shown: Page


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("report")
    database = folder / "one.duckdb"
    runs = some_runs()
    some_load(runs).write(folder / "load")
    steps = [
        {"database": str(database), "load": str(folder / "load")},
        {"database": str(database), "dbt": ["run", "--select", "+path:models/marts"]},
        {"database": str(database), "dump": str(folder / "marts")},
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    run_dbt(folder, "dbt", STEPS, folder / "steps.json", DBT_TARGET="duckdb")
    html = page(Marts(str(database), "email_marts"), MADE)
    shown = opened(html, folder / "browser")
    return Reported(database, marts(folder / "marts"), runs, html, shown)


def some_load(runs: list[Row]) -> Load:
    """Return a small account with markup and an address in what vendors may write."""
    world = World.generate(7, 6, NOW, days_ahead=30, campaigns=5, luxsci=40)
    rows = {stream: truth(world, stream, [NOW]) for stream in KEYS}
    rows["encompass_bounces"][0]["type"] = f"{MARKUP} {ADDRESS}"
    for message in rows["encompass_messages"]:
        message["email_name"] = message["subject_line"] = MARKUP
    load = first_load(rows)
    for run in runs:
        load.add("email_metrics_runs", run)
    return load


def some_runs() -> list[Row]:
    """Return runs of two streams, more than the report shows."""
    found = []
    for number in range(50):
        at = datetime(2026, 9, 20, tzinfo=UTC) + timedelta(hours=number)
        times = at.isoformat()[:19]
        run = {"account": "10055", "run": f"{times}.000Z", "outcome": "complete"}
        run |= {"started_at": times, "finished_at": times}
        opens = {"provider": "encompass", "stream": "encompass_opens", "records": 900}
        opens |= {"requests": 7, "seconds": 1.25, "headroom_days": 170.0}
        clicks = {"provider": "luxsci", "stream": "luxsci_clicks", "records": number}
        clicks |= {"requests": number + 1, "seconds": 0.5, "quota_left": 5000 - number}
        found += [{**run, **opens}, {**run, **clicks}]
    found[0]["stream"] = "encompass_clicks"
    found[0]["headroom_days"] = 20.0
    return found


def of_type(reported: Reported, *types: str) -> list[Row]:
    return [e for e in reported.marts["email_events"] if e["event_type"] in types]


def messages(reported: Reported) -> list[list[str]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in reported.marts["email_messages"]:
        found[row["provider"]].append(row)
    lines = []
    for provider, rows in sorted(found.items()):
        sent = sum(row["sent_count"] or 0 for row in rows)
        days = sorted(row["sent_at"][:10] for row in rows if row["sent_at"])
        lines.append([provider, f"{len(rows):,}", f"{sent:,}", days[0], days[-1]])
    return lines


def funnel(reported: Reported) -> list[list[str]]:
    steps = ("sent", "delivered", "opened", "clicked")
    events: Counter[tuple[str, str]] = Counter()
    pairs: defaultdict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for row in of_type(reported, *steps):
        step = (row["provider"], row["event_type"])
        events[step] += 1
        if row["recipient_key"]:
            who = (row["account"], row["message_key"], row["recipient_key"])
            pairs[step].add(who)
    order = sorted(events, key=lambda step: (step[0], steps.index(step[1])))
    return [[*step, f"{len(pairs[step]):,}", f"{events[step]:,}"] for step in order]


def opens(reported: Reported) -> list[list[str]]:
    sent = {
        (row["provider"], row["account"], row["message_key"]): instant(row["sent_at"])
        for row in reported.marts["email_messages"]
    }
    hours: Counter[tuple[int, str]] = Counter()
    for row in of_type(reported, "opened"):
        at = instant(row["occurred_at"])
        began = sent.get((row["provider"], row["account"], row["message_key"]))
        if at and began:
            hour = (at - began) // timedelta(hours=1)
            hours[max(-1, min(72, hour)), row["provider"]] += 1
    return [[str(hour), who, f"{n:,}"] for (hour, who), n in sorted(hours.items())]


def bounces(reported: Reported) -> list[list[str]]:
    found = Counter(
        (
            row["provider"],
            (row["bounce_class"] or "not told").replace(ADDRESS, "[address]"),
        )
        for row in of_type(reported, "bounced")
    )
    order = sorted(found.items(), key=lambda one: (one[0][0], -one[1], one[0][1]))
    return [[*names, f"{number:,}"] for names, number in order]


def cost(reported: Reported) -> list[list[str]]:
    lines = []
    for run in reported.runs[-2 * 48 :]:
        name = run["run"].replace("T", " ")[:19]
        numbers = [f"{run['records']:,}", f"{run['requests']:,}"]
        left = f"{run['quota_left']:,}" if "quota_left" in run else "none"
        seconds = f"{run['seconds']:,.1f}"
        lines.append([name, run["provider"], *numbers, seconds, left])
    return lines


def headroom(reported: Reported) -> list[list[str]]:
    rows = sorted(reported.marts["email_archive_headroom"], key=lambda r: r["stream"])
    return [
        [
            *(row["account"], row["stream"]),
            f"{row['days_left']:,.1f}",
            row["measured_at"][:16],
        ]
        for row in rows
    ]


EXPECTED: dict[str, Any] = {
    "messages": messages,
    "funnel": funnel,
    "opens": opens,
    "bounces": bounces,
    "cost": cost,
    "headroom": headroom,
}
each_section = pytest.mark.parametrize("name", EXPECTED)


def test_each_section_is_expected(reported: Reported) -> None:
    assert [section.name for section in SECTIONS] == [*EXPECTED]
    assert [*reported.shown.sections] == [*EXPECTED]


@each_section
def test_tables_equal_the_marts(reported: Reported, name: str) -> None:
    heads, *rows = reported.shown.sections[name].table
    [section] = [one for one in SECTIONS if one.name == name]

    assert heads == [*section.columns.values()]
    assert len(rows) > 1
    for row, wanted in zip(rows, EXPECTED[name](reported), strict=True):
        if name == "headroom":
            # Time passes between the report and the dump.
            assert float(row[2]) == pytest.approx(float(wanted[2]), abs=0.1)
            wanted[2] = row[2]
        assert row == wanted


def number(text: str) -> float:
    """Return a number as tables and charts write it."""
    return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize("name", HORIZONTAL)
def test_bars_are_as_long_as_the_table_says(reported: Reported, name: str) -> None:
    """One a row, in its order or not, and all to the same scale."""
    shown = reported.shown.sections[name]
    heads, *rows = shown.table
    column = 1 if name == "messages" else 2
    numbers = Counter(number(row[column]) for row in rows)
    said = [number(mark.facts[HORIZONTAL[name]]) for mark in shown.marks]

    assert shown.charts == 1
    assert Counter(round(one, 1) for one in said) == numbers, heads
    scales = [
        mark.width / abs(one) for mark, one in zip(shown.marks, said, strict=True)
    ]
    assert scales == pytest.approx([scales[0]] * len(scales), rel=0.01)
    assert all(mark.height > 10 for mark in shown.marks)


@pytest.mark.parametrize("name", VERTICAL)
def test_stacked_bars_are_as_high_as_the_table_says(
    reported: Reported, name: str
) -> None:
    shown = reported.shown.sections[name]
    heads, *rows = shown.table
    drawn = [row for row in rows if name == "cost" or 0 <= int(row[0]) < 72]
    assert shown.charts == 1
    for title in VERTICAL[name]:
        column = heads.index(title.capitalize())
        marks = [mark for mark in shown.marks if title in mark.facts]
        said = [number(mark.facts[title]) for mark in marks]
        assert Counter(said) == Counter(number(row[column]) for row in drawn)
        scale = sum(mark.height for mark in marks) / sum(said)
        heights = [scale * one for one in said]
        assert [m.height for m in marks] == pytest.approx(heights, rel=0.01, abs=0.01)
        assert all(mark.width > 2 for mark in marks)


def test_opens_stand_at_their_hour(reported: Reported) -> None:
    shown = reported.shown.sections["opens"]
    wanted = {tuple(row) for row in shown.table[1:] if 0 <= int(row[0]) < 72}
    assert {
        (
            mark.facts["hours after the send"].split()[0],
            mark.facts["provider"],
            mark.facts["opens"],
        )
        for mark in shown.marks
    } == wanted


def test_page_loads_nothing_and_fits(reported: Reported) -> None:
    html, shown = reported.html, reported.shown
    assert "default-src 'none'" in html
    assert "://" not in html
    assert "@import" not in html
    assert not {"link", "img", "image", "iframe", "object", "use"} & {*shown.tags}
    links = [v for n, v in shown.attributes if n in {"src", "href", "xlink:href"}]
    assert sorted(links) == sorted(f"#{name}" for name in EXPECTED)
    assert len(html) < 300_000
    assert shown.overflow <= 0


def test_what_the_warehouse_holds_is_text(reported: Reported) -> None:
    assert reported.html.count("<script") == 0
    assert reported.shown.tags.count("script") == 1
    classes = [row[1] for row in reported.shown.sections["bounces"].table]
    assert f"{MARKUP} [address]" in classes
    people = {row["recipient_key"] for row in reported.marts["email_engagement"]}
    senders = {row["sender"] for row in reported.marts["email_messages"]} - {None}
    assert len(people) > 100
    assert senders
    assert not [one for one in (*people, *senders, ADDRESS) if one in reported.html]


def test_empty_marts_have_no_charts(reported: Reported, tmp_path: Path) -> None:
    database = str(shutil.copy(reported.database, tmp_path))
    with duckdb.connect(database) as connection:
        for table in ("email_marts.email_messages", "email_marts.email_events"):
            connection.execute(f"delete from {table}")  # noqa: S608
        connection.execute("delete from email_metrics.email_metrics_runs")
    shown = opened(page(Marts(database, "email_marts"), MADE), tmp_path / "browser")

    for section in SECTIONS:
        found = shown.sections[section.name]
        assert section.empty in found.text
        assert (found.charts, found.marks, found.table) == (0, [], [])


def test_postgres_gives_the_same_page(reported: Reported, tmp_path: Path) -> None:
    names = {
        "email_marts": ("email_messages", "email_events", "email_archive_headroom"),
        "email_marts_staging": ("stg_email_metrics_runs",),
    }
    with (
        Postgres(tmp_path / "postgres") as postgres,
        psycopg.connect(postgres.url) as there,
        duckdb.connect(str(reported.database), read_only=True) as here,
    ):
        for schema, tables in names.items():
            there.execute(f"create schema {schema}")
            for table in tables:
                copy(here, there, f"{schema}.{table}")
        there.commit()
        html = page(Marts(postgres.url, "email_marts"), MADE)
    # What is left of the headroom are fractions of a day, which pass.
    fractions = re.compile(r"\d+\.\d{3,}")
    assert fractions.sub("", html) == fractions.sub("", reported.html)


def copy(
    here: duckdb.DuckDBPyConnection, there: psycopg.Connection[Any], table: str
) -> None:
    rows = here.execute(f"select * from {table}")  # noqa: S608
    assert rows.description
    kinds = {"DOUBLE": "double precision", "HUGEINT": "numeric"}
    shape = [
        f"{name} {kinds.get(str(kind), str(kind))}"
        for name, kind, *_ in rows.description
    ]
    there.execute(f"create table {table} ({', '.join(shape)})")
    marks = ", ".join(["%s"] * len(shape))
    with there.cursor() as cursor:
        cursor.executemany(f"insert into {table} values ({marks})", rows.fetchall())  # noqa: S608


def test_what_cannot_be_read_is_said(reported: Reported, tmp_path: Path) -> None:
    with pytest.raises(MartsError, match="Build them with dbt first"):
        page(Marts(str(reported.database), "elsewhere"), MADE)
    with pytest.raises(MartsError, match="no name of a schema"):
        page(Marts(str(reported.database), "a'; drop"), MADE)
    with pytest.raises(MartsError, match="a file of DuckDB that is there"):
        page(Marts(str(tmp_path / "none.duckdb"), "email_marts"), MADE)


def test_command_writes_the_page(reported: Reported, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    command = [
        sys.executable,
        "-m",
        "tap_email_metrics.report",
        "--out",
        str(out),
        "--database",
    ]
    done = subprocess.run(  # noqa: S603 - our own
        [*command, str(reported.database)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{out}\n"
    made = re.compile(r"Made \S+ \S+|\d+\.\d{3,}")
    assert made.sub("", out.read_text()) == made.sub("", reported.html)
