"""The recipe on DukeMTMC-reID, a dataset that its authors have withdrawn."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Market-1501's recipe; the paper gives no other schedule for this dataset."""
    config = default.get_config()
    config.name = "dukemtmc"
    config.data.train = "dukemtmc"
    return config
