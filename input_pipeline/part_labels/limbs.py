"""Label maps of other parsers into our eight classes, with limbs cut into upper and lower."""

from __future__ import annotations

import numpy as np

from input_pipeline.dataset import HEAD, TORSO
from input_pipeline.part_labels.formats import UNKNOWN, LabelFormat, LimbSplit

CONVERSION_VERSION = 1
"""Raised whenever the same label map would become another part map."""
_COMPACT = 1.5  # Length over width (standard deviations) below which a piece has no long axis.


def to_parts(labels: np.ndarray, label_format: LabelFormat) -> np.ndarray:
    """Converts one label map.

    Args:
        labels: Class numbers of the source, integers `[H, W]`; 255 counts as background.
        label_format: The source's classes.

    Returns:
        uint8 `[H, W]`, classes 0 to 7.

    Raises:
        ValueError: If the map has a class that the source does not know; the message is the
            reason alone.
    """
    if labels.min() < 0 or labels.max() > 255:
        raise ValueError(f"class numbers are {labels.min()} to {labels.max()}, more than 0 to 255")
    parts = label_format.table[labels]
    if (parts == UNKNOWN).any():
        values = ", ".join(str(value) for value in np.unique(labels[parts == UNKNOWN])[:5])
        raise ValueError(
            f"class {values} is not one of {label_format.title} "
            f"(0 to {len(label_format.classes) - 1})"
        )
    for split in label_format.splits:
        _cut(parts, np.isin(labels, split.classes), split)
    return parts


def _cut(parts: np.ndarray, limb: np.ndarray, split: LimbSplit) -> None:
    """Cuts every connected piece of `limb` `[H, W]` and writes both classes into `parts`."""
    import scipy.ndimage

    pieces, count = scipy.ndimage.label(limb, np.ones((3, 3), int))
    chest = _chest(parts)
    for piece in range(1, count + 1):
        points = np.argwhere(pieces == piece)
        near = _near_end(points, chest, split)
        rows, columns = points.T
        parts[rows, columns] = np.where(near, split.near, split.far)


def _chest(parts: np.ndarray) -> np.ndarray:
    """About where the limbs begin, (row, column): between head and torso, else the image's top.

    The torso's own center would not do: a hanging hand is as near to it as the shoulder.
    """
    head, torso = np.argwhere(parts == HEAD), np.argwhere(parts == TORSO)
    if len(head) and len(torso):
        return (head.mean(0) + torso.mean(0)) / 2
    if len(torso):
        return np.array([torso[:, 0].min(), torso[:, 1].mean()])
    return head.mean(0) if len(head) else np.array([-1.0, parts.shape[1] / 2])


def _near_end(points: np.ndarray, chest: np.ndarray, split: LimbSplit) -> np.ndarray:
    """Which points `[n, 2]` (row, column) of a piece belong to its near end, bool `[n]`.

    The distance from the chest decides, not the piece's own longest axis: a skirt, two legs that
    touch and legs that the image cuts off may be wider than they are long.
    """
    if split.compact is not None and _elongation(points) < _COMPACT:
        return np.full(len(points), split.compact == split.near)
    away = np.linalg.norm(points - chest, axis=1)
    length = max(float(np.ptp(away)), 1e-6)
    return (away - away.min()) / length < split.share


def _elongation(points: np.ndarray) -> float:
    """Length over width of a piece, as the ratio of standard deviations along its two axes."""
    if len(points) < 3:
        return 1.0
    narrow, wide = np.sqrt(np.linalg.eigvalsh(np.cov(points.T)).clip(0))
    return float(wide / max(narrow, 0.29))  # 0.29: standard deviation of a line one pixel wide
