"""Looking at every file of a dataset before it is used, and reporting all bad ones at once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.dataset import BACKGROUND, NUM_PARTS, SPLITS, ReidDataset, Sample
from input_pipeline.encode import check_size, encode_parts, encode_picture
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import only_one
from input_pipeline.statistics import SplitStatistics, from_json, summarize

_NAMED = 3  # pictures named in one notice


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes:
        dataset: The dataset.
        problems: Files that cannot be used, in the order of their paths.
        notices: What can be used but is worth knowing, a sentence each.
        splits: Statistics by split, of the files that can be used.
    """

    dataset: ReidDataset
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]
    splits: Mapping[str, SplitStatistics]


def scan_once(
    dataset: ReidDataset,
    *,
    data_dir: pathlib.Path,
    workers: int | None = None,
    progress: bool = True,
) -> Scan:
    """Like `scan`, but remembers in `data_dir` that these files were found to be fine.

    A file that changed its size or its time of change is looked at again, with all the others.
    Several processes may call this at once: one works, the others wait for it.

    Raises:
        DataError: `data_dir` cannot be written.
    """
    record = data_dir / "checked" / dataset.name / f"{_fingerprint(dataset)}.json"
    try:
        known = _known(record, dataset)
        if known is not None:
            return known
        record.parent.mkdir(parents=True, exist_ok=True)
        with only_one(record.parent / "lock", doing=f"looks at the files of {dataset.name}"):
            known = _known(record, dataset)
            if known is not None:
                return known
            found = scan(dataset, workers=workers, progress=progress)
            if not found.problems:
                _remember(record, found)
            return found
    except OSError as error:
        raise DataError(
            f"{record.parent} cannot be written: {error.strerror}; choose another data_dir"
        ) from error


def _known(record: pathlib.Path, dataset: ReidDataset) -> Scan | None:
    """What an earlier scan of the same files found, or None."""
    try:
        known = json.loads(record.read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # A record that is damaged is written anew.
        return None
    splits = {name: from_json(fields) for name, fields in known["splits"].items()}
    return Scan(dataset, (), tuple(known["notices"]), splits)


def _remember(record: pathlib.Path, found: Scan) -> None:
    content = {
        "notices": found.notices,
        "splits": {name: dataclasses.asdict(split) for name, split in found.splits.items()},
    }
    unfinished = record.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(content), "utf-8")
    unfinished.replace(record)


