"""Training steps with their batches: the same loop for streamed and for resident images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.sampler import IdentitySampler, process_slice
from magnifier_jax.config import Config
from magnifier_jax.datasets import Resident, TrainingSet, open_pictures
from magnifier_jax.devices import put_batch, put_replicated
from magnifier_jax.model import MagnifierNet
from magnifier_jax.training.step import (
    Metrics,
    StepFunction,
    TrainBatch,
    TrainState,
    make_resident_train_step,
    make_train_step,
)

Step = Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]
"""A training step that has its batch already: state, epoch -> state, metrics."""


def steps_from(
    first: int,
    *,
    config: Config,
    model: MagnifierNet,
    data: TrainingSet,
    sampler: IdentitySampler,
    mesh: Mesh,
    progress: bool = True,
) -> Iterator[Step]:
    """Training steps number `first`, `first` + 1, … without end.

    Which images step n sees depends on n alone, so a run may begin anywhere. Resident images
    are decoded before this returns.
    """
    parts = config.data.part_labels != "none"
    images = open_pictures(data.split, config.data, parts=parts, progress=progress)
    index, count = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for n in itertools.count(first):
            yield process_slice(sampler.batch(n), index=index, count=count)

    if isinstance(images, Resident):
        arrays: Any = (images.images, images.parts, data.labels)
        resident = put_replicated(TrainBatch(*arrays), mesh)
        resident_step = make_resident_train_step(config, model, mesh)
        return (
            _bind(resident_step, resident, put_batch(chosen.astype(np.int32), mesh))
            for chosen in ids()
        )
    step = make_train_step(config, model, mesh)

    def streamed() -> Iterator[Step]:
        for batch in images.batches(ids()):
            arrays: Any = (batch.images, batch.parts, data.labels[batch.ids])
            yield _bind(step, put_batch(TrainBatch(*arrays), mesh))

    return streamed()


def _bind(step: StepFunction, *inputs: Any) -> Step:
    def bound(state: TrainState, epoch: jax.Array) -> tuple[TrainState, Metrics]:
        return step(state, *inputs, epoch)

    return bound
