"""What was found in the files of a dataset: a sample's finding, a split in numbers, and notices."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.dataset import BACKGROUND, ReidDataset, Sample
from input_pipeline.errors import Problem, in_short
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.images.codec import Proven, relative_name

_NAMED = 3  # images named in one notice


@dataclasses.dataclass(frozen=True)
class Finding:
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
class Usable:
    """A sample of a split, with what was found."""

    split: str
    sample: Sample
    finding: Finding


# --- Statistics -----------------------------------------------------------------------------------


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
        labelled: Number of images with a part map. Records on disk have this name, so it stays.
        pixels: Share of all labeled pixels of each part, `[P]`.
        present: Share of labeled images that show each part, `[P]`.
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
        histograms: Pixels of each part in each part map, `[labeled, P]`.
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


def histograms_of(findings: Sequence[Finding], *, num_parts: int) -> np.ndarray:
    """Pixels of each part in each part map, `[labeled, num_parts]`."""
    rows = [f.pixels + (0,) * (num_parts - len(f.pixels)) for f in findings if f.pixels]
    return np.array(rows, np.int64).reshape(-1, num_parts)


# --- Notices --------------------------------------------------------------------------------------


def notices_on(dataset: ReidDataset, fine: Sequence[Usable]) -> tuple[str, ...]:
    """What is worth knowing of a dataset that can be used; a sentence each without a period.

    Args:
        dataset: All of it.
        fine: Its samples that can be used.
    """
    name = functools.partial(relative_name, root=dataset.root)
    return (
        *_duplicates(fine, name),
        *_sixteen_bits(fine, name),
        *_oddities(dataset, fine, name),
    )


def _duplicates(fine: Sequence[Usable], name: Callable[[pathlib.Path], str]) -> list[str]:
    """Sentences on byte-identical images, by what they mean for training and evaluation."""
    copies: dict[Proven | None, list[Usable]] = defaultdict(list)
    for usable in fine:
        copies[usable.finding.image].append(usable)
    kinds: dict[str, list[str]] = defaultdict(list)
    for first, *others in copies.values():
        for other in others:
            pair = f"{name(first.sample.path)} = {name(other.sample.path)}"
            kinds[_kind_of_copy(first, other)].append(pair)
    return [
        f"{len(pairs)} {'image is a copy' if len(pairs) == 1 else 'images are copies'} {kind}: "
        + in_short(pairs, most=_NAMED)
        for kind, pairs in sorted(kinds.items())
    ]


def _kind_of_copy(first: Usable, second: Usable) -> str:
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


def _sixteen_bits(fine: Sequence[Usable], name: Callable[[pathlib.Path], str]) -> list[str]:
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
    dataset: ReidDataset, fine: Sequence[Usable], name: Callable[[pathlib.Path], str]
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
