"""The report as a self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from input_pipeline.dataset import PART_NAMES
from magnifier_jax.config import Config
from magnifier_jax.evaluation.evaluate import Measures, Score
from magnifier_jax.evaluation.report.drawing import Mark, Ranking, Shown, overlay, part_color
from magnifier_jax.evaluation.report.sections import embed_image
from magnifier_jax.retrieval.measures.metrics import ranks_to_show

_STYLE = """
:root { --ink:#20242c; --faint:#6d7482; --line:#e2e5ea; --paper:#fff; --desk:#f5f6f8;
  --right:#22a054; --wrong:#d63838; --accent:#3b6fd4 }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ee; --faint:#98a1b0; --line:#333a46;
  --paper:#1d2129; --desk:#14171c } }
:root { color-scheme:light dark }
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
.charts + .card, .card + .charts { margin-top:14px }
.charts { display:grid; gap:14px;
  grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr)) }
.charts > *, .stack > * { min-width:0 } .stack { display:grid; gap:14px }
.scroll { overflow-x:auto } h3 { font-size:15px; margin:18px 0 6px } .card h3 { margin-top:0 }
td { white-space:nowrap }
.explained { display:flex; flex-wrap:wrap; gap:14px 22px; margin-bottom:18px }
.pairs { display:flex; gap:14px; max-width:100% }
figure.pair { flex:0 0 auto; max-width:none } figure.pair span { display:flex; gap:2px }
figure.pair img { width:66px; border:0; border-radius:3px }
.bars { flex:1 1 260px; max-width:420px; font-size:12px }
.bars div { display:flex; align-items:center; gap:8px; height:19px }
.bars span { flex:0 0 76px } .bars b { flex:0 0 44px; font-weight:500; text-align:right }
.bars em { color:var(--faint) }
.bars i { flex:1; position:relative; height:10px; border-left:0;
  background:linear-gradient(90deg,transparent calc(50% - 1px),var(--faint) calc(50% - 1px),
  var(--faint) 50%,transparent 50%) } .bars u { position:absolute; top:0; height:10px }
b.right { color:var(--right) } b.wrong { color:var(--wrong) }
@media (max-width:520px) { main { padding:20px 12px 40px } .card { padding:12px }
  td, th { padding-left:7px; padding-right:7px } }
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
    sections: Sequence[str] = (),
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
        part_maps: Images uint8 `[n, H, W, 3]` and part classes `[n, h, w]`.
        sections: HTML that stands after the rankings.

    Returns:
        HTML that refers to nothing outside itself.
    """
    height, width = config.data.image_size
    about = (
        f"{config.model.backbone} · {height} × {width} pixels · trained on {config.data.train} "
        f"({identities:,} identities), {step:,} steps of "
        f"{config.data.identities_per_batch} × {config.data.images_per_identity} images · "
        f"{config.precision} · seed {config.seed}"
    )
    parts = [
        f"<h1>{html.escape(config.name)}</h1><p>{html.escape(about)}</p>",
        _results(scores, untrained),
    ]
    if charts:
        cards = "".join(f'<div class="card">{chart}</div>' for chart in charts)
        parts.append(
            f'<h2>Training</h2><p>Over training steps.</p><div class="charts">{cards}</div>'
        )
    parts.append(_rankings(examples, test_set, camera_filter=config.evaluate.camera_filter))
    parts += sections
    if part_maps is not None:
        parts.append(_part_maps(*part_maps, num_parts=config.model.num_parts))
    return document(config.name, "".join(parts))


def document(title: str, body: str) -> str:
    """A whole page around its body, HTML that refers to nothing outside itself."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
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
        f'<div class="card scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
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
            f'<figure class="query">{_img(ranking.query.image, "query")}<b>AP '
            f"{100 * precision:.1f}</b><figcaption>{_captions(ranking.query)}</figcaption></figure>"
        )
        rows.append(f'<div class="ranking">{query}{"".join(map(_match, ranking.matches))}</div>')
    filtered = (
        " Images of the query's person by the query's camera do not count and are left out."
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
        f'<figure class="{word}">{_img(shown.image, word)}<b>{sign} {html.escape(distance)}</b>'
        f"<figcaption>{html.escape(' '.join(rest))}</figcaption></figure>"
    )


def _part_maps(images: np.ndarray, part_maps: np.ndarray, *, num_parts: int) -> str:
    names = PART_NAMES if num_parts == len(PART_NAMES) else [str(i) for i in range(num_parts)]
    legend = "".join(
        f'<span><i style="background:rgb{part_color(part)}"></i>{html.escape(name)}</span>'
        for part, name in enumerate(names)
    )
    pairs = "".join(
        f"<div>{_img(image, 'image')}{_img(overlay(image, part_map), 'part map')}</div>"
        for image, part_map in zip(images, part_maps, strict=True)
    )
    return (
        "<h2>Body parts</h2><p>What the network's own parsing head sees.</p>"
        f'<div class="card"><div class="legend">{legend}</div><div class="maps">{pairs}</div></div>'
    )


def _img(image: np.ndarray | None, alt: str) -> str:
    return "" if image is None else embed_image(image, alt)


def _captions(shown: Shown) -> str:
    return html.escape(" ".join(shown.captions))
