"""Draws a share of the missing images; `generate` starts several of these as own processes.

Processes of their own, not forks: the caller may have JAX loaded, and may be a script whose main
module must not be imported again.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from input_pipeline.synthetic.plan import SPLITS, Plan, Shot, make_plan
from input_pipeline.synthetic.settings import (
    SETTINGS_FILE,
    WORLDS,
    SyntheticSettings,
    read_settings,
)
from input_pipeline.synthetic.studio import Drawn, Studio
from input_pipeline.synthetic.worlds.studio import WorldDrawn, WorldStudio

TEMPORARY = ".partial"


def part_root(root: pathlib.Path) -> pathlib.Path:
    """The folder of the part maps of the dataset in `root`."""
    return root.with_name(root.name + "_ps_label")


def missing_shots(root: pathlib.Path, plan: Plan) -> list[Shot]:
    """The images of `plan` that are not in `root` yet."""
    have = {split: {path.name for path in (root / split).glob("*.jpg")} for split in SPLITS}
    return [shot for shot in plan.shots if f"{shot.stem}.jpg" not in have[shot.split]]


def draw_shots(
    root: pathlib.Path, settings: SyntheticSettings, plan: Plan, shots: Sequence[Shot]
) -> Iterator[Shot]:
    """Draws `shots` into `root`, yielding each when it is on disk.

    The part map is written before the image, and each appears under its name only when it is
    complete, so that an image file implies both.
    """
    studio = WorldStudio(settings) if settings.drawing == WORLDS else Studio(settings)
    for shot in shots:
        person = plan.population[shot.person]
        drawn: Drawn | WorldDrawn
        if isinstance(studio, Studio):
            drawn = studio.draw(person, shot.camera, shot.number, shot.frame)
        else:
            drawn = studio.draw(person, shot.camera, shot.number)
        map_path = part_root(root) / shot.split / f"{shot.stem}.png"
        with _appearing(map_path) as partial:
            drawn.part_map.save(partial, "PNG", compress_level=3)
        with _appearing(root / shot.split / f"{shot.stem}.jpg") as partial:
            drawn.image.save(partial, "JPEG", quality=settings.jpeg_quality, subsampling=0)
        yield shot


@contextlib.contextmanager
def _appearing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    partial = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    yield partial
    partial.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Draws every `count`-th missing image; prints an empty line for each.

    Args:
        arguments: The dataset root, the index of this worker and the number of workers.
    """
    root = pathlib.Path(arguments[0])
    index, count = int(arguments[1]), int(arguments[2])
    settings = read_settings(root / SETTINGS_FILE)
    plan = make_plan(settings)
    # By number and not by place in the list, which shrinks while other workers start.
    missing = missing_shots(root, plan)
    share = [shot for shot in missing if shot.number % count == index]
    for _ in draw_shots(root, settings, plan, share):
        sys.stdout.write("\n")
        sys.stdout.flush()
