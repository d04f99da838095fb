"""Test sets whose tracklets are ranked rather than their images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.identities.unknown import UNKNOWN_TRACKLET
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax.config import EvaluateConfig
from magnifier_jax.datasets import TestSet
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.retrieval.pooling import Groups, pool


@dataclasses.dataclass(frozen=True)
class Pooling:
    """What the tracklets that were ranked were made of.

    Attributes:
        query_images: Images of all query tracklets.
        gallery_images: Images of all gallery tracklets.
        weights: How the images of a tracklet were weighted; see `retrieval.pool`.
    """

    query_images: int
    gallery_images: int
    weights: str

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Pooling:
        """Reads what `dataclasses.asdict` and JSON made of it."""
        return cls(int(mapping["query_images"]), int(mapping["gallery_images"]), mapping["weights"])


@dataclasses.dataclass(frozen=True, eq=False)
class Tracklets:
    """A test set of tracklets as if each were an image.

    Attributes:
        test_set: The first image of each tracklet.
        query: One descriptor for each query tracklet.
        gallery: The same of the gallery.
        pooling: What they were made of.
    """

    test_set: TestSet
    query: Embeddings
    gallery: Embeddings
    pooling: Pooling


def ranks_tracklets(settings: EvaluateConfig, test_set: TestSet) -> bool:
    """Whether a test set is ranked tracklet by tracklet.

    Raises:
        DataError: It is to be, and its tracklets are not known.
    """
    if settings.by_tracklet == "auto":
        return test_set.by_tracklet
    if settings.by_tracklet == "never":
        return False
    if test_set.query.tracklets is None and test_set.gallery.tracklets is None:
        raise DataError(
            f"{test_set.name} does not say which images are a tracklet: set "
            "config.evaluate.by_tracklet='auto'"
        )
    return True


def pool_tracklets(
    settings: EvaluateConfig, test_set: TestSet, *, query: Embeddings, gallery: Embeddings
) -> Tracklets:
    """Makes one descriptor of each tracklet; an image of no known tracklet stays by itself.

    Args:
        settings: How.
        test_set: Whose images they are.
        query: Descriptors of the query images `[Nq, D]`, and which parts they show if it is known.
        gallery: The same of the gallery.
    """
    asked, first_asked = _pool_split(test_set.query, query, settings=settings)
    searched, first_searched = _pool_split(test_set.gallery, gallery, settings=settings)
    seen = query.visible is not None and gallery.visible is not None
    return Tracklets(
        dataclasses.replace(
            test_set,
            query=test_set.query.take(first_asked),
            gallery=test_set.gallery.take(first_searched),
        ),
        asked,
        searched,
        Pooling(len(query), len(gallery), settings.tracklet_weights if seen else "uniform"),
    )


def _pool_split(
    split: PreparedSplit, found: Embeddings, *, settings: EvaluateConfig
) -> tuple[Embeddings, np.ndarray]:
    """A descriptor of each tracklet, and the first image of each."""
    names = split.tracklets
    if names is None:
        names = np.full(len(split), UNKNOWN_TRACKLET)
    # Tracklets are of one person under one camera, even where others have the same names.
    groups = Groups.of(names, within=(split.identities, split.cameras))

    def pooled(descriptors: np.ndarray) -> np.ndarray:
        return pool(
            descriptors, groups, visible=found.visible, weights=settings.tracklet_weights
        ).descriptors

    alone = None if found.unflipped is None else pooled(found.unflipped)
    return Embeddings(pooled(found.descriptors), unflipped=alone), groups.first
