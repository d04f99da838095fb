"""Images a second of the full training step, next to the same network in PyTorch.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --size 128 64 --batch 8 --steps 3 --images 256 --identities 32
    python -m benchmarks.train_step --one-process --rounds 20

The first line is the published recipe, for an accelerator; the second one fits a CPU. Every
contestant is a process of its own on the same device. They take turns for `--rounds` rounds, so
that a busy machine disturbs all of them alike; figures are medians over rounds.

magnifier_jax runs what training runs: images streamed from JPEG files (`stream`) or resident on the
device (`device`), augmentation, forward, losses, backward and update, looking at each loss one step
later. `fixed` is its step on one batch that stays on the device. PyTorch is spared everything
before the forward pass: it steps on one normalized batch that stays on the device, in channels-last
order, with fused Adam and TF32 where the device has them. Only the PyTorch ways need PyTorch.

`--one-process` compares `device` with `fixed` alone: both advance the same network and take turns,
because the memory that a process happens to get makes it faster or slower by more than what is
looked for. What `device` does beside `fixed`: choosing images, sending their numbers and gathering
them on the device.

`--processor-time` adds up what all threads compute instead of looking at the clock: on a busy
machine that tells more about two programs for the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.stepping import (
    BACKBONES,
    PRECISIONS,
    Entry,
    JaxStepper,
    Settings,
    Stepper,
    TorchStepper,
    seconds_a_step,
)

WAYS = ("jax device", "jax stream", "jax fixed", "torch eager", "torch compiled")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One of `WAYS` in one of `PRECISIONS`."""

    way: str
    precision: str

    def open(self, settings: Settings) -> Stepper:
        """Compiles its step."""
        framework, way = self.way.split()
        stepper = JaxStepper if framework == "jax" else TorchStepper
        return stepper(way, self.precision, settings)


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a contestant cannot take part."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Result:
    """Seconds a step, of each round; none if the contestant failed."""

    contestant: Contestant
    entry: Entry | Failure
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)


