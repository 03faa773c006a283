"""Prints headings and tables to stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def say(text: str) -> None:
    """Print a heading."""
    sys.stdout.write(f"\n{text}\n\n")
    sys.stdout.flush()


def print_table(
    first: str, rows: Mapping[str, Mapping[str, float]], columns: Sequence[str]
) -> None:
    """Print a Markdown table."""
    lines = [f"| {first} | {' | '.join(columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = " | ".join(f"{row[column]:,.4g}" for column in columns)
        lines.append(f"| {name} | {cells} |")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
