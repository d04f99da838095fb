"""Compiles training steps and descriptors for an accelerator, which need not be there.

    python -m benchmarks.compile_for h200                 # after pip install -e '.[gpu]'
    python -m benchmarks.compile_for v5e --devices 8      # after pip install -e '.[tpu]'

For each program it says how much memory of a device XLA's plan needs: what the program is given
(weights, the optimiser's moments, pictures that live on the devices) and what it keeps while it
runs. So it answers whether a batch fits, and finds what XLA cannot compile for a device. It needs
Linux on x86-64 and some minutes. Nothing runs, so it says nothing about speed, and GPUs choose
their kernels when a program first runs, which may take more memory than was planned.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from benchmarks.accelerators import ACCELERATORS, NoCompilerError
from configs import market1501
from magnifier_jax import steps
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh, replicated, split_over
from magnifier_jax.model import BACKBONES

PROGRAMS = ("step", "resident step", "descriptor")
PRECISIONS = ("float32", "bf16")
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Task:
    """A program to be compiled.

    Attributes:
        program: One of `PROGRAMS`.
        precision: One of `PRECISIONS`.
        accelerator: A key of `ACCELERATORS`, or 'cpu'.
        devices: How many of them.
        batch: Pictures of a step, or described at a time, over all devices.
        size: Height and width.
        backbone: A key of `BACKBONES`.
        pictures: Pictures of the training set.
        identities: Identities of the training set.
    """

    program: str
    precision: str
    accelerator: str
    devices: int
    batch: int
    size: tuple[int, int]
    backbone: str
    pictures: int
    identities: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a program needs of each device, in bytes, and how long compiling took."""

    given: int
    kept: int
    seconds: float


def mesh_for(accelerator: str, *, devices: int) -> Mesh:
    """Devices to compile for.

    Raises:
        NoCompilerError: jax cannot compile for them here.
        RuntimeError: There is no group of so many.
    """
    if accelerator == "cpu":
        found = jax.devices("cpu")
    else:
        found = ACCELERATORS[accelerator].describe(devices)
    if len(found) < devices:
        raise RuntimeError(f"no group of more than {len(found)} {accelerator} is known here")
    return make_mesh(found[:devices])


def compile_task(task: Task) -> Plan:
    """Compiles one program; without an accelerator in this process."""
    jax.config.update("jax_platforms", "cpu")
    mesh = mesh_for(task.accelerator, devices=task.devices)
    function, arguments = program_of(task, mesh)
    start = time.perf_counter()
    platform = mesh.devices.flat[0].platform
    lowered = function.trace(*arguments).lower(
        lowering_platforms=("cuda" if platform == "gpu" else platform,)
    )
    memory = lowered.compile().memory_analysis()
    return Plan(
        given=memory.argument_size_in_bytes,
        # What leaves in the place of what came, as a step's state does, is counted once.
        kept=memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes,
        seconds=time.perf_counter() - start,
    )


def program_of(task: Task, mesh: Mesh) -> tuple[Any, tuple[Any, ...]]:
    """The jitted function of a task and the shapes of its arguments."""
    settings = market1501.get_config()
    settings.model.backbone = task.backbone
    settings.data.image_size = task.size
    settings.precision = task.precision
    config = Config.from_mapping(settings.to_dict())
    model = steps.build_model(config, num_identities=task.identities)
    state = steps.abstract_state(config, model, mesh)
    everywhere, split = replicated(mesh), split_over(mesh)

    def pictures(count: int, sharding: NamedSharding) -> steps.TrainBatch:
        shape = (count, *task.size)
        return steps.TrainBatch(
            images=jax.ShapeDtypeStruct((*shape, 3), jnp.uint8, sharding=sharding),
            part_maps=jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding),
            labels=jax.ShapeDtypeStruct((count,), jnp.int32, sharding=sharding),
        )

    epoch = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    if task.program == "descriptor":
        images = pictures(task.batch, split).images
        return steps.make_describe(model, mesh), (state.variables, images)
    if task.program == "step":
        step = steps.make_train_step(config, model, mesh)
        return step, (state, pictures(task.batch, split), epoch)
    ids = jax.ShapeDtypeStruct((task.batch,), jnp.int32, sharding=split)
    resident = steps.make_resident_train_step(config, model, mesh)
    return resident, (state, pictures(task.pictures, everywhere), ids, epoch)


def line(task: Task, plan: Plan) -> str:
    """A row of the table."""
    numbers = (plan.given, plan.kept, plan.given + plan.kept)
    columns = "".join(f"{number / GIB:10.2f}" for number in numbers)
    return f"{task.program:<14}{task.precision:>8}{columns}{plan.seconds:12.0f}"


def run(
    tasks: Sequence[Task],
    *,
    show: Callable[[str], None],
    compiler: Callable[[Task], Plan] = compile_task,
) -> bool:
    """Compiles all, each in a process of its own: a failed check of XLA's ends its process."""
    show(f"{'GiB a device':<22}{'given':>10}{'kept':>10}{'together':>10}{'seconds':>12}")
    context = multiprocessing.get_context("spawn")
    good = True
    for task in tasks:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                show(line(task, pool.submit(compiler, task).result()))
                continue
            except NoCompilerError as error:
                show(str(error))
                return False
            except BrokenProcessPool:
                reason = "the compiler aborted; its last words are above"
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
        show(f"{task.program:<14}{task.precision:>8}  {reason}")
        good = False
    return good


def main() -> int:
    """Prints the table; the exit status is 1 if a program could not be compiled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("accelerator", choices=(*ACCELERATORS, "cpu"))
    add("--devices", type=int, default=1)
    add("--batch", type=int, default=64, help="pictures over all devices")
    add("--size", type=int, nargs=2, default=(384, 192), metavar=("H", "W"))
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--pictures", type=int, default=12936, help="pictures of the training set")
    add("--identities", type=int, default=751)
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    add("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    chosen = parser.parse_args()
    if chosen.batch % chosen.devices:
        parser.error(f"--batch {chosen.batch} does not divide by {chosen.devices} devices")
    tasks = [
        Task(
            program=program,
            precision=precision,
            accelerator=chosen.accelerator,
            devices=chosen.devices,
            batch=chosen.batch,
            size=tuple(chosen.size),
            backbone=chosen.backbone,
            pictures=chosen.pictures,
            identities=chosen.identities,
        )
        for precision, program in itertools.product(chosen.precision, chosen.programs)
    ]
    pictures = f"{chosen.batch} pictures of {chosen.size[0]} × {chosen.size[1]}"
    print(f"{chosen.devices} × {chosen.accelerator}, {pictures} ({chosen.backbone}):")
    return 0 if run(tasks, show=lambda text: print(text, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
