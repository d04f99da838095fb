"""The network that comes with the package, `mj.load("drawn")`: drawn people alone, varied ones.

`configs/drawn.py` trains it from random weights on 5,000 people. `configs/drawn.py:more` goes on
from there (`config.init.checkpoint`) with 10,000 people, and mixes their styles.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default, transfer

STAGES = ("first", "more")


def people(number: int) -> str:
    """The spec of so many people to learn from, and a hundred to be measured on."""
    return f"synthetic:worlds:train_identities={number}:test_identities=100:distractor_identities=0"


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
    if stage == "more":
        config.data.train = people(10_000)
        config.augment.mix_styles = 0.5
        config.optimizer.learning_rate = 7.5e-4
        config.optimizer.warmup_epochs = 0
        config.train.epochs = 3
        config.train.evaluate_every_epochs = 0
    return config
