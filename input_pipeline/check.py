"""Checking a dataset before it is used: its part labels, every file, and what it holds."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.dataset import BACKGROUND, NUM_PARTS, PART_NAMES, SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, FilesError, Problem
from input_pipeline.files import only_one
from input_pipeline.images import check_size, encode_image, encode_parts
from input_pipeline.part_labels import choose_part_labels, without_part_maps
from input_pipeline.readers import Reading
from input_pipeline.store import is_prepared


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


def check_dataset(
    reading: Reading,
    *,
    data_dir: pathlib.Path,
    part_labels: str = "required",
    splits: Collection[str] = SPLITS,
    skip_prepared: bool = False,
    progress: bool = True,
) -> Checked:
    """Chooses the part labels of the training pictures, and looks at every file.

    Query and gallery have no part maps afterwards: nobody learns from them.

    Args:
        reading: What came of reading the dataset.
        data_dir: Folder of prepared datasets.
        part_labels: As for `choose_part_labels`.
        splits: What is going to be used; the other splits are left out.
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
    try:
        if dataset.train:
            train = choose_part_labels(train, part_labels, data_dir=data_dir, progress=progress)
    except DataError as error:  # Labels that are missing do not keep pictures from being looked at.
        errors.append(error)
    except OSError as error:
        what = f"{error.filename or data_dir} cannot be used: {error.strerror or error}"
        errors.append(DataError(f"{what}; check its rights or choose another data_dir"))
    dataset = dataclasses.replace(without_part_maps(dataset), train=train.train)
    if skip_prepared and not errors and is_prepared(dataset, data_dir=data_dir):
        return Checked(dataset, None, ())
    try:
        scan = scan_once(dataset, data_dir=data_dir, progress=progress)
    except DataError as error:
        return Checked(dataset, None, (*errors, error))
    if scan.problems:
        errors.append(FilesError("", scan.problems))
    return Checked(dataset, scan, tuple(errors))


# --- Scanning -------------------------------------------------------------------------------------


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
class _Finding:
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


def _check(sample: Sample) -> _Finding:
    try:
        str(sample.path).encode()
    except UnicodeEncodeError:
        printable = pathlib.Path(os.fsencode(sample.path).decode("utf-8", "backslashreplace"))
        return _Finding((Problem(printable, "its name is not UTF-8, rename it"),))
    try:
        data, size = encode_image(sample.path)
        check_size(size)
    except ValueError as error:
        return _Finding((Problem(sample.path, str(error)),))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    if sample.part_map is None:
        return _Finding((), digest)
    try:
        encoded = encode_parts(sample.part_map, size=size).data
    except ValueError as error:
        return _Finding((Problem(sample.part_map, str(error)),))
    with Image.open(io.BytesIO(encoded)) as image:
        histogram = np.bincount(np.asarray(image).reshape(-1), minlength=NUM_PARTS)
    return _Finding((), digest, histogram)


def _duplicates(fine: Sequence[tuple[str, Sample, _Finding]], *, root: pathlib.Path) -> list[str]:
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


def _oddities(dataset: ReidDataset, fine: Sequence[tuple[str, Sample, _Finding]]) -> list[str]:
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


# --- Statistics -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """One split in numbers.

    Attributes:
        images: Number of pictures.
        identities: Number of identities.
        cameras: Number of cameras.
        fewest: Pictures of the identity with the fewest.
        median: Median number of pictures of an identity.
        most: Pictures of the identity with the most.
        labelled: Number of pictures with a part map.
        pixels: Share of all labelled pixels of each part, `[8]`.
        present: Share of labelled pictures that show each part, `[8]`.
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
        histograms: Pixels of each part in each part map, `[labelled, 8]`.
    """
    counts = sorted(Counter(sample.identity for sample in samples).values()) or [0]
    total = np.maximum(histograms.sum(), 1)
    return SplitStatistics(
        images=len(samples),
        identities=len({sample.identity for sample in samples}),
        cameras=len({sample.camera for sample in samples}),
        fewest=counts[0],
        median=float(np.median(counts)),
        most=counts[-1],
        labelled=len(histograms),
        pixels=tuple((histograms.sum(0) / total).tolist()),
        present=tuple(((histograms > 0).sum(0) / max(len(histograms), 1)).tolist()),
    )


def from_json(fields: Mapping[str, Any]) -> SplitStatistics:
    """The statistics that `dataclasses.asdict` and JSON made `fields` of."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return SplitStatistics(**values)


def format_table(splits: dict[str, SplitStatistics]) -> str:
    """The statistics as text: a line a split, then a line a part of the labelled splits."""
    lines = [
        f"{'split':<10}{'images':>9}{'identities':>12}{'cameras':>9}"
        f"{'images per identity':>24}{'part maps':>11}"
    ]
    for name, split in splits.items():
        spread = f"{split.fewest} / {split.median:g} / {split.most}"
        lines.append(
            f"{name:<10}{split.images:>9,}{split.identities:>12,}{split.cameras:>9}"
            f"{spread:>24}{split.labelled:>11,}"
        )
    lines.append("(images per identity: fewest / median / most)")
    labelled = {name: split for name, split in splits.items() if split.labelled}
    if labelled:
        lines.append("")
        heads = "".join(f"{f'{name}: pixels':>18}{'pictures':>10}" for name in labelled)
        lines.append(f"{'part':<12}{heads}")
        for part in range(NUM_PARTS):
            shares = "".join(
                f"{split.pixels[part]:>18.1%}{split.present[part]:>10.0%}"
                for split in labelled.values()
            )
            lines.append(f"{PART_NAMES[part]:<12}{shares}")
    return "\n".join(lines)
