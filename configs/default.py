"""The published recipe on Market-1501: every field with its default.

`magnifier_jax/config/sections.py` declares the fields and explains each. Other files start from
here and change what differs. On the command line any field can be set:
`--config.data.root=/data --config.train.epochs=60`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from magnifier_jax.config import default_config


def get_config() -> ConfigDict:
    """All fields with their defaults."""
    return default_config()
