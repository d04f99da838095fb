"""What helps on unseen cameras and backgrounds: trains every row and prints a table.

    python -m benchmarks.transfer --output runs/transfer

Every run is the public command with `configs/transfer.py:<row>`, so an interrupted call resumes
where it stopped. Other flags go to it, such as `--config.train.epochs=4`.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
from collections.abc import Sequence

from benchmarks.ablation import Result, run
from configs.transfer import ROWS


def table(found: dict[str, Sequence[Result]]) -> str:
    """A line for each row, with its mean over the seeds and its gain over the first row."""
    lines = [f"{'row':10} {'mAP':>6} {'gain':>6} {'rank-1':>7}  mAP of each seed"]
    base = statistics.mean(result.mean_average_precision for result in next(iter(found.values())))
    for row, results in found.items():
        scores = [result.mean_average_precision for result in results]
        rank1 = statistics.mean(result.rank1 for result in results)
        mean = statistics.mean(scores)
        each = ", ".join(f"{score:.1f}" for score in scores)
        lines.append(f"{row:10} {mean:6.1f} {mean - base:+6.1f} {rank1:7.1f}  {each}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/transfer", help="folder of the runs")
    parser.add_argument("--rows", default=",".join(ROWS), help="rows, the first to compare with")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each row")
    arguments, extra = parser.parse_known_args()
    rows = arguments.rows.split(",")
    found: dict[str, list[Result]] = {row: [] for row in rows}
    for seed in range(arguments.seeds):
        for row in rows:
            workdir = pathlib.Path(arguments.output) / f"{row}-{seed}"
            found[row].append(run(f"configs/transfer.py:{row}", workdir, seed=seed, extra=extra))
        # As soon as every row has been run once there is something to see.
        print(table(found), flush=True)


if __name__ == "__main__":
    main()
