"""`python -m report --database postgresql://… --out report.html`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from report.marts import Marts, MartsError
from report.page import page


def main() -> None:
    """Write the report; exit 1 if the marts cannot be read, or it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m report", description=__doc__)
    parser.add_argument(
        "--database",
        required=True,
        help="a DuckDB file, or the URL of a Postgres; its password in PGPASSWORD",
    )
    parser.add_argument("--schema", default="email_marts", help="where the marts are")
    parser.add_argument("--out", type=Path, default=Path("output/email-report.html"))
    asked = parser.parse_args()
    try:
        text = page(Marts(asked.database, asked.schema), datetime.now(UTC))
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
