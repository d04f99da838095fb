"""Compiles training steps and descriptors for an accelerator, which need not be there.

    python -m benchmarks.compile_for h200                 # after pip install -e '.[gpu]'
    python -m benchmarks.compile_for v5e --devices 8      # after pip install -e '.[tpu]'

For each program it says how much memory of a device XLA's plan needs: what the program is given
(weights, the optimizer's moments, images that live on the devices) and what it keeps while it
runs; and what its operations read and write. So it finds what does not fit, and what XLA cannot
compile for a device; the exit status is then 1. The row of the descriptor is that of a command that
only embeds: beside training, the moments and the resident images stay on the device too.
`--largest 20` adds the operations that read and write most, with what they are and where they come
from.

It needs Linux on x86-64 and some minutes. Nothing runs, so it says nothing about speed. With a GPU
present XLA also tries kernels out while it compiles, and may choose ones that take more memory.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import itertools
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from benchmarks.accelerators import ACCELERATORS, CannotCompileError
from benchmarks.operations import Operation, operations_of
from configs import market1501
from input_pipeline.console import positive
from input_pipeline.errors import UserError
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh, replicated, split_over
from magnifier_jax.embedding import forward
from magnifier_jax.model import BACKBONES
from magnifier_jax.model.folding import fold_norms
from magnifier_jax.model.resnet import Kept
from magnifier_jax.training import step as steps

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
        batch: Images of the program's batch, over all devices.
        size: Height and width.
        backbone: A key of `BACKBONES`.
        images: Images of the training set.
        identities: Identities of the training set.
        keep: What a step keeps for the gradient, as `config.train.keep_activations`.
        folded: Whether the norms of a descriptor are folded, as `mj.load` does.
        largest: How many of the operations that move most are asked for.
    """

    program: str
    precision: str
    accelerator: str
    devices: int
    batch: int
    size: tuple[int, int]
    backbone: str
    images: int
    identities: int
    keep: str = "all"
    folded: bool = True
    largest: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a program needs of each device, and how long compiling took.

    Attributes:
        given: Bytes of its arguments.
        kept: Bytes beside them while it runs.
        moved: Bytes of the device's memory that its operations read and write, after fusion.
        seconds: Tracing and compiling.
        largest: The operations that move most, if they were asked for.
    """

    given: int
    kept: int
    moved: float
    seconds: float
    largest: tuple[Operation, ...] = ()

    @classmethod
    def of(cls, compiled: Any, *, seconds: float, largest: int = 0) -> Plan:
        """From a compiled program of jax, with as many of its `largest` operations."""
        memory = compiled.memory_analysis()
        # What leaves in the place of what came, as a step's state does, is counted once.
        kept = (
            memory.temp_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.generated_code_size_in_bytes
        )
        operations = operations_of(compiled.as_text())
        moved = sum(operation.moved for operation in operations)
        return cls(memory.argument_size_in_bytes, kept, moved, seconds, operations[:largest])

    @property
    def together(self) -> int:
        """Bytes of a device."""
        return self.given + self.kept


def mesh_for(accelerator: str, *, devices: int) -> Mesh:
    """Devices to compile for.

    Raises:
        CannotCompileError: jax cannot compile for them here.
    """
    if accelerator == "cpu":
        found = jax.devices("cpu")
    else:
        found = ACCELERATORS[accelerator].describe(devices)
    if len(found) < devices:
        raise CannotCompileError(f"{devices} devices were asked for, of {len(found)}")
    return make_mesh(found[:devices])


def compile_task(task: Task) -> Plan:
    """Compiles one program. This process uses no accelerator, even if there is one."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    mesh = mesh_for(task.accelerator, devices=task.devices)
    function, arguments = program_of(task, mesh)
    # A device calls itself gpu, lowering tells CUDA from ROCm. Without a name jax would lower for
    # the devices of this process.
    platform = mesh.devices.flat[0].platform
    platforms = ("cuda" if platform == "gpu" else platform,)
    start = time.perf_counter()
    compiled = function.trace(*arguments).lower(lowering_platforms=platforms).compile()
    return Plan.of(compiled, seconds=time.perf_counter() - start, largest=task.largest)


def configure(task: Task) -> Config:
    """The published recipe with a task's sizes.

    Raises:
        UserError: They do not go together.
    """
    settings = market1501.get_config()
    settings.model.backbone = task.backbone
    settings.data.image_size = task.size
    settings.precision = task.precision
    settings.train.keep_activations = task.keep
    return Config.from_mapping(settings.to_dict())


