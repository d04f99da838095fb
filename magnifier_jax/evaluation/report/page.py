"""The report as a self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from input_pipeline.dataset import PART_NAMES
from magnifier_jax.config import Config
from magnifier_jax.evaluation import Measures, Score
from magnifier_jax.evaluation.report.drawing import Mark, Ranking, Shown, overlay, part_colour
from magnifier_jax.retrieval.metrics import ranks_to_show

_STYLE = """
:root { --ink:#20242c; --faint:#6d7482; --line:#e2e5ea; --paper:#fff; --desk:#f5f6f8;
  --right:#22a054; --wrong:#d63838; --accent:#3b6fd4 }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ee; --faint:#98a1b0; --line:#333a46;
  --paper:#1d2129; --desk:#14171c } }
* { box-sizing:border-box } body { margin:0; background:var(--desk); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif }
main { max-width:1240px; margin:0 auto; padding:32px 24px 64px }
h1 { font-size:26px; margin:0 } h2 { font-size:18px; margin:40px 0 4px }
p { color:var(--faint); margin:2px 0 14px }
.card { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:16px }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th { text-align:right; color:var(--faint); font-weight:500; padding:4px 12px }
td { text-align:right; padding:7px 12px; border-top:1px solid var(--line) }
th:first-child, td:first-child { text-align:left } tr.main td { font-weight:600 }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(340px,1fr)); gap:14px }
svg { width:100%; display:block } svg .title { font-size:13px; font-weight:600; fill:var(--ink) }
svg .tick { font-size:11px; fill:var(--faint) } svg .grid { stroke:var(--line) }
.ranking { display:flex; gap:8px; padding:12px 0; border-top:1px solid var(--line);
  overflow-x:auto } .ranking:first-child { border-top:0 }
