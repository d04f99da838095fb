import json

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline.part_labels.commands import main
from input_pipeline.part_labels.drawn.network import Parser, Size
from input_pipeline.part_labels.drawn.weights import Weights, write_weights

TINY = Size(height=32, width=16, channels=(8, 8, 8, 8), blocks=(0, 0, 0, 0))


@pytest.fixture
def weights(tmp_path):
    """A file of a network that has learned nothing."""
    images = np.zeros((1, TINY.height, TINY.width, 3), np.float32)
    variables = jax.jit(Parser(TINY).init)(jax.random.key(3), images)
    path = tmp_path / "tiny.safetensors"
    write_weights(Weights(TINY, jax.device_get(variables), {}), path)
    return path


def test_a_folder_of_people_is_labeled_and_the_record_says_by_what(tmp_path, weights, capsys):
    rng = np.random.default_rng(0)
    shop = tmp_path / "shop"
    for split in ("train", "query", "gallery"):
        folder = shop / split / f"person_{split == 'train'}"
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (40, 20, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
    arguments = ["drawn", "--dataset", "folders", "--root", str(shop), "--weights", str(weights)]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "shop_ps_label/labels.json").read_text())
    assert record["made_by"]["labeler"] == "drawn"
    assert len(record["made_by"]["sha256"]) == 64
    assert sorted(record["images"]) == ["train/person_True/0.jpg", "train/person_True/1.jpg"]
    assert "of 2 images have a part map" in capsys.readouterr().out


def test_weights_that_are_not_there_are_one_line(tmp_path, capsys):
    arguments = ["drawn", "--dataset", "folders", "--root", str(tmp_path), "--weights", "no.bin"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: no.bin cannot be read: No such file")
