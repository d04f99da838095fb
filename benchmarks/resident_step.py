"""How much longer a training step on resident pictures takes than one on a fixed batch.

    python -m benchmarks.resident_step
    python -m benchmarks.resident_step --batch 8 --steps 1 --rounds 20 --pictures 64 --identities 8

The first line is the published recipe, for an accelerator; the second one fits a CPU. Both steps
advance the same network in one process and take turns, because the memory that a process happens
to get alone makes it faster or slower by more than what is looked for. What the resident step does
beside the fixed one: choosing pictures, sending their numbers and gathering them on the device.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.racing import Contestant, Entry, Settings, add_settings
from benchmarks.train_step_jax import open_racer


def report(entry: Entry, precision: str, ratios: Sequence[float]) -> str:
    """What the rounds' ratios say, in a line."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"{precision}: a step on resident pictures takes {middle:.3f} of one on a fixed batch "
        f"(half of {len(ratios)} rounds from {low:.3f} to {high:.3f}; {entry.device}, "
        f"{entry.version})"
    )


def compare(precision: str, settings: Settings, *, steps: int, rounds: int) -> str:
    """Takes turns and reports."""
    racer = open_racer(Contestant("jax device", precision), settings)
    turns = [racer.steps, racer.fixed_steps()]
    ratios = []
    for number in range(-1, rounds):  # The first round compiles.
        seconds = {}
        # Whoever goes first changes from round to round, so that a drift favours none.
        for way in (number % 2, 1 - number % 2):
            racer.steps = turns[way]
            seconds[way] = racer.run(steps)
        if number >= 0:
            ratios.append(seconds[0] / seconds[1])
    return report(racer.entry, precision, ratios)


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser, steps=30, rounds=10)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be 2 or more")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.chosen(options, pathlib.Path(folder))
        for precision in options.precision:
            print(compare(precision, settings, steps=options.steps, rounds=options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
