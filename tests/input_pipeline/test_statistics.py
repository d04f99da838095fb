import pathlib

import numpy as np
import pytest

from input_pipeline.dataset import Sample
from input_pipeline.statistics import format_table, summarize


def test_a_split_in_numbers():
    samples = [
        Sample(pathlib.Path(f"{n}.jpg"), identity, camera)
        for n, (identity, camera) in enumerate([(1, 1), (1, 2), (1, 2), (5, 1), (9, 1), (9, 4)])
    ]
    histograms = np.array([[8, 2, 0, 0, 0, 0, 0, 0], [4, 0, 6, 0, 0, 0, 0, 0]])
    split = summarize(samples, histograms)
    assert (split.images, split.identities, split.cameras) == (6, 3, 3)
    assert (split.fewest, split.median, split.most) == (1, 2.0, 3)
    assert split.labelled == 2
    assert split.pixels == pytest.approx((0.6, 0.1, 0.3, 0, 0, 0, 0, 0))
    assert split.present == pytest.approx((1, 0.5, 0.5, 0, 0, 0, 0, 0))
    table = format_table({"train": split})
    assert "train             6           3        3               1 / 2 / 3          2" in table
    assert "torso                    30.0%       50%" in table


def test_a_split_without_pictures_or_labels():
    split = summarize([], np.zeros((0, 8), np.int64))
    assert (split.images, split.fewest, split.labelled) == (0, 0, 0)
    assert "part  " not in format_table({"train": split})
