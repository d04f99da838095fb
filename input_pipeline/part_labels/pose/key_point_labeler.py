"""The labeler that draws part maps from key points in files."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline.errors import DataError, printable
from input_pipeline.files import reading
from input_pipeline.images.integrity import open_image
from input_pipeline.part_labels.labelers import LabeledImage
from input_pipeline.part_labels.pose.key_point_files import KeyPoints, Person
from input_pipeline.part_labels.pose.points import POINTS_VERSION, draw_parts


class KeyPointLabeler:
    """Part maps from key points in files, and masks of the people where there are some.

    Args:
        key_points: The people.
        masks: Folder of masks that mirrors the dataset: above 0 is the person. None takes the
            outlines in the files, if they have any.
    """

    def __init__(self, key_points: KeyPoints, *, masks: pathlib.Path | None = None) -> None:
        self._key_points = key_points
        self._masks = masks

    def check(self, names: Sequence[str]) -> None:
        """Makes sure that the files are of these images, before any of them is labeled.

        Args:
            names: Of the images, relative to the dataset.

        Raises:
            DataError: No image is in the files, two would get the people of one, or no image has
                a mask in the folder of masks.
        """
        source = self._key_points.source
        owners: dict[str, str] = {}
        for name in names:
            key = self._key_points.key_of(name)
            if key is None:
                continue
            other = owners.setdefault(key, name)
            if other != name:
                raise DataError(
                    f"{other} and {name} would both get the people of {key} in {source}: name "
                    "images there by their path in the dataset"
                )
        if names and not owners:
            example = next(iter(self._key_points.people), None)
            there = "nobody is in it" if example is None else f"it names images such as {example}"
            raise DataError(
                f"{source} has key points for none of the images, such as {names[0]}; {there}"
            )
        missing = [name for name in names if self._key_points.key_of(name) is None]
        if missing:
            _warn(
                f"{len(missing):,} of {len(names):,} images are not in {source}, such as "
                f"{missing[0]}: they get no part map"
            )
        if self._masks is not None:
            self._check_masks(list(owners.values()))

    def _check_masks(self, names: Sequence[str]) -> None:
        """Says which images with key points have no mask, and refuses a folder that has none."""
        bare = [name for name in names if self._mask_file(name) is None]
        if bare and len(bare) == len(names):
            raise DataError(
                f"{self._masks} has a mask for none of the images, such as {bare[0]}: its folders "
                "must mirror the dataset's"
            )
        if bare:
            _warn(
                f"{len(bare):,} of {len(names):,} images with key points have no mask, such as "
                f"{bare[0]}: there the person is as thick as people are"
            )

    @property
    def made_by(self) -> Mapping[str, str | int]:
        """What decides the maps."""
        return {
            "labeler": "key points",
            "sha256": self._key_points.sha256,
            "masks": "" if self._masks is None else str(self._masks.resolve()),
            "points": POINTS_VERSION,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of NumPy."""
        return {"numpy": np.__version__}

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        """Cannot be done without names."""
        raise NotImplementedError

    def label_named(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[LabeledImage]:
        """Labels images, RGB, uint8 `[H, W, 3]` each, by their names."""
        return [self._label(*both) for both in zip(images, names, strict=True)]

    def _label(self, image: np.ndarray, name: str) -> LabeledImage:
        size = (image.shape[0], image.shape[1])
        person = main_person(self._key_points.find(name), size=size)
        if person is None:
            return LabeledImage(None, 0.0)
        self._refuse_other_size(person, name, size)
        mask = _filled(person, size) if self._masks is None else self._mask(name, size)
        parts = draw_parts(person.skeleton, size=size, mask=mask)
        return LabeledImage(parts if parts.any() else None, person.score)

    def _refuse_other_size(self, person: Person, name: str, size: tuple[int, int]) -> None:
        sizes = [person.image_size]
        if person.mask is not None:
            sizes.append((person.mask.height, person.mask.width))
        for given in sizes:
            if given is not None and given != size:
                raise DataError(
                    f"{name} has {size[0]} × {size[1]} pixels, but its people in "
                    f"{self._key_points.source} are in an image of {given[0]} × {given[1]}: give "
                    "the key points of the dataset's own images"
                )

    def _mask(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        path = self._mask_file(name)
        if path is None:
            return None
        with reading(path, what="mask"), open_image(path) as opened:
            gray = opened.convert("L")
            if (gray.height, gray.width) != size:
                raise ValueError(f"it is {gray.height} × {gray.width}, its image {size}")
            return (np.asarray(gray) > 0).astype(np.float32)

    def _mask_file(self, name: str) -> pathlib.Path | None:
        assert self._masks is not None
        place = self._masks / name
        places = (place.with_suffix(".png"), place.with_name(f"{place.name}.png"))
        return next((path for path in places if path.is_file()), None)


def _warn(text: str) -> None:
    warnings.warn(printable(text), stacklevel=4)


def main_person(people: Sequence[Person], *, size: tuple[int, int]) -> Person | None:
    """The one whom a crop shows: tall, and in its middle; None if there is nobody."""

    def weight(person: Person) -> float:
        points = person.skeleton.points[person.skeleton.known]
        if not len(points):
            return -1.0
        height = float(np.ptp(points[:, 1])) / size[0]
        off = abs(float(points[:, 0].mean()) / size[1] - 0.5)
        return height * (1 - min(off, 1.0))

    best = max(people, key=weight, default=None)
    return None if best is None or weight(best) < 0 else best


def _filled(person: Person, size: tuple[int, int]) -> np.ndarray | None:
    """The mask that a person's file has, float32 `[H, W]`; None without one."""
    if person.mask is not None:
        return person.mask.mask()
    if not person.outline:
        return None
    mask = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(mask)
    for polygon in person.outline:
        if len(polygon) >= 3:
            pen.polygon([(float(x), float(y)) for x, y in polygon], fill=1)
    return np.asarray(mask).astype(np.float32)
