"""The test set of a study, and what is known of its images beyond who is on them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Mapping

import numpy as np

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import reading, user_path
from input_pipeline.images.codec import decode_parts
from input_pipeline.readers import parse_spec, read_dataset, split_specs
from input_pipeline.synthetic.settings import SETTINGS_FILE, read_settings
from magnifier_jax.config import Config
from magnifier_jax.datasets import TestSet, open_test_sets
from magnifier_jax.evaluation.robustness.look_alikes import DrawnPeople


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is known of a test set.

    Attributes:
        part_labels: Files of the part labels of query and gallery images, by the image's name.
        drawn: Who looks like whom, for people that were drawn here.
    """

    part_labels: Mapping[str, pathlib.Path]
    drawn: DrawnPeople | None

    def part_map(self, name: str, *, image_size: tuple[int, int]) -> np.ndarray:
        """The part labels of an image, resized: uint8 `[H, W]`.

        Raises:
            DataError: The file cannot be read.
        """
        path = self.part_labels[name]
        with reading(path, what="part labels", advice="make it again or remove it"):
            return decode_parts(path.read_bytes(), image_size=image_size)


def find_ground_truth(spec: str, root: str) -> GroundTruth:
    """Looks beside a dataset for part labels, and for how it was drawn.

    Args:
        spec: As in `data.test`, one dataset.
        root: As in `data.root`.

    Raises:
        DataError: The dataset cannot be read.
    """
    folder = user_path(root) if root else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They were said when the set was opened.
        dataset = read_dataset(spec, folder, progress=False)
    labels = {
        sample.path.relative_to(dataset.root).as_posix(): sample.part_map
        for sample in (*dataset.query, *dataset.gallery)
        if sample.part_map is not None
    }
    return GroundTruth(labels, _drawn_people(dataset.root, synthetic=is_synthetic(spec)))


def is_synthetic(spec: str) -> bool:
    """Whether a spec names people that are drawn."""
    return parse_spec(spec).name == "synthetic"


def _drawn_people(folder: pathlib.Path, *, synthetic: bool) -> DrawnPeople | None:
    mark = folder / SETTINGS_FILE
    if not mark.is_file():
        return None
    try:
        return DrawnPeople.of(read_settings(mark))
    except DataError:  # A file of that name that is something else.
        if synthetic:
            raise
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """A test set with everything that is known of it.

    Attributes:
        test_set: Queries and gallery.
        truth: Part labels, and who looks like whom.
    """

    test_set: TestSet
    truth: GroundTruth


def open_study(
    config: Config,
    *,
    data: str | None = None,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Study:
    """Opens one test set, and looks at what is known of it.

    Args:
        config: Of a network; it says how data is read.
        data: The set, as in `data.test`; None is the first of the network's own.
        root: Folder of the datasets; None is the one of the configuration.
        progress: Whether to show progress bars.

    Raises:
        UserError: `data` names several sets.
        DataError: The set cannot be used.
    """
    specs = split_specs(data or config.data.test or config.data.train)
    if data and len(specs) > 1:
        raise UserError(f"{data} names {len(specs)} test sets; give one")
    folder = config.data.root if root is None else os.fspath(root)
    changed = dataclasses.replace(config.data, test=specs[0], root=folder)
    (test_set,) = open_test_sets(dataclasses.replace(config, data=changed), progress=progress)
    return Study(test_set, find_ground_truth(specs[0], folder))
