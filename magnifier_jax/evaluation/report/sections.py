"""Sections of the report: robustness, explanations, distances, cameras, and runs side by side."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import math
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from magnifier_jax.evaluation.evaluate import Score
from magnifier_jax.evaluation.explain import Explanation, MatchExplanation
from magnifier_jax.evaluation.report.charts import (
    Dots,
    dot_chart,
    hex_color,
    histogram,
    series_color,
)
from magnifier_jax.evaluation.report.explanations import bar, match_panels
from magnifier_jax.evaluation.report.pairs import Pairs
from magnifier_jax.evaluation.robustness.look_alikes import Confusions
from magnifier_jax.evaluation.robustness.regions import Kind
from magnifier_jax.evaluation.robustness.results import WHOLE, NetworkRobustness, Robustness
from magnifier_jax.retrieval.measures.metrics import ranks_to_show

_RIGHT, _WRONG = "#22a054", "#d63838"


def robustness_file(workdir: pathlib.Path, *, test_set: str | None = None) -> pathlib.Path:
    """Where a run keeps its figures: of its own test set (None), or of another one."""
    suffix = "" if test_set is None else "-" + re.sub(r"[^\w.+-]+", "-", test_set)
    return workdir / f"robustness{suffix}.json"


def embed_image(image: np.ndarray, alt: str) -> str:
    """An `<img>` that holds its own data; uint8 `[H, W, 3]`."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/jpeg;base64,{data}">'


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], *, main: Sequence[int] = ()) -> str:
    """A table that scrolls by itself where it is wider than the page; cells are plain text."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    lines = [
        f"<tr{' class=main' if i in main else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for i, row in enumerate(rows)
    ]
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _charts(charts: Sequence[str]) -> str:
    cards = "".join(f'<div class="card">{chart}</div>' for chart in charts)
    return f'<div class="charts">{cards}</div>'


# --- Distances ---


def distances_section(pairs: Pairs) -> str:
    """How far apart pairs are, which thresholds tell them apart, and camera by camera."""
    marks = [(f"FPR {point.allowed_rate:g}", point.threshold) for point in pairs.points]
    drawn = [
        histogram(
            "Distances of pairs",
            [float(edge) for edge in pairs.edges],
            [
                ("one person", _RIGHT, [float(share) for share in pairs.matches]),
                ("two people", _WRONG, [float(share) for share in pairs.others]),
            ],
            marks=marks,
        )
    ]
    rows = [
        [
            f"{point.allowed_rate:g}",
            f"{point.threshold:.3f}",
            f"{100 * point.true_positive_rate:.1f}",
        ]
        for point in pairs.points
    ]
    header = ["false positives at most", "threshold", "true positives, %"]
    thresholds = (
        "<p>Pairs nearer than a threshold are called the same person.</p>" + grid(header, rows)
        if rows
        else ""
    )
    cards = f'<div class="card">{drawn[0]}{thresholds}</div>'
    if len(pairs.cameras) > 1:
        cards += f'<div class="card">{_camera_table(pairs)}</div>'
    return (
        f"<h2>Distances</h2><p>{pairs.metric.capitalize()}, of {pairs.queries:,} queries to the "
        f'gallery; each kind of pair adds up to 1.</p><div class="charts">{cards}</div>'
    )


def _camera_table(pairs: Pairs) -> str:
    head = "".join(f"<th>camera {camera}</th>" for camera in pairs.cameras)
    finite = pairs.by_camera[np.isfinite(pairs.by_camera)]
    high = max(float(finite.max()), 1e-9) if finite.size else 1.0
    lines = []
    for camera, row in zip(pairs.cameras, pairs.by_camera, strict=True):
        cells = "".join(
            "<td>–</td>"
            if math.isnan(value)
            else f'<td style="background:rgba(59,111,212,{0.5 * value / high:.2f})">'
            f"{100 * value:.1f}</td>"
            for value in row
        )
        lines.append(f"<tr><td>camera {camera}</td>{cells}</tr>")
    return (
        "<p>mAP of queries of one camera (rows) among the gallery images of another (columns).</p>"
        f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'
    )


# --- Robustness ---


def robustness_section(found: Robustness) -> str:
    """Charts of what hiding parts costs, and whom the networks mix up."""
    several = len(found.networks) > 1
    texts = [
        "<h2>Robustness</h2><p>mAP on "
        f"{html.escape(found.test_set)} when a part of every {_SIDES[found.side]} is hidden "
        f"behind drawn objects; regions from {html.escape(found.part_maps)}. Dashed lines: "
        f"nothing hidden.{_steps(found)}</p>"
    ]
    if several:
        series = [_dots(network, WHOLE, network.name) for network in found.networks]
        texts.append(_charts(_by_kind(found.networks[0], series)))
    else:
        network = found.networks[0]
        series = [_dots(network, view, view) for view in network.clean]
        texts.append(_charts(_by_kind(network, series)))
    texts.append(f'<div class="card">{_loss_table(found)}</div>')
    texts += [_confusions(network) for network in found.networks if network.confusions]
    return "".join(texts)


def _steps(found: Robustness) -> str:
    steps = sorted({network.step for network in found.networks})
    return f" After {' and '.join(f'{step:,}' for step in steps)} steps."


_SIDES = {"query": "query", "gallery": "gallery image", "both": "query and gallery image"}


def _dots(network: NetworkRobustness, view: str, name: str) -> Dots:
    values = tuple(100 * hidden.views[view].mAP for hidden in network.hidden)
    return Dots(name, "", values, 100 * network.clean[view].mAP)


def _by_kind(network: NetworkRobustness, series: Sequence[Dots]) -> list[str]:
    """One chart of parts, and one of the larger regions."""
    colored = [dataclasses.replace(dots, color=series_color(i)) for i, dots in enumerate(series)]
    charts = []
    for title, chosen in (
        ("A part hidden", (Kind.PART,)),
        ("More hidden", (Kind.GROUP, Kind.SIDE, Kind.BOX)),
    ):
        places = [i for i, hidden in enumerate(network.hidden) if hidden.kind in chosen]
        if not places:
            continue
        rows = [network.hidden[i].region for i in places]
        some = [
            dataclasses.replace(dots, values=tuple(dots.values[i] for i in places))
            for dots in colored
        ]
        charts.append(dot_chart(f"{title}: mAP", rows, some))
    return charts


def _loss_table(found: Robustness) -> str:
    """Points of mAP lost, and the share that is kept, for every region."""
    several = len(found.networks) > 1
    columns = (
        [(network, WHOLE, network.name) for network in found.networks]
        if several
        else [(found.networks[0], view, view) for view in found.networks[0].clean]
    )
    rows = [
        ["nothing", "", *(f"{100 * network.clean[view].mAP:.1f}" for network, view, _ in columns)]
    ]
    for hidden in found.networks[0].hidden:
        cells = []
        for network, view, _ in columns:
            loss = network.loss(hidden.region, view)
            kept = 1 - loss / network.clean[view].mAP if network.clean[view].mAP else 0.0
            cells.append(f"−{100 * loss:.1f} ({kept:.0%} kept)")
        rows.append([hidden.region, f"{hidden.person:.0%}", *cells])
    header = ["hidden", "of the person", *(name for _, _, name in columns)]
    return "<p>Points of mAP lost, and the share that is kept.</p>" + grid(header, rows, main=[0])


def _confusions(network: NetworkRobustness) -> str:
    """Whom a network mixes up."""
    whole = network.confusions[WHOLE]
    title = f"<h3>{html.escape(network.name)}: wrong first matches</h3>"
    if whole.look_alikes is None:
        rows = [
            [each.query, each.gallery, f"{each.distance:.3f}", f"{each.nearest_match:.3f}"]
            for each in whole.impostors[:8]
        ]
        header = ["query", "nearest image of somebody else", "distance", "nearest true match"]
        text = f"<p>{whole.wrong:,} of {whole.queries:,}. The hardest impostors:</p>"
        return f'{title}<div class="card">{text}{grid(header, rows)}</div>'
    rows = [_confusion_row(view, found) for view, found in network.confusions.items()]
    header = ["compared", "wrong", "look-alikes", "by chance", "mAP in groups", "rank-1 in groups"]
    parts = grid(
        ["differing in", *whole.by_part], [["look-alikes", *map(str, whole.by_part.values())]]
    )
    details = ", ".join(f"{detail} {count}" for detail, count in list(whole.by_detail.items())[:10])
    return (
        f'{title}<div class="card">{grid(header, rows)}<p>What wrong first matches differ in '
        f"from the query's person (whole descriptor):</p>{parts}"
        f"<p>By detail: {html.escape(details)}.</p></div>"
    )


def _confusion_row(view: str, found: Confusions) -> list[str]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f}"

    return [
        view,
        f"{found.wrong:,} of {found.queries:,}",
        f"{found.look_alikes:,}" if found.look_alikes is not None else "–",
        "–" if found.expected is None else f"{found.expected:.0f}",
        share(found.group_mAP),
        share(found.group_rank1),
    ]


# --- Explanations ---


def explanations_section(
    found: Sequence[tuple[str, Explanation, Sequence[tuple[str, bool]]]],
) -> str:
    """Why queries and matches are as near as they are.

    Args:
        found: What a query is called, its explanation, and for each match what it is called and
            whether it is right.
    """
    if not found:
        return ""
    scored = any(
        part.score is not None
        for _, explanation, _ in found
        for match in explanation.matches
        for part in match.parts
    )
    bars = (
        "Bars: how alike each part is, in standard deviations from what is usual for two images "
        "of one person. "
        if scored
        else "Bars: cosine of the parts' embeddings. "
    )
    cards = []
    for title, explanation, names in found:
        matches = [
            _match(explanation, match, name, right=right)
            for match, (name, right) in zip(explanation.matches, names, strict=True)
        ]
        cards.append(f'<div class="card"><h3>{html.escape(title)}</h3>{"".join(matches)}</div>')
    return (
        "<h2>Why these match</h2><p>Query and match side by side. Heat maps: where the likeness "
        "of a branch lies, red for it and blue against it. "
        f"{bars}The branches' shares of the squared distance add up to all of it.</p>"
        f'<div class="stack">{"".join(cards)}</div>'
    )


def _match(explanation: Explanation, match: MatchExplanation, name: str, *, right: bool) -> str:
    panels = "".join(
        f"<figure class=pair><span>{embed_image(query, f'query, {title}')}"
        f"{embed_image(other, f'match, {title}')}</span><figcaption>{title}</figcaption></figure>"
        for title, query, other in match_panels(explanation, match)
    )
    word = "right" if right else "wrong"
    sign = "✓" if right else "✗"
    bars = "".join(
        f"<div><span>{html.escape(part.name)}</span>"
        + (
            f"<em>hidden in the {' and the '.join(part.hidden_in)}</em>"
            if part.similarity is None
            else _bar(*bar(part), color=hex_color(part.part))
        )
        + "</div>"
        for part in match.parts
    )
    branches = ", ".join(f"{each.branch} {each.share:.0%}" for each in match.branches)
    return (
        f'<p><b class="{word}">{sign} {html.escape(name)}</b> · distance {match.distance:.3f} '
        f"({html.escape(branches)}) · {html.escape(match.summary())}</p>"
        f'<div class="explained"><div class="scroll pairs">{panels}</div>'
        f'<div class="bars">{bars}</div></div>'
    )


def _bar(share: float, text: str, *, color: str) -> str:
    left, width = (50, 50 * share) if share >= 0 else (50 + 50 * share, -50 * share)
    return (
        f'<i><u style="left:{left:.0f}%;width:{width:.0f}%;background:{color}"></u></i>'
        f"<b>{text}</b>"
    )


# --- Runs side by side ---


def scores_table(runs: Sequence[tuple[str, Sequence[Score]]]) -> str:
    """The results of several runs, test set by test set."""
    first = runs[0][1][0].plain
    ranks = ranks_to_show(first.cmc)
    rows = []
    for name, scores in runs:
        for score in scores:
            for variant, found in {"": score.plain, **score.variants()}.items():
                title = f"{score.name}, {variant}" if variant else score.name
                shares = (found.mAP, found.mINP, *(found.at(rank) for rank in ranks))
                rows.append([name, title, *(f"{100 * share:.1f}" for share in shares)])
    header = ["run", "test set", "mAP", "mINP", *(f"rank-{rank}" for rank in ranks)]
    return f'<div class="card">{grid(header, rows)}</div>'
