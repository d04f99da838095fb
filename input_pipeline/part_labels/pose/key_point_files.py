"""Key points that another pose estimator wrote: COCO's JSON and OpenPose's, by image.

Three layouts are told apart by their content: COCO's annotations (`images`, `annotations`), a list
of results (`image_id`, `keypoints`), and OpenPose's file for each image (`people`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import DataError, printable
from input_pipeline.files import read_json, reading
from input_pipeline.part_labels.pose.run_lengths import RunLengths, read_run_lengths
from input_pipeline.part_labels.pose.skeletons import CONVENTIONS, Skeleton, skeleton_of

_BY_COUNT = {len(names): name for name, names in CONVENTIONS.items()}
_MARK = "_keypoints"  # that OpenPose puts after an image's name
_ADVICE = "COCO's or OpenPose's JSON is understood"


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """One person in an image.

    Attributes:
        skeleton: In pixels.
        score: How sure the estimator is, 0 to 1.
        outline: Polygons of the person, x and y in pixels `[n, 2]` each; empty if not known.
        mask: The person's pixels, where they are given instead of an outline.
        image_size: Height and width of the image that the places are of; None if not known.
    """

    skeleton: Skeleton
    score: float
    outline: tuple[np.ndarray, ...] = ()
    mask: RunLengths | None = None
    image_size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class KeyPoints:
    """The people in many images.

    Attributes:
        people: By the name that the files give an image, in any order.
        sha256: Digest of the files.
        source: The file or folder that they are from.
    """

    people: Mapping[str, tuple[Person, ...]]
    sha256: str
    source: pathlib.Path

    def find(self, name: str) -> tuple[Person, ...]:
        """The people in an image of a dataset, see `key_of`; none where the files have none."""
        key = self.key_of(name)
        return () if key is None else self.people[key]

    def key_of(self, name: str) -> str | None:
        """What the files call an image of a dataset; None where they do not name it.

        Args:
            name: Relative to the dataset. `a/b.jpg` is found as such, without its suffix, by
                its file name alone, and as the end of a longer path, such as `images/a/b.jpg`.
        """
        path = pathlib.PurePosixPath(name)
        for key in (name, str(path.with_suffix("")), path.name, path.stem):
            if key in self.people:
                return key
        longer = [*self._by_end.get(path.name, ()), *self._by_end.get(path.stem, ())]
        shared = [_shared_end(path, _path_of(key)) for key in longer]
        best = max(shared, default=0)
        return longer[shared.index(best)] if shared.count(best) == 1 else None

    @functools.cached_property
    def _by_end(self) -> Mapping[str, tuple[str, ...]]:
        """The names that are paths, by the file name at their end."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for key in self.people:
            path = _path_of(key)
            if len(path.parts) > 1 or "\\" in key:
                found[path.name].append(key)
        return {name: tuple(keys) for name, keys in found.items()}


def _path_of(key: str) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(key.replace("\\", "/"))


def _shared_end(one: pathlib.PurePosixPath, other: pathlib.PurePosixPath) -> int:
    """How many parts two paths have in common, counted from the end; suffixes do not count."""
    parts = [(path.stem, *reversed(path.parts[:-1])) for path in (one, other)]
    count = 0
    for left, right in zip(*parts, strict=False):
        if left != right:
            break
        count += 1
    return count


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
        content = read_json(path, what=what, advice=_ADVICE)
        with reading(path, what=what, advice=_ADVICE):
            digest.update(path.read_bytes())
            name = path.relative_to(source).as_posix() if source.is_dir() else path.name
            if isinstance(content, Mapping) and "people" in content:
                image = name.removesuffix(".json").removesuffix(_MARK)
                found[image] += _people_of_openpose(content["people"])
            else:
                _add_coco(content, found, path=path)
    people = {name: tuple(several) for name, several in found.items()}
    return KeyPoints(people, digest.hexdigest(), source)


def _people_of_openpose(people: Sequence[Mapping[str, Any]]) -> Iterator[Person]:
    for position, fields in enumerate(people, start=1):
        points = fields.get("pose_keypoints_2d") or fields.get("pose_keypoints") or []
        if points:
            with _naming(f"person {position}"):
                yield _person(points, {}, flags=False)


def _add_coco(content: Any, found: defaultdict[str, list[Person]], *, path: pathlib.Path) -> None:
    """Adds the people in annotations with their images, or in a list of results, by image."""
    images: dict[Any, Mapping[str, Any]] | None = None
    annotations = content
    if isinstance(content, Mapping):
        missing = {"images", "annotations"} - set(content)
        if missing:
            raise ValueError(f"it has neither `people` nor `{'` and `'.join(sorted(missing))}`")
        images = {image["id"]: image for image in content["images"]}
        annotations = content["annotations"]
        for image in images.values():
            found[str(image["file_name"])] += []  # known, whether somebody is in it or not
    labeled = [(i, one) for i, one in enumerate(annotations, 1) if any(one.get("keypoints") or ())]
    certainties = {value for _, one in labeled for value in one["keypoints"][2::3]}
    # COCO's annotations: 0 is not labeled, 1 hidden, 2 visible. Estimators write shares, some of
    # them a little above 1; and where there is no 2 at all, 1 is visible.
    flags = 2 in certainties and certainties <= {0, 1, 2}
    unlisted = 0
    for position, one in labeled:
        with _naming(f"annotation {one.get('id', position)}"):
            identifier = one["image_id"]
            listed = None if images is None else images.get(identifier)
            if images is not None and listed is None:
                unlisted += 1
                continue
            name = str(identifier if listed is None else listed["file_name"])
            found[name].append(_person(one["keypoints"], one, flags=flags, image=listed))
    if unlisted:
        warnings.warn(
            printable(
                f"{path} has {unlisted:,} annotated people in images that its list of images does "
                "not have: they are passed over"
            ),
            stacklevel=2,
        )


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Adds to an error which of the people in a file is meant."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{what} has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{what}: {error}") from error


def _person(
    numbers: Sequence[float],
    fields: Mapping[str, Any],
    *,
    flags: bool,
    image: Mapping[str, Any] | None = None,
) -> Person:
    triples = np.asarray(numbers, np.float64).reshape(-1, 3)
    convention = _BY_COUNT.get(len(triples))
    if convention is None or convention == "blazepose33":
        raise ValueError(f"{len(triples)} key points: 17 (COCO), 18 or 25 (OpenPose) are known")
    visible = triples[:, 2]
    if flags:
        visible = np.array([0.0, 0.2, 1.0])[visible.astype(int)]
    places = triples[visible > 0, :2]
    if len(places) > 1 and np.abs(places).max() <= 1:
        raise ValueError("its key points lie within one pixel: write pixels, not shares")
    segmentation = fields.get("segmentation")
    outline = segmentation if isinstance(segmentation, list) else []
    size = None
    if image is not None and image.get("height") and image.get("width"):
        size = (int(image["height"]), int(image["width"]))
    return Person(
        skeleton_of(triples[:, :2], visible, convention=convention),
        min(max(float(fields.get("score", 1.0)), 0.0), 1.0),
        tuple(np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in outline),
        read_run_lengths(segmentation) if isinstance(segmentation, Mapping) else None,
        size,
    )
