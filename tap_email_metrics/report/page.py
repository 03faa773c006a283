"""Makes the HTML page: each section has a title, a text, a table, perhaps charts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import jinja2

from tap_email_metrics.report.charts import trend
from tap_email_metrics.report.names import provider_name
from tap_email_metrics.report.sections import SECTIONS, TableColumn, sql

if TYPE_CHECKING:
    from datetime import datetime

    from tap_email_metrics.report.marts import MartRow, Marts

NOT_REPORTED = "not reported by this vendor"
#: The columns that a provider does not report, by `unreported` or by column name.
UNREPORTED = {
    "encompass": {"sent", "unsubscribed", "complained_by_domain", "vendor_openers"},
    "constant_contact": {"delivered", "complained_by_domain"},
    "luxsci": {"vendor_openers"},
}


def page(marts: Marts, now: datetime, days: int = 7) -> str:
    """Return the report as HTML.

    It compares the last `days` days before `now` with the `days` days before those.

    Raises:
        MartsError: the marts cannot be read.
    """
    facts = {
        "now": f"{now:%Y-%m-%d %H:%M:%S}",
        "since": f"{now - timedelta(days):%Y-%m-%d %H:%M:%S}",
        "before": f"{now - timedelta(2 * days):%Y-%m-%d %H:%M:%S}",
        "period": "last day" if days == 1 else f"last {days} days",
        "period_before": "day before" if days == 1 else f"{days} days before",
    }
    rows = marts.read({section.name: sql(section, facts) for section in SECTIONS})
    parts = []
    for section in SECTIONS:
        found = rows[section.name]
        chart = trend(found) if section.name == "trend" and found else ""
        parts.append((section, found, chart))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tap_email_metrics.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        shown=shown, width=width, most=most, provider_name=provider_name
    )
    return environment.get_template("page.html.j2").render(
        made_at=f"{now:%Y-%m-%d %H:%M}", schema=marts.schema, days=days, parts=parts
    )


def shown(row: MartRow, column: TableColumn) -> str:
    """Return the text of a table cell."""
    value = row[column.name]
    if column.kind == "provider":
        return provider_name(str(value))
    if value is None:
        known = column.unreported or column.name
        missing = known in UNREPORTED.get(str(row.get("provider")), ())
        return NOT_REPORTED if missing else column.absent
    if isinstance(value, str):
        return value
    if column.kind == "percent":
        return f"{100 * value:.1f} %"
    if column.kind == "small_percent":
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def most(rows: list[MartRow], column: TableColumn) -> float:
    """Return the largest number of a column: its bar fills the cell."""
    numbers = [row[column.name] for row in rows]
    return max((n for n in numbers if isinstance(n, int | float)), default=0) or 1


def width(row: MartRow, column: TableColumn, largest: float) -> float | None:
    """Return the length of a cell's bar in percent, None for a cell without a bar."""
    value = row[column.name]
    if not column.bar or not isinstance(value, int | float) or value <= 0:
        return None
    return round(100 * value / largest, 2)
