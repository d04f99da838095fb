"""Images a second of the full training step, next to the same network in PyTorch.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --size 128 64 --batch 8 --steps 3 --pictures 256 --identities 32

The first line is the published recipe, for an accelerator; the second one fits a CPU. Every
contestant is a process of its own on the same device. They take turns for `--rounds` rounds, so
that a busy machine disturbs all of them alike; figures are medians over rounds.

magnifier_jax runs what training runs: pictures streamed from JPEG files (`stream`) or resident on
the device (`device`), augmentation, forward, losses, backward and update, looking at each loss one
step later. `fixed` is its step on one batch that stays on the device (processes differ by a few
percent; `benchmarks/resident_step.py` compares it with `device` in one). PyTorch is spared
everything before the forward pass: it steps on one normalised batch that stays on the device, in
channels-last order, with fused Adam and TF32 where the device has them. Only this script and its
PyTorch half need PyTorch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence

from benchmarks.racing import (
    WAYS,
    Contestant,
    Entry,
    Failure,
    Result,
    Settings,
    add_settings,
    race,
)


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


def main() -> int:
    """Runs the benchmark; 1 if a contestant other than a compiled one failed."""
    options = _parser().parse_args()
    # Several processes share the device, so none may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.chosen(options, pathlib.Path(folder))
        for precision in options.precision:
            chosen = [Contestant(way, precision) for way in options.ways]
            groups = [[one] for one in chosen] if options.alone else [chosen]
            found: list[Result] = []
            for group in groups:
                found += race(group, settings, steps=options.steps, rounds=options.rounds)
            if not results:
                print("\n".join(_heading(found, options)))
            print("\n".join(["", *report(found, batch=options.batch)]), flush=True)
            results += found
    if options.output:
        record = [dataclasses.asdict(result) for result in results]
        options.output.write_text(json.dumps(record, indent=2) + "\n")
    failed = [result for result in results if not result.seconds]
    return int(any(result.contestant.way != "torch compiled" for result in failed))


def _heading(results: Sequence[Result], options: argparse.Namespace) -> Iterator[str]:
    entries = [result.entry for result in results if isinstance(result.entry, Entry)]
    versions = sorted({entry.version for entry in entries})
    devices = sorted({entry.device for entry in entries})
    yield f"{', '.join(devices)}; {', '.join(versions)}; Python {platform.python_version()}"
    yield (
        f"{options.backbone}, {options.size[0]} × {options.size[1]}, batches of {options.batch}, "
        f"{options.pictures:,} pictures of {options.identities:,} identities, "
        f"{options.rounds} rounds of {options.steps} steps"
    )
    if any(entry.kind == "cpu" for entry in entries):
        yield "Measured on a CPU: it says nothing about accelerators."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser, steps=30, rounds=3)
    add = parser.add_argument
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="contestants")
    add("--alone", action="store_true", help="one process at a time, for little device memory")
    add("--profile", type=pathlib.Path, metavar="DIR", help="write profiles of the JAX steps there")
    add("--output", type=pathlib.Path, metavar="FILE.json", help="write every round's figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
