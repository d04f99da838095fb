"""Which images form a batch: P identities with K images each, addressed by batch number."""

from __future__ import annotations

import bisect
import functools
import math

import numpy as np

from input_pipeline.errors import DataError

_CACHED_EPOCHS = 2  # the current epoch, and the next one while a loader prefetches over its start
_DRAWS, _SHUFFLES = 0, 1  # two streams of one epoch, so that its length is known without shuffling


class IdentitySampler:
    """Batches of `identities_per_batch` × `images_per_identity` ids as a pure function of the seed.

    In every epoch the images of each identity are shuffled and cut into groups of
    `images_per_identity`: what is left over rests until the next epoch, and an identity with fewer
    images forms one group by drawing with replacement. Batches take one group from each of
    `identities_per_batch` identities, drawn without replacement among those that still have a
    group, until fewer identities than that remain. Epochs therefore differ a little in length.

    Any batch can be asked for in any order; consecutive ones are cheap because an epoch is laid
    out once.

    Args:
        identities: Identity of every image of the split, int `[n]`.
        identities_per_batch: P, identities in a batch.
        images_per_identity: K, images of each identity in a batch.
        seed: 0 or more; different seeds give unrelated batches.

    Raises:
        DataError: If the split has fewer than P identities, or a setting is out of range.
    """

    def __init__(
        self,
        identities: np.ndarray,
        *,
        identities_per_batch: int = 16,
        images_per_identity: int = 4,
        seed: int = 0,
    ) -> None:
        if identities_per_batch < 1 or images_per_identity < 1:
            raise DataError(
                "a batch needs at least one identity and one image per identity, got "
                f"{identities_per_batch} × {images_per_identity}"
            )
        if seed < 0:
            raise DataError(f"the sampler's seed must be 0 or more, got {seed}")
        _, codes, counts = np.unique(
            np.asarray(identities), return_inverse=True, return_counts=True
        )
        if len(counts) < identities_per_batch:
            raise DataError(
                f"a batch needs {identities_per_batch} identities but the training set has "
                f"{len(counts)}: lower the identities per batch or add people"
            )
        self.identities_per_batch = identities_per_batch
        self.images_per_identity = images_per_identity
        self.seed = seed
        self._codes = codes
        self._counts = counts
        self._starts = np.cumsum(counts) - counts
        self._groups = np.maximum(counts // images_per_identity, 1)
        self._first_steps = [0]
        self._layout = functools.lru_cache(maxsize=_CACHED_EPOCHS)(self._lay_out)

    @property
    def batch_size(self) -> int:
        """Images in a batch, P × K."""
        return self.identities_per_batch * self.images_per_identity

    def first_step(self, epoch: int, *, at_most: int | None = None) -> int:
        """Number of the first batch of `epoch`, counting both from 0.

        Every epoch before it has to be drawn, unless the answer is `at_most` because it is larger.
        """
        if epoch < 0:
            raise ValueError(f"epochs count from 0, got {epoch}")
        limit = math.inf if at_most is None else at_most
        while len(self._first_steps) <= epoch:
            if self._first_steps[-1] >= limit:
                return int(limit)
            drawn = self._draw(len(self._first_steps) - 1)
            self._first_steps.append(self._first_steps[-1] + len(drawn))
        return int(min(self._first_steps[epoch], limit))

    def epoch(self, n: int) -> int:
        """The epoch that batch `n` belongs to, counting both from 0."""
        if n < 0:
            raise ValueError(f"batches count from 0, got {n}")
        while self._first_steps[-1] <= n:
            self.first_step(len(self._first_steps))
        return bisect.bisect_right(self._first_steps, n) - 1

    def batch(self, n: int) -> np.ndarray:
        """Ids of the images of batch `n`, int64 `[P·K]`, the K of an identity side by side."""
        epoch = self.epoch(n)
        return self._layout(epoch)[n - self._first_steps[epoch]].copy()

    def _draw(self, epoch: int) -> np.ndarray:
        """Identities of each batch of an epoch, int64 `[batches, P]`."""
        rng = np.random.default_rng([self.seed, epoch, _DRAWS])
        remaining = self._groups.copy()
        open_identities = np.arange(len(remaining))
        batches = []
        while len(open_identities) >= self.identities_per_batch:
            places = rng.choice(len(open_identities), self.identities_per_batch, replace=False)
            chosen = open_identities[places]
            batches.append(chosen)
            remaining[chosen] -= 1
            open_identities = open_identities[remaining[open_identities] > 0]
        return np.stack(batches)

    def _lay_out(self, epoch: int) -> np.ndarray:
        """Ids of each batch of an epoch, int64 `[batches, P·K]`."""
        K = self.images_per_identity
        rng = np.random.default_rng([self.seed, epoch, _SHUFFLES])
        # Sorting by (identity, random key) shuffles every identity at once.
        shuffled = np.lexsort((rng.random(len(self._codes)), self._codes))
        replacements = rng.random((len(self._counts), K))

        drawn = self._draw(epoch)
        nth_group = _occurrence(drawn.reshape(-1)).reshape(drawn.shape)
        places = nth_group[..., None] * K + np.arange(K)
        with_replacement = (replacements * self._counts[:, None]).astype(np.int64)
        few = self._counts < K
        places = np.where(few[drawn][..., None], with_replacement[drawn], places)
        ids = shuffled[self._starts[drawn][..., None] + places]
        return ids.reshape(len(drawn), -1).astype(np.int64)


def process_slice(ids: np.ndarray, *, index: int, count: int) -> np.ndarray:
    """The contiguous share of a global batch that process `index` of `count` loads.

    Args:
        ids: Ids of the global batch, `[N]`.
        index: This process, from 0.
        count: Number of processes; must divide N.

    Returns:
        Ids `[N / count]`; the shares of all processes in order are the global batch.

    Raises:
        DataError: If the batch cannot be shared out equally.
    """
    if not 0 <= index < count:
        raise ValueError(f"process {index} of {count} does not exist")
    if len(ids) % count:
        raise DataError(
            f"a batch of {len(ids)} images cannot be divided among {count} processes: "
            "choose a batch size that is a multiple of the number of processes"
        )
    share = len(ids) // count
    return ids[index * share : (index + 1) * share]


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How often each value has come before its place, int64 `[n]`."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    positions = np.arange(len(values))
    result = np.empty(len(values), np.int64)
    result[order] = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    return result
