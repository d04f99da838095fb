"""The benchmark of part losses tells a classifier that lives from one that dies."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.part_losses import batches, course


def test_a_loss_that_counts_nothing_dies_and_one_that_counts_lives() -> None:
    dead, alive = (course(64, weight, steps=160, rate=0.01, channels=16) for weight in (0.0, 10.0))
    assert dead.scales[-1] < 0.1 < 0.5 < alive.scales[-1]
    assert list(dead.scales) == sorted(dead.scales, reverse=True)
    assert alive.loss < np.log(64) - 1
    assert dead.loss > np.log(64) - 0.1


def test_every_identity_comes_once_before_any_comes_again() -> None:
    drawn = list(itertools.islice(batches(48, np.random.default_rng(0)), 6))
    for pass_ in (drawn[:3], drawn[3:]):
        labels, counts = np.unique(np.concatenate(pass_), return_counts=True)
        assert labels.tolist() == list(range(48))
        assert set(counts.tolist()) == {4}
