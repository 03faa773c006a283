"""The charts, each of the rows that the table beside it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import altair as alt
import vl_convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.report.marts import Row

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart

WIDTH = 430
BAR = 22
#: Room for names, more than the longest takes: readers' fonts differ in width.
NAMES, LONGEST_NAME = 170, 150
STEPS = ("sent", "delivered", "opened", "clicked")
#: Hours after a send that are drawn.
HOURS = 72
#: Days of headroom below which the tap warns.
WARN_DAYS = 30
#: Each has a contrast of 3 or more to the page, be that light or dark.
COLOURS = {
    "encompass": "#3b82c4",
    "constant_contact": "#d9722e",
    "luxsci": "#2f9a72",
}
WARNING = "#d64545"
#: What else is drawn has the colour of the page's text.
TEXT = "currentColor"
CONFIG = {
    "background": "transparent",
    "font": "Arial, Helvetica, Liberation Sans, sans-serif",
    "axis": {
        "labelColor": TEXT,
        "titleColor": TEXT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": LONGEST_NAME,
        "domainColor": TEXT,
        "domainOpacity": 0.4,
        "tickColor": TEXT,
        "tickOpacity": 0.4,
        "gridColor": TEXT,
        "gridOpacity": 0.12,
    },
    "axisY": {"minExtent": NAMES},
    "facet": {"spacing": 12},
    "header": {
        "labelColor": TEXT,
        "labelFontSize": 12,
        "labelFontWeight": "bold",
        "labelAnchor": "start",
        "labelPadding": 4,
    },
    "legend": {
        "labelColor": TEXT,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "columnPadding": 28,
    },
    "text": {"color": TEXT, "fontSize": 12, "align": "left", "dx": 5},
    "title": {"color": TEXT, "fontSize": 13, "anchor": "start", "frame": "group"},
    "view": {"stroke": None},
}


def svg(chart: Chart) -> str:
    """Return the chart as an element of a page of HTML."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(), config=CONFIG)
    # A page of HTML knows the element without its name space.
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawn, count=2)


def messages(rows: list[Row]) -> Chart:
    """Return a bar a provider."""
    return _bars(
        _named(rows, "provider", [row["provider"] for row in rows]),
        "messages",
        "messages",
    )


def funnel(rows: list[Row]) -> Chart:
    """Return the steps of each provider below each other."""
    base = _named(rows, "event_type", STEPS)
    return _by(_bars(base, "recipients", "recipients of a message"), "provider")


def opens(rows: list[Row]) -> Chart:
    """Return the opens of each hour, stacked by provider."""
    drawn = [row for row in rows if 0 <= row["hour"] < HOURS]
    hours = alt.X(
        "hour:Q",
        bin="binned",
        title="hours after the send",
        scale=alt.Scale(domain=[0, HOURS]),
        axis=alt.Axis(values=[*range(0, HOURS + 1, 12)]),
    )
    chart = _stacked(drawn, "opens", hours).properties(
        title="opens an hour", height=220
    )
    return chart.transform_calculate(until="datum.hour + 1").encode(x2="until:Q")


def bounces(rows: list[Row]) -> Chart:
    """Return the classes of each provider below each other, in the table's order."""
    base = _named(rows, "class", [row["class"] for row in rows])
    layers = _bars(base, "bounces", "bounces")
    chart: Chart = _by(layers, "provider").resolve_scale(y="independent")
    return chart


def cost(rows: list[Row]) -> Chart:
    """Return the records of each run above its requests, stacked by provider."""
    below = alt.Axis(labelAngle=-30, labelOverlap=True)
    return alt.vconcat(
        _runs(rows, "records", alt.Axis(labels=False, title=None)),
        _runs(rows, "requests", below),
    )


def headroom(rows: list[Row]) -> Chart:
    """Return the days that each stream has left, and where the tap warns."""
    base = _named(rows, "stream", [row["stream"] for row in rows])
    across = alt.Chart(base.data).mark_rule(aria=False, strokeDash=[4, 3])
    days = alt.X("days_left:Q", title="days left")
    numbers = alt.Text("days_left:Q", format=".0f")
    layers = alt.LayerChart(
        layer=[
            base.mark_bar(color=COLOURS["encompass"]).encode(x=days),
            base.mark_text(aria=False).encode(x=days, text=numbers),
            across.encode(x=alt.datum(WARN_DAYS), color=alt.value(WARNING)),
        ]
    )
    return _by(layers, "account")


def _chart(rows: list[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(rows), width=WIDTH)


def _named(rows: list[Row], column: str, order: Sequence[str]) -> alt.Chart:
    """Return a chart with a line for each of these names."""
    names = alt.Y(f"{column}:N", title=None, sort=[*dict.fromkeys(order)])
    return _chart(rows).properties(height=alt.Step(BAR)).encode(y=names)


def _bars(base: alt.Chart, column: str, title: str) -> alt.LayerChart:
    """Return bars of a column in the provider's colour, each with its number."""
    number = alt.X(f"{column}:Q", title=title, axis=_counts())
    text = alt.Text(f"{column}:Q", format=",")
    return alt.LayerChart(
        layer=[
            base.mark_bar().encode(x=number, color=_colour(None)),
            base.mark_text(aria=False).encode(x=number, text=text),
        ]
    )


def _by(layers: alt.LayerChart, column: str) -> alt.FacetChart:
    """Return the chart once for each value of a column, below each other."""
    header = alt.Header(labelOrient="top", labelAngle=0)
    return layers.facet(row=alt.Row(f"{column}:N", title=None, header=header))


def _runs(rows: list[Row], column: str, axis: alt.Axis) -> alt.Chart:
    runs = alt.X("run:O", title="run (UTC)", axis=axis)
    return _stacked(rows, column, runs).properties(title=column, height=110)


def _stacked(rows: list[Row], column: str, x: alt.X) -> alt.Chart:
    """Return bars of a column, stacked by provider."""
    number = alt.Y(f"{column}:Q", title=None, axis=_counts())
    bars: alt.Chart = _chart(rows).mark_bar()
    return bars.encode(x=x, y=number, color=_colour(alt.Legend()))


def _counts() -> alt.Axis:
    return alt.Axis(format=",d", tickMinStep=1, tickCount=5)


def _colour(legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=[*COLOURS], range=[*COLOURS.values()])
    return alt.Color("provider:N", scale=scale, legend=legend)
