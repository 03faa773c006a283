"""The charts, each of the rows that the table beside it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import altair as alt
import vl_convert

if TYPE_CHECKING:
    from report.marts import Row

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart

WIDTH = 500
BAR = 22
STEPS = ("sent", "delivered", "opened", "clicked")
#: Hours after a send that are drawn.
HOURS = 72
#: Of what a run of the tap has to have left.
WARN_DAYS, MOST_DAYS = 30, 180
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
    "font": "system-ui, sans-serif",
    "axis": {
        "labelColor": TEXT,
        "titleColor": TEXT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": 220,
        "domainColor": TEXT,
        "domainOpacity": 0.4,
        "tickColor": TEXT,
        "tickOpacity": 0.4,
        "gridColor": TEXT,
        "gridOpacity": 0.12,
    },
    "header": {
        "labelColor": TEXT,
        "labelFontSize": 12,
        "labelFontWeight": "bold",
        "labelAnchor": "start",
    },
    "legend": {"labelColor": TEXT, "labelFontSize": 12, "orient": "top", "title": None},
    "text": {"color": TEXT, "fontSize": 12, "align": "left", "dx": 5},
    "title": {"color": TEXT, "fontSize": 13, "anchor": "start"},
    "view": {"stroke": None},
}


def svg(chart: Chart) -> str:
    """Return the chart as an element of a page of HTML."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(), config=CONFIG)
    # A page of HTML knows the element without its name space.
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawn, count=2)


def messages(rows: list[Row]) -> Chart:
    """Return a bar a provider."""
    return _bars(_chart(rows, y=_names("provider")), "messages", "messages")


def funnel(rows: list[Row]) -> Chart:
    """Return the steps of each provider below each other."""
    layers = _bars(
        _chart(rows, y=_names("event_type", STEPS)),
        "recipients",
        "recipients of a message",
    )
    return layers.facet(row=alt.Row("provider:N", title=None, header=_above()))


def opens(rows: list[Row]) -> Chart:
    """Return the opens of each hour, stacked by provider."""
    drawn = [row for row in rows if 0 <= row["hour"] < HOURS]
    return (
        alt.Chart(alt.Data(values=drawn), width=WIDTH, height=220)
        .transform_calculate(until="datum.hour + 1")
        .mark_bar()
        .encode(
            x=alt.X(
                "hour:Q",
                bin="binned",
                title="hours after the send",
                scale=alt.Scale(domain=[0, HOURS]),
                axis=alt.Axis(values=[*range(0, HOURS + 1, 12)]),
            ),
            x2="until:Q",
            y=alt.Y("opens:Q", title="opens an hour", axis=_counts()),
            color=_colour(alt.Legend()),
        )
    )


def bounces(rows: list[Row]) -> Chart:
    """Return the classes of each provider below each other."""
    layers = _bars(_chart(rows, y=_names("class", "-x")), "bounces", "bounces")
    by_provider = alt.Row("provider:N", title=None, header=_above())
    return layers.facet(row=by_provider).resolve_scale(y="independent")


def cost(rows: list[Row]) -> Chart:
    """Return the records of each run above its requests, stacked by provider."""
    halves = [
        alt.Chart(alt.Data(values=rows), width=WIDTH, height=110, title=name)
        .mark_bar()
        .encode(
            x=alt.X("run:O", title="run (UTC)", axis=alt.Axis(labelAngle=-30)),
            y=alt.Y(f"{name}:Q", title=None, axis=_counts()),
            color=_colour(alt.Legend()),
        )
        for name in ("records", "requests")
    ]
    return alt.vconcat(*halves)


def headroom(rows: list[Row]) -> Chart:
    """Return the days that each stream has left, and where the tap warns."""
    base = _chart(rows, y=_names("stream"))
    scale = alt.Scale(domainMin=min(0, *(row["days_left"] for row in rows)))
    days = base.mark_bar().encode(
        x=alt.X("days_left:Q", title="days left", scale=scale),
        color=alt.value(COLOURS["encompass"]),
    )
    numbers = base.mark_text(aria=False).encode(
        x="days_left:Q", text=alt.Text("days_left:Q", format=".0f")
    )
    warning = (
        alt.Chart(alt.Data(values=[{"days": WARN_DAYS}]))
        .mark_rule(aria=False, strokeDash=[4, 3], color=WARNING)
        .encode(x="days:Q")
    )
    layers = alt.layer(days, numbers, warning)
    return layers.facet(
        data=alt.Data(values=rows),
        row=alt.Row("account:N", title=None, header=_above()),
    )


def _chart(rows: list[Row], y: alt.Y) -> alt.Chart:
    return alt.Chart(
        alt.Data(values=rows), width=WIDTH, height=alt.Step(BAR)
    ).encode(y=y)


def _bars(base: alt.Chart, column: str, title: str) -> alt.LayerChart:
    """Return bars of a column, each with its number."""
    number = alt.X(f"{column}:Q", title=title, axis=_counts())
    return alt.layer(
        base.mark_bar().encode(x=number, color=_colour(None)),
        base.mark_text(aria=False).encode(
            x=number, text=alt.Text(f"{column}:Q", format=",")
        ),
    )


def _names(column: str, order: tuple[str, ...] | str = "ascending") -> alt.Y:
    return alt.Y(f"{column}:N", title=None, sort=order)


def _counts() -> alt.Axis:
    return alt.Axis(format=",d", tickMinStep=1, tickCount=6)


def _above() -> alt.Header:
    return alt.Header(labelOrient="top", labelAngle=0)


def _colour(legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=[*COLOURS], range=[*COLOURS.values()])
    return alt.Color("provider:N", scale=scale, legend=legend)
