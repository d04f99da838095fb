"""What a start from the network `drawn` saves on a style of drawing that it has never seen.

    python -m benchmarks.fine_tuning --output runs/fine_tuning

Trains `configs/drawn.py` on a few people of the preset `benchmark`, once from random weights with
its own learning rate and once from `drawn` with a third of it, and measures both after every few
epochs on other people of the same cameras. Every run is the public command, so an interrupted call
resumes where it stopped. Other flags go to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.ablation import ROOT

STARTS: Mapping[str, Sequence[str]] = {
    "random": (),
    "drawn": ("--config.init.checkpoint=drawn", "--config.optimizer.learning_rate=0.0005"),
}
"""Flags of each start."""


@dataclasses.dataclass(frozen=True)
class Course:
    """One training as it was measured.

    Attributes:
        people: In the training set.
        start: A key of `STARTS`.
        steps: At which it was measured, 0 first.
        scores: mAP at each, percent.
    """

    people: int
    start: str
    steps: tuple[int, ...]
    scores: tuple[float, ...]

    def steps_to(self, score: float) -> int | None:
        """The first measured step with this mAP or more."""
        reached = (
            step for step, mine in zip(self.steps, self.scores, strict=True) if mine >= score
        )
        return next(reached, None)


def train(workdir: pathlib.Path, people: int, start: str, *, extra: Sequence[str]) -> Course:
    """Trains one network, unless it is trained already, and reads its course."""
    if not (workdir / "report.html").is_file():
        command = [
            *(sys.executable, "-m", "magnifier_jax.main", "--config", "configs/drawn.py"),
            *("--workdir", str(workdir.absolute())),
            f"--config.data.train=synthetic:benchmark:train_identities={people}:test_identities=60",
            *("--config.train.epochs=24", "--config.train.evaluate_every_epochs=4"),
            *(*STARTS[start], *extra),
        ]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status or not (workdir / "report.html").is_file():
            sys.exit(status or f"{workdir} was stopped before its end: run the same command again.")
    return read_course(workdir, people, start)


def read_course(workdir: pathlib.Path, people: int, start: str) -> Course:
    """What a finished training wrote of its evaluations."""
    untrained = json.loads((workdir / "untrained.json").read_text())
    scores = {0: float(untrained["test_sets"][0]["mAP"])}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key in record:
            if key.endswith("/mAP"):
                scores[record["step"]] = record[key]
    steps = tuple(sorted(scores))
    return Course(people, start, steps, tuple(100 * scores[step] for step in steps))


def table(courses: Sequence[Course]) -> str:
    """A Markdown table; its last column says when a start reaches the end of that from random."""
    lines = [
        "| people | start | mAP before | mAP after | steps | steps to what `random` ends with |",
        "|---|---|---|---|---|---|",
    ]
    ends = {course.people: course.scores[-1] for course in courses if course.start == "random"}
    for course in courses:
        reached = course.steps_to(ends[course.people]) if course.people in ends else None
        before, after = course.scores[0], course.scores[-1]
        lines.append(
            f"| {course.people} | {course.start} | {before:.1f} | {after:.1f} "
            f"| {course.steps[-1]} | {'—' if reached is None else reached} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/fine_tuning"))
    parser.add_argument("--people", default="16,48,144", help="numbers of training people")
    given, extra = parser.parse_known_args(arguments)
    courses = []
    for people in map(int, given.people.split(",")):
        for start in STARTS:
            workdir = given.output / f"{start}-{people}"
            courses.append(train(workdir, people, start, extra=extra))
            print(table(courses), flush=True)


if __name__ == "__main__":
    main()
