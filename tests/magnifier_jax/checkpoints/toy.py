"""A small training state, replicated and sharded over eight devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from magnifier_jax.checkpoints import CheckpointStore

PyTree = Any


@dataclasses.dataclass(frozen=True)
class State:
    variables: PyTree
    optimizer: PyTree

    def abstract(self) -> "State":
        return State(*(_abstract(tree) for tree in (self.variables, self.optimizer)))


def _abstract(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def make_state(seed: int) -> State:
    """Arrays of several types, with an optimizer that has named tuples and empty states."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    replicated = NamedSharding(mesh, PartitionSpec())
    sharded = NamedSharding(mesh, PartitionSpec("data"))
    random = np.random.default_rng(seed)
    odd = random.normal(size=7).astype(np.float32)
    odd[:4] = np.nan, np.inf, -0.0, np.float32(1e-42)
    params = {
        "dense": {
            "kernel": jax.device_put(random.normal(size=(6, 5)).astype(np.float32), replicated),
            "bias": jax.device_put(odd, replicated),
        },
        "sharded": jax.device_put(random.normal(size=(16, 3)).astype(np.float32), sharded),
        "half": jax.device_put(jnp.asarray(random.normal(size=9), jnp.bfloat16), replicated),
    }
    statistics = {"mean": jax.device_put(random.normal(size=3).astype(np.float32), replicated)}
    transformation = optax.chain(
        optax.add_decayed_weights(1e-4),
        optax.scale_by_adam(),
        optax.scale_by_schedule(lambda count: 1.0 / (count + 1)),
    )
    optimizer = jax.jit(transformation.init)(params)
    return State({"params": params, "batch_stats": statistics}, optimizer)


def same_bits(left: PyTree, right: PyTree) -> bool:
    if jax.tree.structure(left) != jax.tree.structure(right):
        return False
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(
        a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs
    )


def save(store: CheckpointStore, step: int, state: State, *, score: float | None = None) -> bool:
    return store.save(
        step,
        variables=state.variables,
        optimizer=state.optimizer,
        metadata={"config": {"seed": step}, "identities": ["a", "é"]},
        score=score,
    )
