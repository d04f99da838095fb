"""Draws a share of the missing pictures; `generate` starts several of these as own processes.

Processes of their own, not forks: the caller may have JAX loaded, and may be a script whose main
module must not be imported again.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from input_pipeline.synthetic.picture import Studio
from input_pipeline.synthetic.plan import SPLITS, Picture, Plan, make_plan
from input_pipeline.synthetic.settings import SETTINGS_FILE, SyntheticSettings, read_settings

TEMPORARY = ".partial"


def part_root(root: pathlib.Path) -> pathlib.Path:
    """The folder of the part maps of the dataset in `root`."""
    return root.with_name(root.name + "_ps_label")


def missing_pictures(root: pathlib.Path, plan: Plan) -> list[Picture]:
    """The pictures of `plan` that are not in `root` yet."""
    have = {split: {path.name for path in (root / split).glob("*.jpg")} for split in SPLITS}
    return [
        picture for picture in plan.pictures if f"{picture.stem}.jpg" not in have[picture.split]
    ]


def draw_pictures(
    root: pathlib.Path, settings: SyntheticSettings, plan: Plan, pictures: Sequence[Picture]
) -> Iterator[Picture]:
    """Draws `pictures` into `root`, yielding each when it is on disk.

    The part map is written before the picture, and each appears under its name only when it is
    complete, so that a picture file implies both.
    """
    studio = Studio(settings)
    for picture in pictures:
        drawn = studio.draw(plan.population[picture.person], picture.camera, picture.number)
        map_path = part_root(root) / picture.split / f"{picture.stem}.png"
        with _appearing(map_path) as partial:
            drawn.part_map.save(partial, "PNG", compress_level=3)
        with _appearing(root / picture.split / f"{picture.stem}.jpg") as partial:
            drawn.picture.save(partial, "JPEG", quality=settings.jpeg_quality, subsampling=0)
        yield picture


@contextlib.contextmanager
def _appearing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    partial = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    yield partial
    partial.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Draws every `count`-th missing picture; prints an empty line for each.

    Args:
        arguments: The dataset root, the index of this worker and the number of workers.
    """
    root = pathlib.Path(arguments[0])
    index, count = int(arguments[1]), int(arguments[2])
    settings = read_settings(root / SETTINGS_FILE)
    plan = make_plan(settings)
    # By number and not by place in the list, which shrinks while other workers start.
    missing = missing_pictures(root, plan)
    share = [picture for picture in missing if picture.number % count == index]
    for _ in draw_pictures(root, settings, plan, share):
        sys.stdout.write("\n")
        sys.stdout.flush()
