"""The published recipe on Market-1501."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default is this dataset's recipe."""
    config = default.get_config()
    config.name = "market1501"
    return config
