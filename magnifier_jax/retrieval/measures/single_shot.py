"""The old protocol of CUHK03: one gallery image of every identity, drawn again and again."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.distances import RowBlock
from magnifier_jax.retrieval.labels import Labels, MatchFinder
from magnifier_jax.retrieval.measures.metrics import Evaluation, MatchRanks

_MOST_REPETITIONS = 10**4


@dataclasses.dataclass(frozen=True)
class SingleShot:
    """Settings of the single-gallery-shot protocol.

    Attributes:
      repetitions: How many galleries are drawn and averaged over.
      seed: Decides the draws, together with the identities and cameras alone.
    """

    repetitions: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.repetitions <= _MOST_REPETITIONS:
            raise UserError(
                f"repetitions must be within 1 and {_MOST_REPETITIONS}, not {self.repetitions}"
            )
        if self.seed < 0:
            raise UserError(f"seed must be at least 0, not {self.seed}")


class SingleShotCounter:
    """Ranks of each query's match among one drawn image of every identity.

    Of the query's own identity an image that the camera filter leaves is drawn. A repetition
    counts as a query of its own: query q of repetition r is number r · Nq + q.
    """

    def __init__(self, labels: Labels, *, settings: SingleShot) -> None:
        self._labels = labels
        self._settings = settings
        self._finder = MatchFinder(labels)
        generator = np.random.default_rng(settings.seed)
        self._priority = np.stack(
            [generator.permutation(len(labels.gallery_ids)) for _ in range(settings.repetitions)]
        )
        by_priority = np.argsort(self._priority, axis=1)
        self._drawn = [
            order[np.unique(labels.gallery_ids[order], return_index=True)[1]]
            for order in by_priority
        ]

    def ranks(self, block: RowBlock) -> MatchRanks:
        """Ranks of the matches of one block of distance rows."""
        matches = self._finder.find(block.start, count=block.count)
        rows = np.asarray(block.values)[: block.count]
        queries, ranks = [], []
        total = len(self._labels.query_ids)
        for repetition in range(self._settings.repetitions):
            order = np.lexsort((self._priority[repetition][matches.gallery], matches.queries))
            valid, first = np.unique(matches.queries[order], return_index=True)
            own = matches.gallery[order][first]
            queries.append(repetition * total + block.start + valid)
            ranks.append(
                self._ranks_of(rows, valid, own, drawn=self._drawn[repetition], block=block)
            )
        return MatchRanks(queries=np.concatenate(queries), ranks=np.concatenate(ranks))

    def _ranks_of(
        self,
        rows: NDArray[np.floating],
        valid: NDArray[np.int64],
        own: NDArray[np.int64],
        *,
        drawn: NDArray[np.int64],
        block: RowBlock,
    ) -> NDArray[np.int64]:
        ids = self._labels.query_ids[block.start + valid]
        others = self._labels.gallery_ids[drawn][None, :] != ids[:, None]
        distance = rows[valid[:, None], drawn[None, :]]
        reference = rows[valid, own][:, None]
        earlier = (distance == reference) & (drawn[None, :] < own[:, None])
        return 1 + np.count_nonzero(others & ((distance < reference) | earlier), axis=1)


def fold_repetitions(evaluation: Evaluation, *, queries: int) -> Evaluation:
    """The same measures with the repetitions of a query counted as one query."""
    per_query = evaluation.average_precisions.reshape(-1, queries).mean(axis=0)
    return dataclasses.replace(
        evaluation,
        queries=queries,
        valid_queries=int(np.isfinite(per_query).sum()),
        average_precisions=per_query,
    )