figure { margin:0; flex:1 0 76px; max-width:92px; font-size:12px; line-height:1.35 }
figure img { width:100%; display:block; border:4px solid #a8aeba; border-radius:5px }
figure.right img { border-color:var(--right) } figure.wrong img { border-color:var(--wrong) }
figure.right b { color:var(--right) } figure.wrong b { color:var(--wrong) }
figcaption { color:var(--faint); white-space:nowrap; overflow:hidden; text-overflow:ellipsis }
figure.query { margin-right:12px } figure.query b { color:var(--ink) }
.maps { display:grid; grid-template-columns:repeat(auto-fill,minmax(184px,1fr)); gap:14px }
.maps div { display:flex } .maps img { width:50%; display:block }
.maps img:first-child { border-radius:5px 0 0 5px }
.maps img:last-child { border-radius:0 5px 5px 0 }
.legend { display:flex; flex-wrap:wrap; gap:6px 18px; margin:0 0 14px; color:var(--faint) }
.legend i { display:inline-block; width:13px; height:13px; border-radius:3px; margin-right:6px;
  vertical-align:-2px }
"""


def render(
    *,
    config: Config,
    step: int,
    identities: int,
    test_set: str,
    scores: Sequence[Score],
    untrained: Sequence[Score],
    charts: Sequence[str],
    examples: Sequence[tuple[Ranking, float]],
    part_maps: tuple[np.ndarray, np.ndarray] | None,
) -> str:
    """Makes the page.

    Args:
        config: Of the run.
        step: Training steps done.
        identities: Number of training identities.
        test_set: What the examples are of.
        scores: The numbers.
        untrained: The numbers before training.
        charts: `<svg>` elements.
        examples: Rankings with their average precision, in the order to be shown.
        part_maps: Pictures uint8 `[n, H, W, 3]` and part classes `[n, h, w]`.

    Returns:
        HTML that refers to nothing outside itself.
    """
    height, width = config.data.image_size
    about = (
        f"{config.model.backbone} · {height} × {width} pixels · trained on {config.data.train} "
        f"({identities:,} identities), {step:,} steps of "
        f"{config.data.identities_per_batch} × {config.data.images_per_identity} pictures · "
        f"{config.precision} · seed {config.seed}"
    )
    sections = [
        f"<h1>{html.escape(config.name)}</h1><p>{html.escape(about)}</p>",
        _results(scores, untrained),
    ]
    if charts:
        cards = "".join(f'<div class="card">{chart}</div>' for chart in charts)
        sections.append(
            f'<h2>Training</h2><p>Over training steps.</p><div class="charts">{cards}</div>'
        )
    sections.append(_rankings(examples, test_set, camera_filter=config.evaluate.camera_filter))
    if part_maps is not None:
        sections.append(_part_maps(*part_maps, num_parts=config.model.num_parts))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(config.name)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _results(scores: Sequence[Score], untrained: Sequence[Score]) -> str:
    before = {score.name: score for score in untrained}
    ranks = ranks_to_show(scores[0].plain.cmc)
    rows = []
    for score in scores:
        if score.name in before:
            rows.append(_row(f"{score.name}, untrained", before[score.name].plain, ranks))
        rows.append(_row(score.name, score.plain, ranks, main=True))
        for name, found in score.variants().items():
            rows.append(_row(f"{score.name}, {name}", found, ranks))
    heads = ("mAP", "mINP", *(f"rank-{rank}" for rank in ranks), "queries", "gallery")
    head = "".join(f"<th>{name}</th>" for name in heads)
    kinds = ", ".join(sorted({score.plain.average_precision for score in scores}))
    return (
        f"<h2>Results</h2><p>Per cent; {kinds} average precision.</p>"
        f'<div class="card"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
    )


def _row(name: str, found: Measures, ranks: Sequence[int], *, main: bool = False) -> str:
    shares = (found.mAP, found.mINP, *(found.at(rank) for rank in ranks))
    cells = [html.escape(name), *(f"{100 * share:.1f}" for share in shares)]
    cells += [f"{found.valid_queries:,}", f"{found.gallery:,}"]
    kind = ' class="main"' if main else ""
    return f"<tr{kind}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _rankings(
    examples: Sequence[tuple[Ranking, float]], test_set: str, *, camera_filter: bool
) -> str:
    rows = []
    for ranking, precision in examples:
        query = (
            f'<figure class="query">{_image(ranking.query.picture, "query")}<b>AP '
            f"{100 * precision:.1f}</b><figcaption>{_captions(ranking.query)}</figcaption></figure>"
        )
        rows.append(f'<div class="ranking">{query}{"".join(map(_match, ranking.matches))}</div>')
    filtered = (
        " Pictures of the query's person by the query's camera do not count and are left out."
        if camera_filter
        else ""
    )
    return (
        f"<h2>Rankings of {html.escape(test_set)}, worst queries first</h2><p>Nearest first, with "
        f"distances; green shows the query's person, red somebody else.{filtered}</p>"
        f'<div class="card">{"".join(rows)}</div>'
    )


def _match(shown: Shown) -> str:
    word = "right" if shown.mark is Mark.RIGHT else "wrong"
    sign = "✓" if shown.mark is Mark.RIGHT else "✗"
    distance, *rest = shown.captions
    return (
        f'<figure class="{word}">{_image(shown.picture, word)}<b>{sign} {html.escape(distance)}</b>'
        f"<figcaption>{html.escape(' '.join(rest))}</figcaption></figure>"
    )


def _part_maps(pictures: np.ndarray, part_maps: np.ndarray, *, num_parts: int) -> str:
    names = PART_NAMES if num_parts == len(PART_NAMES) else [str(i) for i in range(num_parts)]
    legend = "".join(
        f'<span><i style="background:rgb{part_colour(part)}"></i>{html.escape(name)}</span>'
        for part, name in enumerate(names)
    )
    pairs = "".join(
        f"<div>{_image(picture, 'picture')}{_image(overlay(picture, part_map), 'part map')}</div>"
        for picture, part_map in zip(pictures, part_maps, strict=True)
    )
    return (
        "<h2>Body parts</h2><p>What the network's own parsing head sees.</p>"
        f'<div class="card"><div class="legend">{legend}</div><div class="maps">{pairs}</div></div>'
    )


def _captions(shown: Shown) -> str:
    return html.escape(" ".join(shown.captions))


def _image(picture: np.ndarray | None, alt: str) -> str:
    if picture is None:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{alt}" src="data:image/jpeg;base64,{data}">'
