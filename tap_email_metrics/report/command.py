"""`tap-email-metrics-report`: write the report of the marts to one file."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from tap_email_metrics.clock import SystemClock

MISSING = (
    "The report needs a package that is not installed: {}. "
    "Run pip install 'tap-email-metrics[report]'."
)

MOST_DAYS = 3650
"""Many more would lead to times before the calendar begins."""


def main() -> None:
    """Write the report; exit 1 if the marts cannot be read or the file not written."""
    parser = argparse.ArgumentParser(
        prog="tap-email-metrics-report",
        description="Write one HTML page from the marts that the dbt project built.",
    )
    parser.add_argument(
        "--database",
        required=True,
        help="a DuckDB file, or a Postgres URL with the password in PGPASSWORD",
    )
    parser.add_argument("--schema", default="email_marts", help="schema of the marts")
    parser.add_argument("--out", type=Path, default=Path("output/email-report.html"))
    parser.add_argument(
        "--days",
        type=int,
        default=7,
        help="days of each of the two periods that are compared",
    )
    asked = parser.parse_args()
    if not 1 <= asked.days <= MOST_DAYS:
        parser.error(f"--days must be 1 to {MOST_DAYS}.")
    write(text_of(asked.database, asked.schema, asked.days), asked.out)
    sys.stdout.write(f"{asked.out}\n")


def text_of(database: str, schema: str, days: int) -> str:
    """Return the report as HTML; exit 1 if it cannot be made."""
    try:
        # They import packages that only this command needs.
        from tap_email_metrics.report.marts import Marts, MartsError  # noqa: PLC0415
        from tap_email_metrics.report.page import page  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        sys.exit(MISSING.format(problem.name))
    try:
        now = datetime.fromtimestamp(SystemClock().now(), UTC)
        return page(Marts(database, schema), now, days)
    except MartsError as problem:
        sys.exit(str(problem))


def write(text: str, out: Path) -> None:
    """Write the report, and create its folder; exit 1 if that fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as problem:
        sys.exit(f"The report cannot be written: {problem}")
