"""What a dataset holds, in numbers that a person looks at before training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.dataset import NUM_PARTS, PART_NAMES, Sample


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
