"""Loading speed next to a PyTorch DataLoader's, and the time to the first batch.

    python -m benchmarks.loading [--images 2048] [--rounds 3] [--workers 2]
    python -m benchmarks.loading --first-batch

Every loader reads the same JPEG images and PNG part maps, resizes them to 384 × 192 as uint8 and
has the same number of processes or threads. They take turns for `--rounds` rounds, so that a busy
machine disturbs all of them alike; a ratio is between the medians. `--first-batch` measures what a
fresh process needs from opening a prepared dataset of the size of Market-1501 (128 × 64) to its
first training batch. Only this script needs PyTorch.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.dataset import NUM_PARTS, ReidDataset, Sample
from input_pipeline.loader import decode_split, stream
from input_pipeline.sampler import IdentitySampler
from input_pipeline.store.splits import PreparedSplit, prepare

ROOT = pathlib.Path(__file__).parents[1]
IMAGE_SIZE = (384, 192)
SOURCES = ((128, 64), (384, 192), (480, 200), (512, 256))
BATCH = 64
MARKET = {"train": (12936, 751), "query": (3368, 750), "gallery": (15913, 751)}
_DRAWN = 256  # images drawn for a set; all others are hard links to them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2048, help="images a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes or threads")
    parser.add_argument("--first-batch", action="store_true", help="measure the first batch")
    parser.add_argument("--opened", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.opened:
        report_first_batch(arguments.opened)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "images"
        if arguments.first_batch:
            prepare(write_dataset(root, size=(128, 64), splits=MARKET), data_dir=folder)
            for _ in range(arguments.rounds):
                command = [sys.executable, "-m", "benchmarks.loading", "--opened", folder]
                subprocess.run(command, cwd=ROOT, check=True)
            return
        for height, width in SOURCES:
            dataset = write_dataset(
                root / f"{height}x{width}",
                size=(height, width),
                splits={"train": (arguments.images, 16)},
            )
            print(f"{height} × {width} to {IMAGE_SIZE[0]} × {IMAGE_SIZE[1]}")
            compare(dataset, rounds=arguments.rounds, workers=arguments.workers)


def compare(dataset: ReidDataset, *, rounds: int, workers: int) -> None:
    """Prints the speed of every loader, and its ratio to the DataLoader's."""
    split = prepare(dataset, data_dir=dataset.root / "prepared", progress=False).train
    loaders: dict[str, Callable[[], float]] = {
        "PyTorch DataLoader": functools.partial(torch_speed, dataset, workers=workers),
        "stream (tf.data)": functools.partial(stream_speed, split, workers=workers),
        "decode_split (Pillow)": functools.partial(resident_speed, split, workers=workers),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, speed in loaders.items():
            speeds[name].append(speed())
    reference = statistics.median(speeds["PyTorch DataLoader"])
    for name, measured in speeds.items():
        median = statistics.median(measured)
        rounded = ", ".join(f"{speed:.0f}" for speed in measured)
        print(f"  {name:22}{median:6.0f} images/s {median / reference:6.2f} ×   ({rounded})")


def stream_speed(split: PreparedSplit, *, workers: int) -> float:
    ids = np.random.default_rng(0).permutation(len(split))
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return batches_speed(stream(split, batches, image_size=IMAGE_SIZE, workers=workers))


def resident_speed(split: PreparedSplit, *, workers: int) -> float:
    start = time.perf_counter()
    decode_split(split, image_size=IMAGE_SIZE, workers=workers, progress=False)
    return len(split) / (time.perf_counter() - start)


def torch_speed(dataset: ReidDataset, *, workers: int) -> float:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        TorchImages(dataset.train),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context="spawn",  # a fork of a process that has TensorFlow may hang
    )
    return batches_speed(iter(loader))


class TorchImages:
    """What a PyTorch project would write: Pillow decodes and resizes, in the worker process."""

    def __init__(self, samples: tuple[Sample, ...]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample = self.samples[index]
        size = IMAGE_SIZE[::-1]
        with Image.open(sample.path) as file:
            image = file.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        with Image.open(sample.part_map) as file:
            part_map = file.resize(size, Image.Resampling.NEAREST)
        return np.array(image), np.array(part_map)


def batches_speed(batches: Iterator[Any]) -> float:
    """Images/s after the first batch, which waits for processes and libraries to start."""
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return count * BATCH / (time.perf_counter() - start)


def report_first_batch(folder: pathlib.Path) -> None:
    """Prints how long each step takes from a prepared dataset to its first batch."""
    dataset = list_dataset(folder / "images", splits=MARKET)
    start = time.perf_counter()
    train = prepare(dataset, data_dir=folder).train
    opened = time.perf_counter()
    import tensorflow  # noqa: F401 - imported here to be timed apart

    imported = time.perf_counter()
    sampler = IdentitySampler(train.identities)
    batches = stream(train, map(sampler.batch, range(100)), image_size=IMAGE_SIZE)
    next(batches)
    end = time.perf_counter()
    print(
        f"first batch after {end - start:.1f} s: opening {opened - start:.1f}, "
        f"importing TensorFlow {imported - opened:.1f}, the batch {end - imported:.1f}"
    )


def write_dataset(
    root: pathlib.Path, *, size: tuple[int, int], splits: dict[str, tuple[int, int]]
) -> ReidDataset:
    """Writes smooth colored images with a little noise, and blocks as part maps."""
    rng = np.random.default_rng(0)
    height, width = size
    drawn: list[tuple[pathlib.Path, pathlib.Path]] = []
    dataset = list_dataset(root, splits=splits)
    for sample in (*dataset.train, *dataset.query, *dataset.gallery):
        assert sample.part_map is not None
        sample.path.parent.mkdir(parents=True, exist_ok=True)
        sample.part_map.parent.mkdir(parents=True, exist_ok=True)
        if len(drawn) == _DRAWN:
            image, part_map = drawn[rng.integers(_DRAWN)]
            sample.path.hardlink_to(image)
            sample.part_map.hardlink_to(part_map)
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 4, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(sample.path, quality=90)
        blocks = Image.fromarray(rng.integers(0, NUM_PARTS, (16, 8), np.uint8))
        blocks.resize((width, height), Image.Resampling.NEAREST).save(sample.part_map)
        drawn.append((sample.path, sample.part_map))
    return dataset


def list_dataset(root: pathlib.Path, *, splits: dict[str, tuple[int, int]]) -> ReidDataset:
    """The samples of a set with `splits` as name → (images, identities)."""
    samples = {
        split: tuple(
            Sample(
                path=root / split / f"{n:06d}.jpg",
                identity=n % identities,
                camera=n % 6,
                part_map=root / f"{split}_parts" / f"{n:06d}.png",
            )
            for n in range(images)
        )
        for split, (images, identities) in splits.items()
    }
    return ReidDataset("images", root, **{"query": (), "gallery": (), **samples})


if __name__ == "__main__":
    main()
