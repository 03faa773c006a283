"""Makes the page: of each section its words, its table, and its chart if it has one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import jinja2

from tap_email_metrics.report.charts import trend
from tap_email_metrics.report.names import provider_name
from tap_email_metrics.report.sections import SECTIONS, Column, sql

if TYPE_CHECKING:
    from datetime import datetime

    from tap_email_metrics.report.marts import Marts, Row

NOT_REPORTED = "not reported by this vendor"
#: What a provider does not report, by the fact that a column shows.
UNREPORTED = {
    "encompass": {"sent", "unsubscribed", "complained_by_domain", "vendor_openers"},
    "constant_contact": {"delivered", "complained_by_domain"},
    "luxsci": {"vendor_openers"},
}


def page(marts: Marts, now: datetime, days: int = 7) -> str:
    """Return the report of what the marts hold, as HTML.

    The last `days` before `now` are compared with as many days before them.

    Raises:
        MartsError: the marts cannot be read.
    """
    times = {
        "now": f"{now:%Y-%m-%d %H:%M:%S}",
        "since": f"{now - timedelta(days):%Y-%m-%d %H:%M:%S}",
        "before": f"{now - timedelta(2 * days):%Y-%m-%d %H:%M:%S}",
    }
    rows = marts.read({one.name: sql(one, times) for one in SECTIONS})
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


def shown(row: Row, column: Column) -> str:
    """Return what a cell of a table says."""
    value = row[column.name]
    if column.kind == "provider":
        return provider_name(str(value))
    if value is None:
        known = column.unreported or column.name
        missing = known in UNREPORTED.get(str(row.get("provider")), ())
        return NOT_REPORTED if missing else "none"
    if isinstance(value, str):
        return value
    if column.kind == "percent":
        return f"{100 * value:.1f} %"
    if column.kind == "small_percent":
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def most(rows: list[Row], column: Column) -> float:
    """Return the largest number of a column, for the length of its bars."""
    numbers = [row[column.name] for row in rows]
    return max((n for n in numbers if isinstance(n, int | float)), default=0) or 1


def width(row: Row, column: Column, largest: float) -> float | None:
    """Return how long a cell's bar is in per cent, None where it has none."""
    value = row[column.name]
    if not column.bar or not isinstance(value, int | float) or value < 0:
        return None
    return round(100 * value / largest, 2)
