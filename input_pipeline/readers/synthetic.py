"""The synthetic pedestrians, rendered on first use."""

from __future__ import annotations

import pathlib
import re

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.readers._splits import by_pattern, read_three_folders
from input_pipeline.synthetic import PRESETS, generate
from input_pipeline.synthetic.settings import SETTINGS_FILE, read_settings

TITLE = "the synthetic pedestrians"
_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>[1-6])s1_\d{6}_\d{2}\.jpg")


def read(root: pathlib.Path, *, variant: str = "", progress: bool = True) -> ReidDataset:
    """Reads synthetic pedestrians, after rendering those that are missing.

    Args:
        root: A rendered dataset, or the folder for datasets, where `synthetic_<preset>` is made.
        variant: A preset; `quickstart` when empty and `root` is not a dataset itself.
        progress: Whether to show a progress bar while they are rendered.

    Raises:
        DataError: No preset has this name, or the folder holds something else.
    """
    if variant and variant not in PRESETS:
        raise DataError(f"no synthetic preset is called {variant!r}: choose {', '.join(PRESETS)}")
    root = pathlib.Path(root)
    if (root / SETTINGS_FILE).is_file():
        settings = PRESETS[variant] if variant else read_settings(root / SETTINGS_FILE)
        name = f"synthetic_{variant}" if variant else "synthetic"
    else:
        name = f"synthetic_{variant or 'quickstart'}"
        settings = PRESETS[variant or "quickstart"]
        root = root / name
    generate(root, settings, progress=progress)
    return read_three_folders(
        root, name=name, title=TITLE, tell=by_pattern(_NAME), example="0002_c1s1_000451_03.jpg"
    )
