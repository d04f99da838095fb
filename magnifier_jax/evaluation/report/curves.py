"""The curves of a run: what its `metrics.jsonl` tells."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from input_pipeline.dataset import PART_NAMES
from magnifier_jax.evaluation.report.charts import Curve, chart, hex_color
from magnifier_jax.training.log import read_records

__all__ = ["curve", "curves", "read_records"]

_MOST_POINTS = 400
_CHARTS = (
    ("Total loss", ("total",)),
    ("Identity losses", ("global_id", "adversarial_id", "fusion_id")),
    ("Triplet losses", ("global_triplet", "fusion_triplet")),
    ("Part parsing and diversity", ("parsing", "diversity")),
    ("Learning rate", ("learning_rate",)),
)


_PART_LOSS = re.compile(r"part(\d+)_id")


def curves(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws what a run logged: loss terms, learning rate, and the measures of the test sets.

    Args:
        records: The lines of its `metrics.jsonl`.

    Returns:
        `<svg>` elements, one for each chart that has something to show.
    """
    found: list[str] = []
    for title, names in _CHARTS:
        drawn = [line for name in names if (line := curve(records, name)).steps]
        if drawn:
            found.append(chart(title, drawn))
    logged = {name for record in records for name in record}
    parts = sorted(int(match[1]) for name in logged if (match := _PART_LOSS.fullmatch(name)))
    if parts:
        known = len(parts) == len(PART_NAMES)
        drawn = [
            dataclasses.replace(
                curve(records, f"part{part}_id"),
                name=PART_NAMES[part] if known else f"part {part}",
            )
            for part in parts
        ]
        colors = [hex_color(part) for part in parts]
        found.append(chart("Identity loss of each part", drawn, colors=colors))
    for name in sorted(name for name in logged if name.endswith("/mAP")):
        test_set = name.removesuffix("/mAP")
        drawn = [
            dataclasses.replace(curve(records, f"{test_set}/{key}"), name=key)
            for key in ("mAP", "rank1")
        ]
        if len(drawn[0].steps) > 1:
            found.append(chart(test_set, drawn))
    return found


def curve(records: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """One scalar of the records, thinned out to a few hundred points; the last one stays."""
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    stride = max(1, -(-len(points) // _MOST_POINTS))
    points = points[::-1][::stride][::-1]  # The last point stays.
    return Curve(name, tuple(step for step, _ in points), tuple(value for _, value in points))
