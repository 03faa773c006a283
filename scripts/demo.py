"""The demo: loads the simulated APIs into Postgres three times and checks every row.

Meltano runs the pipeline. After it, dbt builds and tests the marts, and the report is
made from them. All files, with Meltano's logs, are in `.cache/demo`.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from tap_email_metrics.report.marts import Marts
from tap_email_metrics.report.page import page
from tests.support import reconciled
from tests.support.comparison import Comparison, compare
from tests.support.postgres import Postgres
from tests.support.processes import say
from tests.support.project import CACHE, CommandFailedError, Project
from tests.support.world import KEYS, PACE, World

if TYPE_CHECKING:
    from tests.support.world import Moving
from simulator.luxsci.facts import ENDPOINTS
from simulator.luxsci.facts import PREFIX as LUXSCI

FOLDER = CACHE / "demo"
SCHEMA = "email_metrics"
MARTS_SCHEMA = "email_marts"
MARTS = (
    *("email_messages", "email_events", "email_message_daily"),
    *("email_message_recipients", "email_message_rates", "email_links"),
    *("email_domains", "email_recipient_health", "email_list_daily"),
    *("email_hours", "email_sync_cost"),
    *("email_engagement", "email_archive_headroom", "email_freshness"),
)
SEED, SIZE, CAMPAIGNS, EMAILS = 7, 30, 12, 40
#: Recipients of one more mailing per provider: people and machines.
AUDIENCE = 100
#: The stream that requests a path, if the path's last part is not the stream's name.
OWNERS = {
    "/v3/reports/summary_reports/email_campaign_summaries": (
        "constant_contact_campaign_summaries"
    ),
    "/v3/reports/stats/email_campaigns/{ids}": "constant_contact_campaign_stats",
    "/v3/reports/stats/email_campaign_activities/{ids}": (
        "constant_contact_campaign_activity_stats"
    ),
    "/v3/emails": "constant_contact_campaigns",
    "/v3/emails/{id}": "constant_contact_campaign_activities",
    "/v3/emails/activities/{id}": "constant_contact_campaign_activities",
    "/v3/account/summary": "constant_contact_account",
    **{
        LUXSCI + one.path.replace("{account}", "{id}"): f"luxsci_{one.kind}"
        for one in ENDPOINTS
    },
}


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        at: the simulated time of the run, in UTC seconds.
        seconds: its duration.
        records: number of records emitted, by stream.
        requests: number of requests sent, by stream; "" has those of no stream.
    """

    at: float
    seconds: float
    records: dict[str, int]
    requests: dict[str, int]


