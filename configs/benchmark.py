"""Hard drawn pedestrians for a small network: look-alikes in groups of four, strong cameras."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default, quickstart


def get_config() -> ConfigDict:
    """The quickstart's small network on the benchmark's images, for longer."""
    config = quickstart.small(default.get_config(), name="benchmark", data="synthetic:benchmark")
    config.train.epochs = 20
    config.optimizer.decay_epochs = (15, 19)
    config.optimizer.warmup_epochs = 2
    return config
