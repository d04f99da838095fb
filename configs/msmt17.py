"""The recipe on MSMT17, by analogy with Market-1501.

`configs/msmt17.py:v2` and so on name the variant of the dataset.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Market-1501's recipe; the paper does not use this dataset."""
    config = default.get_config()
    config.name = "_".join(["msmt17", variant]).rstrip("_")
    config.data.train = ":".join(["msmt17", variant]).rstrip(":")
    return config
