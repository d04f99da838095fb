"""Training steps with their batches: the same loop for streamed and for resident pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.sampler import IdentitySampler, process_slice
from magnifier_jax.config import Config
from magnifier_jax.datasets import TrainingSet
from magnifier_jax.devices import put_batch, put_replicated
from magnifier_jax.model import MagnifierNet
from magnifier_jax.pictures import Resident, open_pictures
from magnifier_jax.steps import (
    Metrics,
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
    """Yields training steps number `first`, `first` + 1, … without end.

    Which pictures step n sees depends on n alone, so a run may begin anywhere.
    """
    parts = config.data.part_labels != "none"
    pictures = open_pictures(data.split, config.data, parts=parts, progress=progress)
    index, count = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for n in itertools.count(first):
            yield process_slice(sampler.batch(n), index=index, count=count)

    if isinstance(pictures, Resident):
        resident = put_replicated(
            TrainBatch(pictures.images, pictures.parts, data.labels),  # type: ignore[arg-type]
            mesh,
        )
        resident_step = make_resident_train_step(config, model, mesh)
        for chosen in ids():
            on_device = put_batch(chosen.astype(np.int32), mesh)
            yield lambda state, epoch, ids=on_device: resident_step(state, resident, ids, epoch)
    else:
        step = make_train_step(config, model, mesh)
        for batch in pictures.batches(ids()):
            labels = data.labels[batch.ids]
            on_devices = put_batch(TrainBatch(batch.images, batch.parts, labels), mesh)
            yield lambda state, epoch, batch=on_devices: step(state, batch, epoch)
