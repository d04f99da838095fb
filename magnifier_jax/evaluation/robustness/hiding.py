"""Hides parts of people, and measures what that costs a network and whom it mixes up.

Images are covered by drawn objects (`occluders`) over regions (`regions`). What is drawn depends on
the data and a seed alone, so networks that are compared see the same images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from input_pipeline.dataset import BACKGROUND
from input_pipeline.errors import UserError
from input_pipeline.images.codec import nearest_indices
from input_pipeline.part_labels.drawn import DrawnLabeler
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax.datasets import TestSet
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation.robustness.compared import (
    CHUNK,
    ComparedNetwork,
    EmbeddedImages,
    decode_images,
)
from magnifier_jax.evaluation.robustness.ground_truth import GroundTruth, open_study
from magnifier_jax.evaluation.robustness.look_alikes import (
    find_confusions,
)
from magnifier_jax.evaluation.robustness.occluders import CANVAS, Layer, draw_layer
from magnifier_jax.evaluation.robustness.regions import Kind, Region, standard_regions
from magnifier_jax.evaluation.robustness.results import (
    Hidden,
    NetworkRobustness,
    Robustness,
    Side,
)


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
    compared = [ComparedNetwork(name, trained, mesh) for name, trained in networks.items()]
    sides = {"query": test_set.query, "gallery": test_set.gallery}
    covered = ("query", "gallery") if side == "both" else (side,)
    source, maps = _part_map_source(compared, [sides[name] for name in covered], truth=truth)
    if regions is None:
        regions = standard_regions()
    clean = {
        name: [network.embed_split(split, progress=progress) for network in compared]
        for name, split in sides.items()
    }
    rows = _hidden_rows(
        compared, test_set, covered, regions, maps, clean=clean, seed=seed, progress=progress
    )
    results = []
    for i, network in enumerate(compared):
        query, gallery = clean["query"][i], clean["gallery"][i]
        results.append(
            NetworkRobustness(
                name=network.name,
                step=network.trained.step,
                clean=network.figures(query, gallery, test_set),
                hidden=rows[i],
                confusions={
                    view: find_confusions(
                        network.distances(query, gallery, view),
                        test_set.query,
                        test_set.gallery,
                        camera_filter=network.settings.camera_filter,
                        drawn=None if truth is None else truth.drawn,
                    )
                    for view in network.views
                },
            )
        )
    return Robustness(test_set.name, side, seed, source, tuple(results))


Maps = Callable[[PreparedSplit, np.ndarray], np.ndarray]
"""Part maps uint8 `[n, H, W]` at `CANVAS` of the images at some positions of a split."""


def _hidden_rows(
    compared: Sequence[ComparedNetwork],
    test_set: TestSet,
    covered: Sequence[str],
    regions: Sequence[Region],
    maps: Maps,
    *,
    clean: Mapping[str, Sequence[EmbeddedImages]],
    seed: int,
    progress: bool,
) -> list[tuple[Hidden, ...]]:
    """What each region costs, when it is hidden: for each network a row a region.

    Args:
        compared: The networks.
        test_set: Queries and gallery.
        covered: Which of them are covered.
        regions: What is hidden, one after the other.
        maps: Gives the part maps in which the regions are found.
        clean: Of queries and gallery, what each network makes of them as they are.
        seed: Other seeds draw other objects.
        progress: Whether to show a progress bar.
    """
    sides = {"query": test_set.query, "gallery": test_set.gallery}
    rows: list[list[Hidden]] = [[] for _ in compared]
    images_covered = sum(len(sides[name]) for name in covered)
    total = len(regions) * images_covered
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
            images = changed / images_covered
            for i, network in enumerate(compared):
                views = network.figures(embedded["query"][i], embedded["gallery"][i], test_set)
                rows[i].append(Hidden(region.name, region.kind.value, images, person, views))
    return [tuple(each) for each in rows]


def _part_map_source(
    networks: Sequence[ComparedNetwork],
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
            maps = seeing[0].part_maps(decode_images(split, ids, seeing[0].size))
            rows, columns = (
                nearest_indices(source, target, np.arange(target))
                for source, target in zip(maps.shape[1:], CANVAS, strict=True)
            )
            return maps[:, rows][:, :, columns]

        return f"the parsing head of {seeing[0].name}", seen
    labeler = DrawnLabeler()

    def parsed(split: PreparedSplit, ids: np.ndarray) -> np.ndarray:
        found = labeler.label(list(decode_images(split, ids, CANVAS)))
        nobody = np.full(CANVAS, BACKGROUND, np.uint8)
        return np.stack([nobody if one.part_map is None else one.part_map for one in found])

    return "the parser of this package", parsed


def _embed_covered(
    networks: Sequence[ComparedNetwork],
    split: PreparedSplit,
    region: Region,
    maps: Maps,
    *,
    before: Sequence[EmbeddedImages],
    seed: int,
    bar: tqdm.tqdm,
) -> tuple[list[EmbeddedImages], tuple[int, float]]:
    """Embeds a split with a region hidden.

    Returns:
        What each network makes of it; how many images show the region, and the sum over them of
        the share of the person that is hidden.
    """
    after = [
        EmbeddedImages(
            each.descriptors.copy(),
            None if each.parts is None else each.parts.copy(),
            None if each.visible is None else each.visible.copy(),
        )
        for each in before
    ]
    changed, person = 0, 0.0
    for start in range(0, len(split), CHUNK):
        ids = np.arange(start, min(start + CHUNK, len(split)))
        layers: dict[int, Layer] = {}
        part_maps = maps(split, ids)
        lights = decode_images(split, ids, (32, 16)).mean((1, 2, 3)) / 128
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
            clean = decode_images(split, places, network.size)
            images = [layers[int(i)].over(image) for i, image in zip(places, clean, strict=True)]
            found = network.embed(np.stack(images))
            target.descriptors[places] = found.descriptors
            if target.parts is not None and target.visible is not None:
                target.parts[places] = found.parts
                target.visible[places] = found.visible
    return after, (changed, person)
