"""`python -m tap_email_metrics.report --database postgresql://… --out report.html`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from tap_email_metrics.clock import SystemClock
from tap_email_metrics.report.marts import Marts, MartsError
from tap_email_metrics.report.page import page


def main() -> None:
    """Write the report; exit 1 if the marts cannot be read, or it cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m tap_email_metrics.report", description=__doc__
    )
    parser.add_argument(
        "--database",
        required=True,
        help="a DuckDB file, or the URL of a Postgres; its password in PGPASSWORD",
    )
    parser.add_argument("--schema", default="email_marts", help="where the marts are")
    parser.add_argument("--out", type=Path, default=Path("output/email-report.html"))
    asked = parser.parse_args()
    try:
        now = datetime.fromtimestamp(SystemClock().now(), UTC)
        text = page(Marts(asked.database, asked.schema), now)
    except MartsError as problem:
        sys.exit(str(problem))
    write(text, asked.out)
    sys.stdout.write(f"{asked.out}\n")


def write(text: str, out: Path) -> None:
    """Write the report, into a folder that may be new; exit 1 if it cannot be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as problem:
        sys.exit(f"The report cannot be written: {problem}")


if __name__ == "__main__":
    main()
