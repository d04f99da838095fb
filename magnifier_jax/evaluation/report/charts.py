"""Charts as SVG: lines, dots and histograms."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

from magnifier_jax.evaluation.report.drawing import part_color

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 34, 30
_COLORS = (
    *("#3b6fd4", "#d9603b", "#2f9e63", "#a05bc4", "#c99a1a"),
    *("#1fa3b5", "#d24f8f", "#7d8a2e", "#8a5a3c", "#6b7280"),
)
# Looks of a chart that stands alone; a page's style sheet goes before these.
_TITLE = 'class="title" font-size="13" font-weight="600"'
_TICK = 'class="tick" font-size="11" fill="#787e8a"'
_GRID = 'class="grid" stroke="#d9dde5"'


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values over training steps; both `[n]`."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def chart(title: str, drawn: Sequence[Curve], *, colors: Sequence[str] = _COLORS) -> str:
    """One line chart.

    Args:
        title: What stands above it.
        drawn: One or more curves, each with a point at least.
        colors: Of the curves; from the first again where there are more curves.
    """
    colors = [colors[i % len(colors)] for i in range(len(drawn))]
    # Many names do not fit beside the title.
    below = len(drawn) > 5
    legend = (
        _legend(
            [
                (curve.name.replace("_", " "), color)
                for curve, color in zip(drawn, colors, strict=True)
            ],
            y=_HEIGHT + 6,
        )
        if below
        else ("", 0)
    )
    low, high = _range([value for curve in drawn for value in curve.values])
    first = min(curve.steps[0] for curve in drawn)
    last = max(curve.steps[-1] for curve in drawn)

    def x(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        _open(title, _HEIGHT + legend[1]),
        f'<text {_TITLE} x="{_LEFT}" y="16">{html.escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        parts.append(
            f'<line {_GRID} x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text {_TICK} text-anchor="end" x="{_LEFT - 6}" '
            f'y="{y(tick) + 4:.1f}">{tick:.4g}</text>'
        )
    for step in _ticks(first, last):
        parts.append(
            f'<text {_TICK} text-anchor="middle" x="{x(step):.1f}" y="{_HEIGHT - 10}">'
            f"{step:,.0f}</text>"
        )
    beside = float(_WIDTH - _RIGHT)
    for curve, color in reversed(list(zip(drawn, colors, strict=True))):
        points = " ".join(
            f"{x(step):.1f},{y(value):.1f}"
            for step, value in zip(curve.steps, curve.values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8" '
            'stroke-linejoin="round" stroke-linecap="round"/>'
        )
        if len(drawn) > 1 and not below:
            name = curve.name.replace("_", " ")
            parts.append(
                f'<text {_TICK} text-anchor="end" x="{beside:.0f}" y="16" '
                f'style="fill:{color}">{html.escape(name)}</text>'
            )
            beside -= 6.2 * len(name) + 14
    return "".join([*parts, legend[0], "</svg>"])


@dataclasses.dataclass(frozen=True)
class Dots:
    """One series of a dot chart.

    Attributes:
        name: What the legend calls it.
        color: As in CSS.
        values: One for each row.
        reference: Where a thin line stands through all rows, or None.
    """

    name: str
    color: str
    values: tuple[float, ...]
    reference: float | None = None


def dot_chart(title: str, rows: Sequence[str], series: Sequence[Dots], *, unit: str = "") -> str:
    """A row for each name, with a dot for each series, so that series are compared row by row.

    Args:
        title: What stands above it.
        rows: Names of the rows.
        series: What is shown, one or more.
        unit: What the numbers are, under the axis.
    """
    values = [value for dots in series for value in dots.values]
    values += [dots.reference for dots in series if dots.reference is not None]
    low, high = _range(values)
    left, step, top = 96, 19, 30
    bottom = top + step * len(rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - left - _RIGHT)

    legend, added = _legend([(dots.name, dots.color) for dots in series], y=bottom + 36)
    parts = [
        _open(title, bottom + 36 + added),
        f'<text {_TITLE} x="8" y="16">{html.escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        parts.append(
            f'<line {_GRID} x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text {_TICK} text-anchor="middle" x="{x(tick):.1f}" y="{bottom + 15}">{tick:.4g}'
            f"{html.escape(unit)}</text>"
        )
    for dots in series:
        if dots.reference is not None:
            place = x(dots.reference)
            parts.append(
                f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top}" y2="{bottom}" '
                f'stroke="{dots.color}" stroke-width="1.2" stroke-dasharray="3 3"/>'
            )
    for row, name in enumerate(rows):
        y = top + step * (row + 0.5)
        parts.append(
            f'<text {_TICK} text-anchor="end" x="{left - 8}" y="{y + 4:.1f}">'
            f"{html.escape(name)}</text>"
        )
        parts += [
            f'<circle cx="{x(dots.values[row]):.1f}" cy="{y:.1f}" r="4.2" fill="{dots.color}" '
            f'fill-opacity="0.85"><title>{html.escape(dots.name)}: {dots.values[row]:.1f}</title>'
            "</circle>"
            for dots in series
        ]
    return "".join([*parts, legend, "</svg>"])


def histogram(
    title: str,
    edges: Sequence[float],
    series: Sequence[tuple[str, str, Sequence[float]]],
    *,
    marks: Sequence[tuple[str, float]] = (),
) -> str:
    """Shares over bins as filled outlines, with vertical marks.

    Args:
        title: What stands above it.
        edges: Borders of the bins.
        series: Name, color, and the share in each bin.
        marks: Names and places of vertical lines.
    """
    used = [i for i in range(len(edges) - 1) if any(shares[i] > 0 for _, _, shares in series)] or [
        0
    ]
    low, high = edges[used[0]], edges[used[-1] + 1]
    tallest = max(max(shares) for _, _, shares in series) or 1.0
    base = _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return 12 + (value - low) / (high - low) * (_WIDTH - 12 - _RIGHT)

    legend, added = _legend([(name, color) for name, color, _ in series], y=_HEIGHT + 6)
    parts = [
        _open(title, _HEIGHT + added),
        f'<text {_TITLE} x="12" y="16">{html.escape(title)}</text>',
    ]
    for name, color, shares in series:
        points = [f"{x(low):.1f},{base}"]
        for i in range(used[0], used[-1] + 1):
            y = base - shares[i] / tallest * (base - _TOP - 16)
            points += [f"{x(edges[i]):.1f},{y:.1f}", f"{x(edges[i + 1]):.1f},{y:.1f}"]
        points.append(f"{x(high):.1f},{base}")
        parts.append(
            f'<polygon points="{" ".join(points)}" fill="{color}" fill-opacity="0.35" '
            f'stroke="{color}" stroke-width="1.2"><title>{html.escape(name)}</title></polygon>'
        )
    for tick in _ticks(low, high):
        parts.append(
            f'<text {_TICK} text-anchor="middle" x="{x(tick):.1f}" y="{base + 16}">'
            f"{tick:.4g}</text>"
        )
    parts.append(f'<line {_GRID} x1="12" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for row, (name, place) in enumerate(mark for mark in marks if low <= mark[1] <= high):
        y = _TOP + 11 * row
        anchor = "end" if x(place) > _WIDTH / 2 else "start"
        parts.append(
            f'<line class="mark" stroke="#787e8a" stroke-dasharray="4 3" x1="{x(place):.1f}" '
            f'x2="{x(place):.1f}" y1="{y - 8}" y2="{base}"/><text {_TICK} text-anchor="{anchor}" '
            f'x="{x(place) + (-4 if anchor == "end" else 4):.1f}" y="{y}">'
            f"{html.escape(name)}</text>"
        )
    return "".join([*parts, legend, "</svg>"])


def series_color(number: int) -> str:
    """The color of a series; they repeat."""
    return _COLORS[number % len(_COLORS)]


def hex_color(part: int) -> str:
    """A part's color in CSS; the background's is one that shows on dark and light paper."""
    red, green, blue = part_color(part) if part else (135, 142, 155)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _open(title: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(title)}" '
        f'width="{_WIDTH}" font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">'
    )


def _legend(names: Sequence[tuple[str, str]], *, y: int) -> tuple[str, int]:
    """Names with their colors in as many lines as they need, and how tall that is."""
    parts, x, line = [], 12.0, 0
    for name, color in names:
        width = 6.4 * len(name) + 30
        if x > 12 and x + width > _WIDTH:
            x, line = 12.0, line + 1
        row = y + 16 * line
        parts.append(
            f'<rect x="{x:.0f}" y="{row - 1}" width="10" height="10" rx="2" fill="{color}"/>'
            f'<text {_TICK} x="{x + 15:.0f}" y="{row + 8}">{html.escape(name)}</text>'
        )
        x += width
    return "".join(parts), 16 * (line + 1) + 6


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(0.0, *values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, about five."""
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
