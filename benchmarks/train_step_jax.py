"""magnifier_jax's half of `benchmarks/train_step.py`: the training loop's step and its pictures."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.racing import BACKBONES, Contestant, Entry, Settings
from configs import default
from input_pipeline.sampler import IdentitySampler
from magnifier_jax.config import Config
from magnifier_jax.datasets import TrainingSet, open_pictures
from magnifier_jax.devices import enable_compilation_cache, make_mesh, put_batch, put_replicated
from magnifier_jax.model import BackboneSpec
from magnifier_jax.training.batches import Step, steps_from
from magnifier_jax.training.step import TrainBatch, build_model, initial_state, make_train_step


def open_racer(contestant: Contestant, settings: Settings) -> JaxRacer:
    """Compiles the contestant's step."""
    enable_compilation_cache()
    return JaxRacer(contestant, settings)


class JaxRacer:
    """The training loop without its log, checkpoints and evaluation."""

    def __init__(self, contestant: Contestant, settings: Settings) -> None:
        way = contestant.way.removeprefix("jax ")
        self._config = _config(settings, precision=contestant.precision, placement=way)
        split = settings.split()
        identities, labels = np.unique(split.identities, return_inverse=True)
        self._data = TrainingSet(split, labels.astype(np.int32), tuple(map(str, identities)))
        shape = BACKBONES[settings.backbone]
        self._model = build_model(self._config, num_identities=len(identities)).clone(
            backbone=BackboneSpec(shape.blocks, width=shape.width)
        )
        self._mesh = make_mesh(jax.devices()[:1])
        self._sampler = IdentitySampler(
            labels,
            identities_per_batch=self._config.data.identities_per_batch,
            images_per_identity=self._config.data.images_per_identity,
        )
        self.steps = self.fixed_steps() if way == "fixed" else self._fed_steps()
        self._state = initial_state(self._config, self._model, self._mesh)
        self._done = 0
        self._warm_steps = settings.warm_steps
        self._advance(1)
        device = jax.devices()[0]
        trained = jax.tree.leaves(self._state.params)
        self.entry = Entry(
            kind=device.platform,
            device=device.device_kind,
            version=f"jax {jax.__version__}",
            parameters=sum(tensor.size for tensor in trained),
        )

    def run(self, steps: int) -> float:
        """Takes so many steps and returns the seconds that one took."""
        self._advance(self._warm_steps)
        start = time.perf_counter()
        self._advance(steps)
        return (time.perf_counter() - start) / steps

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a trace of a few steps for TensorBoard or XProf."""
        self._advance(self._warm_steps)
        with jax.profiler.trace(str(folder)):
            self._advance(5)

    def _advance(self, steps: int) -> None:
        previous = None
        for _ in range(steps):
            epoch = put_replicated(np.int32(self._sampler.epoch(self._done)), self._mesh)
            self._state, metrics = next(self.steps)(self._state, epoch)
            self._done += 1
            # As the training loop does: the loss before is looked at while this step runs.
            if previous is not None:
                float(previous["total"])
            previous = metrics
        jax.block_until_ready(self._state)

    def _fed_steps(self) -> Iterator[Step]:
        return steps_from(
            0,
            config=self._config,
            model=self._model,
            data=self._data,
            sampler=self._sampler,
            mesh=self._mesh,
            progress=False,
        )

    def fixed_steps(self) -> Iterator[Step]:
        """Steps on one batch that stays on the device."""
        step = make_train_step(self._config, self._model, self._mesh)
        pictures = open_pictures(self._data.split, self._config.data, parts=True, progress=False)
        [batch] = pictures.batches([self._sampler.batch(0)])
        labels = self._data.labels[batch.ids]
        fixed = put_batch(TrainBatch(batch.images, batch.parts, labels), self._mesh)
        del pictures
        return itertools.repeat(lambda state, epoch: step(state, fixed, epoch))


def _config(settings: Settings, *, precision: str, placement: str) -> Config:
    config = Config.from_mapping(default.get_config().to_dict())
    data = dataclasses.replace(
        config.data,
        image_size=settings.size,
        placement="stream" if placement == "stream" else "device",
        identities_per_batch=settings.batch // settings.images_per_identity,
        images_per_identity=settings.images_per_identity,
    )
    changed = dataclasses.replace(config, precision=precision, data=data)
    return Config.from_mapping(changed.to_mapping())