def main() -> None:
    """Run the demo; exit 1 if Postgres differs from the simulated accounts."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with (
        Postgres(FOLDER / "postgres") as postgres,
        World(
            FOLDER,
            seed=SEED,
            size=SIZE,
            campaigns=CAMPAIGNS,
            luxsci=EMAILS,
            audience=AUDIENCE,
        ) as world,
    ):
        say(f"Simulator at {world.url}: {SIZE} messages of Encompass, {CAMPAIGNS}")
        say(f"campaigns of Constant Contact, {EMAILS} emails of LuxSci.")
        say(f"Postgres in {FOLDER}")
        project = create(world, postgres)
        try:
            runs = pipeline(world, project)
        except CommandFailedError as problem:
            sys.exit(str(problem))
        hold_against_truth(world, postgres, runs)
        transform(project, postgres)
        look(postgres)


def hold_against_truth(world: World, postgres: Postgres, runs: list[Run]) -> None:
    """Compare Postgres with the simulated accounts; exit 1 if they differ."""
    found = compare(
        partial(postgres.rows, SCHEMA),
        lambda stream: world.truth(stream, [run.at for run in runs]),
        KEYS,
    )
    told = reconciled.complaints(
        partial(postgres.rows, SCHEMA),
        cache(lambda stream: world.truth(stream, [runs[-1].at])),
        [run.records for run in runs],
    )
    lists = reconciled.verdicts(postgres.rows(SCHEMA, reconciled.LISTS))
    report(found, runs)
    say(f"Lists by the verdict of the last run: {lists}")
    if told:
        sys.exit("\n".join(told))
    if any(comparison.differences for comparison in found.values()):
        sys.exit("Postgres differs from the simulated accounts.")
    say("Postgres equals the simulated accounts in every key and every column.")
    say("The third run emits rows again that are in the look-back, or in a list whose")
    say("order cannot be trusted. The logs are in .cache/demo/project.\n")


def create(world: World, postgres: Postgres) -> Project:
    """Return the Meltano project between the world and Postgres."""
    return Project(
        FOLDER / "project",
        {
            **world.settings,
            "TAP_EMAIL_METRICS_ENCOMPASS_REVISIT": "always",
            "TAP_EMAIL_METRICS_ENCOMPASS_REQUESTS_PER_SECOND": str(PACE),
            "TARGET_POSTGRES_SQLALCHEMY_URL": postgres.sqlalchemy_url,
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": SCHEMA,
            **postgres.dbt_settings,
            "DBT_POSTGRES_SOURCE_SCHEMA": SCHEMA,
            "DBT_POSTGRES_SCHEMA": MARTS_SCHEMA,
            # The simulated vendors update their totals at once, so no test may warn.
            "DBT_WARN_ERROR": "true",
        },
    ).create()


def pipeline(world: World, project: Project) -> list[Run]:
    """Run the pipeline, simulate five days, and run it twice more."""
    runs = [sync(world, project, "first")]
    move_on(world)
    runs.append(sync(world, project, "second"))
    runs.append(sync(world, project, "third"))
    return runs


def sync(world: World, project: Project, name: str) -> Run:
    """Run tap and target once."""
    world.forget_requests()
    at, started = world.now(), time.monotonic()
    done = project.meltano("run", "tap-email-metrics", "target-postgres")
    seconds = time.monotonic() - started
    project.folder.joinpath(f"{name}.log").write_text(done.log)
    streams = done.run_summary()["streams"]
    run = Run(
        at,
        seconds,
        {stream: said["records"] for stream, said in streams.items()},
        requests_by_stream(world.served()),
    )
    say(
        f"Run {name}: {sum(run.records.values())} records, "
        f"{sum(run.requests.values())} requests, {seconds:.0f} s"
    )
    return run


def requests_by_stream(served: dict[str, int]) -> dict[str, int]:
    """Return the number of requests by the stream that owns the path, "" for none."""
    counts: dict[str, int] = {}
    for path, count in served.items():
        provider = "constant_contact" if path.startswith("/v3/") else "encompass"
        stream = OWNERS.get(path, f"{provider}_{path.rpartition('/')[2]}")
        owner = stream if stream in KEYS else ""
        counts[owner] = counts.get(owner, 0) + count
    return counts


def move_on(world: World) -> None:
    """Simulate five days with late opens, new messages, corrections and archiving."""
    before = world.now()
    world.advance(5)
    move_encompass_on(world, before)
    move_constant_contact_on(world)
    move_luxsci_on(world, before)
    say("Five days pass: late opens, new messages and campaigns, corrected counts,")
    say("archived actions, a contact who leaves, a delivery that fails after all, a")
    say("suppression")


def move_encompass_on(world: Moving, before: float) -> None:
    """Add a message and a late open, and correct a count."""
    messages = world.truth("encompass_messages", [before])
    sent = [row for row in messages if row["sent_at"] and row["sent_count"]]
    sent.sort(key=lambda row: row["actual_send_timestamp"])
    recent, older = sent[-1], sent[len(sent) // 2]
    now = world.now()
    [new, *_] = world.change(
        {"do": "add_message", "sent": now - 3600, "subjectLine": "Hello again 👋"},
        # An open of 40 hours ago that appears in the API only now.
        {
            "do": "add_row",
            "kind": "opens",
            "message_id": older["id"],
            "timestamp": int(now - 40 * 3600) * 1000,
        },
        {
            "do": "correct",
            "kind": "messages",
            "row_id": recent["id"],
            "sentCount": recent["sent_count"] + 17,
        },
    )
    kinds = ("recipients", "delivers", "opens", "clicks", "links")
    world.change(
        *({"do": "add_row", "kind": kind, "message_id": new} for kind in kinds)
    )


def move_constant_contact_on(world: Moving) -> None:
    """Add a campaign and a late open, and unsubscribe a contact."""
    now = world.now()
    newest = max(
        world.truth("constant_contact_sends", [now - 2 * 86400]),
        key=lambda row: str(row["created_time"]),
    )
    activity = newest["campaign_activity_id"]
    build = "constant_contact."
    # Later than the runs before: the API lists a contact from its creation on.
    contact = {"do": f"{build}add_contact", "created": now - 60}
    contacts = world.change(*[contact] * 5)
    world.change(
        {
            "do": f"{build}add_campaign",
            "sent": now - 30,
            "recipients": contacts,
            "links": 2,
            "name": "Hello again 👋",
        },
        # It is in the list, and counted, only now.
        {
            "do": f"{build}add_event",
            "kind": "opens",
            "activity": activity,
            "contact": newest["contact_id"],
            "created": now - 40 * 3600,
            "visible_from": now - 1,
        },
        {"do": f"{build}unsubscribe", "contact_id": newest["contact_id"]},
    )


def move_luxsci_on(world: Moving, before: float) -> None:
    """Add an email, a campaign, a late open, a failed delivery and a suppression."""
    now, build = world.now(), "luxsci."
    deliveries = world.truth("luxsci_delivery_status", [before])
    delivered = [row for row in deliveries if row["status"] == "Delivered"]
    delivered.sort(key=lambda row: str(row["date_sent"]))
    newest, opened = delivered[-1], delivered[-2]
    [campaign, *_] = world.change(
        {
            "do": f"{build}add_campaign",
            "login": newest["user_login"],
            "title": "Hello again 👋",
            "created": now - 3600,
        },
        {"do": f"{build}add_message", "sent": now - 3600, "recipients": 2},
        # It is in the list, and counted, only now.
        {
            "do": f"{build}add_open",
            "sendmail_id": opened["sendmail_id"],
            "to": opened["to_address"],
            "at": now - 40 * 3600,
            "visible_from": now - 1,
        },
        {
            "do": f"{build}deliver",
            "sendmail_id": newest["sendmail_id"],
            "to": newest["to_address"],
            "status": "Post-Delivery Hard Fail",
            "at": now - 3600,
        },
        {"do": f"{build}add_suppression", "email": "x@example.org", "at": now - 3600},
    )
    contacts = world.truth("luxsci_marketing_contacts", [before])
    people = [row["contact_id"] for row in contacts[:3]]
    world.change(
        {
            "do": f"{build}send_campaign",
            "campaign_id": campaign,
            "contacts": people,
            "at": now - 3000,
        }
    )


def transform(project: Project, postgres: Postgres) -> None:
    """Build the marts with dbt and print their sizes; exit 1 if dbt fails."""
    try:
        done = project.meltano("invoke", "dbt-postgres:build")
    except CommandFailedError as problem:
        sys.exit(str(problem))
    for mart in MARTS:
        say(f"{mart:40}{len(postgres.rows(MARTS_SCHEMA, mart)):>10} rows")
    [summary] = [line for line in done.output.splitlines() if "Done. PASS=" in line]
    say(f"dbt: {summary.partition('Done. ')[2]}")


def look(postgres: Postgres) -> None:
    """Make the report of the marts."""
    file = FOLDER / "report.html"
    marts = Marts(postgres.url, MARTS_SCHEMA)
    file.write_text(page(marts, datetime.now(UTC)), encoding="utf-8")
    say(f"A report of it: {file}")


def report(found: dict[str, Comparison], runs: list[Run]) -> None:
    """Print a table with one line per stream, and the first differences."""
    header = f"{'':40}{'rows in':>10}{'rows in':>10}{'records of run':>24}"
    say(f"\n{header}{'requests of run':>24}")
    numbers = "".join(f"{number:>8}" for number in range(1, len(runs) + 1))
    say(f"{'stream':40}{'Postgres':>10}{'truth':>10}{numbers}{numbers}")
    for stream, rows in found.items():
        records = "".join(f"{run.records.get(stream, 0):>8}" for run in runs)
        asked = "".join(f"{run.requests.get(stream, 0):>8}" for run in runs)
        say(f"{stream:40}{rows.held:>10}{rows.expected:>10}{records}{asked}")
    others = "".join(f"{run.requests.get('', 0):>8}" for run in runs)
    say(f"{'(tokens, privileges)':40}{'':>20}{'':>24}{others}\n")
    for stream, rows in found.items():
        for difference in rows.differences:
            say(f"{stream}: {difference}")


if __name__ == "__main__":
    main()
