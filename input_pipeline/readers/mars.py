"""MARS, tracklets of Market-1501's people, by its authors' protocol.

Each test tracklet without junk is in the gallery, the queries too: of a query's own person and
camera nothing counts, and what other cameras saw of its person is found, be it a query itself. The
variant `without_queries` takes them out of the gallery, as several toolboxes do; 140 of the 1,980
queries then have no match.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import reading
from input_pipeline.identities.file_names import Who, who_is_named
from input_pipeline.identities.unknown import JUNK
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import checked, warn_of_tracklets

TITLE = "MARS"
PEOPLE = "Market-1501"
USUAL_FOLDERS = ("MARS", "mars", "Mars")
WITHOUT_QUERIES = "without_queries"
TRAIN, TEST, LISTS = "bbox_train", "bbox_test", "info"
NAMES, TRACKS, QUERIES = "test_name.txt", "tracks_test_info.mat", "query_IDX.mat"
# Tracklets without the 870 of junk; the gallery holds the queries.
PUBLISHED: Mapping[str, int] = {"train": 8_298, "query": 1_980, "gallery": 11_310}
_EXAMPLE = "0001C1T0001F001.jpg"


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads MARS.

    Args:
        root: The dataset's folder, or the folder that holds it.
        variant: `without_queries` takes the query tracklets out of the gallery.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    if variant not in ("", WITHOUT_QUERIES):
        raise DataError(
            f"{TITLE} has no variant {variant!r}: leave it out or write {WITHOUT_QUERIES}"
        )
    root = listing.find_root(root, title=TITLE, folders=USUAL_FOLDERS, contents=(TRAIN, TEST))
    folders = {"train": TRAIN, "query": TEST, "gallery": TEST}
    present = listing.splits_to_read(root, folders)
    problems: list[Problem] = []
    train = _samples(root, TRAIN, problems) if "train" in present else []
    tested = _samples(root, TEST, problems) if "query" in present else []
    notices: list[str] = []
    queried: frozenset[str] = frozenset()
    if (root / LISTS / QUERIES).exists() and not problems:
        tested, queried = _listed(root / LISTS, tested, problems)
    elif tested:
        queried = _first_tracklets(tested)
        notices.append(
            f"{LISTS}/{QUERIES} is not there, so that the first tracklet of each person and camera "
            "is a query: results are not comparable with published ones"
        )
    query = tuple(sample for sample in tested if sample.tracklet in queried)
    gallery = tuple(sample for sample in tested if not variant or sample.tracklet not in queried)
    name = f"mars_{variant}" if variant else "mars"
    dataset = checked(
        ReidDataset(name, root, tuple(train), query, gallery, by_tracklet=True),
        problems,
        title=TITLE,
        splits=present,
        notices=notices,
    )
    published = {**PUBLISHED}
    if variant:
        published["gallery"] -= published["query"]
    warn_of_tracklets(dataset, {split: published[split] for split in present}, title=TITLE)
    return dataset


def _samples(root: pathlib.Path, folder: str, problems: list[Problem]) -> list[Sample]:
    """The images of a folder of folders of people, in the order of their names."""
    labels = listing.label_tree(root)
    samples = []
    paths = listing.walk_images(root / folder, title=TITLE, problems=problems)
    for path in sorted(paths, key=lambda path: path.name):
        who = who_is_named(path)
        if who is None or who.tracklet is None:
            problems.append(Problem(path, f"its name is not like {_EXAMPLE}, rename or remove it"))
            continue
        part_map = labels and listing.find_part_map(path, root=root, labels=labels)
        identity, camera = _numbers(who)
        samples.append(Sample(path, identity, camera, part_map, who.tracklet))
    return samples


def _numbers(who: Who) -> tuple[int, int]:
    assert isinstance(who.identity, int)
    assert who.camera is not None
    return who.identity, who.camera


def _first_tracklets(samples: Sequence[Sample]) -> frozenset[str]:
    """The first tracklet of each person and camera, by name; of no distractor and no junk."""
    first: dict[tuple[int, int], str] = {}
    for sample in samples:
        if sample.identity > 0 and sample.tracklet is not None:
            key = (sample.identity, sample.camera)
            first[key] = min(first.get(key, sample.tracklet), sample.tracklet)
    return frozenset(first.values())


def _listed(
    folder: pathlib.Path, samples: Sequence[Sample], problems: list[Problem]
) -> tuple[list[Sample], frozenset[str]]:
    """The images of the tracklets that the protocol lists, and the tracklets that are queries.

    A row of the list of tracklets is its first and last image, person and camera. Images count from
    1 in the list of names, or in the order of all names where that is not there.
    """
    names = [sample.path.name for sample in samples]
    if (folder / NAMES).exists():
        names = listing.read_text(folder / NAMES, problems).split()
    by_name = {sample.path.name: sample for sample in samples}
    tracks, queries = _matrix(folder / TRACKS, width=4), _matrix(folder / QUERIES).reshape(-1)
    if queries.size and not 1 <= queries.min() <= queries.max() <= len(tracks):
        problems.append(Problem(folder / QUERIES, f"rows count from 1 to {len(tracks)} there"))
        return [], frozenset()
    found: list[Sample] = []
    titles: list[str] = []
    for row, (start, end, identity, camera) in enumerate(tracks.tolist(), start=1):
        listed = names[start - 1 : end] if 1 <= start <= end <= len(names) else []
        members = [by_name[name] for name in listed if name in by_name]
        if not listed or len(members) < len(listed):
            missing = next((name for name in listed if name not in by_name), None)
            what = f"{missing} is not in {TEST}" if missing else "no such images are listed"
            problems.append(Problem(folder / TRACKS, f"row {row}: {what}, get the dataset again"))
            continue
        if any((member.identity, member.camera) != (identity, camera) for member in members):
            what = f"row {row} is of person {identity} and camera {camera}, not {listed[0]}"
            problems.append(Problem(folder / TRACKS, f"{what}, the lists do not belong to it"))
            return [], frozenset()
        titles.append(pathlib.PurePath(listed[0]).stem)
        found += [
            Sample(each.path, each.identity, each.camera, each.part_map, titles[-1])
            for each in members
            if identity != JUNK
        ]
    if problems:
        return found, frozenset()
    return found, frozenset(titles[row - 1] for row in queries.tolist())


def _matrix(path: pathlib.Path, *, width: int | None = None) -> np.ndarray:
    """The only matrix of a MATLAB file, int64; with rows of `width` if given.

    Raises:
        DataError: It is missing or is no such file.
    """
    import scipy.io

    if not path.is_file():
        raise DataError(f"{path} is missing: it belongs to the protocol of {TITLE}")
    with reading(path, what=f"file of the protocol of {TITLE}", advice="get it again"):
        content = scipy.io.loadmat(str(path))
        matrices = [value for name, value in content.items() if not name.startswith("__")]
        if len(matrices) != 1:
            raise ValueError(f"it holds {len(matrices)} variables")
        matrix = np.asarray(matrices[0]).astype(np.int64)
        if width is not None and (matrix.ndim != 2 or matrix.shape[1] != width):
            raise ValueError(f"its matrix has shape {list(matrix.shape)}, not [N, {width}]")
        return matrix
