"""Which images a synthetic dataset has: a pure function of its settings."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from input_pipeline.synthetic.look_alikes import draw_population
from input_pipeline.synthetic.people import Person
from input_pipeline.synthetic.settings import WORLDS, SyntheticSettings

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
SPLITS = (TRAIN, QUERY, GALLERY)
_STREAM = 3


@dataclasses.dataclass(frozen=True)
class Shot:
    """One image to draw.

    Attributes:
        split: Folder of the image.
        stem: File name without extension, as in Market-1501.
        person: Index into the population of `Plan`.
        camera: Number of the camera.
        number: Index among all images, or of the tracklet among tracklets and images; it seeds
            everything that varies in it.
        frame: Which image of a tracklet; None where images are single.
    """

    split: str
    stem: str
    person: int
    camera: int
    number: int
    frame: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The people and the images of a dataset."""

    population: tuple[Person, ...]
    shots: tuple[Shot, ...]


def make_plan(settings: SyntheticSettings) -> Plan:
    """Lists every image in a fixed order.

    Training people are numbered from 1 and test people after them; distractors are all 0000.
    Each test person has one query from every camera that sees them, and gallery images from
    the same cameras.
    """
    rng = np.random.default_rng((settings.seed, _STREAM))
    people: list[Person] = []
    for number in (
        settings.train_identities,
        settings.test_identities,
        settings.distractor_identities,
    ):
        people += draw_population(rng, number, settings)
    shots: list[Shot] = []
    numbers = itertools.count()

    def add(split: str, label: int, person: int, cameras: list[int]) -> None:
        for box, camera in enumerate(cameras):
            number = next(numbers)
            stem = f"{label:04d}_c{camera}s1_{number:06d}_{box:02d}"
            if split == TRAIN or settings.frames == 1:
                shots.append(Shot(split, stem, person, camera, number))
                continue
            for frame in range(settings.frames):
                shots.append(Shot(split, f"{stem}f{frame:02d}", person, camera, number, frame))

    tested = settings.train_identities + settings.test_identities
    for person in range(len(people)):
        seen = _cameras_of(rng, settings)
        if person < settings.train_identities:
            add(TRAIN, person + 1, person, _deal(seen, settings.pictures_per_identity))
        elif person < tested:
            add(QUERY, person + 1, person, seen)
            add(GALLERY, person + 1, person, _deal(seen, settings.pictures_per_identity))
        else:
            add(GALLERY, 0, person, _deal(seen, settings.pictures_per_distractor))
    return Plan(population=tuple(people), shots=tuple(shots))


def _cameras_of(rng: np.random.Generator, settings: SyntheticSettings) -> list[int]:
    if settings.drawing == WORLDS:  # Nobody passes all of very many cameras.
        number = settings.cameras_per_identity
    else:
        number = int(rng.integers(settings.cameras_per_identity, settings.cameras + 1))
    chosen = rng.permutation(settings.cameras)[:number]
    return [int(camera) + 1 for camera in chosen]


def _deal(cameras: list[int], images: int) -> list[int]:
    """The cameras in turn, until there are `images` of them."""
    return [cameras[index % len(cameras)] for index in range(images)]
