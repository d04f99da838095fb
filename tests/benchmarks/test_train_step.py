"""The comparison with PyTorch measures equal networks, and its ratios are the right way round."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks.stepping import Entry, Settings, seconds_a_step
from benchmarks.train_step import Contestant, Failure, Result, report, report_ratios

ROOT = pathlib.Path(__file__).parents[2]


def result(way: str, *seconds: float, kind: str = "gpu", parameters: int = 7) -> Result:
    entry = Entry(kind=kind, device="H200", version="", parameters=parameters)
    return Result(Contestant(way, "bf16"), entry, seconds)


def test_report() -> None:
    results = [
        result("jax device", 0.105, 0.100, 0.103),
        result("jax fixed", 0.100, 0.080, 0.100),
        result("torch eager", 0.206, 0.206, 0.206),
        Result(Contestant("torch compiled", "bf16"), Failure("no compiler"), ()),
    ]
    heading, device, _, eager, compiled = report(results, batch=64)
    assert heading.split()[0] == "bf16"
    assert device.split() == ["jax", "device", "103.0", "100.0", "105.0", "621.4", "2.00", "—"]
    assert eager.split()[-2:] == ["1.00", "—"]
    assert compiled.endswith("failed: no compiler")


@pytest.mark.parametrize(
    ("other", "words"), [({"kind": "cpu"}, "different devices"), ({"parameters": 8}, "networks")]
)
def test_what_cannot_be_compared_is_said(other: dict[str, int], words: str) -> None:
    results = [result("jax device", 0.1), result("torch eager", 0.2, **other)]
    assert words in list(report(results, batch=64))[-1]


@pytest.mark.slow
def test_both_frameworks_train_the_same_network(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch")
    output = tmp_path / "result.json"
    small = (
        "--backbone narrow --size 32 16 --batch 4 --images-per-identity 2 --steps 1 --rounds 1 "
        "--images 8 --identities 4 --precision bf16"
    )
    command = [sys.executable, "-m", "benchmarks.train_step", "--output", str(output)]
    done = subprocess.run(
        [*command, *small.split(), "--ways", "jax device", "torch eager"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Measured on a CPU" in done.stdout
    ours, theirs = json.loads(output.read_text())
    assert ours["entry"]["parameters"] == theirs["entry"]["parameters"]
    assert ours["seconds"][0] > 0
    assert theirs["seconds"][0] > 0


class Sleeper:
    """Takes steps that compute nothing."""

    entry = Entry(kind="cpu", device="", version="", parameters=0)

    def advance(self, steps: int) -> None:
        time.sleep(0.05 * steps)

    def profile(self, folder: pathlib.Path) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("processor_time", [False, True])
def test_waiting_takes_time_but_no_processor(processor_time: bool) -> None:
    settings = Settings((32, 16), 4, 2, "narrow", 8, 4, 1, pathlib.Path(), processor_time)
    seconds = seconds_a_step(Sleeper(), 4, settings)
    assert (seconds < 0.025) == processor_time


def test_report_of_ratios() -> None:
    entry = Entry(kind="gpu", device="H200", version="jax 1", parameters=7)
    line = report_ratios(entry, "bf16", [1.02, 1.01, 9.0, 1.0, 1.03])
    assert line.startswith("bf16: a step on resident images takes 1.020 ")
    assert "5 rounds" in line
    assert "H200" in line


def test_turns_in_one_process() -> None:
    small = (
        "--backbone narrow --size 32 16 --batch 4 --images-per-identity 2 --steps 1 --rounds 2 "
        "--warm-steps 0 --images 8 --identities 4 --precision float32 --one-process"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_step", *small.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    ratio = float(line.split(" takes ")[1].split()[0])
    assert 0.05 < ratio < 20
