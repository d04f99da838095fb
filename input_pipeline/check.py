"""Checking a dataset before it is used: its part labels and every file."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Collection, Mapping

from tqdm import tqdm

from input_pipeline import files
from input_pipeline.dataset import NUM_PARTS, SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, FilesError, Problem
from input_pipeline.files import only_one, read_json, write_json
from input_pipeline.findings import (
    Finding,
    SplitStatistics,
    Usable,
    histograms_of,
    notices_on,
    statistics_from_json,
    summarize,
)
from input_pipeline.images.codec import Proven, check_size, digest, encode_image, encode_parts
from input_pipeline.images.integrity import max_pixels
from input_pipeline.part_labels import choose_part_labels, without_part_maps
from input_pipeline.readers import Reading
from input_pipeline.store.folders import folder_name
from input_pipeline.store.splits import check_numbers, is_prepared


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
    part_label_model: str = "",
    images_without_map: str = "listed",
    splits: Collection[str] = SPLITS,
    num_parts: int = NUM_PARTS,
    skip_prepared: bool = False,
    progress: bool = True,
) -> Checked:
    """Chooses the part labels of the training images, and looks at every file.

    Query and gallery have no part maps afterward: nobody learns from them.

    Args:
        reading: What came of reading the dataset.
        data_dir: Folder of prepared datasets.
        part_labels: As for `choose_part_labels`.
        part_label_model: As for `choose_part_labels`.
        images_without_map: As for `choose_part_labels`.
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
            train = choose_part_labels(
                train,
                part_labels,
                data_dir=data_dir,
                model=part_label_model,
                without_map=images_without_map,
                progress=progress,
            )
    except DataError as error:  # Labels that are missing do not keep images from being looked at.
        errors.append(error)
    except OSError as error:
        what = f"{error.filename or data_dir} cannot be used: {error.strerror or error}"
        errors.append(DataError(f"{what}; check its permissions or choose another data_dir"))
    dataset = dataclasses.replace(
        without_part_maps(dataset), train=train.train, notices=train.notices
    )
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
        Usable(split, sample, finding)
        for (split, sample), finding in zip(tagged, findings, strict=True)
        if not finding.problems
    ]
    splits = {}
    for split in SPLITS:
        mine = [usable for usable in fine if usable.split == split]
        splits[split] = summarize(
            [usable.sample for usable in mine],
            histograms_of([usable.finding for usable in mine], num_parts=num_parts),
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
    return Scan(dataset, tuple(problems), notices_on(dataset, fine), splits, proven)


def _check(sample: Sample, *, num_parts: int) -> Finding:
    try:
        str(sample.path).encode()
    except UnicodeEncodeError:
        printable = pathlib.Path(os.fsencode(sample.path).decode("utf-8", "backslashreplace"))
        return Finding((Problem(printable, "its name is not UTF-8, rename it"),))
    culprit = sample.path
    try:
        encoded = encode_image(sample.path)
        check_size(encoded.size)
        image = Proven(digest(encoded.data), encoded.size)
        if sample.part_map is None:
            return Finding((), image, encoded.levels, encoded.is_dim)
        culprit = sample.part_map
        parts = encode_parts(sample.part_map, size=encoded.size, num_parts=num_parts)
    except ValueError as error:
        return Finding((Problem(culprit, str(error)),))
    part_map = Proven(digest(parts.data), encoded.size, parts.num_parts)
    return Finding((), image, encoded.levels, encoded.is_dim, part_map, parts.pixels)
