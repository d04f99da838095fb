"""The recipe on MSMT17, by analogy with Market-1501.

Trains on train and val together, as most papers do; `configs/msmt17.py:train` leaves val out.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "trainval") -> ConfigDict:
    """Market-1501's recipe; the paper does not use this dataset.

    Args:
        variant: As in the dataset's name: `trainval`, `train`, or `v2-trainval` and so on.
    """
    config = default.get_config()
    config.name = f"msmt17_{variant}"
    config.data.train = f"msmt17:{variant}"
    return config
