"""Measuring a network on its test sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import retrieval, tables
from magnifier_jax.config import Config
from magnifier_jax.datasets import ImageSource, TestSet, open_images
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.forward import embed_split, make_embed
from magnifier_jax.evaluation.tracklets import Pooling, pool_tracklets, ranks_tracklets
from magnifier_jax.model import MagnifierNet
from magnifier_jax.retrieval.measures.metrics import ranks_to_show

_VARIANTS = ("flipped", "expanded", "reranked")


@dataclasses.dataclass(frozen=True)
class Measures:
    """The numbers that are kept of an evaluation; see `retrieval.Evaluation`.

    `cmc` begins with rank-1; shares are in 0…1. `flip` tells whether descriptors were means over
    images and their mirror images.
    """

    mAP: float  # noqa: N815
    mINP: float  # noqa: N815
    cmc: tuple[float, ...]
    queries: int
    valid_queries: int
    gallery: int
    average_precision: str
    metric: str
    flip: bool = False

    @classmethod
    def of(cls, found: retrieval.Evaluation, *, flip: bool = False) -> Measures:
        """Keeps the numbers of an evaluation."""
        return cls(
            mAP=found.mAP,
            mINP=found.mINP,
            cmc=tuple(float(share) for share in found.cmc),
            queries=found.queries,
            valid_queries=found.valid_queries,
            gallery=found.gallery,
            average_precision=found.average_precision,
            metric=found.metric,
            flip=flip,
        )

    def at(self, rank: int) -> float:
        """Share of valid queries with a match among the first `rank`, which the curve reaches."""
        return self.cmc[rank - 1]


@dataclasses.dataclass(frozen=True)
class Score:
    """How well one test set was ranked.

    Attributes:
        name: The test set.
        plain: By the distances of the descriptors of the images alone.
        flipped: By those of means over images and their mirror images, if asked for.
        expanded: After query expansion, if asked for; of the flipped descriptors if there are any.
        reranked: By k-reciprocal re-ranking, if asked for; of the same.
        open_set: How people who are not in the gallery are told from others, if asked for.
        tracklets: What the tracklets were made of, where these were ranked rather than images;
            `queries` and `gallery` of the measures count them then.
    """

    name: str
    plain: Measures
    flipped: Measures | None = None
    expanded: Measures | None = None
    reranked: Measures | None = None
    open_set: retrieval.OpenSet | None = None
    tracklets: Pooling | None = None

    def to_mapping(self) -> dict[str, Any]:
        """The object that `evaluation.json` holds for this test set."""
        found = {"test_set": self.name, **dataclasses.asdict(self.plain)}
        if self.tracklets is not None:
            found["tracklets"] = dataclasses.asdict(self.tracklets)
        for name in _VARIANTS:
            measures = getattr(self, name)
            if measures is not None:
                found[name] = dataclasses.asdict(measures)
        if self.open_set is not None:
            found["open_set"] = dataclasses.asdict(self.open_set)
        return found

    def variants(self) -> dict[str, Measures]:
        """The other ways of ranking that were asked for, by what a table calls them."""
        found = {}
        for name in _VARIANTS:
            measures = getattr(self, name)
            if measures is not None:
                applied = measures.flip and name != "flipped"
                found[f"flipped and {name}" if applied else name] = measures
        return found

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Score:
        """Reads what `to_mapping` made, after a way through JSON."""

        def read(values: Mapping[str, Any]) -> Measures:
            names = {field.name for field in dataclasses.fields(Measures)} & set(values)
            found = {name: values[name] for name in names}
            return Measures(**(found | {"cmc": tuple(found["cmc"])}))

        variants = {name: mapping.get(name) for name in _VARIANTS}
        found = {name: read(values) for name, values in variants.items() if values is not None}
        pooled = mapping.get("tracklets")
        return cls(
            mapping["test_set"],
            read(mapping),
            **found,
            open_set=_open_set(mapping.get("open_set")),
            tracklets=None if pooled is None else Pooling.from_mapping(pooled),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Ranked:
    """A test set that was ranked.

    Attributes:
        score: The numbers.
        test_set: What was ranked: the test set, or the first images of its tracklets.
        query: Descriptors of the queries, `[Nq, D]`; means over mirror images if so configured.
        gallery: Those of the gallery, `[Ng, D]`.
        average_precisions: Of each query by these descriptors, `[Nq]`; NaN without a match.
    """

    score: Score
    test_set: TestSet
    query: np.ndarray
    gallery: np.ndarray
    average_precisions: np.ndarray


class Evaluator:
    """Embeds and ranks the test sets of a configuration; reusable during training.

    After a call, `first` is what came of the first test set, for a report.
    """

    first: Ranked | None = None

    def __init__(
        self,
        config: Config,
        model: MagnifierNet,
        test_sets: Sequence[TestSet],
        mesh: Mesh,
        *,
        progress: bool = True,
    ) -> None:
        self._config = config
        self._mesh = mesh
        self._progress = progress
        self._embed = make_embed(model, mesh, flip=config.evaluate.flip)
        self._sets = [
            (test_set, self._open(test_set.query), self._open(test_set.gallery))
            for test_set in test_sets
        ]

    def _open(self, split: PreparedSplit) -> ImageSource:
        return open_images(split, self._config.data, parts=False, progress=self._progress)

    def __call__(self, variables: Any) -> tuple[Score, ...]:
        """Measures the network with these variables on every test set."""
        scores = []
        for test_set, query, gallery in self._sets:
            by_tracklet = ranks_tracklets(self._config.evaluate, test_set)
            found = [
                embed_split(
                    self._embed,
                    variables,
                    images,
                    batch_size=self._config.evaluate.batch_size,
                    mesh=self._mesh,
                    unflipped=True,
                    visible=by_tracklet,
                    title=f"{test_set.name} {title}",
                    progress=self._progress,
                )
                for images, title in ((query, "query"), (gallery, "gallery"))
            ]
            ranked = rank(self._config, test_set, query=found[0], gallery=found[1])
            scores.append(ranked.score)
            if len(scores) == 1:
                self.first = ranked
        return tuple(scores)


def rank(config: Config, test_set: TestSet, *, query: Embeddings, gallery: Embeddings) -> Ranked:
    """Ranks the descriptors of a test set in every way that the configuration asks for.

    Those of a tracklet become one first, where tracklets are to be ranked.
    """
    settings = config.evaluate
    pooling = None
    if ranks_tracklets(settings, test_set):
        tracklets = pool_tracklets(settings, test_set, query=query, gallery=gallery)
        test_set, pooling = tracklets.test_set, tracklets.pooling
        query, gallery = tracklets.query, tracklets.gallery
    flip = query.unflipped is not None

    def measure(
        query: np.ndarray,
        gallery: np.ndarray,
        *,
        reranking: retrieval.ReRanking | None = None,
    ) -> retrieval.Evaluation:
        return retrieval.evaluate(
            query,
            gallery,
            test_set.query.identities,
            test_set.gallery.identities,
            test_set.query.cameras,
            test_set.gallery.cameras,
            max_rank=settings.max_rank,
            camera_filter=settings.camera_filter,
            metric=settings.distance,
            average_precision=settings.average_precision,
            reranking=reranking,
        )

    queries, candidates = query.descriptors, gallery.descriptors
    first = measure(queries, candidates)
    found = {"flipped" if flip else "plain": Measures.of(first, flip=flip)}
    if query.unflipped is not None and gallery.unflipped is not None:
        found["plain"] = Measures.of(measure(query.unflipped, gallery.unflipped))
    if settings.query_expansion:
        expansion = retrieval.QueryExpansion(
            neighbours=settings.query_expansion, alpha=settings.query_expansion_alpha
        )
        expanded = retrieval.expand_queries(queries, candidates, settings=expansion)
        found["expanded"] = Measures.of(measure(expanded, candidates), flip=flip)
    if settings.rerank:
        reranking = retrieval.ReRanking(
            k1=settings.rerank_k1, k2=settings.rerank_k2, original_weight=settings.rerank_lambda
        )
        reranked = measure(queries, candidates, reranking=reranking)
        found["reranked"] = Measures.of(reranked, flip=flip)
    apart = None
    if settings.open_set:
        apart = retrieval.evaluate_open_set(
            queries,
            candidates,
            test_set.query.identities,
            test_set.gallery.identities,
            test_set.query.cameras,
            test_set.gallery.cameras,
            camera_filter=settings.camera_filter,
            metric=settings.distance,
        )
    score = Score(test_set.name, **found, open_set=apart, tracklets=pooling)
    return Ranked(score, test_set, queries, candidates, first.average_precisions)


def evaluation_record(
    scores: Sequence[Score], *, step: int, untrained: Sequence[Score] = ()
) -> dict[str, Any]:
    """The content of `evaluation.json`.

    The first test set's numbers stand at the top; those of all of them, if there are several,
    under `test_sets`; those of the network before training under `untrained`.
    """
    record: dict[str, Any] = {"step": step, **scores[0].to_mapping()}
    if len(scores) > 1:
        record["test_sets"] = [score.to_mapping() for score in scores]
    if untrained:
        record["untrained"] = [score.to_mapping() for score in untrained]
    return record


def table(scores: Sequence[Score], *, untrained: Sequence[Score] = ()) -> str:
    """The results as text: one line a test set and way of ranking, or a sentence without any."""
    if not scores:
        return "Not measured yet: the run stopped before. The same call resumes from there."
    ranks = ranks_to_show(scores[0].plain.cmc)
    header = ["", "mAP", "mINP", *(f"rank-{rank}" for rank in ranks), "queries"]
    rows = [header]
    for score in scores:
        before = [other for other in untrained if other.name == score.name]
        if before:
            rows.append(_row(f"{score.name}, untrained", before[0].plain, ranks))
        name = f"{score.name}, trained" if before else score.name
        rows.append(_row(name, score.plain, ranks))
        for variant, found in score.variants().items():
            rows.append(_row(f"{score.name}, {variant}", found, ranks))
    kinds = {score.plain.average_precision for score in scores}
    notes = [f"percent; average precision: {', '.join(sorted(kinds))}"]
    notes += [_open_set_line(score.name, score.open_set) for score in scores if score.open_set]
    notes += [_pooled(score, score.tracklets) for score in scores if score.tracklets is not None]
    return "\n".join([tables.table(rows[0], rows[1:]), *notes])


def _open_set_line(name: str, found: retrieval.OpenSet) -> str:
    """Open-set identification in a sentence."""
    shares = ", ".join(
        f"{100 * point.found:.1f} at {100 * point.allowed_rate:g}% false alarms"
        for point in found.points
    )
    return (
        f"{name}, half of the people not in the gallery: {shares} "
        f"({found.known_queries:,} queries known, {found.unknown_queries:,} not)"
    )


def _open_set(values: Mapping[str, Any] | None) -> retrieval.OpenSet | None:
    """Reads what `dataclasses.asdict` made of it, after a way through JSON."""
    if values is None:
        return None
    points = tuple(retrieval.OpenSetPoint(**point) for point in values["points"])
    return retrieval.OpenSet(**{**values, "points": points})


def _pooled(score: Score, pooling: Pooling) -> str:
    """Says what the tracklets of a test set were made of."""
    how = {
        "visible": "weighted by the parts that images show",
        "uniform": "in which all images weigh alike",
    }
    return (
        f"{score.name}: {score.plain.queries:,} query and {score.plain.gallery:,} gallery "
        f"tracklets, means of {pooling.query_images:,} and {pooling.gallery_images:,} images, "
        f"{how.get(pooling.weights, pooling.weights)}"
    )


def _row(name: str, found: Measures, ranks: Sequence[int]) -> list[str]:
    shares = (found.mAP, found.mINP, *(found.at(rank) for rank in ranks))
    queries = f"{found.valid_queries:,}"
    if found.valid_queries != found.queries:
        queries += f" of {found.queries:,}"
    return [name, *(f"{100 * share:.1f}" for share in shares), queries]
