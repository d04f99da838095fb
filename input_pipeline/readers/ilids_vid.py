"""iLIDS-VID: 300 people whom two cameras of an airport saw, a tracklet each.

Half of the people are tested: camera 1 saw the queries, camera 2 the gallery. Ten ways to divide
them are published, and papers report the mean over them; `ilids_vid:3` is the third.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection, Sequence

import numpy as np

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import reading
from input_pipeline.identities.file_names import camera_of_folder
from input_pipeline.identities.spelling import whole_number
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import checked, warn_of_tracklets

TITLE = "iLIDS-VID"
PEOPLE = "iLIDS-VID"
USUAL_FOLDERS = ("iLIDS-VID", "ilids-vid", "ilids_vid", "i-LIDS-VID")
SEQUENCES = ("i-LIDS-VID/sequences", "sequences")
SPLITS_FILE = "train-test people splits/train_test_splits_ilidsvid.mat"
SPLITS_IN_FILE = 10
PUBLISHED = {"train": 300, "query": 150, "gallery": 150}
_QUERY, _GALLERY = 1, 2
_PERSON = re.compile(r"person(?P<number>[0-9]{1,6})", re.IGNORECASE)


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads iLIDS-VID.

    Args:
        root: The dataset's folder, or the folder that holds it.
        variant: Which of the ten ways to divide the people, `1` (also if it is left out) to `10`.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    number = whole_number(variant or "1")
    if number is None or not 1 <= number <= SPLITS_IN_FILE:
        raise DataError(
            f"{TITLE} has no variant {variant!r}: leave it out or write 1 to {SPLITS_IN_FILE}, "
            "which of its splits it is"
        )
    root = listing.find_root(root, title=TITLE, folders=USUAL_FOLDERS, contents=SEQUENCES)
    sequences = next(root / name for name in SEQUENCES if (root / name).exists())
    problems: list[Problem] = []
    samples = _samples(root, sequences, problems)
    people = sorted({sample.identity for sample in samples})
    notices: list[str] = []
    if (root / SPLITS_FILE).exists():
        tested = _tested(root / SPLITS_FILE, people, number=number)
    else:
        order = np.random.default_rng(number).permutation(len(people))
        tested = {people[place] for place in order[: len(people) // 2].tolist()}
        notices.append(
            f"{SPLITS_FILE} is not there, so that half of the people were drawn for the test: "
            "results are not comparable with published ones"
        )
    of_camera = {
        camera: tuple(
            sample for sample in samples if sample.identity in tested and sample.camera == camera
        )
        for camera in (_QUERY, _GALLERY)
    }
    dataset = checked(
        ReidDataset(
            f"ilids_vid_{number}",
            root,
            tuple(sample for sample in samples if sample.identity not in tested),
            of_camera[_QUERY],
            of_camera[_GALLERY],
            by_tracklet=True,
        ),
        problems,
        title=TITLE,
        notices=notices,
    )
    warn_of_tracklets(dataset, PUBLISHED, title=TITLE)
    return dataset


def _samples(root: pathlib.Path, sequences: pathlib.Path, problems: list[Problem]) -> list[Sample]:
    """All images: those of `cam1/person001` are a tracklet."""
    labels = listing.label_tree(root)
    samples = []
    for path in listing.walk_images(sequences, title=TITLE, problems=problems):
        place = path.relative_to(sequences).parts
        camera = camera_of_folder(place[0])
        person = _PERSON.fullmatch(place[1]) if len(place) == 3 else None
        if person is None or camera not in (_QUERY, _GALLERY):
            what = "it is not in a folder like cam1/person001, move or remove it"
            problems.append(Problem(path, what))
            continue
        part_map = labels and listing.find_part_map(path, root=root, labels=labels)
        tracklet = "/".join(place[:2])
        samples.append(Sample(path, int(person["number"]), camera, part_map, tracklet))
    return samples


def _tested(path: pathlib.Path, people: Sequence[int], *, number: int) -> Collection[int]:
    """The people of the test, who are the first half of a row of `ls_set`.

    Its numbers are places among the people in order, counted from 1.

    Raises:
        DataError: It is no such file, or one of other people.
    """
    import scipy.io

    with reading(path, what=f"file of the splits of {TITLE}", advice="get it again"):
        rows = np.asarray(scipy.io.loadmat(str(path))["ls_set"]).astype(np.int64)
        if rows.ndim != 2 or len(rows) < number:
            raise ValueError(f"ls_set has shape {list(rows.shape)} and no row {number}")
        row = rows[number - 1]
        if sorted(row.tolist()) != list(range(1, len(people) + 1)):
            raise ValueError(f"row {number} of ls_set is not of the {len(people)} people here")
        return {people[place - 1] for place in row[: len(row) // 2].tolist()}