class Seat:
    """A contestant's process, from the outside."""

    def __init__(
        self, contestant: Contestant, settings: Settings, *, profile: pathlib.Path | None
    ) -> None:
        self.contestant = contestant
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, contestant, settings, profile), daemon=True
        )
        self._process.start()
        theirs.close()
        self.entry: Entry | Failure = self._answer()
        self.seconds: list[float] = []

    def run(self, steps: int) -> None:
        """Lets it take its turn."""
        if isinstance(self.entry, Entry):
            self._connection.send(steps)
            answer = self._answer()
            if isinstance(answer, Failure):
                self.entry = answer
            else:
                self.seconds.append(answer)

    def leave(self) -> Result:
        """Ends the process."""
        if isinstance(self.entry, Entry):
            self._connection.send(None)
        self._process.join()
        done = isinstance(self.entry, Entry)
        return Result(self.contestant, self.entry, tuple(self.seconds) if done else ())

    def _answer(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            return Failure(f"the process ended with status {self._process.exitcode}")


def serve(
    connection: Connection,
    contestant: Contestant,
    settings: Settings,
    profile: pathlib.Path | None,
) -> None:
    """A contestant's process, from the inside: rounds of as many steps as it is told."""
    try:
        stepper = contestant.open(settings)
        connection.send(stepper.entry)
        while (steps := connection.recv()) is not None:
            connection.send(seconds_a_step(stepper, steps, settings))
        if profile is not None:
            name = f"{contestant.way}-{contestant.precision}".replace(" ", "-")
            stepper.profile(profile / name)
    except EOFError:
        return  # Whoever asked has gone.
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        connection.send(Failure(f"{type(error).__name__}: {reason}"))


def race(
    contestants: Sequence[Contestant],
    settings: Settings,
    *,
    steps: int,
    rounds: int,
    profile: pathlib.Path | None = None,
) -> list[Result]:
    """Lets contestants that fit on the device together take turns."""
    seats = []
    for contestant in contestants:
        print(f"starting {contestant.way}, {contestant.precision}", file=sys.stderr, flush=True)
        seats.append(Seat(contestant, settings, profile=profile))
    for _ in range(rounds):
        for seat in seats:
            seat.run(steps)
    return [seat.leave() for seat in seats]


def report(results: Sequence[Result], *, batch: int) -> Iterator[str]:
    """The table of one precision, line by line."""
    finished = {result.contestant.way: result for result in results if result.seconds}
    kinds = {result.entry.kind for result in finished.values()}  # type: ignore[union-attr]
    counts = {result.entry.parameters for result in finished.values()}  # type: ignore[union-attr]
    yield (
        f"{results[0].contestant.precision:15}{'ms/step':>9}{'min':>9}{'max':>9}{'images/s':>10}"
        f"{'× eager':>9}{'× compiled':>12}"
    )
    for result in results:
        way = result.contestant.way
        if isinstance(result.entry, Failure):
            yield f"{way:15}failed: {result.entry.reason}"
            continue
        line = f"{way:15}"
        for seconds in (result.median, min(result.seconds), max(result.seconds)):
            line += f"{1000 * seconds:9.1f}"
        line += f"{batch / result.median:10.1f}"
        for other, room in (("torch eager", 9), ("torch compiled", 12)):
            rival = finished.get(other) if len(kinds) == 1 else None
            line += f"{rival.median / result.median:{room}.2f}" if rival else f"{'—':>{room}}"
        yield line
    if len(kinds) > 1:
        yield f"No ratios: the frameworks run on different devices ({', '.join(sorted(kinds))})."
    if len(counts) > 1:
        yield f"These are different networks: {sorted(counts)} parameters."


def compare_in_one_process(
    precision: str, settings: Settings, *, steps: int, rounds: int
) -> tuple[Entry, list[float]]:
    """The seconds of a step on resident images divided by those on a fixed batch, each round."""
    stepper = JaxStepper("device", precision, settings)
    turns = [stepper.steps, stepper.fixed_steps()]
    ratios = []
    for number in range(-1, rounds):  # The first round compiles.
        seconds = {}
        # Whoever goes first changes from round to round, so that a drift favors none.
        for way in (number % 2, 1 - number % 2):
            stepper.steps = turns[way]
            seconds[way] = seconds_a_step(stepper, steps, settings)
        if number >= 0:
            ratios.append(seconds[0] / seconds[1])
    return stepper.entry, ratios


def report_ratios(entry: Entry, precision: str, ratios: Sequence[float]) -> str:
    """What `compare_in_one_process` found, in a line."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"{precision}: a step on resident images takes {middle:.3f} of one on a fixed batch "
        f"(half of {len(ratios)} rounds from {low:.3f} to {high:.3f}; {entry.device}, "
        f"{entry.version})"
    )


def main() -> int:
    """Runs the benchmark; 1 if a contestant other than a compiled one failed."""
    parser = _parser()
    options = parser.parse_args()
    if options.one_process and options.rounds < 2:
        parser.error("--rounds must be 2 or more")
    # Several processes share the device, so none may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.chosen(options, pathlib.Path(folder))
        if options.one_process:
            for precision in options.precision:
                entry, ratios = compare_in_one_process(
                    precision, settings, steps=options.steps, rounds=options.rounds
                )
                print(report_ratios(entry, precision, ratios), flush=True)
            return 0
        results = _race_all(options, settings)
    if options.output:
        record = [dataclasses.asdict(result) for result in results]
        options.output.write_text(json.dumps(record, indent=2) + "\n")
    failed = [result for result in results if not result.seconds]
    return int(any(result.contestant.way != "torch compiled" for result in failed))


def _race_all(options: argparse.Namespace, settings: Settings) -> list[Result]:
    """Races in each precision and prints a table of each."""
    results: list[Result] = []
    for precision in options.precision:
        chosen = [Contestant(way, precision) for way in options.ways]
        found: list[Result] = []
        for group in [[one] for one in chosen] if options.alone else [chosen]:
            found += race(
                group,
                settings,
                steps=options.steps,
                rounds=options.rounds,
                profile=options.profile,
            )
        if not results:
            print("\n".join(_heading(found, options)))
        print("\n".join(["", *report(found, batch=options.batch)]), flush=True)
        results += found
    return results


def _heading(results: Sequence[Result], options: argparse.Namespace) -> Iterator[str]:
    entries = [result.entry for result in results if isinstance(result.entry, Entry)]
    versions = sorted({entry.version for entry in entries})
    devices = sorted({entry.device for entry in entries})
    yield f"{', '.join(devices)}; {', '.join(versions)}; Python {platform.python_version()}"
    if options.processor_time:
        yield "Processor time of all threads together, not what a step takes by the clock."
    yield (
        f"{options.backbone}, {options.size[0]} × {options.size[1]}, batches of {options.batch}, "
        f"{options.images:,} images of {options.identities:,} identities, "
        f"{options.rounds} rounds of {options.steps} steps"
    )
    if any(entry.kind == "cpu" for entry in entries):
        yield "Measured on a CPU: it says nothing about accelerators."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=(384, 192), metavar=("H", "W"))
    add("--batch", type=int, default=64, help="images a step")
    add("--images-per-identity", type=int, default=4)
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--steps", type=int, default=30, help="steps a round")
    add("--warm-steps", type=int, default=3, help="steps before each round, not timed")
    add("--rounds", type=int, default=3)
    add("--images", type=int, default=12936, help="images of the training set")
    add("--identities", type=int, default=751)
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="contestants")
    add("--alone", action="store_true", help="one process at a time, for little device memory")
    add("--one-process", action="store_true", help="compare 'jax device' with 'jax fixed' closely")
    add("--processor-time", action="store_true", help="not by the clock, for busy machines")
    add("--profile", type=pathlib.Path, metavar="DIR", help="write profiles of the steps there")
    add("--output", type=pathlib.Path, metavar="FILE.json", help="write every round's figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
