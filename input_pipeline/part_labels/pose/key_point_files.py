"""Key points that another pose estimator wrote: COCO's JSON and OpenPose's, by image.

Three layouts are told apart by their content: COCO's annotations (`images`, `annotations`), a list
of results (`image_id`, `keypoints`), and OpenPose's file for each image (`people`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline.errors import DataError
from input_pipeline.files import read_json, reading
from input_pipeline.images.integrity import open_image
from input_pipeline.part_labels.labelers import LabeledImage
from input_pipeline.part_labels.pose.points import POINTS_VERSION, draw_parts
from input_pipeline.part_labels.pose.skeletons import CONVENTIONS, Skeleton, skeleton_of

_BY_COUNT = {len(names): name for name, names in CONVENTIONS.items()}
_MARK = "_keypoints"  # that OpenPose puts after an image's name


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """One person in an image.

    Attributes:
        skeleton: In pixels.
        score: How sure the estimator is, 0 to 1.
        outline: Polygons of the person, x and y in pixels `[n, 2]` each; empty if not known.
    """

    skeleton: Skeleton
    score: float
    outline: tuple[np.ndarray, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class KeyPoints:
    """The people in many images.

    Attributes:
        people: By the name that the files give an image, in any order.
        sha256: Digest of the files.
    """

    people: Mapping[str, tuple[Person, ...]]
    sha256: str

    def find(self, name: str) -> tuple[Person, ...]:
        """The people in an image of a dataset.

        Args:
            name: Relative to the dataset. `a/b.jpg` is found as such, without its suffix, or by
                its file name alone.
        """
        path = pathlib.PurePosixPath(name)
        for key in (name, str(path.with_suffix("")), path.name, path.stem):
            if key in self.people:
                return self.people[key]
        return ()


def read_key_points(source: pathlib.Path) -> KeyPoints:
    """Reads a JSON file, or every JSON file in a folder and under it.

    Raises:
        DataError: There is none, or one holds something else; it is named.
    """
    files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source} holds no JSON files of key points: check the folder")
    found: defaultdict[str, list[Person]] = defaultdict(list)
    digest = hashlib.sha256()
    for path in files:
        what = "file of key points"
        content = read_json(path, what=what, advice="COCO's or OpenPose's JSON is understood")
        with reading(path, what=what, advice="COCO's or OpenPose's JSON is understood"):
            digest.update(path.read_bytes())
            name = path.relative_to(source).as_posix() if source.is_dir() else path.name
            for image, person in _people_in(content, file=name):
                found[image].append(person)
    people = {name: tuple(several) for name, several in found.items()}
    return KeyPoints(people, digest.hexdigest())


def _people_in(content: Any, *, file: str) -> Iterator[tuple[str, Person]]:
    if isinstance(content, Mapping) and "people" in content:
        image = file.removesuffix(".json").removesuffix(_MARK)
        for person in content["people"]:
            points = person.get("pose_keypoints_2d") or person.get("pose_keypoints") or []
            if points:
                yield image, _person(points, {})
        return
    names: dict[Any, str] = {}
    annotations = content
    if isinstance(content, Mapping):
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        annotations = content["annotations"]
    for one in annotations:
        points = one.get("keypoints")
        if points and any(points):
            yield names.get(one["image_id"], str(one["image_id"])), _person(points, one)


def _person(numbers: Sequence[float], fields: Mapping[str, Any]) -> Person:
    triples = np.asarray(numbers, np.float64).reshape(-1, 3)
    convention = _BY_COUNT.get(len(triples))
    if convention is None or convention == "blazepose33":
        raise ValueError(f"{len(triples)} key points: 17 (COCO), 18 or 25 (OpenPose) are known")
    visible = triples[:, 2]
    if visible.max() > 1:  # COCO's annotations: 0 is not labeled, 1 hidden, 2 visible.
        visible = np.array([0.0, 0.2, 1.0])[visible.clip(0, 2).astype(int)]
    segmentation = fields.get("segmentation")
    outline = segmentation if isinstance(segmentation, list) else []
    return Person(
        skeleton_of(triples[:, :2], visible, convention=convention),
        min(max(float(fields.get("score", 1.0)), 0.0), 1.0),
        tuple(np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in outline),
    )


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
        mask = self._mask(name, size) if self._masks is not None else _filled(person, size)
        parts = draw_parts(person.skeleton, size=size, mask=mask)
        return LabeledImage(parts if parts.any() else None, person.score)

    def _mask(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        assert self._masks is not None
        place = self._masks / name
        for path in (place.with_suffix(".png"), place.with_name(f"{place.name}.png")):
            if path.is_file():
                with reading(path, what="mask"), open_image(path) as opened:
                    gray = opened.convert("L")
                    if (gray.height, gray.width) != size:
                        raise ValueError(f"it is {gray.height} × {gray.width}, its image {size}")
                    return (np.asarray(gray) > 0).astype(np.float32)
        return None


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
    """The mask of a person's outline, float32 `[H, W]`; None without one."""
    if not person.outline:
        return None
    mask = Image.new("L", (size[1], size[0]))
    pen = ImageDraw.Draw(mask)
    for polygon in person.outline:
        if len(polygon) >= 3:
            pen.polygon([(float(x), float(y)) for x, y in polygon], fill=1)
    return np.asarray(mask).astype(np.float32)