def program_of(task: Task, mesh: Mesh) -> tuple[Any, tuple[Any, ...]]:
    """The jitted function of a task and the shapes of its arguments."""
    config = configure(task)
    model = steps.build_model(config, num_identities=task.identities)
    state = steps.abstract_state(config, model, mesh)
    everywhere, split = replicated(mesh), split_over(mesh)

    def batch(count: int, sharding: NamedSharding) -> steps.TrainBatch:
        shape = (count, *task.size)
        return steps.TrainBatch(
            images=jax.ShapeDtypeStruct((*shape, 3), jnp.uint8, sharding=sharding),
            part_maps=jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding),
            labels=jax.ShapeDtypeStruct((count,), jnp.int32, sharding=sharding),
        )

    epoch = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    if task.program == "descriptor":
        images = batch(task.batch, split).images
        variables = _folded(state.variables, everywhere) if task.folded else state.variables
        return forward.make_embed(model, mesh), (variables, images)
    if task.program == "step":
        step = steps.make_train_step(config, model, mesh)
        return step, (state, batch(task.batch, split), epoch)
    ids = jax.ShapeDtypeStruct((task.batch,), jnp.int32, sharding=split)
    resident = steps.make_resident_train_step(config, model, mesh)
    return resident, (state, batch(task.images, everywhere), ids, epoch)


def _folded(variables: Any, sharding: NamedSharding) -> Any:
    """The shapes of what `fold_norms` makes of variables of these shapes."""
    zeros = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), variables)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), fold_norms(zeros)
    )


def line(plan: Plan, *, room: float) -> str:
    """What a row of the table says of a plan."""
    numbers = (plan.given, plan.kept, plan.together)
    columns = "".join(f"{number / GIB:10.2f}" for number in numbers)
    columns += f"{plan.moved / 1e9:10.1f}"
    return f"{columns}{plan.seconds:10.0f}{'' if plan.together <= room else '  does not fit'}"


def table(operations: Sequence[Operation]) -> str:
    """What operations move, what they are and where in the traced program they come from."""
    return "\n".join(
        f"{operation.moved / 1e9:10.2f} GB  {operation.kind:<24} {operation.result}  "
        f"{operation.source or operation.name}"
        for operation in operations
    )


def _room(accelerator: str) -> float:
    return ACCELERATORS[accelerator].room if accelerator in ACCELERATORS else math.inf


def run(
    tasks: Sequence[Task],
    *,
    show: Callable[[str], None],
    compiler: Callable[[Task], Plan] = compile_task,
) -> bool:
    """Compiles all, each in a process of its own: a failed check of XLA's ends its process.

    Returns:
        Whether all could be compiled and fit.
    """
    columns = ("given", "kept", "together", "GB moved", "seconds")
    show(f"{'GiB a device':<22}{'images':>10}" + "".join(f"{name:>10}" for name in columns))
    context = multiprocessing.get_context("spawn")
    good = True
    for task in tasks:
        operations: tuple[Operation, ...] = ()
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                plan = pool.submit(compiler, task).result()
            except CannotCompileError as error:
                show(str(error))
                return False
            except BrokenProcessPool:
                text = "  the compiler aborted, or was killed for want of memory here"
                good = False
            except Exception as error:
                first = next(iter(str(error).splitlines()), "")
                text = f"  {type(error).__name__}: {first}"
                good = False
            else:
                operations = plan.largest
                room = _room(task.accelerator)
                text = line(plan, room=room)
                good &= plan.together <= room
        show(f"{task.program:<14}{task.precision:>8}{task.batch:>10}{text}")
        if operations:
            show(table(operations))
    return good


def main() -> int:
    """Prints the table; the exit status is 1 if a program does not compile or does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("accelerator", choices=(*ACCELERATORS, "cpu"))
    add("--devices", type=positive, default=1)
    add("--batch", type=positive, default=64, help="images of a step, over all devices")
    add("--embed-batch", type=positive, default=128, help="images embedded at a time")
    add("--size", type=positive, nargs=2, default=(384, 192), metavar=("H", "W"))
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--images", type=positive, default=12936, help="images of the training set")
    add("--identities", type=positive, default=751)
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    add("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    add("--keep", choices=get_args(Kept), default="all", help="config.train.keep_activations")
    add("--unfolded", action="store_true", help="embed with batch norms, as before they are folded")
    add("--largest", type=positive, default=0, help="also this many operations that move most")
    chosen = parser.parse_args()
    if chosen.batch % chosen.devices:
        parser.error(f"--batch {chosen.batch} does not divide by {chosen.devices} devices")
    # As embedding does.
    embedded = -(-chosen.embed_batch // chosen.devices) * chosen.devices
    tasks = [
        Task(
            program=program,
            precision=precision,
            accelerator=chosen.accelerator,
            devices=chosen.devices,
            batch=embedded if program == "descriptor" else chosen.batch,
            size=tuple(chosen.size),
            backbone=chosen.backbone,
            images=chosen.images,
            identities=chosen.identities,
            keep=chosen.keep,
            folded=not chosen.unfolded,
            largest=chosen.largest,
        )
        for precision, program in itertools.product(chosen.precision, chosen.programs)
    ]
    try:
        configure(tasks[0])
    except UserError as error:
        parser.error(str(error))
    room = _room(chosen.accelerator)
    limit = "" if math.isinf(room) else f" with {room / GIB:.1f} GiB for jax"
    size = f"{chosen.size[0]} × {chosen.size[1]}"
    print(f"{chosen.devices} × {chosen.accelerator}{limit}, {chosen.backbone}, {size}:")
    return 0 if run(tasks, show=lambda text: print(text, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
