"""The network that comes with the package, `mj.load("drawn")`: drawn people alone, varied ones.

`configs/drawn.py` trains it from random weights on 5,000 people. `configs/drawn.py:more` goes on
from there (`config.init.checkpoint`) with 10,000 people, and mixes their styles;
`configs/drawn.py:others` goes on with 10,000 others, seen by other cameras.

    python -m configs.drawn --workdir runs/drawn

trains all stages, one after the other, and writes the weights. Where it is stopped, the same
command goes on. Options of the form `--config.NAME=VALUE` are given to every stage.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from configs import default, transfer

STAGES = ("first", "more", "others")


def people(number: int, *, world: str = "worlds") -> str:
    """The spec of so many people to learn from, and a hundred to be measured on."""
    return (
        f"synthetic:{world}:train_identities={number}:test_identities=100:distractor_identities=0"
    )


def get_config(stage: str = "first") -> ConfigDict:
    """A slim ResNet-18 with all branches on 128 × 64 images, made to transfer.

    Raises:
        ValueError: There is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"There is no stage {stage!r}: choose one of {', '.join(STAGES)}.")
    config = default.get_config()
    config.name = "drawn"
    config.data.train = people(5000)
    config.data.image_size = (128, 64)
    config.data.placement = "device"
    config.model.backbone = "slim_ibn_a"
    config.model.stem_relu = True
    config.model.parsing_features = 64
    config.augment.pad = 5
    config.augment.erasing = 0.3
    transfer.vary_colors(config)
    config.optimizer.learning_rate = 1.5e-3
    config.optimizer.warmup_epochs = 1
    config.optimizer.warmup_factor = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.ema_decay = 0.995
    config.loss.circle = 1.0
    config.train.epochs = 6
    config.train.evaluate_every_epochs = 3
    config.train.checkpoint_every_steps = 250
    config.evaluate.flip = True
    if stage != "first":
        config.data.train = people(10_000)
        config.augment.mix_styles = 0.5
        config.optimizer.learning_rate = 7.5e-4
        config.optimizer.warmup_epochs = 0
        config.train.epochs = 3
        config.train.evaluate_every_epochs = 0
    if stage == "others":
        config.data.train = people(10_000, world="worlds:seed=1:cameras=120")
        config.loss.parts = 0.1
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains every stage that is not finished, each from the weights of the one before."""
    parser = argparse.ArgumentParser(prog="python -m configs.drawn", description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/drawn"))
    given, settings = parser.parse_known_args(arguments)
    start: list[str] = []
    for stage in STAGES:
        workdir = given.workdir / stage
        weights = given.workdir / f"{'drawn' if stage == STAGES[-1] else stage}.safetensors"
        if not (workdir / "report.html").is_file():
            command = ["magnifier_jax.main", f"--config={__file__}:{stage}", "--workdir", workdir]
            status = _run(*command, *start, *settings)
            if status or not (workdir / "report.html").is_file():
                print(f"{workdir} was stopped before its end: the same command goes on.")
                return status or 1
        # Without classifiers, for the next stage has other people by the same names.
        export = ["magnifier_jax", "export", "--workdir", workdir, "--output", weights, "--force"]
        half = ["--format", "safetensors", "--precision", "fp16", "--no-classifiers"]
        if status := _run(*export, *half):
            return status
        start = [f"--config.init.checkpoint={weights}"]
    return 0


def _run(module: str, *arguments: str | pathlib.Path) -> int:
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)]).returncode


if __name__ == "__main__":
    sys.exit(main())
