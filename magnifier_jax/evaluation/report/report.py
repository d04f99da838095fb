"""`report.html` of a run: numbers, curves, rankings, part maps and explanations in one file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.files import write_text
from input_pipeline.identities.unknown import JUNK
from input_pipeline.images.codec import decode_image
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import retrieval
from magnifier_jax.datasets import TestSet
from magnifier_jax.devices import fetch, make_mesh, put_batch
from magnifier_jax.embedding.embeddings import visible_parts
from magnifier_jax.embedding.forward import make_embed
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation.evaluate import Ranked, Score
from magnifier_jax.evaluation.explain import Explainer, Explanation, PartStatistics
from magnifier_jax.evaluation.report import curves, page, sections
from magnifier_jax.evaluation.report.drawing import (
    Mark,
    Ranking,
    Shown,
    part_map_sheet,
    ranking_sheet,
)
from magnifier_jax.evaluation.report.pairs import study_pairs
from magnifier_jax.evaluation.robustness.look_alikes import matching
from magnifier_jax.evaluation.robustness.results import read_robustness
from magnifier_jax.training.log import RunLog, read_records
from magnifier_jax.workdir import WorkDirectory

_WORST, _OTHERS, _TOP, _MAPS = 8, 4, 10, 12
_EXPLAINED = 4  # Of the worst queries.
_USUAL, _BATCH = 1024, 64
_SIZE = (192, 96)  # height and width of a shown image


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """A query with the images that were ranked first for it.

    Attributes:
        query: Its position.
        matches: Positions of the gallery images, nearest first, `[n]`.
        ranking: Images, with right and wrong marks.
        average_precision: Of the whole ranking, 0 to 1.
    """

    query: int
    matches: np.ndarray
    ranking: Ranking
    average_precision: float


@dataclasses.dataclass(frozen=True, eq=False)
class PartMaps:
    """Images uint8 `[n, H, W, 3]` and the part classes that were predicted, `[n, h, w]`."""

    images: np.ndarray
    part_maps: np.ndarray


def write_report(
    workdir: WorkDirectory,
    trained: Trained,
    *,
    scores: Sequence[Score],
    ranked: Ranked,
    untrained: Sequence[Score] = (),
    mesh: Mesh | None = None,
    log: RunLog | None = None,
    output: pathlib.Path | None = None,
) -> pathlib.Path:
    """Writes `report.html` into the work directory, or another file.

    Args:
        workdir: The run; its `metrics.jsonl` gives the curves, and `robustness.json`, if there is
            one, a section.
        trained: The network.
        scores: The numbers of all test sets.
        ranked: What the evaluation of one of them left, of which everything else is shown. Of
            tracklets their first images are.
        untrained: The numbers before training.
        mesh: The devices; None is all of them.
        log: Where rankings and part maps are also recorded for TensorBoard.
        output: The file; None is `report.html` in the work directory.

    Returns:
        The file.

    Raises:
        UserError: It cannot be written.
    """
    test_set = ranked.test_set
    examples = pick_examples(trained, test_set, ranked)
    part_maps = predict_part_maps(trained, test_set.gallery, mesh or make_mesh())
    path = output or workdir.path / "report.html"
    if jax.process_index() != 0:
        return path
    settings = trained.config.evaluate
    text = page.render(
        config=trained.config,
        step=trained.step,
        identities=len(trained.identities),
        test_set=test_set.name,
        scores=scores,
        untrained=untrained,
        charts=curves.curves(read_records(workdir.metrics)),
        examples=[(example.ranking, example.average_precision) for example in examples],
        part_maps=None if part_maps is None else (part_maps.images, part_maps.part_maps),
        sections=[
            sections.distances_section(
                study_pairs(ranked.query, ranked.gallery, test_set, settings)
            ),
            *_robustness(workdir, test_set),
            sections.explanations_section(explain_examples(trained, test_set, examples)),
        ],
    )
    write_text(path, text)
    if log is not None:
        sheet = ranking_sheet([example.ranking for example in examples[:_WORST]])
        log.image(trained.step, f"{test_set.name}/ranking_worst_first", np.asarray(sheet))
        if part_maps is not None:
            maps = part_map_sheet(part_maps.images, part_maps.part_maps)
            log.image(trained.step, f"{test_set.name}/part_maps", np.asarray(maps))
    return path


def _robustness(workdir: WorkDirectory, test_set: TestSet) -> list[str]:
    """The section of what `magnifier robustness` measured on this test set, if it did."""
    found = read_robustness(sections.robustness_file(workdir.path))
    if found is None or found.test_set != test_set.name:
        return []
    return [sections.robustness_section(found)]


def explain_examples(
    trained: Trained, test_set: TestSet, examples: Sequence[Example]
) -> list[tuple[str, Explanation, list[tuple[str, bool]]]]:
    """Explains the first wrong and the first right match of the worst queries and of some others.

    Nothing in a run of several processes, of which each has only some of the devices.

    Args:
        trained: The network.
        test_set: Queries and gallery.
        examples: What `pick_examples` picked.

    Returns:
        As `sections.explanations_section` takes it.
    """
    if jax.process_count() > 1:
        return []
    size = trained.config.data.image_size
    explainer = Explainer(trained)
    explainer.statistics = _usual_parts(explainer, test_set.gallery)
    found = []
    for example in (*examples[:_EXPLAINED], *examples[_WORST : _WORST + 2]):
        places = example.matches
        right = test_set.gallery.identities[places] == test_set.query.identities[example.query]
        chosen = sorted(
            {
                int(np.flatnonzero(right == value)[0])
                for value in (True, False)
                if (right == value).any()
            }
        )
        if not chosen:
            continue
        explanation = explainer.explain(
            _read(test_set.query, [example.query], size=size)[0],
            _read(test_set.gallery, places[chosen], size=size),
        )
        names = [
            (f"rank {rank + 1}: {_who(test_set.gallery, int(places[rank]))}", bool(right[rank]))
            for rank in chosen
        ]
        title = f"Query {_who(test_set.query, example.query)}"
        found.append((title, explanation, names))
    return found


def _usual_parts(explainer: Explainer, gallery: PreparedSplit) -> PartStatistics | None:
    """How alike the parts of one person usually are, by images of the gallery."""
    if not explainer.trained.config.model.use_fusion:
        return None
    # Whole people, for pairs of one person are what counts.
    order = np.argsort(gallery.identities, kind="stable")
    known = order[gallery.identities[order] != JUNK]
    stride = max(1, len(known) // _USUAL)
    people = np.unique(gallery.identities[known])[::stride]
    chosen = np.flatnonzero(np.isin(gallery.identities, people))[:_USUAL]
    size = explainer.trained.config.data.image_size
    batches = [
        explainer.embed(_read(gallery, chosen[start : start + _BATCH], size=size))
        for start in range(0, len(chosen), _BATCH)
    ]
    parts = np.concatenate([np.asarray(batch.part_embeddings) for batch in batches])
    shares = np.concatenate([np.asarray(batch.part_shares) for batch in batches])
    return PartStatistics.fit(
        parts, visible_parts(shares), gallery.identities[chosen], gallery.cameras[chosen]
    )


def pick_examples(trained: Trained, test_set: TestSet, ranked: Ranked) -> list[Example]:
    """Rankings to look at: the worst queries, then some of the others, by average precision."""
    settings = trained.config.evaluate
    asked, searched = test_set.query, test_set.gallery
    precisions = ranked.average_precisions
    order = np.argsort(precisions, kind="stable")
    order = order[: np.isfinite(precisions).sum()]
    others = order[_WORST:]
    spread = np.linspace(0, len(others) - 1, min(_OTHERS, len(others))).astype(int)
    chosen = np.concatenate([order[:_WORST], others[spread]]) if len(others) else order
    searchable = retrieval.Gallery.build(
        ranked.gallery, names=list(searched.names), metric=settings.distance
    )
    # Images of the query's own camera do not count, so more are asked for than are shown.
    left_out = [
        matching(asked, searched, slice(i, i + 1), camera_filter=settings.camera_filter)[1][0]
        for i in map(int, chosen)
    ]
    extra = max((int(junk.sum()) for junk in left_out), default=0)
    found = searchable.search(ranked.query[chosen], top=_TOP + extra)
    examples = []
    for row, i in enumerate(map(int, chosen)):
        kept = ~left_out[row][found.indices[row]]
        matches = found.indices[row][kept][:_TOP]
        distances = found.distances[row][kept][:_TOP]
        ranking = _ranking(test_set, i, matches, distances)
        examples.append(Example(i, matches, ranking, float(precisions[i])))
    return examples


def predict_part_maps(trained: Trained, split: PreparedSplit, mesh: Mesh) -> PartMaps | None:
    """Part maps of some images at even distances; None for a network without parsing head."""
    if not trained.config.model.use_parsing:
        return None
    wanted = np.unique(np.linspace(0, len(split) - 1, _MAPS).astype(int))
    batch = np.resize(wanted, -(-len(wanted) // mesh.size) * mesh.size)
    images = _read(split, batch, size=trained.config.data.image_size)
    # Every process has the same images and hands in its share of them.
    share = np.split(images, jax.process_count())[jax.process_index()]
    embedded = make_embed(trained.model, mesh)(trained.variables, put_batch(share, mesh))
    maps = fetch(embedded.part_map)[: len(wanted)]
    return PartMaps(_read(split, wanted, size=_SIZE), maps)


def _ranking(test_set: TestSet, query: int, indices: np.ndarray, distances: np.ndarray) -> Ranking:
    asked, searched = test_set.query, test_set.gallery
    right = searched.identities[indices] == asked.identities[query]
    images = _read(searched, indices, size=_SIZE)
    matches = tuple(
        Shown(
            images[i],
            (f"{distances[i]:.3f}", _who(searched, int(indices[i]))),
            Mark.RIGHT if right[i] else Mark.WRONG,
        )
        for i in range(len(indices))
    )
    shown = Shown(_read(asked, [query], size=_SIZE)[0], (_who(asked, query),))
    return Ranking(shown, matches)


def _who(split: PreparedSplit, position: int) -> str:
    return f"{split.identities[position]} · camera {split.cameras[position]}"


def _read(
    split: PreparedSplit, ids: Sequence[int] | np.ndarray, *, size: tuple[int, int]
) -> np.ndarray:
    samples = split.read(ids)
    return np.stack([decode_image(sample.image, image_size=size) for sample in samples])
