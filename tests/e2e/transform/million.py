"""Measures what a build of the marts and the page cost with a million events.

`python -m tests.e2e.transform.million [--events N]` fills a DuckDB with events of
Encompass, builds, adds one in a hundred, builds again, and writes the page. It prints
the seconds of CPU and the most memory of each step, and the ratio of its CPU to that of
the first mart, `email_events`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.support.project import CACHE, ROOT

PYTHON = CACHE / "dbt" / "bin" / "python"
MEMORY = "1GB"
FILL = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
for statement in sys.stdin.read().split(";"):
    connection.execute(statement)
"""
ROWS = Template("""
create schema if not exists email_metrics;
create or replace temp table people as
select
    '1' as account, n // 5000 as message_id, n as id, n % 5000 as person,
    timestamp '2025-01-01' + interval (n // 5000) day as sent_at,
    timestamp '2025-01-01' + interval (n // 5000) day as added_at,
    timestamp '2025-01-01' + interval (n // 5000 + 1) day as _sdc_received_at,
    ['Mozilla/5.0', 'Mozilla/5.0 (iPhone) AppleWebKit/605',
     'Mozilla/5.0 (Windows NT 10.0) Chrome/126',
     'Mozilla/5.0 (via ggpht.com GoogleImageProxy)'][1 + n % 4] as user_agent,
    '98.' || n % 97 || '.' || n % 89 || '.' || n % 250 as ip_address
from range($first, $last) as numbers (n);
create or replace temp table messages as
select distinct
    account, message_id as id, 'News ' || message_id as email_name,
    5000 as sent_count, sent_at, _sdc_received_at
from people;
create or replace temp table recipients as
select
    account, message_id, id, 'c' || person as constituent_id,
    'p' || person || '@gmail.com' as email_address,
    'gmail.com' as recipient_domain, _sdc_received_at
from people;
create or replace temp table links as
select
    account, messages.id as message_id, k as id,
    'https://example.org/' || k as url, _sdc_received_at
from messages, range(5) as links (k);
create or replace temp table delivers as
select
    account, message_id, id, id as recipient_id,
    sent_at + interval 1 minute as occurred_at, added_at, _sdc_received_at
from people;
create or replace temp table opens as
select
    account, message_id, 2 * id + k as id, id as recipient_id, user_agent, ip_address,
    sent_at + interval (2 + id % 600 + 60 * k) minute as occurred_at, added_at,
    _sdc_received_at
from people, range(2) as opens (k)
where id % 4 <> 3;
create or replace temp table clicks as
select
    account, message_id, 2 * id + k as id, id as recipient_id, user_agent, ip_address,
    k as link_id, sent_at + interval (9 + id % 600 + k) minute as occurred_at,
    added_at, _sdc_received_at
from people, range(2) as clicks (k)
where id % 4 = 1
""")
"""Recipients of messages, by number, and all their events.

A message a day goes to 5,000 recipients, and its events are loaded the day after. Each
recipient has a delivery; three in four open twice, and one in four clicks two links.
"""
LOAD = Template("""
create table if not exists email_metrics.encompass_$kind as from $kind limit 0;
insert into email_metrics.encompass_$kind from $kind
""")
KINDS = ("messages", "recipients", "links", "delivers", "opens", "clicks")
EVENTS_EACH = 3
"""Events of a recipient, on average."""


def fill(first: int, last: int) -> str:
    """Return SQL that loads the recipients of these numbers and all their events."""
    rows = ROWS.substitute(first=first, last=last)
    return ";".join([rows, *(LOAD.substitute(kind=kind) for kind in KINDS)])


@dataclass(frozen=True)
class Step:
    """What one step took."""

    name: str
    seconds: float
    megabytes: float


def measured(
    name: str, command: list[str], environment: dict[str, str], text: str = ""
) -> Step:
    """Run a command; its CPU and memory are those of the process and its children."""
    with subprocess.Popen(  # noqa: S603 - our own programs
        command,
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin
        process.stdin.write(text.encode())
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name}: exit code {process.returncode}")
    step = Step(name, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    print(step, file=sys.stderr)  # noqa: T201 - shows how far it is
    return step


def measure(folder: Path, events: int) -> list[Step]:
    """Return what each step took with so many events."""
    database = folder / "warehouse.duckdb"
    people = events // EVENTS_EACH
    environment = {
        "DBT_PROJECT_DIR": str(ROOT / "transform"),
        "DBT_PROFILES_DIR": str(ROOT / "transform"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_TARGET": "duckdb",
        "DBT_DUCKDB_PATH": str(database),
        "DBT_DUCKDB_MEMORY_LIMIT": MEMORY,
    }
    only = ["--vars", json.dumps({"providers": ["encompass"]})]
    quiet = ["--exclude", "tag:alert"]
    dbt = [str(PYTHON.with_name("dbt")), "--quiet"]

    def build(name: str, *arguments: str) -> Step:
        return measured(name, [*dbt, *arguments, *only], environment)

    def load(name: str, first: int, last: int) -> Step:
        command = [str(PYTHON), "-c", FILL, str(database)]
        return measured(name, command, {}, fill(first, last))

    page = [sys.executable, "-m", "tap_email_metrics.report"]
    page += ["--database", str(database), "--out", str(folder / "report.html")]
    load("load", 0, people)
    return [
        build("seeds", "seed"),
        build("views", "run", "--select", "+email_events", "--exclude", "email_events"),
        build("email_events, the first mart", "run", "--select", "email_events"),
        build("all marts and their tests", "build", "--full-refresh", *quiet),
        build("again, nothing new", "run"),
        load("one in a hundred more", people, people + people // 100),
        build("again, one in a hundred new", "run"),
        measured("the page", page, {}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events: int = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        steps = measure(Path(folder), events)
    [first] = [step for step in steps if step.name.endswith("first mart")]
    for step in steps:
        ratio = step.seconds / first.seconds
        print(  # noqa: T201 - the result
            f"{step.name:32} {step.seconds:7.1f} s of CPU {ratio:5.2f}"
            f" {step.megabytes:7.0f} MB"
        )


if __name__ == "__main__":
    main()
