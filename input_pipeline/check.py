"""Checking a dataset before it is used: its part labels, every file, and what it holds."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from input_pipeline import files
from input_pipeline.dataset import BACKGROUND, NUM_PARTS, SPLITS, ReidDataset, Sample, relative_name
from input_pipeline.errors import DataError, FilesError, Problem
from input_pipeline.files import only_one, read_json, write_json
from input_pipeline.identities import UNKNOWN_CAMERA
from input_pipeline.images import (
    Proven,
    check_size,
    digest,
    encode_image,
    encode_parts,
    max_pixels,
)
from input_pipeline.part_labels import choose_part_labels, without_part_maps
from input_pipeline.readers import Reading
from input_pipeline.store import check_numbers, folder_name, is_prepared

_NAMED = 3  # images named in one notice


@dataclasses.dataclass(frozen=True)
class Checked:
    """What is known of a dataset before it is prepared.

    Attributes:
        dataset: The dataset as it is to be prepared; None where nothing could be read.
        scan: What is in its files; None where they were not looked at.
        errors: Everything that is wrong with it.
    """

    dataset: ReidDataset | None
    scan: Scan | None
    errors: tuple[DataError, ...]

    @property
    def usable(self) -> ReidDataset:
        """The dataset, once it is known that there are no errors."""
        if self.dataset is None or self.errors:
            raise ValueError("a dataset with errors is used")
        return self.dataset

    @property
    def proven(self) -> Mapping[pathlib.Path, Proven]:
        """What the scan found of files, for `prepare`; nothing where they were not looked at."""
        return {} if self.scan is None else self.scan.proven


def check_dataset(
    reading: Reading,
    *,
    data_dir: pathlib.Path,
    part_labels: str = "required",
    splits: Collection[str] = SPLITS,
    num_parts: int = NUM_PARTS,
    skip_prepared: bool = False,
    progress: bool = True,
) -> Checked:
    """Chooses the part labels of the training images, and looks at every file.

    Query and gallery have no part maps afterwards: nobody learns from them.

    Args:
        reading: What came of reading the dataset.
        data_dir: Folder of prepared datasets.
        part_labels: As for `choose_part_labels`.
        splits: What is going to be used; the other splits are left out.
        num_parts: Number of classes that part maps may have.
        skip_prepared: Whether files need no look once they have been prepared.
        progress: Whether to show progress bars.
    """
    errors = [reading.error] if reading.error else []
    if reading.dataset is None:
        return Checked(None, None, tuple(errors))
    read = reading.dataset
    dataset = dataclasses.replace(
        read,
        train=read.train if "train" in splits else (),
        query=read.query if "query" in splits else (),
        gallery=read.gallery if "gallery" in splits else (),
    )
    train = dataclasses.replace(dataset, query=(), gallery=())
    max_pixels()  # Raises if it is no number: rather now than for every image.
    try:
        check_numbers(dataset)
        if dataset.train:
            train = choose_part_labels(train, part_labels, data_dir=data_dir, progress=progress)
    except DataError as error:  # Labels that are missing do not keep images from being looked at.
        errors.append(error)
    except OSError as error:
        what = f"{error.filename or data_dir} cannot be used: {error.strerror or error}"
        errors.append(DataError(f"{what}; check its permissions or choose another data_dir"))
    dataset = dataclasses.replace(without_part_maps(dataset), train=train.train)
    if skip_prepared and not errors and is_prepared(dataset, data_dir=data_dir):
        return Checked(dataset, None, ())
    try:
        scan = scan_once(dataset, data_dir=data_dir, num_parts=num_parts, progress=progress)
    except DataError as error:
        return Checked(dataset, None, (*errors, error))
    if scan.problems:
        errors.append(FilesError("", scan.problems))
    return Checked(dataset, scan, tuple(errors))


# --- Scanning -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes:
        dataset: The dataset.
        problems: Files that cannot be used, in the order of their paths.
        notices: What can be used but is worth knowing, a sentence each.
        splits: Statistics by split, of the files that can be used.
        proven: What each usable file was encoded to, so that it need not be decoded again.
    """

    dataset: ReidDataset
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]
    splits: Mapping[str, SplitStatistics]
    proven: Mapping[pathlib.Path, Proven] = dataclasses.field(default_factory=dict, repr=False)