def _fingerprint(dataset: ReidDataset) -> str:
    """A digest of every sample and the state of its files."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for sample in getattr(dataset, split):
            digest.update(f"{split} {sample.identity} {sample.camera}".encode())
            for path in (sample.path, sample.part_map):
                digest.update(_state(path) if path is not None else b"-")
    return digest.hexdigest()[:16]


def _state(path: pathlib.Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        return f"{error.errno}".encode()
    return os.fsencode(path.absolute()) + f" {status.st_size} {status.st_mtime_ns}\n".encode()


@dataclasses.dataclass(frozen=True)
class _Checked:
    """One sample: what is wrong, else a digest of its picture and its pixels of each part."""

    problems: tuple[Problem, ...]
    digest: bytes = b""
    histogram: np.ndarray | None = None


def scan(dataset: ReidDataset, *, workers: int | None = None, progress: bool = True) -> Scan:
    """Decodes every picture and part map of a dataset.

    Args:
        dataset: Any reader's output, with the part maps it is to be used with.
        workers: Threads, by default one for every core.
        progress: Whether to show a progress bar.
    """
    tagged = [(split, sample) for split in SPLITS for sample in getattr(dataset, split)]
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        checks = list(
            tqdm(
                pool.map(_check, (sample for _, sample in tagged)),
                total=len(tagged),
                desc=f"Checking {dataset.name}",
                unit="image",
                disable=not progress,
            )
        )
    problems = sorted({problem for check in checks for problem in check.problems})
    fine = [
        (split, sample, check)
        for (split, sample), check in zip(tagged, checks, strict=True)
        if not check.problems
    ]
    splits = {}
    for split in SPLITS:
        mine = [(sample, check) for name, sample, check in fine if name == split]
        histograms = [check.histogram for _, check in mine if check.histogram is not None]
        splits[split] = summarize(
            [sample for sample, _ in mine],
            np.stack(histograms) if histograms else np.zeros((0, NUM_PARTS), np.int64),
        )
    notices = (*_duplicates(fine, root=dataset.root), *_oddities(dataset, fine))
    return Scan(dataset, tuple(problems), notices, splits)


def _check(sample: Sample) -> _Checked:
    try:
        str(sample.path).encode()
    except UnicodeEncodeError:
        printable = pathlib.Path(os.fsencode(sample.path).decode("utf-8", "backslashreplace"))
        return _Checked((Problem(printable, "its name is not UTF-8, rename it"),))
    try:
        data, size = encode_picture(sample.path)
        check_size(size)
    except ValueError as error:
        return _Checked((Problem(sample.path, str(error)),))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    if sample.part_map is None:
        return _Checked((), digest)
    try:
        encoded = encode_parts(sample.part_map, size=size).data
    except ValueError as error:
        return _Checked((Problem(sample.part_map, str(error)),))
    with Image.open(io.BytesIO(encoded)) as image:
        histogram = np.bincount(np.asarray(image).reshape(-1), minlength=NUM_PARTS)
    return _Checked((), digest, histogram)


def _duplicates(fine: Sequence[tuple[str, Sample, _Checked]], *, root: pathlib.Path) -> list[str]:
    """Sentences on byte-identical pictures, by what they mean for training and evaluation."""
    copies: dict[bytes, list[tuple[str, Sample]]] = defaultdict(list)
    for split, sample, check in fine:
        copies[check.digest].append((split, sample))
    kinds: dict[str, list[str]] = defaultdict(list)
    for group in copies.values():
        for split, sample in group[1:]:
            kind = _kind_of_copy(group[0], (split, sample))
            first, second = group[0][1].path, sample.path
            kinds[kind].append(f"{first.relative_to(root)} = {second.relative_to(root)}")
    return [
        f"{len(pairs)} {'picture is a copy' if len(pairs) == 1 else 'pictures are copies'} {kind}: "
        + "; ".join(pairs[:_NAMED])
        + (f"; and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else "")
        for kind, pairs in sorted(kinds.items())
    ]


def _kind_of_copy(first: tuple[str, Sample], second: tuple[str, Sample]) -> str:
    (split, sample), (other_split, other) = first, second
    if "train" in (split, other_split) and split != other_split:
        return "in both training and test, which makes results too good"
    if sample.identity != other.identity:
        return "under another identity"
    if split == other_split:
        return "in the same split"
    if sample.camera == other.camera:
        return "in query and gallery with the same camera, which the camera filter ignores"
    return "in query and gallery with another camera, which is found for certain"


def _oddities(dataset: ReidDataset, fine: Sequence[tuple[str, Sample, _Checked]]) -> list[str]:
    """Sentences on part maps without a body, on unknown cameras and on queries without match."""
    notices = []
    empty = [
        sample.path
        for _, sample, check in fine
        if check.histogram is not None and check.histogram[BACKGROUND] == check.histogram.sum()
    ]
    if empty:
        notices.append(
            f"{len(empty)} part maps show no body at all, the first is that of "
            f"{empty[0].relative_to(dataset.root)}"
        )
    if len({sample.camera for sample in (*dataset.query, *dataset.gallery)}) == 1:
        notices.append(
            "query and gallery are of one camera, or cameras are unknown: switch the camera "
            "filter off when you evaluate"
        )
    found = {sample.identity for sample in dataset.gallery}
    lost = [sample for sample in dataset.query if sample.identity not in found]
    if lost:
        notices.append(
            f"{len(lost)} queries have no gallery picture of their identity and will be skipped, "
            f"the first is {lost[0].path.relative_to(dataset.root)}"
        )
    if len({sample.identity for sample in dataset.train}) == 1:
        notices.append("training has one identity; it takes at least two to learn to tell apart")
    return notices
