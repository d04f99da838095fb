"""Compiling for a device says what it takes, and survives a compiler that does not."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import types

import jax
import pytest

from benchmarks import accelerators, compile_for
from benchmarks.accelerators import CannotCompileError
from benchmarks.compile_for import Plan, Task
from benchmarks.operations import Operation
from magnifier_jax.devices import make_mesh

ROOT = pathlib.Path(__file__).parents[2]


def task(program: str, accelerator: str = "cpu") -> Task:
    return Task(
        program=program,
        precision="bf16",
        accelerator=accelerator,
        devices=1,
        batch=8,
        size=(32, 16),
        backbone="tiny",
        images=64,
        identities=4,
    )


def compile_or_die(task: Task) -> Plan:
    if task.program == "descriptor":
        os.abort()
    if task.program == "resident step":
        raise ValueError("no room\nfor it")
    return Plan(given=10 * 2**30, kept=2**29, moved=3e9, seconds=7)


def compile_with_largest(task: Task) -> Plan:
    largest = (
        Operation("fusion.1", "fusion of reduce", "f32[64]", "jit(update)/norm1", 2.5e9),
        Operation("copy.2", "copy", "bf16[8,4]", "", 0.26e9),
    )
    return Plan(given=0, kept=0, moved=3e9, seconds=7, largest=largest)


def compile_nothing(task: Task) -> Plan:
    raise CannotCompileError("no compiler")


def test_a_compiler_that_aborts_does_not_end_the_others() -> None:
    lines: list[str] = []
    tasks = [task(program) for program in ("descriptor", "resident step", "step")]
    assert not compile_for.run(tasks, show=lines.append, compiler=compile_or_die)
    _, aborted, failed, good = lines
    assert aborted.split()[:5] == ["descriptor", "bf16", "8", "the", "compiler"]
    assert failed.endswith("  ValueError: no room")
    assert good.split() == ["step", "bf16", "8", "10.00", "0.50", "10.50", "3.0", "7"]


def test_the_largest_operations_follow_their_plan() -> None:
    lines: list[str] = []
    assert compile_for.run([task("step")] * 2, show=lines.append, compiler=compile_with_largest)
    first, second = (line.split(maxsplit=2) for line in lines[2].splitlines())
    assert first[:2] == ["2.50", "GB"]
    assert " ".join(first[2].split()) == "fusion of reduce f32[64] jit(update)/norm1"
    assert " ".join(second).split() == ["0.26", "GB", "copy", "bf16[8,4]", "copy.2"]
    assert lines[3].startswith("step")


@pytest.mark.parametrize(("accelerator", "fits"), [("a100", True), ("v5e", True), ("small", False)])
def test_what_does_not_fit(accelerator: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three quarters of 13 GiB are less than the 10.5 GiB of the plan.
    small = dataclasses.replace(accelerators.ACCELERATORS["a100"], memory=13 * 2**30)
    monkeypatch.setitem(accelerators.ACCELERATORS, "small", small)
    lines: list[str] = []
    good = compile_for.run([task("step", accelerator)], show=lines.append, compiler=compile_or_die)
    assert good == fits
    assert lines[1].endswith("does not fit") != fits


def test_what_fails_for_every_program_is_said_once() -> None:
    lines: list[str] = []
    tasks = [task("step"), task("descriptor")]
    assert not compile_for.run(tasks, show=lines.append, compiler=compile_nothing)
    assert lines[1:] == ["no compiler"]


def test_more_devices_than_there_are() -> None:
    with pytest.raises(CannotCompileError, match="devices were asked for"):
        compile_for.mesh_for("cpu", devices=1 + len(jax.devices("cpu")))


def test_a_plan_counts_what_is_replaced_once() -> None:
    memory = types.SimpleNamespace(
        argument_size_in_bytes=1000,
        temp_size_in_bytes=1,
        output_size_in_bytes=70,
        alias_size_in_bytes=60,
        generated_code_size_in_bytes=200,
    )
    text = "  %a = u8[2]{0} custom-call()\n  ROOT %b = u8[3]{0} custom-call(%a)\n"
    compiled = types.SimpleNamespace(
        memory_analysis=lambda: memory, as_text=lambda: f"ENTRY %main () -> u8[2] {{\n{text}}}"
    )
    plan = Plan.of(compiled, seconds=3, largest=1)
    assert plan.moved == 2 + (2 + 3)
    assert [operation.name for operation in plan.largest] == ["b"]
    assert (plan.given, plan.kept, plan.together) == (1000, 211, 1211)


def test_programs() -> None:
    mesh = make_mesh(jax.devices()[:1])

    def given(program: str) -> int:
        _, arguments = compile_for.program_of(task(program), mesh)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arguments))

    # 64 images with part maps and labels, and 8 numbers, instead of a batch of 8 images.
    image = 32 * 16 * 4 + 4
    assert given("resident step") - given("step") == 64 * image + 8 * 4 - 8 * image
    assert given("descriptor") < given("step")


def test_a_gpu_without_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_plugin(name: str, platform: str, **options: str) -> None:
        asked.append(options["target_config"])
        raise NotImplementedError(f"topology not implemented for {platform}")

    monkeypatch.setattr(accelerators.topologies, "get_topology_desc", no_plugin)
    with pytest.raises(CannotCompileError, match=r"pip install -e '.\[gpu\]'"):
        accelerators.ACCELERATORS["h200"].describe(1)
    assert 'name: "NVIDIA H200"' in asked[0]
    assert asked[0].count("{") == asked[0].count("}")


@pytest.mark.parametrize(("devices", "group"), [(1, "v5e:2x2"), (8, "v5e:2x4")])
def test_a_tpu(devices: int, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(name: str, platform: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(devices=[name, platform])

    for name in ("TPU_SKIP_MDS_QUERY", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.setenv(name, "localhost")
    monkeypatch.setattr(accelerators.topologies, "get_topology_desc", describe)
    tpu = accelerators.ACCELERATORS["v5e"]
    monkeypatch.setattr(accelerators.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotCompileError, match=r"pip install -e '.\[tpu\]'"):
        tpu.describe(devices)
    monkeypatch.setattr(accelerators.importlib.util, "find_spec", lambda name: "there")
    assert tpu.describe(devices) == [group, "tpu"]


def run_command(arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compile_for", *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command() -> None:
    done = run_command(
        "cpu --backbone tiny --size 32 16 --batch 8 --embed-batch 5 --precision float32 "
        "--programs step descriptor --largest 2"
    )
    assert done.returncode == 0, done.stderr
    title, _, step, *largest, descriptor = done.stdout.splitlines()[:-2]
    assert title == "1 × cpu, tiny, 32 × 16:"
    assert [line.split()[1] for line in largest] == ["GB", "GB"]
    assert step.split()[:3] == ["step", "float32", "8"]
    assert descriptor.split()[:3] == ["descriptor", "float32", "5"]
    # Describing needs no moments and no gradients.
    assert float(descriptor.split()[5]) < float(step.split()[5])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("cpu --backbone tiny --size 30 20", "image_size"),
        ("cpu --devices 0", "from 1 on"),
        ("cpu --batch 9 --devices 2", "does not divide"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["compile_for", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        compile_for.main()
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
