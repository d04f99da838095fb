"""Training steps with their batches: the same loop for streamed and for resident pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.decode import decode_parts
from input_pipeline.sampler import IdentitySampler, process_slice
from magnifier_jax.config import Config
from magnifier_jax.datasets import TrainingSet
from magnifier_jax.devices import put_batch, put_replicated
from magnifier_jax.errors import UserError
from magnifier_jax.model import MagnifierNet
from magnifier_jax.pictures import Resident, open_pictures
from magnifier_jax.steps import (
    Metrics,
    StepFunction,
    TrainBatch,
    TrainState,
    make_resident_train_step,
    make_train_step,
)

_PARTS_SEEN = 64  # part maps that are looked at before a run

Step = Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]
"""A training step that has its batch already: state, epoch -> state, metrics."""


def check_parts_fit(data: TrainingSet, config: Config) -> None:
    """Refuses part labels that name more parts than the network tells apart.

    Looks at pictures spread over the whole set.

    Raises:
        UserError: A class is too high.
    """
    if config.data.part_labels == "none":
        return
    ids = np.unique(np.linspace(0, len(data.split) - 1, _PARTS_SEEN).astype(int))
    maps = [sample.part_map for sample in data.split.read(ids)]
    size = config.data.image_size
    highest = max(int(decode_parts(found, image_size=size).max()) for found in maps if found)
    if highest >= config.model.num_parts:
        raise UserError(
            f"config.model.num_parts is {config.model.num_parts}, but the part labels of "
            f"{config.data.train} go up to class {highest}: set it to {highest + 1} or more, or "
            "give other labels by config.data.part_labels."
        )


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

    Which pictures step n sees depends on n alone, so a run may begin anywhere. Resident pictures
    are decoded before this returns.
    """
    parts = config.data.part_labels != "none"
    pictures = open_pictures(data.split, config.data, parts=parts, progress=progress)
    index, count = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for n in itertools.count(first):
            yield process_slice(sampler.batch(n), index=index, count=count)

    if isinstance(pictures, Resident):
        arrays: Any = (pictures.images, pictures.parts, data.labels)
        resident = put_replicated(TrainBatch(*arrays), mesh)
        resident_step = make_resident_train_step(config, model, mesh)
        return (
            _bind(resident_step, resident, put_batch(chosen.astype(np.int32), mesh))
            for chosen in ids()
        )
    step = make_train_step(config, model, mesh)

    def streamed() -> Iterator[Step]:
        for batch in pictures.batches(ids()):
            arrays: Any = (batch.images, batch.parts, data.labels[batch.ids])
            yield _bind(step, put_batch(TrainBatch(*arrays), mesh))

    return streamed()


def _bind(step: StepFunction, *inputs: Any) -> Step:
    def bound(state: TrainState, epoch: jax.Array) -> tuple[TrainState, Metrics]:
        return step(state, *inputs, epoch)

    return bound
