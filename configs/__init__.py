"""Configurations: one `get_config()` a file, as differences from `default.py`."""

from __future__ import annotations

import pathlib

_HERE = pathlib.Path(__file__).parent


def names() -> list[str]:
    """The configurations that come with the package, such as `market1501`."""
    return sorted(path.stem for path in _HERE.glob("*.py") if path.stem[0] != "_")


def find(path: str) -> str:
    """The file of a configuration, wherever the command was started.

    Args:
        path: A file, or one of `names()`, alone or as `configs/NAME.py`; it may end in `:ARGUMENT`,
            which stays.

    Returns:
        The path of a file that exists, or `path` as it was.
    """
    file, colon, argument = path.partition(":")
    chosen = pathlib.Path(file)
    if chosen.is_file() or chosen.stem not in names() or chosen.suffix not in ("", ".py"):
        return path
    if chosen.parent not in (pathlib.Path(), pathlib.Path("configs")):
        return path
    return f"{_HERE / chosen.stem}.py{colon}{argument}"
