"""`report.html` of a run: numbers, curves, rankings and part maps in one file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.files import write_text
from input_pipeline.images import decode_image
from input_pipeline.store import PreparedSplit
from magnifier_jax import retrieval
from magnifier_jax.datasets import TestSet, open_pictures
from magnifier_jax.devices import fetch, make_mesh, put_batch
from magnifier_jax.embedding.forward import embed_split, make_embed
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation import Score
from magnifier_jax.evaluation.report import curves, page
from magnifier_jax.evaluation.report.drawing import (
    Mark,
    Ranking,
    Shown,
    part_map_sheet,
    ranking_sheet,
)
from magnifier_jax.training.log import RunLog, read_records
from magnifier_jax.workdir import WorkDirectory

_WORST, _OTHERS, _TOP, _MAPS = 8, 4, 10, 12
_SIZE = (192, 96)  # height and width of a shown picture


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """A query with the pictures that were ranked first for it.

    Attributes:
        ranking: Pictures, with right and wrong marks.
        average_precision: Of the whole ranking, 0 to 1.
    """

    ranking: Ranking
    average_precision: float


@dataclasses.dataclass(frozen=True, eq=False)
class PartMaps:
    """Pictures uint8 `[n, H, W, 3]` and the part classes that were predicted, `[n, h, w]`."""

    pictures: np.ndarray
    part_maps: np.ndarray


def write_report(
    workdir: WorkDirectory,
    trained: Trained,
    test_set: TestSet,
    *,
    scores: Sequence[Score],
    untrained: Sequence[Score] = (),
    query: np.ndarray | None = None,
    gallery: np.ndarray | None = None,
    mesh: Mesh | None = None,
    log: RunLog | None = None,
    output: pathlib.Path | None = None,
    progress: bool = True,
) -> pathlib.Path:
    """Writes `report.html` into the work directory, or another file.

    Args:
        workdir: The run; its `metrics.jsonl` gives the curves.
        trained: The network.
        test_set: What rankings and part maps are shown of.
        scores: Its numbers, and those of other test sets.
        untrained: The numbers before training.
        query: Descriptors `[Nq, D]` of the test set's queries; described here if not given.
        gallery: The same of its gallery, `[Ng, D]`.
        mesh: The devices; None is all of them.
        log: Where rankings and part maps are also recorded for TensorBoard.
        output: The file; None is `report.html` in the work directory.
        progress: Whether to show progress bars.

    Returns:
        The file.

    Raises:
        UserError: It cannot be written.
    """
    mesh = mesh or make_mesh()
    if query is None or gallery is None:
        query, gallery = (
            _describe(trained, split, mesh, title=f"Report: {name}", progress=progress)
            for name, split in (("query", test_set.query), ("gallery", test_set.gallery))
        )
    examples = pick_examples(trained, test_set, query=query, gallery=gallery)
    part_maps = predict_part_maps(trained, test_set.gallery, mesh)
    path = output or workdir.path / "report.html"
    if jax.process_index() != 0:
        return path
    text = page.render(
        config=trained.config,
        step=trained.step,
        identities=len(trained.identities),
        test_set=test_set.name,
        scores=scores,
        untrained=untrained,
        charts=curves.curves(read_records(workdir.metrics)),
        examples=[(example.ranking, example.average_precision) for example in examples],
        part_maps=None if part_maps is None else (part_maps.pictures, part_maps.part_maps),
    )
    write_text(path, text)
    if log is not None:
        sheet = ranking_sheet([example.ranking for example in examples[:_WORST]])
        log.image(trained.step, f"{test_set.name}/ranking_worst_first", np.asarray(sheet))
        if part_maps is not None:
            maps = part_map_sheet(part_maps.pictures, part_maps.part_maps)
            log.image(trained.step, f"{test_set.name}/part_maps", np.asarray(maps))
    return path


def pick_examples(
    trained: Trained, test_set: TestSet, *, query: np.ndarray, gallery: np.ndarray
) -> list[Example]:
    """Rankings to look at: the worst queries, then some of the others, by average precision."""
    settings = trained.config.evaluate
    metric = settings.distance
    asked, searched = test_set.query, test_set.gallery
    precisions = retrieval.evaluate(
        query,
        gallery,
        asked.identities,
        searched.identities,
        asked.cameras,
        searched.cameras,
        camera_filter=settings.camera_filter,
        metric=metric,
    ).average_precisions
    order = np.argsort(precisions, kind="stable")
    order = order[: np.isfinite(precisions).sum()]
    others = order[_WORST:]
    spread = np.linspace(0, len(others) - 1, min(_OTHERS, len(others))).astype(int)
    chosen = np.concatenate([order[:_WORST], others[spread]]) if len(others) else order
    searchable = retrieval.Gallery.build(gallery, names=list(searched.names), metric=metric)
    # Pictures of the query's own camera do not count, so more are asked for than are shown.
    junk = [
        np.sum(
            (searched.identities == asked.identities[i]) & (searched.cameras == asked.cameras[i])
        )
        for i in chosen
    ]
    extra = int(max(junk)) if settings.camera_filter else 0
    found = searchable.search(query[chosen], top=_TOP + extra)
    return [
        Example(
            _ranking(
                test_set,
                int(i),
                found.indices[row],
                found.distances[row],
                camera_filter=settings.camera_filter,
            ),
            float(precisions[i]),
        )
        for row, i in enumerate(chosen)
    ]


def predict_part_maps(trained: Trained, split: PreparedSplit, mesh: Mesh) -> PartMaps | None:
    """Part maps of some pictures at even distances; None for a network without parsing head."""
    if not trained.config.model.use_parsing:
        return None
    wanted = np.unique(np.linspace(0, len(split) - 1, _MAPS).astype(int))
    batch = np.resize(wanted, -(-len(wanted) // mesh.size) * mesh.size)
    images = _read(split, batch, size=trained.config.data.image_size)
    # Every process has the same pictures and hands in its share of them.
    share = np.split(images, jax.process_count())[jax.process_index()]
    described = make_embed(trained.model, mesh)(trained.variables, put_batch(share, mesh))
    maps = fetch(described.part_map)[: len(wanted)]
    return PartMaps(_read(split, wanted, size=_SIZE), maps)


def _describe(
    trained: Trained, split: PreparedSplit, mesh: Mesh, *, title: str, progress: bool
) -> np.ndarray:
    config = trained.config
    return embed_split(
        make_embed(trained.model, mesh, flip=config.evaluate.flip),
        trained.variables,
        open_pictures(split, config.data, parts=False, progress=progress),
        batch_size=config.evaluate.batch_size,
        mesh=mesh,
        title=title,
        progress=progress,
    ).descriptors


def _ranking(
    test_set: TestSet,
    query: int,
    indices: np.ndarray,
    distances: np.ndarray,
    *,
    camera_filter: bool,
) -> Ranking:
    asked, searched = test_set.query, test_set.gallery
    right = searched.identities[indices] == asked.identities[query]
    kept = np.ones(len(indices), bool)
    if camera_filter:
        kept = ~(right & (searched.cameras[indices] == asked.cameras[query]))
    indices, distances, right = (array[kept][:_TOP] for array in (indices, distances, right))
    pictures = _read(searched, indices, size=_SIZE)
    matches = tuple(
        Shown(
            pictures[i],
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
