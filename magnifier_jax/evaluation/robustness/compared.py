"""A network among those whose robustness is compared: what it embeds, and how that is ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm
from jax.sharding import Mesh

from input_pipeline.images.codec import decode_image
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import retrieval
from magnifier_jax.config import EvaluateConfig
from magnifier_jax.datasets import TestSet
from magnifier_jax.devices import fetch, put_batch
from magnifier_jax.embedding.embeddings import visible_parts
from magnifier_jax.embedding.forward import EmbedFunction, make_embed
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation.branches import branch_alone, branch_slices
from magnifier_jax.evaluation.robustness.look_alikes import Rows, blocks, matching
from magnifier_jax.evaluation.robustness.results import PARTS, WHOLE, Figures
from magnifier_jax.retrieval.measures.metrics import MatchRanks, summarize

CHUNK = 256
"""Images that are decoded, and covered, at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """Descriptors `[n, D]`, part embeddings `[n, P, C]` or None, and visible parts `[n, P]`."""

    descriptors: np.ndarray
    parts: np.ndarray | None
    visible: np.ndarray | None


class ComparedNetwork:
    """One of the networks that are compared.

    Attributes:
        name: What it is called.
        trained: The network and its weights.
        settings: How it is evaluated.
        size: Height and width of the images that it takes.
        slices: The columns of a descriptor that each branch fills.
    """

    def __init__(self, name: str, trained: Trained, mesh: Mesh) -> None:
        self.name = name
        self.trained = trained
        self.settings = trained.config.evaluate
        self.size = trained.config.data.image_size
        self.slices = branch_slices(trained.config)
        self._mesh = mesh
        self._embed: EmbedFunction = make_embed(
            trained.model, mesh, flip=trained.config.evaluate.flip
        )
        self._batch = -(-trained.config.evaluate.batch_size // mesh.size) * mesh.size

    @property
    def views(self) -> list[str]:
        """What can be compared: the whole, the branches if there are several, and parts."""
        branches = list(self.slices) if len(self.slices) > 1 else []
        return [WHOLE, *branches, *([PARTS] if "fusion" in self.slices else [])]

    def embed(self, images: np.ndarray) -> EmbeddedImages:
        """Embeds uint8 images `[n, H, W, 3]`."""
        found = [
            self._forward(images[i : i + self._batch]) for i in range(0, len(images), self._batch)
        ]
        return _join(found)

    def embed_split(self, split: PreparedSplit, *, progress: bool) -> EmbeddedImages:
        """Embeds the images of a split as they are."""
        starts = tqdm.tqdm(
            range(0, len(split), CHUNK),
            desc=f"Embedding for {self.name}",
            disable=not progress,
            leave=False,
        )
        batches = (np.arange(start, min(start + CHUNK, len(split))) for start in starts)
        return _join([self.embed(decode_images(split, ids, self.size)) for ids in batches])

    def compared(self, found: EmbeddedImages, view: str) -> np.ndarray:
        """The vectors `[n, d]` that a view compares."""
        if view == WHOLE:
            return found.descriptors
        return branch_alone(found.descriptors, self.slices[view])

    def part_maps(self, images: np.ndarray) -> np.ndarray:
        """The part classes that the parsing head sees, uint8 `[n, 2h, 2w]`."""
        maps = []
        for start in range(0, len(images), self._batch):
            batch = images[start : start + self._batch]
            out = self._embed(self.trained.variables, put_batch(self._padded(batch), self._mesh))
            maps.append(fetch(out.part_map)[: len(batch)])
        return np.concatenate(maps)

    def figures(
        self, query: EmbeddedImages, gallery: EmbeddedImages, test_set: TestSet
    ) -> dict[str, Figures]:
        """Figures of every view."""
        found = {}
        for view in self.views:
            if view == PARTS:
                found[view] = _rank_parts(query, gallery, test_set, self.settings)
                continue
            evaluation = retrieval.evaluate(
                self.compared(query, view),
                self.compared(gallery, view),
                test_set.query.identities,
                test_set.gallery.identities,
                test_set.query.cameras,
                test_set.gallery.cameras,
                camera_filter=self.settings.camera_filter,
                metric=self.settings.distance,
                average_precision=self.settings.average_precision,
            )
            found[view] = Figures(evaluation.mAP, float(evaluation.cmc[0]))
        return found

    def distances(self, query: EmbeddedImages, gallery: EmbeddedImages, view: str) -> Rows:
        """Distances of some queries to the gallery, as a view compares them."""
        if view == PARTS:
            return lambda rows: part_distances(query, gallery, rows)
        mine, its = self.compared(query, view), self.compared(gallery, view)

        def distances(rows: slice) -> np.ndarray:
            # Of unit vectors: nothing large cancels.
            return np.sqrt(np.maximum(2 - 2 * (mine[rows] @ its.T), 0))

        return distances

    def _padded(self, batch: np.ndarray) -> np.ndarray:
        # The last batch repeats an image, so that one compiled program does for all.
        return batch[np.minimum(np.arange(self._batch), len(batch) - 1)]

    def _forward(self, batch: np.ndarray) -> EmbeddedImages:
        out = self._embed(self.trained.variables, put_batch(self._padded(batch), self._mesh))
        kept = (out.descriptor, out.part_embeddings, out.part_shares)
        descriptors, parts, shares = (
            None if array is None else fetch(array)[: len(batch)] for array in kept
        )
        assert descriptors is not None
        visible = None if shares is None else visible_parts(shares)
        return EmbeddedImages(descriptors, parts, visible if parts is not None else None)


def decode_images(split: PreparedSplit, ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Some images of a split, uint8 `[n, H, W, 3]`."""
    return np.stack([decode_image(sample.image, image_size=size) for sample in split.read(ids)])


def _join(found: Sequence[EmbeddedImages]) -> EmbeddedImages:
    def joined(name: str) -> Any:
        arrays = [getattr(each, name) for each in found]
        return None if arrays[0] is None else np.concatenate(arrays)

    return EmbeddedImages(joined("descriptors"), joined("parts"), joined("visible"))


def part_distances(query: Any, gallery: Any, rows: slice) -> np.ndarray:
    """1 − cosine, averaged over the parts that both show, `[n, Ng]`; infinite without any.

    Args:
        query: Part embeddings of unit length `parts` `[Nq, P, C]` and `visible` `[Nq, P]`.
        gallery: The same, of the gallery.
        rows: Which queries.
    """
    shown = query.visible[rows].astype(np.float32)
    others = gallery.visible.astype(np.float32)
    mine = (query.parts[rows] * shown[..., None]).reshape(len(shown), -1)
    its = (gallery.parts * others[..., None]).reshape(len(others), -1)
    shared = shown @ others.T
    return np.where(shared > 0, 1 - (mine @ its.T) / np.maximum(shared, 1), np.inf)


def _rank_parts(
    query: EmbeddedImages,
    gallery: EmbeddedImages,
    test_set: TestSet,
    settings: EvaluateConfig,
) -> Figures:
    """The protocol of `retrieval.evaluate`, by the distances of visible parts."""
    asked, searched = test_set.query, test_set.gallery
    found = []
    for rows in blocks(len(asked), len(searched)):
        distances = part_distances(query, gallery, rows)
        same, junk = matching(asked, searched, rows, camera_filter=settings.camera_filter)
        order = np.argsort(np.where(junk, np.inf, distances), axis=1, kind="stable")
        counted = np.cumsum(~np.take_along_axis(junk, order, 1), axis=1)
        hits = np.take_along_axis(same, order, 1)
        queries, places = np.nonzero(hits)
        found.append(MatchRanks(rows.start + queries, counted[queries, places]))
    evaluation = summarize(
        found,
        queries=len(asked),
        gallery=len(searched),
        max_rank=1,
        average_precision=settings.average_precision,
        metric=PARTS,
    )
    return Figures(evaluation.mAP, float(evaluation.cmc[0]))
