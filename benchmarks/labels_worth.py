"""What part labels are worth: the whole network on drawn pedestrians, with maps of each kind.

    python -m benchmarks.labels_worth --output runs/labels --seeds 3
    python -m benchmarks.labels_worth --output runs/labels --labels exact,drawn,bands --table

Every run is the public command with `configs/ablation.py:all,benchmark` and its own
`data.part_labels`, so an interrupted call resumes where it stopped, and a finished run is not
repeated. `exact` are the maps that were drawn with the people. The test images are the same for
all, and no labels are used on them.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[1]
LABELS = {"exact": "required", "pose": "pose", "drawn": "drawn", "bands": "bands"}
"""The setting `data.part_labels` of each kind."""


def workdir_of(output: pathlib.Path, kind: str, seed: int) -> pathlib.Path:
    return output / f"{kind}-{seed}"


def train(output: pathlib.Path, kind: str, seed: int, *, extra: Sequence[str]) -> None:
    """Trains one network, unless it is trained and measured already."""
    workdir = workdir_of(output, kind, seed)
    if (workdir / "evaluation.json").is_file():
        return
    command = [
        *(sys.executable, "-m", "magnifier_jax.main"),
        *("--config", "configs/ablation.py:all,benchmark", "--workdir", str(workdir.absolute())),
        *(f"--config.seed={seed}", f"--config.data.part_labels={LABELS[kind]}", *extra),
    ]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status or not (workdir / "evaluation.json").is_file():
        sys.exit(status or f"{workdir} was stopped before its end: the same command resumes it.")


def table(output: pathlib.Path, kinds: Sequence[str], seeds: int) -> str:
    """The finished runs as a Markdown table; runs that are not there are left out and counted."""
    lines = ["| part maps of the training | mAP | rank-1 | mAP of each seed |", "|---|---|---|---|"]
    for kind in kinds:
        paths = [workdir_of(output, kind, seed) / "evaluation.json" for seed in range(seeds)]
        records = [json.loads(path.read_text()) for path in paths if path.is_file()]
        if not records:
            lines.append(f"| {kind} | | | no run |")
            continue
        scores = [100 * record["mAP"] for record in records]
        rank1 = statistics.mean(100 * record["cmc"][0] for record in records)
        each = ", ".join(f"{score:.1f}" for score in scores)
        lines.append(f"| {kind} | {statistics.mean(scores):.1f} | {rank1:.1f} | {each} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/labels"))
    parser.add_argument("--labels", default=",".join(LABELS), help="which, joined by commas")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, seeds from 0")
    parser.add_argument("--table", action="store_true", help="train nothing, show what is there")
    given, extra = parser.parse_known_args(arguments)
    kinds = given.labels.split(",")
    unknown = [kind for kind in kinds if kind not in LABELS]
    if unknown:
        parser.error(f"there are no {unknown[0]!r} labels: choose of {', '.join(LABELS)}")
    if not given.table:
        for seed in range(given.seeds):
            for kind in kinds:
                train(given.output, kind, seed, extra=extra)
    print(table(given.output, kinds, given.seeds))


if __name__ == "__main__":
    main()
