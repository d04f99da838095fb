"""The training step, which runs on the devices, and the steps of a run bound to their batches."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from input_pipeline.dataset import NO_MAP
from input_pipeline.sampler import IdentitySampler, process_slice
from magnifier_jax.config import Config
from magnifier_jax.datasets import Resident, TrainingSet, open_images
from magnifier_jax.devices import (
    put_batch,
    put_replicated,
    replicated,
    split_over,
    training_options,
)
from magnifier_jax.model import BACKBONES, MagnifierNet, draw_occluded_parts, draw_style_mix
from magnifier_jax.training.augmentation import augment
from magnifier_jax.training.losses import total_loss
from magnifier_jax.training.optimizer import learning_rate, make_optimizer, moving_average

Tree = Any

# Functions kept of each kind: whoever trains again in the same process need not compile again.
_KEPT = 8

# Number of the key of what mixes styles, apart from those that `augment` makes of the same key.
_STYLES = 8


@struct.dataclass
class TrainState:
    """What a training step changes.

    Attributes:
        step: Steps done, int32 scalar.
        params: Trained tensors.
        batch_stats: Running statistics and fixed biases of the batch norms.
        opt_state: The optimizer's moments.
        average: The moving average of `params` and `batch_stats`; None where none is kept.
    """

    step: jax.Array
    params: Tree
    batch_stats: Tree
    opt_state: Tree
    average: dict[str, Tree] | None = None

    @property
    def trained(self) -> dict[str, Tree]:
        """What the steps change: parameters and statistics."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, Tree]:
        """What the network is used with: the average, where one is kept."""
        return self.trained if self.average is None else self.average

    @property
    def optimizer(self) -> Tree:
        """What only training needs: beside an average, that is also the weights themselves."""
        if self.average is None:
            return self.opt_state
        return {"opt_state": self.opt_state, **self.trained}

    def with_variables(self, variables: dict[str, Tree]) -> TrainState:
        """The state with these weights, which an average begins with too."""
        # Copies, for the step gives the buffers of what it takes away.
        average = None if self.average is None else jax.tree.map(jnp.copy, variables)
        return self.replace(**variables, average=average)  # type: ignore[attr-defined]

    @classmethod
    def restored(cls, step: jax.Array, variables: dict[str, Tree], optimizer: Tree) -> TrainState:
        """The state that had these `variables` and this `optimizer`."""
        if isinstance(optimizer, dict):
            return cls(step, average=variables, **optimizer)
        return cls(step, opt_state=optimizer, **variables)


@struct.dataclass
class TrainBatch:
    """A batch on the devices.

    Attributes:
        images: uint8 RGB `[N, H, W, 3]`.
        part_maps: uint8 `[N, H, W]`, or None for a network without parts.
        labels: Identity of each image, int32 `[N]`.
        labeled: Which images have a part map, bool `[N]`; None if all do, or none is needed.
    """

    images: jax.Array
    part_maps: jax.Array | None
    labels: jax.Array
    labeled: jax.Array | None = None


Metrics = dict[str, jax.Array]
StepFunction = Callable[..., tuple[TrainState, Metrics]]


def build_model(config: Config, *, num_identities: int) -> MagnifierNet:
    """The network of a configuration."""
    model = config.model
    return MagnifierNet(
        num_identities=num_identities,
        backbone=dataclasses.replace(BACKBONES[model.backbone], stem_norm=model.stem_norm),
        num_parts=model.num_parts,
        use_global=model.use_global,
        use_adversarial=model.use_adversarial,
        use_fusion=model.use_fusion,
        use_parsing=model.use_parsing,
        parsing_features=model.parsing_features,
        stem_relu=model.stem_relu,
        keep=config.train.keep_activations,
        dtype=jnp.bfloat16 if config.precision == "bf16" else jnp.float32,
    )


def initial_state(config: Config, model: MagnifierNet, mesh: Mesh) -> TrainState:
    """Random weights on every device; the same for a seed whatever the devices."""
    return _jitted_initializer(config, model, mesh)()


