"""The documented queries for alerts and for the cost of a day, in DuckDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from tests.support.pages import DOCS, blocks

WAKING, COSTS = (
    block.text.strip().removesuffix(";")
    for block in blocks(DOCS / "operations.md")
    if block.language == "sql"
)
COLUMNS = """
    account text, provider text, stream text, run text, backfill boolean, outcome text,
    quarantined int, set_aside int, headroom_days double, behind_since timestamp,
    requests int, finished_at timestamp, quota_left int, seconds double
"""


def ask(query: str, *rows: tuple[int, bool | None, str]) -> list[dict[str, object]]:
    """Run a query on runs of (hours ago, whether a backfill, outcome)."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create table email_metrics_runs ({COLUMNS})")
        for hours, backfill, outcome in rows:
            at = datetime.now(UTC) - timedelta(hours=hours)
            run = ("a", "luxsci", "luxsci_opens", at.isoformat(), backfill, outcome)
            connection.execute(
                "insert into email_metrics_runs"
                " values (?, ?, ?, ?, ?, ?, 0, 0, null, null, 5, ?, null, 1)",
                [*run, at.replace(tzinfo=None)],
            )
        found = connection.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("live", [False, None])
def test_a_backfill_does_not_hide_a_late_or_failed_live_run(live: bool | None) -> None:  # noqa: FBT001
    assert ask(WAKING, (1, live, "complete")) == []
    [late] = ask(WAKING, (9, live, "complete"), (1, True, "complete"))
    [failed] = ask(WAKING, (2, live, "failed"), (1, True, "complete"))
    assert late["backfill"] is failed["backfill"] is live
    assert ask(WAKING, (2, live, "complete"), (1, True, "failed")) == []


def test_the_cost_of_a_day_includes_backfills() -> None:
    found = ask(COSTS, (0, False, "complete"), (0, True, "complete"))
    assert sum(int(str(row["sum(requests)"])) for row in found) == 10
