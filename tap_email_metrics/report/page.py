"""Makes the page: of each section its words, its chart and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

from tap_email_metrics.report.charts import svg
from tap_email_metrics.report.sections import SECTIONS

if TYPE_CHECKING:
    from datetime import datetime

    from tap_email_metrics.report.marts import Marts


def page(marts: Marts, now: datetime) -> str:
    """Return the report of what the marts hold, as HTML.

    Raises:
        MartsError: they cannot be read.
    """
    rows = marts.read({section.name: section.query for section in SECTIONS})
    parts = [
        (
            section,
            rows[section.name],
            svg(section.chart(rows[section.name])) if rows[section.name] else "",
        )
        for section in SECTIONS
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tap_email_metrics.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = shown
    return environment.get_template("page.html.j2").render(
        made_at=f"{now:%Y-%m-%d %H:%M}", schema=marts.schema, parts=parts
    )


def shown(value: float | str | None) -> str:
    """Return what a cell of a table says."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