def abstract_state(config: Config, model: MagnifierNet, mesh: Mesh) -> TrainState:
    """Shapes, types and places of a state, for restoring one."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _shapes(config, model)
    )


@functools.lru_cache(maxsize=_KEPT)
def _jitted_initializer(
    config: Config, model: MagnifierNet, mesh: Mesh
) -> Callable[[], TrainState]:
    return jax.jit(_initializer(config, model), out_shardings=replicated(mesh))


@functools.lru_cache(maxsize=_KEPT)
def _shapes(config: Config, model: MagnifierNet) -> TrainState:
    return cast(TrainState, jax.eval_shape(_initializer(config, model)))


def _initializer(config: Config, model: MagnifierNet) -> Callable[[], TrainState]:
    height, width = config.data.image_size
    stride = model.backbone.label_stride
    optimizer = _optimizer(config)

    def init() -> TrainState:
        variables = model.init(
            jax.random.key(config.seed),
            jnp.zeros((2, height, width, 3)),
            train=True,
            part_labels=jnp.zeros((2, height // stride, width // stride), jnp.int32),
        )
        params = variables["params"]
        opt_state = optimizer.init(params)
        stats = variables["batch_stats"]
        average = {"params": params, "batch_stats": stats} if config.optimizer.ema_decay else None
        return TrainState(jnp.zeros((), jnp.int32), params, stats, opt_state, average)

    return init


@functools.lru_cache(maxsize=_KEPT)
def make_train_step(config: Config, model: MagnifierNet, mesh: Mesh) -> StepFunction:
    """A jitted `step(state, batch, epoch) -> state, metrics`; for equal arguments the same one.

    The state is donated. `batch` is split over the mesh; `epoch` (int32 scalar) decides the
    learning rate and whether the diversity loss counts. Every random draw is a function of the
    configuration's seed and the state's step. The metrics are scalars on the device.
    """
    everywhere = replicated(mesh)
    return jax.jit(
        update_function(config, model),
        in_shardings=(everywhere, split_over(mesh), everywhere),
        out_shardings=everywhere,
        donate_argnums=0,
        compiler_options=training_options(mesh),
    )


@functools.lru_cache(maxsize=_KEPT)
def make_resident_train_step(config: Config, model: MagnifierNet, mesh: Mesh) -> StepFunction:
    """A jitted `step(state, split, ids, epoch)` on images that live on the devices.

    As `make_train_step`; `split` is a `TrainBatch` of the whole split on every device, `ids`
    int32 `[N]` the batch's positions in it, split over the mesh.
    """
    update = update_function(config, model)
    everywhere = replicated(mesh)

    def step(
        state: TrainState, split: TrainBatch, ids: jax.Array, epoch: jax.Array
    ) -> tuple[TrainState, Metrics]:
        batch = jax.tree.map(lambda x: jnp.take(x, ids, axis=0), split)
        return update(state, batch, epoch)

    return jax.jit(
        step,
        in_shardings=(everywhere, everywhere, split_over(mesh), everywhere),
        out_shardings=everywhere,
        donate_argnums=0,
        compiler_options=training_options(mesh),
    )


def update_function(config: Config, model: MagnifierNet) -> StepFunction:
    """The training step as a plain function of state, batch and epoch; see `make_train_step`."""
    optimizer = _optimizer(config)
    root = jax.random.key(config.seed)
    rate = config.optimizer

    def update(
        state: TrainState, batch: TrainBatch, epoch: jax.Array
    ) -> tuple[TrainState, Metrics]:
        augment_key, occlusion_key = jax.random.split(jax.random.fold_in(root, state.step))
        images, maps = augment(augment_key, batch.images, batch.part_maps, config.augment)
        if maps is not None and batch.labeled is not None:
            # Cropping put background beside what has no map.
            maps = jnp.where(batch.labeled[:, None, None], maps, jnp.uint8(NO_MAP))
        part_labels = None if maps is None else _label_grid(maps, model.backbone.label_stride)
        hidden = None
        if config.model.use_adversarial and config.occlusion.enabled:
            hidden = draw_occluded_parts(
                occlusion_key,
                config.occlusion.groups,
                num_parts=config.model.num_parts,
                images=images.shape[0] if config.occlusion.per_picture else None,
            )
        styles = None
        if config.augment.mix_styles:
            styles = draw_style_mix(
                jax.random.fold_in(augment_key, _STYLES),
                config.augment.mix_styles,
                images=images.shape[0],
            )
        diversity_on = (epoch >= config.loss.diversity_start_epoch).astype(jnp.float32)

        def loss(params: Tree) -> tuple[jax.Array, tuple[dict[str, jax.Array], Tree]]:
            outputs, changed = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                part_labels=part_labels,
                hidden=hidden,
                labeled=batch.labeled,
                styles=styles,
                mutable=["batch_stats"],
            )
            total, terms = total_loss(
                outputs,
                batch.labels,
                part_labels,
                config.loss.weights,
                diversity_on=diversity_on,
            )
            return total, (terms, changed["batch_stats"])

        (_, (metrics, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        lr = learning_rate(
            epoch,
            base=rate.learning_rate,
            warmup_epochs=rate.warmup_epochs,
            warmup_factor=rate.warmup_factor,
            decay_epochs=rate.decay_epochs,
            decay_factor=rate.decay_factor,
            cosine_epochs=config.train.epochs if rate.schedule == "cosine" else None,
        )
        params = jax.tree.map(lambda p, u: p - lr * u, state.params, updates)
        metrics["learning_rate"] = lr
        average = state.average
        if average is not None:
            average = moving_average(
                average,
                {"params": params, "batch_stats": stats},
                step=state.step,
                decay=rate.ema_decay,
            )
        return TrainState(state.step + 1, params, stats, opt_state, average), metrics

    return update


def _label_grid(maps: jax.Array, stride: int) -> jax.Array:
    """The part class at the center of each cell: `[N, H, W]` to int32 `[N, H/s, W/s]`."""
    return maps[:, stride // 2 :: stride, stride // 2 :: stride].astype(jnp.int32)


def _optimizer(config: Config) -> Any:
    settings = config.optimizer
    return make_optimizer(settings.name, l2=settings.l2, momentum=settings.momentum)


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
    images = open_images(data.split, config.data, parts=parts, progress=progress)
    some_lack_maps = parts and not data.split.labeled[data.learned].all()
    labeled = data.split.labeled if some_lack_maps else None
    index, count = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for n in itertools.count(first):
            yield process_slice(data.learned[sampler.batch(n)], index=index, count=count)

    if isinstance(images, Resident):
        arrays: Any = (images.images, images.parts, data.labels, labeled)
        resident = put_replicated(TrainBatch(*arrays), mesh)
        resident_step = make_resident_train_step(config, model, mesh)
        return (
            _bind(resident_step, resident, put_batch(chosen.astype(np.int32), mesh))
            for chosen in ids()
        )
    step = make_train_step(config, model, mesh)

    def streamed() -> Iterator[Step]:
        for batch in images.batches(ids()):
            here = None if labeled is None else labeled[batch.ids]
            arrays: Any = (batch.images, batch.parts, data.labels[batch.ids], here)
            yield _bind(step, put_batch(TrainBatch(*arrays), mesh))

    return streamed()


def _bind(step: StepFunction, *inputs: Any) -> Step:
    def bound(state: TrainState, epoch: jax.Array) -> tuple[TrainState, Metrics]:
        return step(state, *inputs, epoch)

    return bound
