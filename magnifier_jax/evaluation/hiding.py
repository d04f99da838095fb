"""Hides parts of people, and measures what that costs a network and whom it mixes up.

Images are covered by drawn objects (`occluders`) over regions (`regions`). What is drawn depends on
the data and a seed alone, so networks that are compared see the same images.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from input_pipeline.dataset import BACKGROUND
from input_pipeline.errors import UserError
from input_pipeline.images.codec import decode_image, nearest_indices
from input_pipeline.part_labels.drawn import DrawnLabeler
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import retrieval
from magnifier_jax.config import EvaluateConfig
from magnifier_jax.datasets import TestSet
from magnifier_jax.devices import fetch, make_mesh, put_batch
from magnifier_jax.embedding.embeddings import visible_parts
from magnifier_jax.embedding.forward import EmbedFunction, make_embed
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation.branches import branch_alone, branch_slices
from magnifier_jax.evaluation.ground_truth import GroundTruth, open_study
from magnifier_jax.evaluation.look_alikes import (
    Rows,
    blocks,
    find_confusions,
    matching,
)
from magnifier_jax.evaluation.occluders import CANVAS, Layer, draw_layer
from magnifier_jax.evaluation.regions import Kind, Region, standard_regions
from magnifier_jax.evaluation.robustness import (
    PARTS,
    WHOLE,
    Figures,
    Hidden,
    NetworkRobustness,
    Robustness,
    Side,
)
from magnifier_jax.retrieval.measures.metrics import MatchRanks, summarize

_CHUNK = 256  # Images that are covered before they are embedded.


@dataclasses.dataclass(frozen=True, eq=False)
class _Embedded:
    """Descriptors `[n, D]`, part embeddings `[n, P, C]` or None, and visible parts `[n, P]`."""

    descriptors: np.ndarray
    parts: np.ndarray | None
    visible: np.ndarray | None


class _Network:
    """One of the networks that are compared."""

    def __init__(self, name: str, trained: Trained, mesh: Mesh) -> None:
        self.name = name
        self.trained = trained
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

    def embed(self, images: np.ndarray) -> _Embedded:
        """Embeds uint8 images `[n, H, W, 3]`."""
        found = [
            self._forward(images[i : i + self._batch]) for i in range(0, len(images), self._batch)
        ]
        return _join(found)

    def compared(self, found: _Embedded, view: str) -> np.ndarray:
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

    def _padded(self, batch: np.ndarray) -> np.ndarray:
        # The last batch repeats an image, so that one compiled program does for all.
        return batch[np.minimum(np.arange(self._batch), len(batch) - 1)]

    def _forward(self, batch: np.ndarray) -> _Embedded:
        out = self._embed(self.trained.variables, put_batch(self._padded(batch), self._mesh))
        kept = (out.descriptor, out.part_embeddings, out.part_shares)
        descriptors, parts, shares = (
            None if array is None else fetch(array)[: len(batch)] for array in kept
        )
        assert descriptors is not None
        visible = None if shares is None else visible_parts(shares)
        return _Embedded(descriptors, parts, visible if parts is not None else None)


def _join(found: Sequence[_Embedded]) -> _Embedded:
    def joined(name: str) -> Any:
        arrays = [getattr(each, name) for each in found]
        return None if arrays[0] is None else np.concatenate(arrays)

    return _Embedded(joined("descriptors"), joined("parts"), joined("visible"))


def robustness(
    models: Mapping[str, Any] | Any,
    *,
    data: str | None = None,
    root: str | os.PathLike[str] | None = None,
    side: Side = "query",
    seed: int = 0,
    progress: bool = True,
) -> Robustness:
    """Measures what hiding parts of people costs networks, and whom they mix up.

    Args:
        models: What `magnifier_jax.load` returns, or several of them by name, to be compared on
            the same covered images.
        data: The test set, such as `market1501`; None is the first of the first network's own.
        root: Folder of the datasets, if not where they were in training.
        side: Which images are covered: `query`, `gallery` or `both`.
        seed: Other seeds draw other objects.
        progress: Whether to show progress bars.

    Returns:
        The figures; `.table()` is their text, `.to_mapping()` what `robustness.json` holds.

    Raises:
        UserError: A model came from a file that can only be run, or the set cannot be used.
    """
    named = models if isinstance(models, Mapping) else {"network": models}
    networks = {name: getattr(model, "trained", model) for name, model in named.items()}
    if not networks:
        raise UserError("There is no network to measure: give one or more.")
    first = next(iter(networks.values()))
    study = open_study(first.config, data=data, root=root, progress=progress)
    return measure_robustness(
        networks,
        study.test_set,
        side=side,
        seed=seed,
        truth=study.truth,
        progress=progress,
    )


def measure_robustness(
    networks: Mapping[str, Trained],
    test_set: TestSet,
    *,
    side: Side = "query",
    seed: int = 0,
    regions: Sequence[Region] | None = None,
    truth: GroundTruth | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Robustness:
    """Measures what hiding regions of people costs.

    Where they are: by the dataset's part labels if every image has them; otherwise as the first
    network with a parsing head sees the clean images; otherwise as the parser of this package
    does. All networks see the same covered images, each at the size that it takes.

    Args:
        networks: By name; one or more.
        test_set: Queries and gallery.
        side: Which images are covered.
        seed: Other seeds draw other objects.
        regions: What is hidden, one after the other; None for `standard_regions`.
        truth: Part labels, and who looks like whom, where that is known.
        mesh: The devices; None is all of them.
        progress: Whether to show a progress bar.

    Raises:
        UserError: There is no network, or this is one of several processes.
    """
    if not networks:
        raise UserError("There is no network to measure: give one or more.")
    if jax.process_count() > 1:
        raise UserError("Robustness is measured by one process: start it without the others.")
    mesh = mesh or make_mesh()
    compared = [_Network(name, trained, mesh) for name, trained in networks.items()]
    sides = {"query": test_set.query, "gallery": test_set.gallery}
    covered = ("query", "gallery") if side == "both" else (side,)
    source, maps = _part_map_source(compared, [sides[name] for name in covered], truth=truth)
    if regions is None:
        regions = standard_regions()
    clean = {
        name: [_embed_clean(network, split, progress=progress) for network in compared]
        for name, split in sides.items()
    }
    settings = [network.trained.config.evaluate for network in compared]
    rows: list[list[Hidden]] = [[] for _ in compared]
    total = len(regions) * sum(len(sides[name]) for name in covered)
    with tqdm.tqdm(total=total, desc="Hiding", unit="img", disable=not progress) as bar:
        for region in regions:
            embedded = dict(clean)
            shares: list[tuple[int, float]] = []
            for name in covered:
                embedded[name], seen = _embed_covered(
                    compared, sides[name], region, maps, before=clean[name], seed=seed, bar=bar
                )
                shares.append(seen)
            changed = sum(count for count, _ in shares)
            person = sum(hidden for _, hidden in shares) / max(changed, 1)
            images = changed / sum(len(sides[name]) for name in covered)
            for i, network in enumerate(compared):
                views = _figures(
                    network, embedded["query"][i], embedded["gallery"][i], test_set, settings[i]
                )
                rows[i].append(Hidden(region.name, region.kind.value, images, person, views))
    results = []
    for i, network in enumerate(compared):
        query, gallery = clean["query"][i], clean["gallery"][i]
        results.append(
            NetworkRobustness(
                name=network.name,
                step=network.trained.step,
                clean=_figures(network, query, gallery, test_set, settings[i]),
                hidden=tuple(rows[i]),
                confusions={
                    view: find_confusions(
                        _rows(network, query, gallery, view),
                        test_set.query,
                        test_set.gallery,
                        camera_filter=settings[i].camera_filter,
                        drawn=None if truth is None else truth.drawn,
                    )
                    for view in network.views
                },
            )
        )
    return Robustness(test_set.name, side, seed, source, tuple(results))


Maps = Callable[[PreparedSplit, np.ndarray], np.ndarray]
"""Part maps uint8 `[n, H, W]` at `CANVAS` of the images at some positions of a split."""


def _part_map_source(
    networks: Sequence[_Network],
    splits: Sequence[PreparedSplit],
    *,
    truth: GroundTruth | None,
) -> tuple[str, Maps]:
    """Where the regions come from, in words, and a function that gives the maps."""
    if truth is not None and all(set(split.names) <= set(truth.part_labels) for split in splits):

        def given(split: PreparedSplit, ids: np.ndarray) -> np.ndarray:
            names = [split.names[i] for i in ids]
            return np.stack([truth.part_map(name, image_size=CANVAS) for name in names])

        return "the dataset's part labels", given
    seeing = [network for network in networks if network.trained.config.model.use_parsing]
    if seeing:

        def seen(split: PreparedSplit, ids: np.ndarray) -> np.ndarray:
            maps = seeing[0].part_maps(_decode(split, ids, seeing[0].size))
            rows, columns = (
                nearest_indices(source, target, np.arange(target))
                for source, target in zip(maps.shape[1:], CANVAS, strict=True)
            )
            return maps[:, rows][:, :, columns]

        return f"the parsing head of {seeing[0].name}", seen
    labeler = DrawnLabeler()

    def parsed(split: PreparedSplit, ids: np.ndarray) -> np.ndarray:
        found = labeler.label(list(_decode(split, ids, CANVAS)))
        nobody = np.full(CANVAS, BACKGROUND, np.uint8)
        return np.stack([nobody if one.part_map is None else one.part_map for one in found])

    return "the parser of this package", parsed


def _decode(split: PreparedSplit, ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.stack([decode_image(sample.image, image_size=size) for sample in split.read(ids)])


def _embed_clean(network: _Network, split: PreparedSplit, *, progress: bool) -> _Embedded:
    starts = tqdm.tqdm(
        range(0, len(split), _CHUNK),
        desc=f"Embedding for {network.name}",
        disable=not progress,
        leave=False,
    )
    return _join(
        [
            network.embed(
                _decode(split, np.arange(start, min(start + _CHUNK, len(split))), network.size)
            )
            for start in starts
        ]
    )


def _embed_covered(
    networks: Sequence[_Network],
    split: PreparedSplit,
    region: Region,
    maps: Maps,
    *,
    before: Sequence[_Embedded],
    seed: int,
    bar: tqdm.tqdm,
) -> tuple[list[_Embedded], tuple[int, float]]:
    """Embeds a split with a region hidden.

    Returns:
        What each network makes of it; how many images show the region, and the sum over them of
        the share of the person that is hidden.
    """
    after = [
        _Embedded(
            each.descriptors.copy(),
            None if each.parts is None else each.parts.copy(),
            None if each.visible is None else each.visible.copy(),
        )
        for each in before
    ]
    changed, person = 0, 0.0
    for start in range(0, len(split), _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, len(split)))
        layers: dict[int, Layer] = {}
        part_maps = maps(split, ids)
        lights = _decode(split, ids, (32, 16)).mean((1, 2, 3)) / 128
        for place, part_map, light in zip(ids, part_maps, lights, strict=True):
            key = (seed, region.name, split.names[place])
            mask = region.mask(part_map, seed=key)
            if not mask.any():
                continue
            boxy = region.kind in (Kind.BOX, Kind.SIDE)
            layer = draw_layer(mask, seed=key, light=float(light), boxy=boxy)
            if not layer.cover.any():
                continue
            layers[int(place)] = layer
            body = part_map != BACKGROUND
            person += float(layer.cover[body].mean()) if body.any() else 0.0
        changed += len(layers)
        bar.update(len(ids))
        if not layers:
            continue
        places = np.array(list(layers))
        for network, target in zip(networks, after, strict=True):
            clean = _decode(split, places, network.size)
            images = [layers[int(i)].over(image) for i, image in zip(places, clean, strict=True)]
            found = network.embed(np.stack(images))
            target.descriptors[places] = found.descriptors
            if target.parts is not None and target.visible is not None:
                target.parts[places] = found.parts
                target.visible[places] = found.visible
    return after, (changed, person)


def _figures(
    network: _Network,
    query: _Embedded,
    gallery: _Embedded,
    test_set: TestSet,
    settings: EvaluateConfig,
) -> dict[str, Figures]:
    """Figures of every view."""
    found = {}
    for view in network.views:
        if view == PARTS:
            found[view] = _rank_parts(network, query, gallery, test_set, settings)
            continue
        evaluation = retrieval.evaluate(
            network.compared(query, view),
            network.compared(gallery, view),
            test_set.query.identities,
            test_set.gallery.identities,
            test_set.query.cameras,
            test_set.gallery.cameras,
            camera_filter=settings.camera_filter,
            metric=settings.distance,
            average_precision=settings.average_precision,
        )
        found[view] = Figures(evaluation.mAP, float(evaluation.cmc[0]))
    return found


def _rows(network: _Network, query: _Embedded, gallery: _Embedded, view: str) -> Rows:
    """Distances of some queries to the gallery, as a view compares them."""
    if view == PARTS:
        return lambda rows: part_distances(query, gallery, rows)
    mine, its = network.compared(query, view), network.compared(gallery, view)

    def distances(rows: slice) -> np.ndarray:
        # Of unit vectors: nothing large cancels.
        return np.sqrt(np.maximum(2 - 2 * (mine[rows] @ its.T), 0))

    return distances


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
    network: _Network,
    query: _Embedded,
    gallery: _Embedded,
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