def scan_once(
    dataset: ReidDataset,
    *,
    data_dir: pathlib.Path,
    num_parts: int = NUM_PARTS,
    workers: int | None = None,
    progress: bool = True,
) -> Scan:
    """Like `scan`, but remembers in `data_dir` that these files were found to be fine.

    A file that changed its size or its time of change is looked at again, with all the others.
    Several processes may call this at once: one works, the others wait for it.

    Raises:
        DataError: `data_dir` cannot be written.
    """
    name = f"{_fingerprint(dataset, num_parts=num_parts)}.json"
    record = data_dir / "checked" / folder_name(dataset.name) / name
    try:
        known = _known(record, dataset)
        if known is not None:
            return known
        record.parent.mkdir(parents=True, exist_ok=True)
        with only_one(record.parent / "lock", doing=f"looks at the files of {dataset.name}"):
            known = _known(record, dataset)
            if known is not None:
                return known
            found = scan(dataset, num_parts=num_parts, workers=workers, progress=progress)
            if not found.problems:
                _remember(record, found)
            return found
    except OSError as error:
        raise DataError(
            f"{record.parent} cannot be written: {error.strerror}; choose another data_dir"
        ) from error


def _known(record: pathlib.Path, dataset: ReidDataset) -> Scan | None:
    """What an earlier scan of the same files found, or None."""
    if not record.exists():
        return None
    try:
        known = read_json(record, what="record of a scan", checksum=True)
        with files.reading(record, what="record of a scan"):
            splits = {name: statistics_from_json(split) for name, split in known["splits"].items()}
            paths = [path for sample in _samples(dataset) for path in _files_of(sample)]
            found = map(_proven_from_text, known.get("files", ()))
            return Scan(
                dataset, (), tuple(known["notices"]), splits, dict(zip(paths, found, strict=False))
            )
    except DataError:  # A record that is damaged is written anew.
        return None


def _remember(record: pathlib.Path, found: Scan) -> None:
    paths = [path for sample in _samples(found.dataset) for path in _files_of(sample)]
    content = {
        "notices": found.notices,
        "splits": {name: dataclasses.asdict(split) for name, split in found.splits.items()},
        "files": [_proven_as_text(found.proven[path]) for path in paths],
    }
    write_json(record, content, checksum=True)


def _proven_as_text(proven: Proven) -> str:
    height, width = proven.size
    return f"{proven.digest.hex()} {height} {width} {proven.num_parts}"


def _proven_from_text(text: str) -> Proven:
    digest, height, width, num_parts = text.split()
    return Proven(bytes.fromhex(digest), (int(height), int(width)), int(num_parts))


def _samples(dataset: ReidDataset) -> list[Sample]:
    return [sample for split in SPLITS for sample in getattr(dataset, split)]


def _files_of(sample: Sample) -> list[pathlib.Path]:
    return [sample.path] if sample.part_map is None else [sample.path, sample.part_map]


def _fingerprint(dataset: ReidDataset, *, num_parts: int) -> str:
    """A digest of every sample and the state of its files."""
    digest = hashlib.sha256(b"" if num_parts == NUM_PARTS else f"{num_parts}\n".encode())
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
class _Finding:
    """One sample: what is wrong, else what its image and its part map were encoded to.

    Attributes:
        problems: What is wrong.
        image: The image.
        levels: The values that became 0 to 255, of a gray image of 16 bits.
        is_dim: Whether its colors of 16 bits use little of their range.
        part_map: The part map, if there is one.
        pixels: Pixels of each part.
    """

    problems: tuple[Problem, ...] = ()
    image: Proven | None = None
    levels: tuple[int, int] | None = None
    is_dim: bool = False
    part_map: Proven | None = None
    pixels: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Usable:
    """A sample of a split, with what was found."""

    split: str
    sample: Sample
    finding: _Finding


