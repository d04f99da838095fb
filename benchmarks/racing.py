"""Contestants of a speed comparison: a process each, on the same device, taking turns."""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import pathlib
import statistics
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from benchmarks.loading import list_dataset, write_dataset
from input_pipeline.store import PreparedSplit, prepare

PICTURE_SIZE = (128, 64)  # of the files, as in Market-1501
PRECISIONS = ("float32", "bf16")
WAYS = ("jax device", "jax stream", "jax fixed", "torch eager", "torch compiled")


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A ResNet of bottleneck blocks with the published strides."""

    blocks: tuple[int, int, int, int]
    width: int = 64


BACKBONES = {
    "resnet50": Backbone((3, 4, 6, 3)),
    "resnet101": Backbone((3, 4, 23, 3)),
    "narrow": Backbone((1, 1, 1, 1), width=4),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all contestants have in common.

    `warm_steps` are taken before each round: a pause lets queues fill and devices cool.
    """

    size: tuple[int, int]
    batch: int
    images_per_identity: int
    backbone: str
    pictures: int
    identities: int
    warm_steps: int
    folder: pathlib.Path
    profile: pathlib.Path | None

    @classmethod
    def chosen(cls, options: argparse.Namespace, folder: pathlib.Path) -> Settings:
        """What the arguments of `add_settings` ask for, with its pictures in `folder`."""
        settings = cls(
            size=tuple(options.size),
            batch=options.batch,
            images_per_identity=options.images_per_identity,
            backbone=options.backbone,
            pictures=options.pictures,
            identities=options.identities,
            warm_steps=options.warm_steps,
            folder=folder,
            profile=getattr(options, "profile", None),
        )
        settings.write_pictures()
        return settings

    def write_pictures(self) -> None:
        """Writes the training pictures and prepares them."""
        splits = {"train": (self.pictures, self.identities)}
        write_dataset(self.folder / "pictures", size=PICTURE_SIZE, splits=splits)
        self.split()

    def split(self) -> PreparedSplit:
        """The training pictures; once they are prepared, only opened."""
        splits = {"train": (self.pictures, self.identities)}
        dataset = list_dataset(self.folder / "pictures", splits=splits)
        return prepare(dataset, data_dir=self.folder / "prepared", progress=False).train


def add_settings(parser: argparse.ArgumentParser, *, steps: int, rounds: int) -> None:
    """Adds what all comparisons of training steps can be told."""
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=(384, 192), metavar=("H", "W"))
    add("--batch", type=int, default=64, help="pictures a step")
    add("--images-per-identity", type=int, default=4)
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--steps", type=int, default=steps, help="steps a round")
    add("--warm-steps", type=int, default=3, help="steps before each round, not timed")
    add("--rounds", type=int, default=rounds)
    add("--pictures", type=int, default=12936, help="pictures of the training set")
    add("--identities", type=int, default=751)
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One of `WAYS` in one of `PRECISIONS`."""

    way: str
    precision: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a contestant says of itself when it is ready."""

    kind: str  # cpu, gpu or tpu
    device: str
    version: str
    parameters: int


class Racer(Protocol):
    """A training step with everything that it needs."""

    entry: Entry

    def run(self, steps: int) -> float:
        """Takes so many steps and returns the seconds that one took."""
        ...

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a profile of a few steps."""
        ...


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
        return statistics.median(self.seconds)


class Seat:
    """A contestant's process, from the outside."""

    def __init__(self, contestant: Contestant, settings: Settings) -> None:
        self.contestant = contestant
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, contestant, settings), daemon=True
        )
        self._process.start()
        theirs.close()
        self.entry: Entry | Failure = self._answer()
        self.seconds: list[float] = []

    def run(self, steps: int) -> None:
        if isinstance(self.entry, Entry):
            self._connection.send(steps)
            answer = self._answer()
            if isinstance(answer, Failure):
                self.entry = answer
            else:
                self.seconds.append(answer)

    def leave(self) -> Result:
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


def serve(connection: Connection, contestant: Contestant, settings: Settings) -> None:
    """A contestant's process, from the inside: rounds of as many steps as it is told."""
    try:
        if contestant.way.startswith("jax"):
            from benchmarks import train_step_jax as half
        else:
            from benchmarks import train_step_torch as half
        racer: Racer = half.open_racer(contestant, settings)
        connection.send(racer.entry)
        while (steps := connection.recv()) is not None:
            connection.send(racer.run(steps))
        if settings.profile is not None:
            name = f"{contestant.way}-{contestant.precision}".replace(" ", "-")
            racer.profile(settings.profile / name)
    except EOFError:
        return  # Whoever asked has gone.
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        connection.send(Failure(f"{type(error).__name__}: {reason}"))


def race(
    contestants: Sequence[Contestant], settings: Settings, *, steps: int, rounds: int
) -> list[Result]:
    """Lets contestants that fit on the device together take turns."""
    seats = []
    for contestant in contestants:
        print(f"starting {contestant.way}, {contestant.precision}", file=sys.stderr, flush=True)
        seats.append(Seat(contestant, settings))
    for _ in range(rounds):
        for seat in seats:
            seat.run(steps)
    return [seat.leave() for seat in seats]
