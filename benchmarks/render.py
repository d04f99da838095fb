"""How many synthetic pictures are rendered a second; `python benchmarks/render.py`."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import tempfile
import time

from input_pipeline.synthetic import PRESETS, generate


def measure(height: int, width: int, pictures: int, workers: int) -> float:
    """Pictures a second, from an empty folder to all files on disk."""
    settings = dataclasses.replace(
        PRESETS["large"],
        train_identities=max(1, pictures // 16),
        test_identities=1,
        distractor_identities=0,
        pictures_per_identity=16,
        height=height,
        width=width,
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        root = generate(pathlib.Path(folder) / "set", settings, workers=workers, progress=False)
        seconds = time.perf_counter() - start
        return sum(1 for _ in root.rglob("*.jpg")) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=800)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    for height, width in ((384, 192), (128, 64), (64, 32)):
        for workers in arguments.workers:
            rate = measure(height, width, arguments.pictures, workers)
            print(f"{height} x {width}, {workers} workers: {rate:.0f} pictures/s", flush=True)


if __name__ == "__main__":
    main()