def scan(
    dataset: ReidDataset,
    *,
    num_parts: int = NUM_PARTS,
    workers: int | None = None,
    progress: bool = True,
) -> Scan:
    """Decodes every image and part map of a dataset.

    Args:
        dataset: Any reader's output, with the part maps it is to be used with.
        num_parts: Number of classes that part maps may have.
        workers: Threads, by default one for every core.
        progress: Whether to show a progress bar.
    """
    tagged = [(split, sample) for split in SPLITS for sample in getattr(dataset, split)]
    check = functools.partial(_check, num_parts=num_parts)
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        findings = list(
            tqdm(
                pool.map(check, (sample for _, sample in tagged)),
                total=len(tagged),
                desc=f"Checking {dataset.name}",
                unit="image",
                disable=not progress,
            )
        )
    problems = sorted({problem for finding in findings for problem in finding.problems})
    fine = [
        _Usable(split, sample, finding)
        for (split, sample), finding in zip(tagged, findings, strict=True)
        if not finding.problems
    ]
    splits = {}
    for split in SPLITS:
        mine = [usable for usable in fine if usable.split == split]
        splits[split] = summarize(
            [usable.sample for usable in mine],
            _histograms([usable.finding for usable in mine], num_parts=num_parts),
        )
    name = functools.partial(relative_name, root=dataset.root)
    notices = (
        *_duplicates(fine, name),
        *_sixteen_bits(fine, name),
        *_oddities(dataset, fine, name),
    )
    proven = {
        path: found
        for usable in fine
        for path, found in (
            (usable.sample.path, usable.finding.image),
            (usable.sample.part_map, usable.finding.part_map),
        )
        if path is not None and found is not None
    }
    return Scan(dataset, tuple(problems), notices, splits, proven)


def _check(sample: Sample, *, num_parts: int) -> _Finding:
    try:
        str(sample.path).encode()
    except UnicodeEncodeError:
        printable = pathlib.Path(os.fsencode(sample.path).decode("utf-8", "backslashreplace"))
        return _Finding((Problem(printable, "its name is not UTF-8, rename it"),))
    culprit = sample.path
    try:
        encoded = encode_image(sample.path)
        check_size(encoded.size)
        image = Proven(digest(encoded.data), encoded.size)
        if sample.part_map is None:
            return _Finding((), image, encoded.levels, encoded.is_dim)
        culprit = sample.part_map
        parts = encode_parts(sample.part_map, size=encoded.size, num_parts=num_parts)
    except ValueError as error:
        return _Finding((Problem(culprit, str(error)),))
    part_map = Proven(digest(parts.data), encoded.size, parts.num_parts)
    return _Finding((), image, encoded.levels, encoded.is_dim, part_map, parts.pixels)


def _histograms(findings: Sequence[_Finding], *, num_parts: int) -> np.ndarray:
    """Pixels of each part in each part map, `[labelled, num_parts]`."""
    rows = [f.pixels + (0,) * (num_parts - len(f.pixels)) for f in findings if f.pixels]
    return np.array(rows, np.int64).reshape(-1, num_parts)


