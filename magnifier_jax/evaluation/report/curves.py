"""Line charts of a run's `metrics.jsonl`, as SVG."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from magnifier_jax.training.log import read_records

__all__ = ["curves", "read_records"]

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 34, 30
_COLOURS = ("#3b6fd4", "#d9603b", "#2f9e63", "#a05bc4", "#c99a1a")
_MOST_POINTS = 400
# Looks of a chart that stands alone; a page's style sheet goes before these.
_TITLE = 'class="title" font-size="13" font-weight="600"'
_TICK = 'class="tick" font-size="11" fill="#787e8a"'
_GRID = 'class="grid" stroke="#d9dde5"'
_CHARTS = (
    ("Total loss", ("total",)),
    ("Identity losses", ("global_id", "adversarial_id", "fusion_id")),
    ("Triplet losses", ("global_triplet", "fusion_triplet")),
    ("Part parsing and diversity", ("parsing", "diversity")),
    ("Learning rate", ("learning_rate",)),
)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values over training steps; both `[n]`."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def curves(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws what a run logged: loss terms, learning rate, and the measures of the test sets.

    Args:
        records: The lines of its `metrics.jsonl`.

    Returns:
        `<svg>` elements, one for each chart that has something to show.
    """
    found = []
    for title, names in _CHARTS:
        drawn = [curve for name in names if (curve := _curve(records, name)).steps]
        if drawn:
            found.append(chart(title, drawn))
    measured = sorted({name for record in records for name in record if name.endswith("/mAP")})
    for name in measured:
        test_set = name.removesuffix("/mAP")
        drawn = [
            dataclasses.replace(_curve(records, f"{test_set}/{key}"), name=key)
            for key in ("mAP", "rank1")
        ]
        if len(drawn[0].steps) > 1:
            found.append(chart(test_set, drawn))
    return found


def chart(title: str, drawn: Sequence[Curve]) -> str:
    """One line chart.

    Args:
        title: What stands above it.
        drawn: One to five curves, each with a point at least.
    """
    low, high = _range([value for curve in drawn for value in curve.values])
    first = min(curve.steps[0] for curve in drawn)
    last = max(curve.steps[-1] for curve in drawn)

    def x(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}" '
        f'width="{_WIDTH}" font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">',
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
    for curve, colour in reversed(list(zip(drawn, _COLOURS, strict=False))):
        points = " ".join(
            f"{x(step):.1f},{y(value):.1f}"
            for step, value in zip(curve.steps, curve.values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8" '
            'stroke-linejoin="round" stroke-linecap="round"/>'
        )
        if len(drawn) > 1:
            name = curve.name.replace("_", " ")
            parts.append(
                f'<text {_TICK} text-anchor="end" x="{beside:.0f}" y="16" '
                f'style="fill:{colour}">{html.escape(name)}</text>'
            )
            beside -= 6.2 * len(name) + 14
    return "".join([*parts, "</svg>"])


def _curve(records: Sequence[Mapping[str, Any]], name: str) -> Curve:
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    stride = max(1, -(-len(points) // _MOST_POINTS))
    points = points[::-1][::stride][::-1]  # The last point stays.
    return Curve(name, tuple(step for step, _ in points), tuple(value for _, value in points))


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
