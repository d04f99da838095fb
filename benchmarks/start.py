"""Time from typing the command to its first training step, with and without compiled programs.

    python -m benchmarks.start [--config configs/quickstart.py] [--rounds 3] [-- OPTIONS]

Each round trains one step twice, into a new work directory: first with an empty compilation cache,
then with the cache that the first start filled. The data is prepared before, in a run that is not
counted. OPTIONS go to the command, as in `-- --config.model.backbone=resnet50`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Start:
    """Seconds from the start of the process.

    Attributes:
        first_step: To the first line of `metrics.jsonl`. The network has been measured untrained
            and has made one step by then.
        end: To the end of the process, after an evaluation and a checkpoint.
    """

    first_step: float
    end: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="options of the command, after --")
    arguments = parser.parse_args()
    command = [
        *(sys.executable, "-m", "magnifier_jax.main", f"--config={arguments.config}"),
        *("--config.train.max_steps=1", "--config.train.log_every_steps=1"),
        *arguments.options,
    ]
    empty, warm = [], []
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        start(command, base / "prepared", cache=base / "unused")
        for number in range(arguments.rounds):
            cache = base / f"cache{number}"
            empty.append(start(command, base / f"empty{number}", cache=cache))
            warm.append(start(command, base / f"warm{number}", cache=cache))
            print(f"round {number + 1}: {empty[-1]}, then {warm[-1]}", flush=True)
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    for name in ("first_step", "end"):
        first, second = (
            statistics.median(getattr(found, name) for found in starts) for starts in (empty, warm)
        )
        print(
            f"{name.replace('_', ' ')}: {first:.1f} s with an empty cache, {second:.1f} s with a "
            f"full one ({first / second:.1f} times as fast)"
        )
    print(json.dumps({"rounds": arguments.rounds, "cache_bytes": size, "cpus": os.cpu_count()}))


def start(command: list[str], workdir: pathlib.Path, *, cache: pathlib.Path) -> Start:
    """Runs the command once and watches its log."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    metrics = workdir / "metrics.jsonl"
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.01)
    first_step = time.perf_counter() - begin
    if process.wait():
        sys.exit(f"the command failed; try it: {' '.join(command)}")
    return Start(round(first_step, 2), round(time.perf_counter() - begin, 2))


if __name__ == "__main__":
    main()
