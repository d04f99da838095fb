"""How right part labels are, where the truth is exact: on drawn people, seen and occluded.

Every labeler gets the same images. The occluded ones are the seen ones again, with something in
front of the person. IoU is over all pixels of a class in all images of a condition; an image
without a map counts as all background.

    python -m benchmarks.part_labels --model pose_landmark_full.tflite
    python -m benchmarks.part_labels --network drawn

`--network` adds the part maps that a trained network predicts for its own masks, coarse as they
are, enlarged to the image.

Drawn people are no real ones: what is measured here says which of two labelers is better where
poses and occluders vary, not how right either is on photographs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import PIL.Image

import magnifier_jax
from input_pipeline.dataset import NUM_PARTS, PART_NAMES
from input_pipeline.part_labels.bands import draw_bands
from input_pipeline.part_labels.drawn import DrawnLabeler
from input_pipeline.part_labels.labelers import LabeledImage, PartLabeler
from input_pipeline.part_labels.pose import PoseLabeler, find_pose_model
from input_pipeline.synthetic.plan import make_plan
from input_pipeline.synthetic.settings import PRESETS, SyntheticSettings
from input_pipeline.synthetic.studio import Studio

SEED = 20_000  # no preset draws with it
SIZES = ((128, 64), (256, 128))
CONDITIONS: Mapping[str, float] = {"seen": 0.0, "occluded": 1.0}
"""Share of the images with something in front of the person, by condition."""


class BandLabeler:
    """The stand-in that every image has without labels."""

    made_by: Mapping[str, str | int] = {"labeler": "bands"}
    versions: Mapping[str, str] = {}

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        return [LabeledImage(draw_bands(*image.shape[:2]), 1.0) for image in images]


class HeadLabeler:
    """The parsing head of a trained network.

    Args:
        network: What `magnifier_jax.load` takes.
    """

    versions: Mapping[str, str] = {}

    def __init__(self, network: str) -> None:
        self.made_by: Mapping[str, str | int] = {"labeler": f"head of {network}"}
        self._model = magnifier_jax.load(network)

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        found = self._model.embed(images).part_maps
        if found is None:
            raise ValueError("The network has no parsing head.")
        return [
            LabeledImage(_enlarged(part_map, image.shape[:2]), 1.0)
            for part_map, image in zip(found, images, strict=True)
        ]


def _enlarged(part_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    enlarged = PIL.Image.fromarray(part_map).resize(
        (size[1], size[0]), PIL.Image.Resampling.NEAREST
    )
    return np.asarray(enlarged)


def _head(given: argparse.Namespace) -> list[tuple[str, PartLabeler]]:
    return [(f"head of {network}", HeadLabeler(network)) for network in given.network]


def _pose(given: argparse.Namespace) -> list[tuple[str, PartLabeler]]:
    models = [find_pose_model(path) for path in given.model]
    return [
        (f"pose ({model.name.removesuffix('.tflite')})", PoseLabeler(model)) for model in models
    ]


LABELERS: Sequence[Callable[[argparse.Namespace], list[tuple[str, PartLabeler]]]] = (
    lambda given: [("bands", BandLabeler())],
    lambda given: [("drawn", DrawnLabeler())],
    _head,
    _pose,
)
"""What is compared: each makes the named labelers that the options allow."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One labeler on one set of images.

    Attributes:
        labeler: Its name.
        size: Height and width of the images.
        condition: One of `CONDITIONS`.
        images: How many.
        without_map: In how many nobody was found.
        iou: Of each class, background first.
        mean: Mean IoU of the seven parts.
        milliseconds: Of one core, per image, without what is done once.
    """

    labeler: str
    size: tuple[int, int]
    condition: str
    images: int
    without_map: int
    iou: tuple[float, ...]
    mean: float
    milliseconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnSet:
    """Images with their exact part maps, uint8 `[H, W, 3]` and `[H, W]` each."""

    images: list[np.ndarray]
    truth: list[np.ndarray]


def draw_set(size: tuple[int, int], condition: str, *, count: int) -> DrawnSet:
    """Draws people of the `benchmark` preset, of another seed, as many as asked for."""
    settings: SyntheticSettings = dataclasses.replace(
        PRESETS["benchmark"],
        train_identities=-(-count // 8),
        test_identities=1,
        distractor_identities=0,
        height=size[0],
        width=size[1],
        occlusion_rate=CONDITIONS[condition],
        seed=SEED,
    )
    plan, studio = make_plan(settings), Studio(settings)
    drawn = [
        studio.draw(plan.population[shot.person], shot.camera, shot.number)
        for shot in plan.shots[:count]
    ]
    return DrawnSet(
        [np.asarray(one.image.convert("RGB")) for one in drawn],
        [np.asarray(one.part_map) for one in drawn],
    )


def confusion(maps: Sequence[np.ndarray | None], truth: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels of each true class (row) by the class that they were given, int64 `[P, P]`."""
    counts = np.zeros(NUM_PARTS * NUM_PARTS, np.int64)
    for found, exact in zip(maps, truth, strict=True):
        given = np.zeros_like(exact) if found is None else found
        both = exact.astype(np.int64) * NUM_PARTS + given
        counts += np.bincount(both.reshape(-1), minlength=len(counts))
    return counts.reshape(NUM_PARTS, NUM_PARTS)


def iou_of(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, `[P]`, of a confusion matrix `[P, P]`."""
    both = counts.diagonal()
    return both / np.maximum(counts.sum(0) + counts.sum(1) - both, 1)


def measure(name: str, labeler: PartLabeler, drawn: DrawnSet, *, condition: str) -> Row:
    """Labels a set, and compares."""
    labeler.label(drawn.images[:1])  # compiles
    start = time.process_time()
    found = labeler.label(drawn.images)
    seconds = time.process_time() - start
    maps = [one.part_map for one in found]
    iou = iou_of(confusion(maps, drawn.truth))
    return Row(
        name,
        drawn.truth[0].shape,  # type: ignore[arg-type]
        condition,
        len(maps),
        sum(one is None for one in maps),
        tuple(iou.round(4).tolist()),
        round(float(iou[1:].mean()), 4),
        round(1000 * seconds / len(maps), 2),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    parts = PART_NAMES[1:]
    lines = [
        f"| images | labeler | {' | '.join(parts)} | **mean** | no map | ms |",
        "|---" * (len(parts) + 5) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{value:.2f}" for value in row.iou[1:])
        lines.append(
            f"| {row.size[0]} × {row.size[1]}, {row.condition} | {row.labeler} | {cells} | "
            f"**{row.mean:.2f}** | {row.without_map} of {row.images} | {row.milliseconds:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], help="a pose network; repeatable")
    parser.add_argument("--network", action="append", default=[], help="a network; repeatable")
    parser.add_argument("--images", type=int, default=240, help="of each set")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    given = parser.parse_args(arguments)
    labelers = [named for make in LABELERS for named in make(given)]
    rows = []
    for size in SIZES:
        for condition in CONDITIONS:
            drawn = draw_set(size, condition, count=given.images)
            rows += [measure(*named, drawn, condition=condition) for named in labelers]
    print(table(rows))
    if given.json is not None:
        given.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    return rows


if __name__ == "__main__":
    main()
