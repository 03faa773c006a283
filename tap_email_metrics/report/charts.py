"""Draws the open rates as SVG: a solid line for people, a dashed one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from tap_email_metrics.report.names import provider_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_email_metrics.report.marts import MartRow

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 10, 22
LINES = (("human_open_rate", "human"), ("open_rate", "all"))


def trend(rows: list[MartRow]) -> Markup:
    """Draw one chart per provider, with its messages from left (oldest) to right.

    Args:
        rows: messages with their open rates, newest first.
    """
    providers = dict.fromkeys(str(row["provider"]) for row in rows)
    return Markup().join(
        _figure(provider, [row for row in rows if row["provider"] == provider][::-1])
        for provider in providers
    )


def _figure(provider: str, rows: Sequence[MartRow]) -> Markup:
    title = f"Open rates of the last {len(rows)} messages"
    lines = Markup().join(_line(column, who, rows) for column, who in LINES)
    return Markup(
        '<figure class="{provider}"><figcaption><b class="who {provider}">{name}</b> '
        '<span class="key">solid: people, dashed: all</span></figcaption>'
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
        "{grid}{lines}</svg></figure>"
    ).format(
        provider=provider,
        name=provider_name(provider),
        width=WIDTH,
        height=HEIGHT,
        title=f"{provider_name(provider)}: {title}. The table has the numbers.",
        grid=_grid(),
        lines=lines,
    )


def _grid() -> Markup:
    return Markup().join(
        Markup(
            '<line class="grid" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/>'
            '<text x="{text}" y="{below}">{percent} %</text>'
        ).format(
            x1=LEFT,
            x2=WIDTH - RIGHT,
            y=_height(share / 100),
            text=LEFT - 4,
            below=_height(share / 100) + 4,
            percent=share,
        )
        for share in (0, 50, 100)
    )


def _line(column: str, who: str, rows: Sequence[MartRow]) -> Markup:
    step = (WIDTH - LEFT - RIGHT) / max(1, len(rows) - 1)
    points = [
        (round(LEFT + number * step, 1), _height(float(row[column])), row)
        for number, row in enumerate(rows)
        if isinstance(row[column], int | float)
    ]
    path = " ".join(f"{x},{y}" for x, y, _ in points)
    dots = Markup().join(
        Markup(
            '<circle class="{who}" cx="{x}" cy="{y}" r="3">'
            "<title>{said}</title></circle>"
        ).format(
            who=who,
            x=x,
            y=y,
            said=f"{row['name']}, {who}: {100 * float(row[column]):.1f} %",
        )
        for x, y, row in points
    )
    return Markup('<polyline class="{who}" points="{path}"/>{dots}').format(
        who=who, path=escape(path), dots=dots
    )


def _height(share: float) -> float:
    """Return the y coordinate of a share from 0 (bottom) to 1 (top)."""
    return round(TOP + (1 - min(1.0, max(0.0, share))) * (HEIGHT - TOP - BOTTOM), 2)
