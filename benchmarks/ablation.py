"""What each branch of MagnifierNet adds, on drawn pedestrians: trains every row and prints a table.

    python -m benchmarks.ablation --output runs/ablation

Every run is the public command with `configs/ablation.py:<row>`, so an interrupted call resumes
where it stopped. Rows that are compared by their mean (`--seeds`) are the first and the last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
ROWS = ("baseline", "sab", "sfb", "nodiversity", "all")


@dataclasses.dataclass(frozen=True)
class Result:
    """Shares in percent, of one run."""

    mean_average_precision: float
    rank1: float
    untrained: float


def run(config: str, workdir: pathlib.Path, *, seed: int, extra: list[str]) -> Result:
    """Trains one network, or measures it again if it is trained already."""
    command = [
        *(sys.executable, "-m", "magnifier_jax.main", "--config", config),
        *("--workdir", str(workdir.absolute()), f"--config.seed={seed}"),
        *extra,
    ]
    # The last thing that a run writes, and only if nothing stopped it.
    report = workdir / "report.html"
    report.unlink(missing_ok=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status or not report.exists():
        sys.exit(status or f"{workdir} was stopped before its end: the same command resumes it.")
    record = json.loads((workdir / "evaluation.json").read_text())
    untrained = record["untrained"][0]["mAP"] if "untrained" in record else math.nan
    return Result(100 * record["mAP"], 100 * record["cmc"][0], 100 * untrained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/ablation", help="folder of the runs")
    parser.add_argument("--base", default="benchmark", help="configuration to ablate")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the first and last row")
    arguments, extra = parser.parse_known_args()
    plan = [(row, seed) for seed in range(arguments.seeds) for row in ("baseline", "all")]
    plan += [(row, 0) for row in ROWS if row not in ("baseline", "all")]
    found: dict[str, list[Result]] = {row: [] for row in ROWS}
    for row, seed in plan:
        config = f"configs/ablation.py:{row},{arguments.base}"
        workdir = pathlib.Path(arguments.output) / f"{row}-{seed}"
        found[row].append(run(config, workdir, seed=seed, extra=extra))

    print(f"{'row':12} {'mAP':>6} {'rank-1':>7} {'untrained':>10}  mAP of each seed")
    for row, results in found.items():
        scores = [result.mean_average_precision for result in results]
        rank1 = statistics.mean(result.rank1 for result in results)
        untrained = statistics.mean(result.untrained for result in results)
        each = ", ".join(f"{score:.1f}" for score in scores)
        print(f"{row:12} {statistics.mean(scores):6.1f} {rank1:7.1f} {untrained:10.1f}  {each}")
    gains = [
        full.mean_average_precision - base.mean_average_precision
        for base, full in zip(found["baseline"], found["all"], strict=True)
    ]
    each = ", ".join(f"{gain:+.1f}" for gain in gains)
    print(f"all − baseline: {statistics.mean(gains):+.1f} points of mAP ({each})")


if __name__ == "__main__":
    main()
