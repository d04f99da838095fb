"""The benchmark of part labels counts as its table says."""

import types

import numpy as np
import pytest

from benchmarks import part_labels as benchmark
from input_pipeline.part_labels.labelers import LabeledImage


def test_iou_counts_the_pixels_of_all_images():
    truth = [np.array([[0, 1, 1], [2, 2, 2]], np.uint8), np.array([[1, 1], [0, 7]], np.uint8)]
    maps = [np.array([[0, 1, 2], [2, 2, 0]], np.uint8), None]
    iou = benchmark.iou_of(benchmark.confusion(maps, truth))
    # Head: 1 of 4 true pixels, no false one. Torso: 2 right, 1 missed, 1 false.
    assert iou[1] == pytest.approx(1 / 4)
    assert iou[2] == pytest.approx(2 / 4)
    assert iou[7] == 0
    # Background: right 1 + 1; false 1 in the first image, and the 3 that the second one lost.
    assert iou[0] == pytest.approx(2 / 6)


def test_both_conditions_show_the_same_people_and_one_hides_them():
    seen, occluded = (
        benchmark.draw_set((64, 32), condition, count=6) for condition in benchmark.CONDITIONS
    )

    class Exact:
        made_by = versions = types.MappingProxyType({})

        def label(self, images):
            return [LabeledImage(parts, 1.0) for parts in seen.truth]

    exact = benchmark.measure("exact", Exact(), seen, condition="seen")
    assert (exact.images, exact.without_map, exact.mean) == (6, 0, 1.0)
    hidden = benchmark.measure("exact", Exact(), occluded, condition="occluded")
    assert hidden.mean < 0.95
    for whole, part in zip(seen.truth, occluded.truth, strict=True):
        assert ((part == whole) | (part == 0)).all()
    bands = benchmark.measure("bands", benchmark.BandLabeler(), seen, condition="seen")
    assert bands.mean < 0.5
    lines = benchmark.table([exact, bands]).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_a_networks_own_maps_are_enlarged_to_the_images(monkeypatch):
    cells = np.array([[[1, 2], [5, 7]]], np.uint8)
    network = types.SimpleNamespace(embed=lambda images: types.SimpleNamespace(part_maps=cells))
    monkeypatch.setattr(benchmark.magnifier_jax, "load", lambda name: network)
    (found,) = benchmark.HeadLabeler("mine").label([np.zeros((4, 6, 3), np.uint8)])
    np.testing.assert_array_equal(found.part_map, cells[0].repeat(2, 0).repeat(3, 1))