def _duplicates(fine: Sequence[_Usable], name: Callable[[pathlib.Path], str]) -> list[str]:
    """Sentences on byte-identical images, by what they mean for training and evaluation."""
    copies: dict[Proven | None, list[_Usable]] = defaultdict(list)
    for usable in fine:
        copies[usable.finding.image].append(usable)
    kinds: dict[str, list[str]] = defaultdict(list)
    for first, *others in copies.values():
        for other in others:
            pair = f"{name(first.sample.path)} = {name(other.sample.path)}"
            kinds[_kind_of_copy(first, other)].append(pair)
    return [
        f"{len(pairs)} {'image is a copy' if len(pairs) == 1 else 'images are copies'} {kind}: "
        + "; ".join(pairs[:_NAMED])
        + (f"; and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else "")
        for kind, pairs in sorted(kinds.items())
    ]


def _kind_of_copy(first: _Usable, second: _Usable) -> str:
    splits, one, other = {first.split, second.split}, first.sample, second.sample
    if "train" in splits and len(splits) == 2:
        return "in both training and test, which makes results too good"
    if one.identity != other.identity:
        return "under another identity"
    if len(splits) == 1:
        return "in the same split"
    where = "in query and gallery with"
    if UNKNOWN_CAMERA in (one.camera, other.camera):
        return f"{where} unknown cameras, which are found for certain and make results too good"
    if one.camera == other.camera:
        return (
            f"{where} the same camera, which the camera filter leaves out; without the filter they "
            "are found for certain and make results too good"
        )
    return f"{where} another camera, which are found for certain and make results too good"


def _sixteen_bits(fine: Sequence[_Usable], name: Callable[[pathlib.Path], str]) -> list[str]:
    """Sentences on images of 16 bits a channel that do not use all of them."""
    images: dict[tuple[int, int], list[pathlib.Path]] = defaultdict(list)
    for usable in fine:
        if usable.finding.levels is not None:
            images[usable.finding.levels].append(usable.sample.path)
    notices = []
    dim = [usable.sample.path for usable in fine if usable.finding.is_dim]
    if dim:
        notices.append(
            f"{len(dim)} images with colors of 16 bits use less than a quarter of their range and "
            f"become dark images of few levels, such as {name(dim[0])}: save them in 8 bits"
        )
    full = len(images.get((0, 0xFFFF), ()))
    partly = {levels: paths for levels, paths in images.items() if levels != (0, 0xFFFF)}
    several = len(images) > 1
    if partly:
        usual = sorted(partly.items(), key=lambda item: -len(item[1]))
        listed = "; ".join(
            f"{low:,} to {high:,} in {len(paths):,} (such as {name(paths[0])})"
            for (low, high), paths in usual[:_NAMED]
        )
        more = f"; and {len(usual) - _NAMED} other ranges" if len(usual) > _NAMED else ""
        rest = f"; all 16 bits in {full:,}" if full else ""
        notices.append(
            "gray images of 16 bits use only a part of their range, and this part becomes the gray "
            f"levels 0 to 255: {listed}{more}{rest}"
            + (". Their brightness cannot be compared: save them in 8 bits" if several else "")
        )
    return notices


def _oddities(
    dataset: ReidDataset, fine: Sequence[_Usable], name: Callable[[pathlib.Path], str]
) -> list[str]:
    """Sentences on part maps without a body, on cameras and on queries without a match."""
    notices = []
    empty = [
        usable.sample.path
        for usable in fine
        if usable.finding.pixels and not any(usable.finding.pixels[BACKGROUND + 1 :])
    ]
    if empty:
        notices.append(
            f"{len(empty)} part maps show no body at all, the first is that of {name(empty[0])}"
        )
    cameras = {sample.camera for sample in (*dataset.query, *dataset.gallery)}
    if cameras == {UNKNOWN_CAMERA}:
        notices.append("cameras are unknown, so that matches of one camera count, too")
    elif len(cameras) == 1:
        notices.append(
            "query and gallery are of one camera: switch the camera filter off when you evaluate"
        )
    queried = {sample.identity for sample in dataset.query}
    matches = [sample for sample in dataset.gallery if sample.identity in queried]
    unknown = [s for s in (*dataset.query, *matches) if s.camera == UNKNOWN_CAMERA]
    if unknown and cameras != {UNKNOWN_CAMERA}:
        notices.append(
            f"{len(unknown):,} of {len(dataset.query) + len(matches):,} images of queried people "
            "have no known camera, so that the camera filter leaves none of their matches out; the "
            f"first is {name(unknown[0].path)}"
        )
    found = {sample.identity for sample in dataset.gallery}
    lost = [sample for sample in dataset.query if sample.identity not in found]
    if lost:
        notices.append(
            f"{len(lost)} queries have no gallery image of their identity and will be skipped, "
            f"the first is {name(lost[0].path)}"
        )
    if len({sample.identity for sample in dataset.train}) == 1:
        notices.append("training has one identity; it takes at least two to learn to tell apart")
    return notices


# --- Statistics ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """One split in numbers.

    Attributes:
        images: Number of images.
        identities: Number of identities.
        cameras: Number of known cameras.
        fewest: Images of the identity with the fewest.
        median: Median number of images of an identity.
        most: Images of the identity with the most.
        labelled: Number of images with a part map.
        pixels: Share of all labelled pixels of each part, `[P]`.
        present: Share of labelled images that show each part, `[P]`.
    """

    images: int
    identities: int
    cameras: int
    fewest: int
    median: float
    most: int
    labelled: int
    pixels: tuple[float, ...]
    present: tuple[float, ...]


def summarize(samples: Sequence[Sample], histograms: np.ndarray) -> SplitStatistics:
    """Counts a split.

    Args:
        samples: The split.
        histograms: Pixels of each part in each part map, `[labelled, P]`.
    """
    counts = sorted(Counter(sample.identity for sample in samples).values()) or [0]
    total = np.maximum(histograms.sum(), 1)
    return SplitStatistics(
        images=len(samples),
        identities=len({sample.identity for sample in samples}),
        cameras=len({sample.camera for sample in samples} - {UNKNOWN_CAMERA}),
        fewest=counts[0],
        median=float(np.median(counts)),
        most=counts[-1],
        labelled=len(histograms),
        pixels=tuple((histograms.sum(0) / total).tolist()),
        present=tuple(((histograms > 0).sum(0) / max(len(histograms), 1)).tolist()),
    )


def statistics_from_json(fields: Mapping[str, Any]) -> SplitStatistics:
    """The statistics that `dataclasses.asdict` and JSON made `fields` of."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return SplitStatistics(**values)
