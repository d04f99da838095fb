"""The comparison of resident and fixed steps runs, and reports the median of its rounds."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from benchmarks.racing import Entry
from benchmarks.resident_step import report

ROOT = pathlib.Path(__file__).parents[2]


def test_report() -> None:
    entry = Entry(kind="gpu", device="H200", version="jax 1", parameters=7)
    line = report(entry, "bf16", [1.02, 1.01, 9.0, 1.0, 1.03])
    assert line.startswith("bf16: a step on resident pictures takes 1.020 ")
    assert "5 rounds" in line
    assert "H200" in line


def test_command() -> None:
    small = (
        "--backbone narrow --size 32 16 --batch 4 --images-per-identity 2 --steps 1 --rounds 2 "
        "--warm-steps 0 --pictures 8 --identities 4 --precision float32"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.resident_step", *small.split()],
        cwd=ROOT,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    ratio = float(line.split(" takes ")[1].split()[0])
    assert 0.05 < ratio < 20
