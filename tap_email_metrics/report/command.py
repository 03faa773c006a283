"""`tap-email-metrics-report`: write the report of the marts to one file."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from tap_email_metrics.clock import SystemClock

MISSING = (
    "The report needs more than the tap: pip install 'tap-email-metrics[report]'. "
    "Missing is {}."
)


def main() -> None:
    """Write the report; exit 1 if the marts cannot be read, or it cannot be written."""
    parser = argparse.ArgumentParser(
        prog="tap-email-metrics-report",
        description="Write one HTML page of the marts that the dbt project has built.",
    )
    parser.add_argument(
        "--database",
        required=True,
        help="a DuckDB file, or the URL of a Postgres; its password in PGPASSWORD",
    )
    parser.add_argument("--schema", default="email_marts", help="where the marts are")
    parser.add_argument("--out", type=Path, default=Path("output/email-report.html"))
    parser.add_argument(
        "--days",
        type=int,
        default=7,
        help="days of the period that is compared with the one before it",
    )
    asked = parser.parse_args()
    if asked.days < 1:
        parser.error("--days has to be 1 or more.")
    write(text_of(asked.database, asked.schema, asked.days), asked.out)
    sys.stdout.write(f"{asked.out}\n")


def text_of(database: str, schema: str, days: int) -> str:
    """Return the report; exit 1 if it cannot be made."""
    try:
        # Only this command needs them.
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
    """Write the report, into a folder that may be new; exit 1 if it cannot be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as problem:
        sys.exit(f"The report cannot be written: {problem}")
