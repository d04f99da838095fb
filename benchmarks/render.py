"""How many synthetic images are rendered a second; `python -m benchmarks.render`.

The processor time of an image is given too, since it does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import tempfile
import time

from input_pipeline.synthetic import PRESETS, generate


@dataclasses.dataclass(frozen=True)
class Rate:
    """Images a second, and processor time of one in milliseconds, start-up included in both."""

    images_per_second: float
    milliseconds: float


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(height: int, width: int, *, images: int, workers: int, preset: str = "large") -> Rate:
    """Renders from an empty folder to all files on disk."""
    settings = dataclasses.replace(
        PRESETS[preset],
        train_identities=max(1, images // 16),
        test_identities=1,
        distractor_identities=0,
        pictures_per_identity=16,
        height=height,
        width=width,
    )
    with tempfile.TemporaryDirectory() as folder:
        start, busy = time.perf_counter(), processor_seconds()
        root = generate(pathlib.Path(folder) / "set", settings, workers=workers, progress=False)
        seconds, busy = time.perf_counter() - start, processor_seconds() - busy
        drawn = sum(1 for _ in root.rglob("*.jpg"))
        return Rate(images_per_second=drawn / seconds, milliseconds=1000 * busy / drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="large")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    for height, width in ((384, 192), (128, 64), (64, 32)):
        for workers in arguments.workers:
            rate = measure(
                height,
                width,
                images=arguments.images,
                workers=workers,
                preset=arguments.preset,
            )
            setting = f"{height} x {width}, {workers} workers"
            print(
                f"{setting}: {rate.images_per_second:.0f} images/s, "
                f"{rate.milliseconds:.1f} ms of processor time each",
                flush=True,
            )


if __name__ == "__main__":
    main()
