"""Networks that come with the package, by their names; each has a card beside it, `NAME.md`."""

from __future__ import annotations

import os
import pathlib

from input_pipeline.files import user_path

_HERE = pathlib.Path(__file__).parent
_ENDING = ".safetensors"


def names() -> list[str]:
    """What there is, such as `drawn`."""
    return sorted(path.stem for path in _HERE.glob(f"*{_ENDING}"))


def find(path: str | os.PathLike[str]) -> pathlib.Path:
    """The network that a user names.

    Args:
        path: A file or folder, or one of `names()`, which gives way to a file or folder called so.

    Returns:
        The path of a network of the package, or else `path`, which need not exist.
    """
    place = user_path(path)
    if not place.exists() and str(path) in names():
        return _HERE / f"{path}{_ENDING}"
    return place


def lasting_name(path: pathlib.Path) -> str:
    """What finds a network again from any folder: the name of one of the package, or the path."""
    whole = path.absolute()
    return whole.stem if whole.parent == _HERE else str(whole)
