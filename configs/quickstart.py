"""A small MagnifierNet on drawn pedestrians: minutes on two CPU cores, nothing to download."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default, at the size of a quick look."""
    return small(default.get_config(), name="quickstart", data="synthetic:quickstart")


def small(config: ConfigDict, *, name: str, data: str) -> ConfigDict:
    """Makes a configuration fit 64 × 32 images, a narrow network and a short schedule."""
    config.name = name
    config.data.train = data
    config.data.image_size = (64, 32)
    # Everything fits in memory, so nothing is decoded twice.
    config.data.placement = "device"
    # One bottleneck a stage at a quarter of ResNet's width, cells of 4 × 4 pixels.
    config.model.backbone = "small"
    config.model.stem_relu = True
    config.model.parsing_features = 32
    config.augment.pad = 2
    # With so few pixels, erasing takes away more than it teaches.
    config.augment.erasing = 0.0
    # From random weights and for few steps, the published rate would be too low.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_epochs = 1
    config.optimizer.decay_epochs = (7, 9)
    config.train.epochs = 10
    config.train.evaluate_every_epochs = 0
    config.train.checkpoint_every_steps = 200
    return config
