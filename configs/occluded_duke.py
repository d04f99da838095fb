"""The recipe on Occluded-Duke, by analogy with DukeMTMC-reID (withdrawn by its authors)."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import dukemtmc


def get_config() -> ConfigDict:
    """DukeMTMC-reID's recipe; the paper does not use this dataset."""
    config = dukemtmc.get_config()
    config.name = "occluded_duke"
    config.data.train = "occluded_duke"
    return config
