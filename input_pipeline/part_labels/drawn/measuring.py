"""How well a labeler finds the parts of drawn people, in styles that no training has seen."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.part_labels.bands import draw_bands
from input_pipeline.part_labels.drawn.examples.people import (
    HELD_OUT_BACKDROPS,
    HELD_OUT_CAMERAS,
    HELD_OUT_WALLS,
    People,
    draw_plain,
    draw_worlds,
    joined,
)
from input_pipeline.part_labels.drawn.examples.textures import HELD_OUT, TextureBank
from input_pipeline.part_labels.drawn.examples.variation import Examples, Variation
from input_pipeline.part_labels.labelers import PartLabeler

SIZE = (128, 64)
"""Height and width of the images that are measured on, in pixels."""
_SEED = 3_000_017  # far from any that training takes


def held_out_sets(count: int, *, seed: int = _SEED) -> Mapping[str, Examples]:
    """Drawn people with exact part maps, `count` in each set.

    `seen` shows whole people and `occluded` things in front of them, as `benchmark` draws them;
    `worlds` and `worlds_occluded` the same by cameras and before backgrounds of styles that
    training never sees; `strange` shows both in clothes and before backgrounds of textures that
    training never sees.
    """
    sets = {}
    strange = functools.partial(draw_worlds, cameras=HELD_OUT_CAMERAS, backdrops=HELD_OUT_BACKDROPS)
    for end, occluded in (("", 0.0), ("occluded", 1.0)):
        plain = draw_plain(count, seed=seed, size=SIZE, strength=1.0, occluded=occluded)
        worlds = strange(count, seed=seed, size=SIZE, occluded=occluded)
        sets[end or "seen"] = _as_drawn(plain)
        sets["worlds" + (end and f"_{end}")] = _as_drawn(worlds)
    people = joined(
        draw_plain(count, seed=seed + 1, size=(160, 80), walls=HELD_OUT_WALLS),
        strange(count, seed=seed + 1, size=(160, 80)),
    )
    bank = TextureBank(np.random.default_rng(seed), HELD_OUT, count=min(96, count))
    sets["strange"] = Variation(people, bank, seed=seed, size=SIZE).batch(0, count)
    return sets


def _as_drawn(people: People) -> Examples:
    return Examples(people.images, people.parts, np.ones(people.parts.shape, bool))


def iou_of_parts(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> np.ndarray:
    """Intersection over union of each class, over the pixels of all images.

    Args:
        truth: Part maps, uint8 `[H, W]` each.
        found: Others of the same sizes.

    Returns:
        float64 `[8]`; NaN for a class that is nowhere.
    """
    counts = np.zeros((NUM_PARTS, NUM_PARTS), np.int64)
    for one, other in zip(truth, found, strict=True):
        pairs = one.reshape(-1).astype(np.int64) * NUM_PARTS + other.reshape(-1)
        counts += np.bincount(pairs, minlength=NUM_PARTS**2).reshape(NUM_PARTS, NUM_PARTS)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return np.where(union > 0, counts.diagonal() / np.maximum(union, 1), np.nan)


def measure(labeler: PartLabeler | None, examples: Examples) -> np.ndarray:
    """`iou_of_parts` of a labeler on one set.

    Args:
        labeler: What is measured; None is fixed bands.
        examples: The images and their true part maps. Where the labeler finds nobody, all counts
            as background.
    """
    height, width = examples.parts.shape[1:]
    if labeler is None:
        found = [draw_bands(height, width)] * len(examples.parts)
    else:
        nothing = np.zeros((height, width), np.uint8)
        found = [
            nothing if labeled.part_map is None else labeled.part_map
            for labeled in labeler.label(list(examples.images))
        ]
    return iou_of_parts(list(examples.parts), found)
