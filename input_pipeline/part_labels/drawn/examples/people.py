"""Drawn people in memory, for the parser to learn from and to be measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

import numpy as np
import tqdm

from input_pipeline.synthetic.people import draw_person
from input_pipeline.synthetic.settings import PRESETS
from input_pipeline.synthetic.studio import Studio
from input_pipeline.synthetic.worlds.studio import WorldStudio
from input_pipeline.synthetic.worlds.styles import BACKDROP_STYLES, CAMERA_STYLES
from input_pipeline.synthetic.worlds.wardrobe import draw_passenger

WALLS = 6
"""Kinds of walls behind plainly drawn people; camera n of seed s has wall (n - 1 + s) % 6."""
HELD_OUT_WALLS = frozenset({4, 5})
"""Walls that training never sees, to measure on."""
HELD_OUT_CAMERAS = ("mall", "haze", "faded")
"""Camera styles of `worlds` that training never sees."""
HELD_OUT_BACKDROPS = ("plaza", "railing", "glass", "shops")
"""Background styles of `worlds` that training never sees."""
SEEN_CAMERAS = tuple(name for name in CAMERA_STYLES if name not in HELD_OUT_CAMERAS)
SEEN_BACKDROPS = tuple(name for name in BACKDROP_STYLES if name not in HELD_OUT_BACKDROPS)

_SHOTS = 48  # plain images of a seed, after which other cameras and scenes come
_WORLD_SHOTS = 480  # the same of `worlds`, whose scenes take longer and whose cameras are many


@dataclasses.dataclass(frozen=True)
class People:
    """Drawn people with exact part maps.

    Attributes:
        images: uint8 `[N, H, W, 3]`.
        parts: uint8 `[N, H, W]`.
        finished: Whether an image has surroundings, light and a camera as varied as real ones,
            bool `[N]`.
    """

    images: np.ndarray
    parts: np.ndarray
    finished: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def joined(one: People, other: People) -> People:
    """Both, of images of one size."""
    return People(
        np.concatenate((one.images, other.images)),
        np.concatenate((one.parts, other.parts)),
        np.concatenate((one.finished, other.finished)),
    )


def draw_plain(
    count: int,
    *,
    seed: int,
    size: tuple[int, int],
    walls: Collection[int] = range(WALLS),
    strength: float = 0.4,
    occluded: float = 0.25,
    progress: bool = False,
) -> People:
    """Draws people as `benchmark` does, whom no other seed has; 5 ms each.

    Args:
        count: How many images.
        seed: Other seeds draw other people, scenes and cameras.
        size: Height and width of the images, in pixels.
        walls: Numbers below `WALLS`, of those before which they stand.
        strength: How much the cameras change colors and sharpness, 0 to 2.
        occluded: Share of the images with something in front of the person.
        progress: Whether to show a progress bar.
    """

    def drawn() -> Iterator[tuple[object, object]]:
        for number in range(count):
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
            rng = np.random.default_rng((seed, number))
            one = studio.draw(draw_person(rng), cameras[number % len(cameras)], number)
            yield one.image, one.part_map

    return _collected(drawn(), count, size, finished=False, progress=progress)


def draw_worlds(
    count: int,
    *,
    seed: int,
    size: tuple[int, int],
    cameras: Collection[str] = SEEN_CAMERAS,
    backdrops: Collection[str] = SEEN_BACKDROPS,
    occluded: float = 0.25,
    progress: bool = False,
) -> People:
    """Draws people as `worlds` does, whom no other seed has.

    Args:
        count: How many images.
        seed: Other seeds draw other people, scenes and cameras.
        size: Height and width of the images, in pixels.
        cameras: Camera styles.
        backdrops: Background styles.
        occluded: Share of the images with something in front of the person.
        progress: Whether to show a progress bar.
    """

    def drawn() -> Iterator[tuple[object, object]]:
        for number in range(count):
            if number % _WORLD_SHOTS == 0:
                settings = dataclasses.replace(
                    PRESETS["worlds"],
                    height=size[0],
                    width=size[1],
                    occlusion_rate=occluded,
                    camera_styles="+".join(cameras),
                    backdrop_styles="+".join(backdrops),
                    seed=(seed * 100_003 + number // _WORLD_SHOTS) % 2**32,
                )
                studio = WorldStudio(settings)
            rng = np.random.default_rng((seed, 1, number))
            one = studio.draw(draw_passenger(rng), 1 + number % settings.cameras, number)
            yield one.image, one.part_map

    return _collected(drawn(), count, size, finished=True, progress=progress)


def _collected(
    drawn: Iterator[tuple[object, object]],
    count: int,
    size: tuple[int, int],
    *,
    finished: bool,
    progress: bool,
) -> People:
    images = np.empty((count, *size, 3), np.uint8)
    parts = np.empty((count, *size), np.uint8)
    bar = tqdm.tqdm(drawn, desc="draw people", unit=" images", total=count, disable=not progress)
    for number, (image, part_map) in enumerate(bar):
        images[number], parts[number] = np.asarray(image), np.asarray(part_map)
    return People(images, parts, np.full(count, finished))
