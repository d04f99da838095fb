"""Devices: one mesh, where arrays live on it, and the compilation cache."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from input_pipeline.errors import UserError
from input_pipeline.files import cache_folder

DATA_AXIS = "data"

# Of glibc's `mallopt`: memory pools, blocks with a mapping of their own, and how much that is free
# at the end of the pool goes back to the system (-1: nothing).
_KEEPING = {-8: 1, -4: 0, -1: -1}

# Which operations XLA's CPU backend leaves to YNNPACK; by default also convolutions.
_LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
_BY_LIBRARY = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes in one axis, over which batches are split."""
    ordered = by_process(devices or jax.devices())
    return Mesh(np.asarray(ordered), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def by_process(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Orders devices process by process, which the device numbers of a TPU slice are not.

    Each process then holds one contiguous share of a batch, and the shares stand in the order of
    the processes.
    """
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def split_over(mesh: Mesh) -> NamedSharding:
    """The first axis is divided among the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(tree: Any, mesh: Mesh) -> Any:
    """Makes each process's NumPy arrays `[n, …]` into global arrays split over the devices."""
    sharding = split_over(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Puts arrays that every process has alike onto every device."""
    sharding = replicated(mesh)

    def put(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def fetch(tree: Any) -> Any:
    """NumPy copies of arrays `[n, …]` that may be spread over several processes."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)


def check_divides(batch_size: int, mesh: Mesh, *, field: str) -> None:
    """Refuses a batch that does not divide by the number of devices.

    Raises:
        UserError: It does not; `field` says which setting to change.
    """
    if batch_size % mesh.size:
        raise UserError(
            f"{field} gives batches of {batch_size}, which {mesh.size} devices cannot share "
            f"evenly: choose a multiple of {mesh.size}."
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Lets all processes of a run through a block, or none of them.

    Without it, those that continue would wait for minutes for one that has given up. The block
    itself must not wait for other processes.

    Raises:
        UserError: Another process failed in the block; that one has its own error.
    """
    try:
        yield
    except Exception:
        _all_succeeded(False)
        raise
    if not _all_succeeded(True):
        raise UserError("Another process of this run could not start; see what it says.")


def _all_succeeded(here: bool) -> bool:
    if jax.process_count() == 1:
        return here
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(here)).all())


def wait_for_all() -> None:
    """Waits until all processes of the run are here, so that none leaves the others alone."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("magnifier")


def start_distributed() -> None:
    """Joins the other processes of this run, if the environment names any.

    On one machine nothing happens. On a TPU slice or under Slurm or MPI jax finds the others by
    itself once `JAX_DISTRIBUTED=1`; elsewhere `JAX_COORDINATOR_ADDRESS` (host:port),
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` say where they are.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        try:
            count = int(os.environ["JAX_NUM_PROCESSES"])
            index = int(os.environ["JAX_PROCESS_ID"])
        except (KeyError, ValueError) as error:
            raise UserError(
                "JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must "
                "be whole numbers too."
            ) from error
        jax.distributed.initialize(address, count, index)
    elif os.environ.get("JAX_DISTRIBUTED") == "1":
        jax.distributed.initialize()


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, so that a second start is fast.

    They are kept in `magnifier_jax/xla` in the user's cache folder if they took half a second to
    make, unless `JAX_COMPILATION_CACHE_DIR` and `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` say
    otherwise.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> None:
    """Lets a program that computes on a CPU keep the memory of a step for the next one.

    By default, glibc gives large blocks back to the system once they are free. Each step then asks
    for its memory anew and waits while the system clears it page by page, which takes a fifth to
    a quarter of the step's processor time.

    To be called before the first device is asked for, whose threads would choose other memory
    pools. Nothing changes where there may be an accelerator, whose steps have their own memory,
    and on systems without glibc.
    """
    if not _only_cpu(jax.config.jax_platforms):  # type: ignore[attr-defined]
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Elsewhere it does not exist.
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _KEEPING.items():
            mallopt(parameter, value)


def training_options(mesh: Mesh) -> dict[str, str]:
    """XLA's options for a training step on these devices, for `jax.jit`; none on accelerators.

    On CPUs, XLA then computes convolutions by itself. By default it leaves them to YNNPACK, which
    takes up to twice as long for the gradient of a 3×3 kernel. What YNNPACK is good at, matrix
    products and sums, stays with it. If `XLA_FLAGS` chooses what it computes, that choice stands.
    """
    if any(device.platform != "cpu" for device in mesh.devices.flat):
        return {}
    if _LIBRARY in os.environ.get("XLA_FLAGS", "") or not _has_library():
        return {}
    return {_LIBRARY: _BY_LIBRARY}


@functools.cache
def _has_library() -> bool:
    """Whether this jaxlib knows the experimental option."""
    try:
        jax.jit(lambda: 0, compiler_options={_LIBRARY: _BY_LIBRARY}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _only_cpu(chosen: str | None) -> bool:
    """Whether JAX can find nothing but CPUs; asking JAX itself would start its devices.

    Args:
        chosen: The platforms that JAX was told to look for, such as `cuda,cpu`; empty for any.
    """
    if chosen:
        return bool(chosen == "cpu")
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
