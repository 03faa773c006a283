"""Draws rates as SVG: a solid line for people, a dashed one for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from tap_email_metrics.report.names import provider_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.report.marts import MartRow

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 22
SCALES = (0.05, 0.1, 0.25, 0.5, 1.0)
"""What the top of an axis may stand for: the least that no rate exceeds."""


@dataclass(frozen=True)
class Chart:
    """What a chart shows.

    Attributes:
        noun: the rates, as people call them.
        verb: what its recipients did.
        lines: the column of each line, and whose rate it is.
    """

    noun: str
    verb: str
    lines: tuple[tuple[str, str], ...]


CHARTS = (
    Chart(
        "Open rates",
        "opened",
        (("human_open_rate", "people"), ("open_rate", "all")),
    ),
    Chart(
        "Click rates",
        "clicked",
        (("human_click_rate", "people"), ("click_rate", "all")),
    ),
)


def trend(rows: list[MartRow]) -> Markup:
    """Draw the charts of each provider, with messages from left (oldest) to right.

    Charts of the same rates have the same scale.

    Args:
        rows: messages with their rates, newest first.
    """
    providers = dict.fromkeys(str(row["provider"]) for row in rows)
    return Markup().join(
        _figure(
            chart,
            scale(chart, rows),
            one,
            [row for row in rows if row["provider"] == one][::-1],
        )
        for chart in CHARTS
        for one in providers
    )


def scale(chart: Chart, rows: Sequence[MartRow]) -> float:
    """Return the share that the top of a chart's axis stands for."""
    rates = [row[column] for column, _ in chart.lines for row in rows]
    largest = max((one for one in rates if isinstance(one, int | float)), default=0)
    return next((one for one in SCALES if one >= largest), SCALES[-1])


def _figure(chart: Chart, top: float, provider: str, rows: Sequence[MartRow]) -> Markup:
    title = f"{chart.noun} of the last {len(rows)} messages"
    lines = Markup().join(
        _line(chart, column, who, top, rows) for column, who in chart.lines
    )
    return Markup(
        '<figure class="{provider}"><figcaption><b class="who {provider}">{name}</b> '
        '<span class="key">{noun}</span></figcaption>'
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
        "{grid}{lines}</svg></figure>"
    ).format(
        provider=provider,
        name=provider_name(provider),
        noun=chart.noun,
        width=WIDTH,
        height=HEIGHT,
        title=f"{provider_name(provider)}: {title}. The table has the numbers.",
        grid=_grid(top),
        lines=lines,
    )


def _grid(top: float) -> Markup:
    return Markup().join(
        Markup(
            '<line class="grid" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/>'
            '<text x="{text}" y="{below}">{percent:g} %</text>'
        ).format(
            x1=LEFT,
            x2=WIDTH - RIGHT,
            y=_height(part),
            text=LEFT - 7,
            below=_height(part) + 4,
            percent=round(100 * part * top, 1),
        )
        for part in (0, 0.5, 1)
    )


def _line(
    chart: Chart, column: str, who: str, top: float, rows: Sequence[MartRow]
) -> Markup:
    step = (WIDTH - LEFT - RIGHT) / max(1, len(rows) - 1)
    points = [
        (round(LEFT + number * step, 1), _height(float(row[column]) / top), row)
        for number, row in enumerate(rows)
        if isinstance(row[column], int | float)
    ]
    path = " ".join(f"{x},{y}" for x, y, _ in points)
    said = f"{chart.verb}, {who}"
    dots = Markup().join(
        Markup(
            '<circle class="{who}" cx="{x}" cy="{y}" r="3">'
            "<title>{said}</title></circle>"
        ).format(
            who=who,
            x=x,
            y=y,
            said=f"{row['name']}, {said}: {100 * float(row[column]):.1f} %",
        )
        for x, y, row in points
    )
    return Markup('<polyline class="{who}" points="{path}"/>{dots}').format(
        who=who, path=escape(path), dots=dots
    )


def _height(part: float) -> float:
    """Return the y coordinate of a part of the axis, from 0 (bottom) to 1 (top)."""
    return round(TOP + (1 - min(1.0, max(0.0, part))) * (HEIGHT - TOP - BOTTOM), 2)
