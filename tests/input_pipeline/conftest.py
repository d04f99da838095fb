import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import NUM_PARTS, ReidDataset, Sample
from input_pipeline.store.splits import PreparedDataset, prepare


def draw(rng: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    """A smooth picture, uint8 `[height, width, 3]`: noise would only test JPEG."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 4, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def draw_parts(rng: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    return rng.integers(0, NUM_PARTS, (height, width), np.uint8)


@pytest.fixture
def make_dataset(tmp_path):
    """A function that writes a small dataset: identity i has 2 + i training pictures."""

    def make(name: str = "small", *, parts: bool = True, identities: int = 4) -> ReidDataset:
        rng = np.random.default_rng(0)
        root = tmp_path / name

        def sample(split: str, identity: int, camera: int, n: int) -> Sample:
            height, width = 40 + 3 * n, 20 + n
            suffix = "png" if n == 1 else "jpg"
            path = root / split / f"{identity:04d} ü_c{camera}_{n}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(rng, height=height, width=width)).save(path)
            part_map = None
            if parts:
                part_map = pathlib.Path(f"{root}_ps_label") / split / f"{path.stem}.png"
                part_map.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw_parts(rng, height=height, width=width)).save(part_map)
            return Sample(path, identity, camera, part_map)

        train = [sample("train", i, n % 2, n) for i in range(identities) for n in range(2 + i)]
        query = [sample("query", 100 + i, 0, 0) for i in range(2)]
        gallery = [sample("gallery", 100 + i, 1, n) for i in range(2) for n in range(2)]
        return ReidDataset(name, root, tuple(train), tuple(query), tuple(gallery))

    return make


@pytest.fixture
def small(make_dataset, tmp_path) -> PreparedDataset:
    return prepare(make_dataset(), data_dir=tmp_path / "prepared", progress=False)
