"""Shorter descriptors by principal component analysis."""

from __future__ import annotations

import dataclasses

import numpy as np

from input_pipeline.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """A linear map to fewer numbers: `(x - mean) @ components`.

    Attributes:
        mean: float32 `[D]`.
        components: float32 `[D, d]`, orthonormal columns, the most varied direction first.
        explained: Share of the variance that the d directions hold, in 0…1.
    """

    mean: np.ndarray
    components: np.ndarray
    explained: float

    @property
    def dimension(self) -> int:
        """Numbers that are left."""
        return self.components.shape[1]

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """Maps `[N, D]` to `[N, d]`."""
        return (descriptors - self.mean) @ self.components


def fit_projection(descriptors: np.ndarray, dimension: int) -> Projection:
    """Finds the directions in which descriptors vary most.

    Args:
        descriptors: float32 `[n, D]`.
        dimension: How many directions to keep, d.

    Raises:
        UserError: So many images, or so few numbers, cannot give that many directions.
    """
    count, size = descriptors.shape
    most = min(size, count - 1)
    if dimension > most:
        raise UserError(
            f"--dimension is {dimension}, but {count:,} training images with descriptors of "
            f"{size:,} numbers give at most {most:,}."
        )
    mean = descriptors.mean(0, dtype=np.float64)
    centered = descriptors.astype(np.float64) - mean
    variances, directions = np.linalg.eigh(centered.T @ centered)
    components = directions[:, ::-1][:, :dimension]
    # An eigenvector's sign is arbitrary; this choice makes the file the same every time.
    strongest = np.abs(components).argmax(0)
    components = components * np.sign(components[strongest, np.arange(dimension)])
    explained = variances[::-1][:dimension].sum() / max(variances.sum(), np.finfo(float).tiny)
    return Projection(
        mean.astype(np.float32), components.astype(np.float32), float(np.clip(explained, 0, 1))
    )
