"""The published recipe on CUHK03-NP: labeled, or `configs/cuhk03.py:detected`."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "labeled") -> ConfigDict:
    """The default with this dataset's schedule and diversity weight.

    Args:
        variant: `labeled` or `detected`.
    """
    config = default.get_config()
    config.name = f"cuhk03_{variant}"
    config.data.train = f"cuhk03:{variant}"
    config.optimizer.decay_epochs = (40,)
    config.loss.diversity = 0.001 if variant == "detected" else 0.01
    return config
