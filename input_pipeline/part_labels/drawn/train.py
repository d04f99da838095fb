"""Trains the part parser on drawn people: `python -m input_pipeline.part_labels.drawn.train`."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from input_pipeline import console
from input_pipeline.dataset import PART_NAMES
from input_pipeline.files import claim_output, reading, user_path, write_bytes
from input_pipeline.part_labels.drawn.examples.people import (
    HELD_OUT_WALLS,
    WALLS,
    draw_plain,
    draw_worlds,
    joined,
)
from input_pipeline.part_labels.drawn.examples.textures import SEEN, TextureBank
from input_pipeline.part_labels.drawn.examples.variation import Examples, Variation
from input_pipeline.part_labels.drawn.labeler import DrawnLabeler
from input_pipeline.part_labels.drawn.learning import State, make_optimizer, make_state, make_step
from input_pipeline.part_labels.drawn.measuring import held_out_sets, measure
from input_pipeline.part_labels.drawn.network import Parser, Size
from input_pipeline.part_labels.drawn.weights import Weights, write_weights

_DRAWN = (160, 80)  # height and width of the drawn people, in pixels
_SAVED_EVERY = 250  # steps, which a killed process repeats at most


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights.

    Attributes:
        seed: Of people, textures, examples and the first weights.
        people: Drawn people, a third plain and the others of `worlds`, each used many times in
            other clothes and places.
        textures: Procedural textures.
        small_steps: Steps on small images, at the beginning.
        small: Height and width of these, in pixels; multiples of 16.
        steps: Steps on whole images, after them.
        batch: Images in a step.
        learning_rate: The highest.
        size: Of the network.
        tested: Images of each set that the card's figures are measured on.
    """

    seed: int = 0
    people: int = 3000
    textures: int = 300
    small_steps: int = 2400
    small: tuple[int, int] = (64, 32)
    steps: int = 1000
    batch: int = 32
    learning_rate: float = 3e-3
    size: Size = dataclasses.field(default_factory=Size)
    tested: int = 300


def train_parser(
    settings: TrainingSettings, *, kept: pathlib.Path, progress: bool = True
) -> Weights:
    """Trains a parser.

    Args:
        settings: What decides it.
        kept: File of the unfinished training, from which another call resumes.
        progress: Whether to show progress bars.
    """
    total = settings.small_steps + settings.steps
    parser, optimizer = (
        Parser(settings.size),
        make_optimizer(total, learning_rate=settings.learning_rate),
    )
    state = make_state(parser, optimizer, settings.seed)
    if kept.is_file():
        with reading(kept, what="unfinished training", advice="delete it to begin anew"):
            state = flax.serialization.from_bytes(state, kept.read_bytes())
    step = make_step(parser, optimizer)
    with tqdm.tqdm(total=total, initial=int(state.step), desc="train", disable=not progress) as bar:
        for examples in _batches(settings, int(state.step), progress=progress):
            arrays = (examples.images, examples.parts, examples.shown)
            state, loss = step(state, *map(jnp.asarray, arrays))
            number = int(state.step)
            bar.update()
            if number % 25 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}")
            if number % _SAVED_EVERY == 0:
                _save(state, kept)
    return Weights(settings.size, jax.device_get(state.average), {})


def _save(state: State, kept: pathlib.Path) -> None:
    write_bytes(kept, flax.serialization.to_bytes(jax.device_get(state)))


def _batches(settings: TrainingSettings, done: int, *, progress: bool) -> Iterator[Examples]:
    """The batches of the steps after the first `done`, made in a thread ahead of their use."""
    total = settings.small_steps + settings.steps
    if done >= total:
        return
    seed = settings.seed
    walls = sorted(set(range(WALLS)) - HELD_OUT_WALLS)
    plain = settings.people // 3
    people = joined(
        draw_plain(plain, seed=seed, size=_DRAWN, walls=walls, progress=progress),
        draw_worlds(settings.people - plain, seed=seed, size=_DRAWN, progress=progress),
    )
    bank = TextureBank(np.random.default_rng((seed, 1)), SEEN, count=settings.textures)
    whole = (settings.size.height, settings.size.width)
    sizes = (settings.small, whole)
    variations = [Variation(people, bank, seed=seed, size=size) for size in sizes]

    def batch(number: int) -> Examples:
        variation = variations[number >= settings.small_steps]
        return variation.batch(number * settings.batch, settings.batch)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(batch, number) for number in range(done, min(done + 2, total))]
        for number in range(done, total):
            if number + 2 < total:
                ahead.append(pool.submit(batch, number + 2))
            yield ahead.pop(0).result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_train, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="python -m input_pipeline.part_labels.drawn.train",
        description="Trains the part parser on drawn people, with nothing to download.",
    )
    add = parser.add_argument
    add("--output", type=pathlib.Path, required=True, help="file of weights to write")
    add("--seed", type=int, default=0, help="another seed draws other people")
    add("--steps", type=console.positive, help="steps on whole images (for a quick try)")
    add("--small-steps", type=console.positive, help="steps on small images before them")
    add("--force", action="store_true", help="replace the file if it is there")
    return parser


def _train(given: argparse.Namespace) -> None:
    changes = {
        name: getattr(given, name)
        for name in ("seed", "steps", "small_steps")
        if getattr(given, name) is not None
    }
    settings = dataclasses.replace(TrainingSettings(), **changes)
    with claim_output(user_path(given.output), force=given.force) as output:
        kept = output.with_name(f"{output.name}.training")
        weights = train_parser(settings, kept=kept)
        write_weights(dataclasses.replace(weights, card=_card(weights, settings, given)), output)
        kept.unlink(missing_ok=True)
    print(f"wrote {output}")


def _card(
    weights: Weights, settings: TrainingSettings, given: argparse.Namespace
) -> dict[str, str]:
    """Where the weights come from and what they are worth, for the file's header."""
    command = f"python -m {__package__}.train --output FILE --seed {given.seed}"
    for name in ("steps", "small_steps"):
        if getattr(given, name) is not None:
            command += f" --{name.replace('_', '-')} {getattr(given, name)}"
    labeler = DrawnLabeler(weights)
    figures = {}
    for name, examples in held_out_sets(settings.tested).items():
        figures[f"iou_{name}"] = _text(measure(labeler, examples))
        figures[f"iou_bands_{name}"] = _text(measure(None, examples))
    return {
        "name": "part parser of magnifier_jax",
        "license": "Apache-2.0",
        "command": command,
        "data": f"{settings.people:,} drawn people in other clothes and places; no image of a real "
        "person, and no other network, was used",
        "classes": ", ".join(PART_NAMES),
        "measured_on": f"{settings.tested} drawn images of a kind, of other people and seeds; "
        "'strange' has backgrounds, textures and walls that training never saw; intersection over "
        "union of each class in their order",
        **figures,
    }


def _text(iou: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in iou)


if __name__ == "__main__":
    sys.exit(main())
