import numpy as np
import pytest

from magnifier_jax.evaluation.robustness.occluders import CANVAS, Layer, draw_layer


def blob(top, left, bottom, right):
    region = np.zeros(CANVAS, bool)
    region[top:bottom, left:right] = True
    return region


@pytest.mark.parametrize("seed", range(12))
def test_every_pixel_of_a_region_lies_behind_an_object(seed):
    region = blob(30, 10, 80, 40) | blob(200, 10, 240, 30)
    rows, columns = np.indices(CANVAS)
    aslant = np.abs(rows - 3 * columns + 150) < 18  # A limb.
    region |= aslant & (rows > 110) & (rows < 180)
    layer = draw_layer(region, seed=(seed, "a"))
    assert layer.cover[region].min() > 0.9
    assert layer.cover.mean() < 4 * region.mean()
    assert 0 < layer.cover[layer.cover > 0].min() < 1  # Edges are soft.


def test_objects_depend_on_the_seed_and_on_nothing_else():
    region = blob(60, 40, 120, 70)
    first, again, other = (draw_layer(region, seed=(0, name)) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(first.color, again.color)
    np.testing.assert_array_equal(first.cover, again.cover)
    assert (first.color != other.color).any()


@pytest.mark.parametrize("seed", range(6))
def test_objects_are_textured_and_lit_like_the_image(seed):
    region = blob(60, 30, 180, 100)
    bright, dark = (draw_layer(region, seed=(seed,), light=light) for light in (1.2, 0.5))
    assert bright.color[region].std() > 5
    assert bright.color[region].mean() > 1.5 * dark.color[region].mean()


def test_a_rectangle_is_hidden_by_something_of_its_form():
    region = blob(64, 32, 192, 96)
    for seed in range(6):
        layer = draw_layer(region, seed=(seed,), boxy=True)
        assert layer.cover[region].mean() > 0.97
        assert layer.cover.mean() < 1.12 * region.mean()


def test_nothing_to_hide_leaves_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    speckle = blob(5, 5, 7, 7)
    for region in (np.zeros(CANVAS, bool), speckle):
        np.testing.assert_array_equal(draw_layer(region, seed=(0,)).over(image), image)


def test_an_image_of_another_size_keeps_what_is_not_covered():
    color = np.full((*CANVAS, 3), 200, np.uint8)
    cover = np.zeros(CANVAS, np.float32)
    cover[128:] = 1
    image = np.full((64, 32, 3), 20, np.uint8)
    covered = Layer(color, cover).over(image)
    assert (covered[:31] == 20).all()
    assert (covered[33:] == 200).all()
