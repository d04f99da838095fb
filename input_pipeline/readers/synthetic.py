"""The synthetic pedestrians, rendered on first use."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re

from input_pipeline.dataset import ReidDataset
from input_pipeline.files import cache_folder
from input_pipeline.identities.file_names import Who
from input_pipeline.layouts.protocol import read_three_folders
from input_pipeline.synthetic import generate
from input_pipeline.synthetic.settings import SETTINGS_FILE, read_settings, settings_of

TITLE = "the synthetic pedestrians"
# Images of a tracklet end in f00, f01 …
_NAME = re.compile(
    r"(?P<stem>(?P<identity>\d{4,5})_c(?P<camera>\d+)s1_\d{6}_\d{2})(?P<frame>f\d{2,})?\.jpg"
)


def default_root() -> pathlib.Path:
    """Where they are drawn if no folder is named: once for every command."""
    return cache_folder()


def read(root: pathlib.Path, *, variant: str = "", progress: bool = True) -> ReidDataset:
    """Reads synthetic pedestrians, after rendering those that are missing.

    Args:
        root: A rendered dataset, or the folder for datasets, where `synthetic_<preset>` is made.
        variant: A preset, and perhaps settings that change it, such as `worlds:seed=1`;
            `quickstart` when empty and `root` is not a dataset itself.
        progress: Whether to show a progress bar while they are rendered.

    Raises:
        DataError: No preset or setting has this name, or the folder holds something else.
    """
    root = pathlib.Path(root)
    drawn = (root / SETTINGS_FILE).is_file()
    if variant or not drawn:
        variant = variant or "quickstart"
        settings, name = settings_of(variant), f"synthetic_{_folder(variant)}"
    else:
        settings, name = read_settings(root / SETTINGS_FILE), "synthetic"
    root = root if drawn else root / name
    generate(root, settings, progress=progress)
    dataset = read_three_folders(
        root, name=name, title=TITLE, tell=_tell, example="0002_c1s1_000451_03.jpg"
    )
    return dataclasses.replace(dataset, by_tracklet=settings.frames > 1)


def _tell(name: str) -> Who | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    tracklet = match["stem"] if match["frame"] else None
    return Who(int(match["identity"]), int(match["camera"]), tracklet)


def _folder(variant: str) -> str:
    """A short folder name for a preset, and for each way to change it."""
    preset, _, changes = variant.partition(":")
    if not changes:
        return preset
    text = ":".join(sorted(changes.split(":")))
    return f"{preset}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
