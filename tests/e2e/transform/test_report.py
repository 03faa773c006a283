"""The report in a browser: charts and tables compared with the marts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.records.privacy import redact
from tap_email_metrics.report.charts import BOTTOM, HEIGHT, SCALES, TOP
from tap_email_metrics.report.marts import Marts, MartsError
from tap_email_metrics.report.page import page
from tap_email_metrics.report.sections import SECTIONS, sql
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

pytestmark = pytest.mark.meltano

MADE = datetime(2026, 9, 21, 15, tzinfo=UTC)
NOW_NAIVE = MADE.replace(tzinfo=None)
MARKUP = "<script>document.title = 'run'</script>"
ADDRESS = "jane@example.org"
PROVIDERS = ("encompass", "constant_contact", "luxsci", "all")
NAMES = ("Encompass", "Constant Contact", "LuxSci", "All together")
UNKNOWN = "not reported by this vendor"


@dataclass(frozen=True)
class Reported:
    """A DuckDB file with marts, the rows of the marts, and the report on them.

    Attributes:
        docs: the files `manifest` and `catalog` of `dbt docs generate`.
    """

    database: Path
    marts: dict[str, list[Row]]
    runs: list[Row]
    html: str
    shown: Page
    docs: dict[str, Any]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("report")
    database = folder / "one.duckdb"
    runs = some_runs()
    some_load(runs).write(folder / "load")
    steps = [
        {"database": str(database), "load": str(folder / "load")},
        {"database": str(database), "dbt": ["seed"]},
        {"database": str(database), "dbt": ["run", "--select", "+path:models/marts"]},
        {"database": str(database), "dump": str(folder / "marts")},
        {"database": str(database), "dbt": ["docs", "generate"]},
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    run_dbt(folder, "dbt", STEPS, folder / "steps.json", DBT_TARGET="duckdb")
    html = page(Marts(str(database), "email_marts"), MADE)
    shown = opened(html, folder / "browser")
    docs = {
        name: json.loads((folder / "target" / f"{name}.json").read_text())
        for name in ("manifest", "catalog")
    }
    return Reported(database, marts(folder / "marts"), runs, html, shown, docs)


def some_load(runs: list[Row]) -> Load:
    """Return a small account with markup and an address in texts of the vendor."""
    world = World.generate(
        *(7, 6, NOW), days_ahead=30, campaigns=5, luxsci=40, largest=300, audience=120
    )
    rows = {stream: truth(world, stream, [NOW]) for stream in KEYS}
    for message in rows["encompass_messages"]:
        message["email_name"] = f"{MARKUP} {ADDRESS}"
    load = first_load(rows)
    for run in runs:
        load.add("email_metrics_runs", run)
    return load


def some_runs() -> list[Row]:
    """Return more runs of two streams than the report shows."""
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


def named(provider: str) -> str:
    return NAMES[PROVIDERS.index(provider)]


def place(provider: str) -> int:
    return PROVIDERS.index(provider)


def count(number: float | None, absent: str = "not known") -> str:
    if number is None:
        return absent
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"


def percent(share: float | None, digits: int = 1) -> str:
    return "not known" if share is None else f"{100 * share:.{digits}f} %"


def minute(value: str | None) -> str:
    return value[:16] if value else "never"


def text(value: str) -> str:
    return value.replace(ADDRESS, "[address]")


def since(reported: Reported) -> list[list[str]]:
    weeks = [(NOW_NAIVE - timedelta(7 * n), "") for n in (2, 1, 0)]
    periods = {"last 7 days": weeks[1:], "7 days before": weeks[:2]}
    lines = []
    for provider in PROVIDERS:
        for period, ((start, _), (end, _)) in periods.items():
            events = [
                event
                for event in reported.marts["email_events"]
                if event["provider"] == provider
                and (at := instant(event["occurred_at"]))
                and start <= at < end
            ]
            if not events:
                continue
            kinds = Counter(event["event_type"] for event in events)
            people = Counter(e["event_type"] for e in events if not e["machine"])
            line = [named(provider), period]
            line.append(UNKNOWN if provider == "encompass" else count(kinds["sent"]))
            is_cc = provider == "constant_contact"
            line.append(UNKNOWN if is_cc else count(kinds["delivered"]))
            line += [count(people["opened"]), count(kinds["opened"])]
            line += [count(people["clicked"]), count(kinds["clicked"])]
            line.append(count(kinds["bounced"]))
            gone = count(kinds["unsubscribed"])
            line.append(UNKNOWN if provider == "encompass" else gone)
            lines.append(line)
    return lines


def mailings(reported: Reported, provider: str) -> list[Row]:
    """Return the messages of a provider with their displayed names, newest first."""
    found = [
        row
        for row in reported.marts["email_message_rates"]
        if row["provider"] == provider
        and row["sent_at"]
        and row["sent_at"] < str(NOW_NAIVE)
        and (row["delivered"] if row["delivered"] is not None else row["sent"] or 0)
        >= 5
    ]
    for row in found:
        names = ((row["name"] or "").strip(" "), (row["subject"] or "").strip(" "))
        row["shown"] = next((one for one in names if one), row["message_key"])
    found.sort(key=lambda row: row["message_key"])
    return sorted(found, key=lambda row: instant(row["sent_at"]), reverse=True)  # type: ignore[arg-type,return-value]


def trend(reported: Reported) -> list[list[str]]:
    return [
        [
            *(named(provider), text(row["shown"]), minute(row["sent_at"])),
            *(count(row["delivered"]), percent(row["human_open_rate"])),
            *(percent(row["open_rate"]), percent(row["human_click_rate"])),
            *(percent(row["click_rate"]), count(row["openers"])),
            UNKNOWN
            if row["vendor_openers"] is None and provider != "constant_contact"
            else count(row["vendor_openers"]),
        ]
        for provider in PROVIDERS
        for row in mailings(reported, provider)[:12]
    ]


def best(reported: Reported) -> list[list[str]]:
    lines = []
    for provider in PROVIDERS:
        rows = [
            row
            for row in mailings(reported, provider)
            if row["human_click_rate"] is not None
            and timedelta(2) < NOW_NAIVE - instant(row["sent_at"]) <= timedelta(365)  # type: ignore[operator]
        ]
        rows.sort(key=lambda row: row["message_key"])
        rows.sort(key=lambda r: (r["human_click_rate"], r["human_open_rate"]))
        rows.reverse()
        rows = sorted(
            rows,
            key=lambda r: (
                -r["human_click_rate"],
                -r["human_open_rate"],
                r["message_key"],
            ),
        )
        chosen = [("best", row) for row in rows[:3]]
        chosen += [("worst", row) for row in rows[3:][-3:]]
        lines += [
            [
                *(named(provider), which, text(row["shown"]), minute(row["sent_at"])),
                *(percent(row["human_click_rate"]), percent(row["human_open_rate"])),
            ]
            for which, row in chosen
        ]
    return lines


def links(reported: Reported) -> list[list[str]]:
    lines = []
    for provider in PROVIDERS:
        last = {
            (row["account"], row["message_key"]): row["shown"]
            for row in mailings(reported, provider)[:12]
        }
        rows = [
            row
            for row in reported.marts["email_links"]
            if row["provider"] == provider
            and (row["account"], row["message_key"]) in last
        ]
        rows.sort(
            key=lambda row: (
                *(-row["human_clickers"], -row["clickers"]),
                *(row["link"], row["message_key"]),
            )
        )
        lines += [
            [
                *(named(provider), redact(row["link"])),
                text(last[row["account"], row["message_key"]]),
                *(count(row["human_clickers"]), count(row["clickers"])),
                percent(row["human_clicker_share"]),
            ]
            for row in rows[:10]
        ]
    return lines


def hours(reported: Reported) -> list[list[str]]:
    found: Counter[tuple[int, int]] = Counter()
    for row in reported.marts["email_hours"]:
        found[row["hour"], row["weekday"]] += row["human_opens"]
        found[row["hour"], 0] += row["human_opens"]
    return [
        [str(hour), *(count(found[hour, day]) for day in (*range(1, 8), 0))]
        for hour in sorted({hour for hour, _ in found})
    ]


def domains(reported: Reported) -> list[list[str]]:
    first = (NOW_NAIVE - timedelta(84)).date().isoformat()
    sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in reported.marts["email_domains"]:
        if row["week"] and row["week"] >= first:
            for name in ("delivered", "bounced", "complained"):
                sums[row["provider"], row["domain"]][name] += row[name] or 0
    lines = []
    for provider in PROVIDERS:
        order = sorted(
            (-c["delivered"] - c["bounced"], domain)
            for (who, domain), c in sums.items()
            if who == provider
        )
        for _, domain in order[:10]:
            c = sums[provider, domain]
            share = c["bounced"] / ((c["delivered"] + c["bounced"]) or 1)
            line = [named(provider), domain, count(c["delivered"])]
            line += [count(c["bounced"]), percent(share)]
            rate = percent(c["complained"] / c["delivered"], 2)
            known = provider == "luxsci"
            line += [count(c["complained"]), rate] if known else [UNKNOWN, UNKNOWN]
            line.append("0.30 %" if domain == "gmail.com" else "none")
            lines.append(line)
    return lines


def growth(reported: Reported) -> list[list[str]]:
    first = (NOW_NAIVE - timedelta(365)).date().isoformat()
    last = NOW_NAIVE.date().isoformat()
    found: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in reported.marts["email_list_daily"]:
        if first <= row["day"] <= last:
            for name in ("joined", "departed", "net"):
                found[row["provider"], row["day"][:7]][name] += row[name]
    order = sorted(found, key=lambda one: one[1], reverse=True)
    return [
        [named(who), month, *(count(found[who, month][n]) for n in CHANGES)]
        for who, month in sorted(order, key=lambda one: place(one[0]))
    ]


CHANGES = ("joined", "departed", "net")


def silent(reported: Reported) -> list[list[str]]:
    lines = []
    for provider in PROVIDERS:
        rows = [
            row
            for row in reported.marts["email_recipient_health"]
            if row["provider"] == provider
        ]
        months = [
            float(row["months_silent"])
            for row in rows
            if row["months_silent"] is not None
        ]
        steps = ((-9e9, 3), (3, 6), (6, 12), (12, 9e9))
        groups = [sum(1 for m in months if low <= m < high) for low, high in steps]
        stop = sum(1 for row in rows if row["stop_reason"])
        lines.append([named(provider), *map(count, (len(rows), *groups, stop))])
    return lines


def freshness(reported: Reported) -> list[list[str]]:
    found: dict[tuple[str, str], Row] = {}
    for row in reported.marts["email_freshness"]:
        who = (row["provider"], row["account"])
        key = (row["complete_at"] or "", row["stream"])
        if who not in found or key < (
            found[who]["complete_at"] or "",
            found[who]["stream"],
        ):
            found[who] = row
    return [
        [
            *(named(row["provider"]), row["account"], row["stream"]),
            minute(row["complete_at"]),
            count(row["hours_since_complete"], "never"),
            row["last_outcome"],
        ]
        for _, row in sorted(found.items(), key=lambda one: place(one[0][0]))
    ]


def cost(reported: Reported) -> list[list[str]]:
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in reported.marts["email_sync_cost"]:
        found[row["provider"], row["day"]].append(row)
    days = sorted({day for _, day in found}, reverse=True)[:14]
    return [
        [
            *(named(provider), day),
            *(
                count(sum(r[n] for r in rows))
                for n in ("requests", "records", "seconds")
            ),
            count(
                min((r["quota_left"] for r in rows if r["quota_left"]), default=None),
                "no limit set",
            ),
        ]
        for provider in PROVIDERS
        for day in days
        if (rows := found.get((provider, day)))
    ]


def headroom(reported: Reported) -> list[list[str]]:
    rows = sorted(reported.marts["email_archive_headroom"], key=lambda r: r["stream"])
    return [
        [
            *(row["account"], row["stream"]),
            count(float(row["days_left"])),
            minute(row["measured_at"]),
        ]
        for row in rows
    ]


EXPECTED: dict[str, Any] = {
    "since": since,
    "trend": trend,
    "best": best,
    "links": links,
    "hours": hours,
    "domains": domains,
    "growth": growth,
    "silent": silent,
    "freshness": freshness,
    "cost": cost,
    "headroom": headroom,
}
#: Columns whose numbers change while the test runs.
PASSING = {"freshness": 4, "headroom": 2}
each_section = pytest.mark.parametrize("name", EXPECTED)


def test_every_section_has_a_test(reported: Reported) -> None:
    assert [section.name for section in SECTIONS] == [*EXPECTED]
    assert [*reported.shown.sections] == [*EXPECTED]


@each_section
def test_tables_show_the_rows_of_the_marts(reported: Reported, name: str) -> None:
    heads, *rows = cells(reported.shown.sections[name].table)
    [section] = [one for one in SECTIONS if one.name == name]
    wanted = EXPECTED[name](reported)

    assert heads == [column.heading for column in section.columns]
    assert len(rows) > 1
    if column := PASSING.get(name):
        for row, expected in zip(rows, wanted, strict=True):
            assert number(row[column]) == pytest.approx(number(expected[column]), abs=1)
            expected[column] = row[column]
    assert rows == wanted


def cells(table: list[list[str]]) -> list[list[str]]:
    return [[" ".join(cell.split()) for cell in row] for row in table]


def number(text: str) -> float:
    """Return the number that a cell shows."""
    return float(text.replace(",", "").removesuffix(" %"))


@each_section
def test_bars_are_proportional_to_their_numbers(reported: Reported, name: str) -> None:
    """All bars of a column have one scale; the longest fills its cell."""
    [section] = [one for one in SECTIONS if one.name == name]
    bars = reported.shown.sections[name].bars
    for column in section.columns:
        theirs = [bar for bar in bars if bar.heading == column.heading]
        assert bool(theirs) == column.bar
        numbers = [number(bar.text) for bar in theirs]
        for bar, value in zip(theirs, numbers, strict=True):
            length = bar.room * value / (max(numbers) or 1)
            assert bar.width == pytest.approx(max(1, length), abs=1.5)


def test_dots_are_drawn_at_the_rates_of_the_table(reported: Reported) -> None:
    shown = reported.shown.sections["trend"]
    _, *rows = cells(shown.table)
    assert len({row[0] for row in rows}) == 3
    assert shown.charts == 2 * 3
    for verb, place in (("opened", 4), ("clicked", 6)):
        dots = [dot for dot in shown.dots if f", {verb}, " in dot.said]
        wanted = Counter(f"{row[1]}, {verb}, people: {row[place]}" for row in rows)
        wanted += Counter(f"{row[1]}, {verb}, all: {row[place + 1]}" for row in rows)
        assert Counter(dot.said for dot in dots) == wanted
        rates = [number(dot.said.rpartition(": ")[2]) / 100 for dot in dots]
        top = next(one for one in SCALES if one >= max(rates))
        for dot, rate in zip(dots, rates, strict=True):
            height = HEIGHT - TOP - BOTTOM
            wanted_y = TOP + (1 - rate / top) * height
            assert dot.y == pytest.approx(wanted_y, abs=0.07 / top)
            assert f", {dot.who}: " in dot.said


@pytest.mark.parametrize("width", [400, 800, 1280])
def test_the_page_loads_nothing_and_fits_the_window(
    reported: Reported, tmp_path: Path, width: int
) -> None:
    html = reported.html
    shown = opened(html, tmp_path / "browser", width)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert not {"link", "img", "image", "iframe", "object", "use"} & {*shown.tags}
    links = [v for n, v in shown.attributes if n in {"src", "href", "xlink:href"}]
    assert sorted(links) == sorted(f"#{name}" for name in EXPECTED)
    assert len(html) < 300_000
    assert shown.overflow <= 0
    assert shown.hidden <= 0


def test_dark_mode_is_light_on_dark(reported: Reported, tmp_path: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    shown = opened(reported.html, tmp_path / "browser", 400, dark)
    assert reported.shown.colours == "rgb(28, 33, 40) on rgb(255, 255, 255)"
    assert shown.colours == "rgb(227, 231, 236) on rgb(21, 24, 29)"


def test_tables_and_charts_have_names_for_screen_readers(reported: Reported) -> None:
    shown = reported.shown
    ids = {value for name, value in shown.attributes if name == "id"}
    named_by = {
        value
        for name, value in shown.attributes
        if name in ("aria-labelledby", "aria-describedby")
    }
    assert named_by <= ids
    roles = Counter(value for name, value in shown.attributes if name == "role")
    assert roles["table"] == roles["region"] == len(EXPECTED)
    scopes = Counter(value for name, value in shown.attributes if name == "scope")
    assert scopes["col"] == sum(len(section.columns) for section in SECTIONS)
    assert scopes["row"] == roles["rowheader"] > 0
    labels = [value for name, value in shown.attributes if name == "aria-label"]
    assert len(labels) == 1 + 2 * 3


def test_values_of_the_warehouse_are_escaped_and_addresses_are_hidden(
    reported: Reported,
) -> None:
    assert reported.html.count("<script") == 0
    assert reported.shown.tags.count("script") == 1
    names = [row[1] for row in cells(reported.shown.sections["trend"].table)]
    assert f"{MARKUP} [address]" in names
    people = {row["recipient_key"] for row in reported.marts["email_engagement"]}
    senders = {row["sender"] for row in reported.marts["email_messages"]} - {None}
    assert len(people) > 100
    assert senders
    assert not [one for one in (*people, *senders, ADDRESS) if one in reported.html]


def test_empty_marts_have_no_charts(reported: Reported, tmp_path: Path) -> None:
    database = str(shutil.copy(reported.database, tmp_path))
    with duckdb.connect(database) as connection:
        tables = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_schema = 'email_marts' and table_type = 'BASE TABLE'"
        ).fetchall()
        for (table,) in [*tables, ("email_metrics.email_metrics_runs",)]:
            connection.execute(f"delete from {table}")  # noqa: S608
    shown = opened(page(Marts(database, "email_marts"), MADE), tmp_path / "browser")

    for section in SECTIONS:
        found = shown.sections[section.name]
        assert section.empty in found.text
        assert (found.charts, found.bars, found.table) == (0, [], [])


def test_postgres_gives_the_same_page(reported: Reported, tmp_path: Path) -> None:
    with (
        Postgres(tmp_path / "postgres") as postgres,
        psycopg.connect(postgres.url) as there,
        duckdb.connect(str(reported.database), read_only=True) as here,
    ):
        there.execute("create schema email_marts")
        for mart in reported.marts:
            copy(here, there, f"email_marts.{mart}")
        there.commit()
        html = page(Marts(postgres.url, "email_marts"), MADE)
    assert timeless(html) == timeless(reported.html)


def timeless(html: str) -> str:
    """Return a page without the parts that depend on the present time."""
    passing = re.compile(r"Made \S+ \S+|<span>[\d,]+\.\d(?=<)|width:[\d.]+%")
    return passing.sub("", html)


def copy(
    here: duckdb.DuckDBPyConnection, there: psycopg.Connection[Any], table: str
) -> None:
    rows = here.execute(f"select * from {table}")  # noqa: S608
    assert rows.description
    kinds = {"DOUBLE": "double precision", "HUGEINT": "numeric", "FLOAT": "real"}
    shape = [
        f"{name} {kinds.get(str(kind), str(kind))}"
        for name, kind, *_ in rows.description
    ]
    there.execute(f"create table {table} ({', '.join(shape)})")
    marks = ", ".join(["%s"] * len(shape))
    with there.cursor() as cursor:
        cursor.executemany(f"insert into {table} values ({marks})", rows.fetchall())  # noqa: S608


def test_dbt_documents_every_column_of_every_mart(reported: Reported) -> None:
    nodes = reported.docs["manifest"]["nodes"]
    described = {
        node["name"]: {
            name: column["description"] for name, column in node["columns"].items()
        }
        for node in nodes.values()
        if node["resource_type"] == "model" and node["path"].startswith("marts/")
    }
    built = {
        nodes[key]["name"]: {*table["columns"]}
        for key, table in reported.docs["catalog"]["nodes"].items()
        if nodes[key]["name"] in described
    }
    assert built == {mart: {*columns} for mart, columns in described.items()}
    assert built.keys() == reported.marts.keys()
    assert not [mart for mart, columns in described.items() if "" in columns.values()]
    assert all(nodes[f"model.email_metrics.{mart}"]["description"] for mart in built)


def test_the_exposure_names_the_marts_that_the_report_reads(reported: Reported) -> None:
    [exposure] = reported.docs["manifest"]["exposures"].values()
    named = {key.rpartition(".")[2] for key in exposure["depends_on"]["nodes"]}
    facts = ("now", "since", "before", "period", "period_before")
    queries = " ".join(sql(one, dict.fromkeys(facts, "")) for one in SECTIONS)
    assert named == {*re.findall(r"(?:from|join) (email_\w+)", queries)}


def test_marts_that_cannot_be_read_are_named(
    reported: Reported, tmp_path: Path
) -> None:
    with pytest.raises(MartsError, match="Build them with dbt first"):
        page(Marts(str(reported.database), "elsewhere"), MADE)
    with pytest.raises(MartsError, match="is not a schema name"):
        page(Marts(str(reported.database), "a'; drop"), MADE)
    with pytest.raises(MartsError, match="an existing DuckDB file"):
        page(Marts(str(tmp_path / "none.duckdb"), "email_marts"), MADE)


def test_the_command_writes_the_page(reported: Reported, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    program = str(Path(sys.executable).with_name("tap-email-metrics-report"))
    command = [program, "--out", str(out), "--database"]
    done = subprocess.run(  # noqa: S603 - our own
        [*command, str(reported.database)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{out}\n"
    written = opened(out.read_text(), tmp_path / "browser")
    assert [*written.sections] == [*EXPECTED]
    assert "Email report" in out.read_text()
