"""Training steps that can be timed, ours and PyTorch's, and the images that they need."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np

from benchmarks.loading import list_dataset, write_dataset
from configs import default
from input_pipeline.sampler import IdentitySampler
from input_pipeline.store.splits import PreparedSplit, prepare
from magnifier_jax.config import Config
from magnifier_jax.datasets import TrainingSet, open_images
from magnifier_jax.devices import (
    enable_compilation_cache,
    keep_freed_memory,
    make_mesh,
    put_batch,
    put_replicated,
)
from magnifier_jax.model import BackboneSpec
from magnifier_jax.training.manifest import Manifest, Person
from magnifier_jax.training.step import (
    Step,
    TrainBatch,
    build_model,
    initial_state,
    make_train_step,
    steps_from,
)

IMAGE_SIZE = (128, 64)  # of the files, as in Market-1501
PRECISIONS = ("float32", "bf16")
_DRAWS = 64  # of parts that PyTorch hides, made ahead so that drawing costs nothing


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A ResNet of bottleneck blocks with the published strides."""

    blocks: tuple[int, int, int, int]
    width: int = 64


BACKBONES = {
    "resnet50": Backbone((3, 4, 6, 3)),
    "resnet101": Backbone((3, 4, 23, 3)),
    "narrow": Backbone((1, 1, 1, 1), width=4),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all contestants have in common.

    Attributes:
        size: Height and width that the network sees.
        batch: Images a step.
        images_per_identity: Images of each person in a batch.
        backbone: A key of `BACKBONES`.
        images: Images of the training set.
        identities: People of the training set.
        warm_steps: Steps before each round, which are not timed: a pause lets queues fill and
            devices cool.
        folder: Where the training set is.
        processor_time: Whether steps are timed by what all of a process's threads compute, which a
            busy machine disturbs less, and not by the clock.
    """

    size: tuple[int, int]
    batch: int
    images_per_identity: int
    backbone: str
    images: int
    identities: int
    warm_steps: int
    folder: pathlib.Path
    processor_time: bool = False

    @classmethod
    def chosen(cls, options: argparse.Namespace, folder: pathlib.Path) -> Settings:
        """What the command line asks for, with its training set written to `folder`."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "folder"]
        chosen = {name: getattr(options, name) for name in names}
        settings = cls(**{**chosen, "size": tuple(options.size)}, folder=folder)
        splits = {"train": (settings.images, settings.identities)}
        write_dataset(folder / "images", size=IMAGE_SIZE, splits=splits)
        settings.split()
        return settings

    def split(self) -> PreparedSplit:
        """The training set; once it is prepared, only opened."""
        splits = {"train": (self.images, self.identities)}
        dataset = list_dataset(self.folder / "images", splits=splits)
        return prepare(dataset, data_dir=self.folder / "prepared", progress=False).train


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a stepper says of itself when it is ready.

    Attributes:
        kind: cpu, gpu or tpu.
        device: What the device calls itself.
        version: The framework's name and version.
        parameters: Trained numbers of the network.
    """

    kind: str
    device: str
    version: str
    parameters: int


class Stepper(Protocol):
    """A training step with everything that it needs; it has taken its first step already."""

    entry: Entry

    def advance(self, steps: int) -> None:
        """Takes so many steps and waits for the last one."""
        ...

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a trace of a few steps."""
        ...


def seconds_a_step(stepper: Stepper, steps: int, settings: Settings) -> float:
    """Times a round of steps."""
    clock = time.process_time if settings.processor_time else time.perf_counter
    stepper.advance(settings.warm_steps)
    start = clock()
    stepper.advance(steps)
    return (clock() - start) / steps


class JaxStepper:
    """The training loop without its log, checkpoints and evaluation."""

    def __init__(self, way: str, precision: str, settings: Settings) -> None:
        """Compiles the step.

        Args:
            way: `device`, `stream` or `fixed`.
            precision: One of `PRECISIONS`.
            settings: What all contestants have in common.
        """
        keep_freed_memory()
        enable_compilation_cache()
        self._config = _config(settings, precision=precision, placement=way)
        split = settings.split()
        identities, labels = np.unique(split.identities, return_inverse=True)
        people = Manifest({str(identity): Person(1, 0, 0) for identity in identities})
        self._data = TrainingSet(split, labels.astype(np.int32), people)
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
        self.advance(1)
        device = jax.devices()[0]
        trained = jax.tree.leaves(self._state.params)
        self.entry = Entry(
            kind=device.platform,
            device=device.device_kind,
            version=f"jax {jax.__version__}",
            parameters=sum(tensor.size for tensor in trained),
        )

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a trace of a few steps for TensorBoard or XProf."""
        with jax.profiler.trace(str(folder)):
            self.advance(5)

    def advance(self, steps: int) -> None:
        """Takes so many steps and waits for the last one."""
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
        images = open_images(self._data.split, self._config.data, parts=True, progress=False)
        [batch] = images.batches([self._sampler.batch(0)])
        labels = self._data.labels[batch.ids]
        fixed = put_batch(TrainBatch(batch.images, batch.parts, labels), self._mesh)
        del images
        return itertools.repeat(lambda state, epoch: step(state, fixed, epoch))


class TorchStepper:
    """A training step on one batch, normalized and on the device already."""

    def __init__(self, way: str, precision: str, settings: Settings) -> None:
        """Takes the first steps, which compile what is to be compiled.

        Args:
            way: `eager` or `compiled`.
            precision: `float32` or `bf16`.
            settings: What all contestants have in common.
        """
        import torch

        from benchmarks import torch_magnifier

        self._torch = torch
        torch.set_float32_matmul_precision("high")  # TF32, as JAX computes by default
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if gpu else "cpu")
        self._autocast = precision == "bf16"
        shape = BACKBONES[settings.backbone]
        network = torch_magnifier.MagnifierNet(
            settings.identities, blocks=shape.blocks, width=shape.width
        )
        network.to(self._device, memory_format=torch.channels_last).train()
        self._optimizer = torch_magnifier.make_optimizer(network, fused=gpu)
        self._network, self._losses = network, torch_magnifier.losses
        if way == "compiled":
            self._network = torch.compile(network)
            self._losses = torch.compile(torch_magnifier.losses)
        self._make_batch(settings, parts=torch_magnifier.NUM_PARTS)
        self._done = 0
        self.advance(max(1, settings.warm_steps))
        trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
        self.entry = Entry(
            kind="gpu" if gpu else "cpu",
            device=torch.cuda.get_device_name() if gpu else platform.machine(),
            version=f"torch {torch.__version__}",
            parameters=sum(tensor.numel() for tensor in trained),
        )

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a trace of a few steps for Perfetto."""
        folder.mkdir(parents=True, exist_ok=True)
        with self._torch.profiler.profile() as profiler:
            self.advance(5)
        profiler.export_chrome_trace(str(folder / "trace.json"))

    def advance(self, steps: int) -> None:
        """Takes so many steps and waits for the last one."""
        torch = self._torch
        for _ in range(steps):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
                hidden = self._hidden[self._done % _DRAWS]
                outputs = self._network(self._images, self._part_labels, hidden)
            total = self._losses(outputs, self._labels, self._part_labels)["total"]
            self._optimizer.zero_grad(set_to_none=True)
            total.backward()
            self._optimizer.step()
            self._done += 1
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _make_batch(self, settings: Settings, *, parts: int) -> None:
        torch = self._torch
        height, width = settings.size
        count = settings.batch
        images = torch.randn(count, 3, height, width)
        self._images = images.to(self._device, memory_format=torch.channels_last)
        maps = torch.randint(parts, (count, height // 8, width // 8))
        self._part_labels = maps.to(self._device)
        people = torch.arange(count) // settings.images_per_identity
        self._labels = people.to(self._device)
        hidden = torch.zeros(_DRAWS, parts, dtype=torch.bool)
        for draw in hidden:  # two parts of the upper body and one of the lower, as published
            draw[1 + torch.randperm(4)[:2]] = True
            draw[5 + torch.randperm(3)[:1]] = True
        self._hidden = hidden.to(self._device)


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
