"""Folders and files that may not be read, also where the tests run as the superuser."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def public_folder() -> Iterator[pathlib.Path]:
    """A temporary folder that everyone may enter, as pytest's own may not be."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def locked(*paths: pathlib.Path) -> Iterator[None]:
    """Takes all rights away, and for the superuser the power to ignore that."""
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)
