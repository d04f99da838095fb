"""The weights that come with the package, on drawn people of a seed that no training takes."""

import numpy as np
import pytest

from input_pipeline.part_labels.drawn.examples.people import (
    HELD_OUT_BACKDROPS,
    HELD_OUT_CAMERAS,
    draw_plain,
    draw_worlds,
)
from input_pipeline.part_labels.drawn.examples.variation import Examples
from input_pipeline.part_labels.drawn.labeler import DrawnLabeler
from input_pipeline.part_labels.drawn.measuring import SIZE, iou_of_parts, measure
from input_pipeline.part_labels.drawn.weights import WEIGHTS, read_weights

SEED = 7_654_321


@pytest.fixture(scope="module")
def labeler() -> DrawnLabeler:
    return DrawnLabeler()


@pytest.fixture(scope="module")
def worlds() -> Examples:
    """Before backgrounds and by cameras of styles that training never saw."""
    people = draw_worlds(
        24, seed=SEED, size=SIZE, cameras=HELD_OUT_CAMERAS, backdrops=HELD_OUT_BACKDROPS
    )
    return Examples(people.images, people.parts, np.ones(people.parts.shape, bool))


@pytest.fixture(scope="module")
def plain() -> Examples:
    people = draw_plain(24, seed=SEED, size=SIZE, strength=1.0)
    return Examples(people.images, people.parts, np.ones(people.parts.shape, bool))


@pytest.mark.parametrize("drawing", ["plain", "worlds"])
def test_it_beats_bands_in_every_class(labeler, drawing, request):
    examples = request.getfixturevalue(drawing)
    ours, bands = measure(labeler, examples), measure(None, examples)
    assert (ours > bands).all()
    assert ours[1:].mean() > bands[1:].mean() + 0.2


def test_the_mirror_image_and_a_larger_one_have_the_same_parts(labeler, plain):
    images = list(plain.images[:6])
    maps = [labeled.part_map for labeled in labeler.label(images)]
    mirrored = labeler.label([np.ascontiguousarray(image[:, ::-1]) for image in images])
    larger = labeler.label([image.repeat(2, axis=0).repeat(2, axis=1) for image in images])
    agreed = iou_of_parts(maps, [labeled.part_map[:, ::-1] for labeled in mirrored])
    assert agreed.min() > 0.97  # The network sees both in one batch, in another order.
    agreed = iou_of_parts(maps, [labeled.part_map[::2, ::2] for labeled in larger])
    assert agreed[1:].mean() > 0.8


def test_no_map_where_nobody_is(labeler):
    rng = np.random.default_rng(0)
    flat = np.full((128, 64, 3), 120, np.uint8)
    noise = rng.integers(0, 256, (128, 64, 3), np.uint8)
    assert [labeled.part_map for labeled in labeler.label([flat, noise])] == [None, None]


def test_it_is_small_and_says_where_it_comes_from():
    assert WEIGHTS.stat().st_size <= 3_000_000
    card = read_weights().card
    assert card["license"] == "Apache-2.0"
    assert card["command"].startswith("python -m input_pipeline.part_labels.drawn.train ")
    assert "no image of a real person" in card["data"]
    ours, bands = (
        np.array(card[name].split(), float) for name in ("iou_worlds", "iou_bands_worlds")
    )
    assert (ours > bands).all()
