"""Compiling for a device says what it takes, and survives a compiler that does not."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from benchmarks import accelerators, compile_for
from benchmarks.accelerators import NoCompilerError
from benchmarks.compile_for import Plan, Task

ROOT = pathlib.Path(__file__).parents[2]


def task(program: str) -> Task:
    return Task(
        program=program,
        precision="bf16",
        accelerator="cpu",
        devices=1,
        batch=8,
        size=(32, 16),
        backbone="tiny",
        pictures=64,
        identities=4,
    )


def compile_or_die(task: Task) -> Plan:
    if task.program == "descriptor":
        os.abort()
    if task.program == "resident step":
        raise RuntimeError("no room\nfor it")
    return Plan(given=2**30, kept=2**29, seconds=7)


def compile_nothing(task: Task) -> Plan:
    raise NoCompilerError("no compiler")


def test_a_compiler_that_aborts_does_not_end_the_others() -> None:
    lines: list[str] = []
    tasks = [task(program) for program in ("descriptor", "resident step", "step")]
    assert not compile_for.run(tasks, show=lines.append, compiler=compile_or_die)
    _, aborted, failed, good = lines
    assert "descriptor" in aborted
    assert "aborted" in aborted
    assert failed.endswith("no room")
    assert good.split() == ["step", "bf16", "1.00", "0.50", "1.50", "7"]


def test_a_missing_compiler_is_said_once() -> None:
    lines: list[str] = []
    tasks = [task("step"), task("descriptor")]
    assert not compile_for.run(tasks, show=lines.append, compiler=compile_nothing)
    assert lines[1:] == ["no compiler"]


def test_more_devices_than_there_are() -> None:
    with pytest.raises(RuntimeError, match="no group of more than"):
        compile_for.mesh_for("cpu", devices=1 + len(jax.devices("cpu")))


def test_an_accelerator_without_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_plugin(name: str, platform: str, **options: str) -> None:
        asked.append(options.get("target_config", ""))
        raise NotImplementedError(f"topology not implemented for {platform}")

    monkeypatch.setattr(accelerators.topologies, "get_topology_desc", no_plugin)
    with pytest.raises(NoCompilerError, match=r"pip install '.\[gpu\]'"):
        accelerators.ACCELERATORS["h200"].describe(1)
    assert 'name: "NVIDIA H200"' in asked[0]
    assert asked[0].count("{") == asked[0].count("}")


def test_command() -> None:
    small = "cpu --backbone tiny --size 32 16 --batch 8 --pictures 64 --precision float32"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile_for", *small.split()],
        cwd=ROOT,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    title, _, *rows = done.stdout.splitlines()
    assert title == "1 × cpu, 8 pictures of 32 × 16 (tiny):"
    names = ("step", "resident step", "descriptor")
    step, _, descriptor = ([float(x) for x in row.split()[-4:]] for row in rows)
    assert all(row.startswith(name) for row, name in zip(rows, names, strict=True))
    # Describing needs no moments of the optimiser and keeps nothing for gradients.
    assert 0 < step[2] <= step[0] + step[1] + 0.01
    assert descriptor[2] <= step[2]
