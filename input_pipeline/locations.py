"""Where things are kept that the user did not choose a place for."""

from __future__ import annotations

import os
import pathlib


def default_data_dir() -> pathlib.Path:
    """Folder of prepared datasets: `magnifier_jax/prepared` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "magnifier_jax" / "prepared"
