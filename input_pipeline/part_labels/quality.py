"""How good part labels are that a labeler made: in numbers, and as a sheet, the worst first."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.dataset import NUM_PARTS, PART_NAMES, Sample
from input_pipeline.errors import printable
from input_pipeline.part_labels.label_tree import RECORD, LabelEntry, LabelTree
from input_pipeline.part_labels.sheet import Captioned, draw_sheet

LOW_SCORE = 0.9
"""Below this a labeler is not sure that it sees a person."""
LOW_AGREEMENT = 0.4
"""Mean IoU of two views of an image below which its map is more of a guess."""
SHEET = "worst.jpg"
"""The sheet in a tree that training made; no label map is a JPEG."""
_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Quality:
    """The part labels of some images in numbers.

    Attributes:
        images: How many were looked at.
        without_map: Names of those in which nobody was found.
        low_score: Names of those with a map and a score below `LOW_SCORE`, the lowest first.
        low_agreement: Names of those with a map, an agreement below `LOW_AGREEMENT` and no low
            score, the lowest first.
        score: Mean score of the images with a map.
        agreement: Mean agreement of the images with a map.
        shares: Mean share of each part in them, `[P]`.
        present: Share of them that show each part, `[P]`.
    """

    images: int
    without_map: tuple[str, ...]
    low_score: tuple[str, ...]
    low_agreement: tuple[str, ...]
    score: float
    agreement: float
    shares: tuple[float, ...]
    present: tuple[float, ...]


def quality_of(tree: LabelTree, names: Sequence[str] | None = None) -> Quality:
    """Counts the labels of a tree.

    Args:
        tree: The labels.
        names: Images that count; None for all.
    """
    entries = {
        name: tree.entries[name]
        for name in (tree.entries if names is None else names)
        if name in tree.entries
    }
    mapped = {name: entry for name, entry in entries.items() if entry.shares is not None}
    low = sorted((e.score, name) for name, e in mapped.items() if e.score < LOW_SCORE)
    disagreeing = sorted(
        (e.agreement, name)
        for name, e in mapped.items()
        if e.score >= LOW_SCORE and e.agreement < LOW_AGREEMENT
    )
    shares = np.array([e.shares for e in mapped.values()]).reshape(-1, NUM_PARTS)
    count = max(len(mapped), 1)
    return Quality(
        images=len(entries),
        without_map=tuple(sorted(entries.keys() - mapped.keys())),
        low_score=tuple(name for _, name in low),
        low_agreement=tuple(name for _, name in disagreeing),
        score=sum(e.score for e in mapped.values()) / count,
        agreement=sum(e.agreement for e in mapped.values()) / count,
        shares=tuple((shares.sum(0) / count).tolist()),
        present=tuple(((shares > 0).sum(0) / count).tolist()),
    )


def quality_text(quality: Quality) -> str:
    """The numbers as lines of text; the worst images by name."""
    mapped = quality.images - len(quality.without_map)
    lines = [
        f"{mapped:,} of {quality.images:,} images have a part map, with a mean score of "
        f"{quality.score:.3f} and a mean agreement of {quality.agreement:.2f}",
        *_listed(f"{len(quality.without_map):,} without a map", quality.without_map),
        *_listed(f"{len(quality.low_score):,} with a score below {LOW_SCORE}", quality.low_score),
        *_listed(
            f"{len(quality.low_agreement):,} with an agreement below {LOW_AGREEMENT}",
            quality.low_agreement,
        ),
        "",
        f"{'part':<12}{'pixels':>9}{'images':>9}",
        *(
            f"{name:<12}{share:>9.1%}{present:>9.0%}"
            for name, share, present in zip(
                PART_NAMES, quality.shares, quality.present, strict=True
            )
        ),
    ]
    return "\n".join(lines)


def brief(quality: Quality) -> str:
    """The numbers in one line."""
    mapped = quality.images - len(quality.without_map)
    return (
        f"part maps of {mapped:,} of {quality.images:,} images (mean score {quality.score:.3f}, "
        f"mean agreement {quality.agreement:.2f}; {len(quality.low_score):,} with a low score, "
        f"{len(quality.low_agreement):,} with a low agreement)"
    )


def _listed(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return [what]
    more = f", and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return [printable(f"{what}: {', '.join(names[:_NAMED])}{more}")]


def worst_first(tree: LabelTree, names: Sequence[str]) -> list[str]:
    """The names of labeled images, those without a map first, then by score and agreement."""

    def doubt(name: str) -> tuple[bool, float, str]:
        entry = tree.entries[name]
        return entry.has_map, entry.score * entry.agreement, name

    return sorted((name for name in names if name in tree.entries), key=doubt)


def write_worst(
    tree: LabelTree, images: Mapping[str, pathlib.Path], path: pathlib.Path, *, count: int = 48
) -> None:
    """Draws the worst part maps beside their images into one file.

    Args:
        tree: The labels.
        images: Image files by name.
        path: The JPEG or PNG to write.
        count: How many images.

    Raises:
        DataError: A file cannot be used, or `path` cannot be written.
    """
    names = worst_first(tree, list(images))[:count]
    shown = [
        Captioned(Sample(images[name], 0, 0, tree.part_map(name)), _caption(tree.entries[name]))
        for name in names
    ]
    draw_sheet(shown, path)


def worst_sheet(tree: LabelTree, images: Mapping[str, pathlib.Path]) -> pathlib.Path:
    """The sheet in a tree, drawn if labels have been made since.

    Raises:
        DataError: A file cannot be used, or the sheet cannot be written.
    """
    sheet, record = tree.folder / SHEET, tree.folder / RECORD
    if not sheet.is_file() or sheet.stat().st_mtime_ns < record.stat().st_mtime_ns:
        write_worst(tree, images, sheet)
    return sheet


def _caption(entry: LabelEntry) -> str:
    found = "" if entry.has_map else "no map, "
    return f"{found}{entry.score:.2f} / {entry.agreement:.2f}"
