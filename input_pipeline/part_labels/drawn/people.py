"""Drawn people in memory, for the parser to learn from and to be measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import tqdm

from input_pipeline.synthetic.people import draw_person
from input_pipeline.synthetic.settings import PRESETS
from input_pipeline.synthetic.studio import Studio

WALLS = 6
"""Kinds of walls behind the drawn people; camera n of seed s has wall (n - 1 + s) % 6."""
HELD_OUT_WALLS = frozenset({4, 5})
"""Walls that training never sees, to measure on."""
_SHOTS = 48  # images of a seed, after which other cameras and scenes come


@dataclasses.dataclass(frozen=True)
class People:
    """Drawn people: `images` uint8 `[N, H, W, 3]` and exact part maps `parts` uint8 `[N, H, W]`."""

    images: np.ndarray
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_people(
    count: int,
    *,
    seed: int,
    size: tuple[int, int] = (160, 80),
    walls: Collection[int] = range(WALLS),
    strength: float = 0.4,
    occluded: float = 0.25,
    progress: bool = False,
) -> People:
    """Draws people whom no other seed has, before walls of these kinds; 5 ms each.

    Args:
        count: How many images.
        seed: Other seeds draw other people, scenes and cameras.
        size: Height and width of the images, in pixels.
        walls: Numbers below `WALLS`.
        strength: How much the cameras change colors and sharpness, 0 to 2.
        occluded: Share of the images with something in front of the person.
        progress: Whether to show a progress bar.
    """
    images = np.empty((count, *size, 3), np.uint8)
    parts = np.empty((count, *size), np.uint8)
    studio, cameras = None, [0]
    for number in tqdm.trange(count, desc="draw people", unit=" images", disable=not progress):
        if number % _SHOTS == 0:
            world = (seed * 100_003 + number // _SHOTS) % 2**32
            settings = dataclasses.replace(
                PRESETS["benchmark"],
                height=size[0],
                width=size[1],
                cameras=WALLS,
                camera_strength=strength,
                occlusion_rate=occluded,
                seed=world,
            )
            studio = Studio(settings)
            cameras = [c + 1 for c in range(WALLS) if (c + world) % WALLS in walls]
        assert studio is not None
        rng = np.random.default_rng((seed, number))
        drawn = studio.draw(draw_person(rng), cameras[number % len(cameras)], number)
        images[number] = np.asarray(drawn.image)
        parts[number] = np.asarray(drawn.part_map)
    return People(images, parts)
