"""Several runs on one page: results, curves and robustness side by side."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

from magnifier_jax.evaluation.evaluate import Score
from magnifier_jax.evaluation.report.charts import chart, series_color
from magnifier_jax.evaluation.report.curves import curve
from magnifier_jax.evaluation.report.page import document
from magnifier_jax.evaluation.report.sections import robustness_section, scores_table
from magnifier_jax.evaluation.robustness.results import Robustness

_COMPARED = {
    "total": "Total loss",
    "global_id": "Identity loss, global branch",
    "adversarial_id": "Identity loss, adversarial branch",
    "fusion_id": "Identity loss, fusion branch",
    "parsing": "Part parsing",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What is compared of a run.

    Attributes:
        name: What it is called.
        scores: Its evaluation, test set by test set.
        records: The lines of its `metrics.jsonl`.
        robustness: What `magnifier robustness` measured, if it did.
    """

    name: str
    scores: tuple[Score, ...]
    records: Sequence[Mapping[str, Any]]
    robustness: Robustness | None


def compare_runs(runs: Sequence[Run]) -> str:
    """The page that compares runs.

    Robustness is compared where it was measured on the same covered images: the same test set,
    side, seed and part maps.

    Returns:
        HTML that refers to nothing outside itself.
    """
    title = " · ".join(run.name for run in runs)
    parts = [
        f"<h1>{len(runs)} runs</h1><p>{html.escape(title)}</p>",
        "<h2>Results</h2><p>Per cent.</p>",
        scores_table([(run.name, run.scores) for run in runs]),
    ]
    charts = _charts(runs)
    if charts:
        cards = "".join(f'<div class="card">{each}</div>' for each in charts)
        parts.append(f'<h2>Training</h2><p>Over steps.</p><div class="charts">{cards}</div>')
    parts += [robustness_section(each) for each in _together(runs)]
    return document(title, "".join(parts))


def _charts(runs: Sequence[Run]) -> list[str]:
    logged = {name for run in runs for record in run.records for name in record}
    measured = {name: name for name in sorted(logged) if name.endswith("/mAP")}
    found = []
    for name, title in (_COMPARED | measured).items():
        # A run has one color in all charts, whichever of them it is in.
        shown = [
            (dataclasses.replace(line, name=run.name), series_color(i))
            for i, run in enumerate(runs)
            if len((line := curve(run.records, name)).steps) > 1
        ]
        if shown:
            lines, colors = zip(*shown, strict=True)
            found.append(chart(title, lines, colors=colors))
    return found


def _together(runs: Sequence[Run]) -> list[Robustness]:
    """Records of the same covered images, joined under the names of the runs."""
    joined: dict[tuple[Any, ...], Robustness] = {}
    for run in runs:
        found = run.robustness
        if found is None:
            continue
        mine = tuple(dataclasses.replace(each, name=run.name) for each in found.networks)
        regions = tuple(hidden.region for hidden in mine[0].hidden)
        key = (found.test_set, found.side, found.seed, found.part_maps, regions)
        if key in joined:
            mine = (*joined[key].networks, *mine)
        joined[key] = dataclasses.replace(found, networks=mine)
    return list(joined.values())
