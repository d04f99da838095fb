import shutil

import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.synthetic import PRESETS, generate
from magnifier_jax.evaluation.robustness.ground_truth import find_ground_truth


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generate(folder / "shop", PRESETS["tiny"], workers=1, progress=False)
    return folder


def test_drawn_data_is_known_whatever_reads_it(root):
    truth = find_ground_truth("market_style@shop", str(root))
    assert truth.drawn is not None
    assert len(truth.drawn.people) == 12
    names = {
        f"{name}/{p.name}"
        for name in ("query", "bounding_box_test")
        for p in (root / "shop" / name).glob("*.jpg")
    }
    assert set(truth.part_labels) == names
    part_map = truth.part_map(min(names), image_size=(64, 32))
    assert part_map.shape == (64, 32)
    assert set(np.unique(part_map)) <= set(range(8))
    assert len(np.unique(part_map)) > 3


def test_other_data_has_no_look_alikes_and_perhaps_no_labels(root, tmp_path):
    shutil.copytree(root / "shop", tmp_path / "shop")
    (tmp_path / "shop" / "settings.json").write_text("[1, 2]")
    truth = find_ground_truth("market_style@shop", str(tmp_path))
    assert truth.drawn is None
    assert not truth.part_labels


def test_labels_that_cannot_be_read_are_named(root, tmp_path):
    for name in ("shop", "shop_ps_label"):
        shutil.copytree(root / name, tmp_path / name)
    truth = find_ground_truth("market_style@shop", str(tmp_path))
    name = min(truth.part_labels)
    truth.part_labels[name].write_bytes(b"nothing")
    with pytest.raises(DataError, match=truth.part_labels[name].name):
        truth.part_map(name, image_size=(64, 32))
